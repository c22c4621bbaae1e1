"""Updates against PyTorch's optimizers used alone, schedules against their formulas, clipping, averages, state."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from seq2seq.config import OptimizationConfig
from seq2seq.training.optim import AVERAGE_EVERY, LayerRates, Optimization, learning_rate


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def _gradients(model: nn.Module, step: int, factor: float = 1.0) -> None:
    torch.manual_seed(100 + step)
    for p in model.parameters():
        p.grad = factor * torch.randn_like(p)


REFERENCES = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.0),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.9, 0.98), eps=1e-8),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=0.01, rho=0.95, eps=1e-8),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.95, eps=1e-8, momentum=0.9),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_equals_pytorch_with_gradients_divided_by_the_count(name: str) -> None:
    ours, theirs = _model(), _model()
    optimization = Optimization(ours, OptimizationConfig(optimizer=name, clip_norm=0.0))  # type: ignore[arg-type]
    reference = REFERENCES[name](theirs.parameters())
    for step in range(5):
        _gradients(ours, step, factor=7.0)
        _gradients(theirs, step)
        optimization.step(count=7, rate=0.01)
        reference.step()
    torch.testing.assert_close(list(ours.parameters()), list(theirs.parameters()))


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_decoupled_decay_shrinks_matrices_alone(name: str) -> None:
    decayed, plain = _model(), _model()
    for model, decay in ((decayed, 0.5), (plain, 0.0)):
        optimization = Optimization(model, OptimizationConfig(optimizer=name, weight_decay=decay, clip_norm=0.0))  # type: ignore[arg-type]
        before = model.weight.detach().clone()
        _gradients(model, 0)
        optimization.step(1, 0.1)
    torch.testing.assert_close(plain.weight - decayed.weight, 0.1 * 0.5 * before)
    torch.testing.assert_close(plain.bias, decayed.bias)


def test_l2_adds_to_the_gradient_of_matrices() -> None:
    model = _model()
    before, bias = model.weight.detach().clone(), model.bias.detach().clone()
    optimization = Optimization(model, OptimizationConfig(optimizer="sgd", l2=0.3, clip_norm=0.0, beta1=0.0))
    _gradients(model, 0)
    grad, bias_grad = model.weight.grad.clone(), model.bias.grad.clone()
    optimization.step(1, 0.1)
    torch.testing.assert_close(model.weight.detach(), before - 0.1 * (grad + 0.3 * before))
    torch.testing.assert_close(model.bias.detach(), bias - 0.1 * bias_grad)


def test_clipping_by_norm_and_value() -> None:
    for options, expected in (
        ({"clip_norm": 0.5}, lambda g, norm: g * 0.5 / norm),
        ({"clip_norm": 0.0, "clip_value": 0.3}, lambda g, norm: g.clamp(-0.3, 0.3)),
        ({"clip_norm": 1e9}, lambda g, norm: g),
    ):
        model = _model()
        before = model.weight.detach().clone()
        optimization = Optimization(model, OptimizationConfig(optimizer="sgd", beta1=0.0, **options))
        _gradients(model, 0)
        grad = model.weight.grad.clone()
        total = math.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters()))
        assert optimization.step(1, 1.0) == pytest.approx(total, rel=1e-6)
        torch.testing.assert_close(before - model.weight.detach(), expected(grad, total))


def test_a_gradient_that_is_not_finite_moves_nothing() -> None:
    model = _model()
    before = model.weight.detach().clone()
    optimization = Optimization(model, OptimizationConfig(weight_decay=0.1))
    _gradients(model, 0)
    model.weight.grad[0, 0] = math.inf
    assert not math.isfinite(optimization.step(1, 0.1))
    assert torch.equal(model.weight.detach(), before) and model.weight.grad is None


@pytest.mark.parametrize(
    ("schedule", "step", "progress", "reductions", "expected"),
    [
        ("constant", 0, 0.0, 0, 0.1),  # first of ten warm-up steps
        ("constant", 500, 0.9, 3, 1.0),
        ("cosine", 500, 0.5, 0, (1 + 0.02) / 2),
        ("cosine", 500, 1.0, 0, 0.02),
        ("cosine", 500, 1.7, 0, 0.02),  # time ran over
        ("linear", 500, 0.25, 0, 0.755),
        ("inverse_sqrt", 39, 0.0, 0, 0.5),
        ("inverse_sqrt", 4, 0.0, 0, 0.5),
        ("plateau", 500, 0.0, 2, 0.25),
    ],
)
def test_schedules(schedule: str, step: int, progress: float, reductions: int, expected: float) -> None:
    config = OptimizationConfig(schedule=schedule, learning_rate=1.0, warmup_steps=10)  # type: ignore[arg-type]
    assert learning_rate(config, step, progress, reductions) == pytest.approx(expected)


def test_average_follows_the_exponential_formula() -> None:
    model = _model()
    optimization = Optimization(model, OptimizationConfig(ema_decay=0.9))
    expected = model.weight.detach().clone()
    for step in range(1, 41):
        _gradients(model, step)
        optimization.step(1, 0.1)
        optimization.average(step)
        if step % AVERAGE_EVERY == 0:
            decay = min(0.9, (1 + step) / (10 + step)) ** AVERAGE_EVERY
            expected = decay * expected + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(optimization.averages["weight"], expected)


@pytest.mark.parametrize("name", REFERENCES)
def test_state_goes_on_where_it_stopped(name: str) -> None:
    config = OptimizationConfig(optimizer=name, ema_decay=0.9)  # type: ignore[arg-type]
    unbroken, first, second = _model(), _model(), _model()
    runs = {id(m): Optimization(m, config) for m in (unbroken, first, second)}
    for step in range(1, 9):
        if step == 5:  # a new process: weights and state are all that it has
            second.load_state_dict(first.state_dict())
            runs[id(second)].load_state(runs[id(first)].state())
        for model in (unbroken, first if step < 5 else second):
            _gradients(model, step)
            runs[id(model)].step(1, 0.01)
            runs[id(model)].average(step)
    assert torch.equal(unbroken.weight, second.weight)
    assert torch.equal(runs[id(unbroken)].averages["weight"], runs[id(second)].averages["weight"])


def test_lower_layers_move_less_and_later() -> None:
    """One plain step of SGD: how far each parameter goes is its share of the learning rate."""
    model = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(3)))
    layers = LayerRates({"0.weight": 2, "1.weight": 1}, decay=0.5, unfreeze_epochs=2.0)
    config = OptimizationConfig(optimizer="sgd", beta1=0.0, clip_norm=0.0, ema_decay=0.0)
    optimization = Optimization(model, config, layers)
    for epoch, shares in ((0.0, [0, 0, 1]), (1.9, [0, 0, 1]), (2.0, [0, 0.5, 1]), (4.5, [0.25, 0.5, 1])):
        before = [p.item() for p in model.parameters()]
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimization.step(1, 0.1, epoch)
        moved = [(old - p.item()) / 0.1 for old, p in zip(before, model.parameters(), strict=True)]
        assert moved == pytest.approx(shares, abs=1e-4)
