"""Search for the translations of a batch of sentences: greedy, beam, sampling.

Of the model this knows `encode`, `initial_state` and `step`, `best` if there is one, and of what these return only
`select`: any decoder that offers them can be searched. Rows n K .. n K + K - 1 of a step belong to the K hypotheses of
sentence n, which share one encoded source.

What has a vocabulary's or a state's width is PyTorch's; the few numbers that a search keeps of each hypothesis are in
NumPy, whose calls on small arrays cost a fraction.

Shapes: N sentences of the batch, M of them not done yet, K hypotheses a sentence, V vocabulary, S source length,
T steps so far.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from seq2seq.config import SearchConfig
from seq2seq.inference.candidates import best_continuations, best_of_each
from seq2seq.inference.rules import Rules, check_search
from seq2seq.inference.trace import Bools, Floats, Hypothesis, Ints, Trace
from seq2seq.nn.functional import log_softmax

# Finished sentences leave the batch when they are this share of it: leaving means copying the memory of the others.
COMPACT_SHARE = 0.1


class Selectable(Protocol):
    """What a model remembers of the sources, or of the hypotheses."""

    def select(self, index: Tensor) -> Any:
        """The sentences or rows `index`, which may repeat for rows."""


class SearchModel(Protocol):
    """What search needs of a model."""

    def encode(self, source: Tensor, source_lengths: Tensor) -> Any:
        """Memory of N sentences from ids (N, S) and lengths (N,)."""

    def initial_state(self, memory: Any) -> Any:
        """State before the first piece, one row a sentence."""

    def step(self, tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any, Tensor | None]:
        """Logits (rows, V), which the search may overwrite, next state, attention (rows, S) or None.

        A model may also have a method `best`, with the contract of `PreparedModel.best`, that the search prefers.
        """


class _Decoding:
    """The sentences of a batch that are not done, and one step for all of them."""

    def __init__(
        self, model: SearchModel, source: Tensor, lengths: Tensor, hypotheses: int, rules: Rules, bos_id: int,
        with_attention: bool,
    ) -> None:  # fmt: skip
        self.model, self.rules, self.device = model, rules, source.device
        self.width, count = hypotheses, len(lengths)
        self.memory = model.encode(source, lengths)
        self.active: Ints = np.arange(count)  # (M,) place in the batch
        self.done: Bools = np.zeros(count, dtype=np.bool_)  # (M,) done, but still here
        rows = torch.arange(count, device=self.device).repeat_interleave(hypotheses)
        self.state = model.initial_state(self.memory).select(rows)
        self.tokens = torch.full_like(rows, bos_id)
        self.history = self.tokens.new_zeros(count, hypotheses, 0) if rules.config.no_repeat_ngram else None
        self.trace = Trace(count, with_attention)
        self.weights: Tensor | None = None

    def next_log_probs(self, t: int) -> Tensor:
        """Log probabilities (M, K, V) of piece t, minus infinity where the rules forbid it."""
        logits, self.state, self.weights = self.model.step(self.tokens, self.state, self.memory)
        log_probs = log_softmax(logits, overwrite=True).view(-1, self.width, logits.shape[-1])
        self.rules.apply(log_probs, t, self.history)
        return log_probs

    def best_next(self, t: int, live: Floats, count: int) -> tuple[Floats, Ints, Ints]:
        """The `count` best continuations of each sentence by piece t.

        Args:
            t: Step.
            live: (M, K) log probabilities of the hypotheses.
            count: How many.

        Returns:
            Log probabilities (M, count), best first, slots of the hypotheses and pieces (M, count).
        """
        so_far, best = torch.from_numpy(live).to(self.device), getattr(self.model, "best", None)
        found = None
        if best and self.rules.usual(t):
            found = best(self.tokens, self.state, self.memory, count, self.rules.never)
        if found is None:
            parts = best_continuations(self.next_log_probs(t), so_far, count)
        else:
            largest, pieces, self.state, self.weights = found
            parts = best_of_each(largest, pieces, so_far, count)
        log_probs, slots, following = (part.cpu().numpy() for part in parts)
        return log_probs, slots, following

    def advance(self, pieces: Ints, parents: Ints, done: Bools) -> Ints | None:
        """Appends `pieces` (M, K) to the hypotheses in slots `parents` (M, K); sentences `done` (M,) may leave.

        Returns:
            The sentences (M',) that stay, as positions in those of before; None when all are done.
        """
        self.trace.record(self.active, pieces, parents, self.weights)
        finished = int(done.sum())
        if finished == len(done):
            return None
        stay, self.done = np.arange(len(done)), done
        compact = finished > 0 and finished >= COMPACT_SHARE * len(done)
        if compact:
            stay = np.flatnonzero(~done)
            self.active, self.done = self.active[stay], done[stay]
            self.memory = self.memory.select(self._tensor(stay))
            self.rules.select(stay)
            pieces, parents = pieces[stay], parents[stay]
        rows = self._tensor(stay[:, None] * self.width + parents)  # (M', K)
        # rows that stay as they are need no copy
        if compact or self.width > 1:
            self.state = self.state.select(rows.flatten())
        self.tokens = self._tensor(pieces).flatten()
        if self.history is not None:
            past = self.history.flatten(0, 1)[rows]  # (M', K, t)
            self.history = torch.cat((past, self.tokens.view(*pieces.shape, 1)), 2)
        return stay

    def _tensor(self, values: Ints) -> Tensor:
        return torch.from_numpy(values).to(self.device)


def _sample(decoding: _Decoding, uniform: Tensor) -> tuple[Ints, Ints, Floats]:
    """K draws a sentence.

    Args:
        decoding: The batch.
        uniform: (N, K, most steps) numbers in [0, 1) that decide the draws.

    Returns:
        Step of EOS, slot before it, log probability, all (N, K).
    """
    config, eos_id = decoding.rules.config, decoding.rules.eos_id
    log_probs = np.zeros(uniform.shape[:2], dtype=np.float32)
    ends = np.full(log_probs.shape, -1)
    slots = np.broadcast_to(np.arange(decoding.width), ends.shape)
    for t in itertools.count():
        following, active = decoding.next_log_probs(t), decoding.active
        drawn = _draw(following, uniform[torch.from_numpy(active), :, t].to(following.device), config)
        gained = following.gather(2, drawn[:, :, None])[:, :, 0].cpu().numpy()
        running = ends[active] < 0
        pieces = np.where(running, drawn.cpu().numpy(), eos_id)
        log_probs[active] += np.where(running, gained, np.float32(0))
        ends[active] = np.where(running & (pieces == eos_id), t, ends[active])
        done: Bools = np.all(ends[active] >= 0, axis=1)
        if decoding.advance(pieces, slots[active], done) is None:
            break
    return ends, slots.copy(), log_probs


def _draw(log_probs: Tensor, uniform: Tensor, config: SearchConfig) -> Tensor:
    """Pieces (M, K) from log probabilities (M, K, V): the inverse distribution function at `uniform` (M, K)."""
    logits, ids = log_probs / config.temperature, None
    if config.top_k or config.top_p < 1:
        logits, ids = logits.topk(min(config.top_k or logits.shape[-1], logits.shape[-1]), -1)
    p = torch.softmax(logits, -1)
    if config.top_p < 1:
        p = p * (p.cumsum(-1) - p < config.top_p)  # the piece that crosses the threshold is in
    # float32 sums over a vocabulary would lose the tail
    distribution = p.double().cumsum(-1)
    total = distribution[..., -1:]
    threshold = torch.minimum(uniform[..., None] * total, torch.nextafter(total, torch.zeros_like(total)))
    index = torch.searchsorted(distribution, threshold, right=True).clamp(max=p.shape[-1] - 1)
    return (index if ids is None else ids.gather(2, index))[..., 0]


def _settled(live: Floats, worst: Floats, longest: Ints, alpha: float) -> Bools:
    """Whether no live hypothesis can still enter the n_best, (M,).

    Log probabilities only fall and lengths end at `longest` (M,), EOS counted: the best live log probability `live`
    (M,), divided by the greatest length, bounds the scores of all that can come. `worst` (M,) is what they must beat.
    """
    return live / longest**alpha <= worst


class _Kept:
    """The n_best hypotheses of each sentence that have finished so far."""

    def __init__(self, sentences: int, n_best: int) -> None:
        self.scores: Floats = np.full((sentences, n_best), -np.inf, dtype=np.float32)  # best first
        self.log_probs, self.ends = self.scores.copy(), np.zeros((sentences, n_best), dtype=np.int64)
        self.slots, self.count = self.ends.copy(), np.zeros(sentences, dtype=np.int64)

    def add(self, active: Ints, log_probs: Floats, slots: Ints, t: int, alpha: float) -> None:
        """Takes hypotheses of the sentences `active` (M,) that ended at step t.

        Args:
            active: Sentences.
            log_probs: (M, K), minus infinity where there is none.
            slots: (M, K) before the end.
            t: Step.
            alpha: Exponent of the length.
        """
        scores = np.concatenate((self.scores[active], log_probs / np.float32((t + 1) ** alpha)), 1)
        pick = np.argsort(-scores, 1, kind="stable")[:, : self.scores.shape[1]]
        self.scores[active] = np.take_along_axis(scores, pick, 1)
        for old, new in ((self.log_probs, log_probs), (self.ends, np.full_like(slots, t)), (self.slots, slots)):
            old[active] = np.take_along_axis(np.concatenate((old[active], new), 1), pick, 1)
        self.count[active] += (log_probs > -np.inf).sum(1)


def _beam(decoding: _Decoding) -> tuple[Ints, Ints, Floats]:
    """Beam search; with one hypothesis a sentence, greedy search.

    Each step ranks all continuations of the K live hypotheses. EOS among the best K finishes a hypothesis, the best K
    other continuations live on. A sentence is done when K hypotheses have finished, or before that when no live one
    can still enter the n_best. The second rule never changes what is returned.

    Returns:
        Step of EOS, slot before it, log probability (minus infinity: no such hypothesis), all (N, n_best), best first.
    """
    config, eos_id, k = decoding.rules.config, decoding.rules.eos_id, decoding.width
    sentences, alpha = len(decoding.active), config.length_penalty
    kept = _Kept(sentences, config.n_best)
    live = np.full((sentences, k), -np.inf, dtype=np.float32)
    live[:, 0] = 0  # all K start alike: only one of them counts
    column = np.arange(sentences)[:, None]  # with indices (M, n): entries row by row
    for t in itertools.count():
        # of 2K candidates at most K are EOS, one a hypothesis
        best, slots, pieces = decoding.best_next(t, live, 2 * k)  # (M, 2K)
        ending, active = pieces == eos_id, decoding.active
        new = np.where(ending[:, :k] & ~decoding.done[:, None], best[:, :k], np.float32(-np.inf))
        if (new > -np.inf).any():
            kept.add(active, new, slots[:, :k], t, alpha)
        order = np.argsort(ending, 1, kind="stable")[:, :k]  # the others, still best first
        every = column[: len(order)]
        live = best[every, order]
        longest = decoding.rules.longest
        settled = _settled(live[:, 0], kept.scores[active, -1], longest + 1, alpha)
        done = decoding.done | settled | (kept.count[active] >= k) | (t >= longest)
        stay = decoding.advance(pieces[every, order], slots[every, order], done)
        if stay is None:
            break
        live = live[stay]
    return kept.ends, kept.slots, kept.log_probs


@torch.inference_mode()
def search(
    model: SearchModel,
    source: Tensor,
    source_lengths: Tensor,
    config: SearchConfig,
    *,
    bos_id: int,
    eos_id: int,
    pad_id: int,
    prefix: Sequence[Sequence[int]] | None = None,
    with_attention: bool = False,
    streams: Sequence[Sequence[int]] | None = None,
) -> list[list[Hypothesis]]:
    """Translations of N sentences, each as if it were alone: neither limits nor draws depend on the others.

    Every hypothesis ends with EOS and has its probability in `log_prob`, so that this equals the sum of `log_probs` of
    the same pieces; one that reaches its most pieces can only end there. A limit below `min_length` or the prefix is
    raised to it, and where `no_repeat_ngram` leaves no other piece a hypothesis ends before `min_length`. BOS and
    padding are never produced; they, as all that the rules forbid, still have their share of the probability.

    Args:
        model: Or an `Ensemble`; in evaluation mode.
        source: (N, S) ids with EOS, padded, on the model's device.
        source_lengths: (N,) with EOS.
        config: Options; `max_length` 0 stands for twice each source's pieces plus 20.
        bos_id: First input of the decoder.
        eos_id: What ends a sentence.
        pad_id: Padding.
        prefix: Pieces with which the translation of each sentence must begin.
        with_attention: Also return attention weights, where the model has them.
        streams: For sampling: non-negative numbers that, with `search_seed`, decide the draws of each sentence; its
            place in the batch by default.

    Returns:
        At most n_best hypotheses a sentence, at least one: distinct and best first, or draws in the order drawn.

    Raises:
        ConfigError: Options that contradict each other, prefixes that do not fit.
    """
    check_search(config)
    sentences = len(source_lengths)
    if sentences == 0:
        return []
    lengths = source_lengths.tolist()
    rules = Rules(config, lengths, prefix, bos_id=bos_id, eos_id=eos_id, pad_id=pad_id)
    hypotheses = config.n_best if config.sample else config.beam_size
    longest = rules.longest
    decoding = _Decoding(model, source, source_lengths, hypotheses, rules, bos_id, with_attention)
    if config.sample:
        streams = streams or [(n,) for n in range(sentences)]
        found = _sample(decoding, _uniform(config.search_seed, streams, hypotheses, longest))
    else:
        found = _beam(decoding)
    return decoding.trace.read(*found, lengths, config.length_penalty)


def _uniform(seed: int, streams: Sequence[Sequence[int]], draws: int, longest: Ints) -> Tensor:
    """(N, draws, most steps) float64 in [0, 1); each sentence's numbers follow from the seed and its stream alone."""
    steps = (longest + 1).tolist()
    numbers = np.zeros((len(streams), max(steps), draws))
    for n, stream in enumerate(streams):
        numbers[n, : steps[n]] = np.random.default_rng([seed, *stream]).random((steps[n], draws))
    return torch.from_numpy(numbers).transpose(1, 2)
