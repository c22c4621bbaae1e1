"""Search for good options: many trainings, each stopped early if it falls behind, judged on the validation set.

    python scripts/tune.py --study DIR --trials 20 --metric bleu \
        --tune learning_rate=5e-4..4e-3:log --tune dropout=0.1..0.5 --tune embedding_size=128,256,512 \
        -- --config configs/multi30k.yaml --data DIR --source en --target de --max-epochs 8

After `--` comes what `seq2seq train` takes (or `seq2seq train-classifier`, with `--command train-classifier`); --tune
names any of its options with a range (of whole numbers where both ends are) or a list of values. The same command
again goes on until the study has that many trials; two of them side by side share the work. Needs the extra `tune`.

Optuna chooses the values (tree-structured Parzen estimator, Bergstra et al. 2011) and stops a trial whose score is
below the median of the others' at the same validation.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from seq2seq.app.trainings import Training, stop
from seq2seq.config import TrainClassifierConfig, TrainTranslatorConfig, option_names
from seq2seq.errors import ConfigError, UserError, nearest

COMMANDS = {"train": TrainTranslatorConfig, "train-classifier": TrainClassifierConfig}
SMALLER_IS_BETTER = {"loss", "ter"}
POLL_SECONDS = 1.0


class Range(NamedTuple):
    """What an option may be."""

    name: str
    values: tuple[Any, ...]  # of a list; of a range its two ends
    listed: bool
    log: bool = False

    def suggest(self, trial: Any) -> Any:
        """A value, by an `optuna.Trial`."""
        if self.listed:
            return trial.suggest_categorical(self.name, self.values)
        low, high = self.values
        suggest = trial.suggest_int if isinstance(low, int) and isinstance(high, int) else trial.suggest_float
        return suggest(self.name, low, high, log=self.log)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parse_range(text: str, known: set[str]) -> Range:
    """`name=low..high`, `name=low..high:log` or `name=a,b,c`.

    Raises:
        ConfigError: What was given and what is expected.
    """
    name, equals, values = text.partition("=")
    name = name.strip().lstrip("-").replace("-", "_")
    if not equals or not values.strip():
        raise ConfigError(f"--tune {text!r}: expected NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=A,B,C")
    if name not in known:
        raise ConfigError(f"--tune {text!r}: there is no option {name!r}{nearest(name, known)}")
    if ".." not in values:
        return Range(name, tuple(_number(value.strip()) for value in values.split(",")), listed=True)
    ends, _, scale = values.partition(":")
    low, _, high = (_number(end) if end != ".." else end for end in ends.partition(".."))
    if isinstance(low, str) or isinstance(high, str) or scale not in ("", "log"):
        raise ConfigError(f"--tune {text!r}: expected two numbers with .. between them, and nothing or :log behind")
    if not low < high or (scale == "log" and low <= 0):
        raise ConfigError(f"--tune {text!r}: expected the smaller end first{', above 0 for :log' if scale else ''}")
    return Range(name, (low, high), listed=False, log=scale == "log")


def run_trial(trial: Any, ranges: list[Range], options: argparse.Namespace, arguments: list[str]) -> float:
    """Trains once; the best score of the run.

    Raises:
        optuna.TrialPruned: Stopped, for it was behind.
        RuntimeError: The training failed; its last line is the message.
    """
    import optuna

    directory = Path(options.study) / f"trial-{trial.number:04d}"
    chosen = [f"--{r.name.replace('_', '-')}={r.suggest(trial)}" for r in ranges]
    measured = ["--no-refit"] if options.command == "train-classifier" else []  # what follows validation tells nothing
    arguments = [*measured, *arguments, *chosen, "--output", str(directory), "--overwrite"]
    sys.stdout.write(f"trial {trial.number}: {' '.join(chosen)}\n")
    sys.stdout.flush()
    training, best, reports = Training(options.command, arguments, directory, Path(f"{directory}.log")), None, 0
    try:
        running = True
        while running:
            running = training.running()
            for line in training.validations():
                reports += 1
                score = line["valid"].get(options.metric)
                if score is None:
                    reported = ", ".join(line["valid"]) or "nothing, for no text is held out"
                    raise ConfigError(f"--metric {options.metric}: this training reports {reported}")
                best = score if best is None else (min if options.metric in SMALLER_IS_BETTER else max)(best, score)
                trial.report(score, reports)
                if trial.should_prune():
                    raise optuna.TrialPruned
            if running:
                time.sleep(POLL_SECONDS)
    finally:
        stop([training] if training.running() else [])
    if training.failure() or best is None:
        raise RuntimeError(f"the training {training.failure() or f'has validated nothing ({training.log})'}")
    return best


def table(study: Any, ranges: list[Range], metric: str) -> str:
    """All trials, best first, those without a score last."""
    sign = 1 if metric in SMALLER_IS_BETTER else -1
    trials = sorted(study.trials, key=lambda t: (t.value is None, 0 if t.value is None else sign * t.value))
    names = [r.name for r in ranges]
    lines = [f"| trial | {metric} | {' | '.join(names)} |", "|" + " --- |" * (len(names) + 2)]
    for trial in trials:
        done = trial.state.name == "COMPLETE"
        score = f"{trial.value:.4g}" if done and trial.value is not None else trial.state.name.lower()
        values = (f"{v:.4g}" if isinstance(v := trial.params.get(name, ""), float) else str(v) for name in names)
        lines.append(f"| {trial.number} | {score} | {' | '.join(values)} |")
    return "\n".join(lines) + "\n"


def tune(options: argparse.Namespace, arguments: list[str]) -> str:
    """Runs what is left of the study; its table.

    Raises:
        UserError: Ranges or arguments that cannot be used, a missing extra.
    """
    ranges = [parse_range(text, set(option_names(COMMANDS[options.command]))) for text in options.tune]
    if not ranges:
        raise ConfigError("nothing to tune: give --tune NAME=LOW..HIGH or NAME=A,B,C, once or several times")
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    except ImportError:
        raise ConfigError("this needs Optuna: pip install 'seq2seq[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directory = Path(options.study)
    directory.mkdir(parents=True, exist_ok=True)
    journal = str(directory / "study.journal")
    study = optuna.create_study(
        study_name=options.metric,
        storage=optuna.storages.JournalStorage(JournalFileBackend(journal, JournalFileOpenLock(journal))),
        direction="minimize" if options.metric in SMALLER_IS_BETTER else "maximize",
        sampler=optuna.samplers.TPESampler(seed=options.seed + os.getpid() * bool(options.parallel)),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=options.startup, n_warmup_steps=1),
        load_if_exists=True,
    )
    failures = 0
    while sum(trial.state.is_finished() for trial in study.trials) - failures < options.trials:
        study.optimize(lambda trial: run_trial(trial, ranges, options, arguments), n_trials=1, catch=(RuntimeError,))
        states = [trial.state.name for trial in study.trials]
        failures = states.count("FAIL")
        if states and all(state == "FAIL" for state in states):
            raise ConfigError(f"the first training failed; see {directory / 'trial-0000.log'}")
        if failures > options.trials:
            raise ConfigError(f"{failures} trainings failed; see the logs in {directory}")
    return table(study, ranges, options.metric)


def main(argv: list[str] | None = None) -> int:
    """Parses, tunes, prints the table; exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="folder for the trials and what is known of them")
    parser.add_argument("--trials", type=int, default=20, help="trials in all, those of earlier calls included")
    parser.add_argument(
        "--metric", default="bleu", help="validation score that decides (bleu, chrf, loss, accuracy ...)"
    )
    parser.add_argument("--tune", action="append", default=[], metavar="NAME=RANGE")
    parser.add_argument("--startup", type=int, default=4, help="trials before any is stopped early")
    parser.add_argument("--command", default="train", choices=sorted(COMMANDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parallel", action="store_true", help="other processes work on the same study")
    arguments = sys.argv[1:] if argv is None else argv
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:cut])
    try:
        sys.stdout.write(tune(options, arguments[cut + 1 :]))
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0
