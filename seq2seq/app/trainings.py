"""Trainings as processes of their own, whose metrics are followed while they run."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from seq2seq.config import to_flat
from seq2seq.training.interrupt import PARENT


def words_of(config: Any) -> list[str]:
    """The flags that make this configuration of the defaults of its class."""
    defaults, words = to_flat(type(config)()), []
    for name, value in to_flat(config).items():
        if value == defaults[name]:
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words.append(f"--{flag}={value}")
    return words


class Training:
    """One training, or another command, begun."""

    def __init__(self, command: str, arguments: list[str], directory: Path, log: Path | None) -> None:
        """Begins it. Signals of the terminal do not reach it: `stop` does. It does not outlive us by much.

        Args:
            command: Of the program, such as `train`.
            arguments: What follows.
            directory: That of its --output, where a training's metrics appear.
            log: File to which all that it says is added; None: it says it where we do.
        """
        self.directory, self.log = directory, log
        self._seen = 0
        with contextlib.ExitStack() as opened:
            output = None if log is None else opened.enter_context(log.open("ab"))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "seq2seq", command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if log is None else subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, PARENT: str(os.getpid())},
            )

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def validations(self) -> list[dict[str, Any]]:
        """The lines of its metrics with scores that were written since this was last asked."""
        try:
            text = (self.directory / "metrics.jsonl").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        lines = text.split("\n")[:-1]  # what follows the last newline is being written
        found = [line for line in map(json.loads, lines) if "valid" in line]
        new, self._seen = found[self._seen :], len(found)
        return new

    def failure(self) -> str:
        """What went wrong, of one that has ended; empty where nothing did."""
        code = self._process.returncode
        if code == 0:
            return ""
        if self.log is None:
            return f"ended with {code}"
        said = self.log.read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1]
        return f"ended with {code}: {said.removeprefix('seq2seq: error: ')} (all of it: {self.log})"

    def terminate(self) -> None:
        """Asks it to save its state and to end."""
        self._process.terminate()

    def kill(self) -> None:
        """Ends it."""
        self._process.kill()

    def wait(self) -> None:
        """Returns when it has ended."""
        self._process.wait()


def stop(trainings: Collection[Training]) -> None:
    """Lets all of them save their states and end, however long that takes; Ctrl-C meanwhile ends them at once."""
    for training in trainings:
        training.terminate()
    try:
        for training in trainings:
            training.wait()
    except BaseException:
        for training in trainings:
            training.kill()
        raise
