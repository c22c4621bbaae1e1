"""Small models over a four-word vocabulary to search with, and how the tests of search call it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seq2seq.config import SearchConfig
from seq2seq.inference.search import search

PAD, BOS, EOS = 0, 1, 2
WORDS = (3, 4, 5, 6)
VOCABULARY = 7
IDS = {"bos_id": BOS, "eos_id": EOS, "pad_id": PAD}


class ToyMemory(NamedTuple):
    values: Tensor  # (N, S, H)
    lengths: Tensor  # (N,)

    @property
    def size(self) -> int:
        return len(self.lengths)

    def select(self, index: Tensor) -> ToyMemory:
        lengths = self.lengths[index]
        return ToyMemory(self.values[index, : int(lengths.max())], lengths)


class ToyState(NamedTuple):
    hidden: Tensor  # (rows, H)

    def select(self, index: Tensor) -> ToyState:
        return ToyState(self.hidden[index])


class ToyModel:
    """A recurrent decoder with dot-product attention, enough to make every choice depend on all earlier ones."""

    def __init__(self, seed: int = 0, size: int = 12, sharpness: float = 2.5) -> None:
        generator = torch.Generator().manual_seed(seed)
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
        self.embedding, self.inner = draw(VOCABULARY, size), draw(size, size) / size**0.5
        self.readout, self.bias = sharpness * draw(size, VOCABULARY) / size**0.5, draw(VOCABULARY)
        self.rows: list[int] = []

    def encode(self, source: Tensor, source_lengths: Tensor) -> ToyMemory:
        return ToyMemory(torch.tanh(self.embedding[source].cumsum(1)), source_lengths)

    def initial_state(self, memory: ToyMemory) -> ToyState:
        return ToyState(torch.tanh(memory.values[torch.arange(memory.size), memory.lengths - 1]))

    def step(self, tokens: Tensor, state: ToyState, memory: ToyMemory) -> tuple[Tensor, ToyState, Tensor]:
        self.rows.append(len(tokens))
        query = state.hidden.view(memory.size, -1, state.hidden.shape[-1])
        scores = query @ memory.values.transpose(1, 2)  # (N, K, S)
        padding = torch.arange(memory.values.shape[1]) >= memory.lengths[:, None]
        weights = torch.softmax(scores.masked_fill(padding[:, None], -torch.inf), -1)
        context = (weights @ memory.values).flatten(0, 1)
        hidden = torch.tanh(state.hidden @ self.inner + self.embedding[tokens] + context)
        return (hidden @ self.readout + self.bias).float(), ToyState(hidden), weights.flatten(0, 1)

    def score(self, source: list[int], ids: list[int]) -> float:
        """log p(ids, EOS | source) by a plain loop."""
        memory = self.encode(torch.tensor([source]), torch.tensor([len(source)]))
        state, total, previous = self.initial_state(memory), 0.0, BOS
        for piece in [*ids, EOS]:
            logits, state, _ = self.step(torch.tensor([previous]), state, memory)
            total += float(torch.log_softmax(logits.double(), -1)[0, piece])
            previous = piece
        return total


class FixedModel(ToyModel):
    """The same next-piece probabilities at every step."""

    def __init__(self, probabilities: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(probabilities).log()

    def step(self, tokens: Tensor, state: ToyState, memory: ToyMemory) -> tuple[Tensor, ToyState, Tensor]:
        _, state, weights = super().step(tokens, state, memory)
        return self.logits.repeat(len(tokens), 1), state, weights


SOURCES = [[3, 4, EOS], [5, EOS], [6, 6, 3, 4, 5, 3, EOS], [4, 5, 6, EOS], [3, 3, EOS], [6, 5, 4, 3, EOS], [EOS],
           [5, 5, EOS]]  # fmt: skip


def padded(sources: list[list[int]]) -> tuple[Tensor, Tensor]:
    lengths = [len(source) for source in sources]
    rows = [source + [PAD] * (max(lengths) - len(source)) for source in sources]
    return torch.tensor(rows), torch.tensor(lengths)


def run(model, sources, **options):
    extra = {name: options.pop(name) for name in ("prefix", "with_attention", "streams") if name in options}
    return search(model, *padded(sources), SearchConfig(**options), **IDS, **extra)


def close(left, right) -> bool:
    """The same hypotheses, in the same order, with the same figures to rounding."""
    return [[h.ids for h in found] for found in left] == [[h.ids for h in found] for found in right] and np.allclose(
        [h[1:3] for found in left for h in found], [h[1:3] for found in right for h in found], atol=1e-5
    )


OPTIONS = [
    {"beam_size": 1},
    {"beam_size": 4, "n_best": 3},
    {"beam_size": 3, "length_penalty": 0.0},
    {"beam_size": 3, "no_repeat_ngram": 2, "min_length": 2},
    {"sample": True, "n_best": 3, "search_seed": 5},
]
