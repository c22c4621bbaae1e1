"""Dropout's rate and scale, exact reversal within lengths."""

from __future__ import annotations

import pytest
import torch

from seq2seq.nn.functional import dropout, dropout_mask, reversal_index, reverse_rows, tanh_


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
