"""The recurrence against its equations as plain loops, torch.nn.GRU, and finite differences."""

from __future__ import annotations

import math
import weakref

import pytest
import torch
from torch import Tensor

from seq2seq.nn.gru import GRULayer, gru_sequence

T, D, B, I, H = 5, 2, 3, 6, 4  # noqa: E741


def _random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).mul_(0.7).requires_grad_()


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _loop(x: Tensor, h: Tensor, u: Tensor, b: Tensor, mask: Tensor | None, reset_after: bool) -> Tensor:
    """Cho et al. 2014, eq. 5 to 8, one number at a time (z keeps the old state)."""
    states = torch.empty(*x.shape[:3], H, dtype=torch.float64)
    for d in range(x.shape[1]):
        for i in range(x.shape[2]):
            state = h[d, i].tolist()
            for t in range(x.shape[0]):
                seen = [s * (1.0 if mask is None else float(mask[d, i, j])) for j, s in enumerate(state)]

                def product(row: int, vector: list[float], d: int = d) -> float:
                    return sum(float(u[d, row, j]) * vector[j] for j in range(H))

                r = [_sigmoid(float(x[t, d, i, k]) + product(k, seen)) for k in range(H)]
                z = [_sigmoid(float(x[t, d, i, H + k]) + product(H + k, seen)) for k in range(H)]
                reset = [r[j] * seen[j] for j in range(H)]
                following = []
                for k in range(H):
                    if reset_after:
                        inner = r[k] * (product(2 * H + k, seen) + float(b[d, k]))
                    else:
                        inner = product(2 * H + k, reset)
                    n = math.tanh(float(x[t, d, i, 2 * H + k]) + inner)
                    following.append((1 - z[k]) * n + z[k] * state[k])
                state = following
                states[t, d, i] = torch.tensor(state, dtype=torch.float64)
    return states


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("masked", [False, True])
class TestSequence:
    def _arguments(self, masked: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        mask = torch.tensor([0.0, 1.5, 1.5, 0.0], dtype=torch.float64).expand(D, B, H) if masked else None
        return _random(T, D, B, 3 * H), _random(D, B, H), _random(D, 3 * H, H), _random(D, H), mask

    def test_equals_the_equations(self, reset_after: bool, masked: bool) -> None:
        *inputs, mask = self._arguments(masked)
        x, h, u, b = (tensor.detach() for tensor in inputs)
        states = gru_sequence(x, h, u, b, mask, reset_after)
        torch.testing.assert_close(states, _loop(x, h, u, b, mask, reset_after), rtol=1e-12, atol=1e-12)

    def test_gradients(self, reset_after: bool, masked: bool) -> None:
        *inputs, mask = self._arguments(masked)
        assert torch.autograd.gradcheck(lambda *a: gru_sequence(*a, mask, reset_after), inputs)


def _layer_and_reference(dtype: torch.dtype) -> tuple[GRULayer, torch.nn.GRU]:
    torch.manual_seed(3)
    reference = torch.nn.GRU(I, H).to(dtype)
    layer = GRULayer(I, H, 1, reset_after=True, dropout_state=0.0).to(dtype)
    with torch.no_grad():
        layer.weight_input[0] = reference.weight_ih_l0
        layer.weight_recurrent[0] = reference.weight_hh_l0
        # torch keeps two biases for r and z, which only ever act as their sum
        layer.bias_input[0] = reference.bias_ih_l0
        layer.bias_input[0, : 2 * H] += reference.bias_hh_l0[: 2 * H]
        layer.bias_recurrent[0] = reference.bias_hh_l0[2 * H :]
    return layer, reference


def test_equals_torch_gru_forward_and_backward() -> None:
    layer, reference = _layer_and_reference(torch.float64)
    inputs, h = _random(T, B, I), _random(1, B, H)
    weights = torch.randn(T, B, H, dtype=torch.float64)
    expected, _ = reference(inputs, h)
    grads = torch.autograd.grad((expected * weights).sum(), [inputs, h, reference.weight_ih_l0, reference.weight_hh_l0])
    states = layer(layer.input_terms(inputs).transpose(1, 2), h)[:, 0]
    ours = torch.autograd.grad((states * weights).sum(), [inputs, h, layer.weight_input, layer.weight_recurrent])
    torch.testing.assert_close(states, expected)
    for mine, theirs in zip(ours, grads, strict=True):
        torch.testing.assert_close(mine.view_as(theirs), theirs)


def test_float32_stays_near_torch_gru() -> None:
    """The sigmoid form of tanh costs one rounding of 1, not more."""
    layer, reference = _layer_and_reference(torch.float32)
    inputs = torch.randn(50, B, I)
    states = layer(layer.input_terms(inputs).transpose(1, 2))[:, 0]
    torch.testing.assert_close(states, reference(inputs)[0], rtol=0, atol=2e-6)


def test_states_that_were_written_to_are_noticed_and_nothing_of_them_stays() -> None:
    x = torch.randn(3, 2, 4, 15, requires_grad=True)
    rest = torch.zeros(2, 4, 5), torch.randn(2, 15, 5), torch.zeros(2, 5)
    states = gru_sequence(x, *rest)
    tape = weakref.ref(states.grad_fn.tape)
    with torch.no_grad():
        states[0].add_(1)
    with pytest.raises(RuntimeError, match="modified"):
        states.sum().backward()
    del states
    assert tape() is None


@pytest.mark.parametrize("reset_after", [True, False])
def test_steps_equal_the_sequence(reset_after: bool) -> None:
    torch.manual_seed(1)
    layer = GRULayer(I, H, 1, reset_after, dropout_state=0.0).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    inputs, h = _random(T, B, I), _random(1, B, H)
    states = layer(layer.input_terms(inputs).transpose(1, 2), h)[:, 0]
    state = h[0]
    for t in range(T):
        state = layer.step(inputs[t], state)
        torch.testing.assert_close(state, states[t])


def test_bfloat16_products_keep_float32_states() -> None:
    layer, _ = _layer_and_reference(torch.float32)
    inputs = torch.randn(T, B, I)
    exact = layer(layer.input_terms(inputs).transpose(1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        states = layer(layer.input_terms(inputs).transpose(1, 2))
    states.sum().backward()
    assert states.dtype == torch.float32
    assert layer.weight_recurrent.grad is not None and layer.weight_recurrent.grad.dtype == torch.float32
    difference = (states - exact).abs().max()
    assert 0 < difference < 0.03  # bfloat16 was used, and no more than its rounding shows


def test_state_dropout_is_one_mask_a_sequence_and_off_in_evaluation() -> None:
    layer = GRULayer(I, 64, 2, True, dropout_state=0.5)
    mask = layer.state_mask(B)
    assert mask is not None and mask.shape == (2, B, 64)
    assert set(mask.unique().tolist()) == {0.0, 2.0}
    layer.eval()
    assert layer.state_mask(B) is None
