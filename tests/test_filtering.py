"""What is left out of a corpus and why; repetitions against a set; memory of a long corpus."""

from __future__ import annotations

import random

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.config import FilterConfig
from seq2seq.text import filtering
from seq2seq.text.filtering import Verdicts, filtered, letters, new_outcome, repetitions, text_hash, usual_ratio


def corpus(pairs):
    sources, targets = zip(*pairs, strict=True) if pairs else ((), ())
    return datasets.Dataset.from_dict({"source": list(sources), "target": list(targets)})


def kept(pairs, held_out=None, **options):
    data = corpus(pairs)
    outcome = new_outcome(data)
    found = [pair for block in filtered(data, FilterConfig(**options), held_out or {}, outcome) for pair in block]
    assert len(found) == outcome.kept and outcome.read == len(pairs)
    assert outcome.examples.keys() == outcome.left_out.keys()
    return found, dict(outcome.left_out)


GOOD = ("A red house stands here.", "Ein rotes Haus steht hier.")


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        (GOOD, None),
        (("", "Haus"), "empty side"),
        (("house", " \u3000 "), "empty side"),
        (("a" * 1001, "b" * 900), "more than 1,000 characters"),
        (("a\x07b", "ab"), "control or replacement characters"),
        (("ab", "a\ufffdb"), "control or replacement characters"),
        (("The same", "The same "), "both sides the same"),
        (("A house", "Ein Haus, das " + "sehr " * 20), "lengths far from the usual ratio"),
        (("A", "Ein Haus"), None),  # short texts may differ
        (("12:30 - 14:45", "12.30 bis 14.45"), "few letters"),
        (("पुस्तक मेज़ पर है", "The book is on the table"), None),  # vowel signs are marks
        (("本は机の上にある。", "The book is on the table"), None),
    ],
)
def test_verdicts(pair, why):
    assert Verdicts(FilterConfig(), 1.0, set()).reason(*pair) == why


def test_limits_can_be_turned_off():
    off = FilterConfig(max_characters=0, max_ratio=0, min_letters=0, keep_identical=True)
    judge = Verdicts(off, 1.0, set())
    for pair in [("a" * 5000, "b"), ("12", "12"), ("!", "?" * 500)]:
        assert judge.reason(*pair) is None


def test_ratio_is_what_is_usual_in_the_corpus():
    """Sources a third as long as targets, as Japanese and English: then one of twice its target is out."""
    pairs = [("x" * 20 + str(i), "y" * 60 + str(i)) for i in range(200)] + [("z" * 80, "w" * 30)]
    assert usual_ratio(corpus(pairs)) == pytest.approx(23 / 63, rel=0.01)
    found, why = kept(pairs)
    assert len(found) == 200 and why == {"lengths far from the usual ratio": 1}


def test_letters():
    assert letters("ab 12") == 0.5 and letters("") == 0 and letters("   ") == 0 and letters("äß") == 1


def test_held_out_sources_do_not_stay():
    test = corpus([("A  dog runs.", "Ein Hund rennt.")])
    pairs = [GOOD, ("A dog runs.", "Ein Hund läuft.")]
    assert kept(pairs, {"test": test}) == ([GOOD], {"source in a held-out split": 1})
    assert kept(pairs, {"test": test}, keep_held_out=True) == (pairs, {})


def test_the_first_of_repetitions_stays_in_its_place():
    other = ("A dog runs.", "Ein Hund rennt.")
    pairs = [GOOD, other, (GOOD[0] + " ", GOOD[1]), other, GOOD, (GOOD[0], other[1])]
    assert kept(pairs) == ([GOOD, other, (GOOD[0], other[1])], {"a repetition": 3})
    assert kept(pairs, keep_repetitions=True) == (pairs, {})


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("uvwxyz")), max_size=60))
def test_repetitions_are_those_of_a_set(pairs):
    seen, expected = set(), []
    for pair in pairs:
        expected.append(pair in seen)
        seen.add(pair)
    assert repetitions(corpus(pairs))[: len(pairs)] == expected if pairs else True


def test_repetitions_across_blocks(monkeypatch):
    monkeypatch.setattr(filtering, "BLOCK", 7)
    pairs = [(str(i % 40), str(i % 40)) for i in range(100)]
    assert repetitions(corpus(pairs))[:100] == [i >= 40 for i in range(100)]
    words = [(f"word {'x' * (i % 40)}",) * 2 for i in range(100)]
    assert kept(words, keep_identical=True) == (words[:40], {"a repetition": 60})


def test_hashes():
    assert text_hash("a b") == text_hash(" a\u00a0 b ") != text_hash("ab")
    assert text_hash("a", "b") != text_hash("b", "a") and text_hash("a", "b") != text_hash("ab")
    random_ = random.Random(1)
    texts = {"".join(random_.choices("ab c", k=12)) for _ in range(20_000)}
    assert len({text_hash(text) for text in texts}) == len({" ".join(text.split()) for text in texts})
