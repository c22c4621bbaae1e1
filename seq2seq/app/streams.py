"""What commands read and write: lines in, lines out, files whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO, TypeVar

from seq2seq.errors import ConfigError

T = TypeVar("T")


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
    waiting = sys.stdin.isatty()
    if waiting:
        sys.stderr.write("One sentence a line; Ctrl-D ends.\n")
    # unbuffered: what a pipe has sent is translated without waiting for more
    stream = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
    return split_lines(stream, "standard input", encoding_errors), waiting


@contextlib.contextmanager
def output_file(path: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that takes its name only when all is written.

    Raises:
        ConfigError: The file cannot be written.
    """
    if path is None or path == "-":
        yield sys.stdout
        return
    target = Path(path)
    special = target.exists() and not target.is_file()  # a device or a pipe is written to, not replaced
    written = target if special else target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(written, "w", encoding="utf-8", newline="\n") as file:
            yield file
        if not special:
            os.replace(written, target)
    except OSError as error:
        if error.filename not in (str(written), written):
            raise
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    finally:
        if not special:
            written.unlink(missing_ok=True)


def progress(rows: Iterable[T], output: str | None, total: int | None = None) -> Iterable[T]:
    """The rows, counted on standard error where that is a terminal that does not show the output as well."""
    from tqdm import tqdm

    hidden = not sys.stderr.isatty() or (output is None and sys.stdout.isatty())
    return tqdm(rows, unit=" lines", total=total, disable=hidden)


def json_line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"
