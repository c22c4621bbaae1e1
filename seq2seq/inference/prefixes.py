"""log p(target | source) of many targets of the same sources: what they begin with in common is computed once.

The targets of a source form a tree of prefixes. A node is one decoder step and one softmax, which gives the
probabilities of all pieces that follow there, the end of the sentence among them. All nodes of one depth, of all
sources of a batch, are steps side by side, so no target is padded.

Legend: B sources of a batch, S longest of them, T targets, N nodes of one depth, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seq2seq.inference.search import SearchModel
from seq2seq.inference.trace import Ints
from seq2seq.nn.functional import log_softmax
from seq2seq.text.batching import collate, length_batches
from seq2seq.text.tokenizer import Tokenizer

LOGITS = 1_000_000
"""Most logits at once (nodes x V): they should stay in the processor's cache."""

ROW_NUMBERS = 50_000_000
"""Most numbers of encoder states that are copied for the nodes of a step."""

Floats = np.ndarray[Any, np.dtype[np.float64]]


class Level(NamedTuple):
    """The nodes of one depth, sorted by their parents, and which targets end in them."""

    sources: Ints  # (N,) source of each node
    parents: Ints  # (N,) its parent, among the nodes of the level before; of the first level: its source
    pieces: Ints  # (N,) the piece that leads to it; of the first level: BOS
    ends: Ints  # nodes in which targets end, sorted
    targets: Ints  # these targets


def levels(owners: Sequence[int], targets: Sequence[Sequence[int]], bos: int) -> Iterator[Level]:
    """The tree of prefixes, depth by depth.

    Args:
        owners: (T,) source of each target.
        targets: Ids of T targets, without BOS and EOS.
        bos: What leads to the first level.
    """
    # sorted, the nodes of a level come in the order of their parents
    active = sorted(range(len(targets)), key=lambda t: (owners[t], targets[t]))
    sources, first = np.unique(np.array(owners, dtype=np.int64), return_inverse=True)
    place = first.tolist()
    parents, pieces = sources, np.full(len(sources), bos, dtype=np.int64)
    depth = 0
    while active:
        over = [t for t in active if len(targets[t]) == depth]
        active = [t for t in active if len(targets[t]) > depth]
        ends = np.array([place[t] for t in over], dtype=np.int64)
        yield Level(sources, parents, pieces, ends, np.array(over, dtype=np.int64))
        children: dict[int, int] = {}
        for t in active:
            place[t] = children.setdefault(place[t] << 32 | targets[t][depth], len(children))
        keys = np.fromiter(children, dtype=np.int64, count=len(children))
        parents, pieces = keys >> 32, keys & 0xFFFFFFFF
        sources = sources[parents]
        depth += 1


@torch.inference_mode()
def score_prefixes(
    model: SearchModel,
    sources: Sequence[Sequence[int]],
    owners: Sequence[int],
    targets: Sequence[Sequence[int]],
    source_tokenizer: Tokenizer,
    target_tokenizer: Tokenizer,
    *,
    batch_tokens: int = 2000,
    device: torch.device | str = "cpu",
) -> Floats:
    """log p(target, EOS | source), natural logarithm, of T targets (T,), each source encoded once.

    Args:
        model: In evaluation mode, on `device`.
        sources: Ids of different sources, without EOS; may be empty.
        owners: (T,) which of the sources each target belongs to.
        targets: Ids of T targets, without BOS and EOS; may be empty; the same one twice costs nothing.
        source_tokenizer: Knows EOS and padding of the sources.
        target_tokenizer: Knows BOS, EOS and padding of the targets.
        batch_tokens: Budget of a batch: sources x the longest of them.
        device: Where the model is.
    """
    scores = np.zeros(len(targets))
    owned: list[list[int]] = [[] for _ in sources]
    for t, owner in enumerate(owners):
        owned[owner].append(t)
    bos, eos, pad = target_tokenizer.bos_id, target_tokenizer.eos_id, target_tokenizer.pad_id
    for group in length_batches(np.array([len(ids) + 1 for ids in sources]), batch_tokens):
        batch = collate(
            [sources[i] for i in group], [[]] * len(group), source_eos=source_tokenizer.eos_id,
            source_pad=source_tokenizer.pad_id, target_bos=bos, target_eos=eos, target_pad=pad,
        ).to(device)  # fmt: skip
        members = [t for i in group for t in owned[i]]
        places = [place for place, i in enumerate(group) for _ in owned[i]]
        memory = model.encode(batch.source, batch.source_lengths)
        width = ROW_NUMBERS // max(1, batch.source.shape[1] * 1024)
        tree = levels(places, [targets[t] for t in members], bos)
        scores[members] = _walk(model, memory, tree, len(members), eos, max(1, width), device)
    return scores


def _walk(
    model: SearchModel, memory: Any, tree: Iterator[Level], count: int, eos: int, widest: int, device: Any
) -> Floats:
    """Scores (count,) of a batch's targets."""
    scores = np.zeros(count)
    totals: Floats = np.zeros(0)
    state: Any = model.initial_state(memory)
    # one level behind: the probabilities of a level's pieces come from the nodes of the level before
    level: Level | None = None
    for following in tree:
        if level is None:
            level, totals = following, np.zeros(len(following.sources))
            continue
        state, after, over = _level(model, memory, state, level, following, eos, widest, device)
        scores[level.targets] = totals[level.ends] + over
        totals = totals[following.parents] + after
        level = following
    if level is not None:
        nothing = Level(*[np.zeros(0, dtype=np.int64)] * 5)
        _, _, over = _level(model, memory, state, level, nothing, eos, widest, device)
        scores[level.targets] = totals[level.ends] + over
    return scores


def _level(
    model: SearchModel, memory: Any, state: Any, level: Level, following: Level, eos: int, widest: int, device: Any
) -> tuple[Any, Floats, Floats]:
    """One step of all nodes of a level.

    Returns:
        Their states; log p of the pieces that lead to the nodes of the level that follows; log p of the end of the
        sentence in the nodes in which targets end.
    """
    states, after, over = [], [np.zeros(0)], [np.zeros(0)]
    start, rows = 0, 128
    while start < len(level.sources):
        stop = min(start + min(rows, widest), len(level.sources))
        index = torch.from_numpy(level.parents[start:stop]).to(device)
        nodes = torch.from_numpy(level.sources[start:stop]).to(device)
        tokens = torch.from_numpy(level.pieces[start:stop]).to(device)
        logits, now, _ = model.step(tokens, state.select(index), memory.select(nodes))
        log_probs = log_softmax(logits)
        rows = max(1, LOGITS // logits.shape[-1])
        states.append(now)
        a, b = np.searchsorted(following.parents, (start, stop))
        after.append(_pick(log_probs, following.parents[a:b] - start, following.pieces[a:b]))
        a, b = np.searchsorted(level.ends, (start, stop))
        over.append(_pick(log_probs, level.ends[a:b] - start, np.full(b - a, eos)))
        start = stop
    return _join(states), np.concatenate(after), np.concatenate(over)


def _pick(log_probs: Tensor, rows: Ints, pieces: Ints) -> Floats:
    """Entries (row, piece) of log probabilities (N, V)."""
    places = torch.from_numpy(rows * log_probs.shape[-1] + pieces).to(log_probs.device)
    return log_probs.view(-1).index_select(0, places).double().cpu().numpy()


def _join(states: list[Any]) -> Any:
    """States of several parts, which are (tuples of) tensors, as one."""
    first = states[0]
    if isinstance(first, Tensor):
        return torch.cat(states) if len(states) > 1 else first
    parts = [_join(list(part)) for part in zip(*states, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
