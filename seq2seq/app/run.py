"""What all trainings share: options checked, the output directory prepared, the machine set up, the loop run."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import importlib.util
import json
import math
import os
import reprlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import torch
from torch import nn
from tqdm import tqdm

from seq2seq import __version__, checkpoint
from seq2seq.app import output
from seq2seq.app.environment import environment
from seq2seq.config import RunConfig, TrainClassifierConfig, TrainTranslatorConfig, to_flat
from seq2seq.errors import ConfigError, ModelDirectoryError, UserError
from seq2seq.nn.hardware import (
    bound_kernel_caches,
    choose_device,
    choose_precision,
    keep_memory,
    precision_name,
    use_threads,
)
from seq2seq.nn.ngrams import LONGEST
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.training.distributed import ALONE, World, attempt, place
from seq2seq.training.interrupt import Interrupted
from seq2seq.training.optim import LayerRates
from seq2seq.training.trainer import Task, Trainer

# options that say where, how long and how often, and so may differ when a run goes on
MAY_CHANGE = {
    "output", "resume", "overwrite", "max_steps", "max_epochs", "max_minutes", "validate_every", "save_every",
    "patience", "threads", "device", "precision", "tensorboard", "log_every", "validation_sentences", "data",
}  # fmt: skip

# beside the model's and the tokenizer's sizes: what the state of an optimizer belongs to, and what a model is for
FIXED = {"optimizer", "freeze", "both_directions"}

# bytes of a checkpoint for each number of the model: weights, averages and two moments; the best model's weights
CHECKPOINT_BYTES, WEIGHT_BYTES = 16, 4

AnyConfig = TrainTranslatorConfig | TrainClassifierConfig


def say(text: str) -> None:
    """A line for the person at the terminal, above the progress bar; of several processes the first one speaks."""
    if place()[0] == 0:
        tqdm.write(text)


class Again(NamedTuple):
    """A second training of a run, from the beginning and from more text."""

    task: Callable[[], Task]
    """What is learned from."""
    model: Callable[[Any, dict[str, Any]], nn.Module]
    """A new model for that task, whose metrics are to say this, too."""


class Run(NamedTuple):
    """A training whose options make sense, on a machine that is ready for it."""

    config: AnyConfig
    command: list[str]
    directory: Path
    resumed: Path | None
    """The directory of the run that goes on, if one does."""
    device: torch.device
    precision: torch.dtype
    world: World

    @classmethod
    def begin(cls, config: AnyConfig, command: list[str], expected_data: str, world: World = ALONE) -> Run:
        """Checks options and output directory, sets threads, allocator and precision. Nothing is written yet.

        Args:
            config: Every option of the run.
            command: What was typed.
            expected_data: What --data takes, for the error where it is missing.
            world: The processes that train together.

        Raises:
            UserError: Options or an output directory that cannot be used.
            SystemExit: The same, in all processes but the first.
        """
        keep_memory()  # before the first tensor
        training = config.training
        directory = Path(training.output)
        going_on = world.lead(lambda: _going_on(config, directory, expected_data))
        device = choose_device(training.device)
        threads = use_threads(training.threads)
        machine = world.lead(lambda: checkpoint.read_config(directory).get("machine", {}) if going_on else {})
        precision = world.lead(lambda: choose_precision(_wanted_precision(config, machine, device), device))
        bound_kernel_caches()  # in all processes: only the first has chosen, which does it too
        datasets.disable_progress_bars()
        shown = precision_name(precision)
        several = f"{world.size} processes of " if world.size > 1 else ""
        say(f"on {device}, {several}{threads} threads, matrix products in {shown}")
        used = {"device": device.type, "threads": threads, "precision": shown, "processes": world.size}
        for name, now in used.items():
            if machine.get(name, now) != now:
                say(f"begun with {name} {machine[name]}, now {now}: the same run, but not bit for bit")
        return cls(config, command, directory, directory if going_on else None, device, precision, world)

    @property
    def again(self) -> str:
        """The command that goes on with this run."""
        words = [word for word in self.command if word not in ("--resume", "--overwrite")]
        return shlex.join([*words, "--resume"])

    def train(
        self,
        model: nn.Module,
        task: Task,
        described: dict[str, Any],
        tokenizers: tuple[Tokenizer, Tokenizer],
        layers: LayerRates | None = None,
        again: Again | None = None,
    ) -> None:
        """Runs the loop, and leaves a model directory.

        Args:
            model: With its first weights, on the device.
            task: What the loop asks for batches and scores.
            described: What config.json says beside the options.
            tokenizers: Of source and target; the same one twice where there is one.
            layers: Learning rates by layer.
            again: If given, what a second training learns from, as long as the first one did.

        Raises:
            Interrupted: A signal stopped the run, whose state is saved.
            ModelDirectoryError: The output directory can no longer be written.
        """
        training, directory = self.config.training, self.directory
        try:
            with self._prepared(described, tokenizers, sum(p.numel() for p in model.parameters())):
                trainer = self._trainer(model, task, training, layers)
                if self.resumed is not None and trainer.resume():
                    say(f"going on from step {trainer.progress.step} of {directory}")
                try:
                    progress = trainer.run()
                except Interrupted:
                    say(f"stopped at step {trainer.progress.step}, all saved; to go on:\n  {self.again}")
                    raise
                if again is not None:
                    self._refit(trainer, again, layers)
        except OSError as error:
            told = self._unwritten(error)
            if told is None:
                raise
            raise told from error
        found = ""
        if progress.best is not None:
            found = f"best {training.validation_metric} {abs(progress.best):.2f} at step {progress.best_step}; "
        say(
            f"done: {progress.step} steps in {progress.seconds / 60:.1f} minutes; {found}the model is in {directory}"
            + (f"; {progress.skipped} steps skipped, their loss or gradient was not finite" if progress.skipped else "")
        )

    def _trainer(
        self, model: nn.Module, task: Task, training: RunConfig, layers: LayerRates | None, recorded: bool = True
    ) -> Trainer:
        about = {"seed": training.seed, "command": self.command}
        about["environment"] = environment(self.device, self.precision)
        options = self.config.optimization
        return Trainer(model, task, options, training, self.precision, say, layers, about, self.world, recorded)

    def _refit(self, first: Trainer, again: Again, layers: LayerRates | None) -> None:
        """Replaces the best model of a training by one that learns from more, as long as the first training did.

        Where patience ended the first, as long as its best model did; else which of the last validations was best is
        chance more than anything. Nothing measures the new model, and no checkpoint is written: the run goes on from
        where the first training ended.
        """
        training, done, task = self.config.training, first.progress, again.task()
        epochs = len(first.task.order(0)), len(task.order(0))
        steps = [-(-batches // self.config.optimization.accumulate) for batches in epochs]
        until = max(round((done.best_step if training.patience else done.step) * steps[1] / steps[0]), 1)
        measured = {"refit": {"best_step": done.best_step, "steps": until}}
        if self.world.lead(lambda: measured.items() <= checkpoint.read_metrics(self.directory).items()):
            return  # a finished run that is started once more
        share = training.max_minutes and done.seconds / (60 * training.max_minutes)
        if share * (1 + until / done.step) > 1 or (share and not first.total_steps):
            say("no time is left to learn from the texts held out as well (--max-minutes)")
            return
        training = dataclasses.replace(
            training, max_minutes=0.0, patience=0, validate_every=until,
            max_steps=-(-training.max_steps * steps[1] // steps[0]),
        )  # fmt: skip
        stopped = f"stopped; there is a model in {self.directory}. To learn from all texts:\n  {self.again}"
        signal = self.world.word(first.stop.number)
        if signal is not None:  # it came in the last validation
            say(stopped)
            raise Interrupted(signal)
        say(f"the texts held out are learned from, too: a new model, {until} steps")
        try:
            second = self._trainer(again.model(task, measured), task, training, layers, recorded=False)
            second.progress.seconds = done.seconds
            done.seconds = second.run(until).seconds
        except Interrupted:
            say(stopped)
            raise
        except (UserError, SystemExit) as error:  # the latter in all processes but the first, which tells
            say(f"{error}; the model that has not seen the texts held out is kept")

    @contextlib.contextmanager
    def _prepared(
        self, described: dict[str, Any], tokenizers: tuple[Tokenizer, Tokenizer], parameters: int
    ) -> Iterator[None]:
        """The directory ready, and the first process' alone."""
        with contextlib.ExitStack() as stack:

            def prepare() -> None:
                stack.enter_context(output.exclusive(self.directory))
                self._start(described, tokenizers, parameters)

            self.world.lead(prepare)
            yield

    def _start(self, described: dict[str, Any], tokenizers: tuple[Tokenizer, Tokenizer], parameters: int) -> None:
        """Makes the directory ready, under its lock: a new one begun, or that of the run that goes on looked at."""
        training, directory = self.config.training, self.directory
        if _goes_on(training) != (self.resumed is not None):
            raise ConfigError(f"another training has written {directory} meanwhile; choose another --output")
        output.remove_leftovers(directory)
        if self.resumed is not None:
            _same_model(directory, described)
        else:
            output.clear(directory)
            whole = {**described, "model": dataclasses.asdict(self.config.model), "options": to_flat(self.config)}
            whole |= {"command": self.command, "version": __version__}
            machine = {"device": self.device.type, "threads": torch.get_num_threads(), "processes": self.world.size}
            whole["machine"] = {**machine, "precision": precision_name(self.precision)}
            source, target = tokenizers
            checkpoint.start_model_directory(
                directory, whole, {"source": source.to_bytes(), "target": target.to_bytes()}
            )
        # one checkpoint is there while the next one is written
        missing = output.room_missing(directory, parameters * (2 * CHECKPOINT_BYTES + 2 * WEIGHT_BYTES))
        if missing:
            say(f"warning: {missing}")

    def _unwritten(self, error: OSError) -> ModelDirectoryError | None:
        """What to say of an error in writing the directory; nothing where it is another error."""
        if isinstance(error, BrokenPipeError) or (error.filename and not _within(error.filename, self.directory)):
            return None
        step = checkpoint.last_step(self.directory)
        kept = "nothing was saved before" if step is None else f"the checkpoint of step {step} is intact"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return ModelDirectoryError(
            f"cannot write {self.directory} ({error.strerror or error}); {kept}. "
            f"{'Make room' if full else 'Make it writable'}, then: {self.again}"
        )


def _going_on(config: AnyConfig, directory: Path, expected_data: str) -> bool:
    """Whether a run in the directory goes on, once options and directory are known to be usable."""
    _check(config, expected_data)
    going_on = _goes_on(config.training)
    output.check_free(directory)
    if going_on:
        _same_options(config, directory)
    elif config.training.resume:
        say(f"nothing to resume in {directory}: starting anew")
    return going_on


def _goes_on(training: RunConfig) -> bool:
    """As `output.goes_on`; a job that its launcher starts once more goes on, whatever was asked for at first."""
    again = attempt() > 0
    return output.goes_on(Path(training.output), training.resume or again, training.overwrite and not again)


def _within(path: str | bytes, directory: Path) -> bool:
    return Path(os.fsdecode(path)).absolute().is_relative_to(directory.absolute())


def _wanted_precision(config: AnyConfig, machine: dict[str, Any], device: torch.device) -> str:
    """The precision asked for; `auto` in a run that goes on is what it began with: a timing may turn out otherwise."""
    asked, begun = config.training.precision, machine.get("precision")
    same = machine.get("device") == device.type and begun in ("float32", "bfloat16")
    return str(begun) if asked == "auto" and same else asked


def _check(config: AnyConfig, expected_data: str) -> None:
    """Combinations of options that cannot work, before anything is read or written."""
    training, optimization = config.training, config.optimization
    if not config.data.data:
        raise ConfigError(f"--data is missing: {expected_data}")
    if not training.output:
        raise ConfigError("--output is missing: the model directory to write, such as runs/my-model")
    if not (training.max_epochs > 0 or training.max_steps > 0 or training.max_minutes > 0 or training.patience > 0):
        raise ConfigError("nothing would end this training; give --max-epochs, --max-steps or --max-minutes")
    if training.batch_tokens <= 0 and training.batch_sentences <= 0:
        raise ConfigError("--batch-tokens or --batch-sentences must be above 0")
    if optimization.accumulate < 1:
        raise ConfigError(f"--accumulate is {optimization.accumulate}, expected 1 or more")
    if isinstance(config, TrainTranslatorConfig):
        _check_translator(config)
    else:
        _check_classifier(config)
    if training.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard needs a package: pip install 'seq2seq[tensorboard]', or leave the option out")
    _check_ranges(config)


def _check_translator(config: TrainTranslatorConfig) -> None:
    """The same of options that only a translator has."""
    if config.data.stream_buffer < 1:
        raise ConfigError(f"--stream-buffer is {config.data.stream_buffer}, expected 1 or more")
    risk, beam = config.training.risk, config.training.risk_beam
    if not 0 <= risk < math.inf:
        raise ConfigError(f"--risk is {risk}, expected 0 or more")
    if risk and beam < 2:
        raise ConfigError(f"--risk-beam is {beam}, expected 2 or more: translations of a text are compared")
    if risk and config.model.r_drop:
        raise ConfigError("--risk and --r-drop exclude each other; leave one of them at 0")


def _check_classifier(config: TrainClassifierConfig) -> None:
    """And of those of a classifier."""
    if not 0 <= config.model.ngrams <= LONGEST:
        raise ConfigError(f"--ngrams is {config.model.ngrams}, expected 0 (none) to {LONGEST}")
    if not 0 < config.model.ngram_penalty < math.inf:
        raise ConfigError(f"--ngram-penalty is {config.model.ngram_penalty}, expected more than 0")


def _check_ranges(config: AnyConfig) -> None:
    """Probabilities and sizes."""
    for section in (config.model, config.optimization, config.tokenizer):
        for name, value in dataclasses.asdict(section).items():
            probability = "dropout" in name or name in ("label_smoothing", "sampling", "ema_decay")
            if probability and not 0 <= value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {value}, expected 0 or more and less than 1")
            if (name.endswith("_size") or name.endswith("_layers")) and value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {value}, expected 1 or more")


def _same_options(config: AnyConfig, directory: Path) -> None:
    """Tells which options differ from those the run began with; refuses where the model would not fit."""
    begun = checkpoint.read_config(directory)
    task = "classification" if isinstance(config, TrainClassifierConfig) else "translation"
    if begun.get("task", task) != task:
        raise ConfigError(f"{directory} holds a run of {begun['task']}, this is {task}; give another --output")
    saved, now = {"both_directions": False, **begun.get("options", {})}, to_flat(config)  # older runs had one
    different = [name for name in now if name in saved and saved[name] != now[name]]
    fixed = {f.name for section in (config.model, config.tokenizer) for f in dataclasses.fields(section)}
    for name in different:
        if name in fixed | FIXED and not name.startswith(("dropout", "word_dropout", "sampling")):
            raise ConfigError(
                f"{directory} was begun with {name} = {saved[name]}, now {now[name]}: a run cannot change its model; "
                "leave the option as it was, or start a new --output"
            )
        if name not in MAY_CHANGE:
            say(f"changed since the run began: {name} {saved[name]} → {now[name]}")


def _same_model(directory: Path, described: dict[str, Any]) -> None:
    """Refuses to go on where languages, vocabulary or labels are not those that the run began with."""
    saved = checkpoint.read_config(directory)
    for name, now in json.loads(json.dumps(described)).items():
        if name != "examples" and name in saved and saved[name] != now:  # more text is told by the trainer
            raise ConfigError(
                f"{directory} was begun with {name} = {reprlib.repr(saved[name])}, now {reprlib.repr(now)}: a run "
                "cannot change what it learns; leave options and text as they were, or start a new --output"
            )
