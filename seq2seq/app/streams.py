"""What commands read and write: lines in, lines out, files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO, TypeVar

from seq2seq.errors import ConfigError

T = TypeVar("T")

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of writing that name no file: the disk, or one's share of it, is full."""


@dataclass(frozen=True)
class DeviceArguments:
    """Where a trained model runs."""

    threads: int = 0
    """CPU threads; 0: the cores this process may use."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "float32"
    """Matrix products: `auto` takes the fastest that a short timed product shows; int8 is for translating alone."""


def text_lines(texts: Sequence[str], path: str | None, encoding_errors: str) -> tuple[Iterator[str], bool]:
    """The texts given as words, a file's lines, or standard input; and whether somebody types and waits for answers."""
    from seq2seq.text.tables import read_lines, split_lines

    if texts:
        # bytes of the command line that are no UTF-8 have come as lone surrogates
        return (os.fsencode(text).decode("utf-8", "replace") for text in texts), False
    if path not in (None, "-"):
        return read_lines(path, encoding_errors), False
    if sys.stdin is None:
        raise ConfigError("standard input is closed; give sentences, or a file with --input")
    waiting = sys.stdin.isatty()
    _wait_for(sys.stdin)
    if waiting and sys.stdout.isatty():
        from seq2seq.app.prompt import typed_lines

        return typed_lines(), True
    if waiting:
        sys.stderr.write("One sentence a line; Ctrl-D ends.\n")
    # unbuffered: what a pipe has sent is translated without waiting for more
    stream = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
    return split_lines(stream, "standard input", encoding_errors), waiting


@contextlib.contextmanager
def output_file(path: str | None) -> Iterator[TextIO]:
    """Standard output, or a file (compressed if its name ends in .gz) that takes its name only when all is written.

    Raises:
        ConfigError: The file cannot be written, or the disk is full.
    """
    if path is None or path == "-":
        with _standard_output() as stream:
            yield stream
        return
    with whole_file(path) as written:
        if Path(path).suffix == ".gz":
            opened: Any = gzip.open(written, "wt", compresslevel=6, encoding="utf-8", newline="\n")
        else:
            opened = open(written, "w", encoding="utf-8", newline="\n")
        with opened as file:
            yield file


def check_folder(folder: Path, marker: str) -> None:
    """Makes sure that a folder of output may be written: it is new, empty, or holds the marker of an earlier time.

    Raises:
        ConfigError: It is a file, or holds other files.
    """
    if folder.is_file():
        raise ConfigError(f"--output {folder} is a file; give a folder")
    others = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")] if folder.is_dir() else []
    if others and marker not in others:
        raise ConfigError(f"--output {folder} holds other files ({others[0]} ...); give a new folder")


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Where to write a file that takes its name only when all is written; after an error nothing is left of it.

    Raises:
        ConfigError: The file cannot be written, or the disk is full.
    """
    target = Path(path)
    special = target.exists() and not target.is_file()  # a device or a pipe is written to, not replaced
    written = target if special else target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield written
        if not special:
            os.replace(written, target)
    except OSError as error:
        if error.filename not in (str(written), written) and error.errno not in FULL:
            raise
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    finally:
        if not special:
            written.unlink(missing_ok=True)


@contextlib.contextmanager
def _standard_output() -> Iterator[TextIO]:
    if sys.stdout is None:
        raise ConfigError("standard output is closed; give a file with --output")
    _wait_for(sys.stdout)
    try:
        yield sys.stdout
        sys.stdout.flush()
    except OSError as error:
        if error.errno not in FULL:
            raise
        # what is left in the buffer would fail again when the interpreter ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ConfigError(f"cannot write standard output: {error.strerror}") from None


def _wait_for(stream: TextIO) -> None:
    """Makes reading and writing wait: another program may have set the pipe not to, and lines would be lost."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # no file, or no such call on Windows before 3.12
        os.set_blocking(stream.fileno(), True)


def progress(rows: Iterable[T], output: str | None, total: int | None = None, unit: str = " lines") -> Iterable[T]:
    """The rows, counted on standard error where that is a terminal that does not show the output as well."""
    from tqdm import tqdm

    hidden = not sys.stderr.isatty() or (output is None and sys.stdout.isatty())
    return tqdm(rows, unit=unit, total=total, disable=hidden)


def json_line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"
