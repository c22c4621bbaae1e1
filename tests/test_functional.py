"""Dropout's rate and scale, parts side by side, exact reversal within lengths."""

from __future__ import annotations

import contextlib

import pytest
import torch

from seq2seq.nn import kernels
from seq2seq.nn.functional import cut, dropout, dropout_mask, join, reversal_index, reverse_rows, tanh_


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
def test_dropout_rate_and_scale(p: float) -> None:
    torch.manual_seed(0)
    count = 1_000_003  # not a multiple of four
    mask = dropout_mask((count,), p, torch.ones(1))
    dropped = (mask == 0).float().mean().item()
    assert dropped == pytest.approx(p, abs=4 * (p * (1 - p) / count) ** 0.5 + 1 / 65536)
    assert mask.max().item() == pytest.approx(1 / (1 - p))


def test_dropout_entries_are_independent_neighbours() -> None:
    """Four entries share one draw of the generator; their correlation must vanish all the same."""
    torch.manual_seed(1)
    kept = (dropout_mask((400_000,), 0.5, torch.ones(1)) > 0).float().view(-1, 4)
    correlation = torch.corrcoef(kept.t())
    assert (correlation - torch.eye(4)).abs().max() < 0.02


def test_dropout_follows_the_seed_and_stops_in_evaluation() -> None:
    x = torch.ones(100)
    torch.manual_seed(5)
    first = dropout(x, 0.5, True)
    torch.manual_seed(5)
    assert torch.equal(first, dropout(x, 0.5, True))
    assert dropout(x, 0.5, False) is x


@pytest.mark.parametrize("compiled", [True, False])
def test_dropout_scales_what_it_keeps(compiled: bool) -> None:
    x = torch.randn(50, 30, requires_grad=True)
    with contextlib.nullcontext() if compiled else kernels.without():
        torch.manual_seed(2)
        mask = dropout_mask((50, 30), 0.3, x)
        torch.manual_seed(2)
        y = dropout(x, 0.3, True, scale=2.5)
        y.backward(torch.full_like(x, 3.0))
    torch.testing.assert_close(y, 2.5 * x * mask)
    torch.testing.assert_close(x.grad, 7.5 * mask)
    assert torch.equal(dropout(x, 0.3, False, scale=2.5), 2.5 * x)


def test_parts_side_by_side_and_apart() -> None:
    parts = [torch.randn(3, width, 2, dtype=torch.float64, requires_grad=True) for width in (1, 4, 2)]
    whole = torch.cat(parts, 1)
    assert torch.equal(join(parts, 1, torch.float64), whole)
    assert torch.equal(join(parts, -2, torch.bfloat16), whole.to(torch.bfloat16))
    assert torch.autograd.gradcheck(lambda *parts: join(parts, 1, torch.float64), parts)
    for part, expected in zip(cut(whole, (1, 4, 2), 1, torch.float32), parts, strict=True):
        assert part.is_contiguous() and torch.equal(part, expected.float())
    assert torch.autograd.gradcheck(lambda x: cut(x, (1, 4, 2), 1, torch.float64), (whole.detach().requires_grad_(),))
    first, _, last = cut(whole, (1, 4, 2), 1, torch.float32)
    (2 * first.sum() + 3 * last.sum()).backward()
    for part, expected in zip(parts, (2.0, 0.0, 3.0), strict=True):
        assert part.grad is not None and part.grad.dtype == torch.float64
        assert torch.equal(part.grad, torch.full_like(part, expected))


def test_reversal_within_lengths() -> None:
    lengths = torch.tensor([4, 1, 3])
    rows = torch.arange(12, dtype=torch.float64).view(4, 3)  # (S, B)
    index = reversal_index(lengths, 4)
    reversed_rows = rows.flatten()[index].view(4, 3)
    assert reversed_rows.t().tolist() == [[9, 6, 3, 0], [1, 4, 7, 10], [8, 5, 2, 11]]
    x = torch.randn(12, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: reverse_rows(x, index), (x,))
    assert torch.equal(reverse_rows(reverse_rows(x, index), index), x)


def test_tanh() -> None:
    x = torch.linspace(-30, 30, 1001, dtype=torch.float64)
    torch.testing.assert_close(tanh_(x.clone()), torch.tanh(x), rtol=0, atol=1e-15)
