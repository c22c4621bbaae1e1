"""What a search chose at each step, and the hypotheses that are read from it once the search is over.

Shapes: N sentences of the batch, M of them not done yet, K hypotheses a sentence, S source length, T steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


class Hypothesis(NamedTuple):
    """One translation of one sentence, in pieces."""

    ids: list[int]  # without BOS and EOS
    log_prob: float  # log p(ids, EOS | source), natural logarithm
    score: float  # log_prob / (len(ids) + 1) ** length_penalty
    attention: Tensor | None  # (len(ids) + 1, S): a row a piece and one for EOS, columns likewise for the source


class Trace:
    """All pieces chosen, with their predecessors' slots."""

    def __init__(self, sentences: int, with_attention: bool) -> None:
        self.sentences = sentences
        self.with_attention = with_attention
        self.steps: list[tuple[Ints, Ints, Ints]] = []  # sentences (M,), pieces (M, K), parents (M, K)
        self.weights: list[Tensor] = []  # a step: (M, K, S)

    def record(self, active: Ints, pieces: Ints, parents: Ints, weights: Tensor | None) -> None:
        """Takes one step of the sentences `active` (M,): pieces and parents (M, K), attention (M * K, S)."""
        self.steps.append((active, pieces, parents))
        if self.with_attention and weights is not None:
            self.weights.append(weights.view(*pieces.shape, -1).float().cpu())

    def read(
        self, ends: Ints, slots: Ints, log_probs: Floats, lengths: list[int], alpha: float
    ) -> list[list[Hypothesis]]:
        """Hypotheses that ended with EOS at step `ends` after the hypothesis in slot `slots`, all (N, n_best).

        An entry whose log probability is minus infinity is none.
        """
        count = len(self.steps)
        ids = np.zeros((*ends.shape, count), dtype=np.int64)  # (N, n_best, T)
        path = np.zeros((*ends.shape, count), dtype=np.int64)  # the slot before each step
        current = slots.copy()
        for t in range(count - 1, -1, -1):
            active, pieces, parents = self.steps[t]
            now = current[active]  # (M, n_best)
            ids[active, :, t] = np.take_along_axis(pieces, now, 1)
            now = np.where(t < ends[active], np.take_along_axis(parents, now, 1), now)
            current[active] = path[active, :, t] = now
        found: list[list[Hypothesis]] = []
        for n, entries in enumerate(zip(ends.tolist(), log_probs.tolist(), strict=True)):
            found.append([])
            for rank, (end, log_prob) in enumerate(zip(*entries, strict=True)):
                if log_prob == -np.inf:
                    continue
                attention = self._attention(n, path[n, rank, : end + 1].tolist(), lengths[n])
                score = log_prob / (end + 1) ** alpha
                found[-1].append(Hypothesis(ids[n, rank, :end].tolist(), log_prob, score, attention))
        return found

    def _attention(self, sentence: int, path: list[int], length: int) -> Tensor | None:
        """Weights (len(path), S) of one hypothesis of a sentence, or None."""
        if not self.weights:
            return None
        rows = []
        for (active, _, _), weights, slot in zip(self.steps, self.weights, path):  # noqa: B905 (as long as the path)
            rows.append(weights[int(np.searchsorted(active, sentence)), slot, :length])
        return torch.stack(rows)
