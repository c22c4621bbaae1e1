"""How likely a model finds given translations: log p(target | source), in batches of like length."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from seq2seq.errors import CorpusError
from seq2seq.inference.search import SearchModel
from seq2seq.nn.functional import log_softmax
from seq2seq.text.batching import Batch, collate, length_batches
from seq2seq.text.tokenizer import Tokenizer

LONGEST_PAIR = 25_000_000
"""Source times target pieces; a pair above it is scored step by step: attention of all steps would take gigabytes."""


class ScoringModel(SearchModel, Protocol):
    """What scoring needs of a model: a `TranslationModel` in evaluation mode, or an `Ensemble`."""

    def log_probs(self, batch: Batch) -> Tensor:
        """log p (B, T) of each target piece given the source and the pieces before it; 0 at padding."""


class Score(NamedTuple):
    """What a model thinks of one pair."""

    log_prob: float  # log p(target, EOS | source), natural logarithm: the sum of `pieces`
    tokens: int  # target pieces and EOS
    pieces: list[float]  # log p of each target piece and of EOS


def check_counts(name: str, count: int, other_name: str, other_count: int) -> None:
    """Refuses lists that should belong together line by line and differ in length.

    Raises:
        CorpusError: Both counts.
    """
    if count != other_count:
        raise CorpusError(
            f"{count:,} {name} but {other_count:,} {other_name}; line n of the one belongs to line n of the other, "
            "so give as many of both"
        )


def _by_steps(model: SearchModel, batch: Batch) -> Tensor:
    """What `log_probs` gives for a batch without padding, with the memory of one step."""
    memory = model.encode(batch.source, batch.source_lengths)
    state: Any = model.initial_state(memory)
    steps = []
    for previous, piece in itertools.pairwise(batch.target.unbind(1)):
        logits, state, _ = model.step(previous, state, memory)
        steps.append(log_softmax(logits).gather(1, piece[:, None]))
    return torch.cat(steps, 1)


@torch.inference_mode()
def score_ids(
    model: ScoringModel,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    *,
    batch_tokens: int = 4000,
    device: torch.device | str = "cpu",
) -> list[Score]:
    """Scores of N pairs of ids, in their order.

    Args:
        model: In evaluation mode, on `device`.
        sources: Ids without EOS; may be empty.
        targets: Ids without BOS and EOS; may be empty.
        source_tokenizer: Knows EOS and padding of the sources.
        target_tokenizer: Knows BOS, EOS and padding of the targets.
        batch_tokens: Budget of a batch: pairs x the longest side.
        device: Where the model is.

    Raises:
        CorpusError: Not as many targets as sources.
    """
    check_counts("sources", len(sources), "targets", len(targets))
    longest = np.array([max(len(s), len(t)) + 1 for s, t in zip(sources, targets, strict=True)], dtype=np.int64)
    scores: list[Score | None] = [None] * len(sources)
    for group in length_batches(longest, batch_tokens):
        batch = collate(
            [sources[i] for i in group],
            [targets[i] for i in group],
            source_eos=source_tokenizer.eos_id,
            target_bos=target_tokenizer.bos_id,
            target_eos=target_tokenizer.eos_id,
            source_pad=source_tokenizer.pad_id,
            target_pad=target_tokenizer.pad_id,
        )
        batch = batch.to(device)
        alone_and_long = len(group) == 1 and batch.source.shape[1] * batch.target.shape[1] > LONGEST_PAIR
        log_probs = _by_steps(model, batch) if alone_and_long else model.log_probs(batch)
        for i, row in zip(group, log_probs.tolist(), strict=True):
            pieces = row[: len(targets[i]) + 1]
            scores[i] = Score(math.fsum(pieces), len(pieces), pieces)
    return [score for score in scores if score is not None]
