"""What each subcommand takes, and what it does with it. Heavy imports stay inside the functions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TextIO

from tyro.conf import arg

from seq2seq.app import (
    classify,
    completion,
    distill,
    diversify,
    doctor,
    export,
    filter,
    plot,
    score,
    serve,
    translate,
    vectors,
)
from seq2seq.app.models import Models, load_translator
from seq2seq.app.streams import DeviceArguments, output_file, progress
from seq2seq.checkpoint import directions
from seq2seq.config import (
    DataConfig,
    DistillConfig,
    SearchConfig,
    TrainClassifierConfig,
    TrainTranslatorConfig,
    sections,
)
from seq2seq.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from seq2seq.inference.evaluate import Evaluation

Text = Annotated[str | None, arg(metavar="TEXT")]


@dataclass(frozen=True)
class TrainArguments(TrainTranslatorConfig):
    """Arguments of `seq2seq train`: every option, and a recipe."""

    config: str | None = None
    """YAML recipe of `option: value` lines, read first; flags win over it."""


@dataclass(frozen=True)
class EvaluateArguments:
    """Arguments of `seq2seq evaluate`."""

    model: Models = ()
    """Model directory whose translations are measured; several times: the models translate together."""
    data: str = ""
    """Corpus with sources and references: what `seq2seq train --data` takes."""
    split: str = "test"
    """Split of the corpus."""
    source: Text = None
    """Language (column, file ending) to translate from; without it, the model's."""
    target: Text = None
    """Language (column, file ending) of the references, decides how BLEU finds words; without it, the model's."""
    hypotheses: str | None = None
    """Translations to measure, instead of a model's; one a line."""
    references: str | None = None
    """References for --hypotheses, one a line."""
    sources: str | None = None
    """Sources of --hypotheses, one a line: adds the table by source length."""
    against: str | None = None
    """Translations by another system of the same lines: compared by paired bootstrap."""
    lowercase: bool = False
    """Ignore case in all metrics."""
    format: Literal["text", "json"] = "text"
    """How the figures are written."""
    output: str | None = None
    """File for the figures; standard output without it."""
    save_translations: str | None = None
    """File for the model's translations, one a line."""
    text_column: Text = None
    """Of a classifier: column (file ending) of the texts; without it, the one that training read."""
    label_column: Text = None
    """Of a classifier: column (file ending) of the labels; without it, the one that training read."""
    confusion_png: str | None = None
    """Of a classifier: file for a picture of the confusion matrix."""
    encoding_errors: Literal["strict", "replace"] = "strict"
    """Invalid UTF-8: `strict` stops and names the line, `replace` puts U+FFFD in its place."""
    search: SearchConfig = field(default_factory=SearchConfig)
    run: DeviceArguments = field(default_factory=DeviceArguments)


def train(arguments: TrainArguments, command: list[str]) -> None:
    """Trains a model; see `seq2seq.app.train`."""
    from seq2seq.app.train import train_translator

    options = {name: getattr(arguments, name) for name in sections(TrainTranslatorConfig)}
    train_translator(TrainTranslatorConfig(**options), command)


def evaluate(arguments: EvaluateArguments, command: list[str]) -> None:
    """Measures a model's translations of a split, or those in a file.

    Raises:
        UserError: Neither or both of these, no such file or split, files of unequal length.
    """
    if arguments.model and classify.is_classifier(arguments.model[0]):
        classify.evaluate(arguments)
        return
    by_model = bool(arguments.model or arguments.data)
    by_file = arguments.hypotheses is not None or arguments.references is not None
    if by_model == by_file:
        raise ConfigError(
            "evaluate needs --model DIR with --data CORPUS, or --hypotheses FILE with --references FILE"
            + (", not both" if by_model else "")
        )
    # all that can be wrong with the files is told before a model is at work on them
    with output_file(arguments.output) as write, output_file(arguments.save_translations) as save:
        against = _read(arguments.against, arguments)
        measure = _evaluate_model if by_model else _evaluate_files
        evaluation = measure(arguments, against, save if arguments.save_translations else None)
        if arguments.format == "json":
            write.write(json.dumps(evaluation.to_dict(), ensure_ascii=False, indent=2) + "\n")
        else:
            write.write(evaluation.to_text())


def _evaluate_model(arguments: EvaluateArguments, against: list[str] | None, save: TextIO | None) -> Evaluation:
    if not arguments.data:
        raise ConfigError("evaluate --model needs --data CORPUS with sources and references")
    translator = load_translator(arguments.model, arguments.run, "evaluate --data")
    from seq2seq.inference.evaluate import evaluate as measure
    from seq2seq.text.corpus import load_corpus

    known = directions(translator.config)
    asked = [pair for pair in known if arguments.source in (None, pair[0]) and arguments.target in (None, pair[1])]
    own = (asked or known)[0]
    source, target = arguments.source or own[0], arguments.target or own[1]
    if source == target and own[0] != own[1]:
        raise ConfigError(f"source and target are both {source!r}; give --source and --target, one language each")
    data = DataConfig(data=arguments.data, source=source, target=target, encoding_errors=arguments.encoding_errors)
    corpus = load_corpus(data, arguments.split)
    sources, references = list(corpus["source"]), list(corpus["target"])
    if against is not None and len(against) != len(sources):  # an hour of translating comes after this
        raise CorpusError(
            f"{arguments.against} has {len(against):,} lines, the split {arguments.split!r} of {arguments.data} has "
            f"{len(sources):,}; give a translation of each of its sources"
        )
    options = {**dataclasses.asdict(arguments.search), "n_best": 1}
    hypotheses = []
    for best in progress(translator.translate_stream(sources, **options), arguments.output, len(sources)):
        hypotheses.append(best[0].text)
        if save is not None:
            save.write(f"{best[0].text}\n")
    return measure(
        hypotheses, references, sources=sources, against=against, source_language=source, language=target,
        lowercase=arguments.lowercase,
    )  # fmt: skip


def _evaluate_files(arguments: EvaluateArguments, against: list[str] | None, save: TextIO | None) -> Evaluation:
    if save is not None:
        raise ConfigError("--save-translations goes with --model; --hypotheses are a file already")
    hypotheses, references = _read(arguments.hypotheses, arguments), _read(arguments.references, arguments)
    if hypotheses is None or references is None:
        raise ConfigError("evaluate needs --hypotheses FILE and --references FILE, one sentence a line")
    from seq2seq.inference.evaluate import evaluate as measure

    return measure(
        hypotheses, references, sources=_read(arguments.sources, arguments), against=against,
        source_language=arguments.source or "", language=arguments.target or "", lowercase=arguments.lowercase,
    )  # fmt: skip


def _read(path: str | None, arguments: EvaluateArguments) -> list[str] | None:
    """All lines of a file that an option names, if it does."""
    if path is None:
        return None
    from seq2seq.text.tables import read_lines

    return list(read_lines(path, arguments.encoding_errors))


class Implementation(NamedTuple):
    """A command's arguments and the function that takes them, with the whole command line as second argument."""

    arguments: type
    run: Callable[[Any, list[str]], None]
    recipe: type | None = None
    """What --config may set, where the command takes it."""


COMMANDS = {
    "train": Implementation(TrainArguments, train, TrainTranslatorConfig),
    "train-classifier": Implementation(
        classify.TrainClassifierArguments, classify.train_classifier, TrainClassifierConfig
    ),
    "distill": Implementation(distill.DistillArguments, distill.distill, DistillConfig),
    "translate": Implementation(translate.TranslateArguments, translate.translate),
    "classify": Implementation(classify.ClassifyArguments, classify.classify),
    "evaluate": Implementation(EvaluateArguments, evaluate),
    "filter": Implementation(filter.FilterArguments, filter.filter_corpus),
    "diversify": Implementation(diversify.DiversifyArguments, diversify.diversify),
    "score": Implementation(score.ScoreArguments, score.score),
    "embed": Implementation(vectors.EmbedArguments, vectors.embed),
    "plot": Implementation(plot.PlotArguments, plot.plot),
    "doctor": Implementation(doctor.DoctorArguments, doctor.doctor),
    "export": Implementation(export.ExportArguments, export.export),
    "completion": Implementation(completion.CompletionArguments, completion.completion),
    "serve": Implementation(serve.ServeArguments, serve.serve),
}
