"""Hypotheses read from a trace against paths that are followed one by one."""

from __future__ import annotations

import numpy as np
import torch

from seq2seq.inference.trace import Trace

N, K, S, STEPS = 4, 3, 5, 7


def test_hypotheses_are_the_paths_that_lead_to_them():
    rng = np.random.default_rng(1)
    trace, paths = Trace(N, with_attention=True), {(n, k): ([], []) for n in range(N) for k in range(K)}
    actives = [np.arange(N)] * 3 + [np.array([0, 2, 3])] * 2 + [np.array([3])] * 2
    ended = {}
    for t, active in enumerate(actives):
        weights = torch.rand(len(active), K, S, generator=torch.Generator().manual_seed(t))
        pieces, parents = rng.integers(3, 99, (len(active), K)), rng.integers(0, K, (len(active), K))
        grown = {}
        for m, n in enumerate(active.tolist()):
            for k in range(K):
                ids, rows = paths[n, k]
                ended[n, k, t] = ids, [*rows, weights[m, k]]  # EOS now, after the hypothesis in slot k
                ids, rows = paths[n, parents[m, k]]
                grown[n, k] = [*ids, pieces[m, k]], [*rows, weights[m, parents[m, k]]]
        paths.update(grown)
        trace.record(active, pieces, parents, weights.flatten(0, 1))
    ends, slots = np.array([[6, 4], [2, 0], [4, 4], [6, 5]]), np.array([[0, 2], [1, 1], [0, 2], [2, 0]])
    ends[0] = [4, 3]
    log_probs = np.array([[-1.0, -2.0], [-1.5, -np.inf], [-3.0, -4.0], [-5.0, -6.0]], dtype=np.float32)
    found = trace.read(ends, slots, log_probs, [5, 4, 3, 5], 0.5)
    assert [len(best) for best in found] == [2, 1, 2, 2]
    for n, best in enumerate(found):
        for rank, h in enumerate(best):
            ids, rows = ended[n, slots[n, rank], ends[n, rank]]
            assert h.ids == ids and len(ids) == ends[n, rank]
            assert h.log_prob == log_probs[n, rank] and np.isclose(h.score, h.log_prob / (len(ids) + 1) ** 0.5)
            assert torch.equal(h.attention, torch.stack(rows)[:, : [5, 4, 3, 5][n]])


def test_attention_is_kept_only_if_asked_for():
    trace = Trace(1, with_attention=False)
    trace.record(np.arange(1), np.array([[4]]), np.array([[0]]), torch.ones(1, S))
    (best,) = trace.read(np.array([[1]]), np.array([[0]]), np.array([[-1.0]], dtype=np.float32), [S], 1.0)
    assert best[0].ids == [4] and best[0].attention is None
