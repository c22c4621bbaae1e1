"""Tables in the cache: whole or gone on with, the same whoever makes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import datasets
import pyarrow as pa
import pytest

from seq2seq.errors import CorpusError
from seq2seq.text import cache as cache_module
from seq2seq.text.cache import cached_table, content_hashes, key_of

SCHEMA = pa.schema([("number", pa.int32())])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(cache_module, "SHARD_ROWS", 20)
    return tmp_path / "seq2seq" / "numbers"


def numbers(count, starts=None, stop=None):
    """Blocks of six rows; an exception at row `stop`."""

    def blocks(start):
        if starts is not None:
            starts.append(start)
        for first in range(start, count, 6):
            if stop is not None and first >= stop[0]:
                raise stop[1]
            yield pa.record_batch([pa.array(range(first, min(first + 6, count)), pa.int32())], schema=SCHEMA)

    return blocks


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (5, ["00000.last.arrow"]),
        (24, ["00000.arrow", "00001.last.arrow"]),  # a shard is full exactly when the rows end: the last one is empty
        (60, ["00000.arrow", "00001.arrow", "00002.last.arrow"]),
    ],
)
def test_shards(cache, count, names):
    table = cached_table("numbers", "key", SCHEMA, numbers(count))
    assert table["number"][:] == list(range(count)) and table._fingerprint == "key"
    assert files(cache) == names and len(table.cache_files) == len(names)
    again = cached_table("numbers", "key", SCHEMA, lambda start: pytest.fail("made again"))
    assert again["number"][:] == list(range(count))


@pytest.mark.parametrize("stop", [0, 18, 24, 50])
def test_what_is_whole_is_kept(cache, stop):
    with pytest.raises(KeyboardInterrupt):
        cached_table("numbers", "key", SCHEMA, numbers(70, stop=(stop, KeyboardInterrupt())))
    kept = -(-stop // 6) * 6 // 24
    assert files(cache) == [f"{number:05d}.arrow" for number in range(kept)]
    starts: list[int] = []
    assert cached_table("numbers", "key", SCHEMA, numbers(70, starts))["number"][:] == list(range(70))
    assert starts == [kept * 24]


def test_a_shard_that_is_missing_is_made_again(cache):
    whole = cached_table("numbers", "key", SCHEMA, numbers(70))["number"][:]
    (cache / "key" / "00001.arrow").unlink()
    assert cached_table("numbers", "key", SCHEMA, numbers(70))["number"][:] == whole


def test_a_corpus_with_an_error_leaves_nothing(cache):
    with pytest.raises(CorpusError):
        cached_table("numbers", "key", SCHEMA, numbers(70, stop=(50, CorpusError("line 51"))))
    assert files(cache) == []


def test_killed_and_gone_on_with(cache, tmp_path):
    program = (
        "import os, signal, pyarrow as pa\nfrom seq2seq.text import cache\ncache.SHARD_ROWS = 20\n"
        "schema = pa.schema([('number', pa.int32())])\n"
        "def blocks(start):\n"
        "    for row in range(start, 70):\n"
        "        row == 50 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "        yield pa.record_batch([pa.array([row], pa.int32())], schema=schema)\n"
        "cache.cached_table('numbers', 'key', schema, blocks)\n"
    )
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    killed = subprocess.run([sys.executable, "-c", program], env=environment, timeout=100)
    assert killed.returncode == -signal.SIGKILL
    (left,) = cache.rglob("*.tmp")
    starts: list[int] = []
    assert cached_table("numbers", "key", SCHEMA, numbers(70, starts))["number"][:] == list(range(70))
    assert starts == [40]
    os.utime(left, (0, 0))
    next(cache.rglob("*.last.arrow")).unlink()  # so that there is something to make
    cached_table("numbers", "key", SCHEMA, numbers(70))
    assert not left.exists()


def test_names_follow_from_contents(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path, text in zip(paths, ("one", "two", "one"), strict=True):
        path.write_text(text)
    first, second, third = content_hashes(paths)
    assert first == third != second
    assert key_of(first, ["en", None, 1]) == key_of(third, ["en", None, 1]) != key_of(first, ["en", None, 2])
    assert key_of("ab", "c") != key_of("a", "bc")
    with pytest.raises(CorpusError, match=r"cannot read .*d: No such file"):
        content_hashes([tmp_path / "d"])
