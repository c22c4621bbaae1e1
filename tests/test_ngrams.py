"""Scores of n-grams against a loop over the text, window by window."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from seq2seq.nn.ngrams import MOST_BUCKETS, SCALE, NgramLayer

PIECES = torch.tensor([[7, 8, 7, 8, 3], [9, 3, 0, 0, 0], [7, 3, 0, 0, 0], [5, 6, 3, 0, 0]])
LENGTHS = torch.tensor([5, 2, 2, 3])
OWNERS = torch.tensor([0, 1, 1, 2])


def grams(windows: list[list[int]], longest: int) -> set[tuple[int, ...]]:
    """Different n-grams of a text; -1 marks where a window begins."""
    found = set()
    for window in ([-1, *window] for window in windows):
        for n in range(1, longest + 1):
            found |= {tuple(window[i : i + n]) for i in range(len(window) - n + 1)}
    return found


TEXTS = [[[7, 8, 7, 8, 3]], [[9, 3], [7, 3]], [[5, 6, 3]]]


@pytest.mark.parametrize("longest", [1, 2, 3])
def test_a_bucket_for_each_different_ngram(longest):
    """As many as the loop finds, and two texts share as many as the loop says that they share."""
    layer = NgramLayer(longest, 3, drop=0.5).eval()
    torch.nn.init.normal_(layer.weight)
    texts, buckets = layer.features(PIECES, LENGTHS, OWNERS)
    found = [set(buckets[texts == text].tolist()) for text in range(3)]
    expected = [grams(windows, longest) for windows in TEXTS]
    for i, j in itertools.product(range(3), repeat=2):
        assert len(found[i] & found[j]) == len(expected[i] & expected[j])
    for row, mine in zip(layer(PIECES, LENGTHS, OWNERS), found, strict=True):
        torch.testing.assert_close(row, SCALE / math.sqrt(len(mine)) * layer.weight[sorted(mine)].sum(0))


def test_padding_has_no_part_and_nothing_is_left_out_in_evaluation():
    layer = NgramLayer(2, 2, drop=0.9).eval()
    torch.nn.init.normal_(layer.weight)
    scores = layer(PIECES, LENGTHS, OWNERS)
    padded = torch.cat((PIECES, torch.full((4, 3), 11)), 1)
    torch.testing.assert_close(layer(padded, LENGTHS, OWNERS), scores)
    assert not torch.allclose(layer.train()(PIECES, LENGTHS, OWNERS), scores)


def test_buckets_are_bounded_and_evenly_filled():
    assert NgramLayer(1, 2, 0.0).buckets == MOST_BUCKETS
    assert NgramLayer(1, 77, 0.0).weight.numel() <= 2_600_000
    layer = NgramLayer(2, 100, 0.0)
    ids = torch.randint(4, 8000, (1, 20_000))
    filled = len(layer.features(ids, torch.tensor([20_000]), torch.tensor([0]))[1])
    different = len({tuple(pair) for pair in ids.unfold(1, 2, 1)[0].tolist()}) + len(ids.unique())
    expected = layer.buckets * (1 - math.exp(-different / layer.buckets))
    assert filled == pytest.approx(expected, rel=0.03)
