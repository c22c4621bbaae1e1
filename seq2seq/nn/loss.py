"""Output layer and label-smoothed cross-entropy as one function over chunks of rows.

Shapes: R rows (target tokens, no padding), E size of the readout, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seq2seq.nn.functional import product_dtype

# logits held at a time: on a CPU few enough for its caches to see them again, on a GPU enough to fill it
CHUNK_LOGITS = {"cpu": 2_000_000, "cuda": 256_000_000}


def _rows_per_chunk(weight: Tensor) -> int:
    return max(16, CHUNK_LOGITS.get(weight.device.type, CHUNK_LOGITS["cuda"]) // weight.shape[0])


def _chunk_log_probs(logits: Tensor, p: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logit of each row's label, and log of the sum of the row's exponentials, both (rows,) in float32 or more.

    The sum is had from p = softmax(logits), which the gradient needs anyway: p_label = exp(logit_label) / sum. Where
    p_label is too small to divide by, it is computed.
    """
    wide = torch.promote_types(logits.dtype, torch.float32)
    own, p_own = (x.gather(1, labels[:, None])[:, 0].to(wide) for x in (logits, p))
    log_sum = own - p_own.log()
    lost = p_own < torch.finfo(p.dtype).tiny
    if lost.any():
        log_sum[lost] = torch.logsumexp(logits[lost].to(wide), -1)
    return own, log_sum


class _OutputCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        dtype, vocabulary = product_dtype(hidden), weight.shape[0]
        rows, wanted = _rows_per_chunk(weight), any(ctx.needs_input_grad)
        with torch.autocast(hidden.device.type, enabled=False):
            cast_weight, cast_bias, cast_hidden = weight.to(dtype), bias.to(dtype), hidden.to(dtype)
            total_weight, uniform = weight.sum(0), smoothing / vocabulary
            log_p = torch.empty_like(labels, dtype=hidden.dtype)  # (R,), of the label
            grad_hidden, grad_weight, grad_bias = (torch.zeros_like(x) for x in (hidden, weight, bias))
            held = cast_hidden.new_empty(2, min(rows, len(labels)), vocabulary)
            for start in range(0, len(labels), rows):
                chunk, label = cast_hidden[start : start + rows], labels[start : start + rows]
                logits, p = held[:, : len(label)]
                torch.addmm(cast_bias, chunk, cast_weight.t(), out=logits)
                torch.softmax(logits, -1, out=p)
                own, log_sum = _chunk_log_probs(logits, p, label)
                log_p[start : start + rows] = (1 - smoothing) * own - log_sum
                if not wanted:
                    continue
                # d loss / d logits = softmax - smoothed one-hot; the share of smoothing, the same in each row, below
                grad = p.scatter_add_(1, label[:, None], p.new_full((len(label), 1), smoothing - 1))
                grad_bias += (grad.new_ones(1, len(label)) @ grad)[0]
                grad_hidden[start : start + rows] = grad @ cast_weight
                grad_weight += grad.t() @ chunk
            # sum over V of the logits, of all rows
            logits_sum = hidden.sum(0) @ total_weight + len(labels) * bias.sum()
            grad_hidden -= uniform * total_weight
            grad_weight -= uniform * hidden.sum(0)
            grad_bias -= uniform * len(labels)
        ctx.grads = grad_hidden, grad_weight, grad_bias
        return -log_p.sum() - uniform * logits_sum

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, bias = ctx.grads
        return hidden * grad, weight * grad, bias * grad, None, None


def output_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Sum over rows of the cross-entropy between softmax(hidden weight^T + bias) and smoothed labels.

    The target distribution is (1 - smoothing) on the label and smoothing / V on each piece (Szegedy et al. 2016). The
    gradient is computed in the forward pass, chunk by chunk, so that R x V logits never exist at once.

    Args:
        hidden: (R, E).
        weight: (V, E).
        bias: (V,).
        labels: (R,) in [0, V).
        smoothing: In [0, 1).

    Returns:
        The sum, a scalar.
    """
    return _OutputCrossEntropy.apply(hidden, weight, bias, labels, smoothing)


@torch.no_grad()
def label_log_probs(hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
    """log p (R,) of each row's label, logits held in chunks; arguments as for `output_cross_entropy`, no gradient."""
    rows = _rows_per_chunk(weight)
    parts = []
    for chunk, label in zip(hidden.split(rows), labels.split(rows), strict=True):
        logits = torch.nn.functional.linear(chunk, weight).to(bias.dtype) + bias
        parts.append(torch.log_softmax(logits, -1).gather(1, label[:, None])[:, 0])
    return torch.cat(parts) if parts else hidden.new_zeros(0)
