"""The fused output layer and cross-entropy against PyTorch's own, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seq2seq.nn import loss
from seq2seq.nn.loss import label_log_probs, output_cross_entropy

R, E, V = 75, 5, 11  # rows of three chunks of a tile, the last one not full


def _inputs() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    hidden, weight, bias = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((R, E), (V, E), (V,)))
    return hidden, weight, bias, torch.randint(0, V, (R,))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("chunk", [1, 10**6], ids=["chunks", "whole"])
def test_equals_cross_entropy(monkeypatch: pytest.MonkeyPatch, smoothing: float, chunk: int) -> None:
    for where in ("cpu", "compiled"):
        monkeypatch.setitem(loss.CHUNK_LOGITS, where, chunk)
    monkeypatch.setattr(loss, "LEAST_ROWS", loss.TILE)
    hidden, weight, bias, labels = _inputs()
    expected = F.cross_entropy(F.linear(hidden, weight, bias), labels, label_smoothing=smoothing, reduction="sum")
    grads = torch.autograd.grad(3 * expected, (hidden, weight, bias))
    ours = output_cross_entropy(hidden, weight, bias, labels, smoothing)
    torch.testing.assert_close(ours, expected)
    for mine, theirs in zip(torch.autograd.grad(3 * ours, (hidden, weight, bias)), grads, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("chunk", [1, 10**6], ids=["chunks", "whole"])
def test_divergence_of_two_passes(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """R-Drop's loss and gradients, by PyTorch's own functions."""
    for where in ("cpu", "compiled"):
        monkeypatch.setitem(loss.CHUNK_LOGITS, where, chunk)
    monkeypatch.setattr(loss, "LEAST_ROWS", loss.TILE)
    hidden, weight, bias, labels = _inputs()
    twice = torch.cat((hidden, hidden.flip(0)))
    log_p, log_q = torch.log_softmax(F.linear(twice, weight, bias), -1).split(R)
    kl = sum(F.kl_div(a, b, log_target=True, reduction="sum") for a, b in ((log_p, log_q), (log_q, log_p)))
    both = [F.cross_entropy(x, labels, label_smoothing=0.1, reduction="sum") for x in (log_p, log_q)]
    expected = sum(both) / 2 + 0.7 * kl / 2
    grads = torch.autograd.grad(expected, (hidden, weight, bias))
    ours = output_cross_entropy(twice, weight, bias, labels, 0.1, 0.7)
    torch.testing.assert_close(ours, expected)
    for mine, theirs in zip(torch.autograd.grad(ours, (hidden, weight, bias)), grads, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [1, 10**6], ids=["chunks", "whole"])
def test_rows_count_as_their_shares_say(monkeypatch: pytest.MonkeyPatch, smoothing: float, chunk: int) -> None:
    for where in ("cpu", "compiled"):
        monkeypatch.setitem(loss.CHUNK_LOGITS, where, chunk)
    monkeypatch.setattr(loss, "LEAST_ROWS", loss.TILE)
    hidden, weight, bias, labels = _inputs()
    shares = torch.randn(R, dtype=torch.float64)
    each = F.cross_entropy(F.linear(hidden, weight, bias), labels, label_smoothing=smoothing, reduction="none")
    grads = torch.autograd.grad(each @ shares, (hidden, weight, bias))
    ours = output_cross_entropy(hidden, weight, bias, labels, smoothing, shares=shares)
    torch.testing.assert_close(ours, each @ shares)
    for mine, theirs in zip(torch.autograd.grad(ours, (hidden, weight, bias)), grads, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("shares", [False, True])
def test_the_sum_is_not_rounded_under_autocast(shares: bool) -> None:
    weight, bias = (part.detach().float() for part in _inputs()[1:3])
    rows = torch.randn(900, E)
    labels, each = torch.randint(0, V, (900,)), torch.rand(900) if shares else None
    with torch.autocast("cpu", torch.bfloat16):
        value = output_cross_entropy(rows, weight, bias, labels, 0.1, shares=each)
    rounded = [part.bfloat16().float() for part in (rows, weight, bias)]
    apart = F.cross_entropy(F.linear(*rounded), labels, label_smoothing=0.1, reduction="none")
    expected = (apart if each is None else apart * each).sum()
    assert value.item() == pytest.approx(expected.item(), rel=1e-3)
    assert value.item() != value.bfloat16().item()


@pytest.mark.parametrize(("vocabulary", "passes", "rows"), [(8_000, 1, 512), (2_000, 1, 992), (2_000, 2, 480),
                                                            (32_000, 1, 512), (32_000, 2, 256)])  # fmt: skip
def test_rows_of_a_chunk(vocabulary: int, passes: int, rows: int) -> None:
    assert loss._rows_per_chunk(torch.empty(vocabulary, 1), passes) == rows
    assert loss._rows_per_chunk(torch.empty(8_000, 1), compiled=True) == 1984


def test_extreme_logits_stay_finite() -> None:
    hidden, weight, bias, labels = _inputs()
    value = output_cross_entropy(hidden * 1e4, weight, bias, labels, 0.1)
    expected = F.cross_entropy(F.linear(hidden * 1e4, weight, bias), labels, label_smoothing=0.1, reduction="sum")
    torch.testing.assert_close(value, expected)


def test_label_log_probs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loss.CHUNK_LOGITS, "cpu", 1)
    monkeypatch.setattr(loss, "LEAST_ROWS", loss.TILE)
    hidden, weight, bias, labels = _inputs()
    expected = torch.log_softmax(F.linear(hidden, weight, bias), -1)[torch.arange(R), labels]
    torch.testing.assert_close(label_log_probs(hidden, weight, bias, labels), expected)


def test_holds_no_more_than_a_chunk_of_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest tensor made on the way is a chunk, however many rows there are."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                Largest.seen = max(Largest.seen, result.numel())
            return result

    monkeypatch.setattr(loss, "LEAST_ROWS", loss.TILE)
    monkeypatch.setitem(loss.CHUNK_LOGITS, "compiled", 2_000_000)
    rows, vocabulary = 3000, 4000
    hidden, weight = torch.randn(rows, 8, requires_grad=True), torch.randn(vocabulary, 8, requires_grad=True)
    with Largest():
        output_cross_entropy(hidden, weight, torch.zeros(vocabulary), torch.zeros(rows, dtype=torch.int64), 0.1)
    assert Largest.seen <= loss.CHUNK_LOGITS["cpu"] < rows * vocabulary
