"""The training loop, for every task: a model answers `loss(batch) -> (sum, count)`, the task validates and saves."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from seq2seq.checkpoint import TrainingState, load_training_state, save_training_state
from seq2seq.config import OptimizationConfig, RunConfig
from seq2seq.errors import UserError
from seq2seq.training.optim import LayerRates, Optimization, learning_rate

# steps in a row whose gradient is not finite before training gives up
MOST_SKIPPED = 20


class Interrupted(SystemExit):
    """A signal asked the training to stop; the state is saved. Its code is the one that shells give such an end."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class Batch(Protocol):
    """What a model learns from in one pass."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""


class Task(Protocol):
    """What the loop needs to know of translation or classification."""

    unit: str
    """What the loss is counted by, such as tok(ens) or texts."""

    def order(self, epoch: int) -> list[np.ndarray]:
        """The batches of an epoch, as indices; a function of seed and epoch alone."""

    def batches(self, order: list[np.ndarray], epoch: int, start: int) -> Iterator[Any]:
        """Those batches from position `start` on."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Scores of a model in evaluation mode; prints samples itself."""

    def save(self, tensors: dict[str, Tensor], metrics: dict[str, Any]) -> None:
        """Writes the best model so far."""


@dataclass
class Progress:
    """Where a run stands; all of it goes into a checkpoint."""

    step: int = 0
    epoch: int = 0
    position: int = 0  # batches of this epoch already used
    seconds: float = 0.0
    tokens: int = 0
    best: float | None = None
    best_step: int = 0
    bad_validations: int = 0  # since the best one
    stale_validations: int = 0  # since the best one or the last reduction of the learning rate
    reductions: int = 0
    skipped: int = 0
    validated_step: int = 0
    log_bytes: int = 0  # length of metrics.jsonl at the checkpoint


@dataclass
class Window:
    """Sums since the last log line."""

    loss: float = 0.0
    tokens: int = 0
    start: float = field(default_factory=time.perf_counter)

    def summary(self) -> tuple[float, float]:
        """Loss per token in nats, and target tokens per second."""
        return self.loss / max(self.tokens, 1), self.tokens / max(time.perf_counter() - self.start, 1e-9)


class Trainer:
    """Runs a task's training; resumable at any checkpoint, bit for bit on a CPU with the same number of threads."""

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        optimization: OptimizationConfig,
        training: RunConfig,
        precision: torch.dtype,
        say: Callable[[str], None],
        layers: LayerRates | None = None,
    ) -> None:
        self.model, self.task, self.say = model, task, say
        self.config, self.training = optimization, training
        self.directory = Path(training.output)
        self.optimization = Optimization(model, optimization, layers)
        self.progress, self.window = Progress(), Window()
        self.device = next(model.parameters()).device
        self.autocast = torch.autocast(self.device.type, precision, enabled=precision != torch.float32)
        self.signal: int | None = None
        self.skipped_in_a_row = 0
        self.started = time.perf_counter()
        self.total_steps = 0
        self.board: Any = None

    # ---------------------------------------------------------------- the loop

    def run(self) -> Progress:
        """Trains until a limit is reached, and returns where it stands then.

        Raises:
            Interrupted: SIGINT or SIGTERM came; the step was finished and the state saved.
            UserError: The loss stays non-finite.
        """
        training, progress = self.training, self.progress
        order = self.task.order(progress.epoch)
        # of the first epoch, wherever this run begins: epochs differ by some batches, the schedule must not
        self.total_steps = self._total_steps(len(order if progress.epoch == 0 else self.task.order(0)))
        self.started = time.perf_counter() - progress.seconds
        if training.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(self.directory / "tensorboard"))
        self.model.train()
        with self._signals(), self._bar() as bar:
            while not self._finished():
                for batches in self._steps(order):
                    self._advance(batches, len(order), bar)
                    if self._finished():
                        break
                order = self.task.order(progress.epoch)
            if progress.validated_step != progress.step:
                self._validate()
        if self.board is not None:
            self.board.close()
        return progress

    def _advance(self, batches: list[Batch], epoch_length: int, bar: tqdm) -> None:
        """One step and all that is due after it: log, validation, checkpoint."""
        training, progress = self.training, self.progress
        rate = learning_rate(self.config, progress.step, self._done(), progress.reductions)
        loss, tokens, norm = self._step(batches, rate, progress.epoch + progress.position / epoch_length)
        progress.step += 1
        progress.position += len(batches)
        self.optimization.average(progress.step)
        self._count(loss, tokens, norm)
        self._show(bar, rate, norm)
        if progress.position >= epoch_length:
            progress.epoch, progress.position = progress.epoch + 1, 0
        if self._due(training.validate_every, epoch_over=progress.position == 0):
            self._validate()
        elif training.save_every > 0 and progress.step % training.save_every == 0:
            self.save_state()
        if self.signal is not None:
            self.save_state()
            raise Interrupted(self.signal)

    def _steps(self, order: list[np.ndarray]) -> Iterator[list[Batch]]:
        """The rest of an epoch's batches, in groups of `accumulate`."""
        group: list[Batch] = []
        for batch in self.task.batches(order, self.progress.epoch, self.progress.position):
            group.append(batch)
            if len(group) == self.config.accumulate:
                yield group
                group = []
        if group:
            yield group

    def _step(self, batches: list[Batch], rate: float, epoch: float) -> tuple[float, int, float]:
        """Forward, backward, update. Returns the summed loss, target tokens and the gradient's norm."""
        # Seeding each step makes dropout a function of (seed, step), so that no generator state need be saved.
        torch.manual_seed(self.training.seed * 1_000_003 + self.progress.step)
        total, tokens = 0.0, 0
        for batch in batches:
            with self.autocast:
                loss, count = self.model.loss(batch.to(self.device), self.config.label_smoothing)  # type: ignore[operator]
            loss.backward()
            total, tokens = total + loss.item(), tokens + count
        return total, tokens, self.optimization.step(tokens, rate, epoch)

    # ---------------------------------------------------------------- limits

    def _total_steps(self, batches: int) -> int:
        """Steps of the whole run; 0 when only time limits it."""
        per_epoch = -(-batches // self.config.accumulate)
        limits = [self.training.max_steps, self.training.max_epochs * per_epoch]
        return min((limit for limit in limits if limit > 0), default=0)

    def _done(self) -> float:
        """Share of the training that is done, by steps or by time, whichever is further."""
        by_step = self.progress.step / self.total_steps if self.total_steps else 0.0
        minutes = self.training.max_minutes
        return max(by_step, self.progress.seconds / (60 * minutes) if minutes > 0 else 0.0)

    def _finished(self) -> bool:
        training, progress = self.training, self.progress
        progress.seconds = time.perf_counter() - self.started
        return (
            0 < training.max_steps <= progress.step
            or 0 < training.max_epochs <= progress.epoch
            or 0 < training.max_minutes * 60 <= progress.seconds
            or 0 < training.patience <= progress.bad_validations
        )

    def _due(self, every: int, epoch_over: bool) -> bool:
        return self.progress.step % every == 0 if every > 0 else epoch_over

    # ---------------------------------------------------------------- validation and saving

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The model in evaluation mode, with averaged weights where averaging is on; back to training after."""
        kept = {name: p.detach().clone() for name, p in self.optimization.named.items()}
        self._put(self.optimization.averages)
        self.model.eval()
        try:
            yield
        finally:
            self._put(kept)
            self.model.train()

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.optimization.named[name].copy_(value)

    def _validate(self) -> None:
        progress, metric = self.progress, self.training.validation_metric
        with self.averaged():
            scores = self.task.validate(self.model)
            score = -scores["loss"] if metric == "loss" else scores[metric]
            best = progress.best is None or score > progress.best
            if best:
                progress.best, progress.best_step = score, progress.step
                progress.bad_validations = progress.stale_validations = 0
                metrics = {"step": progress.step, "epoch": progress.epoch, "valid": scores}
                self.task.save(dict(self.model.state_dict()), metrics | {"minutes": round(progress.seconds / 60, 2)})
        if not best:
            progress.bad_validations += 1
            progress.stale_validations += 1
            if self.config.schedule == "plateau" and progress.stale_validations > self.config.plateau_patience:
                progress.reductions += 1
                progress.stale_validations = 0
        self._log({"valid": scores, "best": best})
        shown = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
        self.say(f"step {progress.step}, epoch {progress.epoch}: {shown}{'  (best so far)' if best else ''}")
        progress.validated_step = progress.step
        self.save_state()
        self.window = Window()

    def save_state(self) -> None:
        """Writes a checkpoint from which `resume` goes on."""
        log = self.directory / "metrics.jsonl"
        self.progress.log_bytes = log.stat().st_size if log.exists() else 0
        self.progress.seconds = time.perf_counter() - self.started
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        values = {"progress": vars(self.progress)}
        save_training_state(
            self.directory, self.progress.step, TrainingState(tensors | self.optimization.state(), values)
        )

    def resume(self) -> bool:
        """Goes back to the last checkpoint of the directory; False when there is none."""
        state = load_training_state(self.directory)
        if state is None:
            return False
        weights = {name[6:]: value for name, value in state.tensors.items() if name.startswith("model/")}
        self.model.load_state_dict(weights)
        self.optimization.load_state(state.tensors)
        self.progress = Progress(**state.values["progress"])
        log = self.directory / "metrics.jsonl"
        if log.exists():
            with open(log, "r+b") as file:
                file.truncate(self.progress.log_bytes)
        return True

    # ---------------------------------------------------------------- telling

    def _count(self, loss: float, tokens: int, norm: float) -> None:
        progress = self.progress
        progress.tokens += tokens
        if math.isfinite(norm):
            self.skipped_in_a_row = 0
            self.window.loss += loss
            self.window.tokens += tokens
            return
        progress.skipped += 1
        self.skipped_in_a_row += 1
        self.say(f"step {progress.step}: the gradient is not finite, step skipped ({progress.skipped} so far)")
        if self.skipped_in_a_row >= MOST_SKIPPED:
            raise UserError(
                f"the gradient was not finite {MOST_SKIPPED} steps in a row; lower --learning-rate or --clip-norm, or "
                "try --precision float32. The last checkpoint is intact"
            )

    def _show(self, bar: tqdm, rate: float, norm: float) -> None:
        progress, limits = self.progress, self.training
        progress.seconds = time.perf_counter() - self.started
        loss, speed = self.window.summary()
        bar.n = min(round(self._done() * 1000), 1000)
        left = progress.seconds * (1 - self._done()) / max(self._done(), 1e-9)
        bar.set_postfix_str(
            f"step {progress.step}, loss {loss:.3f}, {speed:,.0f} {self.task.unit}/s, {_clock(left)} left",
            refresh=False,
        )
        bar.update(0)
        if limits.log_every > 0 and progress.step % limits.log_every == 0:
            self._log(
                {
                    "loss": loss,
                    "learning_rate": rate,
                    "tokens_per_second": speed,
                    "gradient_norm": norm,
                    "skipped": progress.skipped,
                }
            )
            self.window = Window()

    def _log(self, values: dict[str, Any]) -> None:
        progress = self.progress
        line = {"step": progress.step, "epoch": progress.epoch, "seconds": round(progress.seconds, 2), **values}
        with open(self.directory / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.board is not None:
            for name, value in (values | values.get("valid", {})).items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    self.board.add_scalar(f"{'valid' if 'valid' in values else 'train'}/{name}", value, progress.step)

    def _bar(self) -> tqdm:
        form = "{percentage:3.0f}%|{bar:20}| {postfix}"
        return tqdm(total=1000, bar_format=form, disable=not sys.stderr.isatty(), mininterval=0.5, leave=False)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Notes SIGINT and SIGTERM instead of dying in the middle of a step; a second one is obeyed at once."""
        kept: dict[int, Any] = {}

        def note(number: int, _: object) -> None:
            self.signal = number
            for known, handler in kept.items():
                signal.signal(known, handler)
            self.say("stopping after this step; once more to stop at once")

        with contextlib.suppress(ValueError):  # signals reach the main thread only
            for wanted in (signal.SIGINT, signal.SIGTERM):
                kept[wanted] = signal.signal(wanted, note)
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(min(seconds, 359_999)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
