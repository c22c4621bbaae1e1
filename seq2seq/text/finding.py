"""Where a corpus is: what `--data` names, and which splits that has.

| what `data` names | what it holds |
| --- | --- |
| a folder | SPLIT.SOURCE and SPLIT.TARGET (`train.en`, `train.de`), or SPLIT.tsv, .csv, .jsonl, .parquet |
| | or such tables in shards, SPLIT-00000-of-00002.parquet ..., each split in the order of its numbers |
| a file | .tsv, .csv, .jsonl, .parquet; all of it is the split `train` |
| a pattern | `parts/{split}-*.parquet`: tables in the order of their names; without {split} all are the split `train` |
| a data set folder | what `datasets` saved (`load_from_disk`), or can load from there (`load_dataset`) |
| a data set id | `load_dataset`; ID:CONFIGURATION where the data set has several (`opus_books:en-fr`) |
"""

from __future__ import annotations

import functools
import glob
import os
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import datasets

from seq2seq.config import DataConfig
from seq2seq.errors import CorpusError, nearest
from seq2seq.text.tables import nearest_file, reason, table_ending

VALIDATION_NAMES = ("valid", "validation", "val", "dev")

SHARD = re.compile(r"-(\d{5})-of-(\d{5})")
"""What the names of a table's shards differ in: number and count."""


class Files(NamedTuple):
    """A split that is files."""

    paths: list[Path]
    lines: bool = False
    """Two files of lines, source and target; else tables, one after the other."""


class Loaded(NamedTuple):
    """A split that `datasets` loads."""

    name: str
    """What to call it in an error."""
    load: Callable[[bool], Any]
    """A `datasets.Dataset`, or, asked with True, an `IterableDataset`."""


class Found(NamedTuple):
    """A corpus that is there."""

    splits: Mapping[str, Files | Loaded]
    missing: Callable[[str], str]
    """What to say when it has no such split."""
    halves: Iterable[str] = ()
    """Splits of which only one language is there."""

    def split(self, asked: str) -> Files | Loaded:
        """One of the splits, `valid`, `validation`, `val` and `dev` being one name.

        Raises:
            CorpusError: It is not there.
        """
        name = same_split(asked, self.splits)
        if name is None:
            raise CorpusError(self.missing(asked))
        return self.splits[name]


def same_split(split: str, present: Iterable[str]) -> str | None:
    """The name that a split has among those that are there."""
    present = list(present)
    names = [split, *VALIDATION_NAMES] if split in VALIDATION_NAMES else [split]
    return next((name for name in names if name in present), None)


def find_corpus(data: DataConfig) -> Found:
    """What `data.data` names.

    Raises:
        CorpusError: Nothing, or nothing that could be a corpus.
    """
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


def _find_file(path: Path, data: DataConfig) -> Found:
    _check_table(path, data)

    def missing(split: str) -> str:
        return (
            f"{path} is a single file, all of it is the split 'train'; there is no {split!r}. Give a folder with "
            f"train.{table_ending(path)} and {split}.{table_ending(path)}"
        )

    return Found({"train": Files([path])}, missing)


def _check_table(path: Path, data: DataConfig) -> None:
    if table_ending(path) is None:
        raise CorpusError(
            f"{path}: unknown kind of file; expected a name that ends in .tsv, .csv, .jsonl or .parquet, "
            f"or a folder with train.{data.source} and train.{data.target}"
        )


def _find_pattern(pattern: str, data: DataConfig) -> Found:
    """Tables whose names a pattern matches."""
    name = re.escape(pattern).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    named = re.compile(name.replace(r"\{split\}", "(?P<split>[^/]+)", 1).replace(r"\{split\}", "(?P=split)"))
    splits: dict[str, Files] = {}
    for path in sorted(glob.glob(pattern.replace("{split}", "*"))):
        match = named.fullmatch(path)
        if match and Path(path).is_file():
            _check_table(Path(path), data)
            split = match["split"] if "split" in named.groupindex else "train"
            splits.setdefault(split, Files([])).paths.append(Path(path))
    if not splits:
        raise CorpusError(f"{pattern} matches no file")

    def missing(split: str) -> str:
        told = f"{pattern} has no split {split!r}; splits found: {', '.join(sorted(splits))}"
        if "split" in named.groupindex:
            return told + nearest(split, splits)
        return f"{told}. Write {{split}} where the name of the split stands, as in parts/{{split}}-*.parquet"

    return Found(splits, missing)


def _find_folder(folder: Path, data: DataConfig) -> Found:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _find_saved(folder, data)
    try:
        names = {entry.name for entry in folder.iterdir() if entry.is_file()}
    except OSError as error:
        raise CorpusError(f"cannot read {folder}: {error.strerror}") from None
    splits, half = _folder_splits(folder, names, data)
    described = "README.md" in names and any(SHARD.search(name) for name in names)  # may say what is in which file
    if (not splits and not half) or described:
        return _find_data_set(folder, None, data)

    def missing(split: str) -> str:
        only = same_split(split, half)
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

    return Found(splits, missing, half)


def _folder_splits(folder: Path, names: Iterable[str], data: DataConfig) -> tuple[dict[str, Files], dict[str, Path]]:
    """The files of each split, and of splits of which only one language is there, that file."""
    sides: list[dict[str, Path]] = [{}, {}]
    splits: dict[str, Files] = {}
    for name in sorted(names, reverse=True):  # of x and x.gz, x is what stays
        plain = name.removesuffix(".gz")
        for side, language in zip(sides, (data.source, data.target), strict=True):
            split = plain.removesuffix("." + language)
            if split and split != plain:
                side[split] = folder / name
        if table_ending(Path(name)) is not None:
            split = plain.rpartition(".")[0]
            if SHARD.search(split):
                splits.setdefault(SHARD.sub("", split), Files([])).paths.insert(0, folder / name)
            else:
                splits[split] = Files([folder / name])
    both = sides[0].keys() & sides[1].keys()
    splits.update({split: Files([sides[0][split], sides[1][split]], lines=True) for split in both})
    half = {split: path for side in sides for split, path in side.items() if split not in splits}
    return splits, half


def _find_saved(folder: Path, data: DataConfig) -> Found:
    """What `save_to_disk` of `datasets` wrote."""
    try:
        saved = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise CorpusError(f"{folder} holds a saved data set that cannot be read: {reason(error)}") from None
    parts = dict(saved) if isinstance(saved, dict) else {"train": saved}
    kept = {str(name): Loaded(f"{folder} ({name})", functools.partial(_kept, part)) for name, part in parts.items()}
    return Found(kept, lambda split: f"{folder} has no split {split!r}; splits found: {', '.join(kept)}")


def _kept(part: datasets.Dataset, streaming: bool) -> Any:
    return part.to_iterable_dataset() if streaming else part


def _find_data_set(folder: Path, configuration: str | None, data: DataConfig) -> Found:
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


def _find_hub(data: DataConfig) -> Found:
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


def _find_builder(name: str, configuration: str | None, data: DataConfig) -> Found:
    splits = datasets.get_dataset_split_names(name, configuration)

    def load(split: str, streaming: bool) -> Any:
        try:
            return datasets.load_dataset(name, configuration, split=split, **({"streaming": True} if streaming else {}))
        except Exception as error:
            raise CorpusError(f"{data.data}: split {split!r} cannot be loaded: {reason(error)}") from None

    def missing(split: str) -> str:
        return f"{data.data} has no split {split!r}; splits found: {', '.join(splits)}{nearest(split, splits)}"

    parts = {split: Loaded(f"{data.data} ({split})", functools.partial(load, split)) for split in splits}
    return Found(parts, missing)
