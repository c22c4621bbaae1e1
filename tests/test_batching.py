"""Batches: what they hold, which examples meet in them, and that a resumed run sees the same ones."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seq2seq.errors import ConfigError
from seq2seq.text import batching
from seq2seq.text.batching import TILE, WeightedBatch, batch_order, collate, length_batches

SPECIALS = {"source_eos": 3, "target_bos": 2, "target_eos": 4, "source_pad": 0, "target_pad": 9}


def by_hand(rows, eos, pad, bos=()):
    """Padded rows, one list operation at a time."""
    longest = max(len(row) for row in rows)
    return [[*bos, *row, eos, *[pad] * (longest - len(row))] for row in rows]


@given(st.lists(st.tuples(*[st.lists(st.integers(5, 99), max_size=7)] * 2), min_size=1, max_size=6))
def test_collate(pairs):
    sources, targets = ([list(pair[side]) for pair in pairs] for side in range(2))
    batch = collate(sources, targets, **SPECIALS)
    assert batch.source.tolist() == by_hand(sources, 3, 0)
    assert batch.target.tolist() == by_hand(targets, 4, 9, [2])
    assert batch.source_lengths.tolist() == [len(row) + 1 for row in sources]
    assert batch.target_lengths.tolist() == [len(row) + 1 for row in targets]
    assert all(tensor.dtype == torch.int64 for tensor in batch)
    labels, steps = batch.target[:, 1:], torch.arange(batch.target.shape[1] - 1)
    assert bool((labels[steps >= batch.target_lengths[:, None]] == 9).all())
    assert bool((labels.gather(1, batch.target_lengths[:, None] - 1) == 4).all())


def test_batch_moves():
    batch = collate([[5]], [[6, 7]], **SPECIALS)
    moved = batch.to("meta")
    assert {tensor.device.type for tensor in moved} == {"meta"} and moved.target.shape == batch.target.shape


def test_weighted_batch_moves():
    moved = WeightedBatch(collate([[5]], [[6, 7]], **SPECIALS), torch.ones(1)).to("meta")
    assert {tensor.device.type for tensor in (*moved.pairs, moved.weights)} == {"meta"}


def lengths(count, seed=0, longest=60):
    random = np.random.default_rng(seed)
    sources = np.clip(random.lognormal(2.3, 0.6, count), 1, longest).astype(np.int32)
    targets = np.clip(sources * random.normal(1.1, 0.2, count), 1, longest).astype(np.int32)
    return sources, targets


def order(sides, **options):
    return batch_order(*sides, **{"batch_tokens": 500, "batch_sentences": 0, "seed": 1, "epoch": 0, **options})


def cost(sides, batch):
    return len(batch) * max(sides[0][batch].max(), sides[1][batch].max())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 80),
    st.integers(0, 300),
    st.integers(0, 20),
    st.integers(-5, 5),
    st.integers(0, 3),
)
def test_every_example_once_within_the_budget(count, tokens, sentences, seed, epoch):
    sides = lengths(count, seed=count)
    options = {"batch_tokens": tokens, "batch_sentences": sentences, "seed": seed, "epoch": epoch}
    if (tokens, sentences) == (0, 0):
        with pytest.raises(ConfigError):
            order(sides, **options)
        return
    batches = order(sides, **options)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    for batch in batches:
        assert len(batch) > 0
        assert sentences == 0 or len(batch) <= sentences
        assert tokens == 0 or len(batch) == 1 or cost(sides, batch) <= tokens


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(1, 90), st.integers(1, 30), st.integers(0, 3))
def test_a_corpus_of_many_parts(count, part, segment, epoch):
    """Every example once, within the budget, whatever the sizes of parts; the same in another process."""
    sides = lengths(count, seed=count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "PART_ROWS", part)
        patch.setattr(batching, "SEGMENT_ROWS", segment)
        batches = order(sides, batch_tokens=200, epoch=epoch)
        again = order(sides, batch_tokens=200, epoch=epoch)
        assert sorted(np.concatenate(batches[:]).tolist()) == list(range(count))
        assert all(len(batch) == 1 or cost(sides, batch) <= 200 for batch in batches)
        assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in again]
        assert batches[-1].tolist() == batches[len(batches) - 1].tolist()
        middle = len(batches) // 2
        assert [b.tolist() for b in batches[middle:]] == [batches[i].tolist() for i in range(middle, len(batches))]
        with pytest.raises(IndexError):
            batches[len(batches)]


def test_parts_mix_the_corpus(monkeypatch):
    """A part holds segments from everywhere, others in another epoch; batches are as full as those of one part."""
    sides = lengths(60_000)
    whole = order(sides, batch_tokens=2000)
    monkeypatch.setattr(batching, "PART_ROWS", 10_000)
    monkeypatch.setattr(batching, "SEGMENT_ROWS", 100)
    first, second = (order(sides, batch_tokens=2000, epoch=epoch) for epoch in (0, 1))
    begin = [np.concatenate(batches[: len(batches) // 6]) for batches in (first, second)]
    for rows in begin:
        assert np.histogram(rows, bins=6, range=(0, 60_000))[0].min() > 800
    common = len(np.intersect1d(*begin))
    assert common < 0.3 * len(begin[0])
    assert len(first) < 1.15 * len(whole)  # with parts of the real size a hundredth


def test_a_long_pair_makes_its_own_batch():
    sides = np.array([5, 900, 5]), np.array([5, 4, 6])
    batches = [sorted(batch.tolist()) for batch in order(sides, batch_tokens=100)]
    assert sorted(batches) == [[0, 2], [1]]


def test_sentences_alone_fill_batches_exactly():
    sizes = sorted(len(batch) for batch in order(lengths(1003), batch_tokens=0, batch_sentences=64))
    assert sizes == [1003 % 64] + [64] * (1003 // 64)


def test_order_is_a_function_of_seed_and_epoch():
    sides = lengths(2000)
    first, again = order(sides), order(sides)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))

    def contents(batches):
        return {tuple(sorted(batch.tolist())) for batch in batches}

    for other in (order(sides, epoch=1), order(sides, seed=2)):
        common = contents(first) & contents(other)
        assert len(common) < 0.1 * len(first)  # other batches, not the same ones in another order


def test_lengths_are_alike_within_a_batch_and_mixed_between_batches():
    sides = lengths(20_000)
    batches = order(sides, batch_tokens=2000)
    for side, efficiency in ((0, 0.8), (1, 0.97)):  # random batches: 0.3
        real = sum(int(sides[side][batch].sum()) for batch in batches)
        padded = sum(len(batch) * int(sides[side][batch].max()) for batch in batches)
        assert real / padded > efficiency
    longest = np.array([sides[1][batch].max() for batch in batches], dtype=float)
    assert abs(np.corrcoef(longest, np.arange(len(batches)))[0, 1]) < 0.25


def test_batches_hold_whole_tiles_of_sentences():
    """Few sizes of batches where the budget decides; where the number of sentences is given, that number."""
    sides = lengths(20_000)
    sizes = [len(batch) for batch in order(sides, batch_tokens=2000)]
    odd = [size for size in sizes if size % TILE and size >= 2 * TILE]
    assert len(sizes) > 50 and len(odd) <= 1  # the last one in order of length takes what is left
    sizes = [len(batch) for batch in order(sides, batch_tokens=2000, batch_sentences=30)]
    assert max(sizes) == 30 and sizes.count(30) > len(sizes) / 2


def test_many_pairs_are_ordered_quickly():
    sides = lengths(200_000, longest=200)
    best = float("inf")
    for epoch in range(2):
        start = time.perf_counter()
        batches = order(sides, batch_tokens=3000, epoch=epoch)
        best = min(best, time.perf_counter() - start)
    assert len(batches) < 1.1 * np.maximum(*sides).sum() / 3000
    assert best < 3  # about 0.1 s on an idle core


def test_nothing_to_order():
    with pytest.raises(ConfigError, match="batch_tokens is 0 and batch_sentences is 0; one of them must be above 0"):
        order(lengths(5), batch_tokens=0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=40), st.integers(0, 200), st.integers(1, 5))
def test_length_batches(sizes, budget, rows):
    groups = length_batches(np.array(sizes, dtype=np.int64), budget, rows)
    flat = [index for group in groups for index in group.tolist()]
    assert sorted(flat) == list(range(len(sizes)))
    in_order = [sizes[index] for index in flat]
    assert in_order == sorted(sizes, reverse=True)
    for group, following in itertools.zip_longest(groups, groups[1:]):
        longest = max(sizes[index] for index in group)
        assert len(group) == 1 or len(group) * rows * longest <= budget
        if following is not None:  # greedy: the next item would not have fitted
            assert (len(group) + 1) * rows * max(longest, 1) > budget


# A tokenised corpus.
