"""Additive attention (Bahdanau et al. 2015, section 3.1 and appendix A.1.2), and the recurrence around it.

Shapes: B batch, S source length, T target length, K hypotheses a sentence, H decoder state, C context, A attention.

    e_s = v . tanh(W q + U h_s)      alpha = softmax(e)      c = sum_s alpha_s h_s

The code computes sigmoid instead of tanh: v . tanh(x) = 2 v . sigmoid(2x) - sum(v), the last term is the same for all
s and leaves the softmax unchanged, and on CPUs sigmoid costs a fraction of tanh. Keys and queries arrive doubled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seq2seq.nn.functional import product_dtype
from seq2seq.nn.gru import ReverseTape, Tape, state_weight
from seq2seq.nn.kernels import Attention, Kernel, usable
from seq2seq.nn.product import StepProduct


def attend(
    query: Tensor, keys: Tensor, values: Tensor, v: Tensor, bias: Tensor | None, lengths: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention of K queries a sentence.

    Args:
        query: (B * K, A) doubled queries 2 W q; rows of one sentence lie together.
        keys: (B, S, A) doubled keys 2 U h.
        values: (B, S, C) encoder states.
        v: (A,) the doubled scoring vector.
        bias: (B, S) zero at tokens, minus infinity at padding; None where there is no padding.
        lengths: (B,) tokens; where they are given no gradient is wanted, and compiled code may do the work.

    Returns:
        Contexts (B * K, C) and weights (B * K, S).
    """
    sentences, length, width = keys.shape
    hypotheses = query.shape[0] // sentences
    if lengths is not None and _readable(query, keys, values, v, lengths):
        rows, size = len(query), values.shape[-1]
        found = query.new_empty(rows, size), query.new_empty(rows, length)
        Kernel(
            "attend_forward", Attention, rows * length * width, batch=rows, length=length, width=width, context=size,
            hypotheses=hypotheses, products=query.stride(0), lengths=lengths, keys=keys, values=values, v=v,
            from_state=query, queries=query.new_empty(rows, width), contexts=found[0], weights=found[1],
        )(0)  # fmt: skip
        return found
    activation = (keys.unsqueeze(1) + query.view(sentences, hypotheses, 1, -1)).sigmoid_()  # (B, K, S, A)
    scores = activation @ v  # (B, K, S)
    weights = torch.softmax(scores if bias is None else scores + bias.unsqueeze(1), -1)
    context = torch.bmm(weights.to(values.dtype), values)  # (B, K, C)
    return context.flatten(0, 1), weights.flatten(0, 1)


def _readable(query: Tensor, keys: Tensor, values: Tensor, v: Tensor, lengths: Tensor) -> bool:
    return (
        usable(query, torch.float32)
        and query.stride(-1) == 1
        and len(query) % max(len(keys), 1) == 0
        and all(part.dtype == torch.float32 and part.is_contiguous() for part in (keys, values, v))
        and lengths.dtype == torch.int64
        and lengths.is_contiguous()
    )


class _Forward:
    """T decoder steps, and what they leave for the backward pass.

    Products are of type `dtype`; the other arguments are those of `attentive_gru`.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        x: Tensor,
        h: Tensor,
        keys: Tensor,
        values: Tensor,
        bias: Tensor,
        v: Tensor,
        weight_query: Tensor,
        weight_context: Tensor,
        weight_recurrent: Tensor,
        bias_recurrent: Tensor,
        mask: Tensor | None,
        reset_after: bool,
        query_terms: Tensor | None,
    ) -> None:
        steps: int = x.shape[0]
        self.width = weight_query.shape[0]
        batch, length, _ = keys.shape
        self.keys, self.values, self.bias = keys.contiguous(), values.contiguous(), bias
        self.weight_recurrent, self.bias_recurrent, self.doubled_v = weight_recurrent, bias_recurrent[None], 2 * v
        self.tape = Tape(steps, h[None], None if mask is None else mask[None], dtype, reset_after)
        self.contexts = values.new_empty(steps, batch, values.shape[-1])
        # what the products see of the contexts
        self.inputs = self.contexts if dtype == values.dtype else torch.empty_like(self.contexts, dtype=dtype)
        self.weights = keys.new_empty(steps, batch, length)
        self.queries = keys.new_empty(steps, batch, self.width)
        # one product gives the doubled query and the recurrent terms
        self.weight_state = state_weight(weight_recurrent[None], reset_after, dtype, 2 * weight_query)[0]  # (P, H)
        self.weight_context, self.context_dtype = weight_context.to(dtype), weight_context.dtype
        from_state, from_context = self.weight_state.t(), self.weight_context.t()
        products = x.new_empty(batch, len(self.weight_state), dtype=dtype)
        terms = x.new_empty(batch, len(weight_context), dtype=dtype)
        self.has_query_terms = query_terms is not None
        if query_terms is not None:
            query_terms = query_terms.to(dtype).contiguous()
        advance = self.tape.kernel(x[:, None], weight_recurrent[None], products[None], self.bias_recurrent, terms[None])
        if advance is None:
            self._run(x, query_terms, from_state, from_context)
            return
        attention = self.kernel(
            "attend_forward", from_state=products, products=products.shape[1], query_terms=query_terms,
            inputs=None if self.inputs is self.contexts else self.inputs,
        )  # fmt: skip
        by_state = StepProduct(self.tape.inputs, from_state[None], products[None])
        by_context = StepProduct(self.inputs[:, None], from_context[None], terms[None])
        for t in range(steps):
            by_state(t)
            attention(t)
            by_context(t)
            advance(t)

    def kernel(self, function: str, **fields: Any) -> Kernel:
        """Attention of all steps in compiled code."""
        batch, length, width = self.keys.shape
        return Kernel(
            function, Attention, self.keys.numel(), batch=batch, length=length, width=width,
            context=self.values.shape[-1], hypotheses=1, narrow=self.inputs.dtype != self.values.dtype,
            lengths=(self.bias == 0).sum(1), keys=self.keys, values=self.values, v=self.doubled_v,
            queries=self.queries, weights=self.weights, contexts=self.contexts, **fields,
        )  # fmt: skip

    def _run(self, x: Tensor, query_terms: Tensor | None, from_state: Tensor, from_context: Tensor) -> None:
        tape, keys, values, width = self.tape, self.keys, self.values, self.width
        inner_weight = None
        if not tape.reset_after:
            inner_weight = self.weight_recurrent[2 * tape.size :].to(from_state.dtype).t()[None]
        doubled_v, activation = self.doubled_v[:, None], torch.empty_like(keys)
        for t, (query, weights, context) in enumerate(zip(self.queries, self.weights, self.contexts, strict=True)):
            products = (tape.product_input(t)[0] @ from_state).to(keys.dtype)
            query.copy_(products[:, :width])
            if query_terms is not None:
                query += query_terms[t]
            torch.add(keys, query[:, None], out=activation).sigmoid_()
            scores = torch.mm(activation.view(-1, width), doubled_v).view(weights.shape)
            torch.softmax(scores.add_(self.bias), -1, out=weights)
            torch.bmm(weights[:, None], values, out=context[:, None])
            if self.inputs is not self.contexts:
                self.inputs[t] = context
            terms = x[t] + (self.inputs[t] @ from_context).to(keys.dtype)
            tape.advance(t, terms[None], products[None], self.bias_recurrent[None], inner_weight)


class _Backward:
    """The way back through what a `_Forward` did."""

    def __init__(self, forward: _Forward, grad_states: Tensor, grad_contexts: Tensor) -> None:
        self.forward = forward
        self.reverse = ReverseTape(forward.tape, forward.weight_state.dtype, between=forward.width)
        self.grad = torch.zeros_like(forward.tape.states[0])  # of the first state, in the end
        self.grad_contexts = grad_contexts.clone(memory_format=torch.contiguous_format)  # of all paths, in the end
        self.grad_v, self.grad_keys = torch.zeros_like(forward.queries[0]), torch.zeros_like(forward.keys)
        through = torch.zeros_like(self.grad, dtype=forward.weight_state.dtype)
        compiled = self.reverse.kernel(grad_states[:, None], forward.weight_recurrent[None], through)
        if compiled is None:
            self._run(grad_states)
            return
        retreat, carry = compiled
        size, steps, columns = forward.tape.size, len(grad_states), self.reverse.grads[:, 0]
        by_terms = grad_contexts.new_empty(grad_contexts.shape[1:], dtype=through.dtype)
        attention = forward.kernel(
            "attend_backward", by_terms=by_terms, grad_contexts=self.grad_contexts, grad_keys=self.grad_keys,
            grad_v=self.grad_v, grads=columns, grad_columns=columns.shape[-1],
        )  # fmt: skip
        to_context = StepProduct(self.reverse.grads[..., -3 * size :], forward.weight_context[None], by_terms[None])
        to_state = StepProduct(self.reverse.grads[..., :-size], forward.weight_state[None], through)
        for t in range(steps - 1, -1, -1):
            retreat(t)
            to_context(t)
            attention(t)
            to_state(t)
        self.grad = carry + self.reverse.masked(through.to(carry.dtype))

    def _run(self, grad_states: Tensor) -> None:
        forward, reverse, width, size = self.forward, self.reverse, self.forward.width, self.forward.tape.size
        keys, transposed_values = forward.keys, forward.values.transpose(1, 2)
        activation = torch.empty_like(keys)
        reverse.factorise(forward.weight_recurrent[None])
        for t in range(len(grad_states) - 1, -1, -1):
            grad = self.grad + grad_states[t]
            grads = reverse.step(t, grad)[0]  # (B, P + H)
            # gradient of c_t, all paths
            total = self.grad_contexts[t].add_((grads[:, -3 * size :] @ forward.weight_context).to(keys.dtype))
            weights = forward.weights[t]
            by_weight = torch.bmm(total[:, None], transposed_values)[:, 0]  # (B, S)
            by_score = weights * (by_weight - (weights * by_weight).sum(-1, keepdim=True))
            # Computed again: to keep it for all steps costs more, in writing and reading T B S A numbers.
            torch.add(keys, forward.queries[t][:, None], out=activation).sigmoid_()
            self.grad_v += torch.bmm(by_score[:, None], activation)[:, 0]
            slope = activation.addcmul_(activation, activation, value=-1)  # sigmoid'
            grad_query = torch.bmm(by_score[:, None], slope)[:, 0]
            self.grad_keys.addcmul_(slope, by_score[:, :, None])
            torch.mul(grad_query, forward.doubled_v, out=grad_query)
            grads[:, :width] = grad_query
            self.grad = reverse.previous(t, grad, (grads[:, :-size] @ forward.weight_state).to(grad.dtype)[None])


class _AttentiveGRU(torch.autograd.Function):
    """T decoder steps; see `attentive_gru`."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        dtype = product_dtype(arguments[1])
        with torch.autocast(arguments[0].device.type, enabled=False):
            done = ctx.done = _Forward(dtype, *arguments)
        # other objects than those that `done` holds: a result refers to `ctx`
        states, contexts, weights = done.tape.states[1:, 0], done.contexts.detach(), done.weights.detach()
        ctx.save_for_backward(*(x for x in (*arguments, states, contexts, weights) if isinstance(x, Tensor)))
        ctx.mark_non_differentiable(weights)
        return states, contexts, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_states: Tensor, grad_contexts: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        done: _Forward = ctx.done
        _ = ctx.saved_tensors  # raises where an argument or a result was written to since
        with torch.autocast(grad_states.device.type, enabled=False):
            back = _Backward(done, grad_states, grad_contexts)
            reverse = back.reverse
            grad_terms = reverse.input_grad()[:, 0]
            grad_context_weight = grad_terms.flatten(0, 1).t() @ done.inputs.flatten(0, 1)
            grad_recurrent, grad_query_weight = reverse.weight_grads()
            # sum over T of alpha_t (outer) dc_t: one product a sentence
            grad_values = torch.bmm(done.weights.permute(1, 2, 0), back.grad_contexts.transpose(0, 1))
            return (
                grad_terms,
                back.grad[0],
                back.grad_keys * done.doubled_v,
                grad_values,
                None,
                2 * back.grad_v.sum(0),
                2 * grad_query_weight[0],
                grad_context_weight.to(done.context_dtype),
                grad_recurrent[0],
                reverse.bias_grad()[0],
                None,
                None,
                reverse.grads[:, 0, :, : done.width] if done.has_query_terms else None,
            )


def attentive_gru(
    x: Tensor,
    h: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor,
    v: Tensor,
    weight_query: Tensor,
    weight_context: Tensor,
    weight_recurrent: Tensor,
    bias_recurrent: Tensor,
    mask: Tensor | None = None,
    reset_after: bool = True,
    query_terms: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """T steps of a GRU whose input is [embedding; context], the context attended to with the previous state.

    Args:
        x: (T, B, 3H) the embedding's share of the input terms, in the type of products or of the states.
        h: (B, H) first state.
        keys: (B, S, A) doubled keys.
        values: (B, S, C) encoder states.
        bias: (B, S) zero at tokens, minus infinity at padding.
        v: (A,) scoring vector.
        weight_query: (A, H).
        weight_context: (3H, C) the context's share of the input matrix, in the type of products or of the states.
        weight_recurrent: (3H, H).
        bias_recurrent: (H,) b_n.
        mask: (B, H) dropout mask on the state that enters the products.
        reset_after: Reset gate after the recurrent product or before it.
        query_terms: (T, B, A) what the previous tokens add to the doubled queries, in the type of products.

    Returns:
        States (T, B, H), contexts (T, B, C), attention weights (T, B, S; no gradient flows through these). The backward
        pass needs them as they are, and says so if they are not.
    """
    return _AttentiveGRU.apply(
        x, h, keys, values, bias, v, weight_query, weight_context, weight_recurrent, bias_recurrent, mask, reset_after,
        query_terms,
    )  # fmt: skip
