"""Parallel text, whatever holds it, as one memory-mapped table with the columns source and target.

| what `data` names | what is read |
| --- | --- |
| a folder | SPLIT.SOURCE and SPLIT.TARGET (`train.en`, `train.de`), or SPLIT.tsv, .csv, .jsonl, .parquet |
| | or such tables in shards, SPLIT-00000-of-00002.parquet ..., each split in the order of its numbers |
| a file | .tsv, .csv, .jsonl, .parquet; all of it is the split `train` |
| a pattern | `parts/{split}-*.parquet`: tables in the order of their names; without {split} all are the split `train` |
| a data set folder | what `datasets` saved (`load_from_disk`), or can load from there (`load_dataset`) |
| a data set id | `load_dataset`; ID:CONFIGURATION where the data set has several (`opus_books:en-fr`) |

Text files may be gzipped (.gz). `tables` tells how rows and columns of a file are found. Nothing is left out here: a
corpus has the rows of its file, in order.
"""

from __future__ import annotations

import functools
import glob
import itertools
import os
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow as pa

from seq2seq.config import DataConfig
from seq2seq.errors import CorpusError, listed, nearest
from seq2seq.text.cache import cached_table, content_hashes, key_of
from seq2seq.text.tables import (
    BLOCK_ROWS,
    LabelledPairs,
    Pairs,
    arrow_pairs,
    line_pairs,
    nearest_file,
    read_lines,
    reason,
    split_lines,
    table_ending,
    table_pairs,
)

__all__ = ["has_split", "load_corpus", "read_lines", "split_lines", "split_names", "stream_corpus"]

CACHE_FORMAT = 2
"""Part of the name of cached tables; a change of their layout or of how files are read raises it."""

VALIDATION_NAMES = ("valid", "validation", "val", "dev")
SCHEMA = pa.schema([("source", pa.string()), ("target", pa.string())])

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})")
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
    found = _find(data)
    name = _same_split(split, found.splits)
    if name is None:
        raise CorpusError(found.missing(split))
    return found.load(name)


def stream_corpus(data: DataConfig, split: str) -> tuple[Callable[[], datasets.IterableDataset], str]:
    """What opens a split as a stream, of which nothing is copied or prepared, and its name.

    Args:
        data: As for `load_corpus`: Parquet or JSONL files, or a data set of the hub.
        split: As for `load_corpus`.

    Raises:
        CorpusError: Nothing there, no such split, or files that cannot be read in this way.
    """
    found = _find(data)
    name = _same_split(split, found.splits)
    if name is None:
        raise CorpusError(found.missing(split))
    return found.stream(name), f"{data.data} ({name})"


def split_names(data: DataConfig) -> list[str]:
    """The splits that a corpus has, as it names them.

    Raises:
        CorpusError: There is no such corpus.
    """
    return sorted(_find(data).splits)


def has_split(data: DataConfig, split: str) -> bool:
    """Whether a corpus has a split, `valid`, `validation`, `val` and `dev` being one name.

    Raises:
        CorpusError: There is no such corpus.
    """
    return _same_split(split, _find(data).splits) is not None


class _Found(NamedTuple):
    """A corpus that is there."""

    splits: tuple[str, ...]
    load: Callable[[str], datasets.Dataset]
    missing: Callable[[str], str]
    """What to say when it has no such split."""
    stream: Callable[[str], Callable[[], datasets.IterableDataset]]
    """What opens a split as a stream."""


def _same_split(split: str, present: Iterable[str]) -> str | None:
    present = list(present)
    names = [split, *VALIDATION_NAMES] if split in VALIDATION_NAMES else [split]
    return next((name for name in names if name in present), None)


def _find(data: DataConfig) -> _Found:
    if not data.data:
        raise CorpusError("no corpus given; name a folder, a file or a data set id with --data")
    path = Path(os.path.expanduser(data.data))
    if path.is_file():
        return _find_file(path, data)
    if path.is_dir():
        return _find_folder(path, data)
    if any(mark in data.data for mark in ("*", "?", "{split}")):
        return _find_pattern(os.path.expanduser(data.data), data)
    folder, _, configuration = data.data.rpartition(":")
    if folder and Path(folder).is_dir():
        return _find_data_set(Path(folder), configuration, data)
    return _find_hub(data)


def _find_file(path: Path, data: DataConfig) -> _Found:
    _check_table(path, data)

    def missing(split: str) -> str:
        return (
            f"{path} is a single file, all of it is the split 'train'; there is no {split!r}. Give a folder with "
            f"train.{table_ending(path)} and {split}.{table_ending(path)}"
        )

    return _found_files({"train": [path]}, data, missing)


def _found_files(splits: dict[str, list[Path]], data: DataConfig, missing: Callable[[str], str]) -> _Found:
    return _Found(
        tuple(splits), lambda name: _load_files(splits[name], data), missing, lambda name: _stream_files(splits[name])
    )


def _check_table(path: Path, data: DataConfig) -> None:
    if table_ending(path) is None:
        raise CorpusError(
            f"{path}: unknown kind of file; expected a name that ends in .tsv, .csv, .jsonl or .parquet, "
            f"or a folder with train.{data.source} and train.{data.target}"
        )


def _find_pattern(pattern: str, data: DataConfig) -> _Found:
    """Tables whose names a pattern matches."""
    name = re.escape(pattern).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    named = re.compile(name.replace(r"\{split\}", "(?P<split>[^/]+)", 1).replace(r"\{split\}", "(?P=split)"))
    splits: dict[str, list[Path]] = {}
    for path in sorted(glob.glob(pattern.replace("{split}", "*"))):
        match = named.fullmatch(path)
        if match and Path(path).is_file():
            _check_table(Path(path), data)
            splits.setdefault(match["split"] if "split" in named.groupindex else "train", []).append(Path(path))
    if not splits:
        raise CorpusError(f"{pattern} matches no file")

    def missing(split: str) -> str:
        told = f"{pattern} has no split {split!r}; splits found: {', '.join(sorted(splits))}"
        if "split" in named.groupindex:
            return told + nearest(split, splits)
        return f"{told}. Write {{split}} where the name of the split stands, as in parts/{{split}}-*.parquet"

    return _found_files(splits, data, missing)


def _find_folder(folder: Path, data: DataConfig) -> _Found:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _find_saved(folder, data)
    try:
        names = {entry.name for entry in folder.iterdir() if entry.is_file()}
    except OSError as error:
        raise CorpusError(f"cannot read {folder}: {error.strerror}") from None
    splits, half = _folder_splits(folder, names, data)
    described = "README.md" in names and any(_SHARD.search(name) for name in names)  # may say what is in which file
    if (not splits and not half) or described:
        return _find_data_set(folder, None, data)

    def missing(split: str) -> str:
        only = _same_split(split, half)
        if only is not None:
            other = data.target if half[only].name.removesuffix(".gz").endswith("." + data.source) else data.source
            others = names - {half[only].name}
            return f"{half[only]} is there, but {only}.{other} is not{nearest(f'{only}.{other}', others)}"
        return (
            f"{folder} has no split {split!r}, that is neither {split}.{data.source} with {split}.{data.target} nor "
            f"{split}.tsv, .csv, .jsonl or .parquet; splits found: {', '.join(sorted(splits)) or 'none'}"
            + (f" (one side only: {', '.join(sorted(p.name for p in half.values()))})" if half else "")
            + nearest(split, splits)
        )

    return _found_files(splits, data, missing)


def _folder_splits(
    folder: Path, names: Iterable[str], data: DataConfig
) -> tuple[dict[str, list[Path]], dict[str, Path]]:
    """The files of each split, and of splits of which only one language is there, that file."""
    sides: list[dict[str, Path]] = [{}, {}]
    tables: dict[str, list[Path]] = {}
    for name in sorted(names, reverse=True):  # of x and x.gz, x is what stays
        plain = name.removesuffix(".gz")
        for side, language in zip(sides, (data.source, data.target), strict=True):
            split = plain.removesuffix("." + language)
            if split and split != plain:
                side[split] = folder / name
        if table_ending(Path(name)) is not None:
            split = plain.rpartition(".")[0]
            if _SHARD.search(split):
                tables.setdefault(_SHARD.sub("", split), []).insert(0, folder / name)
            else:
                tables[split] = [folder / name]
    splits = dict(tables)
    splits.update({split: [sides[0][split], sides[1][split]] for split in sides[0].keys() & sides[1].keys()})
    half = {split: path for side in sides for split, path in side.items() if split not in splits}
    return splits, half


def _find_saved(folder: Path, data: DataConfig) -> _Found:
    """What `save_to_disk` of `datasets` wrote."""
    try:
        saved = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise CorpusError(f"{folder} holds a saved data set that cannot be read: {reason(error)}") from None
    parts = dict(saved) if isinstance(saved, dict) else {"train": saved}
    return _Found(
        tuple(str(name) for name in parts),
        lambda split: _load_data_set(parts[split], f"{folder} ({split})", data),
        lambda split: f"{folder} has no split {split!r}; splits found: {', '.join(map(str, parts))}",
        lambda split: parts[split].to_iterable_dataset,
    )


def _find_data_set(folder: Path, configuration: str | None, data: DataConfig) -> _Found:
    """A folder that only `datasets` may know how to load."""
    try:
        return _find_builder(str(folder), configuration, data)
    except Exception as error:
        names = sorted(os.listdir(folder))
        holds = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") or "nothing"
        raise CorpusError(
            f"{folder} holds no corpus: neither train.{data.source} with train.{data.target} "
            f"({' and '.join(data.flags)} name them), nor train.tsv, .csv, .jsonl or .parquet; it holds {holds}. "
            f"Nor can `datasets` load it: {_builder_reason(error)}"
        ) from None


def _find_hub(data: DataConfig) -> _Found:
    path = Path(os.path.expanduser(data.data))
    absent = f"{data.data}: no such file or folder{nearest_file(path)}"
    name, _, configuration = data.data.partition(":")
    # An id is NAME or OWNER/NAME; where OWNER is a folder here, a file in it was meant.
    an_id = re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name) and table_ending(path) is None
    if not an_id or ("/" in name and path.parent.is_dir()):
        raise CorpusError(absent)
    if not _hub_in_reach() and not (Path(datasets.config.HF_DATASETS_CACHE) / name.replace("/", "___")).is_dir():
        raise CorpusError(f"{absent}; nor can a data set of this name be loaded: the hub is out of reach")
    try:
        return _find_builder(name, configuration or None, data)
    except Exception as error:
        raise CorpusError(f"{absent}; nor can a data set of this name be loaded: {_builder_reason(error)}") from None


def _hub_in_reach() -> bool:
    """Whether the hub's name resolves; asking `datasets` without network takes it half a minute of retries."""
    if urllib.request.getproxies():
        return True  # the proxy resolves names
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(datasets.config.HF_ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def _builder_reason(error: Exception) -> str:
    text = reason(error)
    return f"{text} Name a configuration after a colon, as in DATA:NAME" if "onfig name is missing" in text else text


def _find_builder(name: str, configuration: str | None, data: DataConfig) -> _Found:
    splits = datasets.get_dataset_split_names(name, configuration)

    def load(split: str) -> datasets.Dataset:
        try:
            part = datasets.load_dataset(name, configuration, split=split)
        except Exception as error:
            raise CorpusError(f"{data.data}: split {split!r} cannot be loaded: {reason(error)}") from None
        return _load_data_set(part, f"{data.data} ({split})", data)

    return _Found(
        tuple(splits),
        load,
        lambda split: f"{data.data} has no split {split!r}; splits found: {', '.join(splits)}{nearest(split, splits)}",
        lambda split: functools.partial(datasets.load_dataset, name, configuration, split=split, streaming=True),
    )


def _load_files(paths: list[Path], data: DataConfig) -> datasets.Dataset:
    """Tables with two columns, one after the other, or two files of lines."""
    kinds = [(table_ending(path), path.suffix == ".gz") for path in paths]  # tell how bytes are read
    lines = kinds[0][0] is None
    _check_shards(paths)

    def pairs() -> Pairs:
        if lines:
            return line_pairs(paths[0], paths[1], data)
        return itertools.chain.from_iterable(table_pairs(path, data) for path in paths)

    name = " and ".join(map(str, paths)) if len(paths) <= 2 else f"{paths[0]} and {len(paths) - 1} more"
    return _cached([content_hashes(paths), kinds], pairs, name, data)


def _stream_files(paths: list[Path]) -> Callable[[], datasets.IterableDataset]:
    endings = {table_ending(path) for path in paths}
    kind = {"parquet": "parquet", "jsonl": "json"}.get(str(endings.pop())) if len(endings) == 1 else None
    if kind is None:
        raise CorpusError(
            f"{paths[0]}: --streaming reads Parquet files, JSONL files and data sets of the hub; leave the option out, "
            "this corpus is prepared then, on disk and in little memory too"
        )
    _check_shards(paths)
    files = {"train": [str(path.resolve()) for path in paths]}
    return functools.partial(datasets.load_dataset, kind, data_files=files, split="train", streaming=True)


def _check_shards(paths: list[Path]) -> None:
    """Makes sure that no shard of a table is missing, and none there twice."""
    found = [match for match in map(_SHARD.search, map(str, paths)) if match]
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
