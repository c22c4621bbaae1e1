#!/usr/bin/env python
"""Trains the Transformer that CTranslate2 runs: PyTorch's own, 3 + 3 layers, before-norm, one table of embeddings.

    python scripts/bench/toolkits/transformer.py --data DIR --source en --target de --tokenizer FILE --output FILE.npz

Brief, so that the lengths of its translations and its searches are those of a real model; not tuned.

Legend: B sentences, S source length, T target length, D model width, V vocabulary.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seq2seq.nn.hardware import choose_device, choose_precision, keep_memory, use_threads
from seq2seq.text.batching import Batch, batch_order, collate
from seq2seq.text.tables import read_lines
from seq2seq.text.tokenizer import Tokenizer

WIDTH, HEADS, FEED_FORWARD, LAYERS, POSITIONS = 256, 4, 512, 3, 512
BATCH, DROPOUT, SMOOTHING = 64, 0.1, 0.1
RATE, WARM_UP = 1e-3, 300


class Transformer(nn.Module):
    """Encoder and decoder with embeddings tied to each other and to the output."""

    def __init__(self, vocabulary: int) -> None:
        """All sizes but the vocabulary are the module's constants."""
        super().__init__()
        self.core = nn.Transformer(
            WIDTH, HEADS, LAYERS, LAYERS, FEED_FORWARD, DROPOUT, batch_first=True, norm_first=True
        )
        self.embedding = nn.Embedding(vocabulary, WIDTH)
        nn.init.normal_(self.embedding.weight, std=WIDTH**-0.5)
        self.dropout = nn.Dropout(DROPOUT)
        place = torch.arange(POSITIONS)[:, None] * torch.exp(torch.arange(0, WIDTH, 2) * (-math.log(10000) / WIDTH))
        self.positions: Tensor
        self.register_buffer("positions", torch.cat([place.sin(), place.cos()], dim=1))  # (positions, D)

    def embed(self, ids: Tensor) -> Tensor:
        """(B, S) ids to (B, S, D)."""
        return self.dropout(self.embedding(ids) * WIDTH**0.5 + self.positions[: ids.shape[1]])

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, T, V) of the next piece."""
        source, target = batch.source, batch.target[:, :-1]
        hidden = torch.arange(source.shape[1]) >= batch.source_lengths[:, None]  # (B, S), True where padded
        future = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        states = self.core(
            self.embed(source),
            self.embed(target),
            tgt_mask=future,
            src_key_padding_mask=hidden,
            memory_key_padding_mask=hidden,
        )
        return states @ self.embedding.weight.T


def batches(tokenizer: Tokenizer, sources: list[str], targets: list[str]) -> Iterator[Batch]:
    """Batches of like lengths without end, in an order that is drawn anew each epoch."""
    ids = tokenizer.encode(sources), tokenizer.encode(targets)
    lengths = [np.array([len(row) + 1 for row in side]) for side in ids]
    for epoch in itertools.count():
        for rows in batch_order(*lengths, batch_tokens=0, batch_sentences=BATCH, seed=1, epoch=epoch):
            yield collate(
                [ids[0][i] for i in rows],
                [ids[1][i] for i in rows],
                source_eos=tokenizer.eos_id,
                target_bos=tokenizer.bos_id,
                target_eos=tokenizer.eos_id,
                source_pad=tokenizer.pad_id,
                target_pad=tokenizer.pad_id,
            )


def train(model: Transformer, data: Iterator[Batch], updates: int, padding: int) -> None:
    """Adam, linear warm-up, then a linear fall to zero."""
    precision = choose_precision("auto", choose_device("cpu"))
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, betas=(0.9, 0.98), fused=True)
    model.train()
    for update, batch in zip(range(updates), data, strict=False):
        rate = min((update + 1) / WARM_UP, (updates - update) / max(updates - WARM_UP, 1))
        for group in optimizer.param_groups:
            group["lr"] = RATE * rate
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            logits = model(batch)
        loss = functional.cross_entropy(
            logits.float().flatten(0, 1),
            batch.target[:, 1:].flatten(),
            ignore_index=padding,
            label_smoothing=SMOOTHING,
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if update % 100 == 99:
            sys.stdout.write(f"update {update + 1} loss {loss.item():.3f}\n")
            sys.stdout.flush()


def arrays(model: Transformer) -> dict[str, np.ndarray]:
    """What CTranslate2 needs: PyTorch's names below `core`, the two tables and the sizes that shapes do not tell."""
    named = {name: tensor.numpy() for name, tensor in model.core.state_dict().items()}
    tables = {"embedding": model.embedding.weight.detach().numpy(), "positions": model.positions.numpy()}
    return named | tables | {"layers": np.array(LAYERS), "heads": np.array(HEADS)}


def main() -> None:
    """Trains and saves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "source", "target", "tokenizer", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--updates", type=int, default=2700)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    use_threads(options.threads)
    keep_memory()
    torch.manual_seed(1)
    tokenizer = Tokenizer.load(options.tokenizer)
    text = [list(read_lines(Path(options.data) / f"train.{side}")) for side in (options.source, options.target)]
    model = Transformer(tokenizer.vocab_size)
    sys.stdout.write(f"{sum(p.numel() for p in model.parameters()):,} parameters\n")
    train(model, batches(tokenizer, *text), options.updates, tokenizer.pad_id)
    np.savez(options.output, **arrays(model))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
