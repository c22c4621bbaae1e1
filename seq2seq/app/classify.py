"""The classifier's commands: what each takes, and what it does with it. Heavy imports stay inside the functions."""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from seq2seq.app.streams import DeviceArguments, json_line, output_file, progress, text_lines
from seq2seq.config import LabelDataConfig, TrainClassifierConfig, sections
from seq2seq.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from seq2seq.app.commands import EvaluateArguments
    from seq2seq.inference.classifier import Classifier, Prediction


@dataclass(frozen=True)
class TrainClassifierArguments(TrainClassifierConfig):
    """Arguments of `seq2seq train-classifier`: every option, and a recipe."""

    config: str | None = None
    """YAML recipe of `option: value` lines, read first; flags win over it."""


@dataclass(frozen=True)
class ClassifyArguments:
    """Arguments of `seq2seq classify`."""

    texts: Annotated[Positional[tuple[str, ...]], arg(metavar="TEXT ...", help_behavior_hint="")] = ()
    """Texts to classify; without them, and without --input, standard input is read."""
    model: str = ""
    """Model directory that `seq2seq train-classifier` has written."""
    input: str | None = None
    """Texts to classify, one a line; may be a .gz file."""
    output: str | None = None
    """File to write, complete or not at all; standard output without it."""
    top_k: int = 1
    """Labels a text, the likeliest first."""
    format: Literal["tsv", "jsonl"] = "tsv"
    """tsv: label<TAB>probability, the pair repeated for --top-k; jsonl: an object a line."""
    flush: bool = False
    """Classify and write each line as soon as it has been read: slower, for use in a pipe that waits for answers."""
    encoding_errors: Literal["strict", "replace"] = "strict"
    """Invalid UTF-8: `strict` stops and names the line, `replace` puts U+FFFD in its place."""
    run: DeviceArguments = field(default_factory=DeviceArguments)


def train_classifier(arguments: TrainClassifierArguments, command: list[str]) -> None:
    """Trains a classifier; see `seq2seq.app.train_classifier`."""
    from seq2seq.app.train_classifier import train_classifier as train

    options = {name: getattr(arguments, name) for name in sections(TrainClassifierConfig)}
    train(TrainClassifierConfig(**options), command)


def is_classifier(model: str) -> bool:
    """Whether a model directory that is here holds a classifier."""
    from seq2seq.checkpoint import read_config

    return (Path(model) / "config.json").is_file() and read_config(model).get("task") == "classification"


def _load(model: str, run: DeviceArguments) -> Classifier:
    if not model:
        raise ConfigError("classify needs --model DIR, a directory that `seq2seq train-classifier` has written")
    from seq2seq.inference.classifier import Classifier

    return Classifier.from_pretrained(model, device=run.device, threads=run.threads, precision=run.precision)


def classify(arguments: ClassifyArguments, command: list[str]) -> None:
    """Writes the label of each text, as many lines as there are texts.

    Raises:
        UserError: No classifier, no such file, text that is no UTF-8.
    """
    if arguments.texts and arguments.input is not None:
        raise ConfigError("classify got texts and --input; give one of them")
    with output_file(arguments.output) as write:
        classifier = _load(arguments.model, arguments.run)
        lines, waiting = text_lines(arguments.texts, arguments.input, arguments.encoding_errors)
        lines, again = itertools.tee(lines) if arguments.format == "jsonl" else (lines, itertools.repeat(""))
        flush = arguments.flush or waiting
        options = {"window": 1} if flush else {}
        found = classifier.predict_stream(lines, top_k=arguments.top_k, **options)
        separator = classifier.config.get("separator", "")
        rows = zip(again, found)  # noqa: B905 (as long as the predictions)
        for number, (text, best) in enumerate(progress(rows, arguments.output), 1):
            if arguments.format == "jsonl":
                write.write(json_line({"line": number, "text": text, "labels": [p._asdict() for p in best]}))
            else:
                write.write(_line(best, separator if arguments.top_k == 1 else "") + "\n")
            if flush:
                write.flush()
    _say_cut(classifier)


def _line(best: list[Prediction], separator: str) -> str:
    """label<TAB>probability; several labels of one text stand in one cell, and so do their probabilities."""
    if separator:
        return f"{separator.join(p.label for p in best)}\t{separator.join(f'{p.probability:.4f}' for p in best)}"
    return "\t".join(f"{p.label}\t{p.probability:.4f}" for p in best)


def _say_cut(classifier: Classifier) -> None:
    if classifier.cut:
        most = f"{classifier.limits.most:,} pieces"
        sys.stderr.write(f"{classifier.cut:,} texts are longer than {most}: only that many of each were read\n")


def evaluate(arguments: EvaluateArguments) -> None:
    """Measures a classifier on a split.

    Raises:
        UserError: No such data, or options that go with translations.
    """
    if not arguments.data or len(arguments.model) > 1:
        raise ConfigError("evaluate of a classifier needs one --model DIR, and --data with labels and texts")
    translations = ("hypotheses", "references", "sources", "against", "save_translations", "source", "target")
    for name in translations:
        if getattr(arguments, name) is not None:
            raise ConfigError(
                f"--{name.replace('_', '-')} goes with translations; {arguments.model[0]} is a classifier"
            )
    with output_file(arguments.output) as write:
        report = _report(arguments)
        if arguments.confusion_png is not None:
            from seq2seq.app.plots import confusion_png

            if report.confusion is None:
                raise ConfigError("--confusion-png: there is no confusion matrix where a text may have several labels")
            confusion_png(report.confusion, [row.label for row in report.labels], Path(arguments.confusion_png))
        if arguments.format == "json":
            write.write(json.dumps(report.to_dict(), ensure_ascii=False, indent=2) + "\n")
        else:
            write.write(report.to_text())


def _report(arguments: EvaluateArguments) -> Any:
    classifier = _load(arguments.model[0], arguments.run)
    from seq2seq.inference.classification import classification_report
    from seq2seq.inference.classifier import decide
    from seq2seq.text.labels import Labels, load_labelled

    options = classifier.config["options"]
    data = LabelDataConfig(
        data=arguments.data,
        text_column=arguments.text_column or options["text_column"],
        label_column=arguments.label_column or options["label_column"],
        label_separator=options["label_separator"],
        encoding_errors=arguments.encoding_errors,
    )
    several = classifier.model.several
    corpus = load_labelled(data, arguments.split)
    labels = Labels.read(corpus, data.label_separator)
    unknown = [name for name in labels.names() if name not in classifier.labels]
    if not several and not labels.present().all():
        row = int(labels.present().argmin()) + 1
        raise CorpusError(f"{data.data}, split {arguments.split!r}: row {row:,} has no label; every row needs one")
    if unknown:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        sys.stderr.write(f"labels that the classifier has never seen, and so cannot give: {shown}\n")
    names = [*classifier.labels, *unknown]
    predicted = decide(classifier.probabilities(corpus["target"]), several)
    wider = [(0, 0), (0, len(unknown))]
    _say_cut(classifier)
    import numpy as np

    return classification_report(labels.hot(names), np.pad(predicted, wider), names, several)
