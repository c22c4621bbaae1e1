#!/usr/bin/env python
"""An endless pipe through `seq2seq translate` or `seq2seq classify`: every line answered, in order, in bounded memory.

python scripts/stress/pipe.py --model DIR [--command translate] [--lines 1000000] [--flush] [--stalls 20]

The reader of the output stops now and then, so that the pipe fills and everything before it has to wait. The process'
memory (resident, in MB) is noted a hundred times; after the first tenth of the lines it must stay within 5 % of its
median. At the end a second process answers ten lines one by one with
--flush, then loses its reader, and must end at once and silently.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

WORDS = "the a red blue small old cat dog man woman train house sees buys finds is in on near my your two".split()
FAST = ["--threads", "1", "--precision", "float32"]
SPREAD = 0.05


class Curve(NamedTuple):
    """What came of it."""

    lines: int
    seconds: float
    memory: list[float]
    """MB, at equal distances of lines."""

    def spread(self) -> float:
        """Largest distance from the median after the first tenth, as a share of it."""
        settled = self.memory[len(self.memory) // 10 :]
        middle = statistics.median(settled)
        return max(abs(value - middle) for value in settled) / middle


def sentence(number: int) -> str:
    """The same line for the same number; some are empty or odd."""
    draw = random.Random(number)
    kind = draw.random()
    if kind < 0.02:
        return ""
    text = " ".join(draw.choices(WORDS, k=draw.randint(1, 9)))
    return f"{text}\u2028\0" if kind < 0.04 else text


def command_line(command: str, model: str, flush: bool) -> list[str]:
    """The command whose lines say which line they answer."""
    words = [sys.executable, "-m", "seq2seq", command, "--model", model, "--format", "jsonl", *FAST]
    words += ["--beam-size", "1", "--max-length", "12"] if command == "translate" else []
    return [*words, "--flush"] if flush else words


def answers(command: str, model: str, lines: int, flush: bool = False, stalls: int = 0, notes: int = 100) -> Curve:
    """Sends lines and checks each answer.

    Args:
        command: `translate` or `classify`.
        model: Directory.
        lines: How many.
        flush: With `--flush`.
        stalls: How often the reader stops for a second.
        notes: How often memory is measured.
    """
    start, memory, read = time.perf_counter(), [], 0
    with _process(command_line(command, model, flush)) as running:
        assert running.stdout and running.stderr
        writer = threading.Thread(target=_write, args=(running, lines), daemon=True)
        writer.start()
        for read, line in enumerate(running.stdout, 1):
            answer = json.loads(line)
            assert answer["line"] == read, (answer["line"], read)
            assert answer["source" if command == "translate" else "text"] == sentence(read), read
            if read % max(lines // notes, 1) == 0:
                memory.append(_resident(running.pid))
            if stalls and read % max(lines // stalls, 1) == 0:
                time.sleep(1)
        error = running.stderr.read().decode()
        writer.join()
        assert (running.wait(), read, error) == (0, lines, ""), (running.returncode, read, error)
    return Curve(lines, time.perf_counter() - start, memory[:-1])  # the last one is of a process that may be gone


def _process(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _write(running: subprocess.Popen[bytes], lines: int) -> None:
    assert running.stdin
    with contextlib.suppress(BrokenPipeError):  # the exit code tells
        for block in _blocks(lines):
            running.stdin.write(block)
    with contextlib.suppress(BrokenPipeError):
        running.stdin.close()


def _blocks(lines: int) -> Iterator[bytes]:
    for first in range(1, lines + 1, 500):
        yield "".join(f"{sentence(n)}\n" for n in range(first, min(first + 500, lines + 1))).encode()


def _resident(process: int) -> float:
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS")), 0.0)


def reader_leaves(command: str, model: str) -> tuple[int, bytes]:
    """Exit code and standard error of a process that answers ten lines one by one, then has no reader any more."""
    with _process(command_line(command, model, True)) as running:
        assert running.stdin and running.stdout and running.stderr
        for number in range(1, 11):
            running.stdin.write(f"{sentence(number)}\n".encode())
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["line"] == number
        running.stdout.close()
        _write(running, 100_000)
        error = running.stderr.read()
        return running.wait(), error


def main() -> None:
    """Prints the memory curve, and fails where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--command", choices=["translate", "classify"], default="translate")
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--flush", action="store_true")
    parser.add_argument("--stalls", type=int, default=20)
    options = parser.parse_args()
    curve = answers(options.command, options.model, options.lines, options.flush, options.stalls)
    shown = " ".join(f"{value:.0f}" for value in curve.memory[:: len(curve.memory) // 10])
    sys.stdout.write(
        f"{options.command}{' --flush' if options.flush else ''}: {curve.lines:,} lines answered in order in "
        f"{curve.seconds:.0f} s, {options.stalls} stalls of the reader\n"
        f"memory in MB, every tenth of the way: {shown}\n"
        f"after the first tenth within {100 * curve.spread():.1f} % of its median\n"
    )
    assert curve.spread() <= SPREAD, "memory is not flat"
    assert reader_leaves(options.command, options.model) == (141, b"")
    sys.stdout.write("a reader that leaves: ended quietly\n")


if __name__ == "__main__":
    main()
