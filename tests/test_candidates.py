"""The best continuations against a full sort."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

from seq2seq.inference import candidates
from seq2seq.inference.candidates import best_continuations
from seq2seq.nn import kernels


@pytest.mark.parametrize("vocabulary", [5000, 4096, 1920, 5003, 40])  # 5003 is a prime
@pytest.mark.parametrize(("width", "count"), [(1, 2), (5, 10), (3, 60)])
@pytest.mark.parametrize("least", [0, 10**9])
def test_equals_a_full_sort(monkeypatch, vocabulary, width, count, least):
    monkeypatch.setattr(candidates, "SMALL", least)
    generator = torch.Generator().manual_seed(vocabulary)
    log_probs = torch.randn(4, width, vocabulary, generator=generator)
    log_probs[1, 0, : vocabulary // 2] += 20  # all of the best in neighbouring places
    log_probs[2].view(width, -1)[:, :: max(vocabulary // 100, 1)] += 20  # and in one comb
    log_probs[3, :, 2:] = -torch.inf
    live = torch.randn(4, width, generator=generator)
    live[0, width - 1] = -torch.inf if width > 1 else 0.0
    count = min(count, width * vocabulary)
    totals = (log_probs + live[:, :, None]).flatten(1).numpy()
    for way in (contextlib.nullcontext(), kernels.without()):
        with way:
            best, slots, pieces = best_continuations(log_probs.clone(), live, count)
        place = slots * vocabulary + pieces
        assert np.allclose(best.numpy(), -np.sort(-totals, 1)[:, :count])
        assert np.array_equal(np.take_along_axis(totals, place.numpy(), 1), best.numpy())
        assert all(len(set(row)) == count for row in place.tolist())


def test_teeth_divide_the_vocabulary():
    assert [candidates._teeth(size) for size in (5000, 8000, 32000, 5003, 7)] == [25, 32, 64, 0, 0]
