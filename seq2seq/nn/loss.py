"""Output layer and label-smoothed cross-entropy as one function over chunks of rows.

Shapes: R rows (target tokens, no padding), E size of the readout, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seq2seq.nn.functional import product_dtype

# logits held at a time; small enough for the caches of a CPU to see them again
CHUNK_LOGITS = 2_000_000


def _rows_per_chunk(vocabulary: int) -> int:
    return max(16, CHUNK_LOGITS // vocabulary)


class _OutputCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        dtype, vocabulary = product_dtype(hidden), weight.shape[0]
        rows = _rows_per_chunk(vocabulary)
        wanted = any(ctx.needs_input_grad)
        with torch.autocast(hidden.device.type, enabled=False):
            cast_weight, cast_hidden = weight.to(dtype), hidden.to(dtype)
            grad_hidden = torch.empty_like(hidden) if wanted else None
            grad_weight = torch.zeros_like(weight) if wanted else None
            grad_bias = torch.zeros_like(bias) if wanted else None
            loss = torch.zeros((), dtype=hidden.dtype, device=hidden.device)
            for start in range(0, len(labels), rows):
                chunk, label = cast_hidden[start : start + rows], labels[start : start + rows]
                logits = torch.add(chunk @ cast_weight.t(), bias)  # float32 from here on
                log_p = torch.log_softmax(logits, -1)
                loss -= (1 - smoothing) * log_p.gather(1, label[:, None]).sum()
                if smoothing:
                    loss -= smoothing / vocabulary * log_p.sum()
                if grad_hidden is None or grad_weight is None or grad_bias is None:
                    continue
                # d loss / d logits = softmax - smoothed one-hot, in the memory of log_p
                grad = log_p.exp_()
                if smoothing:
                    grad -= smoothing / vocabulary
                grad.scatter_add_(1, label[:, None], grad.new_full((len(label), 1), smoothing - 1))
                grad_bias += grad.sum(0)
                grad = grad.to(dtype)
                grad_hidden[start : start + len(label)] = grad @ cast_weight
                grad_weight += grad.t() @ chunk
        ctx.grads = grad_hidden, grad_weight, grad_bias
        return loss

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
    rows = _rows_per_chunk(weight.shape[0])
    parts = []
    for chunk, label in zip(hidden.split(rows), labels.split(rows), strict=True):
        logits = torch.nn.functional.linear(chunk, weight).to(bias.dtype) + bias
        parts.append(torch.log_softmax(logits, -1).gather(1, label[:, None])[:, 0])
    return torch.cat(parts) if parts else hidden.new_zeros(0)
