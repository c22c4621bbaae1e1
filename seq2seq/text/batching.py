"""Token ids to padded batches, in an order that is a function of seed and epoch.

Legend: B sentences in a batch, S longest source, T longest target of the batch, both with EOS.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from seq2seq.errors import ConfigError

SOURCE_NOISE = 1.0
TARGET_NOISE = 0.03
"""Half widths of what is added to lengths before sorting, so that neighbours change each epoch: tokens to the source,
a share of itself to the target, which parts the few long pairs and leaves targets of up to 16 tokens as they were."""

TILE = 8
"""Sentences come in multiples of this where a token budget sets their number: matrix units work on whole tiles, and
few sizes mean few kernels to compile (2 to 20 ms each with AMX)."""

PART_ROWS, SEGMENT_ROWS = 250_000, 1_000
"""Pairs that are sorted by length together, and pairs that stay neighbours of a corpus of more than that."""


class Batch(NamedTuple):
    """Padded ids of B pairs. Decoder input is target[:, :-1], labels are target[:, 1:]."""

    source: Tensor
    """(B, S) int64: ids, EOS, padding."""
    source_lengths: Tensor
    """(B,) int64: ids and EOS."""
    target: Tensor
    """(B, T + 1) int64: BOS, ids, EOS, padding."""
    target_lengths: Tensor
    """(B,) int64: predicted tokens, that is ids and EOS without BOS; label t is real where t < target_lengths."""

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))

    def halves(self) -> tuple[Batch, ...]:
        """Two batches of the same pairs, in order, padded no more than they need; of a single pair the batch itself."""
        middle = (len(self.source) + 1) // 2
        if middle == len(self.source):
            return (self,)
        return tuple(
            Batch(source[:, : int(lengths.max())], lengths, target[:, : int(labels.max()) + 1], labels)
            for source, lengths, target, labels in zip(*(tensor.split(middle) for tensor in self), strict=True)
        )


class WeightedBatch(NamedTuple):
    """Pairs whose losses are weighted, and whose tokens are not counted."""

    pairs: Batch
    """B pairs."""
    weights: Tensor
    """(B,) float32: what the loss of each is multiplied by, of any sign."""

    def to(self, device: torch.device | str) -> WeightedBatch:
        """The same batch on another device."""
        return WeightedBatch(self.pairs.to(device), self.weights.to(device, non_blocking=True))


class Specials(NamedTuple):
    """Ids that mark beginning, end and padding."""

    source_eos: int
    source_pad: int
    target_bos: int
    target_eos: int
    target_pad: int


def collate(
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    *,
    source_eos: int,
    target_bos: int,
    target_eos: int,
    source_pad: int,
    target_pad: int,
) -> Batch:
    """A batch of B pairs of ids, which hold neither BOS nor EOS."""
    specials = Specials(source_eos, source_pad, target_bos, target_eos, target_pad)
    return make_batch(*flatten(sources), *flatten(targets), specials)


def flatten(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """All ids one after the other, and the number of them in each row (B,)."""
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    return np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int64, count=int(lengths.sum())), lengths


def make_batch(
    source_ids: np.ndarray,
    source_lengths: np.ndarray,
    target_ids: np.ndarray,
    target_lengths: np.ndarray,
    specials: Specials,
) -> Batch:
    """A batch from the ids of all its rows one after the other, and the number of them in each row (B,)."""
    source = padded(source_ids, source_lengths, specials.source_eos, specials.source_pad)
    labels = padded(target_ids, target_lengths, specials.target_eos, specials.target_pad)
    bos = np.full((len(labels), 1), specials.target_bos, dtype=np.int64)
    target = np.concatenate([bos, labels], axis=1)  # (B, T + 1)
    return Batch(
        torch.from_numpy(source),
        torch.from_numpy(source_lengths + 1),
        torch.from_numpy(target),
        torch.from_numpy(target_lengths + 1),
    )


def padded(ids: np.ndarray, lengths: np.ndarray, eos: int, pad: int) -> np.ndarray:
    """(B, longest + 1): the ids of each row, EOS, padding."""
    longest = int(lengths.max(initial=0))
    rows = np.full((len(lengths), longest + 1), pad, dtype=np.int64)
    rows[np.arange(longest + 1) < lengths[:, None]] = ids
    rows[np.arange(len(lengths)), lengths] = eos
    return rows


def batch_order(
    source_lengths: np.ndarray,
    target_lengths: np.ndarray,
    *,
    batch_tokens: int,
    batch_sentences: int,
    seed: int,
    epoch: int,
) -> BatchOrder:
    """Which examples form which batch in an epoch; a pure function of its arguments.

    Pairs are sorted by target length, then by source length with a little noise, drawn anew each epoch (up and down in
    turn, so that a step of the target length finds the source where it was), cut to the budget, and the batches
    shuffled. A batch costs B x the longest side; a single pair above the budget makes a batch of its own.

    Of more than PART_ROWS pairs so many are sorted at a time, segments of neighbours drawn from the whole corpus anew
    each epoch: memory does not grow with the corpus, and what is read lies together on the disk.

    Args:
        source_lengths: (N,) tokens of each source, counted as the batch will hold them.
        target_lengths: (N,) the same of each target.
        batch_tokens: Budget; 0: none.
        batch_sentences: Most sentences in a batch; 0: no limit. Without a token budget, every batch but the last in
            length order has exactly that many.
        seed: Of the run.
        epoch: Counted from 0.

    Returns:
        Indices of the examples of each batch, in order.

    Raises:
        ConfigError: Neither limit is given.
    """
    if batch_tokens <= 0 and batch_sentences <= 0:
        raise ConfigError(
            f"batch_tokens is {batch_tokens} and batch_sentences is {batch_sentences}; one of them must be above 0"
        )
    count, limits, seeds = len(source_lengths), (batch_tokens, batch_sentences), [seed % 2**63, epoch]

    def whole(_: int) -> list[np.ndarray]:
        rows = np.arange(count)
        return _sorted_batches(rows, source_lengths, target_lengths, *limits, np.random.default_rng(seeds))

    if count <= PART_ROWS:
        return BatchOrder(1, whole)
    segments = np.random.default_rng(seeds).permutation(-(-count // SEGMENT_ROWS))
    parts = np.array_split(segments, -(-count // PART_ROWS))

    def part_of_it(part: int) -> list[np.ndarray]:
        starts = np.sort(parts[part]) * SEGMENT_ROWS
        rows = (starts[:, None] + np.arange(SEGMENT_ROWS)).ravel()
        rows = rows[rows < count]
        sides = source_lengths[rows], target_lengths[rows]
        return _sorted_batches(rows, *sides, *limits, np.random.default_rng([*seeds, part]))

    return BatchOrder(len(parts), part_of_it)


class BatchOrder(Sequence[np.ndarray]):
    """The batches of an epoch, of which one or two parts are in memory; a slice is a list."""

    def __init__(self, parts: int, make: Callable[[int], list[np.ndarray]]) -> None:
        """Args:
        parts: Number of parts, one after the other.
        make: The batches of a part; called again whenever it is not in memory.
        """
        self._part = functools.lru_cache(maxsize=2)(make)
        self._ends = np.cumsum([len(self._part(part)) for part in range(parts)])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self._part(part)[index - (int(self._ends[part - 1]) if part else 0)]


def _sorted_batches(
    rows: np.ndarray,
    source_lengths: np.ndarray,
    target_lengths: np.ndarray,
    tokens: int,
    sentences: int,
    random: np.random.Generator,
) -> list[np.ndarray]:
    """Rows of like lengths in batches, these in random order; all are views of one array."""
    count = len(source_lengths)
    across = source_lengths + SOURCE_NOISE * random.uniform(-1, 1, count)
    level = np.rint(target_lengths * (1 + TARGET_NOISE * random.uniform(-1, 1, count))).astype(np.int64)
    order = np.lexsort((np.where(level % 2 == 0, across, -across), level))
    longest = np.maximum(source_lengths, target_lengths)[order]
    batches = _cut(rows[order], longest, tokens, sentences, TILE)
    return [batches[i] for i in random.permutation(len(batches))]


def length_batches(lengths: np.ndarray, budget: int, rows_per_item: int = 1) -> list[np.ndarray]:
    """Groups of like length for decoding, the longest first, so that memory peaks at the start.

    Args:
        lengths: (N,) tokens of each item.
        budget: Most tokens in a group: items x rows_per_item x longest; a single larger item makes a group of its own.
        rows_per_item: Rows that an item takes, such as the beam size.

    Returns:
        Indices of the items of each group; every index occurs once.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    return _cut(order, lengths[order] * rows_per_item, max(budget, 1), 0)


def _cut(order: np.ndarray, cost: np.ndarray, budget: int, rows: int, tile: int = 1) -> list[np.ndarray]:
    """Consecutive parts of `order` with at most `rows` rows and size x largest cost <= budget (0: no limit).

    Where the budget decides and is not small, a part holds whole tiles of rows.
    """
    parts = []
    start = 0
    while start < len(order):
        most = rows if rows > 0 else len(order)
        if budget > 0:
            most = min(most, max(budget // max(int(cost[start]), 1), 1))
        window = cost[start : start + most]
        size = len(window)
        if budget > 0 and size > 1:
            total = np.maximum.accumulate(window) * np.arange(1, size + 1)  # never falls
            fitting = max(int(np.searchsorted(total, budget, side="right")), 1)
            if fitting < len(order) - start and fitting != rows and fitting >= 2 * tile:
                fitting -= fitting % tile
            size = fitting
        parts.append(order[start : start + size])
        start += size
    return parts
