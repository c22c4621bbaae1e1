"""A matrix product prepared once and used many times: float32, bfloat16 or int8.

The weights are cast, and for int8 quantised, when the product is made; sums are in float32 (int8: exact in int32).

    int8:  x W^T ~ (q(x) q(W)^T) * (step of x) * (step of each row of W),   q(x) = round(x / step), |q| <= 127

(Jacob et al. 2018, arXiv:1712.05877, symmetric, one step a row of W.) Where the inputs are bounded the step of x is
fixed, else it is that of each row, so that a row's result never depends on the rows beside it.

Shapes: D matrices, R rows, I inputs, O outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS = 127


class Product:
    """x W^T + bias for a fixed matrix."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, dtype: torch.dtype, bound: float | None = None
    ) -> None:
        """Prepares the weights.

        Args:
            weight: (O, I), in the type of the results.
            bias: (O,), zero if not given.
            dtype: Type of the product: that of the weights, bfloat16 or int8.
            bound: No input is larger in absolute value; None if that is not known. Only int8 asks for it.
        """
        weight = weight.detach()
        self.bias = weight.new_zeros(weight.shape[0]) if bias is None else bias.detach().clone()
        self.dtype = dtype
        if dtype != torch.int8:
            self.weight = weight.to(dtype, copy=True).t()  # (I, O)
            return
        quantised, steps = _quantise(weight)
        self.weight, self.steps = quantised.t(), steps[:, 0]
        self.factor: Tensor | None = None
        if bound is not None:
            self.steps, self.factor = self.steps * (bound / LEVELS), _factor(bound, weight)

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """(R, O) from x (R, I); `bias` (R, O) takes the place of the bias vector."""
        bias = self.bias if bias is None else bias
        if self.dtype == bias.dtype:
            return torch.addmm(bias, x, self.weight)
        if self.dtype != torch.int8:
            return (x.to(self.dtype) @ self.weight).to(bias.dtype).add_(bias)
        if self.factor is not None:
            quantised = (x * self.factor).round_().to(torch.int8)
            return torch.addcmul(bias, torch._int_mm(quantised, self.weight), self.steps)
        quantised, steps = _quantise(x)
        return torch.addcmul(bias, torch._int_mm(quantised, self.weight) * steps, self.steps)


class StackedProduct:
    """D products side by side: x_d W_d^T + bias_d."""

    def __init__(self, weight: Tensor, bias: Tensor, *, dtype: torch.dtype, bound: float) -> None:
        """Prepares weights (D, O, I) and biases (D, O); see `Product`."""
        weight, self.dtype, self.bias = weight.detach(), dtype, bias.detach().clone()[:, None]
        if dtype != torch.int8:
            self.weight = weight.to(dtype).transpose(1, 2).contiguous()  # (D, I, O)
            return
        quantised, steps = _quantise(weight)
        self.parts = quantised.transpose(1, 2).unbind(0)
        self.steps, self.factor = steps.transpose(1, 2) * (bound / LEVELS), _factor(bound, weight)  # (D, 1, O)

    def __call__(self, x: Tensor) -> Tensor:
        """(D, R, O) from x (D, R, I)."""
        if self.dtype == x.dtype:
            return torch.baddbmm(self.bias, x, self.weight)
        if self.dtype != torch.int8:
            return torch.bmm(x.to(self.dtype), self.weight).to(x.dtype).add_(self.bias)
        quantised = (x * self.factor).round_().to(torch.int8)
        sums = quantised.new_empty((*x.shape[:2], self.bias.shape[-1]), dtype=torch.int32)
        for d, part in enumerate(self.parts):
            torch._int_mm(quantised[d], part, out=sums[d])
        return torch.addcmul(self.bias, sums, self.steps)


def _quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """int8 numbers (..., I), and the step (..., 1) of each row."""
    steps = x.abs().amax(-1, keepdim=True).clamp_(min=1e-12).div_(LEVELS)
    return (x / steps).round_().to(torch.int8), steps


def _factor(bound: float, like: Tensor) -> Tensor:
    # a tensor without dimensions: a Python number would be made into one at every call
    return like.new_tensor(LEVELS / bound)
