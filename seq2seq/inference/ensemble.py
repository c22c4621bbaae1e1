"""Several models as one, whose probability of each next piece is the mean of theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seq2seq.errors import ConfigError
from seq2seq.nn.functional import log_softmax


class EnsembleParts(NamedTuple):
    """Memory or state of several models, one beside the other."""

    parts: tuple[Any, ...]

    @property
    def size(self) -> int:
        """Number of sentences, of a memory."""
        return self.parts[0].size

    def select(self, index: Tensor) -> EnsembleParts:
        """The sentences or rows `index` of every part."""
        return EnsembleParts(tuple(part.select(index) for part in self.parts))


class Ensemble:
    """Several models as one, whose probability of each next piece is the mean of theirs.

    Attention is the mean over the members that have one.
    """

    def __init__(self, models: Sequence[Any]) -> None:
        if not models:
            raise ConfigError("an ensemble needs at least one model")
        self.models = list(models)

    def encode(self, source: Tensor, source_lengths: Tensor) -> EnsembleParts:
        """Memories of N sentences from ids (N, S) and lengths (N,)."""
        return EnsembleParts(tuple(model.encode(source, source_lengths) for model in self.models))

    def initial_state(self, memory: EnsembleParts) -> EnsembleParts:
        """States before the first piece."""
        pairs = zip(self.models, memory.parts, strict=True)
        return EnsembleParts(tuple(model.initial_state(part) for model, part in pairs))

    def step(
        self, tokens: Tensor, state: EnsembleParts, memory: EnsembleParts
    ) -> tuple[Tensor, EnsembleParts, Tensor | None]:
        """Logits (rows, V), which here are log mean_m p_m, next states, attention (rows, S) or None.

        Raises:
            ConfigError: The members' vocabularies differ in size.
        """
        steps = [
            model.step(tokens, part, remembered)
            for model, part, remembered in zip(self.models, state.parts, memory.parts, strict=True)
        ]
        log_probs = _mean_probability([log_softmax(logits) for logits, _, _ in steps])
        weights = [attention for _, _, attention in steps if attention is not None]
        return (
            log_probs,
            EnsembleParts(tuple(part for _, part, _ in steps)),
            torch.stack(weights).mean(0) if weights else None,
        )

    def log_probs(self, batch: Any) -> Tensor:
        """log p (B, T) of each target piece given the source and the pieces before it; 0 at padding."""
        return _mean_probability([model.log_probs(batch) for model in self.models])


def _mean_probability(log_probs: list[Tensor]) -> Tensor:
    """log((p_1 + ... + p_n) / n) from n log probabilities of one shape."""
    sizes = [part.shape[-1] for part in log_probs]
    if len(set(sizes)) > 1:
        raise ConfigError(
            f"the models of an ensemble have vocabularies of different sizes ({', '.join(map(str, sizes))}); "
            "they must be trained with one tokenizer (`seq2seq train --tokenizer FILE.model`)"
        )
    return torch.logsumexp(torch.stack(log_probs), 0) - math.log(len(log_probs))
