"""SIGINT and SIGTERM, noted while a step is at work and obeyed after it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

NOTE = b"\nstopping after this step; once more to stop at once\n"


class Interrupted(SystemExit):
    """A signal asked the training to stop; the state is saved. Its code is the one that shells give such an end."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class Noted:
    """The signal that came, if one did."""

    number: int | None = None


@contextlib.contextmanager
def noted_signals() -> Iterator[Noted]:
    """Notes SIGINT and SIGTERM instead of dying in the middle of a step; a second one is obeyed at once."""
    kept: dict[int, Any] = {}
    noted = Noted()

    def note(number: int, _: object) -> None:
        noted.number = number
        for known, handler in kept.items():
            signal.signal(known, handler)
        # not through sys.stdout: the signal may have come in the middle of a write to it, which cannot be entered twice
        with contextlib.suppress(OSError):
            os.write(2, NOTE)

    with contextlib.suppress(ValueError):  # signals reach the main thread only
        for wanted in (signal.SIGINT, signal.SIGTERM):
            kept[wanted] = signal.signal(wanted, note)
    try:
        yield noted
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
