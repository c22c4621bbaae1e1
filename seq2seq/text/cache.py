"""Tables that are made once and kept in the cache directory of `datasets`, memory-mapped, in shards.

A table is named by a key that follows from what it is made of. It is a folder of Arrow files, each of which appears
when it is whole; the last one says so in its name (`00003.last.arrow`). Where making it was cut off, it goes on after
the files that are there. Several processes may make one at the same time: they write the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import datasets
import pyarrow as pa
from datasets.table import ConcatenationTable, MemoryMappedTable

from seq2seq.errors import CorpusError

SHARD_ROWS = 1_000_000
"""Rows of a file, or a few more: a shard ends with a block."""

LEFT_AFTER = 3600
"""Seconds without a write after which a temporary file is one that a killed process has left."""

READ_BYTES = 1 << 20


def cache_folder() -> Path:
    """Where this package keeps what it need not make again."""
    return Path(datasets.config.HF_DATASETS_CACHE) / "seq2seq"


def key_of(*parts: Any) -> str:
    """A name for what these values (text, numbers, lists of them) determine."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def content_hashes(paths: Iterable[Path]) -> list[str]:
    """A hash of each file's bytes; files are read side by side.

    Raises:
        CorpusError: One cannot be read.
    """
    with ThreadPoolExecutor() as pool:  # hashing lets other threads run
        return list(pool.map(_content_hash, paths))


def _content_hash(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(READ_BYTES):
                digest.update(block)
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from None
    return digest.hexdigest()


def cached_table(
    kind: str, key: str, schema: pa.Schema, blocks: Callable[[int], Iterator[pa.RecordBatch]]
) -> datasets.Dataset:
    """The table of that key, made first, or made to its end, where it is not whole.

    Args:
        kind: What it holds; a folder of the cache.
        key: Names its contents (see `key_of`), and is the fingerprint of what is returned.
        schema: Of its columns.
        blocks: Gives its rows from a number on, some thousand at a time; the same rows each time.

    Raises:
        CorpusError: `blocks` raises it; nothing is kept then.
    """
    folder = cache_folder() / kind / key
    found, whole = _shards(folder)
    if not whole:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        try:
            _write_rest(folder, found, schema, blocks)
        except CorpusError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        found, _ = _shards(folder)
    tables = [MemoryMappedTable.from_file(str(path)) for path in found]
    table = tables[0] if len(tables) == 1 else ConcatenationTable.from_tables(tables)
    return datasets.Dataset(table, fingerprint=key)


def _shards(folder: Path) -> tuple[list[Path], bool]:
    """The files of a table that are there, as far as none is missing, and whether they are all of it."""
    found: list[Path] = []
    while True:
        path, last = folder / f"{len(found):05d}.arrow", folder / f"{len(found):05d}.last.arrow"
        if last.is_file():
            return [*found, last], True
        if not path.is_file():
            return found, False
        found.append(path)


def _write_rest(
    folder: Path, found: list[Path], schema: pa.Schema, blocks: Callable[[int], Iterator[pa.RecordBatch]]
) -> None:
    rest = blocks(sum(MemoryMappedTable.from_file(str(path)).num_rows for path in found))
    number, ended = len(found), False
    with contextlib.closing(rest):  # type: ignore[type-var]
        while not ended:
            handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
            try:
                with open(handle, "wb") as stream:
                    ended = _write_shard(stream, schema, rest)
                os.chmod(temporary, 0o644)  # mkstemp lets nobody else read a cache that may be shared
                os.replace(temporary, folder / f"{number:05d}{'.last' if ended else ''}.arrow")
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            number += 1


def _write_shard(stream: BinaryIO, schema: pa.Schema, blocks: Iterator[pa.RecordBatch]) -> bool:
    """Writes a shard's rows as an Arrow stream; whether they were the last ones."""
    rows = 0
    with pa.ipc.new_stream(stream, schema) as writer:
        for block in blocks:
            writer.write_batch(block)
            rows += len(block)
            if rows >= SHARD_ROWS:
                return False
    return True


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob("*.tmp"):
        with contextlib.suppress(OSError):  # another process may be quicker
            if time.time() - path.stat().st_mtime > LEFT_AFTER:
                path.unlink()
