"""Scores by prefix trees against those of whole pairs, and how much of the work a tree shares."""

from __future__ import annotations

import numpy as np
import pytest
from models import make_model, small_tokenizer

from seq2seq.inference import prefixes
from seq2seq.inference.ensemble import Ensemble
from seq2seq.inference.prefixes import levels, score_prefixes
from seq2seq.inference.prepared import PreparedModel
from seq2seq.inference.scoring import score_ids
from seq2seq.text.tokenizer import Tokenizer

SOURCES = ["the cat", "a dog runs in the park and eats", "", "two"]
PAIRS = [
    *[(0, "two red apples"), (0, "two red"), (0, "two red apples"), (0, "two men"), (0, ""), (3, "men eat")],
    *[(1, "two red apples"), (2, "the park"), (2, ""), (3, "men"), (3, "men eat red apples in the park")],
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


@pytest.mark.parametrize(("attention", "layers", "budget", "logits"), [
    ("none", 1, 2000, 1_000_000), ("bahdanau", 2, 2000, 1_000_000), ("bahdanau", 1, 1, 1), ("none", 2, 12, 700),
])  # fmt: skip
def test_scores_are_those_of_whole_pairs(tokenizer, monkeypatch, attention, layers, budget, logits):
    monkeypatch.setattr(prefixes, "LOGITS", logits)
    models = [make_model(tokenizer, seed, attention=attention, decoder_layers=layers) for seed in (1, 2)]
    sources, targets = tokenizer.encode(SOURCES), tokenizer.encode([target for _, target in PAIRS])
    owners = [owner for owner, _ in PAIRS]
    for model, exact in (
        (PreparedModel(models[0]), models[0]),
        (Ensemble([*map(PreparedModel, models)]), Ensemble(models)),
    ):
        found = score_prefixes(model, sources, owners, targets, tokenizer, tokenizer, batch_tokens=budget)
        expected = score_ids(exact, [sources[i] for i in owners], targets, tokenizer, tokenizer)
        assert found.tolist() == pytest.approx([score.log_prob for score in expected], abs=1e-3)


def test_a_prefix_is_one_node():
    owners, targets = [0, 0, 0, 1, 0], [[5, 6], [5, 7], [5], [5, 6], [5, 6]]
    tree = list(levels(owners, targets, bos=2))
    assert [level.pieces.tolist() for level in tree] == [[2, 2], [5, 5], [6, 7, 6]]
    assert [level.parents.tolist() for level in tree] == [[0, 1], [0, 1], [0, 0, 1]]
    assert [level.sources.tolist() for level in tree] == [[0, 1], [0, 1], [0, 0, 1]]
    assert [list(zip(level.ends.tolist(), level.targets.tolist(), strict=True)) for level in tree] == [
        [], [(0, 2)], [(0, 0), (0, 4), (1, 1), (2, 3)],
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_any_tree_spells_its_targets(seed):
    random = np.random.default_rng(seed)
    owners = random.integers(0, 4, 60).tolist()
    targets = [random.integers(3, 6, random.integers(0, 5)).tolist() for _ in owners]
    spelled: dict[int, tuple[int, list[int]]] = {}
    before: list[list[int]] = []
    nodes = 0
    for level in levels(owners, targets, bos=2):
        assert (np.diff(level.parents) >= 0).all() and (np.diff(level.ends) >= 0).all()
        steps = zip(level.parents.tolist(), level.pieces.tolist(), strict=True)
        now = [[] if piece == 2 else [*before[parent], piece] for parent, piece in steps]
        for end, target in zip(level.ends.tolist(), level.targets.tolist(), strict=True):
            spelled[target] = (int(level.sources[end]), now[end])
        before, nodes = now, nodes + len(now)
    assert spelled == dict(enumerate(zip(owners, targets, strict=True)))
    distinct = {(o, tuple(t[:k])) for o, t in zip(owners, targets, strict=True) for k in range(len(t) + 1)}
    assert nodes == len(distinct)


def test_nothing_scores_nothing(tokenizer):
    model = PreparedModel(make_model(tokenizer, 1))
    assert score_prefixes(model, [], [], [], tokenizer, tokenizer).tolist() == []
