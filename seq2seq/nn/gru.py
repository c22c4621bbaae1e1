"""The gated recurrent unit, with its backward pass written out.

Shapes: T steps, D directions, B batch, I input, H state.

With gates r (reset), z (update) and candidate n, input terms x = W v + b and state h (Cho et al. 2014, eq. 5 to 8):

    r = sigmoid(x_r + U_r h)        z = sigmoid(x_z + U_z h)
    n = tanh(x_n + r * (U_n h + b_n))     reset_after:  cuDNN, torch.nn.GRU
    n = tanh(x_n + U_n (r * h))           otherwise:    Cho et al. 2014, Bahdanau et al. 2015
    h' = (1 - z) * n + z * h

z keeps the old state here, as in Cho et al. 2014 and PyTorch; Bahdanau et al. 2015 write 1 - z for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seq2seq.nn.functional import dropout_mask, linear, product_dtype, tanh, tanh_


def gru_step(x: Tensor, h: Tensor, weight: Tensor, bias: Tensor, reset_after: bool) -> Tensor:
    """One step of the recurrence, as decoding takes it.

    Args:
        x: (rows, 3H) input terms of r, z, n.
        h: (rows, H) previous state.
        weight: (3H, H) recurrent matrices U_r, U_z, U_n.
        bias: (H,) b_n; unused when the reset gate comes before the product.
        reset_after: Which of the two conventions.

    Returns:
        (rows, H) next state.
    """
    size = h.shape[-1]
    if reset_after:
        recurrent = linear(h, weight)
        r, z = (x[..., : 2 * size] + recurrent[..., : 2 * size]).sigmoid_().chunk(2, -1)
        n = tanh(torch.addcmul(x[..., 2 * size :], r, recurrent[..., 2 * size :] + bias))
    else:
        r, z = (x[..., : 2 * size] + linear(h, weight[: 2 * size])).sigmoid_().chunk(2, -1)
        n = tanh(x[..., 2 * size :] + linear(r * h, weight[2 * size :]))
    return torch.lerp(n, h, z)


class Tape:
    """What the forward pass of one recurrence leaves for its backward pass; all (T, D, B, .)."""

    def __init__(self, steps: int, h: Tensor, mask: Tensor | None, reset_after: bool) -> None:
        size = h.shape[-1]
        self.size, self.mask, self.reset_after = size, mask, reset_after
        self.states = h.new_empty((steps + 1, *h.shape))  # h_0 .. h_T
        self.states[0] = h
        self.gates = h.new_empty((steps, *h.shape[:-1], 3 * size))  # r, z, n
        # U_n h + b_n (reset after), or r * h (reset before)
        self.inner = h.new_empty((steps, *h.shape))

    def masked(self, t: int) -> Tensor:
        """The state that the products see at step t: h_t, under the dropout mask if there is one."""
        return self.states[t] if self.mask is None else self.states[t] * self.mask

    def advance(self, t: int, x: Tensor, recurrent: Tensor, bias: Tensor, inner_weight: Tensor | None) -> None:
        """Step t.

        Args:
            t: Step, from 0.
            x: (D, B, 3H) input terms.
            recurrent: (D, B, 3H) U h, or (D, B, 2H) when the reset gate comes before the product.
            bias: (D, 1, H) b_n.
            inner_weight: (D, H, H) U_n transposed, in the type of products; reset before only.
        """
        size, gates, inner = self.size, self.gates[t], self.inner[t]
        rz = torch.add(x[..., : 2 * size], recurrent[..., : 2 * size], out=gates[..., : 2 * size]).sigmoid_()
        n = gates[..., 2 * size :]
        if inner_weight is None:
            torch.add(recurrent[..., 2 * size :], bias, out=inner)
            torch.addcmul(x[..., 2 * size :], rz[..., :size], inner, out=n)
        else:
            torch.mul(rz[..., :size], self.masked(t), out=inner)
            torch.add(x[..., 2 * size :], (inner.to(inner_weight.dtype) @ inner_weight).to(x.dtype), out=n)
        tanh_(n)
        torch.lerp(n, self.states[t], rz[..., size:], out=self.states[t + 1])


class ReverseTape:
    """The backward pass of a recurrence: everything that does not depend on the next step is done for all T at once."""

    def __init__(self, tape: Tape, weight: Tensor, dtype: torch.dtype) -> None:
        """Prepares the factors.

        Args:
            tape: Filled by the forward pass.
            weight: (D, 3H, H) recurrent matrices.
            dtype: Type of products.
        """
        size, self.tape = tape.size, tape
        r, self.z, n = tape.gates.split(size, -1)
        previous = tape.states[:-1]
        self.grad_states = torch.empty_like(previous)  # gradient of h_{t+1}, all paths included
        self.keep_n = (1 - self.z).mul_(torch.addcmul(r.new_ones(()), n, n, value=-1))  # d n's input / d h'
        keep_z = (previous - n).mul_(self.z).mul_(1 - self.z)
        keep_r = (1 - r).mul_(r)
        if tape.reset_after:
            # gradients of the three recurrent products are these factors times the gradient of h'
            keep_r.mul_(tape.inner).mul_(self.keep_n)
            self.factors = torch.stack((keep_r, keep_z, r * self.keep_n), -2)  # (T, D, B, 3, H)
        else:
            masked = previous if tape.mask is None else previous * tape.mask
            self.keep_r, self.factors = keep_r.mul_(masked), keep_z
        # gradients of U_r h, U_z h, U_n h (or U_n (r * h)), in the type of products, ready for the weight gradient
        self.grad_recurrent = torch.empty_like(tape.gates, dtype=dtype)
        self.weight = weight.to(dtype)

    def step(self, t: int, grad: Tensor) -> Tensor:
        """Gradients of step t's recurrent products, (D, B, 3H), from `grad` (D, B, H), that of h_{t+1}."""
        size, out = self.tape.size, self.grad_recurrent[t]
        self.grad_states[t] = grad
        if self.tape.reset_after:
            out.view(*grad.shape[:-1], 3, size).copy_(grad.unsqueeze(-2) * self.factors[t])
        else:
            out[..., size : 2 * size] = grad * self.factors[t]
            out[..., 2 * size :] = grad * self.keep_n[t]
            self.grad_inner = (out[..., 2 * size :] @ self.weight[..., 2 * size :, :]).to(grad.dtype)
            out[..., :size] = self.grad_inner * self.keep_r[t]
        return out

    def previous(self, t: int, grad: Tensor, through_products: Tensor) -> Tensor:
        """Gradient of h_t (D, B, H): along the gate z, and `through_products` (D, B, H), that of the masked state."""
        if not self.tape.reset_after:
            r = self.tape.gates[t][..., : self.tape.size]
            through_products = torch.addcmul(through_products, self.grad_inner, r)
        if self.tape.mask is not None:
            through_products = through_products * self.tape.mask
        return torch.addcmul(through_products, grad, self.z[t])

    @property
    def product_weight(self) -> Tensor:
        """(D, 3H or 2H, H): the matrices whose products take the whole masked state."""
        return self.weight if self.tape.reset_after else self.weight[..., : 2 * self.tape.size, :]

    def product_grad(self, t: int) -> Tensor:
        """(D, B, 3H or 2H): gradient of the products with `product_weight` at step t."""
        grad = self.grad_recurrent[t]
        return grad if self.tape.reset_after else grad[..., : 2 * self.tape.size]

    def input_grad(self) -> Tensor:
        """(T, D, B, 3H): gradient of the input terms, in the type of products."""
        if not self.tape.reset_after:
            return self.grad_recurrent
        grad = self.grad_recurrent.clone()
        torch.mul(self.grad_states, self.keep_n, out=self.keep_n)
        grad[..., 2 * self.tape.size :] = self.keep_n
        return grad

    def weight_grad(self) -> Tensor:
        """(D, 3H, H): gradient of the recurrent matrices, one product over all T B rows."""
        tape, dtype = self.tape, self.weight.dtype
        states = tape.states[:-1] if tape.mask is None else tape.states[:-1] * tape.mask
        if tape.reset_after:
            return outer(self.grad_recurrent, states.to(dtype)).to(states.dtype)
        whole = outer(self.grad_recurrent[..., : 2 * tape.size], states.to(dtype))
        inner = outer(self.grad_recurrent[..., 2 * tape.size :], tape.inner.to(dtype))
        return torch.cat((whole, inner), -2).to(states.dtype)

    def bias_grad(self) -> Tensor:
        """(D, H): gradient of b_n."""
        if not self.tape.reset_after:
            return self.tape.states.new_zeros(self.tape.states.shape[1], self.tape.size)
        return self.grad_recurrent[..., 2 * self.tape.size :].sum((0, 2), dtype=self.tape.states.dtype)


def outer(grad: Tensor, value: Tensor) -> Tensor:
    """(D, M, N): sum over steps and batch of grad (T, D, B, M) times value (T, D, B, N), one product a direction."""
    directions = range(grad.shape[1])
    return torch.stack([grad[:, d].flatten(0, 1).t() @ value[:, d].flatten(0, 1) for d in directions])


class _GRUSequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, reset_after: bool
    ) -> Tensor:
        dtype = product_dtype(h)
        with torch.autocast(h.device.type, enabled=False):
            tape = Tape(x.shape[0], h, mask, reset_after)
            transposed = weight.to(dtype).transpose(1, 2).contiguous()  # (D, H, 3H)
            inner_weight = None
            if not reset_after:
                transposed, inner_weight = transposed.split((2 * tape.size, tape.size), -1)
            bias_row = bias[:, None]
            for t in range(x.shape[0]):
                recurrent = (tape.masked(t).to(dtype) @ transposed).to(h.dtype)
                tape.advance(t, x[t], recurrent, bias_row, inner_weight)
        ctx.tape, ctx.weight, ctx.dtype, ctx.x_dtype = tape, weight, dtype, x.dtype
        # A view of the tape would let the caller write into what backward needs.
        return tape.states[1:].clone()

    @staticmethod
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        tape = ctx.tape
        with torch.autocast(grad_states.device.type, enabled=False):
            reverse = ReverseTape(tape, ctx.weight, ctx.dtype)
            grad = torch.zeros_like(tape.states[0])
            for t in range(grad_states.shape[0] - 1, -1, -1):
                grad = grad + grad_states[t]
                reverse.step(t, grad)
                through = (reverse.product_grad(t) @ reverse.product_weight).to(grad.dtype)
                grad = reverse.previous(t, grad, through)
            return reverse.input_grad().to(ctx.x_dtype), grad, reverse.weight_grad(), reverse.bias_grad(), None, None


def gru_sequence(
    x: Tensor, h: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None = None, reset_after: bool = True
) -> Tensor:
    """The recurrence over T steps, in D directions at once.

    Args:
        x: (T, D, B, 3H) input terms of r, z, n.
        h: (D, B, H) first state.
        weight: (D, 3H, H) recurrent matrices.
        bias: (D, H) b_n.
        mask: (D, B, H) dropout mask on the state that enters the products, one for all steps (Gal & Ghahramani 2016).
        reset_after: Which convention, see above.

    Returns:
        (T, D, B, H) states after each step.
    """
    return _GRUSequence.apply(x, h, weight, bias, mask, reset_after)


class GRULayer(nn.Module):
    """Weights of a GRU in D directions, and its run over padded, time-major input."""

    def __init__(self, input_size: int, size: int, directions: int, reset_after: bool, dropout_state: float) -> None:
        super().__init__()
        self.size, self.directions = size, directions
        self.reset_after, self.dropout_state = reset_after, dropout_state
        self.weight_input = nn.Parameter(torch.empty(directions, 3 * size, input_size))  # W_r, W_z, W_n
        self.bias_input = nn.Parameter(torch.zeros(directions, 3 * size))
        self.weight_recurrent = nn.Parameter(torch.empty(directions, 3 * size, size))  # U_r, U_z, U_n
        self.bias_recurrent = nn.Parameter(torch.zeros(directions, size), requires_grad=reset_after)  # b_n

    def input_terms(self, inputs: Tensor) -> Tensor:
        """(..., D, 3H) from inputs (..., I): one product for all steps and directions."""
        terms = linear(inputs, self.weight_input.flatten(0, 1), self.bias_input.flatten())
        return terms.unflatten(-1, (self.directions, 3 * self.size))

    def state_mask(self, batch: int) -> Tensor | None:
        """(D, B, H) variational dropout mask in training, else None."""
        if not self.training or self.dropout_state <= 0.0:
            return None
        return dropout_mask((self.directions, batch, self.size), self.dropout_state, self.weight_recurrent)

    def forward(self, terms: Tensor, h: Tensor | None = None) -> Tensor:
        """States (T, D, B, H) from input terms (T, D, B, 3H) and first state (D, B, H), zero if not given."""
        batch = terms.shape[2]
        if h is None:
            h = terms.new_zeros(self.directions, batch, self.size)
        mask = self.state_mask(batch)
        return gru_sequence(terms, h, self.weight_recurrent, self.bias_recurrent, mask, self.reset_after)

    def step(self, inputs: Tensor, h: Tensor) -> Tensor:
        """One step of a one-directional layer: next state (rows, H) from inputs (rows, I) and state (rows, H)."""
        terms = linear(inputs, self.weight_input[0], self.bias_input[0])
        return gru_step(terms, h, self.weight_recurrent[0], self.bias_recurrent[0], self.reset_after)
