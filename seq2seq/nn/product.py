"""A matrix product prepared once and used many times: float32, bfloat16 or int8; `StepProduct` for training's loops.

The weights are cast, and for int8 quantised, when the product is made; sums are in float32 (int8: exact in int32).

    int8:  x W^T ~ (q(x) q(W)^T) * (step of x) * (step of each row of W),   q(x) = round(x / step), |q| <= 127

(Jacob et al. 2018, arXiv:1712.05877, symmetric, one step a row of W.) Where the inputs are bounded the step of x is
fixed, else it is that of each row, so that a row's result never depends on the rows beside it.

Shapes: D matrices, R rows, I inputs, O outputs, T steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from seq2seq.nn.kernels import TILES, Kernel, Rows, TileProduct, tiles_usable, usable

LEVELS = 127


class _Tiles:
    """A bfloat16 matrix (D, I, O) arranged for the processor's matrix unit, if `tiles_usable` says that it can be."""

    @classmethod
    def of(cls, weight: Tensor, given: torch.dtype) -> _Tiles | None:
        """Of a matrix (D, I, O) that was `given` in another type; None where there are no tiles for either."""
        return cls(weight) if given == torch.float32 and tiles_usable(weight) else None

    def __init__(self, weight: Tensor) -> None:
        count, inputs, outputs = weight.shape
        self.packed = weight.new_empty(count * math.ceil(outputs / TILES) * TILES * inputs)
        strides = zip(("weight_product", "weight_input", "weight_output"), weight.stride(), strict=True)
        self.outputs, self._fields = outputs, dict(count=count, inputs=inputs, outputs=outputs, packed=self.packed)
        Kernel("tile_pack", TileProduct, weight.numel(), **self._fields, **dict(strides), weight=weight)(0)

    def steps(self, x: Tensor, out: Tensor) -> Kernel:
        """The products x_t W of x (T, D, R, I), whose last dimension is contiguous, each to `out` (D, R, O)."""
        return Kernel(
            "tile_product", TileProduct, out.numel(), **self._fields, rows=x.shape[2], x_step=x.stride(0),
            x_product=x.stride(1), x_row=x.stride(2), x=x, out=out,
        )  # fmt: skip

    def __call__(self, x: Tensor, bias: Tensor) -> Tensor:
        """x W + bias in float32: (D, R, O) from x (D, R, I) and bias (D, 1, O) or (D, R, O)."""
        assert x.shape[-1] == self._fields["inputs"] and bias.shape[-1] == self.outputs
        x, bias = (part if part.stride(-1) == 1 else part.contiguous() for part in (x.float(), bias.float()))
        out = x.new_empty(*x.shape[:2], self.outputs)
        Kernel(
            "tile_product", TileProduct, out.numel(), **self._fields, rows=x.shape[1], x_product=x.stride(0),
            x_row=x.stride(1), wide=1, bias_product=bias.stride(0), bias_row=bias.stride(1) * (bias.shape[1] > 1), x=x,
            narrowed=x.new_empty(x.shape, dtype=torch.bfloat16), bias=bias, out=out,
        )(0)  # fmt: skip
        return out


class StepProduct:
    """x_t W for the steps t of a loop that fills x; no gradient.

    In bfloat16, on a processor with a matrix unit (AMX), W is arranged for it once; elsewhere PyTorch multiplies.
    """

    def __init__(self, x: Tensor, weight: Tensor, out: Tensor) -> None:
        """Prepares the steps.

        Args:
            x: (T, D, R, I), read when a step is taken.
            weight: (D, I, O), must stay as it is.
            out: (D, R, O), contiguous; each step writes it.
        """
        self._kernel, self._x, self._weight, self._out = None, x, weight, out
        if tiles_usable(weight) and x.dtype == out.dtype == weight.dtype and x.stride(-1) == 1 and out.is_contiguous():
            self._kernel = _Tiles(weight).steps(x, out)
        elif len(weight) == 1:
            self._x, self._weight, self._out = x[:, 0], weight[0], out[0]
        else:
            self._weight = weight.contiguous()

    def __call__(self, t: int) -> None:
        """Step t: out = x_t W."""
        if self._kernel is not None:
            self._kernel(t)
        elif self._out.dim() == 2:
            torch.mm(self._x[t], self._weight, out=self._out)
        else:
            torch.bmm(self._x[t], self._weight, out=self._out)


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
        self.inputs, self.numbers = weight.shape[1], weight.numel()
        self.bias = weight.new_zeros(weight.shape[0]) if bias is None else bias.detach().clone()
        self.dtype = dtype
        self.tiles: _Tiles | None = None
        if dtype != torch.int8:
            prepared = weight.to(dtype, copy=True).t()  # (I, O)
            self.tiles = _Tiles.of(prepared[None], weight.dtype)
            if self.tiles is None:
                self.weight = prepared
            return
        quantised, steps = _quantise_rows(weight)
        self.weight, self.steps = quantised.t(), steps
        self.factor = 0.0
        if bound is not None:
            self.steps, self.factor = self.steps * (bound / LEVELS), LEVELS / bound

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """(R, O) from x (R, I); `bias` (R, O) takes the place of the bias vector."""
        bias = self.bias if bias is None else bias
        if self.tiles is not None:
            return self.tiles(x[None], bias[None] if bias.dim() == 2 else bias[None, None])[0]
        if self.dtype == bias.dtype:
            return torch.addmm(bias, x, self.weight)
        if self.dtype != torch.int8:
            return _finish(x.to(self.dtype) @ self.weight, bias)
        quantised, row_steps = _quantise(x, self.factor)
        return _finish(torch._int_mm(quantised, self.weight), bias, self.steps, row_steps)


class StackedProduct:
    """D products side by side: x_d W_d^T + bias_d."""

    def __init__(self, weight: Tensor, bias: Tensor, *, dtype: torch.dtype, bound: float) -> None:
        """Prepares weights (D, O, I) and biases (D, O); see `Product`."""
        weight, self.dtype, self.bias = weight.detach(), dtype, bias.detach().clone()[:, None]
        self.tiles: _Tiles | None = None
        if dtype != torch.int8:
            prepared = weight.to(dtype).transpose(1, 2)  # (D, I, O)
            self.tiles = _Tiles.of(prepared, weight.dtype)
            if self.tiles is None:
                self.weight = prepared.contiguous()
            return
        quantised, steps = _quantise_rows(weight.flatten(0, 1))
        self.parts = quantised.view(weight.shape).transpose(1, 2).unbind(0)
        self.steps, self.factor = steps.view(weight.shape[:2]) * (bound / LEVELS), LEVELS / bound  # (D, O)

    def __call__(self, x: Tensor) -> Tensor:
        """(D, R, O) from x (D, R, I)."""
        if self.tiles is not None:
            return self.tiles(x, self.bias)
        if self.dtype == x.dtype:
            return torch.baddbmm(self.bias, x, self.weight)
        if self.dtype != torch.int8:
            return torch.bmm(x.to(self.dtype), self.weight).to(x.dtype).add_(self.bias)
        quantised, _ = _quantise(x.flatten(0, 1), self.factor)
        parts = zip(quantised.view(x.shape), self.parts, self.bias[:, 0], self.steps, strict=True)
        return torch.stack([_finish(torch._int_mm(q, part), bias, steps) for q, part, bias, steps in parts])


def _quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """int8 numbers (R, I) of x (R, I), and the step (R,) of each row."""
    steps = x.abs().amax(-1).clamp_(min=1e-12).div_(LEVELS)
    return (x / steps[:, None]).round_().to(torch.int8), steps


def _quantise(x: Tensor, factor: float) -> tuple[Tensor, Tensor | None]:
    """int8 numbers (R, I) of x (R, I), and the step (R,) of each row; None where one over it is `factor` for all."""
    if usable(x, torch.float32) and x.stride(-1) == 1:
        rows, columns = x.shape
        out, steps = torch.empty(x.shape, dtype=torch.int8), None if factor else x.new_empty(rows)
        Kernel(
            "quantise", Rows, x.numel(), rows=rows, columns=columns, stride=x.stride(0), x=x, out=out,
            row_steps=steps, factor=factor,
        )(0)  # fmt: skip
        return out, steps
    return ((x * factor).round_().to(torch.int8), None) if factor else _quantise_rows(x)


def _finish(product: Tensor, bias: Tensor, steps: Tensor | None = None, row_steps: Tensor | None = None) -> Tensor:
    """(R, O) of a product in bfloat16, or in int32 with the steps (O,) of weights and (R,) of inputs, and a bias."""
    if usable(bias, torch.float32) and bias.stride(-1) == 1:
        out = bias.new_empty(product.shape)
        Kernel(
            "finish", Rows, product.numel(), rows=product.shape[0], columns=product.shape[1],
            stride=bias.stride(0) if bias.dim() > 1 else 0, narrow=steps is None, x=product, bias=bias, steps=steps,
            row_steps=row_steps, out=out,
        )(0)  # fmt: skip
        return out
    if steps is None:
        return product.to(bias.dtype).add_(bias)
    return torch.addcmul(bias, product if row_steps is None else product * row_steps[:, None], steps)
