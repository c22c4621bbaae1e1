#!/usr/bin/env python
"""What each ingredient of a recipe is worth: the recipe, and the recipe with one option changed, over several seeds.

    python scripts/bench/ablation.py --config configs/multi30k.yaml --data multi30k --source en --target de
        [--epochs 3] [--seeds 1 2 3] [--change "no scaled embeddings=--no-scale-embedding" ...] [--runs runs/ablation]

Every training has a whole schedule of --epochs, one thread, and as many others beside it as there are cores. Scores are
those of its end: loss in nats a piece and BLEU of greedy translations, both on the validation split. The models stay in
--runs; what is there is not trained again, so a run that was interrupted goes on, and more seeds or changes add to it.
A short schedule shows what makes a model learn faster. What makes it learn for longer, such as dropout, it shows as a
loss: ask with more epochs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from seq2seq.nn.hardware import usable_cores

ROOT = Path(__file__).resolve().parents[2]
WHOLE = "the recipe"
CHANGES = {
    "the attention's query does not see the previous token": "--no-query-token",
    "the source's embeddings are not attended to": "--no-attend-embedding",
    "embeddings are not scaled": "--no-scale-embedding",
    "the deep output is not scaled": "--readout-scale 1",
    "embeddings of 256": "--embedding-size 256",
    "no dropout of words": "--word-dropout 0",
    "no label smoothing": "--label-smoothing 0",
    "no averaged weights": "--ema-decay 0",
    "a constant rate after warm-up": "--schedule constant",
}


def change(text: str) -> tuple[str, str]:
    """Name and options out of `name=--option value`."""
    name, equals, options = text.partition("=")
    if not (name and equals and options.startswith("--")) or name == WHOLE:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=--OPTION VALUE")
    return name, options


def scores(model: Path) -> tuple[float, float]:
    """Loss and BLEU of the last validation."""
    lines = map(json.loads, (model / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    last = [line["valid"] for line in lines if "valid" in line][-1]
    return last["loss"], last["bleu"]


def train(options: argparse.Namespace, name: str, changed: str, seed: int) -> tuple[float, float]:
    """One training, or what is left of it; its directory is named by what it was asked for.

    Raises:
        SystemExit: It failed; its log is named.
    """
    asked = ["--config", options.config, "--data", options.data, "--source", options.source]
    asked += ["--target", options.target, "--seed", str(seed), "--threads", "1", "--max-epochs", str(options.epochs)]
    asked += shlex.split(changed)
    recipe = Path(options.config).read_bytes() + repr(asked).encode()
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    model = options.runs / f"{readable}-{seed}-{hashlib.sha256(recipe).hexdigest()[:8]}"
    finished = model / "finished"
    if not finished.exists():
        words = ["-m", "seq2seq", "train", *asked, "--output", str(model), "--resume"]
        log = options.runs / f"{model.name}.log"
        with log.open("a") as file:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            done = subprocess.run([sys.executable, *words], stdout=file, stderr=file, env=environment)
        if done.returncode:
            raise SystemExit(f"{name}, seed {seed}, ended with exit code {done.returncode}; see {log}")
        finished.touch()
    found = scores(model)
    sys.stderr.write(f"{name}, seed {seed}: loss {found[0]:.3f}, BLEU {found[1]:.2f}\n")
    return found


def row(name: str, found: list[tuple[float, float]], whole: list[tuple[float, float]]) -> str:
    """A line of the table: mean and standard deviation over seeds, and the difference that the change makes."""
    cells = [name]
    for which, digits in ((0, 3), (1, 2)):
        values = [pair[which] for pair in found]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        difference = statistics.mean(values) - statistics.mean(pair[which] for pair in whole)
        told = "" if name == WHOLE else f" ({difference:+.{digits}f})"
        cells.append(f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}{told}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Trains what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="the recipe, a YAML file")
    parser.add_argument("--data", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--change", type=change, action="append", help="NAME=OPTIONS, instead of those of the script")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--at-once", type=int, default=usable_cores(), help="trainings beside each other")
    options = parser.parse_args()
    changes = {WHOLE: "", **(dict(options.change) if options.change else CHANGES)}
    options.runs.mkdir(parents=True, exist_ok=True)
    jobs = [(name, changed, seed) for seed in options.seeds for name, changed in changes.items()]
    with ThreadPoolExecutor(max_workers=options.at_once) as pool:
        results = list(pool.map(lambda job: train(options, *job), jobs))
    found = {name: [scored for job, scored in zip(jobs, results, strict=True) if job[0] == name] for name in changes}
    sys.stdout.write(f"| {options.epochs} epochs, seeds {options.seeds} | loss | greedy BLEU |\n| --- | --- | --- |\n")
    sys.stdout.writelines(f"{row(name, values, found[WHOLE])}\n" for name, values in found.items())


if __name__ == "__main__":
    main()
