#!/usr/bin/env python
"""Target tokens a second in training, beside what the machine's matrix products could give at most.

    python scripts/bench/training.py --data DIR --source en --target de [--config FILE] [--json] [--OPTION VALUE ...]

Any option of `seq2seq train` may follow; by default the sizes are those at which other toolkits were measured: joint
vocabulary of 8,000, embedding 256, encoder 2 x 256, decoder 512, attention 512, 64 sentences a batch.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import statistics
import sys
import time

import torch

from seq2seq.app.cli import parse_command
from seq2seq.app.train import build_model, prepare_data
from seq2seq.config import ModelConfig
from seq2seq.nn.hardware import choose_device, choose_precision, keep_memory, use_threads
from seq2seq.text.batching import batch_order
from seq2seq.training.optim import Optimization

PEER_SIZES = [
    *("--vocab-size", "8000", "--embedding-size", "256", "--encoder-size", "256", "--decoder-size", "512"),
    *("--attention-size", "512", "--batch-tokens", "0", "--batch-sentences", "64"),
]
STEPS, ROUNDS = 20, 5


def products_a_token(model: ModelConfig, vocabulary: int) -> float:
    """Floating point operations of matrix products a target token, forward and backward, source as long as target."""
    e, h, c, a = model.embedding_size, model.decoder_size, 2 * model.encoder_size, model.attention_size
    encoder = 2 * 3 * model.encoder_size * (e + model.encoder_size + (model.encoder_layers - 1) * c)
    decoder = 3 * h * (e + c + h) + (model.decoder_layers - 1) * 3 * h * (2 * h + c)
    attention = a * (h + c) if model.attention == "bahdanau" else 0
    readout = (h + c + e) * e * (2 if model.readout == "maxout" else 1)
    return 6.0 * (encoder + decoder + attention + readout + e * vocabulary)


def product_peak(dtype: torch.dtype) -> float:
    """Floating point operations a second of a large matrix product, now, on the threads in use."""
    x, y = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    x @ y
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        x @ y
        seconds.append(time.perf_counter() - start)
    return 2 * 2048**3 / statistics.median(seconds)


def main() -> None:
    """Measures and prints one table, or with --json one object."""
    arguments = [word for word in sys.argv[1:] if word != "--json"]
    options = parse_command("train", [*PEER_SIZES, *arguments])
    keep_memory()  # before the first tensor
    device, threads = choose_device(options.training.device), use_threads(options.training.threads)
    precision = choose_precision(options.training.precision, device)
    train, _, tokenizers = prepare_data(options, None)
    model = build_model(options, tokenizers).to(device)
    optimization = Optimization(model, options.optimization)
    autocast = torch.autocast(device.type, precision, enabled=precision != torch.float32)
    training = dataclasses.asdict(options.training)
    budget = {name: training[name] for name in ("batch_tokens", "batch_sentences", "seed")}
    order = batch_order(train.source_lengths, train.target_lengths, epoch=0, **budget)
    batches = itertools.cycle(train.batches(order[: STEPS * (ROUNDS + 1)], seed=1, epoch=0))

    def step() -> int:
        with autocast:
            loss, count = model.loss(next(batches).to(device), options.optimization.label_smoothing)
        loss.backward()
        optimization.step(count, 1e-4)
        return count

    speeds, data_share = [], []
    for round_ in range(ROUNDS + 1):
        start = time.perf_counter()
        tokens = sum(step() for _ in range(STEPS))
        seconds = time.perf_counter() - start
        if round_:  # the first one warms up
            speeds.append(tokens / seconds)
    start = time.perf_counter()
    for _ in train.batches(order[:STEPS], seed=1, epoch=0):
        pass
    data_share.append((time.perf_counter() - start) / seconds)
    peak = product_peak(precision)
    vocabulary = tokenizers[1].vocab_size
    speed = statistics.median(speeds)
    result = {
        "tokens_per_second": round(speed),
        "slowest": round(min(speeds)),
        "fastest": round(max(speeds)),
        "share_of_product_peak": round(speed * products_a_token(options.model, vocabulary) / peak, 3),
        "data_share_of_step": round(data_share[0], 3),
        "peak_gflops": round(peak / 1e9),
        "precision": str(precision).removeprefix("torch."),
        "threads": threads,
        "vocabulary": vocabulary,
        "embedding": options.model.embedding_size,
        "encoder": options.model.encoder_size,
        "decoder": options.model.decoder_size,
        "attention": options.model.attention_size if options.model.attention == "bahdanau" else 0,
    }
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        sys.stdout.writelines(f"| {name} | {value} |\n" for name, value in result.items())


if __name__ == "__main__":
    main()
