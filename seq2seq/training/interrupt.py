"""SIGINT, SIGTERM and SIGHUP (its terminal has gone), noted while a step is at work and obeyed after it."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
from collections.abc import Iterator
from typing import Any

NOTE = b"\nstopping after this step; once more to stop at once\n"


class Interrupted(SystemExit):
    """A signal asked the training to stop; the state is saved. Its code is the one that shells give such an end."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


PARENT = "SEQ2SEQ_PARENT"
"""Environment: the process that a training was started by and is not to outlive."""


class Noted:
    """The signal that came, if one did."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._parent = int(os.environ.get(PARENT, "0"))

    @property
    def number(self) -> int | None:
        """That signal; SIGTERM where the process that started this one has gone without a word."""
        if self.signal is None and self._parent and os.getppid() != self._parent:
            self.signal = signal.SIGTERM
        return self.signal


@contextlib.contextmanager
def noted_signals() -> Iterator[Noted]:
    """Notes such a signal instead of dying in the middle of a step; a second one is obeyed at once.

    But SIGHUP never is, which a shell and the kernel may send one after the other, and where it is ignored, as under
    nohup, it stays so.
    """
    kept: dict[int, Any] = {}
    noted, hangup = Noted(), getattr(signal, "SIGHUP", None)

    def note(number: int, _: object) -> None:
        noted.signal = number
        if number == hangup:
            _write_nowhere()
        for known, handler in kept.items():
            if known != hangup:
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


def _write_nowhere() -> None:
    """What is written to a terminal that has gone, or to a program in it, would fail, and the saving with it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for file in (1, 2):
        with contextlib.suppress(OSError):  # closed
            if not stat.S_ISREG(os.fstat(file).st_mode):
                os.dup2(nowhere, file)
    os.close(nowhere)
