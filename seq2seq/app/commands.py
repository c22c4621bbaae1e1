"""What each subcommand takes, and what it does with it. Heavy imports stay inside the functions."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TextIO

from tyro.conf import Positional, UseAppendAction, arg

from seq2seq.app import classify
from seq2seq.app.streams import DeviceArguments, json_line, output_file, progress, text_lines
from seq2seq.config import DataConfig, SearchConfig, TrainClassifierConfig, TrainTranslatorConfig, sections
from seq2seq.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from seq2seq.inference.evaluate import Evaluation
    from seq2seq.inference.translator import Translator

Models = Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="DIR")]
Text = Annotated[str | None, arg(metavar="TEXT")]


@dataclass(frozen=True)
class TrainArguments(TrainTranslatorConfig):
    """Arguments of `seq2seq train`: every option, and a recipe."""

    config: str | None = None
    """YAML recipe of `option: value` lines, read first; flags win over it."""


@dataclass(frozen=True)
class TranslateArguments:
    """Arguments of `seq2seq translate`."""

    sentences: Annotated[Positional[tuple[str, ...]], arg(metavar="SENTENCE ...", help_behavior_hint="")] = ()
    """Sentences to translate; without them, and without --input, standard input is read."""
    model: Models = ()
    """Model directory; given several times, the models translate together (they must share a tokenizer)."""
    input: str | None = None
    """Text to translate, one sentence a line; may be a .gz file."""
    output: str | None = None
    """File to write, complete or not at all; standard output without it."""
    format: Literal["text", "jsonl"] = "text"
    """text: one translation a line, or line<TAB>rank<TAB>score<TAB>text where --n-best > 1; jsonl: an object a line."""
    flush: bool = False
    """Translate and write each line as soon as it has been read: slower, for use in a pipe that waits for answers."""
    encoding_errors: Literal["strict", "replace"] = "strict"
    """Invalid UTF-8: `strict` stops and names the line, `replace` puts U+FFFD in its place."""
    search: SearchConfig = field(default_factory=SearchConfig)
    run: DeviceArguments = field(default_factory=lambda: DeviceArguments(precision="auto"))


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


@dataclass(frozen=True)
class ScoreArguments:
    """Arguments of `seq2seq score`."""

    model: Models = ()
    """Model directory."""
    source_file: str | None = None
    """Sources, one a line."""
    target_file: str | None = None
    """Targets, one a line: line n is scored given line n of the sources."""
    output: str | None = None
    """File to write, complete or not at all; standard output without it."""
    format: Literal["text", "jsonl"] = "text"
    """text: `log_prob<TAB>tokens` a line, natural logarithm, end of sentence counted; jsonl: an object a line."""
    encoding_errors: Literal["strict", "replace"] = "strict"
    """Invalid UTF-8: `strict` stops and names the line, `replace` puts U+FFFD in its place."""
    run: DeviceArguments = field(default_factory=DeviceArguments)


def train(arguments: TrainArguments, command: list[str]) -> None:
    """Trains a model; see `seq2seq.app.train`."""
    from seq2seq.app.train import train_translator

    options = {name: getattr(arguments, name) for name in sections(TrainTranslatorConfig)}
    train_translator(TrainTranslatorConfig(**options), command)


def translate(arguments: TranslateArguments, command: list[str]) -> None:
    """Translates sentences, a file or standard input: as many lines out as in, or n_best for each.

    Raises:
        UserError: No model, no such file, text that is no UTF-8, options that contradict each other.
    """
    if arguments.sentences and arguments.input is not None:
        raise ConfigError("translate got sentences and --input; give one of them")
    options, several = dataclasses.asdict(arguments.search), arguments.search.n_best > 1
    with output_file(arguments.output) as write:
        translator = _load(arguments.model, arguments.run, "translate")
        lines, waiting = text_lines(arguments.sentences, arguments.input, arguments.encoding_errors)
        # the lines are needed twice where the output repeats them, and no more than a window of them is kept
        lines, again = itertools.tee(lines) if arguments.format == "jsonl" else (lines, itertools.repeat(""))
        flush = arguments.flush or waiting
        stream = translator.translate_stream
        found = stream(lines, window=1, **options) if flush else stream(lines, **options)
        rows = zip(again, found)  # noqa: B905 (as long as the translations)
        for number, (source, best) in enumerate(progress(rows, arguments.output), 1):
            if arguments.format == "jsonl":
                shown = [{"text": t.text, "score": t.score, "log_prob": t.log_prob} for t in best]
                write.write(json_line({"line": number, "source": source, "translations": shown}))
            elif several:
                write.writelines(f"{number}\t{rank}\t{t.score:.6f}\t{t.text}\n" for rank, t in enumerate(best, 1))
            else:
                write.write(f"{best[0].text}\n")
            if flush:
                write.flush()


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
    translator = _load(arguments.model, arguments.run, "evaluate --data")
    from seq2seq.inference.evaluate import evaluate as measure
    from seq2seq.text.corpus import load_corpus

    source = arguments.source or translator.config["source"]
    target = arguments.target or translator.config["target"]
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


def score(arguments: ScoreArguments, command: list[str]) -> None:
    """Writes log p(target | source) of each pair of lines.

    Raises:
        UserError: No model, no such file, files of unequal length, text that is no UTF-8.
    """
    if arguments.source_file is None or arguments.target_file is None:
        raise ConfigError("score needs --source-file FILE and --target-file FILE, one sentence a line")
    with output_file(arguments.output) as write:
        translator = _load(arguments.model, arguments.run, "score")
        from seq2seq.text.tables import line_pairs

        errors = DataConfig(encoding_errors=arguments.encoding_errors)
        blocks = line_pairs(Path(arguments.source_file), Path(arguments.target_file), errors)
        pairs = (pair for sources, targets in blocks for pair in zip(sources, targets, strict=True))
        for number, found in enumerate(progress(translator.score_stream(pairs), arguments.output), 1):
            if arguments.format == "jsonl":
                write.write(json_line({"line": number, "log_prob": found.log_prob, "tokens": found.tokens}))
            else:
                write.write(f"{found.log_prob:.6f}\t{found.tokens}\n")


def _load(models: Sequence[str], run: DeviceArguments, command: str) -> Translator:
    if not models:
        raise ConfigError(f"{command} needs --model DIR, a directory that `seq2seq train --output DIR` has written")
    from seq2seq.inference.translator import Translator

    return Translator.from_pretrained(models, device=run.device, threads=run.threads, precision=run.precision)


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
    "translate": Implementation(TranslateArguments, translate),
    "classify": Implementation(classify.ClassifyArguments, classify.classify),
    "evaluate": Implementation(EvaluateArguments, evaluate),
    "score": Implementation(ScoreArguments, score),
}
