#!/usr/bin/env python
"""Training by several processes: the same losses as one, two hosts, and processes killed in the middle.

    python scripts/stress/processes.py [--checks equal streamed killed hosts] [--steps 200] [--kills 10]
    python scripts/stress/processes.py --checks speed --data DIR [--batch-tokens 1500 6000]

equal   1, 2 and 4 processes, without dropout, --steps steps on the embedded corpus: largest difference of a step's loss
        (at most 1e-4 expected) and BLEU of the three models (at most 0.3 apart).
streamed
        The same from a stream, of which each process takes its share.
killed  Two processes; one of them, in turn, gets SIGKILL after a random step, and the launcher starts the job anew:
        seconds until it takes its next step, and whether it ends bit for bit like the unbroken one.
hosts   The same in two network namespaces with a cable between them, one launcher in each (Linux, as root).
speed   Two processes of one thread against one process of two threads: target tokens a second of `--data`, in turns,
        for each size of a step's batch.

Prints a table for each; exit code 1 where something is not as expected.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIZES = ["--vocab-size", "400", "--embedding-size", "32", "--encoder-size", "32", "--decoder-size", "48"]
TRAIN = [
    *("--source", "en", "--target", "fr", "--attention-size", "32", "--batch-tokens", "600", "--precision", "float32"),
    *("--threads", "1", "--log-every", "1", "--validation-sentences", "40", "--learning-rate", "0.006", *SIZES),
]
DRY = ["--dropout", "0", "--dropout-embedding", "0", "--dropout-readout", "0"]
STREAM = ["--streaming", "--stream-buffer", "300", "--max-epochs", "0"]
LIMIT = 900.0
"""Seconds that a job may take."""
SOON = 60.0
"""Seconds after which a killed job is expected to learn again, or to have ended."""


def say(text: object) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def launched(processes: int, words: list[str], *launcher: str) -> list[str]:
    """The command of a job with so many processes."""
    if processes == 1 and not launcher:
        return [sys.executable, "-m", "seq2seq", *words]
    start = launcher or ("--standalone",)
    return [sys.executable, "-m", "torch.distributed.run", *start, "--nproc-per-node", str(processes), "-m", "seq2seq",
            *words]  # fmt: skip


def started(command: list[str]) -> subprocess.Popen[str]:
    """A job, in a session of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def ended(job: subprocess.Popen[str]) -> str:
    """A job's output once it has ended.

    Raises:
        RuntimeError: It failed, or hung.
    """
    try:
        out, _ = job.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        raise RuntimeError(f"hung: {job.communicate()[0][-2000:]}") from None
    if job.returncode:
        raise RuntimeError(f"exit code {job.returncode}: {out[-2000:]}")
    return out


def train(data: Path, output: Path, *options: str) -> list[str]:
    """The words of a training."""
    return ["train", "--data", str(data), "--output", str(output), *TRAIN, *options]


def logged(output: Path) -> list[dict[str, float]]:
    """What metrics.jsonl holds so far."""
    path = output / "metrics.jsonl"
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0] if path.exists() else ""
    return [json.loads(line) for line in whole.splitlines()]


def digest(output: Path, step: int) -> str:
    """Checksum of weights, averages and moments after a step."""
    return hashlib.sha256((output / f"training_state/step-{step:09d}/tensors.safetensors").read_bytes()).hexdigest()


def check_equal(data: Path, work: Path, steps: int, *options: str) -> bool:
    """1, 2 and 4 processes."""
    runs = {}
    for processes in (1, 2, 4):
        output = work / f"equal{processes}"
        words = train(data, output, *DRY, "--max-steps", str(steps), "--validate-every", str(steps), *options)
        ended(started(launched(processes, [*words, "--overwrite"])))
        runs[processes] = logged(output)
    losses = {n: [line["loss"] for line in lines if "loss" in line] for n, lines in runs.items()}
    bleu = {n: lines[-1]["valid"]["bleu"] for n, lines in runs.items()}
    good = True
    say(f"{'processes':>9}  {'largest difference of a loss':>28}  {'last loss':>9}  {'valid loss':>10}  {'BLEU':>6}")
    for processes, lines in runs.items():
        apart = max(abs(a - b) for a, b in zip(losses[processes], losses[1], strict=True))
        good &= apart <= 1e-4 and abs(bleu[processes] - bleu[1]) <= 0.3
        say(f"{processes:>9}  {apart:>28.1e}  {losses[processes][-1]:>9.4f}  {lines[-1]['valid']['loss']:>10.4f}  "
              f"{bleu[processes]:>6.2f}")  # fmt: skip
    return good


def streamed(data: Path, folder: Path) -> Path:
    """A folder of lines as JSONL, which can be read as a stream."""
    folder.mkdir()
    for split in ("train", "valid"):
        sides = [(data / f"{split}.{side}").read_text(encoding="utf-8").splitlines() for side in ("en", "fr")]
        rows = [json.dumps({"en": source, "fr": target}) for source, target in zip(*sides, strict=True)]
        (folder / f"{split}.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return folder


def processes_of(launcher: int) -> dict[int, int]:
    """Process number by rank, of a job on this machine."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
            settings = dict(part.partition("=")[::2] for part in (place / "environ").read_text().split("\0"))
            if parent == launcher and "RANK" in settings:
                found[int(settings["RANK"])] = int(place.name)
    return found


def check_killed(data: Path, work: Path, kills: int) -> bool:
    """A process of two, killed."""
    steps, random_ = 120, random.Random(1)
    options = ["--max-steps", str(steps), "--validate-every", str(steps), "--save-every", "10"]
    ended(started(launched(2, train(data, work / "unbroken", *options))))
    expected, good = digest(work / "unbroken", steps), 0
    say(f"{'kill':>4}  {'rank':>4}  {'at step':>7}  {'learns again after':>18}  end")
    for kill in range(kills):
        output, rank, at = work / f"killed{kill}", kill % 2, random_.randrange(5, 100)
        job = started(launched(2, train(data, output, *options), "--standalone", "--max-restarts", "1"))
        begin = time.monotonic()
        while len(logged(output)) < at:
            if job.poll() is not None or time.monotonic() - begin > LIMIT:
                raise RuntimeError(f"did not come to step {at}")
            time.sleep(0.01)
        victims = processes_of(job.pid)
        os.kill(victims[rank], signal.SIGKILL)
        killed, again = time.time(), float("inf")
        while job.poll() is None and time.time() - killed < LIMIT:
            fresh = processes_of(job.pid)
            if len(fresh) == 2 and not set(fresh.values()) & set(victims.values()):
                if len(logged(output)) > at and _learns(output, killed):
                    again = time.time() - killed
                    break
            time.sleep(0.1)
        try:
            ended(job)
            same = digest(output, steps) == expected
        except RuntimeError as error:
            say(error)
            same = False
        good += same and again <= SOON
        say(f"{kill + 1:>4}  {rank:>4}  {at:>7}  {again:>16.1f} s  {'the same' if same else 'ANOTHER'}")
    say(f"{good} of {kills} as expected")
    return good == kills


def _learns(output: Path, since: float) -> bool:
    """Whether a line was written after the resumed job had cut its log back: its file is younger than the kill."""
    return (output / "metrics.jsonl").stat().st_mtime > since + 2.0


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """Names of two network namespaces that reach each other as 10.77.0.1 and 10.77.0.2."""
    names = ("seq2seq-a", "seq2seq-b")

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "cable-a", "netns", names[0], "type", "veth", "peer", "name", "cable-b", "netns", names[1])
        for i, (name, end) in enumerate(zip(names, ("cable-a", "cable-b"), strict=True), 1):
            ip("-n", name, "addr", "add", f"10.77.0.{i}/24", "dev", end)
            for device in (end, "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def check_hosts(data: Path, work: Path, steps: int) -> bool:
    """One process on each of two hosts, against one process alone."""
    options = [*DRY, "--max-steps", str(steps), "--validate-every", str(steps)]
    ended(started(launched(1, train(data, work / "alone", *options))))
    meeting = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "10.77.0.1:29400", "--rdzv-id", "hosts"]
    with two_hosts() as names:
        jobs = []
        for i, name in enumerate(names, 1):
            place = ["--local-addr", f"10.77.0.{i}", "--rdzv-conf", f"is_host={int(i == 1)}"]
            command = launched(1, train(data, work / "hosts", *options), *meeting, *place)
            device = f"cable-{'ab'[i - 1]}"
            jobs.append(started(["ip", "netns", "exec", name, "env", f"GLOO_SOCKET_IFNAME={device}", *command]))
        for job in jobs:
            ended(job)
    lines = [logged(work / name) for name in ("alone", "hosts")]
    losses = [[line["loss"] for line in part if "loss" in line] for part in lines]
    apart = max(abs(a - b) for a, b in zip(*losses, strict=True))
    say(f"two hosts against one process, {steps} steps: largest difference of a loss {apart:.1e}")
    return apart <= 1e-4


def check_speed(data: Path, work: Path, source: str, target: str, batch_tokens: int) -> bool:
    """Threads or processes."""
    options = ["--config", str(ROOT / "configs" / "multi30k.yaml"), "--source", source, "--target", target,
               "--max-steps", "120", "--validate-every", "1000", "--validation-sentences", "1", "--log-every", "60",
               "--batch-tokens", str(batch_tokens), "--overwrite"]  # fmt: skip
    speeds: dict[str, list[float]] = {"1 process x 2 threads": [], "2 processes x 1 thread": []}
    for _ in range(3):
        for name, processes in zip(speeds, (1, 2), strict=True):
            words = ["train", "--data", str(data), "--output", str(work / "speed"), *options]
            ended(started(launched(processes, [*words, "--threads", str(3 - processes)])))
            speeds[name].append([line["tokens_per_second"] for line in logged(work / "speed") if "loss" in line][-1])
    say(f"batches of {batch_tokens:,} tokens")
    for name, found in speeds.items():
        say(f"{name}: {statistics.median(found):,.0f} target tokens/s ({', '.join(f'{x:,.0f}' for x in found)})")
    one, two = (statistics.median(found) for found in speeds.values())
    say(f"ratio {two / one:.2f}")
    return two >= one


def main() -> int:
    """Runs the checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", nargs="+", default=["equal", "killed"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--data", type=Path, help="for speed: a folder with train.en train.de valid.en valid.de")
    parser.add_argument("--batch-tokens", nargs="+", type=int, default=[1500, 6000], help="for speed: of both together")
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", default="de")
    arguments = parser.parse_args()
    demo, good = ROOT / "data" / "demo", True
    with tempfile.TemporaryDirectory(prefix="seq2seq-processes-") as folder:
        work = Path(folder)
        for check in arguments.checks:
            if check == "equal":
                good &= check_equal(demo, work, arguments.steps)
            elif check == "streamed":
                good &= check_equal(streamed(demo, work / "jsonl"), work, arguments.steps, *STREAM)
            elif check == "killed":
                good &= check_killed(demo, work, arguments.kills)
            elif check == "hosts":
                good &= check_hosts(demo, work, arguments.steps)
            elif check == "speed" and arguments.data:
                for batch_tokens in arguments.batch_tokens:
                    good &= check_speed(arguments.data, work, arguments.source, arguments.target, batch_tokens)
            else:
                parser.error(f"no check {check!r}, or no --data for it")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
