"""Search for the translations of a batch of sentences: greedy, beam, sampling; ensembles of models.

Of the model this knows `encode`, `initial_state` and `step`, and of what these return only `select`: any decoder that
offers them can be searched. Rows n K .. n K + K - 1 of a step belong to the K hypotheses of sentence n, which share
one encoded source.

Shapes: N sentences of the batch, M of them not done yet, K hypotheses a sentence, V vocabulary, S source length,
T steps so far.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from seq2seq.config import SearchConfig
from seq2seq.errors import ConfigError

# Finished sentences leave the batch when they are this share of it: leaving means copying the memory of the others.
COMPACT_SHARE = 0.25
# Least logit of a piece that must come whatever the model says; float32 still tells sums with it apart.
IMPOSSIBLE = -1e4


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
        """Logits (rows, V) which the caller may overwrite, next state, attention (rows, S) or None."""


class Hypothesis(NamedTuple):
    """One translation of one sentence, in pieces."""

    ids: list[int]  # without BOS and EOS
    log_prob: float  # log p(ids, EOS | source), natural logarithm
    score: float  # log_prob / (len(ids) + 1) ** length_penalty
    attention: Tensor | None  # (len(ids) + 1, S): a row a piece and one for EOS, columns likewise for the source


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
        log_probs = _mean_probability([torch.log_softmax(logits.float(), -1) for logits, _, _ in steps])
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
    return torch.logsumexp(torch.stack(log_probs), 0) - float(np.log(len(log_probs)))


def check_search(config: SearchConfig) -> None:
    """Refuses options that contradict each other.

    Raises:
        ConfigError: Which option, and what to give instead.
    """
    for name, least in (("beam_size", 1), ("n_best", 1), ("min_length", 0), ("max_length", 0), ("no_repeat_ngram", 0),
                        ("top_k", 0), ("length_penalty", 0), ("search_seed", 0), ("search_tokens", 1)):  # fmt: skip
        if getattr(config, name) < least:
            raise ConfigError(f"{name} is {getattr(config, name)}, expected at least {least}")
    if config.n_best > config.beam_size and not config.sample:
        raise ConfigError(
            f"n_best is {config.n_best} but beam_size is {config.beam_size}: "
            f"give beam_size {config.n_best} or more, or n_best {config.beam_size} or less"
        )
    if config.max_length and config.min_length > config.max_length:
        raise ConfigError(f"min_length is {config.min_length}, more than max_length, which is {config.max_length}")
    if not config.temperature > 0:
        raise ConfigError(f"temperature is {config.temperature}, expected more than 0; greedy search is beam_size 1")
    if not 0 < config.top_p <= 1:
        raise ConfigError(f"top_p is {config.top_p}, expected more than 0 and at most 1")
    if not config.sample and (config.temperature, config.top_k, config.top_p) != (1, 0, 1):
        raise ConfigError("temperature, top_k and top_p shape sampling alone: give sample too, or leave them out")


class _Trace:
    """All pieces chosen, with their predecessors' slots; hypotheses are read from it once the search is over."""

    def __init__(self, sentences: int, with_attention: bool) -> None:
        self.sentences = sentences
        self.with_attention = with_attention
        self.pieces: list[Tensor] = []  # a step: (N, K)
        self.parents: list[Tensor] = []  # a step: (N, K)
        self.weights: list[tuple[dict[int, int], Tensor]] = []  # a step: sentence -> m, (M, K, S)

    def record(self, active: Tensor, pieces: Tensor, parents: Tensor, weights: Tensor | None) -> None:
        """Takes one step of the sentences `active` (M,): pieces and parents (M, K), attention (M * K, S)."""
        for steps, values in ((self.pieces, pieces), (self.parents, parents)):
            steps.append(values.new_zeros(self.sentences, values.shape[1]).index_copy_(0, active, values))
        if self.with_attention and weights is not None:
            where = {sentence: m for m, sentence in enumerate(active.tolist())}
            self.weights.append((where, weights.view(*pieces.shape, -1).float().cpu()))

    def read(
        self, ends: Tensor, slots: Tensor, log_probs: Tensor, lengths: list[int], alpha: float
    ) -> list[list[Hypothesis]]:
        """Hypotheses that ended with EOS at step `ends` after the hypothesis in slot `slots`, all (N, n_best).

        An entry whose log probability is minus infinity is none.
        """
        pieces, parents = (torch.stack(steps).tolist() for steps in (self.pieces, self.parents))  # [T][N][K]
        found: list[list[Hypothesis]] = []
        for n, entries in enumerate(zip(ends.tolist(), slots.tolist(), log_probs.tolist(), strict=True)):
            found.append([])
            for end, slot, log_prob in zip(*entries, strict=True):
                if log_prob == -np.inf:
                    continue
                ids, path = [], [slot]  # path: the slot before each step, last step first
                for t in range(end - 1, -1, -1):
                    ids.append(pieces[t][n][path[-1]])
                    path.append(parents[t][n][path[-1]])
                attention = None
                if self.weights:
                    rows = (self.weights[t][1][self.weights[t][0][n], k] for t, k in enumerate(reversed(path)))
                    attention = torch.stack([row[: lengths[n]] for row in rows])
                found[-1].append(Hypothesis(ids[::-1], log_prob, log_prob / (end + 1) ** alpha, attention))
        return found


class _Rules:
    """What may, must and must not be produced, sentence by sentence."""

    def __init__(
        self, config: SearchConfig, lengths: Tensor, prefix: Sequence[Sequence[int]] | None,
        *, bos_id: int, eos_id: int, pad_id: int,
    ) -> None:  # fmt: skip
        self.config, self.eos_id = config, eos_id
        # a given tokenizer may lack BOS and PAD and have EOS in their place
        self.never = [piece for piece in {bos_id, pad_id} if piece != eos_id]
        prefixes: list[list[int]] = [list(ids) for ids in prefix] if prefix is not None else [[] for _ in lengths]
        if len(prefixes) != len(lengths):
            raise ConfigError(f"{len(prefixes)} prefixes for {len(lengths)} sentences; give one a sentence")
        if any(piece in (bos_id, eos_id, pad_id) for ids in prefixes for piece in ids):
            raise ConfigError("a prefix holds BOS, EOS or padding; give it without")
        given = torch.tensor([len(ids) for ids in prefixes], device=lengths.device)
        self.longest = torch.full_like(lengths, config.max_length) if config.max_length else 2 * (lengths - 1) + 20
        self.longest = self.longest.clamp(min=config.min_length).maximum(given)  # (N,) most pieces, EOS not counted
        rows = [ids + [-1] * (int(given.max()) - len(ids)) for ids in prefixes]
        self.prefix = torch.tensor(rows, dtype=torch.int64, device=lengths.device)  # (N, longest prefix), -1 behind
        self.first_limit = int(self.longest.min())

    def select(self, index: Tensor) -> None:
        """Keeps the sentences `index` alone."""
        self.longest, self.prefix = self.longest.index_select(0, index), self.prefix.index_select(0, index)
        self.first_limit = int(self.longest.min())

    def apply(self, logits: Tensor, t: int, history: Tensor | None) -> None:
        """Sets the logits (M, K, V) of what may not be piece number t (from 0) to minus infinity, in place.

        Args:
            logits: Of the next piece.
            t: Pieces so far.
            history: (M, K, t) those pieces; None where no rule needs them.
        """
        forced, raw = self._forced(t), None
        if forced is not None:
            index = forced.clamp(min=0)[:, None, None].expand(-1, logits.shape[1], 1)
            raw = logits.gather(2, index).clamp(min=IMPOSSIBLE)
        if self.never:
            logits[..., self.never] = -torch.inf
        size = self.config.no_repeat_ngram
        if size and history is not None and t >= size:
            windows = history.unfold(2, size, 1)  # (M, K, t - size + 1, size)
            seen = (windows[..., :-1] == history[:, :, None, t - size + 1 :]).all(-1)
            m, k, start = seen.nonzero(as_tuple=True)
            logits[m, k, windows[m, k, start, -1]] = -torch.inf
        if t < self.config.min_length:
            end = logits[..., self.eos_id].clone()
            logits[..., self.eos_id] = -torch.inf
            stuck = logits.amax(-1) == -torch.inf  # no other piece is left: then the minimum gives way
            logits[..., self.eos_id] = torch.where(stuck, end, -torch.inf)
        if forced is not None and raw is not None:
            logits.masked_fill_((forced >= 0)[:, None, None], -torch.inf)
            logits.scatter_(2, index, torch.where((forced >= 0)[:, None, None], raw, logits.gather(2, index)))

    def _forced(self, t: int) -> Tensor | None:
        """The piece (M,) that must come now, -1 where any may; None where that holds for all."""
        forced = self.prefix[:, t] if t < self.prefix.shape[1] else None
        if t < self.first_limit:
            return forced
        forced = torch.full_like(self.longest, -1) if forced is None else forced
        return forced.masked_fill(self.longest <= t, self.eos_id)


class _Decoding:
    """The sentences of a batch that are not done, and one step for all of them."""

    def __init__(
        self, model: SearchModel, source: Tensor, lengths: Tensor, hypotheses: int, rules: _Rules, bos_id: int,
        with_attention: bool,
    ) -> None:  # fmt: skip
        self.model, self.rules = model, rules
        self.width = hypotheses
        self.memory = model.encode(source, lengths)
        self.active = torch.arange(len(lengths), device=source.device)  # (M,) place in the batch
        self.done = torch.zeros_like(self.active, dtype=torch.bool)  # (M,) done, but still here
        self.state = model.initial_state(self.memory).select(self.active.repeat_interleave(hypotheses))
        self.tokens = torch.full((len(lengths) * hypotheses,), bos_id, device=source.device)
        self.history = self.tokens.new_zeros(len(lengths), hypotheses, 0) if rules.config.no_repeat_ngram else None
        self.trace = _Trace(len(lengths), with_attention)
        self.weights: Tensor | None = None

    def next_logits(self, t: int) -> tuple[Tensor, Tensor]:
        """Logits (M, K, V) of piece t, minus infinity where the rules forbid it, and the log of the raw ones' sum."""
        logits, self.state, self.weights = self.model.step(self.tokens, self.state, self.memory)
        logits = logits.float().view(-1, self.width, logits.shape[-1])
        log_total = torch.logsumexp(logits, -1)  # (M, K)
        self.rules.apply(logits, t, self.history)
        return logits, log_total

    def advance(self, pieces: Tensor, parents: Tensor, done: Tensor) -> Tensor | None:
        """Appends `pieces` (M, K) to the hypotheses in slots `parents` (M, K); sentences `done` (M,) may leave.

        Returns:
            The sentences (M',) that stay, as positions in those of before; None when all are done.
        """
        self.trace.record(self.active, pieces, parents, self.weights)
        self.done = done
        stay = torch.arange(len(done), device=done.device)
        finished = int(done.sum())
        if finished == len(done):
            return None
        compact = finished >= COMPACT_SHARE * len(done)
        if compact:
            stay = (~done).nonzero()[:, 0]
            self.active, self.done = self.active[stay], done[stay]
            self.memory = self.memory.select(stay)
            self.rules.select(stay)
        pieces, parents = pieces[stay], parents[stay]
        rows = stay[:, None] * self.width + parents  # (M', K)
        # rows that stay as they are need no copy
        if compact or self.width > 1:
            self.state = self.state.select(rows.flatten())
        self.tokens = pieces.flatten()
        if self.history is not None:
            past = self.history.flatten(0, 1)[rows]  # (M', K, t)
            self.history = torch.cat((past, pieces[:, :, None]), 2)
        return stay


def _independent(decoding: _Decoding, uniform: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Greedy search (one row a sentence), or K draws a sentence.

    Args:
        decoding: The batch.
        uniform: (N, K, most steps) numbers in [0, 1) that decide the draws; None for greedy search.

    Returns:
        Step of EOS, slot before it, log probability, all (N, K).
    """
    config, eos_id = decoding.rules.config, decoding.rules.eos_id
    log_probs = torch.zeros(len(decoding.active), decoding.width, device=decoding.tokens.device)
    ends = torch.full_like(log_probs, -1, dtype=torch.int64)
    slots = torch.arange(decoding.width, device=ends.device).expand_as(ends)
    for t in itertools.count():
        logits, log_total = decoding.next_logits(t)
        active = decoding.active
        pieces = logits.argmax(-1) if uniform is None else _draw(logits, uniform[active, :, t], config)
        gained = logits.gather(2, pieces[:, :, None])[:, :, 0] - log_total
        running = ends[active] < 0
        pieces = pieces.masked_fill(~running, eos_id)
        log_probs[active] += torch.where(running, gained, 0.0)
        ends[active] = torch.where(running & (pieces == eos_id), t, ends[active])
        if decoding.advance(pieces, slots[active], (ends[active] >= 0).all(1)) is None:
            break
    return ends, slots, log_probs


def _draw(logits: Tensor, uniform: Tensor, config: SearchConfig) -> Tensor:
    """Pieces (M, K) from logits (M, K, V): the inverse distribution function at `uniform` (M, K)."""
    logits, ids = logits / config.temperature, None
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


def _settled(live: Tensor, worst: Tensor, longest: Tensor, alpha: float) -> Tensor:
    """Whether no live hypothesis can still enter the n_best, (M,).

    Log probabilities only fall and lengths end at `longest` (M,), EOS counted: the best live log probability `live`
    (M,), divided by the greatest length, bounds the scores of all that can come. `worst` (M,) is what they must beat.
    """
    return live / longest**alpha <= worst


def _beam(decoding: _Decoding) -> tuple[Tensor, Tensor, Tensor]:
    """Beam search.

    Each step ranks all continuations of the K live hypotheses. EOS among the best K finishes a hypothesis, the best K
    other continuations live on. A sentence is done when K hypotheses have finished, or before that when no live one
    can still enter the n_best. The second rule never changes what is returned.

    Returns:
        Step of EOS, slot before it, log probability (minus infinity: no such hypothesis), all (N, n_best), best first.
    """
    config, eos_id, k = decoding.rules.config, decoding.rules.eos_id, decoding.width
    n, alpha, device = len(decoding.active), config.length_penalty, decoding.tokens.device
    kept_scores = torch.full((n, config.n_best), -torch.inf, device=device)
    kept = kept_scores.clone(), torch.zeros_like(kept_scores), torch.zeros_like(kept_scores)  # log_prob, end, slot
    finished = torch.zeros(n, dtype=torch.int64, device=device)
    live = torch.full((n, k), -torch.inf, device=device)
    live[:, 0] = 0  # all K start alike: only one of them counts
    for t in itertools.count():
        logits, log_total = decoding.next_logits(t)
        values, ids = logits.topk(min(k + 1, logits.shape[-1]), -1)  # (M, K, K + 1)
        totals = values - log_total[..., None] + live[..., None]
        # of 2K candidates at most K are EOS, one a hypothesis
        best, place = totals.flatten(1).topk(2 * k, -1)  # (M, 2K)
        pieces, slots = ids.flatten(1).gather(1, place), place // values.shape[-1]
        ending = pieces == eos_id

        active = decoding.active
        new = best[:, :k].masked_fill(~ending[:, :k] | decoding.done[:, None], -torch.inf)
        scores = torch.cat((kept_scores[active], new / (t + 1) ** alpha), 1)
        kept_scores[active], pick = scores.topk(config.n_best, -1)
        for old, more in zip(kept, (new, torch.full_like(new, t), slots[:, :k].to(new)), strict=True):
            old[active] = torch.cat((old[active], more), 1).gather(1, pick)
        finished[active] += (new > -torch.inf).sum(1)

        live, order = best.masked_fill(ending, -torch.inf).topk(k, -1)
        longest = decoding.rules.longest
        settled = _settled(live[:, 0], kept_scores[active, -1], longest + 1, alpha)
        done = decoding.done | settled | (finished[active] >= k) | (t >= longest)
        stay = decoding.advance(pieces.gather(1, order), slots.gather(1, order), done)
        if stay is None:
            break
        live = live[stay]
    return kept[1].long(), kept[2].long(), kept[0]


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
    rules = _Rules(config, source_lengths, prefix, bos_id=bos_id, eos_id=eos_id, pad_id=pad_id)
    hypotheses = config.n_best if config.sample else config.beam_size
    uniform = None
    if config.sample:
        uniform = _uniform(config.search_seed, streams or [(n,) for n in range(sentences)], hypotheses, rules.longest)
    decoding = _Decoding(model, source, source_lengths, hypotheses, rules, bos_id, with_attention)
    found = _independent(decoding, uniform) if config.sample or hypotheses == 1 else _beam(decoding)
    return decoding.trace.read(*found, source_lengths.tolist(), config.length_penalty)


def _uniform(seed: int, streams: Sequence[Sequence[int]], draws: int, longest: Tensor) -> Tensor:
    """(N, draws, most steps) float64 in [0, 1); each sentence's numbers follow from the seed and its stream alone."""
    steps = (longest + 1).tolist()
    numbers = np.zeros((len(streams), max(steps), draws))
    for n, stream in enumerate(streams):
        numbers[n, : steps[n]] = np.random.default_rng([seed, *stream]).random((steps[n], draws))
    return torch.from_numpy(numbers).to(longest.device).transpose(1, 2)
