"""Parallel text, whatever holds it, as one memory-mapped table with the columns source and target, or as a stream.

`finding` tells what is a corpus, `tables` how rows and columns of a file are found. Text files may be gzipped (.gz).
Nothing is left out here: a corpus has the rows of its files, in order.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from seq2seq.config import DataConfig
from seq2seq.errors import ConfigError, CorpusError, listed
from seq2seq.text.cache import cached_table, content_hashes, key_of
from seq2seq.text.finding import SHARD, VALIDATION_NAMES, Files, find_corpus, same_split
from seq2seq.text.tables import (
    BLOCK_ROWS,
    LabelledPairs,
    Pairs,
    arrow_pairs,
    line_pairs,
    read_lines,
    split_lines,
    table_ending,
    table_pairs,
)

__all__ = [
    "has_split", "load_corpus", "read_lines", "split_lines", "split_names", "stream_corpus", "train_and_valid",
]  # fmt: skip

CACHE_FORMAT = 2
"""Part of the name of cached tables; a change of their layout or of how files are read raises it."""

MOST_HELD_OUT = 1000
"""Pairs to validate on, where a corpus has none of its own."""

SCHEMA = pa.schema([("source", pa.string()), ("target", pa.string())])

_SURROGATE = re.compile("[\ud800-\udfff]")


def load_corpus(data: DataConfig, split: str) -> datasets.Dataset:
    """The pairs of one split, memory-mapped, all of them, in order.

    The pairs are copied to an Arrow table in the cache directory of `datasets` (HF_DATASETS_CACHE), named by the bytes
    of the files and by the options that count; the second time it is only opened. Processes may do so at the same time;
    after an interruption the next one goes on behind the last million pairs that were finished (see `cache`).

    Args:
        data: `data`, `source`, `target` and `encoding_errors` count.
        split: Such as train, valid or test; `valid`, `validation`, `val` and `dev` are one name.

    Returns:
        Columns source and target, both text.

    Raises:
        CorpusError: Nothing there, no such split or column, sides of unequal length, a damaged file, or no rows at all.
    """
    part = find_corpus(data).split(split)
    return _load_files(part, data) if isinstance(part, Files) else _load_data_set(part.load(False), part.name, data)


def stream_corpus(data: DataConfig, split: str) -> tuple[Callable[[], datasets.IterableDataset], str]:
    """What opens a split as a stream, of which nothing is copied or prepared, and its name.

    Args:
        data: As for `load_corpus`: Parquet or JSONL files, or a data set of the hub.
        split: As for `load_corpus`.

    Raises:
        CorpusError: Nothing there, no such split, or files that cannot be read in this way.
    """
    part = find_corpus(data).split(split)
    if isinstance(part, Files):
        return _stream_files(part), f"{data.data} ({split})"
    return functools.partial(part.load, True), part.name


def split_names(data: DataConfig) -> list[str]:
    """The splits that a corpus has, as it names them.

    Raises:
        CorpusError: There is no such corpus.
    """
    return sorted(find_corpus(data).splits)


def has_split(data: DataConfig, split: str) -> bool:
    """Whether a corpus has a split, `valid`, `validation`, `val` and `dev` being one name.

    Raises:
        CorpusError: There is no such corpus.
    """
    return same_split(split, find_corpus(data).splits) is not None


def train_and_valid(data: DataConfig, seed: int) -> tuple[datasets.Dataset, datasets.Dataset, bool]:
    """What to train and what to validate on; and whether the latter was held out of the former, for want of a split.

    Pairs are then drawn by the seed, `valid_share` of all and at most MOST_HELD_OUT; what else has the source of one of
    them is in neither part, for a model that has learned its translation would be praised for knowing it.

    Raises:
        CorpusError: There is no such corpus or training split, a validation split of another name than the usual ones
            is asked for and is not there, or the pairs are too few to hold some of them out.
        ConfigError: `valid_share` is no share.
    """
    if not 0 <= data.valid_share < 1:
        raise ConfigError(f"--valid-share is {data.valid_share}, expected 0 or more and less than 1")
    train, found = load_corpus(data, data.train_split), find_corpus(data)
    if same_split(data.valid_split, [*found.splits, *found.halves]) is not None:
        return train, load_corpus(data, data.valid_split), False
    if data.valid_split not in VALIDATION_NAMES or data.valid_share == 0:
        raise CorpusError(
            f"{data.data} has no validation split {data.valid_split!r}; add one (a few hundred pairs that are not in "
            "the training split), name another with --valid-split, or let --valid-share hold pairs out"
        )
    count = min(MOST_HELD_OUT, max(1, round(data.valid_share * len(train))))
    rows = np.sort(np.random.default_rng(seed % 2**63).choice(len(train), count, replace=False))
    valid = train.select(rows)
    known = set(valid["source"])
    sources = itertools.chain.from_iterable(block[0] for block in blocks_of(train))
    rest = np.fromiter((source not in known for source in sources), dtype=bool, count=len(train))
    if not rest.any():
        raise CorpusError(
            f"{data.data} has no validation split {data.valid_split!r}, and {len(train):,} pairs are too few to hold "
            "some of them out; add pairs, or a validation split"
        )
    return train.select(np.flatnonzero(rest)), valid, True


def both_ways(corpus: datasets.Dataset) -> datasets.Dataset:
    """N pairs as 2N rows: first as they are, then with source and target changed over; nothing is copied."""
    turned = corpus.rename_columns({"source": "target", "target": "source"})
    return datasets.concatenate_datasets([part.select_columns(["source", "target"]) for part in (corpus, turned)])


def blocks_of(corpus: datasets.Dataset, rows: int = BLOCK_ROWS) -> Iterator[tuple[list[str], list[str]]]:
    """Sources and targets, so many rows at a time."""
    for block in corpus.iter(batch_size=rows):
        yield block["source"], block["target"]


def pairs_of(corpus: datasets.Dataset) -> Iterator[tuple[str, str]]:
    """Source and target of each row, in order; a block of rows is in memory."""
    for block in blocks_of(corpus):
        yield from zip(*block, strict=True)


def _load_files(files: Files, data: DataConfig) -> datasets.Dataset:
    """Tables with two columns, one after the other, or two files of lines."""
    paths = files.paths
    kinds = [("lines" if files.lines else table_ending(path), path.suffix == ".gz") for path in paths]
    _check_shards(files)

    def pairs() -> Pairs:
        if files.lines:
            return line_pairs(paths[0], paths[1], data)
        return itertools.chain.from_iterable(table_pairs(path, data) for path in paths)

    name = " and ".join(map(str, paths)) if len(paths) <= 2 else f"{paths[0]} and {len(paths) - 1} more"
    return _cached([content_hashes(paths), kinds], pairs, name, data)


def _stream_files(files: Files) -> Callable[[], datasets.IterableDataset]:
    paths, endings = files.paths, {"lines" if files.lines else table_ending(path) for path in files.paths}
    kind = {"parquet": "parquet", "jsonl": "json"}.get(str(endings.pop())) if len(endings) == 1 else None
    if kind is None:
        raise CorpusError(
            f"{paths[0]}: --streaming reads Parquet files, JSONL files and data sets of the hub; leave the option out, "
            "this corpus is prepared then, on disk and in little memory too"
        )
    _check_shards(files)
    named = {"train": [str(path.resolve()) for path in paths]}
    return functools.partial(datasets.load_dataset, kind, data_files=named, split="train", streaming=True)


def _check_shards(files: Files) -> None:
    """Makes sure that no shard of a table is missing, and none there twice."""
    paths = files.paths
    found = [match for match in (SHARD.search(path.name) for path in paths) if match]
    count = max((int(match[2]) for match in found), default=0)
    if found and sorted(int(match[1]) for match in found) != list(range(count)):
        raise CorpusError(
            f"{paths[0]} is one of {count} shards, of which {len(found)} are there: {listed(p.name for p in paths)}; "
            "expected each of them once"
        )


def _load_data_set(part: datasets.Dataset, name: str, data: DataConfig) -> datasets.Dataset:
    schema = part.features.arrow_schema  # with the names of classes

    def pairs() -> Pairs:
        tables = (table.cast(schema) for table in part.with_format("arrow").iter(batch_size=BLOCK_ROWS))
        return arrow_pairs(tables, schema, name, data)

    return _cached([part._fingerprint], pairs, name, data)


def _cached(origin: list[Any], pairs: Callable[[], Pairs], name: str, data: DataConfig) -> datasets.Dataset:
    """The table of these pairs, written first where there is none."""
    several = data.separator if isinstance(data, LabelledPairs) else None
    key = key_of(CACHE_FORMAT, origin, data.source, data.target, data.encoding_errors, several)

    def blocks(start: int) -> Iterator[pa.RecordBatch]:
        rows = 0
        for block in pairs():
            if rows >= start:
                columns = [_text_array(column, rows, name, data) for column in block]
                yield pa.record_batch(columns, schema=SCHEMA)
            rows += len(block[0])
        if rows == 0:
            raise CorpusError(f"{name}: the corpus is empty, there is not one row")

    return cached_table("pairs", key, SCHEMA, blocks)


def _text_array(texts: Sequence[str], before: int, name: str, data: DataConfig) -> pa.Array:
    try:
        array = pa.array(texts, type=pa.string())
    except UnicodeEncodeError:  # half of a \ud83d\ude00 in JSON
        if data.encoding_errors == "strict":
            row = next(i for i, text in enumerate(texts) if _SURROGATE.search(text))
            raise CorpusError(
                f"{name}:{before + row + 1}: here is half of a surrogate pair, which is no character; "
                "correct it, or let --encoding-errors replace put U+FFFD in its place"
            ) from None
        array = pa.array([_SURROGATE.sub("\ufffd", text) for text in texts], type=pa.string())
    return array
