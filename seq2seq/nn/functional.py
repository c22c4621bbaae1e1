"""Small operations that the layers share: product precision, dropout, parts side by side, permutations of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from seq2seq.nn.kernels import Dropout, Kernel, Rows, usable


def product_dtype(like: Tensor) -> torch.dtype:
    """The type in which matrix products run now: autocast's where it is on for this device, else that of `like`."""
    device = like.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else like.dtype


def tanh_(x: Tensor) -> Tensor:
    """tanh in place, as 2 sigmoid(2x) - 1.

    PyTorch's float32 sigmoid on CPUs is several times faster than its tanh; the absolute error is one rounding of 1.
    """
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


def tanh(x: Tensor) -> Tensor:
    """`tanh_` as a new tensor, through which gradients flow."""
    return x.mul(2).sigmoid_().mul(2).sub_(1)


def dropout_mask(shape: tuple[int, ...], p: float, like: Tensor) -> Tensor:
    """A mask of zeros (with probability p, to 1/65536) and 1 / (1 - p), of the type of `like`."""
    keep = 1.0 - p
    if like.device.type != "cpu":
        return torch.empty(shape, dtype=like.dtype, device=like.device).bernoulli_(keep).div_(keep)
    return (_draws(math.prod(shape)) < _threshold(p)).view(shape).to(like.dtype).mul_(1.0 / keep)


def _draws(count: int) -> Tensor:
    """Random 16-bit integers (count,).

    One 64-bit draw of the generator serves four entries: Bernoulli draws one at a time cost ten times as much.
    """
    return torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:count]


def _threshold(p: float) -> int:
    """Draws below it stay."""
    return min(round((1.0 - p) * 65536) - 32768, 32767)


class _Dropout(torch.autograd.Function):
    """Dropout in one pass over x, and one over its gradient, from the draws that `dropout_mask` takes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float, scale: float) -> Tensor:
        ctx.draws, ctx.p, ctx.scale = _draws(x.numel()), p, scale
        return _drop(x, ctx.draws, p, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return _drop(grad, ctx.draws, ctx.p, ctx.scale), None, None


def _drop(x: Tensor, draws: Tensor, p: float, scale: float) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    Kernel(
        "drop", Dropout, x.numel(), size=x.numel(), threshold=_threshold(p), scale=scale / (1.0 - p), x=x,
        draws=draws, out=out,
    )(0)  # fmt: skip
    return out


def dropout(x: Tensor, p: float, training: bool, scale: float = 1.0) -> Tensor:
    """Dropout (Srivastava et al. 2014) of the entries of `scale` times x."""
    drops = training and p > 0.0
    if drops and usable(x, torch.float32):
        return _Dropout.apply(x, p, scale)
    if scale != 1.0:
        x = x * scale
    return x * dropout_mask(tuple(x.shape), p, x) if drops else x


@torch.no_grad()
def placed(parts: Sequence[Tensor], dim: int, dtype: torch.dtype) -> Tensor:
    """`torch.cat` in a type of its own: each part is read once, and cast on the way to its place; no gradient."""
    shape = list(parts[0].shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    out = parts[0].new_empty(shape, dtype=dtype)
    for place, part in zip(out.split([part.shape[dim] for part in parts], dim), parts, strict=True):
        assert place.shape == part.shape
        place.copy_(part)
    return out


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dim: int, dtype: torch.dtype, *parts: Tensor) -> Tensor:
        ctx.dim, ctx.kinds = dim, [(part.shape[dim], part.dtype) for part in parts]
        return placed(parts, dim, dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grads = grad.split([size for size, _ in ctx.kinds], ctx.dim)
        return (None, None, *(part.to(dtype) for part, (_, dtype) in zip(grads, ctx.kinds, strict=True)))


def join(parts: Sequence[Tensor], dim: int, dtype: torch.dtype) -> Tensor:
    """`placed`, and gradients flow to the parts."""
    return _Joined.apply(dim, dtype, *parts)


class _Cut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: tuple[int, ...], dim: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        ctx.dim, ctx.dtype = dim, x.dtype
        return tuple(part.to(dtype).contiguous() for part in x.split(sizes, dim))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return placed(grads, ctx.dim, ctx.dtype), None, None, None


def cut(x: Tensor, sizes: tuple[int, ...], dim: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The reverse of `join`: contiguous parts of x in a type of their own, whose gradients are joined in one pass."""
    return _Cut.apply(x, sizes, dim, dtype)


class _PermuteRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (index,) = ctx.saved_tensors
        return grad.index_select(0, index), None


def reverse_rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x (N, ...) in the order `index` (N,), which must be its own inverse.

    The gradient is then the same selection again, where autograd would scatter and add.
    """
    return _PermuteRows.apply(x, index)


def reversal_index(lengths: Tensor, steps: int) -> Tensor:
    """Index (S * B,) into time-major rows that reverses each sentence within its length; padding stays in place."""
    time = torch.arange(steps, device=lengths.device)[:, None]  # (S, 1)
    reversed_time = torch.where(time < lengths, lengths - 1 - time, time)  # (S, B)
    rows = torch.arange(lengths.shape[0], device=lengths.device)
    return (reversed_time * lengths.shape[0] + rows).flatten()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b with the product in autocast's type, the result in float32 (float64 where the weights are)."""
    return F.linear(x, weight, bias).to(weight.dtype)


def log_softmax(x: Tensor, overwrite: bool = False) -> Tensor:
    """log softmax (R, N) of the rows of x (R, N), in float32; no gradient. `overwrite`: the result may be in x."""
    x = x.float()
    if not usable(x, torch.float32) or x.stride(-1) != 1:
        return torch.log_softmax(x, -1)
    out = x if overwrite and x.is_contiguous() else x.new_empty(x.shape)
    rows, columns = x.shape
    Kernel("log_softmax", Rows, x.numel(), rows=rows, columns=columns, stride=x.stride(0), x=x, out=out)(0)
    return out
