"""The loop on a task small enough to follow by hand: limits, validation, resume bit for bit, signals."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seq2seq.config import OptimizationConfig, TrainingConfig
from seq2seq.errors import UserError
from seq2seq.text.batching import Batch
from seq2seq.training.trainer import MOST_SKIPPED, Interrupted, Trainer


class Regression(nn.Module):
    """Fits y = 2 x + 1; the loss of a batch is summed over its rows. Dropout makes it depend on random numbers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(1, 1)
        self.poison: set[int] = set()
        self.calls = 0

    def loss(self, batch: Batch, smoothing: float = 0.0) -> tuple[Tensor, int]:
        self.calls += 1
        x = batch.source.float()
        y = nn.functional.dropout(self.layer(x), 0.1, self.training)
        total = ((y - (2 * x + 1)) ** 2).sum()
        return total * (torch.inf if self.calls in self.poison else 1.0), len(x)


class RegressionTask:
    """Ten batches of four numbers an epoch."""

    unit = "numbers"

    def __init__(self) -> None:
        self.saved: list[dict[str, Any]] = []
        self.seen: list[list[int]] = []
        self.scores: list[float] = []

    def order(self, epoch: int) -> list[np.ndarray]:
        return list(np.random.default_rng(epoch).permutation(40).reshape(10, 4))

    def batches(self, order: list[np.ndarray], epoch: int, start: int) -> Iterator[Batch]:
        for index in order[start:]:
            self.seen.append(index.tolist())
            x = torch.as_tensor(index)[:, None] / 40
            yield Batch(x, x, x, x)

    def validate(self, model: nn.Module) -> dict[str, float]:
        assert not model.training
        weight = model.layer.weight.item()
        return {"loss": abs(weight - 2), "bleu": self.scores.pop(0) if self.scores else -abs(weight - 2)}

    def save(self, tensors: dict[str, Tensor], metrics: dict[str, Any]) -> None:
        self.saved.append({"weight": tensors["layer.weight"].clone(), **metrics})


def _trainer(directory: Path, task: RegressionTask, **options: Any) -> Trainer:
    directory.mkdir(exist_ok=True)
    optimization = OptimizationConfig(warmup_steps=5, learning_rate=0.05, ema_decay=0.9)
    training = TrainingConfig(output=str(directory), max_epochs=3)
    for section in (optimization, training):
        names = {f.name for f in dataclasses.fields(section)} & options.keys()
        changed = dataclasses.replace(section, **{name: options[name] for name in names})
        optimization, training = (changed, training) if section is optimization else (optimization, changed)
    return Trainer(Regression(), task, optimization, training, torch.float32, lambda text: None)


def test_learns_and_keeps_the_best_averaged_weights(tmp_path: Path) -> None:
    task = RegressionTask()
    task.scores = [1.0, 3.0, 2.0]
    trainer = _trainer(tmp_path, task)
    progress = trainer.run()
    assert (progress.step, progress.epoch, progress.best, progress.best_step) == (30, 3, 3.0, 20)
    assert [saved["step"] for saved in task.saved] == [10, 20]  # the third validation was worse
    assert abs(trainer.model.layer.weight.item() - 2) < 1.5
    # what is saved is the average, not the last weights
    assert not torch.equal(task.saved[-1]["weight"], trainer.model.layer.weight)
    assert sorted(map(sorted, task.seen[:10])) != sorted(map(sorted, task.seen[10:20]))


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"max_epochs": 2}, 20),
        ({"max_epochs": 0, "max_steps": 7}, 7),
        ({"max_epochs": 1, "max_steps": 70}, 10),
        ({"max_epochs": 2, "accumulate": 4}, 6),  # groups of 4, 4, 2
        ({"max_epochs": 9, "patience": 2}, 40),  # the second validation is the best
    ],
)
def test_limits(tmp_path: Path, options: dict[str, Any], steps: int) -> None:
    task = RegressionTask()
    task.scores = [1.0, 2.0] + [0.0] * 20
    assert _trainer(tmp_path, task, **options).run().step == steps


def test_time_limit(tmp_path: Path) -> None:
    progress = _trainer(tmp_path, RegressionTask(), max_epochs=0, max_minutes=1 / 60).run()
    assert 1.0 <= progress.seconds < 5.0 and progress.step > 10


def test_accumulation_equals_one_large_batch(tmp_path: Path) -> None:
    class Joined(RegressionTask):
        def order(self, epoch: int) -> list[np.ndarray]:
            return list(np.concatenate(super().order(epoch)).reshape(5, 8))

    parts = _trainer(tmp_path / "a", RegressionTask(), accumulate=2, max_epochs=2)
    whole = _trainer(tmp_path / "b", Joined(), max_epochs=2)
    for trainer in (parts, whole):
        torch.nn.init.constant_(trainer.model.layer.weight, 0.3)
        trainer.model.loss = _without_dropout(trainer.model)  # type: ignore[method-assign]
        trainer.run()
    torch.testing.assert_close(parts.model.layer.weight, whole.model.layer.weight)


def _without_dropout(model: Regression):
    def loss(batch: Batch, smoothing: float = 0.0) -> tuple[Tensor, int]:
        x = batch.source.float()
        return ((model.layer(x) - (2 * x + 1)) ** 2).sum(), len(x)

    return loss


@pytest.mark.parametrize("stop_at", [1, 5, 10, 13, 20, 29])
@pytest.mark.parametrize("options", [{}, {"accumulate": 3}, {"schedule": "plateau", "plateau_patience": 0}])
def test_resumed_run_equals_unbroken_bit_for_bit(tmp_path: Path, stop_at: int, options: dict[str, Any]) -> None:
    scores = [3.0, 1.0, 2.0]
    unbroken, first, second = RegressionTask(), RegressionTask(), RegressionTask()
    whole = _trainer(tmp_path / "whole", unbroken, **options)
    unbroken.scores = list(scores)
    whole.run()
    stop_at = min(stop_at, whole.progress.step - 1)  # the run with accumulation is shorter

    class Killed(Exception):
        pass

    broken = _trainer(tmp_path / "broken", first, save_every=1, **options)
    first.scores = list(scores)
    kept = broken.save_state

    def save_then_die() -> None:
        kept()
        if broken.progress.step == stop_at:
            raise Killed

    broken.save_state = save_then_die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        broken.run()
    resumed = _trainer(tmp_path / "broken", second, save_every=1, **options)
    assert resumed.resume()
    assert resumed.progress.step == stop_at
    second.scores = first.scores
    resumed.run()
    assert torch.equal(resumed.model.layer.weight, whole.model.layer.weight)
    assert torch.equal(resumed.optimization.averages["layer.weight"], whole.optimization.averages["layer.weight"])
    assert resumed.progress.best_step == whole.progress.best_step
    assert resumed.progress.reductions == whole.progress.reductions

    def log(name: str) -> list[dict[str, Any]]:
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(line).items() if "second" not in k} for line in lines]

    assert log("broken") == log("whole")


class Uneven(RegressionTask):
    """Epochs of 10, 8 and 6 batches, as budgets make them; the schedule must not depend on where a run was resumed."""

    def order(self, epoch: int) -> list[np.ndarray]:
        return super().order(epoch)[: 10 - 2 * epoch]


def test_schedule_is_the_same_after_a_resume(tmp_path: Path) -> None:
    whole = _trainer(tmp_path / "whole", Uneven(), schedule="cosine")
    whole.run()
    part = _trainer(tmp_path / "part", Uneven(), schedule="cosine", save_every=1)
    kept = part.save_state

    def save_then_stop() -> None:
        kept()
        if part.progress.step == 13:  # in the second epoch
            part.signal = signal.SIGINT

    part.save_state = save_then_stop  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        part.run()
    resumed = _trainer(tmp_path / "part", Uneven(), schedule="cosine")
    assert resumed.resume() and resumed.progress.epoch == 1
    resumed.run()
    assert torch.equal(resumed.model.layer.weight, whole.model.layer.weight)


def test_resume_without_a_checkpoint(tmp_path: Path) -> None:
    assert not _trainer(tmp_path, RegressionTask()).resume()


def test_poisoned_steps_are_skipped_and_counted(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, RegressionTask(), max_epochs=1)
    trainer.model.poison = {3, 4}  # type: ignore[assignment]
    progress = trainer.run()
    assert progress.skipped == 2 and torch.isfinite(trainer.model.layer.weight).all()


def test_gives_up_when_nothing_is_finite(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, RegressionTask(), max_epochs=9)
    trainer.model.poison = set(range(1000))  # type: ignore[assignment]
    with pytest.raises(UserError, match=f"not finite {MOST_SKIPPED} steps in a row; lower --learning-rate"):
        trainer.run()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_finishes_the_step_and_saves(tmp_path: Path, number: signal.Signals) -> None:
    trainer = _trainer(tmp_path, RegressionTask(), max_epochs=0, max_minutes=1)
    before = signal.getsignal(number)
    threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
    with pytest.raises(Interrupted) as stopped:
        trainer.run()
    assert stopped.value.code == 128 + number
    assert signal.getsignal(number) == before
    resumed = _trainer(tmp_path, RegressionTask(), max_epochs=0, max_minutes=1)
    assert resumed.resume() and resumed.progress.step == trainer.progress.step > 0
    assert torch.equal(resumed.model.layer.weight, trainer.model.layer.weight)


def test_seed_decides_the_weights(tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trainer = _trainer(tmp_path / name, RegressionTask(), seed=seed)
        trainer.run()
        weights.append(trainer.model.layer.weight.item())
    assert weights[0] == weights[1] != weights[2]
