"""`seq2seq distill`: the best one model that a small corpus gives, by one command.

    teachers    translators that learn from the pairs alone and differ in their seed, and one of the other direction
    pairs       the given ones, and those that the teachers together and that of the other direction make of them
    student     the first teacher, going on with all of these

Data diversification (Nguyen et al. 2020, arXiv:1911.01986) with an ensemble, whose knowledge the one model so takes
over (sequence-level distillation, Kim & Rush 2016, arXiv:1606.07947). Trainings are processes that save their states,
so the same command goes on after any stop; translating the text, which comes between them, begins anew.

The folder of all that comes before the student:

    corpus/               the text as files of lines, whatever it was read from
    teacher-1/ ...        model directories
    reverse/              that of the other direction
    pairs/                what the student learns from
    distill.json          options and text that all this belongs to, and those of students that were begun

A student's directory has a distill.json, too, once it has learned all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq import checkpoint
from seq2seq.app import output
from seq2seq.app.corpora import CorpusArguments, CorpusFolder
from seq2seq.app.diversify import REPORT as PAIRS
from seq2seq.app.trainings import Training, stop, words_of
from seq2seq.config import DistillConfig, TrainTranslatorConfig, sections, to_flat
from seq2seq.errors import ConfigError
from seq2seq.training.interrupt import Interrupted, Noted, noted_signals

if TYPE_CHECKING:
    import datasets

REPORT = "distill.json"

SEARCH = ["--beam-size", "8", "--n-best", "8", "--closest"]
"""How the training text is translated: two of eight translations are kept, the best and the closest to the given."""

POLL_SECONDS = 0.5

NOT_HERE = {
    "initial_model": "the teachers begin anew",
    "risk": "it needs a model to start from; train goes on with --initial-model OUTPUT --risk",
    "both_directions": "--reverse-output gives a second model, of the other direction",
    "streaming": "the corpus is translated as a whole",
    "overwrite": "what is there is gone on with; to begin anew, delete --work and --output",
}
"""Options of train that have no sense here, and what stands in their place."""

WHEREABOUTS = {
    "config", "data", "output", "reverse_output", "work", "resume", "threads", "device", "precision", "tensorboard",
    "log_every", "save_every",
}  # fmt: skip
"""Options that do not change what is learned."""


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
    models = " and ".join(config.training.output for config in plan.students.values())
    if plan.finished():
        say(f"done before: {models}")
        return
    with plan.prepared():
        try:
            plan.run(plan.teachers)
            plan.diversify()
            plan.run(plan.students)
        except Interrupted:
            say(f"stopped; to go on:\n  {shlex.join(command)}")
            raise
        plan.finish(command)
    say(f"done: {models}; {plan.work} may be deleted")


def say(text: str) -> None:
    """A line for the person at the terminal."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@dataclass(frozen=True)
class Plan:
    """What is trained, and where: the names of trainings and their configurations."""

    given: TrainTranslatorConfig
    """What was asked for; the trainings read the text from a folder of their own."""
    work: Path
    teachers: dict[str, TrainTranslatorConfig]
    """Those of the direction asked for, and at last the one of the other."""
    students: dict[str, TrainTranslatorConfig]
    described: dict[str, Any]
    """The options that tell what is learned."""

    @classmethod
    def of(cls, arguments: DistillArguments) -> Plan:
        """The plan that options make.

        Raises:
            ConfigError: Options that cannot be used together.
        """
        given = TrainTranslatorConfig(**{name: getattr(arguments, name) for name in sections(TrainTranslatorConfig)})
        own = arguments.distillation
        _check(arguments)
        work = Path(own.work or f"{given.training.output.rstrip('/')}.work")
        there = dataclasses.replace(given.data, data=str(work / "corpus"), encoding_errors="strict")
        back = dataclasses.replace(there, source=there.target, target=there.source)
        start = dataclasses.replace(given.training, resume=True)
        teachers = {}
        for number in range(own.teachers):
            name = f"teacher-{number + 1}"
            training = dataclasses.replace(start, seed=start.seed + number, output=str(work / name))
            teachers[name] = dataclasses.replace(given, data=there, training=training)
        training = dataclasses.replace(start, output=str(work / "reverse"))
        teachers["reverse"] = dataclasses.replace(given, data=back, training=training)

        def student(teacher: TrainTranslatorConfig, output: str) -> TrainTranslatorConfig:
            training = dataclasses.replace(
                start, initial_model=teacher.training.output, max_epochs=own.student_epochs, max_steps=0, output=output
            )
            return dataclasses.replace(
                teacher,
                data=dataclasses.replace(teacher.data, data=str(work / "pairs")),
                tokenizer=dataclasses.replace(teacher.tokenizer, tokenizer=None),  # it is the teacher's
                optimization=dataclasses.replace(teacher.optimization, learning_rate=own.student_rate),
                training=training,
            )

        students = {"student": student(teachers["teacher-1"], start.output)}
        if own.reverse_output:
            students["reverse-student"] = student(teachers["reverse"], own.reverse_output)
        directories = [work, *(Path(config.training.output) for config in students.values())]
        for one, other in itertools.permutations(directories, 2):
            if one.resolve().is_relative_to(other.resolve()):
                raise ConfigError(f"{one} and {other} must be directories beside each other; give another")
        described = {name: value for name, value in to_flat(arguments).items() if name not in WHEREABOUTS}
        return cls(given, work, teachers, students, described)

    @functools.cached_property
    def _corpora(self) -> tuple[datasets.Dataset, datasets.Dataset, bool]:
        """What to train and what to validate on, and whether the latter was held out; read once."""
        from seq2seq.text.corpus import train_and_valid

        return train_and_valid(self.given.data, self.given.training.seed)

    @functools.cached_property
    def text(self) -> str:
        """What tells the pairs to train on and to validate on from others.

        Raises:
            UserError: The corpus cannot be read or is larger than what a tokenizer is trained on.
        """
        from seq2seq.text.corpus import pairs_of

        digest, tokenizer = hashlib.sha256(), self.given.tokenizer
        corpus, valid, _ = self._corpora
        if len(self.teachers) > 2 and len(corpus) > tokenizer.tokenizer_sentences and not tokenizer.tokenizer:
            raise ConfigError(
                f"{len(corpus):,} pairs are more than --tokenizer-sentences {tokenizer.tokenizer_sentences:,}: each "
                "teacher would have another tokenizer, and they could not translate together; raise it, or give one "
                "with --tokenizer"
            )
        for split in (corpus, valid):
            digest.update(f"{len(split)} pairs\n".encode())
            for pair in pairs_of(split):
                digest.update(json.dumps(pair).encode())
        return digest.hexdigest()

    @property
    def outputs(self) -> list[Path]:
        """The students' directories."""
        return [Path(config.training.output) for config in self.students.values()]

    def finished(self) -> bool:
        """Whether all students are there, of these options and this text.

        Raises:
            ConfigError: One is of others.
        """
        missing = False
        for directory in self.outputs:
            report = _read(directory / REPORT)
            if report is None or report.get("weights") != _weights(directory):
                missing = True
            else:
                now = {**self.described, "text": self.text}
                _same(report, now, f"--output {directory}", "give a new directory")
        return not missing

    def finish(self, command: list[str]) -> None:
        """Leaves in the students' directories what they were made of."""
        for directory in self.outputs:
            made = {**self.described, "text": self.text, "weights": _weights(directory), "command": command}
            _write(directory / REPORT, made)

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """The folder of work, ours alone, with the text in it, after a look for what would end a later training.

        Raises:
            UserError: The corpus cannot be read or is larger than what a tokenizer is trained on, a directory holds
                another model or cannot be written, or the folder belongs to other options or another text.
        """
        report = _read(self.work / REPORT) or {}
        for directory in self.outputs:
            output.check_free(directory)
            if output.goes_on(directory, resume=True, overwrite=False):
                begun = report.get("students", {}).get(str(directory.resolve()))
                if begun is None:
                    raise ConfigError(f"{directory} holds another model; give a new directory")
                _same(begun, self.described, str(directory), "give a new directory, or delete it")
        output.check_writable(self.work)
        own = {"student_epochs", "student_rate"}
        described = {name: value for name, value in self.described.items() if name not in own} | {"text": self.text}
        with output.exclusive(self.work):
            if report:
                _same(report, described, str(self.work), "give another --work, or delete it")
            else:
                self._copy()
            begun = {str(directory.resolve()): self.described for directory in self.outputs}
            _write(self.work / REPORT, {**described, "students": {**report.get("students", {}), **begun}})
            yield

    def _copy(self) -> None:
        """The text as files of lines named by language, so that it can be read in either direction."""
        from seq2seq.text.corpus import pairs_of

        data, corpus = self.given.data, self.work / "corpus"
        train, valid, held_out = self._corpora
        corpus.mkdir(exist_ok=True)
        folder = CorpusFolder(CorpusArguments(data.data, data.source, data.target, str(corpus)), "corpus.json")
        folder.tell({})
        folder.write(data.train_split, pairs_of(train))
        folder.write(data.valid_split, pairs_of(valid))
        if held_out:
            say(f"{len(valid):,} pairs are held out for validation, for there is no split {data.valid_split!r}")

    def run(self, trainings: dict[str, TrainTranslatorConfig]) -> None:
        """Runs trainings, as many at once as there are cores for.

        Raises:
            ConfigError: One failed; the others have saved their states.
            Interrupted: A signal came; all have saved their states.
        """
        at_once, threads = shares(self.given, len(trainings))
        waiting, running = dict(trainings), dict[str, Training]()
        with _stopped_in_the_end(running) as noted:
            while waiting or running:
                while waiting and len(running) < at_once:
                    name = next(iter(waiting))
                    running[name] = self._begun(name, waiting.pop(name), threads)
                time.sleep(POLL_SECONDS)
                if noted.number is not None:
                    return
                for name, training in list(running.items()):
                    going = training.running()
                    for line in training.validations():
                        say(f"{name}: step {line['step']}, epoch {line['epoch']}: {_shown(line['valid'])}")
                    if not going:
                        del running[name]
                        if training.failure():
                            raise ConfigError(f"{name} {training.failure()}")

    def _begun(self, name: str, config: TrainTranslatorConfig, threads: int) -> Training:
        config = dataclasses.replace(config, training=dataclasses.replace(config.training, threads=threads))
        log, directory = self.work / f"{name}.log", Path(config.training.output)
        training = Training("train", words_of(config), directory, log)
        training.validations()  # those of before are no news
        say(f"{name}: {config.data.source} → {config.data.target}, in {directory} (log: {log})")
        return training

    def diversify(self) -> None:
        """Makes the pairs, unless they are there, in a process whose memory goes with it.

        Raises:
            ConfigError: It failed.
            Interrupted: A signal came.
        """
        if "pairs" in (_read(self.work / "pairs" / PAIRS) or {}):
            return
        *forward, backward = (config.training.output for config in self.teachers.values())
        data, training = self.teachers["teacher-1"].data, self.given.training
        words = [f"--data={data.data}", f"--source={data.source}", f"--target={data.target}"]
        words += [f"--output={self.work / 'pairs'}", f"--train-split={data.train_split}", *SEARCH]
        words += [*(f"--forward={model}" for model in forward), f"--backward={backward}"]
        words += [f"--threads={training.threads}", f"--device={training.device}", f"--precision={training.precision}"]
        say("the teachers translate the training text")
        running = {"pairs": Training("diversify", words, self.work / "pairs", None)}
        with _stopped_in_the_end(running) as noted:
            while running["pairs"].running():
                time.sleep(POLL_SECONDS)
                if noted.number is not None:
                    return
            failure = running.pop("pairs").failure()
            if failure:
                raise ConfigError(f"translating the training text {failure}")


def _check(arguments: DistillArguments) -> None:
    """Options that cannot work, before anything is read or written."""
    own, training, data = arguments.distillation, arguments.training, arguments.data
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
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError("distill starts its trainings itself, on one machine; run it without torchrun")


@contextlib.contextmanager
def _stopped_in_the_end(running: dict[str, Training]) -> Iterator[Noted]:
    """The signal that comes, if one does, at which the caller is to return; what runs is stopped, whatever happens.

    Raises:
        Interrupted: A signal came.
    """
    with noted_signals() as noted:
        try:
            yield noted
        finally:
            stop([training for training in running.values() if training.running()])
        if noted.number is not None:
            raise Interrupted(noted.number)


def _shown(scores: dict[str, float | None]) -> str:
    """Scores of a validation; one that is no finite number has no value in the metrics."""
    return "  ".join(f"{name} {'–' if value is None else f'{value:.2f}'}" for name, value in scores.items())


def _read(path: Path) -> dict[str, Any] | None:
    """A report, if it is there and whole."""
    with contextlib.suppress(OSError, ValueError):
        report = json.loads(path.read_text(encoding="utf-8"))
        return report if isinstance(report, dict) else None
    return None


def _weights(directory: Path) -> str | None:
    """A hash of a model's weights, if it has some."""
    try:
        return hashlib.sha256((directory / checkpoint.WEIGHTS).read_bytes()).hexdigest()
    except OSError:
        return None


def _write(path: Path, report: dict[str, Any]) -> None:
    checkpoint.write_atomically(path, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())


def _same(before: dict[str, Any], now: dict[str, Any], where: str, advice: str) -> None:
    for name, value in json.loads(json.dumps(now)).items():
        if name in before and before[name] != value:
            told = (
                "was made of another text" if name == "text" else f"was made with {name} = {before[name]}, now {value}"
            )
            raise ConfigError(f"{where} {told}; {advice}")


def shares(config: TrainTranslatorConfig, trainings: int) -> tuple[int, int]:
    """How many of so many trainings run at once, and the threads of each: a thread a training does the most work."""
    from seq2seq.nn.hardware import choose_device, usable_cores

    threads = config.training.threads
    if choose_device(config.training.device).type != "cpu":
        return 1, threads
    cores = threads if threads > 0 else usable_cores()
    at_once = min(trainings, cores)
    return at_once, cores // at_once
