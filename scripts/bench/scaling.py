#!/usr/bin/env python
"""How training speed and memory change with batch size, vocabulary, sentence length and threads: a table and a picture.

    python scripts/bench/scaling.py [--picture docs/speed.svg] [--json]

Each point is a process of its own on random pieces, sentences of one length, at the sizes of `training.py`; one of
them is varied at a time. Dashed: what the matrix products alone would make of the first point's speed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys

import torch
from training import products_a_token, report, training_speeds

from seq2seq.config import ModelConfig, OptimizationConfig
from seq2seq.nn.hardware import choose_device, choose_precision, keep_memory, use_threads
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.batching import Batch

MODEL = ModelConfig(embedding_size=256, encoder_size=256, decoder_size=512, attention_size=512)
USUAL = {"batch": 64, "vocabulary": 8_000, "length": 15, "threads": 0}
VARIED = {
    "batch": [8, 16, 32, 64, 128, 256],
    "vocabulary": [8_000, 16_000, 32_000],
    "length": [5, 10, 20, 40, 80],
    "threads": [1, 2, 4, 8, 16],
}
LABELS = {"batch": "sentences a batch", "vocabulary": "pieces", "length": "pieces a sentence", "threads": "threads"}


def random_batch(sentences: int, vocabulary: int, length: int) -> Batch:
    """Sentences of `length` pieces on both sides, the end counted."""
    source = torch.randint(4, vocabulary, (sentences, length))
    target = torch.randint(4, vocabulary, (sentences, length + 1))
    lengths = torch.full((sentences,), length)
    return Batch(source, lengths, target, lengths)


def measure(batch: int, vocabulary: int, length: int, threads: int, device_name: str) -> dict[str, object]:
    """One point, in this process."""
    keep_memory()  # before the first tensor
    use_threads(threads)
    device = choose_device(device_name)
    precision = choose_precision("auto", device)
    torch.manual_seed(0)
    model = TranslationModel(MODEL, vocabulary, vocabulary, joint=True).to(device)
    batches = itertools.cycle([random_batch(batch, vocabulary, length) for _ in range(4)])
    speeds = training_speeds(model, batches, precision, OptimizationConfig(), rounds=3, steps=6)
    return report(speeds, model, precision)


def draw(points: list[dict[str, float]], path: str) -> None:
    """One panel for what was varied: tokens a second, measured and by products."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(VARIED), figsize=(13, 3.2), sharey=True)
    for panel, name in zip(panels, VARIED, strict=True):
        line = [point for point in points if point["varied"] == name]
        x = [point[name] for point in line]
        panel.plot(x, [point["tokens_per_second"] for point in line], "o-", label="measured")
        if name == "vocabulary":
            by_products = [point["by_products"] for point in line]
            panel.plot(x, by_products, "--", color="grey", label="products alone")
            panel.legend(frameon=False)
        panel.set_xscale("log", base=2)
        panel.set_xticks(x, [f"{value:,.0f}" for value in x])
        panel.set_xlabel(LABELS[name])
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("target tokens a second")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Measures all points in turn, prints a table or one object, draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", help="where to draw, SVG or PNG")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        sys.stdout.write(json.dumps(measure(**json.loads(options.point), device_name=options.device)))
        return
    cores = use_threads(0)
    points = []
    for name, values in VARIED.items():
        for value in values:
            if name == "threads" and value > cores:
                continue
            sizes = {**USUAL, name: value}
            command = [sys.executable, __file__, "--device", options.device, "--point", json.dumps(sizes)]
            point = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            points.append({"varied": name, **point, **sizes, "threads": point["threads"]})
    first = next(point for point in points if point["varied"] == "vocabulary")
    for point in points:
        share = products_a_token(MODEL, first["vocabulary"]) / products_a_token(MODEL, point["vocabulary"])
        point["by_products"] = round(first["tokens_per_second"] * share)
    if options.picture:
        draw(points, options.picture)
    if options.json:
        sys.stdout.write(json.dumps(points) + "\n")
        return
    columns = [
        "batch",
        "vocabulary",
        "length",
        "threads",
        "tokens_per_second",
        "share_of_product_peak",
        "peak_memory_mb",
    ]
    sys.stdout.write(f"| varied | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}\n")
    for point in points:
        sys.stdout.write(f"| {point['varied']} | {' | '.join(str(point[column]) for column in columns)} |\n")


if __name__ == "__main__":
    main()
