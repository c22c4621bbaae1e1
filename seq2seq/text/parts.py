"""Files as one long list of texts, cut into parts of equal size that can be read on their own, by anyone, anywhere.

Cutting a text file reads it once, a block at a time, to remember the byte at which each part begins; of a Parquet file
only the footer is read. A part may begin in one file and end in a later one.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seq2seq.errors import CorpusError, listed
from seq2seq.text.tables import blocks_of_lines, column_texts, nearest_file, opened, reason, split_lines

_LINE_FEED = ord("\n")


class Span(NamedTuple):
    """Consecutive rows of one file."""

    path: str
    start: int
    """First byte of a text file (of what is unpacked, where it is gzipped), first row of a Parquet file."""
    stop: int
    """The byte, or row, after it."""
    before: int
    """Rows of the file before these."""


class Part(NamedTuple):
    """A number of consecutive texts."""

    number: int
    """From 0, in order."""
    spans: tuple[Span, ...]


def is_parquet(path: str) -> bool:
    """Whether a file is read as Parquet, by its name."""
    return path.endswith(".parquet")


def find_files(path: str) -> list[str]:
    """The file, or the files of a folder in the order of their names: all that end in .parquet, or in .txt or .txt.gz.

    Raises:
        CorpusError: Nothing there, a folder without such files or with both kinds, or Parquet files that differ in
            their columns.
    """
    place = Path(path)
    if not place.exists():
        raise CorpusError(f"cannot read {path}: no such file or folder{nearest_file(place)}")
    if not place.is_dir():
        return [path]
    names = sorted(entry.name for entry in place.iterdir() if entry.is_file() and not entry.name.startswith("."))
    tables = [name for name in names if is_parquet(name)]
    texts = [name for name in names if name.removesuffix(".gz").endswith(".txt")]
    if bool(tables) == bool(texts):
        found = "both" if tables else f"neither; it holds {listed(names[:8]) or 'nothing'}"
        raise CorpusError(f"{path}: expected a folder of .parquet files or of .txt files, this has {found}")
    files = [str(place / name) for name in tables or texts]
    for other in files[1:] if tables else ():
        if not parquet_schema(other).equals(parquet_schema(files[0])):
            raise CorpusError(f"{other} has other columns than {files[0]}; give files of one kind")
    return files


def cut(files: Sequence[str], size: int) -> Iterator[Part]:
    """The parts of `size` texts, one file after the other; the last part may be smaller.

    Args:
        files: Text files (.gz too) and Parquet files.
        size: Texts a part, 1 or more.

    Raises:
        CorpusError: A file cannot be read.
    """
    numbers = itertools.count()
    spans: list[Span] = []
    held = 0  # texts in `spans`, less than `size`
    for path in files:
        first = -held % size  # row of this file with which a part begins
        marks, rows, end = (_parquet_marks if is_parquet(path) else _text_marks)(path, first, size)
        befores = [0, *range(first, rows, size)] if first else range(0, rows, size)
        edges = [*([0] if first else []), *marks, end]
        for (start, stop), before in zip(itertools.pairwise(edges), befores, strict=True):
            if before % size == first and spans:
                yield Part(next(numbers), tuple(spans))
                spans = []
            if stop > start:
                spans.append(Span(path, start, stop, before))
        held = (held + rows) % size
    if spans:
        yield Part(next(numbers), tuple(spans))


def _text_marks(path: str, first: int, every: int) -> tuple[list[int], int, int]:
    """The bytes at which lines first, first + every ... begin, the number of lines, and of bytes."""
    marks, lines, position = [] if first else [0], 0, 0
    with opened(path) as stream:
        for block in blocks_of_lines(stream, path):
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == _LINE_FEED)
            # line number `lines + i + 1` begins after the end of line number `lines + i`
            marks += (position + 1 + ends[(first - lines - 1) % every :: every]).tolist()
            lines += len(ends) + (not block.endswith(b"\n"))
            position += len(block)
    return [mark for mark in marks if mark < position], lines, position


def _parquet_marks(path: str, first: int, every: int) -> tuple[list[int], int, int]:
    with _parquet(path) as file:
        rows = file.metadata.num_rows
    return list(range(first, rows, every)), rows, rows


@contextlib.contextmanager
def _parquet(path: str) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names that are no UTF-8
        raise CorpusError(f"{path} is no Parquet file, or a damaged one: {reason(error)}") from None


def parquet_schema(path: str) -> pa.Schema:
    """The columns of a Parquet file.

    Raises:
        CorpusError: It cannot be read.
    """
    with _parquet(path) as file:
        return file.schema_arrow


def read_table(part: Part) -> pa.Table:
    """All columns of a part of Parquet files; the row groups that it touches are read whole.

    Raises:
        CorpusError: A file cannot be read.
    """
    tables = []
    for span in part.spans:
        with _parquet(span.path) as file:
            before = 0
            for group in range(file.num_row_groups):
                after = before + file.metadata.row_group(group).num_rows
                start, stop = max(span.start, before), min(span.stop, after)
                if start < stop:
                    tables.append(file.read_row_group(group).slice(start - before, stop - start))
                before = after
    return pa.concat_tables(tables)


def read_texts(part: Part, column: str, encoding_errors: Literal["strict", "replace"] = "strict") -> list[str]:
    """The texts of a part.

    Args:
        part: As `cut` gives it.
        column: Of Parquet files.
        encoding_errors: As for `seq2seq.text.tables.read_lines`.

    Raises:
        CorpusError: A file cannot be read, has no such column, or holds invalid UTF-8 (file and line are named).
    """
    path = part.spans[0].path
    if is_parquet(path):
        return column_texts(read_table(part), column, path, encoding_errors)
    texts: list[str] = []
    for span in part.spans:
        with opened(span.path) as stream:
            stream.seek(span.start)
            block = io.BytesIO(stream.read(span.stop - span.start))
        texts += split_lines(block, span.path, encoding_errors, span.before)
    return texts
