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

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seq2seq.nn.functional import dropout_mask, linear, placed, product_dtype, tanh, tanh_
from seq2seq.nn.kernels import Kernel, Recurrence, usable
from seq2seq.nn.product import StepProduct


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


def compiled_step(x: Tensor, recurrent: Tensor, h: Tensor) -> Tensor:
    """One step in compiled code, for decoding, where `kernels.usable` says that there is some; no gradient.

    Args:
        x: (rows, 3H) input terms of r, z, n.
        recurrent: (rows, P), the last 3H columns U_n h + b_n, U_r h, U_z h.
        h: (rows, H) state.

    Returns:
        (rows, H) next state.
    """
    rows, size = h.shape
    x, recurrent = x if x.stride(-1) == 1 else x.contiguous(), recurrent.contiguous()
    states, gates = h.new_empty(2, rows, size), h.new_empty(4, rows, size)
    states[0] = h
    Kernel(
        "gru_forward", Recurrence, h.numel(), steps=1, directions=1, batch=rows, size=size,
        products=recurrent.stride(0), x_row=x.stride(0), x=x, from_state=recurrent, states=states, gates=gates,
        inner=gates[3],
    )(0)  # fmt: skip
    return states[1]


def state_weight(weight: Tensor, reset_after: bool, dtype: torch.dtype, query: Tensor | None = None) -> Tensor:
    """The matrices whose products take the whole previous state, one under the other, in the type of products.

    Args:
        weight: (D, 3H, H) recurrent matrices U_r, U_z, U_n.
        reset_after: Whether U_n is among them.
        dtype: Type of products.
        query: (A, H) of an attention's query, likewise.

    Returns:
        (D, P, H): rows of the query if any, of U_n if reset after, of U_r and U_z. In this order the gradients of all
        state products lie side by side, and so do those of all input terms; see `ReverseTape.grads`.
    """
    size = weight.shape[-1]
    parts = [] if query is None else [query[None]]
    parts += [weight[:, 2 * size :]] if reset_after else []
    parts.append(weight[:, : 2 * size])
    return placed(parts, 1, dtype)


class Tape:
    """What the forward pass of one recurrence leaves for its backward pass; all (T, D, B, .)."""

    def __init__(self, steps: int, h: Tensor, mask: Tensor | None, dtype: torch.dtype, reset_after: bool) -> None:
        size = h.shape[-1]
        self.size, self.reset_after = size, reset_after
        self.mask = None if mask is None else mask.contiguous()
        self.states = h.new_empty((steps + 1, *h.shape))  # h_0 .. h_T
        self.states[0] = h
        self.gates = h.new_empty((steps, *h.shape[:-1], 3 * size))  # r, z, n
        # U_n h + b_n (reset after), or r * h as the product sees it (reset before)
        self.inner = h.new_empty((steps, *h.shape), dtype=h.dtype if reset_after else dtype)
        # what the products see: the states, under the mask, in the type of products
        self.bare = mask is None and dtype == h.dtype
        self.inputs = self.states[:-1] if self.bare else torch.empty_like(self.inner, dtype=dtype)

    def masked(self, t: int) -> Tensor:
        """h_t (D, B, H), under the dropout mask if there is one."""
        return self.states[t] if self.mask is None else self.states[t] * self.mask

    def product_input(self, t: int) -> Tensor:
        """(D, B, H): what the products of step t see."""
        return self.inputs[t] if self.bare else self.inputs[t].copy_(self.masked(t))

    def kernel(
        self, x: Tensor, weight: Tensor, from_state: Tensor, bias: Tensor, more: Tensor | None = None
    ) -> Callable[[int], None] | None:
        """All steps' `advance` in compiled code, and the cast for the next step's products; None where there is none.

        Args:
            x: (T, D, B, 3H) input terms of all steps.
            weight: (D, 3H, H) recurrent matrices.
            from_state: (D, B, P) that will hold the products of the step, in their type.
            bias: (D, H) b_n; unused when the reset gate comes before the product.
            more: (D, B, 3H) that will hold what is added to the input terms of the step, in the type of products.
        """
        known = x.dtype in (self.states.dtype, from_state.dtype) and x.stride(-1) == 1
        if not (known and len(x) and usable(self.states, from_state.dtype)):
            return None
        self.product_input(0)
        steps, directions, batch, size = self.inner.shape
        fields = dict(
            steps=steps, directions=directions, batch=batch, size=size, products=from_state.shape[-1],
            x_step=x.stride(0), x_direction=x.stride(1), x_row=x.stride(2),
            narrow=from_state.dtype != self.states.dtype, x_narrow=x.dtype != self.states.dtype, x=x, more=more,
            from_state=from_state, mask=self.mask, states=self.states, gates=self.gates, inner=self.inner,
            inputs=None if self.bare else self.inputs,
        )  # fmt: skip
        numbers = self.states[0].numel()
        if self.reset_after:
            return Kernel("gru_forward", Recurrence, numbers, bias=bias.contiguous(), **fields)
        from_reset = torch.empty_like(self.inner[0])
        inner_weight = weight[:, 2 * size :].to(from_state.dtype).transpose(1, 2)
        return _in_turn(
            Kernel("gru_reset", Recurrence, numbers, **fields),
            StepProduct(self.inner, inner_weight, from_reset),
            Kernel("gru_candidate", Recurrence, numbers, from_reset=from_reset, **fields),
        )

    def advance(self, t: int, x: Tensor, products: Tensor, bias: Tensor, inner_weight: Tensor | None) -> None:
        """Step t.

        Args:
            t: Step, from 0.
            x: (D, B, 3H) input terms.
            products: (D, B, P) with the rows of `state_weight`.
            bias: (D, 1, H) b_n.
            inner_weight: (D, H, H) U_n transposed, in the type of products; reset before only.
        """
        size, gates, inner = self.size, self.gates[t], self.inner[t]
        rz = torch.add(x[..., : 2 * size], products[..., -2 * size :], out=gates[..., : 2 * size]).sigmoid_()
        n = gates[..., 2 * size :]
        if inner_weight is None:
            torch.add(products[..., -3 * size : -2 * size], bias, out=inner)
            torch.addcmul(x[..., 2 * size :].to(inner.dtype), rz[..., :size], inner, out=n)
        else:
            torch.mul(rz[..., :size], self.masked(t), out=inner)
            torch.add(x[..., 2 * size :], (inner @ inner_weight).to(n.dtype), out=n)
        tanh_(n)
        torch.lerp(n, self.states[t], rz[..., size:], out=self.states[t + 1])


class ReverseTape:
    """The backward pass of a recurrence: everything that does not depend on the next step is done for all T at once."""

    def __init__(self, tape: Tape, dtype: torch.dtype, between: int = 0) -> None:
        """Makes room for the gradients.

        Args:
            tape: Filled by the forward pass.
            dtype: Type of products.
            between: Rows of an attention's query in `state_weight`; whoever has one fills its columns of `grads`.
        """
        self.tape = tape
        # The query's columns, if there are any, come first. All columns but the last H belong to products with the
        # state, in the order of `state_weight`; the last 3H are the gradient of the input terms.
        self.between = between
        columns = (4 if tape.reset_after else 3) * tape.size
        self.grads = tape.gates.new_empty((*tape.inner.shape[:-1], between + columns), dtype=dtype)

    def kernel(
        self, grad_states: Tensor, weight: Tensor, through: Tensor
    ) -> tuple[Callable[[int], None], Tensor] | None:
        """All steps' `step` and `previous` in compiled code; None where there is none.

        Args:
            grad_states: (T, D, B, H) from outside.
            weight: (D, 3H, H) recurrent matrices.
            through: (D, B, H) that holds, when step t is taken, what the products of step t + 1 give to the gradient of
                the masked state, in their type; zero for the last step.

        Returns:
            The kernel, and (D, B, H) where it leaves the gradient of h_t along everything but the products that
            `through` is of.
        """
        tape = self.tape
        if not usable(tape.states, self.grads.dtype):
            return None
        carry = torch.zeros_like(tape.states[0])
        steps, directions, batch, size = tape.inner.shape
        fields = dict(
            steps=steps, directions=directions, batch=batch, size=size, between=self.between,
            narrow=self.grads.dtype != tape.states.dtype, mask=tape.mask, states=tape.states, gates=tape.gates,
            inner=tape.inner, grad_states=grad_states.contiguous(), through=through, carry=carry, grads=self.grads,
        )  # fmt: skip
        if tape.reset_after:
            return Kernel("gru_backward", Recurrence, carry.numel(), **fields), carry
        from_reset = torch.empty_like(through)
        retreat = _in_turn(
            Kernel("gru_candidate_backward", Recurrence, carry.numel(), **fields),
            StepProduct(self.grads[..., -size:], weight[:, 2 * size :].to(through.dtype), from_reset),
            Kernel("gru_reset_backward", Recurrence, carry.numel(), from_reset=from_reset, **fields),
        )
        return retreat, carry

    def factorise(self, weight: Tensor) -> None:
        """Prepares `step`; weight (D, 3H, H) are the recurrent matrices."""
        tape, size = self.tape, self.tape.size
        self.r, self.z, n = tape.gates.split(size, -1)
        self.inner_weight = weight[:, 2 * size :].to(self.grads.dtype)
        # gradient of h' times these gives the gradients of the columns: U_n h (reset after), r, z, n
        self.factors = tape.gates.new_empty((*tape.inner.shape[:-1], 4 if tape.reset_after else 3, size))
        *of_inner, of_r, of_z, of_n = self.factors.unbind(-2)
        previous, closed = tape.states[:-1], 1 - self.z
        torch.addcmul(n.new_ones(()), n, n, value=-1, out=of_n).mul_(closed)
        torch.sub(previous, n, out=of_z).mul_(self.z).mul_(closed)
        torch.sub(1, self.r, out=of_r).mul_(self.r)
        if tape.reset_after:
            of_r.mul_(tape.inner).mul_(of_n)
            torch.mul(self.r, of_n, out=of_inner[0])
        else:  # of r * h, not of h'
            of_r.mul_(previous if tape.mask is None else previous * tape.mask)

    def step(self, t: int, grad: Tensor) -> Tensor:
        """Fills the columns (D, B, P + H) of `grads` at step t from `grad` (D, B, H), that of h_{t+1}; returns them."""
        out, factors = self.grads[t], self.factors[t]
        columns = out[..., self.between :].unflatten(-1, factors.shape[-2:])
        if self.tape.reset_after:
            columns.copy_(grad.unsqueeze(-2) * factors)
        else:
            columns[..., 1:, :] = grad.unsqueeze(-2) * factors[..., 1:, :]
            self.grad_inner = (columns[..., 2, :] @ self.inner_weight).to(grad.dtype)
            columns[..., 0, :] = self.grad_inner * factors[..., 0, :]
        return out

    def masked(self, through: Tensor) -> Tensor:
        """Gradient of a state (D, B, H) from that of the masked state."""
        return through if self.tape.mask is None else through * self.tape.mask

    def previous(self, t: int, grad: Tensor, through_products: Tensor) -> Tensor:
        """Gradient of h_t (D, B, H): along the gate z, and `through_products` (D, B, H), that of the masked state."""
        if not self.tape.reset_after:
            through_products = torch.addcmul(through_products, self.grad_inner, self.r[t])
        return torch.addcmul(self.masked(through_products), grad, self.z[t])

    def input_grad(self) -> Tensor:
        """(T, D, B, 3H): gradient of the input terms, in the type of products."""
        return self.grads[..., -3 * self.tape.size :]

    def weight_grads(self) -> tuple[Tensor, Tensor]:
        """Gradients of the recurrent matrices (D, 3H, H) and of the query (D, A, H), one product over all T B rows."""
        tape, size = self.tape, self.tape.size
        whole = outer(self.grads[..., :-size], tape.inputs)  # (D, P, H)
        query, inner, gates = whole.split((self.between, whole.shape[1] - self.between - 2 * size, 2 * size), 1)
        if not tape.reset_after:
            inner = outer(self.grads[..., -size:], tape.inner)
        wide = tape.states.dtype
        return placed((gates, inner), 1, wide), query.to(wide)

    def bias_grad(self) -> Tensor:
        """(D, H): gradient of b_n."""
        if not self.tape.reset_after:
            return self.tape.states.new_zeros(self.tape.states.shape[1], self.tape.size)
        inner = self.grads[..., self.between : self.between + self.tape.size]
        return inner.sum((0, 2), dtype=self.tape.states.dtype)


def _in_turn(*parts: Callable[[int], None]) -> Callable[[int], None]:
    """One after the other at each step."""

    def step(t: int) -> None:
        for part in parts:
            part(t)

    return step


def outer(grad: Tensor, value: Tensor) -> Tensor:
    """(D, M, N): sum over steps and batch of grad (T, D, B, M) times value (T, D, B, N), one product a direction."""
    directions = zip(grad.unbind(1), value.unbind(1), strict=True)
    products = [of_grad.flatten(0, 1).t() @ of_value.flatten(0, 1) for of_grad, of_value in directions]
    return torch.stack(products) if len(products) > 1 else products[0][None]


class _GRUSequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, h: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, reset_after: bool
    ) -> Tensor:
        dtype = product_dtype(h)
        with torch.autocast(h.device.type, enabled=False):
            tape = Tape(x.shape[0], h, mask, dtype, reset_after)
            products_weight = state_weight(weight, reset_after, dtype)
            transposed = products_weight.transpose(1, 2)
            products = h.new_empty((*h.shape[:-1], transposed.shape[-1]), dtype=dtype)
            kernel = tape.kernel(x, weight, products, bias)
            if kernel is None:
                transposed, bias_row = transposed.contiguous(), bias[:, None]
                inner_weight = None if reset_after else weight[:, 2 * tape.size :].to(dtype).transpose(1, 2)
                for t in range(x.shape[0]):
                    products = (tape.product_input(t) @ transposed).to(h.dtype)
                    tape.advance(t, x[t], products, bias_row, inner_weight)
            else:
                multiply = StepProduct(tape.inputs, transposed, products)
                for t in range(x.shape[0]):
                    multiply(t)
                    kernel(t)
        ctx.tape, ctx.weight, ctx.products_weight = tape, weight, products_weight
        states = tape.states[1:]
        ctx.save_for_backward(states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        tape, weight = ctx.tape, ctx.products_weight
        _ = ctx.saved_tensors  # raises where the states, a part of the tape, were written to since
        with torch.autocast(grad_states.device.type, enabled=False):
            reverse, grad = ReverseTape(tape, weight.dtype), torch.zeros_like(tape.states[0])
            through = torch.zeros_like(grad, dtype=weight.dtype)
            compiled = reverse.kernel(grad_states, ctx.weight, through)
            if compiled is None:
                reverse.factorise(ctx.weight)
                for t in range(grad_states.shape[0] - 1, -1, -1):
                    grad = grad + grad_states[t]
                    product = reverse.step(t, grad)[..., : weight.shape[1]] @ weight
                    grad = reverse.previous(t, grad, product.to(grad.dtype))
            else:
                kernel, carry = compiled
                multiply = StepProduct(reverse.grads[..., : weight.shape[1]], weight, through)
                for t in range(grad_states.shape[0] - 1, -1, -1):
                    kernel(t)
                    multiply(t)
                grad = carry + reverse.masked(through.to(carry.dtype))
            grad_weight, _ = reverse.weight_grads()
            return reverse.input_grad(), grad, grad_weight, reverse.bias_grad(), None, None


def gru_sequence(
    x: Tensor, h: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None = None, reset_after: bool = True
) -> Tensor:
    """The recurrence over T steps, in D directions at once.

    Args:
        x: (T, D, B, 3H) input terms of r, z, n, in the type of products or of the states.
        h: (D, B, H) first state.
        weight: (D, 3H, H) recurrent matrices.
        bias: (D, H) b_n.
        mask: (D, B, H) dropout mask on the state that enters the products, one for all steps (Gal & Ghahramani 2016).
        reset_after: Which convention, see above.

    Returns:
        (T, D, B, H) states after each step; the backward pass needs them as they are, and says so if they are not.
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
        """(..., D, 3H) from inputs (..., I), in the type of products: one product for all steps and directions."""
        terms = F.linear(inputs, self.weight_input.flatten(0, 1), self.bias_input.flatten())
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
            h = self.bias_recurrent.new_zeros(self.directions, batch, self.size)
        mask = self.state_mask(batch)
        return gru_sequence(terms, h, self.weight_recurrent, self.bias_recurrent, mask, self.reset_after)

    def step(self, inputs: Tensor, h: Tensor) -> Tensor:
        """One step of a one-directional layer: next state (rows, H) from inputs (rows, I) and state (rows, H)."""
        terms = linear(inputs, self.weight_input[0], self.bias_input[0])
        return gru_step(terms, h, self.weight_recurrent[0], self.bias_recurrent[0], self.reset_after)
