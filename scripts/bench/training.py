#!/usr/bin/env python
"""Target tokens a second in training, beside what the machine's matrix products could give at most.

    python scripts/bench/training.py --data DIR --source en --target de [--config FILE] [--json] [--OPTION VALUE ...]

Any option of `seq2seq train` may follow; by default the sizes are those at which other toolkits were measured: joint
vocabulary of 8,000, embedding 256, encoder 2 x 256, decoder 512, attention 512, 64 sentences a batch.
"""

from __future__ import annotations

import itertools
import json
import resource
import statistics
import sys
import time
from collections.abc import Iterator

import torch

from seq2seq.app.cli import parse_command
from seq2seq.app.train import build_model, prepare_data
from seq2seq.config import ModelConfig, OptimizationConfig
from seq2seq.nn.hardware import choose_device, choose_precision, keep_memory, precision_name, use_threads
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.batching import Batch
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


def product_peak(dtype: torch.dtype, device: torch.device) -> float:
    """Floating point operations a second of a large matrix product, now, on the threads or the GPU in use."""
    size = 2048 if device.type == "cpu" else 8192
    x, y = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        (x @ y)[0, 0].item()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds[1:])


def training_speeds(
    model: TranslationModel,
    batches: Iterator[Batch],
    precision: torch.dtype,
    options: OptimizationConfig,
    rounds: int = ROUNDS,
    steps: int = STEPS,
) -> list[float]:
    """Target tokens a second of whole training steps: one figure for each of several rounds, sorted."""
    device = model.output_weight.device
    optimization = Optimization(model, options)

    def step() -> int:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss, count = model.loss(next(batches).to(device), options.label_smoothing)
        loss.backward()
        optimization.step(count, 1e-4)
        return count

    speeds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        tokens = sum(step() for _ in range(steps))
        model.output_bias[0].item()  # waits for a GPU
        speeds.append(tokens / (time.perf_counter() - start))
    return sorted(speeds[1:])  # the first round warms up


def report(speeds: list[float], model: TranslationModel, precision: torch.dtype) -> dict[str, object]:
    """Figures and sizes of one measurement."""
    config, vocabulary, device = model.config, len(model.output_bias), model.output_weight.device
    speed, peak = statistics.median(speeds), product_peak(precision, device)
    return {
        "tokens_per_second": round(speed),
        "slowest": round(speeds[0]),
        "fastest": round(speeds[-1]),
        "share_of_product_peak": round(speed * products_a_token(config, vocabulary) / peak, 3),
        "peak_gflops": round(peak / 1e9),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "precision": precision_name(precision),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "vocabulary": vocabulary,
        "embedding": config.embedding_size,
        "encoder": config.encoder_size,
        "decoder": config.decoder_size,
        "attention": config.attention_size if config.attention == "bahdanau" else 0,
    }


def main() -> None:
    """Measures and prints one table, or with --json one object."""
    arguments = [word for word in sys.argv[1:] if word != "--json"]
    options = parse_command("train", [*PEER_SIZES, *arguments])
    training = options.training
    keep_memory()  # before the first tensor
    device = choose_device(training.device)
    use_threads(training.threads)
    precision = choose_precision(training.precision, device)
    train, _, tokenizers = prepare_data(options, None)
    model = build_model(options, tokenizers).to(device)
    limits = {"batch_tokens": training.batch_tokens, "batch_sentences": training.batch_sentences}
    order = train.order(0, **limits, seed=training.seed)
    start = time.perf_counter()
    batches = list(train.batches(order[: STEPS * (ROUNDS + 1)], seed=1, epoch=0))
    data_seconds = (time.perf_counter() - start) / len(batches)
    speeds = training_speeds(model, itertools.cycle(batches), precision, options.optimization)
    result = report(speeds, model, precision)
    tokens = sum(int(batch.target_lengths.sum()) for batch in batches) / len(batches)
    result["data_share_of_step"] = round(data_seconds * statistics.median(speeds) / tokens, 4)
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        sys.stdout.writelines(f"| {name} | {value} |\n" for name, value in result.items())


if __name__ == "__main__":
    main()
