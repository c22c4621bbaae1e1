#!/usr/bin/env python
"""Training on a disk that fills up, or becomes read-only: a message, exit code 2, the last checkpoint intact.

    python scripts/stress/disk.py [--short]

In a mount namespace of its own (`unshare`, no rights are needed where the system lets users have one) a small tmpfs is
filled until so many kilobytes are free, and the training goes on: it must stop with a message, the checkpoint of before
must load, and once there is room the same command must end as a run with room enough from the start. Prints a table;
exit code 1 where anything is otherwise, 77 where no disk can be mounted here.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DISK_MB = 16
SKIPPED = 77
TINY = [
    *("--vocab-size", "400", "--embedding-size", "16", "--encoder-size", "16", "--decoder-size", "16"),
    *("--attention-size", "16", "--batch-tokens", "300", "--validation-sentences", "2", "--precision", "float32"),
    *("--threads", "1", "--save-every", "1", "--log-every", "1", "--validate-every", "4", "--max-epochs", "0"),
    *("--schedule", "constant"),
]


def train(disk: Path, output: Path, steps: int, *options: str) -> tuple[int, str]:
    """Exit code and last line of the real command."""
    from seq2seq.app.cli import main

    data = ["--data", str(disk.parent / "data"), "--source", "en", "--target", "fr"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(["train", *data, "--output", str(output), *TINY, "--max-steps", str(steps), *options])
    return code, said.getvalue().strip().splitlines()[-1]


def train_to_the_end(disk: Path, output: Path, steps: int, *options: str) -> None:
    """The same, where nothing is in its way.

    Raises:
        SystemExit: It failed.
    """
    code, said = train(disk, output, steps, *options)
    if code:
        raise SystemExit(f"training failed with code {code}: {said}")


def fill(disk: Path, free_kb: int) -> Path:
    """A file that leaves so many kilobytes free."""
    path = disk / "filler"
    left = shutil.disk_usage(disk).free - free_kb * 1024
    with open(path, "wb") as file:
        file.write(b"x" * max(left, 0))
    return path


def last_state(output: Path) -> bytes:
    """Weights, averages and moments at the end of a run (which weights were the best depends on where it paused)."""
    (state,) = (output / "training_state").glob("step-*")
    return (state / "tensors.safetensors").read_bytes()


def mount(*words: str) -> None:
    """Runs mount."""
    subprocess.run(["mount", *words], check=True)


def inside(folder: Path, short: bool) -> int:
    """All checks, in the namespace."""
    sys.path.insert(0, str(ROOT))
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_DATASETS_CACHE=str(folder / "cache"))
    from seq2seq.checkpoint import load_training_state

    disk, roomy = folder / "disk", folder / "roomy"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk))
    make_data(folder / "data")
    train_to_the_end(disk, roomy, 10)
    rows: list[tuple[str, str, bool]] = []

    def check(name: str, code: int, said: str, *, wanted: str, step: int | None, output: Path) -> None:
        state = load_training_state(output) if output.exists() else None
        found = None if state is None else state.values["progress"]["step"]
        good = code == 2 and wanted in said and (found == step if step is not None else True)
        if step is None and found is not None:
            good &= f"the checkpoint of step {found} is intact" in said
        rows.append((name, f"code {code}, checkpoint of step {found}: {said[:160]}", good))

    for free in (0, 64) if short else (0, 4, 16, 64, 128, 256, 512, 1024):
        output = disk / "model"
        shutil.rmtree(output, ignore_errors=True)
        train_to_the_end(disk, output, 3)
        filler = fill(disk, free)
        code, said = train(disk, output, 10, "--resume")
        if code:
            check(f"{free} kB free", code, said, wanted="No space left on device", step=None, output=output)
        filler.unlink()
        train_to_the_end(disk, output, 10, "--resume")
        rows.append((f"{free} kB free, then room", "end of the unbroken run", last_state(output) == last_state(roomy)))
    filler = fill(disk, 0)
    code, said = train(disk, disk / "new", 3)
    check("full from the start", code, said, wanted="No space left on device", step=None, output=disk / "new")
    filler.unlink()
    train_to_the_end(disk, disk / "model", 12, "--resume")
    before = load_training_state(disk / "model")
    assert before is not None
    mount("-o", "remount,ro", str(disk))
    for name, target, options in (("the run goes on", "model", ["--resume"]), ("a new run", "other", [])):
        code, said = train(disk, disk / target, 20, *options)
        step = before.values["progress"]["step"] if target == "model" else None
        check(f"read-only, {name}", code, said, wanted="read-only disk", step=step, output=disk / target)
    sys.stdout.write("| disk | what came of it | as it should |\n| --- | --- | --- |\n")
    sys.stdout.writelines(f"| {name} | {text} | {'yes' if good else 'no'} |\n" for name, text, good in rows)
    return int(not all(good for _, _, good in rows))


def make_data(folder: Path) -> None:
    """The first lines of the embedded corpus."""
    folder.mkdir()
    for split, count in (("train", 60), ("valid", 6)):
        for side in ("en", "fr"):
            lines = (ROOT / "data" / "demo" / f"{split}.{side}").read_text(encoding="utf-8").splitlines()[:count]
            (folder / f"{split}.{side}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def main() -> int:
    """Enters the namespace and runs all there; exit code."""
    short = "--short" in sys.argv
    if "--inside" in sys.argv:
        return inside(Path(sys.argv[sys.argv.index("--inside") + 1]), short)
    enter = ["unshare", "--map-root-user", "--mount"]
    with tempfile.TemporaryDirectory(prefix="seq2seq-disk-") as folder:
        try:
            trial = [*enter, "mount", "-t", "tmpfs", "tmpfs", folder]
            subprocess.run(trial, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.stderr.write(f"no disk can be mounted here: {getattr(error, 'stderr', None) or error}\n")
            return SKIPPED
        command = [*enter, sys.executable, __file__, "--inside", folder, *(["--short"] if short else [])]
        return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
