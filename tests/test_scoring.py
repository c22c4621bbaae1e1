"""Scores against plain loops over the model's own steps."""

from __future__ import annotations

import itertools

import pytest
import torch
from models import make_model, small_tokenizer

from seq2seq.config import SearchConfig
from seq2seq.errors import CorpusError
from seq2seq.inference import scoring
from seq2seq.inference.ensemble import Ensemble
from seq2seq.inference.scoring import score_ids
from seq2seq.inference.search import search
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


def by_loop(model: TranslationModel, tokenizer: Tokenizer, source: list[int], target: list[int]) -> list[float]:
    """log p of each target piece and EOS, step by step."""
    with torch.no_grad():
        memory = model.encode(torch.tensor([[*source, tokenizer.eos_id]]), torch.tensor([len(source) + 1]))
        state, out = model.initial_state(memory), []
        for previous, piece in itertools.pairwise([tokenizer.bos_id, *target, tokenizer.eos_id]):
            logits, state, _ = model.step(torch.tensor([previous]), state, memory)
            out.append(float(torch.log_softmax(logits.double(), -1)[0, piece]))
    return out


SOURCES = ["the cat", "a dog runs in the park and eats", "", "two", "a red mat on the mat", "men"]
TARGETS = ["two red apples sat", "a", "the park", "", "a dog runs in the park and eats the cat", "mat"]


@pytest.mark.parametrize("attention", ["bahdanau", "none"])
@pytest.mark.parametrize("budget", [1, 30, 4000])
def test_scores_are_those_of_a_plain_loop_in_the_order_given(tokenizer, attention, budget):
    model = make_model(tokenizer, 1, attention=attention)
    sources, targets = tokenizer.encode(SOURCES), tokenizer.encode(TARGETS)
    scores = score_ids(model, sources, targets, tokenizer, tokenizer, batch_tokens=budget)
    for source, target, score in zip(sources, targets, scores, strict=True):
        expected = by_loop(model, tokenizer, source, target)
        assert score.pieces == pytest.approx(expected, abs=1e-4)
        assert score.log_prob == pytest.approx(sum(expected), abs=1e-3)
        assert score.tokens == len(target) + 1


def test_very_long_pairs_go_step_by_step_to_the_same_scores(tokenizer, monkeypatch):
    model = make_model(tokenizer, 6)
    sources, targets = tokenizer.encode(SOURCES), tokenizer.encode(TARGETS)
    expected = score_ids(model, sources, targets, tokenizer, tokenizer)
    monkeypatch.setattr(scoring, "LONGEST_PAIR", 1)
    monkeypatch.setattr(TranslationModel, "log_probs", None)
    found = score_ids(model, sources, targets, tokenizer, tokenizer, batch_tokens=1)
    for a, b in zip(found, expected, strict=True):
        assert a.pieces == pytest.approx(b.pieces, abs=1e-4) and a.tokens == b.tokens


def test_probabilities_of_all_one_piece_targets_sum_to_one(tokenizer):
    model = make_model(tokenizer, 2)
    source = tokenizer.encode(["the cat"])[0]
    pieces = [[piece] for piece in range(tokenizer.vocab_size)]
    scores = score_ids(model, [source] * len(pieces), pieces, tokenizer, tokenizer)
    first = torch.tensor([score.pieces[0] for score in scores])
    assert float(first.exp().sum()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("attention", ["bahdanau", "none"])
def test_what_search_finds_scores_what_search_says(tokenizer, attention):
    models = [make_model(tokenizer, seed, attention=attention, decoder_layers=2) for seed in (3, 4)]
    sources = tokenizer.encode(SOURCES)
    padded = torch.full((len(sources), max(map(len, sources)) + 1), tokenizer.pad_id)
    for row, ids in zip(padded, sources, strict=True):
        row[: len(ids) + 1] = torch.tensor([*ids, tokenizer.eos_id])
    lengths = torch.tensor([len(ids) + 1 for ids in sources])
    special = {"bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id, "pad_id": tokenizer.pad_id}
    for model in (models[0], Ensemble(models)):
        for options in ({"beam_size": 1}, {"n_best": 5}, {"sample": True, "n_best": 2}):
            found = search(model, padded, lengths, SearchConfig(max_length=9, **options), **special)
            pairs = [(source, h) for source, best in zip(sources, found, strict=True) for h in best]
            scores = score_ids(model, [s for s, _ in pairs], [h.ids for _, h in pairs], tokenizer, tokenizer)
            assert [h.log_prob for _, h in pairs] == pytest.approx([s.log_prob for s in scores], rel=1e-4, abs=1e-3)


def test_no_batch_is_above_its_budget(tokenizer, monkeypatch):
    sizes = []
    collate = scoring.collate

    def watched(*args, **kwargs):
        batch = collate(*args, **kwargs)
        sizes.append((len(batch.source), max(batch.source.shape[1], batch.target.shape[1] - 1)))
        return batch

    monkeypatch.setattr(scoring, "collate", watched)
    sources, targets = tokenizer.encode(SOURCES * 5), tokenizer.encode(TARGETS * 5)
    score_ids(make_model(tokenizer, 5), sources, targets, tokenizer, tokenizer, batch_tokens=60)
    assert sum(rows for rows, _ in sizes) == 30
    assert max(rows for rows, _ in sizes) > 1
    assert all(rows * longest <= 60 or rows == 1 for rows, longest in sizes)


def test_unequal_counts_are_refused_with_both(tokenizer):
    with pytest.raises(CorpusError, match="2 sources but 1 targets; line n of the one belongs to line n of the other"):
        score_ids(make_model(tokenizer, 1), [[4], [5]], [[4]], tokenizer, tokenizer)


def test_nothing_scores_nothing(tokenizer):
    assert score_ids(make_model(tokenizer, 1), [], [], tokenizer, tokenizer) == []
