"""Output layer and label-smoothed cross-entropy as one function over chunks of rows.

Shapes: R rows (target tokens, no padding), E size of the readout, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seq2seq.nn.functional import product_dtype
from seq2seq.nn.kernels import CrossEntropy, Kernel, usable

# A chunk has whole tiles of rows, the last one filled up with rows of zeros: few shapes, few kernels to compile.
TILE = 32

# logits held at a time: on a CPU few enough for its caches to see them again, more where compiled code sees them but
# once, on a GPU enough to fill it; and rows at the least, for each chunk adds to the gradient of the whole output
# matrix (V = 256,000: 0.5 GB in bfloat16)
CHUNK_LOGITS = {"cpu": 2_000_000, "compiled": 16_000_000, "cuda": 256_000_000}
LEAST_ROWS = 512


def _rows_per_chunk(weight: Tensor, passes: int = 1, compiled: bool = False) -> int:
    where = "compiled" if compiled else weight.device.type
    rows = CHUNK_LOGITS.get(where, CHUNK_LOGITS["cuda"]) // weight.shape[0] // passes
    return max(TILE, LEAST_ROWS // passes, rows // TILE * TILE)


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


def _diverge(logits: Tensor, p: Tensor, amount: float) -> Tensor:
    """Sum of KL(p_1 || p_2) + KL(p_2 || p_1) over pairs of rows, and its gradient.

    As the log of the normaliser drops out, that is sum_v (p_1 - p_2) (l_1 - l_2).

    Args:
        logits: (2, rows, V).
        p: (2, rows, V) their softmax; `amount` times the gradient with respect to the logits is added, in place.
        amount: See above.
    """
    (first, second), difference = p, logits[0] - logits[1]
    by_first, by_second, between = first * difference, second * difference, first - second
    wide = torch.promote_types(p.dtype, torch.float32)
    mean_first, mean_second = (x.sum(-1, keepdim=True, dtype=wide) for x in (by_first, by_second))
    first.mul_(1 - amount * mean_first).add_(by_first.add_(between), alpha=amount)
    second.mul_(1 + amount * mean_second).sub_(by_second.add_(between), alpha=amount)
    return (mean_first - mean_second).sum()


class _Chunks:
    """From a chunk's logits to log probabilities and gradient, in compiled code or in PyTorch."""

    def __init__(
        self,
        held: Tensor,
        log_p: Tensor,
        labels: Tensor,
        shares: Tensor | None,
        smoothing: float,
        divergence: float,
        wanted: bool,
    ) -> None:
        """Prepares what all chunks need.

        Args:
            held: (passes * rows, V) where the logits of each chunk will be.
            log_p: (passes, W) for the log probabilities; W is R and what fills up the last chunk.
            labels: (R,).
            shares: (R,) or None.
            smoothing: See `output_cross_entropy`.
            divergence: Likewise.
            wanted: Whether the gradient is.

        Raises:
            IndexError: A label outside of the vocabulary.
        """
        self.wanted = wanted
        self.count, self.smoothing, self.divergence, self.log_p = len(labels), smoothing, divergence, log_p
        self.diverged, (passes, whole) = log_p.new_zeros(()), log_p.shape
        self.kernel: Kernel | None = None
        if passes == 1 and usable(log_p, held.dtype):
            rows, vocabulary = held.shape
            if self.count and not 0 <= int(labels.min()) <= int(labels.max()) < vocabulary:
                raise IndexError(f"labels from {labels.min()} to {labels.max()}, of {vocabulary} pieces")
            self.kernel = Kernel(
                "cross_entropy", CrossEntropy, held.numel(), chunk=rows, whole=whole, count=self.count,
                vocabulary=vocabulary, narrow=held.dtype != log_p.dtype, wanted=wanted, logits=held,
                labels=labels.to(torch.int64).contiguous(),
                shares=None if shares is None else shares.to(log_p.dtype).contiguous(), kept=1 - smoothing,
                log_p=log_p, scratch=log_p.new_empty(torch.get_num_threads(), vocabulary),
            )  # fmt: skip
            return
        self.labels = F.pad(labels, (0, whole - self.count))
        self.scale = None if shares is None else F.pad(shares.to(held.dtype), (0, whole - self.count))[:, None]
        self.p = torch.empty_like(held)
        self.first = torch.arange(len(held), device=held.device) * held.shape[1]  # logit of each row

    def gradient(self, start: int, logits: Tensor) -> Tensor:
        """Fills `log_p` from row `start` on; the gradient of the logits (rows, V), which may be overwritten.

        That is softmax less the label's (1 - smoothing), times the row's share; what smoothing takes from all pieces,
        the same in each row, is left to the caller. It is only computed where it is wanted.
        """
        if self.kernel is not None:
            self.kernel(start)
            return logits
        (passes, _), vocabulary = self.log_p.shape, logits.shape[1]
        rows = len(logits) // passes
        label = self.labels[start : start + rows].repeat(passes)
        p = torch.softmax(logits, -1, out=self.p[: len(logits)])
        own, log_sum = _chunk_log_probs(logits, p, label)
        self.log_p[:, start : start + rows] = ((1 - self.smoothing) * own - log_sum).view(passes, -1)
        if not self.wanted:
            return p
        if self.divergence:
            self.diverged += _diverge(logits.view(2, -1, vocabulary), p.view(2, -1, vocabulary), self.divergence)
        # scatter_add_ would copy all of it
        p.view(-1).index_add_(0, self.first[: len(label)] + label, p.new_full(label.shape, self.smoothing - 1))
        if start + rows > self.count:
            p.view(passes, -1, vocabulary)[:, self.count - start :] = 0
        if self.scale is not None:
            p *= self.scale[start : start + rows]
        return p


class _OutputCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        labels: Tensor,
        smoothing: float,
        divergence: float,
        shares: Tensor | None,
    ) -> Tensor:
        dtype, vocabulary, count = product_dtype(hidden), weight.shape[0], len(labels)
        passes = 2 if divergence else 1
        rows = _rows_per_chunk(weight, passes, compiled=passes == 1 and usable(hidden, dtype))
        wanted, whole = any(ctx.needs_input_grad), -(-count // TILE) * TILE
        with torch.autocast(hidden.device.type, enabled=False):
            # the bias is one more input, which is 1: apart it would be copied to all rows, and its gradient summed
            size = hidden.shape[1]
            cast_weight = weight.new_empty(vocabulary, size + TILE, dtype=dtype)
            cast_weight[:, :size], cast_weight[:, size], cast_weight[:, size + 1 :] = weight, bias, 0
            cast_hidden = F.pad(hidden.to(dtype).view(passes, count, size), (0, TILE, 0, whole - count))
            cast_hidden[:, :count, size] = 1
            grad_hidden = hidden.new_zeros(passes, whole, size)
            grad_both: Tensor | None = None  # of weight and bias; that of a single chunk is not widened yet
            held = cast_hidden.new_empty(min(rows, whole) * passes, vocabulary)
            log_p = hidden.new_empty(passes, whole)
            chunks = _Chunks(held, log_p, labels, shares, smoothing, divergence, wanted)
            for start in range(0, count, rows):
                chunk = cast_hidden[:, start : start + rows].flatten(0, 1)
                grad = chunks.gradient(start, torch.mm(chunk, cast_weight.t(), out=held[: len(chunk)]))
                if wanted:
                    grad_hidden[:, start : start + rows] = (grad @ cast_weight[:, :size]).view(passes, -1, size)
                    product = grad.t() @ chunk
                    grad_both = product if grad_both is None else grad_both.to(hidden.dtype).add_(product)
            if grad_both is None and wanted:
                grad_both = cast_weight.new_zeros(cast_weight.shape)
            grad_hidden, log_p = grad_hidden[:, :count].reshape(hidden.shape), log_p[:, :count]
            uniform, total_weight = smoothing / vocabulary, weight.sum(0)
            each = hidden.new_ones(len(hidden)) if shares is None else shares.to(hidden.dtype)
            total_hidden, total, log_p_sum = each @ hidden, each.sum(), log_p.flatten() @ each
            # sum over V of the logits of all rows
            logits_sum = total_hidden @ total_weight + total * bias.sum()
            grad_hidden.addr_(each, total_weight, alpha=-uniform)
        ctx.grads = grad_hidden, grad_both, uniform * total_hidden, uniform * total
        ctx.passes = passes
        return (divergence * chunks.diverged - log_p_sum - uniform * logits_sum) / passes

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad, (grad_hidden, grad_both, smoothed, smoothed_bias) = grad / ctx.passes, ctx.grads
        size = grad_hidden.shape[1]
        # one pass over a table: widened, smoothed and scaled
        grad_weight = torch.addcmul(-grad * smoothed, grad_both[:, :size], grad)
        grad_bias = grad * (grad_both[:, size].to(grad.dtype) - smoothed_bias)
        return grad_hidden * grad, grad_weight, grad_bias, None, None, None, None


def output_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    labels: Tensor,
    smoothing: float,
    divergence: float = 0.0,
    shares: Tensor | None = None,
) -> Tensor:
    """Sum over rows of the cross-entropy between softmax(hidden weight^T + bias) and smoothed labels.

    The target distribution is (1 - smoothing) on the label and smoothing / V on each piece (Szegedy et al. 2016). The
    gradient is computed in the forward pass, chunk by chunk, so that R x V logits never exist at once.

    With `divergence` above 0 each row comes twice, from two passes with different dropout (R-Drop, Wu et al. 2021):
    the result is the mean of the two cross-entropies, plus that many times half of KL(p_1 || p_2) + KL(p_2 || p_1).

    Args:
        hidden: (R, E), or (2R, E): all rows of the first pass, then all of the second.
        weight: (V, E).
        bias: (V,).
        labels: (R,) in [0, V).
        smoothing: In [0, 1).
        divergence: Weight of the divergence; it is only computed where a gradient is wanted.
        shares: (R,) what each row's cross-entropy is multiplied by, of any sign; None: 1. Not with a divergence.

    Returns:
        The sum, a scalar.
    """
    assert shares is None or not divergence
    return _OutputCrossEntropy.apply(hidden, weight, bias, labels, smoothing, divergence, shares)


@torch.no_grad()
def label_log_probs(hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
    """log p (R,) of each row's label, logits held in chunks; arguments as for `output_cross_entropy`, no gradient."""
    rows = _rows_per_chunk(weight)
    parts = []
    for chunk, label in zip(hidden.split(rows), labels.split(rows), strict=True):
        logits = F.linear(chunk, weight).to(bias.dtype) + bias
        parts.append(torch.log_softmax(logits, -1).gather(1, label[:, None])[:, 0])
    return torch.cat(parts) if parts else hidden.new_zeros(0)
