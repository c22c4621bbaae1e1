"""N-grams and their scores against loops over the text, window by window."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch

from seq2seq.nn.ngrams import NgramLayer, named_ngrams, sums

PIECES = torch.tensor([[7, 8, 7, 8, 3], [9, 3, 0, 0, 0], [7, 3, 0, 0, 0], [5, 6, 3, 0, 0]])
LENGTHS = torch.tensor([5, 2, 2, 3])
OWNERS = torch.tensor([0, 1, 1, 2])
BATCH = PIECES, LENGTHS, OWNERS
TEXTS = [[[7, 8, 7, 8, 3]], [[9, 3], [7, 3]], [[5, 6, 3]]]


def grams(windows: list[list[int]], longest: int) -> Counter[tuple[int, ...]]:
    """N-grams of a text and how often each occurs; -1 marks where a window begins."""
    found = Counter()
    for window in ([-1, *window] for window in windows):
        for n in range(1, longest + 1):
            found.update(tuple(window[i : i + n]) for i in range(len(window) - n + 1))
    return found


@pytest.mark.parametrize("longest", [1, 2, 3, 9])
def test_a_name_for_each_different_ngram(longest):
    """As many as the loop finds and as often, and two texts share as many as the loop says that they share."""
    texts, names = named_ngrams(*BATCH, longest)
    found = [Counter(names[texts == text].tolist()) for text in range(3)]
    expected = [grams(windows, longest) for windows in TEXTS]
    for mine, loop in zip(found, expected, strict=True):
        assert sorted(mine.values()) == sorted(loop.values())
        assert sum(name % 2 for name in mine) == sum(len(gram) == 1 for gram in loop)
    for i, j in itertools.product(range(3), repeat=2):
        assert len(found[i].keys() & found[j].keys()) == len(expected[i].keys() & expected[j].keys())


def test_no_two_of_many_ngrams_have_one_name():
    ids = torch.randint(4, 32_000, (1, 100_000))
    names = named_ngrams(ids, torch.tensor([100_000]), torch.tensor([0]), 3)[1]
    pairs, triples = ({tuple(gram) for gram in ids.unfold(1, n, 1)[0].tolist()} for n in (2, 3))
    with_mark = 1 + 1 + 1  # alone, before a piece, before two
    assert len(names.unique()) == with_mark + len(ids.unique()) + len(pairs) + len(triples)


def layer_of(known: list[tuple[int, ...]]) -> tuple[NgramLayer, dict[tuple[int, ...], int]]:
    """A layer that knows some n-grams, with random numbers; and the place of each."""
    named = {}
    for gram in known:
        row = torch.tensor([gram])
        names = named_ngrams(row, torch.tensor([len(gram)]), torch.tensor([0]), len(gram))[1]
        named[gram] = int(names[-1])  # the mark's is before the whole
    layer = NgramLayer(3, len(known), 2)
    layer.names.copy_(torch.tensor(sorted(named.values())))
    torch.nn.init.normal_(layer.weight), torch.nn.init.normal_(layer.bias), torch.nn.init.uniform_(layer.rarity)
    return layer, {gram: sorted(named.values()).index(name) for gram, name in named.items()}


def test_scores_equal_a_loop_over_the_known_ngrams_and_padding_has_no_part():
    layer, place = layer_of([(7,), (8,), (3,), (7, 8), (8, 7), (7, 8, 7), (8, 3), (6,)])
    scores = layer(*BATCH)
    for row, windows in zip(scores, TEXTS, strict=True):
        counts = {gram: count for gram, count in grams(windows, 3).items() if gram in place}
        values = {gram: (1 + math.log(count)) * layer.rarity[place[gram]] for gram, count in counts.items()}
        norm = math.sqrt(sum(float(value) ** 2 for value in values.values()))
        expected = layer.bias + sum(value / norm * layer.weight[place[gram]] for gram, value in values.items())
        torch.testing.assert_close(row, expected)
    padded = torch.cat((PIECES, torch.full((4, 3), 7)), 1)
    torch.testing.assert_close(layer(padded, LENGTHS, OWNERS), scores)


def test_a_text_of_unknown_ngrams_has_the_bias():
    layer, _ = layer_of([(7,), (7, 8)])
    scores = layer(*BATCH)
    torch.testing.assert_close(scores[2], layer.bias)
    assert not torch.allclose(scores[0], layer.bias)


def test_sums_are_a_sparse_product():
    dense, sparse = torch.randn(5, 3), torch.randn(4, 5) * (torch.rand(4, 5) < 0.5)
    sparse[2] = 0
    rows, columns = sparse.nonzero(as_tuple=True)
    torch.testing.assert_close(sums(rows, 4, columns, sparse[rows, columns], dense), sparse @ dense)
