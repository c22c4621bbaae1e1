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

from seq2seq.nn.functional import product_dtype
from seq2seq.nn.gru import ReverseTape, Tape, state_weight


def attend(query: Tensor, keys: Tensor, values: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Attention of K queries a sentence.

    Args:
        query: (B * K, A) doubled queries 2 W q; rows of one sentence lie together.
        keys: (B, S, A) doubled keys 2 U h.
        values: (B, S, C) encoder states.
        v: (A,) the doubled scoring vector.
        bias: (B, S) zero at tokens, minus infinity at padding; None where there is no padding.

    Returns:
        Contexts (B * K, C) and weights (B * K, S).
    """
    sentences = keys.shape[0]
    hypotheses = query.shape[0] // sentences
    activation = (keys.unsqueeze(1) + query.view(sentences, hypotheses, 1, -1)).sigmoid_()  # (B, K, S, A)
    scores = activation @ v  # (B, K, S)
    weights = torch.softmax(scores if bias is None else scores + bias.unsqueeze(1), -1)
    context = torch.bmm(weights.to(values.dtype), values)  # (B, K, C)
    return context.flatten(0, 1), weights.flatten(0, 1)


class _AttentiveGRU(torch.autograd.Function):
    """T decoder steps; see `attentive_gru`."""

    @staticmethod
    def forward(
        ctx: Any,
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
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype = product_dtype(h)
        steps, width = x.shape[0], weight_query.shape[0]
        batch, length, _ = keys.shape
        with torch.autocast(h.device.type, enabled=False):
            tape = Tape(steps, h[None], None if mask is None else mask[None], dtype, reset_after)
            size = tape.size
            contexts = values.new_empty(steps, batch, values.shape[-1])
            weights = keys.new_empty(steps, batch, length)
            queries = keys.new_empty(steps, batch, width)
            # one product gives the doubled query and the recurrent terms
            weight_state = state_weight(weight_recurrent[None], reset_after, 2 * weight_query)[0].to(dtype)  # (P, H)
            inner_weight = None if reset_after else weight_recurrent[2 * size :].to(dtype).t()[None]
            from_state, from_context = weight_state.t().contiguous(), weight_context.to(dtype).t().contiguous()
            doubled_v, bias_row, activation = (2 * v)[:, None], bias_recurrent[None, None], torch.empty_like(keys)
            for t in range(steps):
                products = (tape.product_input(t)[0] @ from_state).to(h.dtype)
                query = queries[t].copy_(products[:, :width])
                if query_terms is not None:
                    query += query_terms[t]
                torch.add(keys, query[:, None], out=activation).sigmoid_()
                scores = torch.mm(activation.view(-1, width), doubled_v).view(batch, length)
                torch.softmax(scores.add_(bias), -1, out=weights[t])
                torch.bmm(weights[t][:, None], values, out=contexts[t][:, None])
                terms = x[t] + (contexts[t].to(dtype) @ from_context).to(h.dtype)
                tape.advance(t, terms[None], products[None], bias_row, inner_weight)
        ctx.save_for_backward(keys, values, v, weight_context, weight_recurrent)
        ctx.has_query_terms = query_terms is not None
        ctx.tape, ctx.contexts, ctx.weights, ctx.queries, ctx.weight_state = (
            tape,
            contexts,
            weights,
            queries,
            weight_state,
        )
        weights = weights.clone()
        ctx.mark_non_differentiable(weights)
        return tape.states[1:, 0].clone(), contexts.clone(), weights

    @staticmethod
    def backward(ctx: Any, grad_states: Tensor, grad_contexts: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        keys, values, v, weight_context, weight_recurrent = ctx.saved_tensors
        tape, weight_state, size = ctx.tape, ctx.weight_state, ctx.tape.size
        steps, width = grad_states.shape[0], keys.shape[2]
        with torch.autocast(grad_states.device.type, enabled=False):
            reverse = ReverseTape(tape, weight_recurrent[None], weight_state.dtype, between=width)
            context_weight = weight_context.to(weight_state.dtype)
            doubled_v = 2 * v
            grad = torch.zeros_like(tape.states[0])
            grad_contexts = grad_contexts.clone()
            grad_v, grad_keys = torch.zeros_like(ctx.queries[0]), torch.zeros_like(keys)
            transposed_values, activation = values.transpose(1, 2), torch.empty_like(keys)
            for t in range(steps - 1, -1, -1):
                grad = grad + grad_states[t]
                grads = reverse.step(t, grad)[0]  # (B, P + H)
                # gradient of c_t, all paths
                total = grad_contexts[t].add_((grads[:, -3 * size :] @ context_weight).to(keys.dtype))
                weights = ctx.weights[t]
                by_weight = torch.bmm(total[:, None], transposed_values)[:, 0]  # (B, S)
                by_score = weights * (by_weight - (weights * by_weight).sum(-1, keepdim=True))
                # Computed again: to keep it for all steps costs more, in writing and reading T B S A numbers.
                torch.add(keys, ctx.queries[t][:, None], out=activation).sigmoid_()
                grad_v += torch.bmm(by_score[:, None], activation)[:, 0]
                slope = activation.addcmul_(activation, activation, value=-1)  # sigmoid'
                grad_query = torch.bmm(by_score[:, None], slope)[:, 0]
                grad_keys.addcmul_(slope, by_score[:, :, None])
                torch.mul(grad_query, doubled_v, out=grad_query)
                grads[:, :width] = grad_query
                grad = reverse.previous(t, grad, (grads[:, :-size] @ weight_state).to(grad.dtype)[None])
            grad_terms = reverse.input_grad()[:, 0]
            grad_context_weight = grad_terms.flatten(0, 1).t() @ ctx.contexts.to(grad_terms.dtype).flatten(0, 1)
            grad_recurrent, grad_query_weight = reverse.weight_grads()
            # sum over T of alpha_t (outer) dc_t: one product a sentence
            grad_values = torch.bmm(ctx.weights.permute(1, 2, 0), grad_contexts.transpose(0, 1))
            return (
                grad_terms,
                grad[0],
                grad_keys * doubled_v,
                grad_values,
                None,
                2 * grad_v.sum(0),
                2 * grad_query_weight[0],
                grad_context_weight.to(v.dtype),
                grad_recurrent[0],
                reverse.bias_grad()[0],
                None,
                None,
                reverse.grads[:, 0, :, :width] if ctx.has_query_terms else None,
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
        weight_context: (3H, C) the context's share of the input matrix.
        weight_recurrent: (3H, H).
        bias_recurrent: (H,) b_n.
        mask: (B, H) dropout mask on the state that enters the products.
        reset_after: Reset gate after the recurrent product or before it.
        query_terms: (T, B, A) what the previous tokens add to the doubled queries, in the type of products.

    Returns:
        States (T, B, H), contexts (T, B, C), attention weights (T, B, S; no gradient flows through these).
    """
    return _AttentiveGRU.apply(
        x, h, keys, values, bias, v, weight_query, weight_context, weight_recurrent, bias_recurrent, mask, reset_after,
        query_terms,
    )  # fmt: skip
