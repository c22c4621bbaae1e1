"""`seq2seq distill`: the best one model that a small corpus gives, by one command.

    teachers    translators that learn from the pairs alone and differ in their seed, and one of the other direction
    pairs       the given ones, and those that the teachers together and that of the other direction make of them
    student     the first teacher, going on with all of these

Data diversification (Nguyen et al. 2020, arXiv:1911.01986) with an ensemble, whose knowledge the one model so takes
over (sequence-level distillation, Kim & Rush 2016, arXiv:1606.07947). All trainings are processes that save their
state, so the same command goes on after any stop.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seq2seq import checkpoint
from seq2seq.app import output
from seq2seq.app.diversify import REPORT, DiversifyArguments, diversify
from seq2seq.app.streams import DeviceArguments
from seq2seq.app.trainings import Training, words_of
from seq2seq.config import DistillConfig, SearchConfig, TrainTranslatorConfig, sections
from seq2seq.errors import ConfigError
from seq2seq.training.interrupt import Interrupted, noted_signals

SEARCH = SearchConfig(beam_size=8, n_best=8)
"""Of the translations that are made of the training texts; two of the eight are kept (`--closest`)."""

POLL_SECONDS = 0.5

NOT_HERE = {
    "initial_model": "the teachers begin anew",
    "risk": "it needs a model to start from; train goes on with --initial-model OUTPUT --risk",
    "both_directions": "--reverse-output gives a second model, of the other direction",
    "streaming": "the corpus is translated as a whole",
    "overwrite": "what is there is gone on with; to begin anew, delete --work and --output",
}
"""Options of train that have no sense here, and what stands in their place."""


@dataclass(frozen=True)
class DistillArguments(DistillConfig):
    """Arguments of `seq2seq distill`: every option of train, for each training, its own, and a recipe."""

    config: str | None = None
    """YAML recipe of `option: value` lines, read first; flags win over it."""


def distill(arguments: DistillArguments, command: list[str]) -> None:
    """Trains what is not trained yet, and leaves the student's model directory.

    Raises:
        UserError: Options, data or directories that cannot be used, or a training that failed.
        Interrupted: A signal stopped the trainings, whose states are saved.
    """
    plan = Plan.of(arguments)
    plan.check()
    try:
        plan.run(plan.teachers)
        plan.diversify(command)
        plan.run(plan.students)
    except Interrupted:
        say(f"stopped, all saved; to go on:\n  {shlex.join(command)}")
        raise
    models = " and ".join(config.training.output for config in plan.students.values())
    say(f"done: {models}; {plan.work} may be deleted")


def say(text: str) -> None:
    """A line for the person at the terminal."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@dataclass(frozen=True)
class Plan:
    """What is trained, and where: the names of trainings and their configurations."""

    work: Path
    teachers: dict[str, TrainTranslatorConfig]
    """Those of the direction asked for, and at last the one of the other."""
    students: dict[str, TrainTranslatorConfig]

    @classmethod
    def of(cls, arguments: DistillArguments) -> Plan:
        """The plan that options make.

        Raises:
            ConfigError: Options that cannot be used together.
        """
        base = TrainTranslatorConfig(**{name: getattr(arguments, name) for name in sections(TrainTranslatorConfig)})
        own, training, data = arguments.distillation, base.training, base.data
        if not data.data or not training.output:
            raise ConfigError("distill needs --data CORPUS and --output DIR, the model directory to write")
        for section in (training, data):
            for name, instead in NOT_HERE.items():
                if getattr(section, name, False):
                    raise ConfigError(f"--{name.replace('_', '-')} is not for distill: {instead}")
        if own.teachers < 1 or own.student_epochs < 1:
            raise ConfigError("--teachers and --student-epochs must be 1 or more")
        if data.source == data.target:
            raise ConfigError(f"--source and --target are both {data.source!r}; give the corpus' two languages")
        work = Path(own.work or f"{training.output.rstrip('/')}.work")

        def trained(config: TrainTranslatorConfig, **changes: object) -> TrainTranslatorConfig:
            return dataclasses.replace(config, training=dataclasses.replace(config.training, resume=True, **changes))  # type: ignore[arg-type]

        turned = dataclasses.replace(base, data=dataclasses.replace(data, source=data.target, target=data.source))
        names = [f"teacher-{number}" for number in range(1, own.teachers + 1)]
        teachers = {
            name: trained(base, seed=training.seed + number, output=str(work / name))
            for number, name in enumerate(names)
        }
        teachers["reverse"] = trained(turned, output=str(work / "reverse"))

        def student(config: TrainTranslatorConfig, first: str, output: str) -> TrainTranslatorConfig:
            pairs = dataclasses.replace(config.data, data=str(work / "pairs"), encoding_errors="strict")
            optimization = dataclasses.replace(config.optimization, learning_rate=own.student_rate)
            config = dataclasses.replace(config, data=pairs, optimization=optimization)
            return trained(config, initial_model=str(work / first), max_epochs=own.student_epochs, output=output)

        students = {"student": student(base, names[0], training.output)}
        if own.reverse_output:
            students["reverse student"] = student(turned, "reverse", own.reverse_output)
        return cls(work, teachers, students)

    def check(self) -> None:
        """Looks for what would end the last training, before the first one begins.

        Raises:
            UserError: The corpus cannot be read or is larger than what a tokenizer is trained on, or a directory holds
                another model or cannot be written.
        """
        from seq2seq.text.corpus import load_corpus

        for config in self.students.values():
            directory = Path(config.training.output)
            output.check_free(directory)
            if output.goes_on(directory, resume=True, overwrite=False):
                begun = checkpoint.read_config(directory).get("options", {}).get("initial_model")
                if begun != config.training.initial_model:
                    raise ConfigError(f"--output {directory} holds another model; give a new directory")
        config = self.teachers["reverse"]
        output.check_writable(self.work)
        lines = len(load_corpus(config.data, config.data.train_split))
        if len(self.teachers) > 2 and lines > config.tokenizer.tokenizer_sentences and not config.tokenizer.tokenizer:
            raise ConfigError(
                f"{lines:,} pairs are more than --tokenizer-sentences {config.tokenizer.tokenizer_sentences:,}: each "
                "teacher would have another tokenizer, and they could not translate together; raise it, or give one "
                "with --tokenizer"
            )
        self.work.mkdir(parents=True, exist_ok=True)

    def run(self, trainings: dict[str, TrainTranslatorConfig]) -> None:
        """Runs trainings, as many at once as there are cores for.

        Raises:
            ConfigError: One failed; the others have saved their state.
            Interrupted: A signal came; all have saved their state.
        """
        at_once, threads = shares(next(iter(trainings.values())), len(trainings))
        waiting, running = dict(trainings), dict[str, Training]()
        with noted_signals() as noted, contextlib.ExitStack() as left:
            while waiting or running:
                while waiting and len(running) < at_once:
                    name = next(iter(waiting))
                    config = waiting.pop(name)
                    config = dataclasses.replace(config, training=dataclasses.replace(config.training, threads=threads))
                    log = self.work / f"{name.replace(' ', '-')}.log"
                    directory = Path(config.training.output)
                    running[name] = training = Training("train", words_of(config), directory, log)
                    left.callback(training.stop)
                    training.validations()  # those of before
                    say(f"{name}: {config.data.source} → {config.data.target}, in {directory} (log: {log})")
                time.sleep(POLL_SECONDS)
                for name, training in list(running.items()):
                    going = training.running()
                    for line in training.validations():
                        scores = "  ".join(f"{metric} {value:.2f}" for metric, value in line["valid"].items())
                        say(f"{name}: step {line['step']}, epoch {line['epoch']}: {scores}")
                    if not going:
                        del running[name]
                        if training.failure():
                            raise ConfigError(f"{name}: {training.failure()}")
                if noted.number is not None:
                    left.close()
                    raise Interrupted(noted.number)

    def diversify(self, command: Sequence[str]) -> None:
        """Makes the pairs, unless they are there.

        Raises:
            ConfigError: Those that are there were made by teachers that have learned further meanwhile.
        """
        *forward, backward = (config.training.output for config in self.teachers.values())
        config, folder = next(iter(self.teachers.values())), self.work / "pairs"
        report = folder / REPORT
        with contextlib.suppress(OSError, ValueError):
            if "pairs" in json.loads(report.read_text(encoding="utf-8")):
                made, models = report.stat().st_mtime, [Path(name, checkpoint.WEIGHTS) for name in (*forward, backward)]
                if all(model.stat().st_mtime <= made for model in models):
                    return
                outputs = " and ".join(student.training.output for student in self.students.values())
                raise ConfigError(
                    f"the teachers have learned more since {folder} was made of them; delete it, and {outputs}, to "
                    "make them anew"
                )
        say("the teachers translate the training text")
        data = config.data
        diversify(
            DiversifyArguments(
                data.data, data.source, data.target, str(folder), data.train_split, data.encoding_errors,
                forward=tuple(forward), backward=(backward,), closest=True, search=SEARCH,
                run=DeviceArguments(config.training.threads, config.training.device, "auto"),
            ),
            list(command),
        )  # fmt: skip


def shares(config: TrainTranslatorConfig, trainings: int) -> tuple[int, int]:
    """How many of so many trainings run at once, and the threads of each: a thread a training does the most work."""
    from seq2seq.nn.hardware import choose_device, usable_cores

    if choose_device(config.training.device).type != "cpu":
        return 1, config.training.threads
    cores = config.training.threads or usable_cores()
    at_once = min(trainings, cores)
    return at_once, cores // at_once
