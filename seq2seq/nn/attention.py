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
from seq2seq.nn.gru import ReverseTape, Tape

# sigmoid(keys + query) of all steps is kept for the backward pass up to this many numbers, else computed again
KEEP_ACTIVATIONS = 64_000_000


def attend(query: Tensor, keys: Tensor, values: Tensor, v: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of K queries a sentence.

    Args:
        query: (B * K, A) doubled queries 2 W q; rows of one sentence lie together.
        keys: (B, S, A) doubled keys 2 U h.
        values: (B, S, C) encoder states.
        v: (A,) the scoring vector.
        bias: (B, S) zero at tokens, minus infinity at padding.

    Returns:
        Contexts (B * K, C) and weights (B * K, S).
    """
    sentences = keys.shape[0]
    hypotheses = query.shape[0] // sentences
    activation = (keys.unsqueeze(1) + query.view(sentences, hypotheses, 1, -1)).sigmoid_()  # (B, K, S, A)
    scores = activation @ (2 * v)  # (B, K, S)
    weights = torch.softmax(scores + bias.unsqueeze(1), -1)
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
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype = product_dtype(h)
        steps, size, width = x.shape[0], h.shape[-1], weight_query.shape[0]
        batch, length, _ = keys.shape
        with torch.autocast(h.device.type, enabled=False):
            tape = Tape(steps, h[None], None if mask is None else mask[None], reset_after)
            contexts = values.new_empty(steps, batch, values.shape[-1])
            weights = keys.new_empty(steps, batch, length)
            keep = steps * keys.numel() <= KEEP_ACTIVATIONS
            activations = keys.new_empty(steps if keep else 1, *keys.shape)
            whole = weight_recurrent if reset_after else weight_recurrent[: 2 * size]
            inner_weight = None if reset_after else weight_recurrent[2 * size :].to(dtype).t().contiguous()[None]
            # one product gives the doubled query and the recurrent terms
            from_state = torch.cat((2 * weight_query, whole)).to(dtype).t().contiguous()  # (H, A + 3H)
            from_context = weight_context.to(dtype).t().contiguous()  # (C, 3H)
            doubled_v, bias_row = 2 * v, bias_recurrent[None, None]
            for t in range(steps):
                products = (tape.masked(t)[0].to(dtype) @ from_state).to(h.dtype)
                activation = torch.add(keys, products[:, None, :width], out=activations[t if keep else 0]).sigmoid_()
                scores = torch.mv(activation.view(-1, width), doubled_v).view(batch, length)
                torch.softmax(scores.add_(bias), -1, out=weights[t])
                torch.bmm(weights[t][:, None], values, out=contexts[t][:, None])
                terms = x[t] + (contexts[t].to(dtype) @ from_context).to(h.dtype)
                tape.advance(t, terms[None], products[None, :, width:], bias_row, inner_weight)
        ctx.save_for_backward(keys, values, v, weight_query, weight_context, weight_recurrent)
        ctx.tape, ctx.contexts, ctx.weights, ctx.dtype, ctx.x_dtype = tape, contexts, weights, dtype, x.dtype
        ctx.activations = activations if keep else None
        weights = weights.clone()
        ctx.mark_non_differentiable(weights)
        return tape.states[1:, 0].clone(), contexts.clone(), weights

    @staticmethod
    def backward(ctx: Any, grad_states: Tensor, grad_contexts: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        keys, values, v, weight_query, weight_context, weight_recurrent = ctx.saved_tensors
        tape, dtype, size = ctx.tape, ctx.dtype, ctx.tape.size
        steps, batch, width = grad_states.shape[0], keys.shape[0], keys.shape[2]
        with torch.autocast(grad_states.device.type, enabled=False):
            reverse = ReverseTape(tape, weight_recurrent[None], dtype)
            to_state = torch.cat((2 * weight_query.to(dtype), reverse.product_weight[0]))  # (A + 3H, H)
            context_weight = weight_context.to(dtype)
            doubled_v = 2 * v
            grad = torch.zeros_like(tape.states[0])
            grad_products = torch.empty(batch, to_state.shape[0], dtype=dtype, device=keys.device)
            grad_terms = torch.empty(steps, batch, 3 * size, dtype=dtype, device=keys.device)
            grad_queries = keys.new_empty(steps, batch, width)
            grad_contexts = grad_contexts.clone()
            grad_v = torch.zeros_like(v)
            grad_keys = torch.zeros_like(keys)
            for t in range(steps - 1, -1, -1):
                grad = grad + grad_states[t]
                gates = reverse.step(t, grad)[0]  # (B, 3H)
                terms = grad_terms[t].copy_(gates)
                if tape.reset_after:
                    terms[:, 2 * size :] = grad[0] * reverse.keep_n[t, 0]
                total = grad_contexts[t].add_((terms @ context_weight).to(keys.dtype))  # gradient of c_t, all paths
                weights = ctx.weights[t]
                by_weight = torch.bmm(values, total[:, :, None])[:, :, 0]  # (B, S)
                by_score = weights * (by_weight - (weights * by_weight).sum(-1, keepdim=True))
                if ctx.activations is not None:
                    activation = ctx.activations[t]
                else:
                    query = (tape.masked(t)[0].to(dtype) @ (2 * weight_query).to(dtype).t()).to(keys.dtype)
                    activation = (keys + query[:, None]).sigmoid_()
                grad_v += torch.mv(activation.view(-1, width).t(), by_score.flatten())
                slope = torch.addcmul(activation, activation, activation, value=-1)  # sigmoid'
                grad_queries[t] = torch.bmm(by_score[:, None], slope)[:, 0]
                grad_keys += slope.mul_(by_score[:, :, None])
                grad_queries[t] *= doubled_v
                grad_products[:, :width] = grad_queries[t]
                grad_products[:, width:] = reverse.product_grad(t)[0]
                grad = reverse.previous(t, grad, (grad_products @ to_state).to(grad.dtype)[None])
            masked = tape.states[:-1, 0] if tape.mask is None else tape.states[:-1, 0] * tape.mask[0]
            grad_query_weight = grad_queries.to(dtype).flatten(0, 1).t() @ masked.to(dtype).flatten(0, 1)
            grad_context_weight = grad_terms.flatten(0, 1).t() @ ctx.contexts.to(dtype).flatten(0, 1)
            # sum over T of alpha_t (outer) dc_t: one product a sentence
            grad_values = torch.bmm(ctx.weights.permute(1, 2, 0), grad_contexts.transpose(0, 1))
            return (
                grad_terms.to(ctx.x_dtype),
                grad[0],
                grad_keys * doubled_v,
                grad_values,
                None,
                2 * grad_v,
                2 * grad_query_weight.to(v.dtype),
                grad_context_weight.to(v.dtype),
                reverse.weight_grad()[0],
                reverse.bias_grad()[0],
                None,
                None,
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
) -> tuple[Tensor, Tensor, Tensor]:
    """T steps of a GRU whose input is [embedding; context], the context attended to with the previous state.

    Args:
        x: (T, B, 3H) the embedding's share of the input terms.
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

    Returns:
        States (T, B, H), contexts (T, B, C), attention weights (T, B, S; no gradient flows through these).
    """
    return _AttentiveGRU.apply(
        x, h, keys, values, bias, v, weight_query, weight_context, weight_recurrent, bias_recurrent, mask, reset_after
    )
