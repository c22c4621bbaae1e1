"""A tokenised corpus on disk, and the batches it gives."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import datasets
import numpy as np
import pyarrow as pa

from seq2seq.text.batching import Batch, BatchOrder, Specials, batch_order, flatten, make_batch
from seq2seq.text.cache import cache_folder, cached_table, key_of
from seq2seq.text.corpus import both_ways
from seq2seq.text.tables import BLOCK_ROWS
from seq2seq.text.tokenizer import Tokenizer

TOKENS_FORMAT = 2
"""Part of the name of cached token files; a change of their layout raises it."""

T = TypeVar("T")

WHOLE = slice(None)
"""All examples of a batch."""

AHEAD = 4
"""What a thread has made at most that nobody has asked for yet, such as batches while the model works."""

KEPT = np.dtype([("row", "<i8"), ("source", "<i4"), ("target", "<i4")])
"""A pair that is used: its row in the corpus, and the ids of its sides, EOS counted."""


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
    """A tokenised corpus: ids, lengths and row numbers in memory-mapped files, so that memory does not grow with it."""

    def __init__(
        self,
        corpus: datasets.Dataset,
        tokens: datasets.Dataset,
        tokenizers: tuple[Tokenizer, Tokenizer],
        kept: np.ndarray,
        dropped: dict[str, int],
    ) -> None:
        """See `prepare`, which makes one."""
        self._corpus = corpus.with_format("arrow")
        self._tokens = tokens
        self._rows = kept["row"]
        self.source_tokenizer, self.target_tokenizer = tokenizers
        self.source_lengths = kept["source"]
        """(N,) int32, memory-mapped: ids of each source and EOS."""
        self.target_lengths = kept["target"]
        """(N,) int32, memory-mapped: ids of each target and EOS."""
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
        threads: int = 1,
        both_directions: bool = False,
    ) -> TranslationData:
        """Tokenises a corpus, or finds it tokenised in the cache of `datasets`.

        Args:
            corpus: Columns source and target.
            source_tokenizer: For the column source.
            target_tokenizer: For the column target.
            max_length: Pairs with more ids than this on either side are left out; 0: no limit.
            drop_empty: Leave out pairs with no ids on either side.
            threads: How many tokenise.
            both_directions: See `of`.
        """
        tokens = tokenise(corpus, {"source": source_tokenizer, "target": target_tokenizer}, threads)
        return cls.of(corpus, tokens, (source_tokenizer, target_tokenizer), max_length, drop_empty, both_directions)

    @classmethod
    def of(
        cls,
        corpus: datasets.Dataset,
        tokens: datasets.Dataset,
        tokenizers: tuple[Tokenizer, Tokenizer],
        max_length: int,
        drop_empty: bool,
        both_directions: bool = False,
    ) -> TranslationData:
        """The same of a corpus that is tokenised.

        Args:
            corpus: Columns source and target.
            tokens: Their ids, row by row, in Arrow format.
            tokenizers: Of source and target.
            max_length: As for `prepare`.
            drop_empty: As for `prepare`.
            both_directions: All pairs a second time, source and target changed over; the tokenizer is one for both.
        """
        if both_directions:
            corpus, tokens = both_ways(corpus), both_ways(tokens).with_format("arrow")
        kept, dropped = kept_pairs(tokens, max_length, drop_empty)
        ways = 2 if both_directions else 1
        return cls(corpus, tokens, tokenizers, kept, {reason: count // ways for reason, count in dropped.items()})

    def order(self, epoch: int, *, batch_tokens: int, batch_sentences: int, seed: int) -> BatchOrder:
        """The batches of an epoch, see `batch_order`."""
        return batch_order(
            self.source_lengths, self.target_lengths,
            batch_tokens=batch_tokens, batch_sentences=batch_sentences, seed=seed, epoch=epoch,
        )  # fmt: skip

    def place(self, epoch: int) -> None:
        """All epochs read the same pairs: a checkpoint need not tell where."""

    def go_to(self, epoch: int, place: Any) -> None:
        """The inverse of `place`."""

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


def ahead(make: Callable[[int], T], positions: Sequence[int], threads: int = 1) -> Iterator[T]:
    """What `make` gives for each position, in order, made by threads that keep a few ahead."""
    pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="ahead")
    made: deque[Future[T]] = deque()
    try:
        for position in positions:
            made.append(pool.submit(make, position))
            if len(made) > AHEAD * threads:
                yield made.popleft().result()
        while made:
            yield made.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def tokenise(corpus: datasets.Dataset, tokenizers: Mapping[str, Tokenizer], threads: int = 1) -> datasets.Dataset:
    """Columns of text as lists of int32 ids, row by row those of the corpus, in Arrow format; cached (see `cache`).

    Args:
        corpus: With a column of each name in `tokenizers`.
        tokenizers: Of each column that is wanted.
        threads: How many work at it; the result is the same. SentencePiece holds Python's lock for a tenth of the time.
    """
    key = key_of(TOKENS_FORMAT, corpus._fingerprint, [(name, used.fingerprint) for name, used in tokenizers.items()])
    texts = corpus.with_format("arrow")

    def encode(start: int) -> pa.RecordBatch:
        return token_ids(texts[start : start + BLOCK_ROWS], tokenizers)

    def blocks(start: int) -> Iterator[pa.RecordBatch]:
        return ahead(encode, range(start, len(corpus), BLOCK_ROWS), threads)

    return cached_table("tokens", key, ids_schema(tokenizers), blocks).with_format("arrow")


def ids_schema(columns: Iterable[str]) -> pa.Schema:
    """Columns of lists of int32."""
    return pa.schema([(column, pa.list_(pa.int32())) for column in columns])


def token_ids(texts: pa.Table, tokenizers: Mapping[str, Tokenizer]) -> pa.RecordBatch:
    """Columns of text as lists of ids, those that `tokenizers` names."""
    columns = []
    for column, tokenizer in tokenizers.items():
        ids, lengths = flatten(tokenizer.encode(texts[column].to_pylist()))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        columns.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids.astype(np.int32))))
    return pa.record_batch(columns, schema=ids_schema(tokenizers))


def kept_pairs(tokens: datasets.Dataset, max_length: int, drop_empty: bool) -> tuple[np.ndarray, dict[str, int]]:
    """Which rows are worth training on, and how many are not, by reason.

    Args:
        tokens: Columns source and target of lists of ids.
        max_length: Most ids on either side; 0: no limit.
        drop_empty: Leave out pairs with no ids on either side.

    Returns:
        (N,) records of `KEPT`, in a file that is memory-mapped and gone with the process: memory does not grow with N.
    """
    dropped = Counter({"empty side": 0, f"more than {max_length} pieces": 0})
    count = 0
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=cache_folder()) as file:  # not where other temporary files lie: that may be memory
        start = 0
        for chunks in zip(*(tokens.data.column(column).chunks for column in ("source", "target")), strict=True):
            source, target = (np.diff(chunk.offsets.to_numpy()) for chunk in chunks)
            shortest, longest = np.minimum(source, target), np.maximum(source, target)
            empty = (shortest == 0) & drop_empty
            long = (longest > max_length) & ~empty & (max_length > 0)
            rows = np.flatnonzero(~(empty | long))
            records = np.empty(len(rows), KEPT)
            records["row"], records["source"], records["target"] = start + rows, source[rows] + 1, target[rows] + 1
            file.write(records.tobytes())
            dropped.update({"empty side": int(empty.sum()), f"more than {max_length} pieces": int(long.sum())})
            start, count = start + len(source), count + len(rows)
        file.flush()
        kept = np.asarray(np.memmap(file, KEPT, mode="r")) if count else np.empty(0, KEPT)
    return kept, dict(dropped)


def list_lengths(tokens: datasets.Dataset, column: str) -> np.ndarray:
    """(N,) int32: how many ids each row holds."""
    chunks = tokens.data.column(column).chunks
    return np.concatenate([np.zeros(0, np.int32), *(np.diff(chunk.offsets.to_numpy()) for chunk in chunks)])


def flat(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """All ids of a column of lists one after the other, and the number of them in each row (B,) int64."""
    rows = column.combine_chunks()
    return rows.flatten().to_numpy(), np.diff(rows.offsets.to_numpy()).astype(np.int64)
