"""Gradients of a step, summed over its batches; whether memory was enough for them."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import nn

from seq2seq.training.distributed import learning


class Batch(Protocol):
    """What a model learns from in one pass."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""

    def halves(self) -> tuple[Batch, ...]:
        """Two batches with its examples, in order; a single example stays one batch."""


def sum_gradients(
    learner: nn.Module,
    batches: Iterable[Batch | None],
    device: torch.device,
    autocast: contextlib.AbstractContextManager[Any],
    smoothing: float,
) -> tuple[float, int] | None:
    """Adds the gradients of the summed loss of each batch to those that the parameters have.

    Args:
        learner: `(batch, smoothing) -> (sum, count)`, see `World.learner`.
        batches: Of one step, or this process' shares of them; what takes memory in making them counts, too.
        device: The model's.
        autocast: Context of the forward passes.
        smoothing: Of labels.

    Returns:
        Summed loss in nats, and the number of target tokens (or texts) that it is of; None where memory ran out, and
        then some of the gradients may be there and some not.
    """
    total, tokens = 0.0, 0
    try:
        parts = list(batches)
        for i, batch in enumerate(parts, 1):
            with learning(learner, last=i == len(parts)):
                with autocast:
                    loss, count = learner(None if batch is None else batch.to(device), smoothing)
                loss.backward()
            # what counts no tokens adds gradients alone, but is looked at: a number that is none stays none
            total, tokens = total + loss.item() * (count > 0), tokens + count
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return None
    return total, tokens


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, the machine's or a GPU's, was not enough."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error)
    return any(sign in text for sign in ("out of memory", "allocate memory", "ALLOC_FAILED"))


def free_memory(device: torch.device) -> None:
    """Gives back what a failed pass has left behind."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
