"""SIGINT, SIGTERM and SIGHUP (its terminal has gone), noted while a step is at work and obeyed after it."""

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
    """Notes such a signal instead of dying in the middle of a step; a second one is obeyed at once.

    SIGHUP that is ignored, as under nohup, stays so.
    """
    kept: dict[int, Any] = {}
    noted, hangup = Noted(), getattr(signal, "SIGHUP", None)
    terminals = [file for file in (1, 2) if _is_terminal(file)]

    def note(number: int, _: object) -> None:
        noted.number = number
        if number == hangup:  # what is written to a terminal that has gone would fail, and the saving with it
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for file in terminals:
                os.dup2(nowhere, file)
            os.close(nowhere)
        for known, handler in kept.items():
            signal.signal(known, handler)
        # not through sys.stdout: the signal may have come in the middle of a write to it, which cannot be entered twice
        with contextlib.suppress(OSError):
            os.write(2, NOTE)

    with contextlib.suppress(ValueError):  # signals reach the main thread only
        for wanted in (signal.SIGINT, signal.SIGTERM, hangup):
            if wanted is not None and (wanted != hangup or signal.getsignal(wanted) != signal.SIG_IGN):
                kept[wanted] = signal.signal(wanted, note)
    try:
        yield noted
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _is_terminal(file: int) -> bool:
    try:
        return os.isatty(file)
    except OSError:  # closed
        return False
