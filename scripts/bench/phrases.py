"""Phrase pairs a second: a Moses phrase table through `seq2seq score --phrase-table`, from .gz to .gz.

    python scripts/bench/phrases.py --table phrase-table.gz

The model is untrained, with a vocabulary of the table's own text: speed does not depend on what it has learnt. Figures
are those of the whole command, loading included, in a process of its own; memory is that process' peak.
"""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from seq2seq.checkpoint import save_weights, start_model_directory
from seq2seq.config import ModelConfig, PairTokenizerConfig
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.tokenizer import Tokenizer


def write_model(folder: Path, table: Path, options: argparse.Namespace) -> None:
    """An untrained model with the table's vocabulary."""
    with gzip.open(table, "rt", encoding="utf-8") as file:
        sides = [line.split(" ||| ")[:2] for line in file]
    text = [source for source, _ in sides] + [target for _, target in sides]
    tokenizer = Tokenizer.train(text, PairTokenizerConfig(vocab_size=options.vocabulary), seed=1, languages=2)
    sizes = {
        "attention": options.attention, "embedding_size": options.embedding, "encoder_size": options.encoder,
        "decoder_size": options.state,
    }  # fmt: skip
    torch.manual_seed(1)
    model = TranslationModel(ModelConfig(**sizes), tokenizer.vocab_size, tokenizer.vocab_size, joint=True)
    config = {
        "task": "translation", "source": "source", "target": "target", "source_vocab": tokenizer.vocab_size,
        "target_vocab": tokenizer.vocab_size, "joint": True, "model": sizes, "options": {},
    }  # fmt: skip
    start_model_directory(folder, config, dict.fromkeys(("source", "target"), tokenizer.to_bytes()))
    save_weights(folder, dict(model.state_dict()), {}, "")


def measure(model: Path, table: Path, output: Path, options: argparse.Namespace) -> tuple[float, float, float]:
    """Seconds on the clock, seconds of processor time, peak memory in MB of one run of the command."""
    command = [
        *(sys.executable, "-m", "seq2seq", "score", "--model", str(model), "--phrase-table", str(table)),
        *("--output", str(output), "--precision", options.precision, "--threads", str(options.threads)),
    ]
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def check(table: Path, output: Path) -> int:
    """Compares columns of both files line by line; their number of lines."""
    count = 0
    with gzip.open(table, "rt", encoding="utf-8") as old, gzip.open(output, "rt", encoding="utf-8") as new:
        for before, after in zip(old, new, strict=True):
            count += 1
            old_columns, new_columns = before.split(" ||| "), after.split(" ||| ")
            *scores, _ = new_columns[2].split()
            assert scores == old_columns[2].split(), (before, after)
            assert old_columns[:2] + old_columns[3:] == new_columns[:2] + new_columns[3:], (before, after)
    return count


def main() -> None:
    """Prints a line a run, and their median."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, help="phrase table, .gz")
    parser.add_argument("--model", type=Path, help="model directory; without it, an untrained model")
    parser.add_argument("--attention", choices=["none", "bahdanau"], default="none")
    parser.add_argument("--state", type=int, default=256, help="decoder's state")
    parser.add_argument("--encoder", type=int, default=256, help="state of each direction of the encoder")
    parser.add_argument("--embedding", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16", "int8"], default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--copies", type=int, default=1, help="read the table this many times over: memory stays flat")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, table = options.model or Path(folder) / "model", options.table
        if options.model is None:
            write_model(model, table, options)
        if options.copies > 1:  # members of a gzip file may follow each other
            table = Path(folder) / "table.gz"
            table.write_bytes(options.table.read_bytes() * options.copies)
        rates = []
        for _ in range(options.rounds):
            output = Path(folder) / "out.gz"
            seconds, processor, memory = measure(model, table, output, options)
            pairs = check(table, output)
            rates.append(pairs / seconds)
            print(
                f"{pairs:,} pairs in {seconds:.1f} s: {rates[-1]:,.0f} pairs/s; {processor:.1f} s of processor time, "
                f"{processor / pairs * 1e6:.0f} us a pair; {memory:,.0f} MB",
                flush=True,
            )
        print(f"median {statistics.median(rates):,.0f} pairs/s")


if __name__ == "__main__":
    main()
