"""What all trainings share: options checked, the output directory prepared, the machine set up, the loop run."""

from __future__ import annotations

import dataclasses
import importlib.util
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import torch
from torch import nn
from tqdm import tqdm

from seq2seq import __version__, checkpoint
from seq2seq.config import TrainClassifierConfig, TrainTranslatorConfig, to_flat
from seq2seq.errors import ConfigError
from seq2seq.nn.hardware import choose_device, choose_precision, keep_memory, use_threads
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.training.optim import LayerRates
from seq2seq.training.trainer import Interrupted, Task, Trainer

# options that say where, how long and how often, and so may differ when a run goes on
MAY_CHANGE = {
    "output", "resume", "overwrite", "max_steps", "max_epochs", "max_minutes", "validate_every", "save_every",
    "patience", "threads", "device", "precision", "tensorboard", "log_every", "validation_sentences", "data",
}  # fmt: skip

AnyConfig = TrainTranslatorConfig | TrainClassifierConfig


def say(text: str) -> None:
    """A line for the person at the terminal, above the progress bar."""
    tqdm.write(text)


class Run(NamedTuple):
    """A training whose options make sense, on a machine that is ready for it."""

    config: AnyConfig
    command: list[str]
    directory: Path
    resumed: Path | None
    """The directory of the run that goes on, if one does."""
    device: torch.device
    precision: torch.dtype

    @classmethod
    def begin(cls, config: AnyConfig, command: list[str], expected_data: str) -> Run:
        """Checks options and output directory, sets threads, allocator and precision. Nothing is written yet.

        Args:
            config: Every option of the run.
            command: What was typed.
            expected_data: What --data takes, for the error where it is missing.

        Raises:
            UserError: Options or an output directory that cannot be used.
        """
        _check(config, expected_data)
        directory = Path(config.training.output)
        resumed = directory if _prepare_output(config, directory) else None
        keep_memory()  # before the first tensor
        device = choose_device(config.training.device)
        threads = use_threads(config.training.threads)
        precision = choose_precision(config.training.precision, device)
        datasets.disable_progress_bars()
        say(f"on {device}, {threads} threads, matrix products in {str(precision).removeprefix('torch.')}")
        return cls(config, command, directory, resumed, device, precision)

    def train(
        self,
        model: nn.Module,
        task: Task,
        described: dict[str, Any],
        tokenizers: tuple[Tokenizer, Tokenizer],
        layers: LayerRates | None = None,
    ) -> None:
        """Runs the loop, and leaves a model directory.

        Args:
            model: With its first weights, on the device.
            task: What the loop asks for batches and scores.
            described: What config.json says beside the options.
            tokenizers: Of source and target; the same one twice where there is one.
            layers: Learning rates by layer.

        Raises:
            Interrupted: A signal stopped the run, whose state is saved.
        """
        training, directory = self.config.training, self.directory
        with checkpoint.exclusive(directory):
            if self.resumed is None:
                checkpoint.clear(directory)
                whole = {**described, "model": dataclasses.asdict(self.config.model), "options": to_flat(self.config)}
                source, target = tokenizers
                checkpoint.start_model_directory(
                    directory,
                    {**whole, "command": self.command, "version": __version__},
                    {"source": source.to_bytes(), "target": target.to_bytes()},
                )
            trainer = Trainer(model, task, self.config.optimization, training, self.precision, say, layers)
            if self.resumed is not None and trainer.resume():
                say(f"going on from step {trainer.progress.step} of {directory}")
            try:
                progress = trainer.run()
            except Interrupted:
                again = self.command if "--resume" in self.command else [*self.command, "--resume"]
                say(f"stopped at step {trainer.progress.step}, all saved; to go on:\n  {shlex.join(again)}")
                raise
        say(
            f"done: {progress.step} steps in {progress.seconds / 60:.1f} minutes; best {training.validation_metric} "
            f"{abs(progress.best or 0):.2f} at step {progress.best_step}; the model is in {directory}"
        )


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
    if training.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard needs a package: pip install 'seq2seq[tensorboard]', or leave the option out")
    _check_ranges(config)


def _check_ranges(config: AnyConfig) -> None:
    """Probabilities and sizes."""
    for section in (config.model, config.optimization, config.tokenizer):
        for name, value in dataclasses.asdict(section).items():
            probability = "dropout" in name or name in ("label_smoothing", "sampling", "ema_decay")
            if probability and not 0 <= value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {value}, expected 0 or more and less than 1")
            if (name.endswith("_size") or name.endswith("_layers")) and value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {value}, expected 1 or more")


def _prepare_output(config: AnyConfig, directory: Path) -> bool:
    """Whether there is a run in the output directory to go on with; says so where there is none.

    Raises:
        ConfigError: The directory holds another model or other files, or options differ from those of its run.
        ModelDirectoryError: It cannot be made or written.
    """
    training = config.training
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"--output {directory} is a file; give a directory")
    checkpoint.check_writable(directory)
    if not directory.exists() or not any(directory.iterdir()):
        if training.resume:
            say(f"nothing to resume in {directory}: starting anew")
        return False
    if not (directory / "config.json").exists():
        if not checkpoint.only_training_files(directory):
            raise ConfigError(f"--output {directory} holds other files and no model; give a new directory")
        return False
    if training.resume:
        if not checkpoint.has_training_state(directory):
            say(f"no checkpoint in {directory}: starting anew")
            return False
        _same_options(config, directory)
        return True
    if not training.overwrite:
        raise ConfigError(
            f"{directory} already holds a model; --resume goes on with it, --overwrite replaces it, or give another "
            "--output"
        )
    return False


def _same_options(config: AnyConfig, directory: Path) -> None:
    """Tells which options differ from those the run began with; refuses where the model would not fit."""
    saved = checkpoint.read_config(directory).get("options", {})
    now = to_flat(config)
    different = [name for name in now if name in saved and saved[name] != now[name]]
    fixed = {f.name for section in (config.model, config.tokenizer) for f in dataclasses.fields(section)}
    for name in different:
        if name in fixed and not name.startswith(("dropout", "word_dropout", "sampling")):
            raise ConfigError(
                f"{directory} was begun with {name} = {saved[name]}, now {now[name]}: a run cannot change its model; "
                "leave the option as it was, or start a new --output"
            )
        if name not in MAY_CHANGE:
            say(f"changed since the run began: {name} {saved[name]} → {now[name]}")
