"""A corpus that is read while it is trained on: a window of it is in memory, and nothing is prepared on disk.

The stream is cut into windows of so many pairs. A window is tokenised, sorted by length and shuffled as a small corpus
is, and counts as an epoch of the training: window n is epoch n, and where the stream ends, the next window begins at
its start again. So the batches are a function of seed, epoch and stream; a checkpoint keeps where in the stream its
window begins, and a stream no longer than a window is trained on exactly as if it had been prepared.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets.table import InMemoryTable

from seq2seq.config import DataConfig
from seq2seq.errors import ConfigError, CorpusError
from seq2seq.text.batching import Batch, BatchOrder
from seq2seq.text.data import WHOLE, TranslationData, token_ids
from seq2seq.text.tables import BLOCK_ROWS, arrow_pairs, reason
from seq2seq.text.tokenizer import Tokenizer

Block = tuple[list[str], list[str], Any]
"""Sources, targets, and the state of the stream behind them."""


class PairStream:
    """Pairs of a stream, from its start or from any place that it has told."""

    def __init__(self, open_stream: Callable[[], datasets.IterableDataset], name: str, data: DataConfig) -> None:
        """Args:
        open_stream: Opens it at its start.
        name: What to call it in an error.
        data: `source` and `target` are the columns.
        """
        self._open, self.name, self._data = open_stream, name, data

    def blocks(self, state: Any, rows: int) -> Iterator[Block]:
        """Its pairs from a state on, in blocks.

        Args:
            state: As a block before has told it; None is the start.
            rows: Of a block; the last one may have fewer.

        Raises:
            CorpusError: It cannot be read, or has no such columns.
        """
        try:
            stream = self._open().with_format("arrow")
            if state is not None:
                stream.load_state_dict(state)
            tables = iter(stream.iter(batch_size=rows))
            first = next(tables, None)
            if first is None:
                return
            for sources, targets in arrow_pairs(itertools.chain([first], tables), first.schema, self.name, self._data):
                yield sources, targets, stream.state_dict()
        except CorpusError:
            raise
        except Exception as error:  # of any library that reads files or asks the hub
            raise CorpusError(f"{self.name}: the stream cannot be read: {reason(error)}") from None

    def first(self, count: int) -> datasets.Dataset:
        """Its first pairs, in memory.

        Args:
            count: How many; fewer where there are no more.

        Raises:
            CorpusError: It has none.
        """
        blocks = (table_of(sources, targets) for sources, targets, _ in self.blocks(None, min(BLOCK_ROWS, count)))
        tables = list(itertools.islice(blocks, -(-count // BLOCK_ROWS)))
        if not tables:
            raise CorpusError(f"{self.name}: the corpus is empty, there is not one row")
        return datasets.Dataset(InMemoryTable(pa.concat_tables(tables).slice(0, count)))


def table_of(sources: list[str], targets: list[str]) -> pa.Table:
    """Two columns of text."""
    return pa.table({"source": pa.array(sources, pa.string()), "target": pa.array(targets, pa.string())})


class StreamedData:
    """The windows of a stream as epochs of a training; one is trained on, the next one is made meanwhile."""

    def __init__(
        self,
        pairs: PairStream,
        tokenizers: tuple[Tokenizer, Tokenizer],
        window: int,
        max_length: int,
        both_directions: bool = False,
    ) -> None:
        """Args:
        pairs: What is read.
        tokenizers: Of source and target.
        window: Pairs in memory, rounded up to whole blocks of `BLOCK_ROWS` where it is more than one.
        max_length: See `TranslationData.prepare`.
        both_directions: Learn each pair either way.
        """
        self._pairs, self._tokenizers, self._rows, self._max_length = pairs, tokenizers, window, max_length
        self._both_directions = both_directions
        self._starts: dict[int, Any] = {0: None}  # where windows begin, as far as that is known
        self._made: dict[int, Future[TranslationData]] = {}
        self._reading: tuple[int, Iterator[Block]] | None = None  # the window that the open stream stands before
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="stream")

    def order(self, epoch: int, *, batch_tokens: int, batch_sentences: int, seed: int) -> BatchOrder:
        """The batches of an epoch, see `batch_order`.

        Raises:
            CorpusError: The stream cannot be read, or holds nothing to train on.
            ConfigError: Where the epoch's window begins is not known.
        """
        data = self._window(epoch)
        return data.order(epoch, batch_tokens=batch_tokens, batch_sentences=batch_sentences, seed=seed)

    def batches(
        self, order: Sequence[np.ndarray], *, start: int, sampling: float, seed: int, epoch: int, share: slice = WHOLE
    ) -> Iterator[Batch | None]:
        """See `BatchSource.batches`."""
        data = self._window(epoch)
        self._begin(epoch + 1)
        return data.batches(order, start=start, sampling=sampling, seed=seed, epoch=epoch, share=share)

    def place(self, epoch: int) -> Any:
        """Where in the stream an epoch's window begins, for a checkpoint; None is the start."""
        return self._starts.get(epoch)

    def go_to(self, epoch: int, place: Any) -> None:
        """Lets an epoch's window begin where `place` said in another run."""
        if epoch > 0 and place is not None:
            self._starts[epoch] = place

    def _window(self, epoch: int) -> TranslationData:
        self._begin(epoch)
        data = self._made[epoch].result()
        for other in [number for number in self._made if number not in (epoch, epoch + 1)]:
            del self._made[other]
        for other in [number for number in self._starts if 0 < number < epoch]:
            del self._starts[other]
        return data

    def _begin(self, epoch: int) -> None:
        if epoch not in self._made:
            self._made[epoch] = self._pool.submit(self._make, epoch)

    def _make(self, epoch: int) -> TranslationData:
        """Reads and tokenises a window, and notes where the next one begins."""
        if self._reading is None or self._reading[0] != epoch:
            if epoch not in self._starts:
                raise ConfigError("this run was begun without --streaming and knows no place in a stream; leave it out")
            self._reading = (epoch, self._blocks(self._starts[epoch]))
        blocks, ends = self._reading[1], 0
        while True:  # where the stream ends, or a window holds nothing of use, the next one follows
            texts, state = self._next_window(blocks)
            if texts is None:
                ends, blocks = ends + 1, self._blocks(None)
                if ends == 2:
                    raise CorpusError(f"{self._pairs.name}: no usable pairs to train on; both sides must hold text")
                continue
            data = self._tokenised(texts)
            if len(data):
                break
        self._reading = (epoch + 1, blocks)
        self._starts[epoch + 1] = state
        return data

    def _blocks(self, state: Any) -> Iterator[Block]:
        return self._pairs.blocks(state, min(BLOCK_ROWS, self._rows))

    def _next_window(self, blocks: Iterator[Block]) -> tuple[pa.Table | None, Any]:
        """The next rows, and the state behind them; None at the end of the stream."""
        tables: list[pa.Table] = []
        rows, state = 0, None
        for sources, targets, state in blocks:  # noqa: B007
            tables.append(table_of(sources, targets))
            rows += len(sources)
            if rows >= self._rows:
                break
        return (pa.concat_tables(tables), state) if tables else (None, None)

    def _tokenised(self, texts: pa.Table) -> TranslationData:
        columns = dict(zip(("source", "target"), self._tokenizers, strict=True))
        batches = [token_ids(texts.slice(start, BLOCK_ROWS), columns) for start in range(0, texts.num_rows, BLOCK_ROWS)]
        # with a fingerprint given, `datasets` need not compute one from all the text
        tokens = datasets.Dataset(InMemoryTable(pa.Table.from_batches(batches)), fingerprint="ids").with_format("arrow")
        corpus = datasets.Dataset(InMemoryTable(texts), fingerprint="texts")
        return TranslationData.of(
            corpus, tokens, self._tokenizers,
            max_length=self._max_length, drop_empty=True, both_directions=self._both_directions,
        )  # fmt: skip
