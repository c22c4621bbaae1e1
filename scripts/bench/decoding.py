#!/usr/bin/env python
"""Sentences a second and latency of a trained model, greedy and with a beam of 5.

python scripts/bench/decoding.py --model DIR --input FILE [--sentences N] [--threads N] [--precision P] [--json]
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time

import torch

from seq2seq import Translator
from seq2seq.text.tables import read_lines

ROUNDS = 3
SINGLE = 100


def seconds(translator: Translator, lines: list[str], beam_size: int) -> float:
    """Time to translate all lines, median of several rounds after one that warms up."""
    times = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        translator.translate(lines, beam_size=beam_size)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def latencies(translator: Translator, lines: list[str], beam_size: int) -> list[float]:
    """Milliseconds of each line on its own, sorted."""
    times = []
    for line in lines:
        start = time.perf_counter()
        translator.translate(line, beam_size=beam_size)
        times.append(1000 * (time.perf_counter() - start))
    return sorted(times)


def main() -> None:
    """Measures and prints one table, or with --json one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--precision", default="float32", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    translator = Translator.from_pretrained(options.model, threads=options.threads, precision=options.precision)
    lines = list(itertools.islice(read_lines(options.input), options.sentences))
    result: dict[str, object] = {"threads": torch.get_num_threads(), "precision": options.precision}
    for beam_size in (1, 5):
        result[f"beam_{beam_size}"] = {
            "sentences_per_second": round(len(lines) / seconds(translator, lines, beam_size)),
            "p50_ms": round((single := latencies(translator, lines[:SINGLE], beam_size))[len(single) // 2], 1),
            "p99_ms": round(single[int(0.99 * (len(single) - 1))], 1),
        }
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    sys.stdout.write(f"{result['threads']} threads, {options.precision}\n\n")
    sys.stdout.write("| beam | sentences/s | one sentence p50, ms | p99, ms |\n| --- | --- | --- | --- |\n")
    for beam_size in (1, 5):
        row = result[f"beam_{beam_size}"]
        assert isinstance(row, dict)
        sys.stdout.write(f"| {beam_size} | {row['sentences_per_second']} | {row['p50_ms']} | {row['p99_ms']} |\n")


if __name__ == "__main__":
    main()
