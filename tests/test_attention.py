"""Additive attention and the recurrence around it, against the papers' equations."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor

from seq2seq.nn.attention import attend, attentive_gru
from seq2seq.nn.gru import gru_step

T, B, S, H, C, A = 4, 3, 6, 4, 7, 5


def _random(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).mul_(0.7).requires_grad_()


def _bias() -> Tensor:
    bias = torch.zeros(B, S, dtype=torch.float64)
    bias[1, 4:] = -torch.inf
    bias[2, 1:] = -torch.inf
    return bias


def _inputs() -> list[Tensor]:
    """x, h, keys, values, v, W query, W context, U, b_n."""
    shapes = [(T, B, 3 * H), (B, H), (B, S, A), (B, S, C), (A,), (A, H), (3 * H, C), (3 * H, H), (H,)]
    return [_random(*shape) for shape in shapes]


def test_attend_equals_bahdanau_equations() -> None:
    """e = v . tanh(W q + U h), softmax over real tokens, weighted sum; with two queries a sentence."""
    keys, values, v, queries = _random(B, S, A), _random(B, S, C), _random(A), _random(B, 2, A)
    context, weights = attend(2 * queries.flatten(0, 1), 2 * keys, values, 2 * v, _bias())
    for b, length in enumerate([6, 4, 1]):
        for k in range(2):
            scores = torch.stack([v @ torch.tanh(queries[b, k] + keys[b, s]) for s in range(length)])
            alpha = scores.exp() / scores.exp().sum()
            expected = sum(alpha[s] * values[b, s] for s in range(length))
            torch.testing.assert_close(weights[2 * b + k, :length], alpha)
            assert (weights[2 * b + k, length:] == 0).all()
            torch.testing.assert_close(context[2 * b + k], expected)


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("with_terms", [False, True])
class TestAttentiveGRU:
    def _terms(self, with_terms: bool) -> list[Tensor]:
        """What the previous tokens add to the queries, if anything."""
        return [_random(T, B, A)] if with_terms else []

    def _mask(self, masked: bool) -> Tensor | None:
        return torch.tensor([[0.0, 1.5, 1.5, 1.5]], dtype=torch.float64).expand(B, H) if masked else None

    def test_gradients(self, reset_after: bool, masked: bool, with_terms: bool) -> None:
        mask = self._mask(masked)

        def run(*a: Tensor) -> tuple[Tensor, ...]:
            return attentive_gru(*a[:4], _bias(), *a[4:9], mask, reset_after, *a[9:])[:2]

        assert torch.autograd.gradcheck(run, _inputs() + self._terms(with_terms))

    def test_equals_single_steps(self, reset_after: bool, masked: bool, with_terms: bool) -> None:
        x, h, keys, values, v, query, of_context, u, b = _inputs()
        mask = self._mask(masked)
        states, contexts, weights = attentive_gru(
            x, h, keys, values, _bias(), v, query, of_context, u, b, mask, reset_after, *self._terms(with_terms)
        )
        if masked:  # single steps see no mask; decoding has none
            return
        for t in range(T):
            added = sum(terms[t] for terms in self._terms(with_terms))
            context, alpha = attend(h @ (2 * query).t() + added, keys, values, 2 * v, _bias())
            h = gru_step(x[t] + context @ of_context.t(), h, u, b, reset_after)
            torch.testing.assert_close(states[t], h)
            torch.testing.assert_close(contexts[t], context)
            torch.testing.assert_close(weights[t], alpha)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_result_that_was_written_to_is_noticed(which: int) -> None:
    """Results are parts of what the backward pass reads."""
    x, h, keys, values, *weights = _inputs()
    results = attentive_gru(x, h, keys, values, _bias(), *weights)
    with torch.no_grad():
        results[which].mul_(2)
    with pytest.raises(RuntimeError, match="modified"):
        (results[0].sum() + results[1].sum()).backward()


def test_nothing_of_the_steps_stays_without_their_results() -> None:
    """A result that refers to what holds it is never freed."""
    x, h, keys, values, *weights = _inputs()
    results = attentive_gru(x, h, keys, values, _bias(), *weights)
    tape = weakref.ref(results[0].grad_fn.done)
    del results
    assert tape() is None


def test_padding_receives_no_gradient() -> None:
    inputs = _inputs()
    states, contexts, _ = attentive_gru(*inputs[:4], _bias(), *inputs[4:])
    (states.sum() + contexts.sum()).backward()
    for padded in (inputs[2].grad, inputs[3].grad):
        assert padded is not None
        assert (padded[1, 4:] == 0).all() and (padded[2, 1:] == 0).all() and (padded[0] != 0).any()
