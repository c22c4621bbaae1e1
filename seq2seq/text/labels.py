"""Labelled text: what the labels are, which rows to hold out, and the batches of a tokenised corpus.

Legend: N texts, B texts in a batch, W windows of all of them (W = B where no text is long), S longest window with EOS,
K labels.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import datasets
import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor

from seq2seq.config import LabelDataConfig
from seq2seq.errors import CorpusError
from seq2seq.text.batching import flatten, padded
from seq2seq.text.corpus import has_split, load_corpus
from seq2seq.text.data import BatchSource, flat, list_lengths, tokenise
from seq2seq.text.tables import LabelledPairs
from seq2seq.text.tokenizer import Tokenizer


def _pairs(data: LabelDataConfig) -> LabelledPairs:
    return LabelledPairs(
        data=data.data, source=data.label_column, target=data.text_column, separator=data.label_separator,
        encoding_errors=data.encoding_errors,
    )  # fmt: skip


def load_labelled(data: LabelDataConfig, split: str) -> datasets.Dataset:
    """The rows of one split, memory-mapped, in order: columns source (the label's cell) and target (the text).

    Raises:
        CorpusError: As `load_corpus`.
    """
    return load_corpus(_pairs(data), split)


def has_labelled(data: LabelDataConfig, split: str) -> bool:
    """Whether there is such a split."""
    return has_split(_pairs(data), split)


class Labels(NamedTuple):
    """The labels of a corpus: row n has those of the cell number `codes[n]`."""

    cells: list[tuple[str, ...]]
    """Labels of each different cell; none for an empty one."""
    codes: np.ndarray
    """(N,) int64."""

    @classmethod
    def read(cls, corpus: datasets.Dataset, separator: str) -> Labels:
        """The labels of all rows, white space around them dropped."""
        column = pc.dictionary_encode(corpus.data.column("source").combine_chunks())
        cells = [_split(cell, separator) for cell in column.dictionary.to_pylist()]
        return cls(cells, column.indices.to_numpy().astype(np.int64))

    def names(self) -> list[str]:
        """All labels, sorted; numbers by value."""
        found = {label for code in np.unique(self.codes) for label in self.cells[code]}
        return sorted(found, key=lambda label: (0, int(label), "") if label.isdecimal() else (1, 0, label))

    def take(self, rows: np.ndarray) -> Labels:
        """Those of some rows."""
        return Labels(self.cells, self.codes[rows])

    def strata(self) -> np.ndarray:
        """(N,) int64: a number for each row's rarest label, by which to split evenly; 0 for a row without labels."""
        counts = Counter[str]()
        for code, rows in enumerate(np.bincount(self.codes, minlength=len(self.cells)).tolist()):
            counts.update(dict.fromkeys(self.cells[code], rows))
        place = {name: k for k, name in enumerate(sorted(counts), 1)}
        rarest = [min(cell, key=lambda label: (counts[label], label), default="") for cell in self.cells]
        return np.array([place.get(label, 0) for label in rarest], dtype=np.int64)[self.codes]

    def present(self) -> np.ndarray:
        """(N,) whether a row has a label at all."""
        return np.array([bool(cell) for cell in self.cells], dtype=bool)[self.codes]

    def hot(self, names: Sequence[str]) -> np.ndarray:
        """(N, K) float32: 1 where a row has a label; labels that are not among the names are left out."""
        place = {name: k for k, name in enumerate(names)}
        rows = np.zeros((len(self.cells), len(names)), dtype=np.float32)
        for row, cell in zip(rows, self.cells, strict=True):
            row[[place[label] for label in cell if label in place]] = 1
        return rows[self.codes]


def _split(cell: str, separator: str) -> tuple[str, ...]:
    parts = cell.split(separator) if separator else [cell]
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def stratified(codes: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows in two parts, the second with `share` of them, of each code as near to that as whole rows allow.

    A code's only row is always in the first part.

    Args:
        codes: (N,) what to balance.
        share: In [0, 1).
        seed: Which rows.

    Returns:
        Two sorted arrays of row numbers.
    """
    random = np.random.default_rng([seed % 2**63, 7])
    shuffled = random.permutation(len(codes))
    order = shuffled[np.argsort(codes[shuffled], kind="stable")]
    # rows of a code lie together: each time that the running total of shares passes a whole number, one goes over
    places = np.floor((np.arange(len(codes)) + 1) * share + 0.5)
    second = np.diff(places, prepend=0.0) > 0
    counts = np.bincount(codes, minlength=1)
    second &= counts[codes[order]] > 1
    return np.sort(order[~second]), np.sort(order[second])


class Limits(NamedTuple):
    """How much of a text is read."""

    max_length: int
    long_texts: Literal["windows", "ends", "start"]
    max_windows: int

    @property
    def most(self) -> int:
        """Pieces of a text that are read at most."""
        return self.max_length * (self.max_windows if self.long_texts == "windows" else 1)

    def windows(self, ids: np.ndarray) -> list[np.ndarray]:
        """The parts in which the ids of one text are read: about equally long, in order, together `most` at most."""
        if len(ids) > self.most:
            last = self.most // 2 if self.long_texts != "start" else 0
            ids = np.concatenate([ids[: self.most - last], ids[len(ids) - last :]])
        return np.array_split(ids, max(-(-len(ids) // self.max_length), 1))


class LabelledBatch(NamedTuple):
    """Windows of B texts, and the texts' labels."""

    pieces: Tensor
    """(W, S) int64: ids, EOS, padding."""
    lengths: Tensor
    """(W,) int64: ids and EOS."""
    owners: Tensor
    """(W,) int64: the text that each window belongs to, ascending from 0 to B - 1."""
    labels: Tensor
    """(B,) int64 the label of each; or (B, K) float32, 1 for each label that it has."""

    def to(self, device: torch.device | str) -> LabelledBatch:
        """The same batch on another device."""
        return LabelledBatch(*(tensor.to(device, non_blocking=True) for tensor in self))

    def halves(self) -> tuple[LabelledBatch, ...]:
        """Two batches of the same texts, in order, padded no more than they need; of a single text the batch itself."""
        middle = (len(self.labels) + 1) // 2
        if middle == len(self.labels):
            return (self,)
        halves = []
        for first, labels in zip((0, middle), self.labels.split(middle), strict=True):
            own = (self.owners >= first) & (self.owners < first + middle)
            lengths = self.lengths[own]
            pieces = self.pieces[own, : int(lengths.max())]
            halves.append(LabelledBatch(pieces, lengths, self.owners[own] - first, labels))
        return tuple(halves)


def text_batch(
    ids: np.ndarray, lengths: np.ndarray, labels: np.ndarray, tokenizer: Tokenizer, limits: Limits
) -> LabelledBatch:
    """A batch from the ids of its texts one after the other, and the number of them in each (B,)."""
    owners = np.arange(len(lengths))
    if lengths.max(initial=0) > limits.max_length:
        parts = [limits.windows(text) for text in np.split(ids, np.cumsum(lengths)[:-1])]
        owners = np.repeat(owners, [len(part) for part in parts])
        ids = np.concatenate([window for part in parts for window in part])
        lengths = np.array([len(window) for part in parts for window in part])
    rows = padded(ids, lengths, tokenizer.eos_id, tokenizer.pad_id)
    return LabelledBatch(*map(torch.from_numpy, (rows, lengths + 1, owners, labels)))


class LabelledData(BatchSource[LabelledBatch]):
    """A tokenised corpus: ids memory-mapped, lengths and labels in memory."""

    def __init__(
        self, corpus: datasets.Dataset, labels: np.ndarray, rows: np.ndarray, tokenizer: Tokenizer, limits: Limits
    ) -> None:
        """Tokenises a corpus, or finds it tokenised in the cache.

        Args:
            corpus: As `load_labelled` gives it.
            labels: (N,) or (N, K) of those rows that are used.
            rows: (N,) their numbers.
            tokenizer: Of the texts.
            limits: How much of a text is read.
        """
        self._corpus, self._rows, self.labels = corpus.with_format("arrow"), rows, labels
        self.tokenizer, self.limits = tokenizer, limits
        self._tokens = tokenise(corpus, {"target": tokenizer})
        self._measure()

    def _measure(self) -> None:
        full, most = list_lengths(self._tokens, "target")[self._rows], self.limits.most
        self.cut = int((full > most).sum())
        """Number of texts of which a part is left out."""
        self.lengths = np.minimum(full, most) + 1
        """(N,) int32: pieces that are read of each text, and EOS."""

    def __len__(self) -> int:
        return len(self._rows)

    def first(self, count: int) -> LabelledData:
        """The first `count` of these texts."""
        return self._taken(self._rows[:count], self.labels[:count])

    def joined(self, other: LabelledData) -> LabelledData:
        """These texts and others of the same corpus, in its order."""
        rows = np.concatenate((self._rows, other._rows))
        order = np.argsort(rows)
        return self._taken(rows[order], np.concatenate((self.labels, other.labels))[order])

    def _taken(self, rows: np.ndarray, labels: np.ndarray) -> LabelledData:
        taken = copy.copy(self)
        taken._rows, taken.labels = rows, labels
        taken._measure()
        return taken

    def fetch(self, indices: np.ndarray) -> LabelledBatch:
        """The batch of these examples, from stored ids."""
        column = self._tokens[self._rows[indices]]["target"]
        return text_batch(*flat(column), self.labels[indices], self.tokenizer, self.limits)

    def texts(self, indices: np.ndarray) -> list[str]:
        """These examples, as they stand in the corpus."""
        return self._corpus[self._rows[indices]]["target"].to_pylist()

    def resegmented(
        self, indices: np.ndarray, amount: float, seeds: np.random.SeedSequence, share: slice
    ) -> LabelledBatch:
        """The batch of a share of these texts, segmented anew."""
        ids = self.tokenizer.sample(self.texts(indices), int(seeds.generate_state(1)[0]), amount)
        return text_batch(*flatten(ids[share]), self.labels[indices[share]], self.tokenizer, self.limits)


def label_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """(K,) float32 weights that make all labels count alike, 1 on average over the texts.

    Args:
        labels: (N,), or (N, K): then the weight of a label's presence against its absence, 100 at most.
        classes: K.
    """
    if labels.ndim == 2:
        present = labels.sum(0)
        return np.clip((len(labels) - present) / np.maximum(present, 1), 1, 100).astype(np.float32)
    return (len(labels) / (classes * np.maximum(np.bincount(labels, minlength=classes), 1))).astype(np.float32)


def check_labels(names: Sequence[str], where: str, several: bool) -> None:
    """Makes sure that there is something to tell apart.

    Raises:
        CorpusError: Fewer than two labels (one is enough where a row may have none).
    """
    if len(names) < (1 if several else 2):
        found = f"only one label, {names[0]!r}" if names else "no labels"
        raise CorpusError(
            f"{where} has {found}; a classifier needs two or more. Name the column with --label-column; a file without "
            "header has the label first: label<TAB>text"
        )
