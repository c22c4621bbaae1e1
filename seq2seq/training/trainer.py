"""The training loop, for every task: a model answers `loss(batch) -> (sum, count)`, the task validates and saves.

What a run does is a function of its options, its text, the number of threads and the type of products, wherever it was
stopped and resumed; with `max_minutes`, of the clock too. Several processes (see `distributed`) go through the same
steps together, in each of which they differ in nothing but their share of the batch and what dropout leaves out of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from seq2seq.checkpoint import TrainingState, load_training_state, save_training_state
from seq2seq.config import OptimizationConfig, RunConfig
from seq2seq.errors import ModelDirectoryError, UserError
from seq2seq.training.distributed import ALONE, World
from seq2seq.training.gradients import Batch, free_memory, sum_gradients
from seq2seq.training.interrupt import Interrupted, Noted, noted_signals
from seq2seq.training.log import MetricsLog
from seq2seq.training.optim import LayerRates, Optimization, learning_rate
from seq2seq.training.progress import Progress, Window, restored

# what one process' seeds are apart from the next one's
RANKS = 2**40

# batches that tell whether a run goes on with the text that it began with
CHECKED = 10_000

# steps in a row whose loss or gradient is not finite before training gives up
MOST_SKIPPED = 20


class Task(Protocol):
    """What the loop needs to know of translation or classification."""

    unit: str
    """What the loss is counted by, such as tok(ens) or texts."""

    def order(self, epoch: int) -> Sequence[np.ndarray]:
        """The batches of an epoch, as indices; a function of seed and epoch alone."""

    def batches(self, order: Sequence[np.ndarray], epoch: int, start: int) -> Iterator[Any]:
        """Those batches from position `start` on, or this process' shares of them (None where it has none)."""

    def learned(self, batch: Any, model: nn.Module) -> Sequence[Any]:
        """What the model, as it stands, learns from in the place of one of these batches: that batch, and more."""

    def place(self, epoch: int) -> Any:
        """What a checkpoint keeps (JSON) so that an epoch's text is found again; None where nothing is needed."""

    def go_to(self, epoch: int, place: Any) -> None:
        """The inverse of `place`, in a run that goes on."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Scores of a model in evaluation mode, all processes working together; prints samples itself.

        None at all where there is nothing to validate on; the last model is kept then.
        """

    def save(self, tensors: dict[str, Tensor], metrics: dict[str, Any]) -> None:
        """Writes the best model so far."""


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
        about: Mapping[str, Any] | None = None,
        world: World = ALONE,
        recorded: bool = True,
    ) -> None:
        """See `seq2seq.app.run`.

        Args:
            about: What metrics.json says beside the scores.
            recorded: Without, neither log nor checkpoints are written: a training that is done once more if it is
                stopped.
        """
        self.recorded = recorded and world.leads
        self.model, self.task, self.say = model, task, say
        self.world = world
        self.learner = model  # until the run begins
        self.config, self.training, self.about = optimization, training, about or {}
        self.directory = Path(training.output)
        self.log = MetricsLog(self.directory)
        self.optimization = Optimization(model, optimization, layers)
        self.progress, self.window = Progress(), Window()
        self.device = next(model.parameters()).device
        self.autocast = torch.autocast(self.device.type, precision, enabled=precision != torch.float32)
        self.stop = Noted()
        self.started = time.perf_counter()
        self.clock = 0.0  # of the run, as all processes saw it last
        self.total_steps = self.until = 0
        self.batches: str | None = None  # a checksum of the first epoch's

    # ---------------------------------------------------------------- the loop

    def run(self, until: int = 0) -> Progress:
        """Trains until a limit is reached, and returns where it stands then.

        Args:
            until: A step to stop at, though the schedule goes by the limits; 0: none.

        Raises:
            Interrupted: A signal came (see `interrupt`); the step was finished and the state saved.
            UserError: The loss stays non-finite.
            SystemExit: The same, in all processes but the first.
        """
        training, progress, self.until = self.training, self.progress, until
        self.started, self.clock = time.perf_counter() - progress.seconds, progress.seconds
        order = self._begin()
        self.model.train()
        self.learner = self.world.learner(self.model)
        with noted_signals() as self.stop, self._bar() as bar:
            while not self._finished():
                for batches in self._steps(order):
                    self._advance(batches, len(order), bar)
                    if self._finished():
                        break
                order = self.task.order(progress.epoch)
            if progress.validated_step != progress.step:
                self._validate()
        self.log.close()
        if not progress.best_step:
            raise self.world.failure(
                f"no validation gave a finite {training.validation_metric}, so no model was written; lower "
                "--learning-rate, or try --precision float32"
            )
        return progress

    def _begin(self) -> Sequence[np.ndarray]:
        """The batches to go on with, limits, and a first checkpoint: what cannot be written is found out at once."""
        progress, first = self.progress, self.task.order(0)
        order = self.task.order(progress.epoch) if progress.epoch else first
        # of the first epoch, wherever this run begins: epochs differ by some batches, the schedule must not
        self.total_steps = self._total_steps(len(first))
        digest = hashlib.sha256()
        for index in itertools.islice(first, CHECKED):
            digest.update(index.astype("<i8").tobytes() + b";")
        checksum = digest.hexdigest()
        if self.batches not in (None, checksum):
            self.say("text, seed or batch sizes are not those the run began with: its batches are others from here on")
        if progress.position >= len(order):  # the epoch is shorter now
            progress.epoch, progress.position = progress.epoch + 1, 0
            order = self.task.order(progress.epoch)
        self.batches = checksum
        if self.training.tensorboard and self.recorded:
            self.log.open_board(progress.step)
        if progress.step == 0:
            self.save_state()
        return order

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
        if self.stop.number is not None:
            self.save_state()
            raise Interrupted(self.stop.number)

    def _steps(self, order: Sequence[np.ndarray]) -> Iterator[list[Batch]]:
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
        """Forward, backward, update. Returns the summed loss, target tokens and the gradient's norm.

        Where the loss or the gradient is not finite, nothing has moved and the norm is not finite.

        Raises:
            UserError: There is not memory enough, not even for the batches in halves.
        """
        own = self._gradients(batches) or self._gradients_of_halves(batches)
        total, tokens = self._together(*own)
        if not math.isfinite(total):
            self.optimization.optimizer.zero_grad()
            return total, tokens, math.nan
        # several processes leave the mean of their gradients
        return total, tokens, self.optimization.step(tokens / self.world.size, rate, epoch)

    def _together(self, total: float, tokens: int) -> tuple[float, int]:
        """Loss and tokens of all processes; clock and signals, which all must see alike, travel with them."""
        clock = time.perf_counter() - self.started if self.world.leads else 0.0
        total, count, self.clock, stopped = self.world.sums(total, tokens, clock, self.stop.number is not None)
        if stopped and self.stop.number is None:
            self.stop.signal = signal.SIGTERM
        return total, int(count)

    def _gradients(self, batches: list[Batch]) -> tuple[float, int] | None:
        learned = (part for batch in batches for part in self.task.learned(batch, self.model))
        # Seeding each step makes dropout a function of (seed, step), so that no generator state need be saved.
        torch.manual_seed((self.training.seed * 1_000_003 + self.progress.step + RANKS * self.world.rank) % 2**63)
        return sum_gradients(self.learner, learned, self.device, self.autocast, self.config.label_smoothing)

    def _gradients_of_halves(self, batches: list[Batch]) -> tuple[float, int]:
        """The same with each batch in two, once what the first try held is free: a step accumulated over the halves."""
        self.optimization.optimizer.zero_grad()
        free_memory(self.device)
        self.progress.halved += 1
        step = self.progress.step + 1
        if self.world.size > 1:  # the others wait for gradients of this very batch
            raise UserError(
                f"step {step}: process {self.world.rank} is out of memory; lower --batch-tokens (and raise "
                "--accumulate to learn from as many in a step), or start more processes, then go on with --resume"
            )
        self.say(f"step {step}: out of memory; repeated with its batches in halves ({self.progress.halved} so far)")
        halves = [half for batch in batches for half in batch.halves()]
        sums = self._gradients(halves) if len(halves) > len(batches) else None
        if sums is None:
            self.optimization.optimizer.zero_grad()
            raise UserError(
                f"step {step} does not fit into memory, not even with its batches in halves; lower --batch-tokens (and "
                "raise --accumulate to learn from as many in a step), then go on with --resume. The last checkpoint "
                "is intact"
            )
        return sums

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

    def _seconds(self) -> float:
        """How long the run has taken; several processes, which must decide alike, ask one clock."""
        return self.clock if self.world.size > 1 else time.perf_counter() - self.started

    def _finished(self) -> bool:
        training, progress = self.training, self.progress
        progress.seconds = self._seconds()
        return (
            0 < training.max_steps <= progress.step
            or 0 < self.until <= progress.step
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
            scores = self.world.word(self.task.validate(self.model))
            if scores:
                score = -scores["loss"] if metric == "loss" else scores[metric]
                best = math.isfinite(score) and (progress.best is None or score > progress.best)
            else:  # nothing to validate on: the last model is the one to keep, and any that is measured later is better
                score, best = None, True
            if best:
                progress.best, progress.best_step = score, progress.step
                progress.bad_validations = progress.stale_validations = 0
                metrics = {"step": progress.step, "epoch": progress.epoch, "valid": scores}
                metrics |= {"minutes": round(progress.seconds / 60, 2), "skipped_steps": progress.skipped, **self.about}
                if self.world.leads:
                    self.task.save(dict(self.model.state_dict()), metrics)
        if not best:
            progress.bad_validations += 1
            progress.stale_validations += 1
            if self.config.schedule == "plateau" and progress.stale_validations > self.config.plateau_patience:
                progress.reductions += 1
                progress.stale_validations = 0
        self._write({"valid": scores, "best": best})
        if scores:
            shown = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
            self.say(f"step {progress.step}, epoch {progress.epoch}: {shown}{'  (best so far)' if best else ''}")
        progress.validated_step = progress.step
        self.window = Window()
        self.save_state()

    def save_state(self) -> None:
        """Writes a checkpoint from which `resume` goes on; the first process does."""
        if not self.recorded:
            return
        self.progress.log_bytes = self.log.size()
        self.progress.seconds = self._seconds()
        tensors = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        values = {"progress": vars(self.progress), "window": self.window.to_json(), "batches": self.batches}
        values["place"] = self.task.place(self.progress.epoch)
        save_training_state(
            self.directory, self.progress.step, TrainingState(tensors | self.optimization.state(), values)
        )

    def resume(self) -> bool:
        """Goes back to the last checkpoint of the directory; False when there is none.

        Raises:
            ModelDirectoryError: The checkpoint is damaged, or is that of another model.
        """
        state = self.world.lead(lambda: load_training_state(self.directory))
        if state is None:
            return False
        weights = {name[6:]: value for name, value in state.tensors.items() if name.startswith("model/")}
        try:
            self.model.load_state_dict(weights)
            self.optimization.load_state(state.tensors)
        except (RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise ModelDirectoryError(
                f"the training state in {self.directory} is not that of this model ({reason:.200}); leave the options "
                "and the text as they were, or start anew with --overwrite"
            ) from None
        self.progress = restored(Progress, state.values.get("progress"))
        self.window = restored(Window, state.values.get("window", {}))
        self.batches = state.values.get("batches")
        self.task.go_to(self.progress.epoch, state.values.get("place"))
        if self.world.leads:
            self.log.cut(self.progress.log_bytes)
        return True

    # ---------------------------------------------------------------- telling

    def _count(self, loss: float, tokens: int, norm: float) -> None:
        progress = self.progress
        progress.tokens += tokens
        if math.isfinite(norm):
            progress.skipped_in_a_row = 0
            self.window.loss += loss
            self.window.tokens += tokens
            return
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        what = "gradient" if math.isfinite(loss) else "loss"
        self.say(f"step {progress.step}: the {what} is not finite, step skipped ({progress.skipped} so far)")
        if progress.skipped_in_a_row >= MOST_SKIPPED:
            raise self.world.failure(
                f"the {what} was not finite {MOST_SKIPPED} steps in a row; lower --learning-rate or --clip-norm, or "
                "try --precision float32, and go on with --resume. The last checkpoint is intact"
            )

    def _show(self, bar: tqdm, rate: float, norm: float) -> None:
        progress, limits = self.progress, self.training
        progress.seconds = self._seconds()
        loss, speed = self.window.loss_per_token(), self.window.speed()
        bar.n = min(round(self._done() * 1000), 1000)
        left = progress.seconds * (1 - self._done()) / max(self._done(), 1e-9)
        bar.set_postfix_str(
            f"step {progress.step}, loss {loss:.3f}, {speed:,.0f} {self.task.unit}/s, {_clock(left)} left"
            + (f", {progress.skipped} skipped" if progress.skipped else ""),
            refresh=False,
        )
        bar.update(0)
        if limits.log_every > 0 and progress.step % limits.log_every == 0:
            self._write(
                {
                    "loss": loss,
                    "learning_rate": rate,
                    "tokens_per_second": speed,
                    "gradient_norm": norm,
                    "skipped": progress.skipped,
                }
            )
            self.window = Window()

    def _write(self, values: dict[str, Any]) -> None:
        progress = self.progress
        place = {"step": progress.step, "epoch": progress.epoch, "seconds": round(progress.seconds, 2)}
        if self.recorded:
            self.log.write({**place, **values})

    def _bar(self) -> tqdm:
        form = "{percentage:3.0f}%|{bar:20}| {postfix}"
        hidden = not (sys.stderr.isatty() and self.world.leads)
        return tqdm(total=1000, bar_format=form, disable=hidden, mininterval=0.5, leave=False)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(min(seconds, 359_999)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
