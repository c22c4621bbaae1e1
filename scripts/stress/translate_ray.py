#!/usr/bin/env python
"""Translation by the workers of a Ray cluster: the same lines as one process, workers and jobs killed in the middle.

    python scripts/stress/translate_ray.py --model DIR [--checks equal killed stopped] [--lines 100000] [--workers 4]

equal    --lines lines, of the embedded corpus and with words left out of them, by one process of `seq2seq translate`
         and by a local cluster: text to text, and a fifth of the lines Parquet to Parquet; how many lines differ.
killed   A fifth of the lines; one worker gets SIGKILL when the first file is there, and Ray starts another.
stopped  A fifth of the lines; the job and all of its cluster get SIGKILL when the first file is there, and the same
         command goes on with the folder: nothing that was whole is made again.

Prints a line for each; exit code 1 where something is not as expected. Needs the extra `ray`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
SEARCH = ["--beam-size", "1", "--precision", "float32"]
ODD = "…\u2028😀"
"""Ends a line for some programs, not for this one."""
MARK = "SEQ2SEQ_STRESS_JOB"
"""Variable in the environment of all processes of a job."""


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def make_lines(count: int) -> list[str]:
    """Sentences of the embedded corpus; from its second pass on each lacks a word; some lines are odd or empty."""
    corpus = (ROOT / "data" / "demo" / "train.en").read_text(encoding="utf-8").splitlines()
    lines = []
    for number in range(count):
        words = corpus[number % len(corpus)].split()
        again = number // len(corpus)
        if again:
            del words[again % len(words)]
        odd = [ODD] if number % 499 == 7 else []
        lines.append("" if number % 997 == 5 else " ".join([*words, *odd]))
    return lines


class Job:
    """A run of `scripts/translate_ray.py` and the cluster that it starts."""

    def __init__(self, model: str, given: Path, output: Path, size: int, workers: int, *options: str) -> None:
        self.mark, self.output = uuid.uuid4().hex, output
        command = [sys.executable, str(ROOT / "scripts" / "translate_ray.py"), "--model", model, *SEARCH, *options]
        command += ["--input", str(given), "--output", f"{output}/", "--workers", str(workers)]
        environment = {**os.environ, MARK: self.mark, "RAY_ADDRESS": "local"}
        command += ["--shard-lines", str(size)]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)

    def said(self) -> str:
        """What it has said, once it has ended well."""
        said = self.process.communicate()[1]
        if self.process.returncode:
            raise SystemExit(f"exit code {self.process.returncode}: {said[-2000:]}")
        return said.splitlines()[-1]

    def first_file(self) -> Path:
        """Waits for a file."""
        while not (found := sorted(self.output.glob("[0-9]*"))):
            if self.process.poll() is not None:
                raise SystemExit(f"ended early: {self.said()}")
            time.sleep(0.02)
        return found[0]

    def processes(self, name: str = "") -> list[int]:
        """Those of its processes whose command line holds a name."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{MARK}={self.mark}" in (place / "environ").read_text().split("\0"):
                    if name in (place / "cmdline").read_text():
                        found.append(int(place.name))
        return found


def different(expected: list[str], found: list[str]) -> int:
    """Lines that are not as expected, missing and additional ones included."""
    return abs(len(expected) - len(found)) + sum(a != b for a, b in zip(expected, found, strict=False))


def texts_of(folder: Path) -> list[str]:
    """All lines of the files of a folder, text or Parquet, in order."""
    tables = sorted(folder.glob("*.parquet"))
    if tables:
        return pa.concat_tables(pq.read_table(path) for path in tables)["translation"].to_pylist()
    return "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt"))).split("\n")[:-1]


def main() -> int:
    """Runs the checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--checks", nargs="+", default=["equal", "killed", "stopped"])
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    model, good = options.model, True
    with tempfile.TemporaryDirectory(prefix="seq2seq-ray-") as folder:
        work, lines = Path(folder), make_lines(options.lines)
        text, few, table = work / "in.txt", work / "few.txt", work / "few.parquet"
        part = max(len(lines) // 5, 1)
        size = max(part // 10, 1)
        text.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        few.write_text("".join(f"{line}\n" for line in lines[:part]), encoding="utf-8")
        pq.write_table(pa.table({"id": range(part), "en": lines[:part]}), table, row_group_size=1_500)
        begin = time.monotonic()
        given = text if "equal" in options.checks else few
        one = [sys.executable, "-m", "seq2seq", "translate", "--model", model, *SEARCH, "--input", str(given)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([*one, "--output", str(work / "one.txt")], check=True, env=environment)
        expected = (work / "one.txt").read_text(encoding="utf-8").split("\n")[:-1]
        say(f"one process: {len(expected):,} lines, {len(set(expected)):,} different ones, in "
            f"{time.monotonic() - begin:.0f} s")  # fmt: skip

        def check(name: str, job: Job, wanted: list[str]) -> None:
            nonlocal good
            begin, said = time.monotonic(), job.said()
            wrong = different(wanted, texts_of(job.output))
            good &= wrong == 0 and bool(wanted)
            say(f"{name}: {wrong} of {len(wanted):,} lines differ; {said} ({time.monotonic() - begin:.0f} s)")

        if "equal" in options.checks:
            check("equal, text", Job(model, text, work / "text", size * 2, options.workers), expected)
            parquet = ["--format", "parquet", "--column", "en"]
            check("equal, Parquet", Job(model, table, work / "p", size, options.workers, *parquet), expected[:part])
        if "killed" in options.checks:
            job = Job(model, few, work / "killed", size, options.workers)
            job.first_file()
            victims = job.processes("ray::MapWorker")
            good &= len(victims) > 1
            os.kill(victims[0], signal.SIGKILL)
            check(f"killed, one of {len(victims)} workers", job, expected[:part])
        if "stopped" in options.checks:
            job = Job(model, few, work / "stopped", size, options.workers)
            first = job.first_file()
            made = first.stat().st_mtime_ns
            for process in job.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            job.process.wait()
            again = Job(model, few, work / "stopped", size, options.workers)
            check(f"stopped, gone on from {len(list(first.parent.glob('[0-9]*')))} files", again, expected[:part])
            good &= first.stat().st_mtime_ns == made
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
