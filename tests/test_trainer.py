"""The loop on a task small enough to follow by hand: limits, validation, resume bit for bit, signals."""

from __future__ import annotations

import dataclasses
import json
import math
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
from seq2seq.errors import ModelDirectoryError, UserError
from seq2seq.text.batching import Batch
from seq2seq.training.trainer import MOST_SKIPPED, Interrupted, Trainer


class Numbers(Batch):
    """Rows of numbers in the place of ids."""

    def halves(self) -> tuple[Batch, ...]:
        middle = (len(self.source) + 1) // 2
        parts = (self.source[:middle], self.source[middle:]) if middle < len(self.source) else (self.source,)
        return tuple(Numbers(x, x, x, x) for x in parts)

    def to(self, device: object) -> Batch:
        return self


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
            yield Numbers(x, x, x, x)

    def learned(self, batch: Batch, model: nn.Module) -> list[Batch]:
        return [batch]

    def place(self, epoch: int) -> dict[str, int]:
        return {"epoch": epoch}

    def go_to(self, epoch: int, place: dict[str, int]) -> None:
        assert place == {"epoch": epoch}

    def validate(self, model: nn.Module) -> dict[str, float]:
        assert not model.training
        weight = model.layer.weight.item()
        return {"loss": abs(weight - 2), "bleu": self.scores.pop(0) if self.scores else -abs(weight - 2)}

    def save(self, tensors: dict[str, Tensor], metrics: dict[str, Any]) -> None:
        self.saved.append({"weight": tensors["layer.weight"].clone(), **metrics})


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written outlasts the process anyway; only a loss of power asks for more."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


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
@pytest.mark.parametrize(
    "options",
    [{}, {"accumulate": 3, "log_every": 4}, {"schedule": "plateau", "plateau_patience": 0}, {"log_every": 7}],
)
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
            part.stop.signal = signal.SIGINT

    part.save_state = save_then_stop  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        part.run()
    resumed = _trainer(tmp_path / "part", Uneven(), schedule="cosine")
    assert resumed.resume() and resumed.progress.epoch == 1
    resumed.run()
    assert torch.equal(resumed.model.layer.weight, whole.model.layer.weight)


def test_resume_without_a_checkpoint(tmp_path: Path) -> None:
    assert not _trainer(tmp_path, RegressionTask()).resume()


def _log(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_poisoned_steps_are_skipped_counted_and_shown(tmp_path: Path) -> None:
    """Steps whose loss is not finite leave everything as it was: the run equals one in which they did not happen."""
    trainer = _trainer(tmp_path, RegressionTask(), max_epochs=1, log_every=1)
    said: list[str] = []
    trainer.say = said.append
    trainer.model.poison = {3, 4}  # type: ignore[assignment]
    before: dict[int, list[Tensor]] = {}
    plain = trainer._step

    def step(*arguments: Any) -> Any:
        number = trainer.progress.step + 1
        before[number] = [trainer.model.layer.weight.clone(), *trainer.optimization.state().values()]
        before[number] = [value.clone() for value in before[number]]
        return plain(*arguments)

    trainer._step = step  # type: ignore[method-assign]
    progress = trainer.run()
    assert progress.skipped == 2 and progress.skipped_in_a_row == 0
    averages = len(trainer.optimization.averages)
    assert averages and all(map(torch.equal, before[3][:1], before[5][:1]))
    moments = [[value for name, value in zip(["weight", *trainer.optimization.state()], kept, strict=False)
                if name.startswith("optimizer")] for kept in (before[3], before[5])]  # fmt: skip
    assert moments[0] and all(map(torch.equal, *moments))
    assert not torch.equal(before[5][0], before[6][0])
    assert [line for line in said if "skipped" in line] == [
        "step 3: the loss is not finite, step skipped (1 so far)",
        "step 4: the loss is not finite, step skipped (2 so far)",
    ]
    lines = [line for line in _log(tmp_path) if "loss" in line]
    assert [line["skipped"] for line in lines] == [0, 0, 1, 2, 2, 2, 2, 2, 2, 2]
    assert lines[2]["gradient_norm"] is None and all(math.isfinite(line["loss"]) for line in lines)


def test_a_gradient_that_is_not_finite_is_skipped_though_the_loss_is(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, RegressionTask(), max_epochs=1)
    said: list[str] = []
    trainer.say = said.append
    seen = 0

    def spoil(gradient: Tensor) -> Tensor:
        nonlocal seen
        seen += 1
        return gradient * torch.nan if seen in (2, 5) else gradient

    trainer.model.layer.weight.register_hook(spoil)
    assert trainer.run().skipped == 2
    assert "step 5: the gradient is not finite, step skipped (2 so far)" in said
    assert torch.isfinite(trainer.model.layer.weight).all()


def test_gives_up_when_nothing_is_finite(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, RegressionTask(), max_epochs=9, save_every=1)
    trainer.model.poison = set(range(15, 1000))  # type: ignore[assignment]
    with pytest.raises(
        UserError, match=f"the loss was not finite {MOST_SKIPPED} steps in a row; lower --learning-rate"
    ):
        trainer.run()
    resumed = _trainer(tmp_path, RegressionTask(), max_epochs=9)
    assert resumed.resume() and torch.isfinite(resumed.model.layer.weight).all()
    # those in a row are counted over a resume, too
    assert resumed.progress.skipped_in_a_row == MOST_SKIPPED - 1


def test_a_validation_that_is_not_finite_is_never_the_best(tmp_path: Path) -> None:
    task = RegressionTask()
    task.scores = [float("nan"), 1.0, float("nan")]
    assert _trainer(tmp_path, task).run().best_step == 20
    assert [saved["step"] for saved in task.saved] == [20]
    hopeless = RegressionTask()
    hopeless.scores = [float("nan")] * 3
    with pytest.raises(UserError, match="no validation gave a finite bleu, so no model was written"):
        _trainer(tmp_path / "b", hopeless).run()


class Crowded(Regression):
    """Memory is not enough for more than so many rows at once; found out in the middle of the step."""

    def __init__(self, most: int, error: Exception, late: bool) -> None:
        super().__init__()
        self.most, self.error, self.late, self.refused = most, error, late, 0

    def loss(self, batch: Batch, smoothing: float = 0.0) -> tuple[Tensor, int]:
        total, count = super().loss(batch, smoothing)
        if count > self.most:
            self.refused += 1
            if not self.late:
                raise self.error
            total.register_hook(self._refuse)
        return total, count

    def _refuse(self, gradient: Tensor) -> Tensor:
        raise self.error


class Halved(RegressionTask):
    """The same numbers in batches of two: what accumulation would be given."""

    def order(self, epoch: int) -> list[np.ndarray]:
        return [half for index in super().order(epoch) for half in np.split(index, 2)]


@pytest.mark.parametrize("late", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_out_of_memory_equals_accumulation_over_halves_bit_for_bit(tmp_path, monkeypatch, late, accumulate) -> None:
    """With dropout: its draws must not depend on what a step that failed had drawn."""
    monkeypatch.setattr("seq2seq.training.trainer.free_memory", lambda device: None)  # nothing to free, and slow
    split = _trainer(tmp_path / "split", RegressionTask(), accumulate=accumulate, max_epochs=2, log_every=1)
    split.model = Crowded(2, MemoryError(), late)
    split.optimization = type(split.optimization)(split.model, split.config)
    said: list[str] = []
    split.say = said.append
    accumulated = _trainer(tmp_path / "acc", Halved(), accumulate=2 * accumulate, max_epochs=2, log_every=1)
    steps = split.run().step
    assert accumulated.run().step == steps == split.progress.halved == split.model.refused
    assert torch.equal(split.model.layer.weight, accumulated.model.layer.weight)
    assert torch.equal(split.model.layer.bias, accumulated.model.layer.bias)
    assert split.progress.tokens == accumulated.progress.tokens
    assert [line["loss"] for line in _log(tmp_path / "split") if "loss" in line] == [
        line["loss"] for line in _log(tmp_path / "acc") if "loss" in line
    ]
    assert said[0] == "step 1: out of memory; repeated with its batches in halves (1 so far)"


@pytest.mark.parametrize("most", [0, 1])
def test_too_little_memory_for_halves_ends_with_advice(tmp_path: Path, most: int) -> None:
    trainer = _trainer(tmp_path, RegressionTask(), save_every=1)
    trainer.model = Crowded(99, MemoryError(), late=True)
    trainer.optimization = type(trainer.optimization)(trainer.model, trainer.config)
    kept = trainer.save_state

    def save_then_shrink() -> None:
        kept()
        trainer.model.most = 99 if trainer.progress.step < 4 else most

    trainer.save_state = save_then_shrink  # type: ignore[method-assign]
    with pytest.raises(
        UserError, match=r"step 5 does not fit into memory, .*lower --batch-tokens .*checkpoint is intact"
    ):
        trainer.run()
    resumed = _trainer(tmp_path, RegressionTask())
    assert resumed.resume() and resumed.progress.step == 4


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, RegressionTask())
    trainer.model = Crowded(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"), late=False)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        trainer.run()
    assert trainer.model.refused == 1


class Shorter(RegressionTask):
    """The same numbers in larger batches: four an epoch."""

    def order(self, epoch: int) -> list[np.ndarray]:
        return list(np.concatenate(super().order(epoch)).reshape(4, 10))


def test_larger_batches_after_a_resume_are_told_and_the_run_ends(tmp_path: Path) -> None:
    """The position in the epoch may then lie behind its end."""
    part = _trainer(tmp_path, RegressionTask(), max_steps=7, max_epochs=0)
    part.run()
    resumed, said = _trainer(tmp_path, Shorter()), []
    resumed.say = said.append  # type: ignore[assignment]
    assert resumed.resume()
    progress = resumed.run()
    assert (progress.epoch, progress.step) == (3, 7 + 2 * 4)
    assert said[0].startswith("text, seed or batch sizes are not those the run began with")


def test_a_checkpoint_is_written_before_the_first_step(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, RegressionTask())
    trainer._step = lambda *_: 1 / 0  # type: ignore[assignment,method-assign]
    with pytest.raises(ZeroDivisionError):
        trainer.run()
    first = _trainer(tmp_path, RegressionTask())
    assert first.resume() and first.progress.step == 0
    first.run()
    whole = _trainer(tmp_path / "whole", RegressionTask())
    whole.run()
    assert torch.equal(first.model.layer.weight, whole.model.layer.weight)


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    _trainer(tmp_path, RegressionTask(), max_epochs=1).run()
    wider = _trainer(tmp_path, RegressionTask())
    wider.model.layer = nn.Linear(2, 1)
    with pytest.raises(ModelDirectoryError, match=r"is not that of this model .*leave the options and the text"):
        wider.resume()


def test_averages_that_begin_at_a_resume_begin_at_the_weights(tmp_path: Path) -> None:
    first = _trainer(tmp_path, RegressionTask(), max_epochs=1, ema_decay=0.0)
    first.run()
    resumed = _trainer(tmp_path, RegressionTask(), ema_decay=0.9)
    assert resumed.resume()
    assert torch.equal(resumed.optimization.averages["layer.weight"], first.model.layer.weight)


def test_what_metrics_say_beside_the_scores(tmp_path: Path) -> None:
    task = RegressionTask()
    task.scores = [1.0]
    trainer = _trainer(tmp_path, task, max_epochs=1)
    trainer.about = {"seed": 1, "command": ["seq2seq"]}
    trainer.model.poison = {2}  # type: ignore[assignment]
    trainer.run()
    assert {"seed": 1, "command": ["seq2seq"], "skipped_steps": 1}.items() <= task.saved[0].items()


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
