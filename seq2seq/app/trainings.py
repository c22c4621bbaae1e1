"""Trainings as processes of their own, whose metrics are followed while they run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from seq2seq.config import to_flat

PATIENCE = 120
"""Seconds that a training has to save its state before it is killed."""


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
            words.append(f"--{flag}={'none' if value is None else value}")
    return words


class Training:
    """One training, begun."""

    def __init__(self, command: str, arguments: list[str], directory: Path, log: Path) -> None:
        """Begins it. The terminal's Ctrl-C does not reach it: `stop` does.

        Args:
            command: Of the program, such as `train`.
            arguments: What follows.
            directory: That of its --output, where its metrics appear.
            log: File for all that it says.
        """
        self.directory, self.log = directory, log
        self._seen = 0
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "seq2seq", command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def validations(self) -> list[dict[str, Any]]:
        """The lines of its metrics with scores that were written since this was last asked."""
        metrics = self.directory / "metrics.jsonl"
        if not metrics.exists():
            return []
        lines = metrics.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last newline is being written
        found = [line for line in map(json.loads, lines) if "valid" in line]
        new, self._seen = found[self._seen :], len(found)
        return new

    def failure(self) -> str:
        """What went wrong, of one that has ended; empty where nothing did."""
        code = self._process.returncode
        if code == 0:
            return ""
        said = self.log.read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1]
        return f"the training ended with {code}: {said.removeprefix('seq2seq: error: ')} (all of it: {self.log})"

    def stop(self) -> None:
        """Lets it save its state and end."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
