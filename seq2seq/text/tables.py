"""Rows of text out of one file: lines, TSV, CSV, JSONL, Parquet.

Columns are named by language, or `source` and `target`, or stand in the `translation` column of hub data sets. A TSV or
CSV file has a header when a cell of its first row is one of the wanted names; without one it must have exactly two
columns, source and target. TSV cells are split at tabs only, quotes mean nothing there. Line n is the nth that `wc -l`
counts: a line ends at a line feed and nowhere else.

Files are read in blocks, every row is kept. A line break inside a cell becomes a space, for a sentence is a line
everywhere else; a missing value (null) becomes empty text.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import itertools
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seq2seq.config import DataConfig
from seq2seq.errors import CorpusError, listed, nearest, shown

TABLE_ENDINGS = ("tsv", "csv", "jsonl", "parquet")
BLOCK_BYTES = 1 << 18
BLOCK_ROWS = 10_000
MOST_CELL = 1 << 30
"""Characters of a CSV cell at most."""

Pairs = Iterator[tuple[list[str], list[str]]]
"""Blocks of rows: sources and targets, equally many."""


@dataclass(frozen=True)
class LabelledPairs(DataConfig):
    """Labels in the place of sources, texts in that of targets; a label may also be a number or a list."""

    separator: str = ""
    """What stands between several labels; empty where a row has one."""

    flags: ClassVar[tuple[str, str]] = ("--label-column", "--text-column")

    def text(self, value: Any, where: str, names: list[str] | None = None) -> str:
        """A label, or a list of them, as text.

        Args:
            value: What stands in the row.
            where: Row, for the error.
            names: Of the classes that whole numbers stand for, where the data set has them.

        Raises:
            CorpusError: It is neither text nor number, or it is a list where one label is expected.
        """
        if value is None:
            return ""
        if isinstance(value, list):
            if not self.separator:
                raise CorpusError(f"{where}: {shown(value)} is a list of labels; --label-separator '|' allows several")
            return self.separator.join(self.text(part, where, names) for part in value)
        if names is not None and isinstance(value, int):
            return names[value] if 0 <= value < len(names) else ""  # -1 stands for an unknown label
        if not isinstance(value, (str, int, float)):
            raise CorpusError(f"{where}: {shown(value)}, expected a label, that is text or a number")
        return _one_line(str(value))


def read_lines(path: str | Path, encoding_errors: str = "strict") -> Iterator[str]:
    """The lines of a UTF-8 file, gzipped when its name ends in .gz.

    Lines end at line feeds only; one carriage return before it is dropped, as is a byte order mark at the start.

    Args:
        path: The file.
        encoding_errors: `strict` raises at invalid UTF-8, `replace` puts U+FFFD in its place.

    Raises:
        CorpusError: No such file, invalid UTF-8 (file and line are named), or a cut or damaged .gz file.
    """
    with opened(path) as stream:
        yield from split_lines(stream, str(path), encoding_errors)


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked when its name ends in .gz.

    Raises:
        CorpusError: It cannot be read.
    """
    path = Path(path)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as stream:
            yield stream  # type: ignore[misc]
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise CorpusError(f"{path} is no gzip file, or a damaged one: {error}") from None
        hint = nearest_file(path) if isinstance(error, FileNotFoundError) else ""
        raise CorpusError(f"cannot read {path}: {error.strerror}{hint}") from None


def split_lines(stream: BinaryIO, name: str, encoding_errors: str = "strict", before: int = 0) -> Iterator[str]:
    """The lines of an open stream of bytes, as `read_lines` gives them.

    Args:
        stream: Read in blocks, to its end.
        name: What to call it in an error.
        encoding_errors: As for `read_lines`.
        before: Lines of the file before this stream, where it begins in the middle.

    Raises:
        CorpusError: Invalid UTF-8, or the end of a cut .gz file.
    """
    for block in blocks_of_lines(stream, name):
        if before == 0:
            block = block.removeprefix(b"\xef\xbb\xbf")
        try:
            text = block.decode("utf-8", encoding_errors)
        except UnicodeDecodeError as error:
            line = before + block.count(b"\n", 0, error.start) + 1
            raise CorpusError(
                f"{name}:{line}: byte 0x{block[error.start]:02x} is no UTF-8; convert the file (iconv -t UTF-8), "
                "or let --encoding-errors replace put U+FFFD in its place"
            ) from None
        lines = text.split("\n")
        if not lines[-1]:
            del lines[-1]  # what follows the last line feed is no line
        before += len(lines)
        if "\r" in text:
            lines = [line.removesuffix("\r") for line in lines]
        yield from lines


def blocks_of_lines(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Blocks that end where a line ends; the last one where the stream does.

    Raises:
        CorpusError: The end of a cut .gz file.
    """
    parts: list[bytes] = []
    while True:
        try:
            block = stream.read(BLOCK_BYTES)
        except (EOFError, zlib.error) as error:
            raise CorpusError(
                f"{name} is a cut or damaged gzip file ({error}); download or compress it again"
            ) from None
        end = block.rfind(b"\n") + 1
        if end:
            yield b"".join([*parts, block[:end]])
            parts = [block[end:]]
        else:
            parts.append(block)
        if not block:
            last = b"".join(parts)
            if last:
                yield last
            return


def line_pairs(source: Path, target: Path, data: DataConfig) -> Pairs:
    """The pairs of two files of lines.

    Raises:
        CorpusError: They have not equally many.
    """
    sides = [read_lines(path, data.encoding_errors) for path in (source, target)]
    counts = [0, 0]
    while True:
        blocks = [list(itertools.islice(side, BLOCK_ROWS)) for side in sides]
        counts = [count + len(block) for count, block in zip(counts, blocks, strict=True)]
        if counts[0] != counts[1]:
            counts = [count + sum(1 for _ in side) for count, side in zip(counts, sides, strict=True)]
            belongs = "the label of" if isinstance(data, LabelledPairs) else "the translation of"
            raise CorpusError(
                f"{source} has {counts[0]:,} lines, {target} has {counts[1]:,}; line n of one must be {belongs} "
                "line n of the other"
            )
        if not blocks[0]:
            return
        yield blocks[0], blocks[1]


def table_pairs(path: Path, data: DataConfig) -> Pairs:
    """The pairs of a TSV, CSV, JSONL or Parquet file.

    Raises:
        CorpusError: No such columns, or a row that is not like the others; file and line are named.
    """
    readers = {"tsv": _tsv_pairs, "csv": _csv_pairs, "jsonl": _json_pairs, "parquet": _parquet_pairs}
    return readers[str(table_ending(path))](path, data)


def _tsv_pairs(path: Path, data: DataConfig) -> Pairs:
    rows = (line.split("\t") for line in read_lines(path, data.encoding_errors))
    return _row_pairs(path, enumerate(rows, start=1), data)


def _csv_pairs(path: Path, data: DataConfig) -> Pairs:
    lines = (line + "\n" for line in read_lines(path, data.encoding_errors))
    csv.field_size_limit(MOST_CELL)  # a setting of the whole process; its default refuses long texts
    reader = csv.reader(lines, strict=True)

    def rows() -> Iterator[tuple[int, list[str]]]:
        start = 1
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise CorpusError(
                    f"{path}:{start}: {error}; a cell with quotes, commas or line breaks stands in double quotes, "
                    'with its own quotes doubled: "He said ""no""."'
                ) from None
            yield start, row
            start = reader.line_num + 1

    return _row_pairs(path, rows(), data)


def _row_pairs(path: Path, rows: Iterator[tuple[int, list[str]]], data: DataConfig) -> Pairs:
    """Two columns of a table of cells, whose rows come with their line numbers."""
    first = next(rows, None)
    if first is None:
        return
    width = len(first[1])
    wanted = {data.source, data.target, "source", "target"}
    if not wanted.intersection(first[1]) and width == 2:
        columns = [0, 1]
        rows = itertools.chain([first], rows)
    else:
        twice = sorted({name for name in first[1] if first[1].count(name) > 1})
        if twice:
            raise CorpusError(f"{path}:{first[0]}: the header names {listed(map(shown, twice))} twice")
        names = _wanted_columns(first[1], [], str(path), data)
        columns = [first[1].index(name) for name in names]
    while True:
        block = list(itertools.islice(rows, BLOCK_ROWS))
        if not block:
            return
        for line, row in block:
            if len(row) != width:
                raise CorpusError(
                    f"{path}:{line}: {len(row)} {'column' if len(row) == 1 else 'columns'}, "
                    f"expected {width} as in the first row"
                )
        yield tuple([_one_line(row[column]) for _, row in block] for column in columns)  # type: ignore[misc]


def _one_line(text: str) -> str:
    return text.replace("\r\n", " ").replace("\n", " ") if "\n" in text else text


def _json_pairs(path: Path, data: DataConfig) -> Pairs:
    lines = enumerate(read_lines(path, data.encoding_errors), start=1)
    names: tuple[str, str] | None = None
    inside = False
    while True:
        block = list(itertools.islice(lines, BLOCK_ROWS))
        if not block:
            return
        columns: tuple[list[str], list[str]] = ([], [])
        for line, text in block:
            row = _json_object(path, line, text)
            if names is None:
                nested = row.get("translation")
                names = _wanted_columns(list(row), list(nested) if isinstance(nested, dict) else [], str(path), data)
                inside = names[0] not in row
            values = row.get("translation") if inside else row
            for column, name in zip(columns, names, strict=True):
                column.append(_json_text(path, line, values, name, data))
        yield columns


def _json_object(path: Path, line: int, text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path}:{line}: no valid JSON: {error}") from None
    if not isinstance(row, dict):
        raise CorpusError(f"{path}:{line}: {type(row).__name__}, expected an object such as {{...}} on every line")
    return row


def _json_text(path: Path, line: int, values: Any, name: str, data: DataConfig) -> str:
    if not isinstance(values, dict) or name not in values:
        found = listed(values) if isinstance(values, dict) else "none"
        raise CorpusError(f"{path}:{line}: no {name!r}, which earlier lines have; names found: {found}")
    value = values[name]
    if isinstance(data, LabelledPairs) and name == data.source:
        return data.text(value, f"{path}:{line}")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise CorpusError(f"{path}:{line}: {name!r} is {shown(value)}, expected text")
    return _one_line(value)


def _parquet_pairs(path: Path, data: DataConfig) -> Pairs:
    try:
        file = pq.ParquetFile(path)
        tables = map(pa.Table.from_batches, ([batch] for batch in file.iter_batches(batch_size=BLOCK_ROWS)))
        yield from arrow_pairs(tables, file.schema_arrow, str(path), data)
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names that are no UTF-8
        raise CorpusError(f"{path} is no Parquet file, or a damaged one: {reason(error)}") from None


def column_texts(
    table: pa.Table, column: str, name: str, encoding_errors: Literal["strict", "replace"] = "strict"
) -> list[str]:
    """A column of text as a list of lines, as everywhere: a line break is a space, null is empty.

    Args:
        table: Of any columns.
        column: The one that is wanted.
        name: What an error calls the table.
        encoding_errors: As for `read_lines`.

    Raises:
        CorpusError: No such column, or it holds no text.
    """
    if column not in table.column_names:
        raise CorpusError(
            f"{name}: no column {column!r}; columns found: {listed(table.column_names)}"
            f"{nearest(column, table.column_names)}"
        )
    return _arrow_texts(table, column, False, name, DataConfig(encoding_errors=encoding_errors))


def arrow_pairs(tables: Iterable[pa.Table], schema: pa.Schema, name: str, data: DataConfig) -> Pairs:
    """The pairs of Arrow tables that share a schema; `name` is what an error calls them."""
    nested: list[str] = []
    if "translation" in schema.names and pa.types.is_struct(schema.field("translation").type):
        struct = schema.field("translation").type
        nested = [struct.field(i).name for i in range(struct.num_fields)]
    wanted = _wanted_columns(schema.names, nested, name, data)
    inside = wanted[0] not in schema.names
    before = 0
    for table in tables:
        where = f"{name}, after row {before:,}" if before else name
        yield tuple(_arrow_texts(table, column, inside, where, data) for column in wanted)  # type: ignore[misc]
        before += len(table)


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """The names that `datasets` keeps, beside the schema, for a column of class numbers (or of lists of them)."""
    kept = (schema.metadata or {}).get(b"huggingface")
    try:
        feature = json.loads(kept)["info"]["features"].get(column, {}) if kept else {}
        feature = feature.get("feature", feature)
        names = feature.get("names")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # another library's, or damaged
        return None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None


def _arrow_texts(table: pa.Table, column: str, inside: bool, name: str, data: DataConfig) -> list[str]:
    values = pc.struct_field(table["translation"], column) if inside else table[column]
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if isinstance(data, LabelledPairs) and column == data.source:
        names = _class_names(table.schema, column)
        return [data.text(value, f"{name}: column {column!r}", names) for value in _python(values, column, name, data)]
    if str(values.type) not in ("string", "large_string", "string_view", "null"):
        raise CorpusError(f"{name}: column {column!r} holds {values.type}, expected text")
    return [_one_line(text) if text else "" for text in _python(values, column, name, data)]


def _python(values: pa.ChunkedArray, column: str, name: str, data: DataConfig) -> list[Any]:
    """Values of Arrow as Python's; Arrow may hold text that is no UTF-8."""
    try:
        return values.to_pylist()
    except UnicodeDecodeError as error:
        if data.encoding_errors == "strict" or str(values.type) not in ("string", "large_string"):
            raise CorpusError(
                f"{name}: column {column!r} holds text that is no UTF-8 ({error.reason}); write it anew, or let "
                "--encoding-errors replace put U+FFFD in its place"
            ) from None
    rows = values.cast(pa.large_binary()).to_pylist()
    return [None if row is None else row.decode("utf-8", "replace") for row in rows]


def _wanted_columns(columns: list[str], nested: list[str], name: str, data: DataConfig) -> tuple[str, str]:
    """Names of the source and target column, among the columns or inside `translation`.

    Raises:
        CorpusError: They are not there.
    """
    names = (data.source, data.target)
    for present in (columns, nested):
        if all(column in present for column in names):
            return names
    if "source" in columns and "target" in columns:
        return "source", "target"
    present = nested or columns
    unknown = [column for column in names if column not in present]
    found = listed(f"translation.{column}" for column in nested) if nested else listed(columns)
    hint = nearest(unknown[0], present) or "."
    raise CorpusError(
        f"{name}: no column {' nor '.join(map(repr, unknown))}; columns found: {found}{hint} "
        f"Name them with {' and '.join(data.flags)}"
    )


def reason(error: BaseException) -> str:
    """The text of another library's error, on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def nearest_file(path: Path) -> str:
    """A half sentence on the file with the nearest name in the same folder."""
    try:
        return nearest(path.name, sorted(os.listdir(path.parent)))
    except OSError:
        return f" (nor is there a folder {path.parent})"


def table_ending(path: Path) -> str | None:
    """Which of `TABLE_ENDINGS` a file's name has, `.gz` aside, if any."""
    ending = path.name.removesuffix(".gz").rpartition(".")[2]
    return ending if ending in TABLE_ENDINGS and not path.name.endswith(".parquet.gz") else None
