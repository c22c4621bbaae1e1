"""Minimum Bayes risk: expected BLEU against sacrebleu's in a loop, and what a translator makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from seq2seq import Translator
from seq2seq.errors import ConfigError
from seq2seq.inference.consensus import agreement, by_agreement
from seq2seq.inference.risk import sentence_bleu
from seq2seq.inference.search import Hypothesis

TEXTS = [
    "a dog runs on the grass .",
    "a dog runs on grass",
    "A dog is running on the the the grass.",
    "dog",
    "",
    "a dog, a cat",
]


@pytest.mark.parametrize("language", ["en", "ja", ""])
def test_expected_bleu_is_the_sum_over_all_pairs(language):
    weights = np.array([0.3, 0.2, 0.1, 0.1, 0.1, 0.2])
    expected = [sum(w * sentence_bleu(a, b, language) for w, b in zip(weights, TEXTS, strict=True)) for a in TEXTS]
    np.testing.assert_allclose(agreement(TEXTS, weights, language), expected, atol=1e-9)


def hypothesis(length: int, log_prob: float, length_penalty: float = 1.0) -> Hypothesis:
    return Hypothesis([5] * length, log_prob, log_prob / (length + 1) ** length_penalty, None)


def test_the_one_that_the_others_speak_for_comes_first():
    texts = ["no word of it", "a dog runs fast", "a dog runs", "a dog runs slowly"]
    found = by_agreement([(hypothesis(4, -2.0), text) for text in texts], "en", 1.0)
    assert found[0][1] == "a dog runs" and len(found) == 4
    # unless one is nearly certain
    likely = [(hypothesis(4, -0.1 if text == texts[0] else -20.0), text) for text in texts]
    assert by_agreement(likely, "en", 1.0)[0][1] == texts[0]


def test_length_has_no_part_in_a_hypothesis_weight():
    """Two that are equally likely a piece weigh the same, however long they are."""
    texts = ["one two three four five six", "seven", "one two three four five", "eight"]
    hypotheses = [(hypothesis(len(text.split()), -0.5 * (len(text.split()) + 1)), text) for text in texts]
    assert by_agreement(hypotheses, "en", 1.0)[0][1] in (texts[0], texts[2])
    # of raw log probabilities short ones have most, and each agrees with itself
    raw = [(hypothesis(len(h.ids), h.log_prob, 0.0), text) for h, text in hypotheses]
    assert by_agreement(raw, "en", 0.0)[0][1] in (texts[1], texts[3])


def test_a_translator_returns_what_its_beam_agrees_on(tiny_model):
    model = Translator.from_pretrained(tiny_model, precision="float32")
    texts = ["the red cat sees a dog.", "", "a dog sleeps"]
    beams = model.translate_detailed(texts, beam_size=6, n_best=6)
    chosen = model.translate_detailed(texts, beam_size=6, n_best=2, mbr=True)
    for beam, best in zip(beams, chosen, strict=True):
        scores = {translation.text: translation.score for translation in beam}
        assert len(best) == min(2, len(beam)) and all(found.text in scores for found in best)
        pairs = [(Hypothesis([5] * len(b.pieces), b.log_prob, b.score, None), b.text) for b in beam]
        assert [found.text for found in best] == [text for _, text in by_agreement(pairs, "fr", 1.0)[:2]]
    assert model.translate(texts[0], beam_size=6, mbr=True) == chosen[0][0].text


def test_a_long_source_is_chosen_part_by_part(tiny_model):
    """As each part would be on its own; ranks of the whole are ranks of the parts."""
    model = Translator.from_pretrained(tiny_model, precision="float32")
    parts = ["the red cat sees a dog.", "a bird sings in the garden."]
    model.longest_source = max(map(len, model.source_tokenizer.encode(parts)))
    options = {"beam_size": 5, "n_best": 3, "mbr": True, "max_length": 10}
    whole = model.translate(" ".join(parts), **options)
    apart = [model.translate(part, **options) for part in parts]
    assert whole == [" ".join(texts) for texts in zip(*apart, strict=True)]


def test_two_languages_that_are_counted_in_other_units(tiny_model):
    model = Translator.from_pretrained(tiny_model, precision="float32")
    model.config = {**model.config, "source": "zh", "options": {**model.config["options"], "both_directions": True}}
    with pytest.raises(ConfigError, match="two languages are counted in other units"):
        model.translate(["a"], mbr=True)


@pytest.mark.parametrize("options", [{"beam_size": 1}, {"sample": True, "beam_size": 4}])
def test_it_needs_a_beam(tiny_model, options):
    with pytest.raises(ConfigError, match="mbr chooses among the hypotheses of a beam"):
        Translator.from_pretrained(tiny_model, precision="float32").translate(["a"], mbr=True, **options)
