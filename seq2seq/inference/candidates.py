"""The best continuations of a sentence's hypotheses, without sorting whole vocabularies.

Shapes: M sentences, K hypotheses a sentence, V vocabulary.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from seq2seq.nn.kernels import Kernel, Largest, usable

# Fewer numbers than this are ranked as they are.
SMALL = 20_000
# A vocabulary is cut into combs of some of these numbers of teeth.
TEETH = range(12, 129)


def best_continuations(log_probs: Tensor, live: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` best continuations of each sentence.

    In compiled code those of each hypothesis are found first. Elsewhere the pieces j, j + W, j + 2W, ... are comb j.
    Each of the best `count` continuations lies in one of the `count` combs with the greatest largest tooth, so only
    these are ranked tooth by tooth: to find the largest of each comb is one pass over memory, while ranking costs ten
    times as much.

    Args:
        log_probs: (M, K, V) of each hypothesis' next piece.
        live: (M, K) log probabilities of the hypotheses.
        count: How many, at most K V.

    Returns:
        Log probabilities (M, count), best first, and the slots (M, count) of the hypotheses and pieces (M, count) of
        which they are.
    """
    sentences, width, vocabulary = log_probs.shape
    if usable(log_probs, log_probs.dtype) and log_probs.is_contiguous():
        each = min(count, vocabulary)
        best = log_probs.new_empty(sentences * width, each)
        pieces = torch.empty(best.shape, dtype=torch.int64)
        Kernel(
            "largest", Largest, log_probs.numel(), rows=len(best), columns=vocabulary, count=each, x=log_probs,
            best=best, places=pieces,
        )(0)  # fmt: skip
        return best_of_each(best, pieces, live, count)
    teeth = _teeth(vocabulary)
    if log_probs.numel() < SMALL or not teeth:
        best, place = (log_probs + live[:, :, None]).flatten(1).topk(count, -1)
    else:
        best, place = _by_combs(log_probs, live, count, teeth)
    return best, torch.div(place, vocabulary, rounding_mode="floor"), place % vocabulary


def _by_combs(log_probs: Tensor, live: Tensor, count: int, teeth: int) -> tuple[Tensor, Tensor]:
    """As `best_continuations`, with places (M, count) in the K V continuations."""
    sentences, width, vocabulary = log_probs.shape
    combs = vocabulary // teeth
    largest = log_probs.view(-1, teeth, combs).amax(1).view(sentences, width, combs)
    chosen = (largest + live[:, :, None]).flatten(1).topk(min(count, width * combs), -1, sorted=False)[1]  # (M, c)
    slots = torch.div(chosen, combs, rounding_mode="floor")
    first = chosen + slots * (vocabulary - combs)  # place of each comb's first tooth
    places = first[:, :, None] + torch.arange(0, vocabulary, combs, device=first.device)  # (M, c, teeth)
    totals = log_probs.view(sentences, -1).gather(1, places.flatten(1)).view(places.shape)
    totals = totals + live.gather(1, slots)[:, :, None]
    best, place = totals.flatten(1).topk(count, -1)
    return best, places.flatten(1).gather(1, place)


def best_of_each(best: Tensor, pieces: Tensor, live: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """`best_continuations` from those of each hypothesis.

    Args:
        best: (M K, c) log probabilities of their best pieces; overwritten.
        pieces: (M K, c) these.
        live: (M, K).
        count: How many, at most K c.
    """
    each = best.shape[1]
    totals = best.view(*live.shape, each).add_(live[:, :, None])
    found, place = totals.flatten(1).topk(count, -1)
    return found, torch.div(place, each, rounding_mode="floor"), pieces.view(len(live), -1).gather(1, place)


@functools.cache
def _teeth(vocabulary: int) -> int:
    """Teeth of a comb: the divisor of the vocabulary nearest to the square root of an eighth; 0 if none is in TEETH.

    To gather and rank a tooth costs several times as much as to rank a comb, hence the eighth.
    """
    divisors = [teeth for teeth in TEETH if vocabulary % teeth == 0]
    return min(divisors, key=lambda teeth: abs(teeth - (vocabulary / 8) ** 0.5), default=0)
