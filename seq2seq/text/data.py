"""A tokenised corpus on disk, and the batches it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

import datasets
import numpy as np
import pyarrow as pa

from seq2seq.text.batching import Batch, Specials, flatten, make_batch
from seq2seq.text.tokenizer import Tokenizer

TOKENS_FORMAT = 1
"""Part of the name of cached token files; a change of their layout raises it."""

T = TypeVar("T")

WHOLE = slice(None)
"""All examples of a batch."""

AHEAD = 4
"""Batches made while the model works on the one before."""


class BatchSource(ABC, Generic[T]):
    """What is trained on, and how it comes in batches."""

    @abstractmethod
    def fetch(self, indices: np.ndarray) -> T:
        """The batch of these examples, from stored ids."""

    @abstractmethod
    def resegmented(self, indices: np.ndarray, amount: float, seeds: np.random.SeedSequence, share: slice) -> T:
        """The batch of a share of these examples, their texts segmented anew.

        Args:
            indices: All examples, for the draws of one follow those of another.
            amount: See `Tokenizer.sample`.
            seeds: What the draws follow from.
            share: Part that is wanted; something.
        """

    def batches(
        self,
        order: Sequence[np.ndarray],
        *,
        start: int = 0,
        sampling: float = 0.0,
        seed: int = 0,
        epoch: int = 0,
        share: slice = WHOLE,
    ) -> Iterator[T | None]:
        """The batches of `order` from position `start` on, made by a thread that keeps a few ahead.

        Args:
            order: Indices of the examples of each batch, as `batch_order` gives them.
            start: Position to begin at; the batches from there on are the same as in a run that began at 0.
            sampling: Above 0, text is segmented anew (`Tokenizer.sample`) with draws that follow from seed, epoch and
                position. Such a batch may be somewhat larger than its budget.
            seed: Of the run.
            epoch: Counted from 0.
            share: Part of each batch that is wanted; None in the place of a batch of which that is nothing.
        """

        def make(position: int) -> T | None:
            chosen = order[position]
            if not len(chosen[share]):
                return None
            if sampling <= 0:
                return self.fetch(chosen[share])
            seeds = np.random.SeedSequence([seed % 2**63, epoch, position])
            return self.resegmented(chosen, sampling, seeds, share)

        return ahead(make, range(start, len(order)))


class TranslationData(BatchSource[Batch]):
    """A tokenised corpus: ids in Arrow files, memory-mapped, of which only lengths and row numbers are in memory."""

    def __init__(
        self,
        corpus: datasets.Dataset,
        tokens: datasets.Dataset,
        tokenizers: tuple[Tokenizer, Tokenizer],
        rows: np.ndarray,
        lengths: tuple[np.ndarray, np.ndarray],
        dropped: dict[str, int],
    ) -> None:
        """See `prepare`, which makes one."""
        self._corpus = corpus.with_format("arrow")
        self._tokens = tokens
        self._rows = rows
        self.source_tokenizer, self.target_tokenizer = tokenizers
        self.source_lengths = lengths[0]
        """(N,) int32: ids of each source and EOS."""
        self.target_lengths = lengths[1]
        """(N,) int32: ids of each target and EOS."""
        self.dropped = dropped
        """Number of pairs of the corpus left out, by reason."""

    @classmethod
    def prepare(
        cls,
        corpus: datasets.Dataset,
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        max_length: int,
        drop_empty: bool,
    ) -> TranslationData:
        """Tokenises a corpus, or finds it tokenised in the cache of `datasets`.

        Args:
            corpus: Columns source and target.
            source_tokenizer: For the column source.
            target_tokenizer: For the column target.
            max_length: Pairs with more ids than this on either side are left out; 0: no limit.
            drop_empty: Leave out pairs with no ids on either side.
        """
        tokens = tokenise(corpus, {"source": source_tokenizer, "target": target_tokenizer})
        lengths = [list_lengths(tokens, column) for column in ("source", "target")]
        shortest, longest = np.minimum(*lengths), np.maximum(*lengths)
        empty = (shortest == 0) & drop_empty
        long = (longest > max_length) & ~empty & (max_length > 0)
        rows = np.flatnonzero(~(empty | long))
        return cls(
            corpus,
            tokens,
            (source_tokenizer, target_tokenizer),
            rows,
            (lengths[0][rows] + 1, lengths[1][rows] + 1),
            {"empty side": int(empty.sum()), f"more than {max_length} pieces": int(long.sum())},
        )

    def __len__(self) -> int:
        return len(self._rows)

    def source_texts(self, indices: np.ndarray | Sequence[int]) -> list[str]:
        """The sources of these examples, as they stand in the corpus."""
        return self._texts(indices, "source")

    def target_texts(self, indices: np.ndarray | Sequence[int]) -> list[str]:
        """The targets of these examples, as they stand in the corpus."""
        return self._texts(indices, "target")

    def _texts(self, indices: np.ndarray | Sequence[int], column: str) -> list[str]:
        return self._corpus[self._rows[np.asarray(indices, dtype=np.int64)]][column].to_pylist()

    def fetch(self, indices: np.ndarray) -> Batch:
        """The batch of these examples, from stored ids."""
        table = self._tokens[self._rows[indices]]
        return make_batch(*flat(table["source"]), *flat(table["target"]), self._specials())

    def resegmented(self, indices: np.ndarray, amount: float, seeds: np.random.SeedSequence, share: slice) -> Batch:
        """The batch of a share of these pairs, their texts segmented anew."""
        first, second = map(int, seeds.generate_state(2))
        sources = self.source_tokenizer.sample(self.source_texts(indices), first, amount)
        targets = self.target_tokenizer.sample(self.target_texts(indices), second, amount)
        return make_batch(*flatten(sources[share]), *flatten(targets[share]), self._specials())

    def _specials(self) -> Specials:
        source, target = self.source_tokenizer, self.target_tokenizer
        return Specials(source.eos_id, source.pad_id, target.bos_id, target.eos_id, target.pad_id)


def ahead(make: Callable[[int], T], positions: Sequence[int]) -> Iterator[T]:
    """What `make` gives for each position, in order, made by a thread that keeps a few ahead."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
    made: deque[Future[T]] = deque()
    try:
        for position in positions:
            made.append(pool.submit(make, position))
            if len(made) > AHEAD:
                yield made.popleft().result()
        while made:
            yield made.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def tokenise(corpus: datasets.Dataset, tokenizers: Mapping[str, Tokenizer]) -> datasets.Dataset:
    """Columns of text as lists of int32 ids, row by row those of the corpus, in Arrow format; cached.

    Args:
        corpus: With a column of each name in `tokenizers`.
        tokenizers: Of each column that is wanted.
    """
    schema = datasets.Features({column: datasets.Sequence(datasets.Value("int32")) for column in tokenizers})

    def encode(table: pa.Table) -> pa.Table:
        columns = {}
        for column, tokenizer in tokenizers.items():
            ids, lengths = flatten(tokenizer.encode(table[column].to_pylist()))
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            columns[column] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids.astype(np.int32)))
        return pa.table(columns)

    name = datasets.fingerprint.Hasher.hash(
        [TOKENS_FORMAT, corpus._fingerprint, *((name, used.fingerprint) for name, used in tokenizers.items())]
    )
    # Named here, not by `map`, which would write beside the corpus: a data set folder of the user's may be read-only.
    cache = Path(datasets.config.HF_DATASETS_CACHE) / "seq2seq" / "tokens"
    cache.mkdir(parents=True, exist_ok=True)
    tokens = corpus.with_format("arrow").map(
        encode,
        batched=True,
        batch_size=1000,
        features=schema,
        remove_columns=[column for column in corpus.column_names if column not in schema],
        cache_file_name=str(cache / f"{name}.arrow"),
        load_from_cache_file=True,
        new_fingerprint=name,
        desc="Tokenising",
    )
    return tokens.with_format("arrow")


def list_lengths(tokens: datasets.Dataset, column: str) -> np.ndarray:
    """(N,) int32: how many ids each row holds."""
    chunks = tokens.data.column(column).chunks
    return np.concatenate([np.zeros(0, np.int32), *(np.diff(chunk.offsets.to_numpy()) for chunk in chunks)])


def flat(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """All ids of a column of lists one after the other, and the number of them in each row (B,) int64."""
    rows = column.combine_chunks()
    return rows.flatten().to_numpy(), np.diff(rows.offsets.to_numpy()).astype(np.int64)
