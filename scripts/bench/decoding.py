#!/usr/bin/env python
"""Sentences a second of a trained model in batches, and its latency on one sentence, greedy and with a beam of 5.

    python scripts/bench/decoding.py --model DIR --input FILE [--sentences N] [--threads N] [--precision P]
        [--beam-sizes N ...] [--mbr] [--json]

The share of the machine's product peak counts the decoder's matrix products alone, for the rows that the search asked
for; the peak is that of one large product of the same type, taken in the same run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from typing import Any

import torch

from seq2seq import Translator
from seq2seq.inference.prepared import PreparedModel
from seq2seq.nn.hardware import precision_name
from seq2seq.nn.product import Product
from seq2seq.text.tables import read_lines

ROUNDS = 5
SINGLE = 100
PEAK_SIZE = 2048


class CountingModel:
    """A prepared model that counts the rows of its steps."""

    def __init__(self, model: PreparedModel) -> None:
        self.model, self.rows, self.steps = model, 0, 0
        self.encode, self.initial_state = model.encode, model.initial_state

    def step(self, tokens: torch.Tensor, state: Any, memory: Any) -> Any:
        """A step of the model."""
        self.rows, self.steps = self.rows + len(tokens), self.steps + 1
        return self.model.step(tokens, state, memory)

    def best(self, tokens: torch.Tensor, *rest: Any) -> Any:
        """The best pieces after a step, where the model finds them by itself."""
        found = self.model.best(tokens, *rest)
        if found is not None:
            self.rows, self.steps = self.rows + len(tokens), self.steps + 1
        return found

    def operations(self) -> int:
        """Of the decoder's products for one row: a multiplication and an addition each."""
        once = ("key", "initial", "summarize")  # a sentence
        parts = [part for name, part in vars(self.model).items() if isinstance(part, Product) and name not in once]
        parts += [part for layer in self.model.upper for part in vars(layer).values() if isinstance(part, Product)]
        return 2 * sum(part.numbers for part in parts)


def product_peak(dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of a large product, now, on the threads or the GPU in use."""
    if dtype == torch.int8:
        x = torch.randint(-127, 128, (PEAK_SIZE, PEAK_SIZE), dtype=dtype, device=device)
    else:
        x = torch.randn(PEAK_SIZE, PEAK_SIZE, device=device).to(dtype)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        (torch._int_mm(x, x.t()) if dtype == torch.int8 else x @ x.t())[0, 0].item()
        seconds.append(time.perf_counter() - start)
    return 2 * PEAK_SIZE**3 / statistics.median(seconds[1:])


def in_batches(translator: Translator, lines: list[str], search: dict[str, Any]) -> list[float]:
    """Seconds to translate all lines: one figure for each of several rounds after one that warms up, sorted."""
    times = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        translator.translate(lines, **search)
        times.append(time.perf_counter() - start)
    return sorted(times[1:])


def latencies(translator: Translator, lines: list[str], search: dict[str, Any]) -> list[float]:
    """Milliseconds of each line on its own, sorted."""
    times = []
    for line in (*lines[:5], *lines):
        start = time.perf_counter()
        translator.translate(line, **search)
        times.append(1000 * (time.perf_counter() - start))
    return sorted(times[5:])


def measure(
    translator: Translator, counting: CountingModel, lines: list[str], search: dict[str, Any]
) -> dict[str, object]:
    """Figures of one beam size."""
    counting.rows = counting.steps = 0
    times = in_batches(translator, lines, search)
    rows = counting.rows / (ROUNDS + 1)
    single = latencies(translator, lines[:SINGLE], search)
    peak, seconds = product_peak(translator.precision, translator.device), statistics.median(times)
    return {
        "beam_size": search["beam_size"],
        "sentences_per_second": round(len(lines) / seconds),
        "slowest": round(len(lines) / times[-1]),
        "fastest": round(len(lines) / times[0]),
        "p50_ms": round(single[len(single) // 2], 1),
        "p99_ms": round(single[int(0.99 * (len(single) - 1))], 1),
        "rows_per_sentence": round(rows / len(lines), 1),
        "share_of_product_peak": round(rows * counting.operations() / seconds / peak, 3),
        "peak_gops": round(peak / 1e9),
    }


def main() -> None:
    """Measures and prints one table, or with --json one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16", "int8"])
    parser.add_argument("--beam-sizes", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--mbr", action="store_true", help="of the hypotheses take that which the others agree with")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    translator = Translator.from_pretrained(options.model, threads=options.threads, precision=options.precision)
    assert isinstance(translator.searched, PreparedModel)
    translator.searched = counting = CountingModel(translator.searched)
    lines = list(itertools.islice(read_lines(options.input), options.sentences))
    translator.translate(lines[:SINGLE])
    precision = precision_name(translator.precision)
    searches = [{"beam_size": size, "mbr": options.mbr} for size in options.beam_sizes]
    found = [measure(translator, counting, lines, search) for search in searches]
    if options.json:
        shared = {"threads": torch.get_num_threads(), "precision": precision, "sentences": len(lines)}
        sys.stdout.write(json.dumps({**shared, **{f"beam_{row['beam_size']}": row for row in found}}) + "\n")
        return
    sys.stdout.write(f"{torch.get_num_threads()} threads, {precision}, {len(lines)} sentences\n\n")
    sys.stdout.write("| beam | sentences/s | slowest–fastest | one sentence p50, ms | p99, ms | share of peak |\n")
    sys.stdout.write("| --- | --- | --- | --- | --- | --- |\n")
    for row in found:
        speeds = f"{row['sentences_per_second']} | {row['slowest']}–{row['fastest']}"
        latency = f"{row['p50_ms']} | {row['p99_ms']} | {row['share_of_product_peak']}"
        sys.stdout.write(f"| {row['beam_size']} | {speeds} | {latency} |\n")


if __name__ == "__main__":
    main()
