"""Output as a folder of files, each written whole: work that may be interrupted, and dealt to several processes.

    out/shards.json    what the folder is the output of: another model, text or option is refused
    out/000000.txt     lines 0 to N - 1, and so on; `cat out/*.txt` is what a single file would be

A shard that is there is not made again. Processes need not talk to each other: shard i is that of process i mod n.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from seq2seq import checkpoint
from seq2seq.app.streams import check_folder
from seq2seq.errors import ConfigError, shown

ORIGIN = "shards.json"


def is_folder(output: str | None) -> bool:
    """Whether an --output is to be a folder: it is one, or ends like one."""
    return output is not None and output != "-" and (output.endswith(("/", "\\")) or Path(output).is_dir())


def check_size(lines: int) -> None:
    """Makes sure that files of so many lines can be.

    Raises:
        ConfigError: They cannot.
    """
    if lines < 1:
        raise ConfigError(f"--shard-lines is {lines}, expected 1 or more")


class Shard(NamedTuple):
    """A part of the input that is still to be worked on."""

    first: int
    """Number of its first line, from 0."""
    lines: list[str]
    path: Path


def begin(folder: Path, origin: dict[str, Any]) -> None:
    """Makes the folder, or makes sure that it is that of the same work.

    Raises:
        ConfigError: It is the output of other work, holds other files, or cannot be written.
    """
    path = folder / ORIGIN
    check_folder(folder, ORIGIN)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            _compare(folder, json.loads(path.read_text(encoding="utf-8")), origin)
            return
        checkpoint.write_atomically(path, (json.dumps(origin, indent=2, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise ConfigError(f"cannot write {folder}: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{path} is damaged; give a new folder") from None


def _compare(folder: Path, begun: Any, origin: dict[str, Any]) -> None:
    for name, now in json.loads(json.dumps(origin)).items():
        then = begun.get(name) if isinstance(begun, dict) else None
        if then != now:
            raise ConfigError(
                f"{folder} was begun with {name} = {shown(then)}, now {shown(now)}; go on with what it was begun with, "
                "or give a new folder"
            )


def shard_path(folder: Path, number: int, ending: str) -> Path:
    """The file of a shard, counted from 0."""
    return folder / f"{number:06}{ending}"


def missing_shards(
    lines: Iterable[str], folder: Path, size: int, ending: str, place: tuple[int, int]
) -> Iterator[Shard]:
    """The shards of this process that are not there yet, in order.

    Args:
        lines: All of the input; what is not needed is read and let go.
        folder: Of the output.
        size: Lines of a shard.
        ending: Of its files, such as .txt.
        place: This process and the number of processes.
    """
    lines, (rank, processes) = iter(lines), place
    for number in itertools.count():
        path = shard_path(folder, number, ending)
        wanted = number % processes == rank and not path.exists()
        part = list(itertools.islice(lines, size)) if wanted else None
        if part:
            yield Shard(number * size, part, path)
        # how many there were, where they are not kept
        read = len(part) if part is not None else sum(1 for _ in itertools.islice(lines, size))
        if read < size:
            return


def summary(made: int, size: int, folder: Path) -> str:
    """What is said at the end."""
    return f"{made:,} files of up to {size:,} lines written to {folder}\n"
