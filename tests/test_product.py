"""Prepared products against plain ones, int8 also against integers added up in a loop."""

from __future__ import annotations

import contextlib

import pytest
import torch

from seq2seq.nn import kernels
from seq2seq.nn.product import LEVELS, Product, StackedProduct, StepProduct

R, I, O = 6, 40, 30  # noqa: E741
INT8 = pytest.mark.skipif(not hasattr(torch, "_int_mm"), reason="this PyTorch has no int8 product")


def _draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_floats_are_the_plain_product():
    for dtype in (torch.float32, torch.float64):
        weight, bias, x, other = (_draw(*shape).to(dtype) for shape in ((O, I), (O,), (R, I), (R, O)))
        torch.testing.assert_close(Product(weight, bias, dtype=dtype)(x), x @ weight.t() + bias)
        torch.testing.assert_close(Product(weight, dtype=dtype)(x), x @ weight.t())
        torch.testing.assert_close(Product(weight, bias, dtype=dtype)(x, other), x @ weight.t() + other)


def test_bfloat16_rounds_the_factors_and_gives_float32():
    weight, bias, x = _draw(O, I), _draw(O), _draw(R, I)
    found = Product(weight, bias, dtype=torch.bfloat16)(x)
    exact = x.bfloat16().double() @ weight.bfloat16().double().t() + bias
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0.01, atol=0.05)
    assert not torch.equal(found, Product(weight, bias, dtype=torch.float32)(x))


@INT8
@pytest.mark.parametrize("bound", [1.0, 3.0, None])
def test_int8_is_the_sum_of_rounded_factors(bound):
    weight, bias = _draw(O, I), _draw(O)
    x = _draw(R, I).tanh() * (bound or 20.0)
    found = Product(weight, bias, dtype=torch.int8, bound=bound)(x)
    for r in range(R):
        x_step = (bound or float(x[r].abs().max())) / LEVELS
        for o in range(O):
            w_step = float(weight[o].abs().max()) / LEVELS
            total = sum(round(float(x[r, i]) / x_step) * round(float(weight[o, i]) / w_step) for i in range(I))
            # a factor that lies between two integers may be rounded to either
            assert float(found[r, o]) == pytest.approx(
                total * x_step * w_step + float(bias[o]), abs=130 * x_step * w_step
            )
    exact = x @ weight.t() + bias
    assert float((found - exact).pow(2).mean().sqrt()) < 0.02 * float(exact.std())


@INT8
def test_int8_takes_its_limits_and_zero():
    weight = torch.tensor([[1.0, -1.0], [0.0, 0.0], [1e-3, 5e-4]])
    for bound in (2.0, None):
        product = Product(weight, dtype=torch.int8, bound=bound)
        torch.testing.assert_close(
            product(torch.tensor([[2.0, -2.0]])), torch.tensor([[4.0, 0.0, 1e-3]]), rtol=0.01, atol=1e-5
        )
        assert product(torch.zeros(1, 2)).tolist() == [[0.0, 0.0, 0.0]]


@INT8
@pytest.mark.parametrize("bound", [1.0, None])
def test_a_row_does_not_depend_on_the_rows_beside_it(bound):
    product, x = Product(_draw(O, I), dtype=torch.int8, bound=bound), _draw(R, I).tanh()
    x[1] *= 0.01
    together = product(x)
    for r in range(R):
        assert torch.equal(product(x[r : r + 1])[0], together[r])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, pytest.param(torch.int8, marks=INT8)])
def test_stacked_products_are_products_side_by_side(dtype):
    weight, bias, x = _draw(2, O, I), _draw(2, O), _draw(2, R, I).tanh()
    found = StackedProduct(weight, bias, dtype=dtype, bound=1.0)(x)
    for d in range(2):
        expected = Product(weight[d], bias[d], dtype=dtype, bound=1.0)(x[d])
        torch.testing.assert_close(found[d], expected, rtol=1e-5, atol=1e-5 if dtype != torch.bfloat16 else 0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, pytest.param(torch.int8, marks=INT8)])
def test_weights_are_those_of_when_it_was_made(dtype):
    weight, bias, x = _draw(O, I), _draw(O), _draw(R, I).tanh()
    product, stacked = (
        Product(weight, bias, dtype=dtype, bound=1.0),
        StackedProduct(weight[None], bias[None], dtype=dtype, bound=1.0),
    )
    before = product(x), stacked(x[None])
    weight.zero_(), bias.zero_()
    assert torch.equal(product(x), before[0]) and torch.equal(stacked(x[None]), before[1])


def _near(found: torch.Tensor, exact: torch.Tensor, relative: float):
    assert found.shape == exact.shape
    assert float((found.double() - exact).abs().max()) <= relative * float(exact.abs().max())


@pytest.mark.parametrize("rows", [1, 5, 16, 17, 32, 40, 49, 104])
@pytest.mark.parametrize(("directions", "inputs", "outputs"), [(1, 64, 32), (2, 96, 80), (1, 32, 7), (3, 40, 33)])
def test_steps_of_a_loop(monkeypatch, rows: int, directions: int, inputs: int, outputs: int):
    """On tiles where there are some, of whole blocks and of parts of them; x a part of something larger."""
    monkeypatch.setattr(kernels, "THREADED", 1)
    whole = _draw(3, directions, rows, inputs + 24).bfloat16()
    weight = _draw(directions, inputs, outputs).bfloat16()
    exact = whole[..., 8:-16].double() @ weight.double()
    for stored in (weight, weight.transpose(1, 2).contiguous().transpose(1, 2)):
        for way in (contextlib.nullcontext(), kernels.without()):
            x, out = whole.clone()[..., 8:-16], torch.full((directions, rows, outputs), torch.nan).bfloat16()
            with way:
                multiply = StepProduct(x, stored, out)
                for t in (2, 0, 1):
                    multiply(t)
                    _near(out, exact[t], 0.01)
                x[1, :, 0] = torch.nan  # in one row, in which alone it is to be found again
                multiply(1)
            assert torch.isnan(out[:, 0]).all() and not torch.isnan(out[:, 1:]).any()


def test_other_types_in_the_steps_of_a_loop():
    for directions in (1, 2):
        x, weight, out = _draw(2, directions, 5, 32), _draw(directions, 32, 64), torch.empty(directions, 5, 64)
        multiply = StepProduct(x, weight, out)
        multiply(1)
        torch.testing.assert_close(out, x[1] @ weight)


@pytest.mark.parametrize(("rows", "outputs"), [(1, 64), (5, 50), (33, 7), (70, 96)])
def test_bfloat16_on_tiles(monkeypatch, rows: int, outputs: int):
    """The same to float32's rounding, with any number of threads and of rows beside it."""
    monkeypatch.setattr(kernels, "THREADED", 1)
    weight, bias, x = _draw(outputs, 64), _draw(outputs), _draw(rows, 80)[:, 8:72]
    rows_of_bias = _draw(rows, 2 * outputs)
    exact = x.bfloat16().double() @ weight.bfloat16().double().t()
    product, stacked = Product(weight, bias, dtype=torch.bfloat16), weight.view(1, outputs, 64).repeat(2, 1, 1)
    if product.tiles is None:
        pytest.skip("no matrix unit (AMX) on this machine, or no compiled kernels")
    _near(product(x), exact + bias, 1e-6)
    _near(product(x, rows_of_bias[:, outputs:]), exact + rows_of_bias[:, outputs:], 1e-6)
    both = StackedProduct(stacked, torch.stack((bias, -bias)), dtype=torch.bfloat16, bound=1.0)
    _near(both(torch.stack((x, x))), torch.stack((exact + bias, exact - bias)), 1e-6)
    together, before = product(x), torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert torch.equal(product(x), together)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(product(x[i : i + 1])[0], together[i]) for i in range(rows))
