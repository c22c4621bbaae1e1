"""Optimizers, learning-rate schedules, clipping and averaged weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from seq2seq.config import OptimizationConfig

# the average moves once in so many steps, by the decay to that power: a pass over all weights less often
AVERAGE_EVERY = 4


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether decay applies: matrices, not biases (some of which have a leading axis of directions)."""
    return parameter.ndim >= 2 and "bias" not in name


class LayerRates(NamedTuple):
    """Learning rates by layer (Howard & Ruder 2018, arXiv:1801.06146): lower layers move less, and begin later."""

    depths: Mapping[str, int]
    """How far below the head each parameter lies; 0 for those not named."""
    decay: float = 1.0
    """Factor from one layer to the next below it."""
    unfreeze_epochs: float = 0.0
    """Epochs from the first steps of one layer to those of the next below it."""

    def share(self, depth: int, epoch: float) -> float:
        """A layer's share of the learning rate in an epoch (from 0)."""
        return self.decay**depth if epoch >= depth * self.unfreeze_epochs else 0.0


def build_optimizer(
    model: nn.Module, config: OptimizationConfig, layers: LayerRates | None = None
) -> torch.optim.Optimizer:
    """The optimizer named in the configuration, over all parameters that train.

    AdamW applies its own decoupled weight decay to matrices; for the others see `Optimization.step`. Each group of
    parameters has its `depth`.
    """
    depths = layers.depths if layers is not None else {}
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = []
    for depth, matrices in product(sorted({depths.get(name, 0) for name, _ in trained}), (True, False)):
        chosen = [p for name, p in trained if (depths.get(name, 0), is_matrix(name, p)) == (depth, matrices)]
        groups.append({"params": chosen, "depth": depth, **({} if matrices else {"weight_decay": 0.0})})
    lr, eps = config.learning_rate, config.epsilon
    match config.optimizer:
        case "adamw":
            betas = (config.beta1, config.beta2)
            return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps, weight_decay=config.weight_decay, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=lr, betas=(config.beta1, config.beta2), eps=eps, fused=True)
        case "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=config.beta1, fused=True)
        case "adadelta":
            return torch.optim.Adadelta(groups, lr=lr, rho=config.rho, eps=eps)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=lr, alpha=config.rho, eps=eps, momentum=config.beta1)


def learning_rate(config: OptimizationConfig, step: int, progress: float, reductions: int) -> float:
    """Learning rate of a step.

    Args:
        config: Peak, schedule and warm-up.
        step: From 0.
        progress: Share of the training that is done, in [0, 1]; cosine and linear follow it.
        reductions: How often the plateau schedule has reduced the rate.
    """
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps > 0 else 1.0
    progress, final = min(progress, 1.0), config.final_rate
    match config.schedule:
        case "inverse_sqrt":
            warmup = max(config.warmup_steps, 1)
            shape = math.sqrt(warmup / max(step + 1, warmup))
        case "cosine":
            shape = final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2
        case "linear":
            shape = final + (1 - final) * (1 - progress)
        case "plateau":
            shape = config.plateau_factor**reductions
        case _:
            shape = 1.0
    return config.learning_rate * warm * shape


class Optimization:
    """Takes the summed gradients of a step to the next weights."""

    def __init__(self, model: nn.Module, config: OptimizationConfig, layers: LayerRates | None = None) -> None:
        self.config = config
        self.layers = layers or LayerRates({})
        self.optimizer = build_optimizer(model, config, layers)
        # fused optimizers divide gradients on their way, which saves a pass, where nothing else needs them divided
        self.divides = bool(self.optimizer.defaults.get("fused")) and config.clip_value <= 0 and config.l2 <= 0
        self.named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.averages = {name: p.detach().clone() for name, p in self.named.items()} if config.ema_decay > 0 else {}

    @torch.no_grad()
    def step(self, count: float, rate: float, epoch: float = 0.0) -> float:
        """One update from gradients that are sums over `count` target tokens (or texts); gradients are cleared.

        The mean gradient of several processes is a sum over their mean count, which need be no whole number.

        Returns:
            The gradient's global norm before clipping; where it is not finite nothing has moved.
        """
        parameters = list(self.named.values())
        grads = [p.grad for p in parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads).item() / count
        if math.isfinite(norm):
            clip = self.config.clip_norm
            scale = min(1.0, clip / (norm + 1e-12)) if clip > 0 else 1.0
            if self.divides:
                divisor = torch.tensor(count / scale, dtype=torch.float32, device=grads[0].device)
                self.optimizer.grad_scale = divisor  # type: ignore[attr-defined]  # as `torch.amp.GradScaler` sets it
            else:
                torch._foreach_mul_(grads, scale / count)
            if self.config.clip_value > 0:
                torch._foreach_clamp_min_(grads, -self.config.clip_value)
                torch._foreach_clamp_max_(grads, self.config.clip_value)
            self._decay(rate)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * self.layers.share(group["depth"], epoch)
            self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def _decay(self, rate: float) -> None:
        for name, p in self.named.items():
            if p.grad is None or not is_matrix(name, p):
                continue
            if self.config.l2 > 0:
                p.grad.add_(p, alpha=self.config.l2)
            if self.config.weight_decay > 0 and self.config.optimizer != "adamw":
                p.mul_(1 - rate * self.config.weight_decay)

    @torch.no_grad()
    def average(self, step: int) -> None:
        """Moves the averaged weights after step number `step` (from 1).

        The decay grows from 0 to its value, so that the random first weights do not stay in the average.
        """
        if self.averages and step % AVERAGE_EVERY == 0:
            decay = min(self.config.ema_decay, (1 + step) / (10 + step)) ** AVERAGE_EVERY
            get_ema_multi_avg_fn(decay)(list(self.averages.values()), list(self.named.values()), step)

    def state(self) -> dict[str, Tensor]:
        """Moments of the optimizer and averaged weights, by name."""
        tensors = {f"average/{name}": value for name, value in self.averages.items()}
        for name, p in self.named.items():
            for key, value in self.optimizer.state.get(p, {}).items():
                if value is not None:
                    tensors[f"optimizer/{key}/{name}"] = torch.as_tensor(value)
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Takes back what `state` gave, after the weights; where there were no averages, they begin at the weights.

        Raises:
            KeyError: Moments of a parameter that is not there, or does not learn.
        """
        for name, average in self.averages.items():
            average.copy_(tensors.get(f"average/{name}", self.named[name]).detach())
        for full, value in tensors.items():
            kind, _, name = full.partition("/")
            if kind == "optimizer":
                key, _, name = name.partition("/")
                self.optimizer.state[self.named[name]][key] = value.clone()
