#!/usr/bin/env python
"""Training killed at random moments and resumed until it ends: is the end that of the unbroken run, bit for bit?

    python scripts/stress/kill.py [--kills 30] [--tasks translation classification] [--threads 1] [--fork] [--seed 1]

A translator and a classifier train on the embedded corpus with sampling tokenizer, dropout, averaged weights and
accumulation. SIGKILL comes while the process starts, after a random step, or while it writes a checkpoint; each time
the same command with --resume goes on; where a run ends before all kills are done, another one begins. SIGINT and
SIGTERM come besides, and the command that the training then prints goes on. A second unbroken run shows that there is
one end.

Compared: weights, averages and moments, metrics.jsonl and metrics.json apart from times, model card, tokenizer, the
names of all files, and the content of the batches of every step. Prints a table; exit code 1 where anything differs.
--fork starts processes from one that has imported everything, which takes a fraction of the time.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 600.0
"""Seconds that one process may take."""

SHARED = [
    *("--embedding-size", "16", "--encoder-size", "16", "--vocab-size", "400", "--sampling", "0.1"),
    *("--dropout", "0.2", "--dropout-state", "0.1", "--word-dropout", "0.1", "--ema-decay", "0.9", "--accumulate", "2"),
    *("--batch-tokens", "250", "--save-every", "2", "--validate-every", "7", "--log-every", "3", "--warmup-steps", "5"),
    *("--precision", "float32"),
]
COMMANDS = {
    "translation": [
        *("train", "--source", "en", "--target", "fr", "--decoder-size", "16", "--attention-size", "16"),
        *("--validation-sentences", "4", *SHARED),
    ],
    "classification": [
        *("train-classifier", "--text-column", "en", "--min-steps", "0", *SHARED),
    ],
}
TIMES = {"seconds", "tokens_per_second", "minutes", "log_bytes", "command", "resume", "output", "overwrite"}
"""What is not compared: times, what follows from their length, and what tells that and where a run was resumed."""


# ---------------------------------------------------------------- the training process


def child(order: Path, cache: str, arguments: list[str]) -> int:
    """The real command, with a note of the content of each step's batches."""
    os.environ["HF_DATASETS_CACHE"] = cache
    import datasets

    from seq2seq.app.cli import main
    from seq2seq.training.trainer import Trainer

    datasets.config.HF_DATASETS_CACHE = cache  # a forked process has imported it already
    plain = Trainer._step

    def step(self: Trainer, batches: list[Any], rate: float, epoch: float) -> Any:
        digest = hashlib.sha256(b"".join(t.numpy().tobytes() for batch in batches for t in batch)).hexdigest()
        with open(order, "a") as file:
            file.write(f"{self.progress.step} {digest} {rate!r}\n")
        return plain(self, batches, rate, epoch)

    Trainer._step = step  # type: ignore[method-assign]
    return main(arguments)


class Process:
    """A training, in an interpreter of its own or forked from this one."""

    def __init__(self, work: Work, arguments: list[str], fork: bool) -> None:
        self.output, self.code = work.folder / "said.txt", None
        with open(self.output, "wb") as said:
            if fork:
                self.pid = os.fork()
                if self.pid == 0:
                    _become(work, arguments, said.fileno())
            else:
                command = [sys.executable, __file__, "--child", str(work.order), str(work.cache), *arguments]
                self.pid = subprocess.Popen(command, stdout=said, stderr=said, cwd=ROOT).pid

    def running(self) -> bool:
        """Whether it is."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is None

    def wait(self) -> int:
        """Its exit code, or minus the signal that killed it."""
        end = time.monotonic() + LIMIT
        while self.running():
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                raise SystemExit(f"a training took more than {LIMIT:.0f} s:\n{self.said()}")
            time.sleep(0.002)
        assert self.code is not None
        return self.code

    def said(self) -> str:
        """What it wrote."""
        return self.output.read_text(errors="replace")


def _become(work: Work, arguments: list[str], output: int) -> None:
    code = 70
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = child(work.order, str(work.cache), arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


# ---------------------------------------------------------------- one run and its end


class Work(NamedTuple):
    """Where one run, however often it is broken, lives."""

    folder: Path

    @property
    def model(self) -> Path:
        """The output directory."""
        return self.folder / "model"

    @property
    def order(self) -> Path:
        """A line for each step that was begun."""
        return self.folder / "order.txt"

    @property
    def cache(self) -> Path:
        """Of data sets."""
        return self.folder / "cache"

    def steps(self) -> int:
        """Number of steps begun, repeated ones counted again."""
        return self.order.read_bytes().count(b"\n") if self.order.exists() else 0

    def half_written(self) -> list[str]:
        """What is there of files that are being written."""
        with contextlib.suppress(OSError):
            found = [*self.model.glob(".*.tmp"), *(self.model / "training_state").glob(".*")]
            return sorted(re.sub(r"[.-]\d+", "", path.name.lstrip(".")) for path in found)
        return []


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items() if name not in TIMES}
    return value


def end_of(work: Work) -> dict[str, Any]:
    """All that must be the same, by name."""
    found: dict[str, Any] = {}
    files = sorted(path for path in work.model.rglob("*") if path.is_file())
    found["files"] = [str(path.relative_to(work.model)) for path in files]
    for path in files:
        content, name = path.read_bytes(), str(path.relative_to(work.model))
        if path.suffix == ".json":
            found[name] = _plain(json.loads(content))
        elif path.suffix == ".jsonl":
            found[name] = [_plain(json.loads(line)) for line in content.splitlines()]
        else:
            if path.name == "README.md":  # it shows the command of the first start
                content = re.sub(rb"(?m)^\$ seq2seq train.*$", b"", content)
            found[name] = hashlib.sha256(content).hexdigest()
    steps: dict[str, set[str]] = {}
    for line in work.order.read_text().splitlines():
        number, *rest = line.split()
        if len(rest) == 2:  # a line that was cut by a kill is written anew after it
            steps.setdefault(number, set()).add(" ".join(rest))
    found["batches of each step"] = {number: sorted(seen) for number, seen in steps.items()}
    return found


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Names of what is not the same."""
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


# ---------------------------------------------------------------- moments


def at_start(process: Process, work: Work, rng: random.Random, startup: float) -> None:
    """Anywhere before the first step."""
    end = time.monotonic() + rng.uniform(0, startup)
    while process.running() and time.monotonic() < end:
        time.sleep(0.001)


def at_step(process: Process, work: Work, rng: random.Random, startup: float) -> None:
    """After some steps, and a part of one."""
    wanted, pause = work.steps() + rng.randint(1, 9), rng.uniform(0, 0.02)
    while process.running() and work.steps() < wanted:
        time.sleep(0.001)
    time.sleep(pause)


def at_writing(process: Process, work: Work, rng: random.Random, startup: float) -> None:
    """While a file of the model or of a checkpoint is being written."""
    begun, pause = work.steps() + rng.randint(0, 5), rng.choice([0.0, rng.uniform(0, 0.01)])
    while process.running() and (work.steps() < begun or not work.half_written()):
        pass
    time.sleep(pause)


Moment = Callable[[Process, Work, random.Random, float], None]
KILLS: dict[str, Moment] = {"start": at_start, "step": at_step, "writing": at_writing}
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Row(NamedTuple):
    """One interruption, as the table shows it."""

    task: str
    what: str
    steps: int
    half_written: str
    problem: str = ""


def interrupted(process: Process, number: int, expected: list[str]) -> tuple[list[str] | None, str]:
    """Sends a signal; the command that the training says to go on with, and what was wrong."""
    os.kill(process.pid, number)
    code, said = process.wait(), process.said().strip().splitlines()
    if code == 0:
        return None, ""  # it was done before
    if code != SIGNALS[signal.Signals(number)]:
        return expected, f"exit code {code}: {said[-1:]}"
    if shlex.split(said[-1]) != ["seq2seq", *expected]:
        return expected, f"the command to go on is {said[-1]!r}"
    return shlex.split(said[-1])[1:], ""


class Task:
    """The interruptions of one task's training."""

    def __init__(self, name: str, folder: Path, options: argparse.Namespace) -> None:
        self.name, self.folder, self.options = name, folder, options
        self.rng = random.Random(f"{options.seed} {name}")
        self.rows: list[Row] = []
        self.runs = 0

    def arguments(self, work: Work) -> list[str]:
        """Of the command, without --resume."""
        where = ["--data", str(self.folder / "data"), "--output", str(work.model)]
        shown = {"--threads": self.options.threads, "--max-epochs": self.options.epochs}
        return [*COMMANDS[self.name], *where, *(str(word) for pair in shown.items() for word in pair)]

    def unbroken(self, name: str) -> tuple[dict[str, Any], float]:
        """The end of a run without interruptions, and the seconds until its first step."""
        work = Work(self.folder / self.name / name)
        work.folder.mkdir(parents=True)
        start, first = time.monotonic(), 0.0
        process = Process(work, self.arguments(work), self.options.fork)
        while process.running():
            if not first and work.steps():
                first = time.monotonic() - start
            time.sleep(0.002)
        if process.wait() != 0:
            raise SystemExit(f"the unbroken run of {self.name} failed:\n{process.said()}")
        return end_of(work), first

    def break_until(self, kills: int, expected: dict[str, Any], startup: float) -> list[str]:
        """Breaks runs until all interruptions are done; what was not the same in the end."""
        kinds: list[Any] = [list(KILLS)[i % len(KILLS)] for i in range(kills)] + list(SIGNALS) * max(1, kills // 15)
        self.rng.shuffle(kinds)
        problems = []
        while kinds:
            work = Work(self.folder / self.name / f"broken-{self.runs}")
            work.folder.mkdir(parents=True)
            self.runs += 1
            arguments = self.arguments(work)
            while True:
                process = Process(work, arguments, self.options.fork)
                arguments = [word for word in arguments if word != "--resume"] + ["--resume"]
                if kinds:
                    self._break(process, work, kinds, arguments, startup)
                code = process.wait()
                if code == 0:
                    break
                if code not in (-signal.SIGKILL, *SIGNALS.values()):
                    problems.append(f"exit code {code}: {process.said()[-2000:]}")
                    return problems
            different = differences(expected, end_of(work))
            problems += [f"run {self.runs}: {', '.join(different)}"] if different else []
            if not different:
                shutil.rmtree(work.folder)
        return problems + [f"{row.what}: {row.problem}" for row in self.rows if row.problem]

    def _break(self, process: Process, work: Work, kinds: list[Any], again: list[str], startup: float) -> None:
        kind, problem = kinds[-1], ""
        (KILLS[kind] if kind in KILLS else at_step)(process, work, self.rng, startup)
        if not process.running():
            return  # the run was done before the moment came
        if kind in KILLS:
            os.kill(process.pid, signal.SIGKILL)
            if process.wait() == 0:
                return
        else:
            went_on, problem = interrupted(process, kind, again)
            if went_on is None:
                return
            again[:] = went_on
        kinds.pop()
        name = f"SIGKILL, {kind}" if kind in KILLS else signal.Signals(kind).name
        self.rows.append(Row(self.name, name, work.steps(), " ".join(work.half_written()), problem))


def make_data(folder: Path) -> None:
    """The first lines of the embedded corpus, with their labels."""
    folder.mkdir()
    for split, count in (("train", 240), ("valid", 20)):
        for side in ("en", "fr", "label"):
            lines = (ROOT / "data" / "demo" / f"{split}.{side}").read_text(encoding="utf-8").splitlines()[:count]
            (folder / f"{split}.{side}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def warm() -> None:
    """Imports, before any fork, what training will import; nothing that starts a thread is run."""
    import torch._dynamo  # noqa: F401 (the optimizers import it)

    import seq2seq.app.train
    import seq2seq.app.train_classifier  # noqa: F401


def main() -> int:
    """Runs all and prints the table; exit code."""
    if sys.argv[1:2] == ["--child"]:
        return child(Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="of each task")
    parser.add_argument("--tasks", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fork", action="store_true")
    parser.add_argument("--epochs", type=int, default=4, help="of each training, 18 to 24 steps each")
    parser.add_argument("--once", action="store_true", help="no second unbroken run")
    parser.add_argument("--keep", help="folder to work in, kept; else a temporary one")
    options = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    if options.fork:
        sys.path.insert(0, str(ROOT))
        warm()
    failed = False
    with contextlib.ExitStack() as stack:
        folder = Path(options.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="seq2seq-kill-")))
        folder.mkdir(parents=True, exist_ok=True)
        make_data(folder / "data")
        for name in options.tasks:
            start, task = time.monotonic(), Task(name, folder, options)
            expected, startup = task.unbroken("unbroken")
            twice = [] if options.once else differences(expected, task.unbroken("again")[0])
            problems = [f"a second unbroken run: {', '.join(twice)}"] if twice else []
            problems += task.break_until(options.kills, expected, startup)
            sys.stdout.write("| task | interruption | steps begun | half-written then |\n| --- | --- | --- | --- |\n")
            sys.stdout.writelines(f"| {r.task} | {r.what} | {r.steps} | {r.half_written} |\n" for r in task.rows)
            kills = sum(row.what.startswith("SIGKILL") for row in task.rows)
            writing = sum(bool(row.half_written) for row in task.rows)
            sys.stdout.write(
                f"{name}: {kills} kills, {writing} of them while a file was being written, {len(task.rows) - kills} "
                f"signals, {task.runs} runs to the end, {len(expected['batches of each step'])} steps each, "
                f"{time.monotonic() - start:.0f} s: {'; '.join(problems) or 'every end is that of the unbroken run'}\n"
            )
            sys.stdout.flush()
            failed |= bool(problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
