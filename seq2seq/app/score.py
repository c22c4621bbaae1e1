"""`seq2seq score`: log p(target | source) of pairs of lines, of a phrase table's entries, of an n-best list."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seq2seq.app.models import Models, load_translator
from seq2seq.app.streams import DeviceArguments, json_line, output_file, progress
from seq2seq.config import DataConfig
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    from seq2seq.inference.translator import Translator


@dataclass(frozen=True)
class ScoreArguments:
    """Arguments of `seq2seq score`."""

    model: Models = ()
    """Model directory."""
    source_file: str | None = None
    """Sources, one a line."""
    target_file: str | None = None
    """Targets, one a line: line n is scored given line n of the sources."""
    phrase_table: str | None = None
    """Moses phrase table instead: its lines are written with one more score; may be a .gz file, as all of these."""
    nbest: str | None = None
    """Moses n-best list instead, of the --source-file's lines, which count from 0: one more feature a line."""
    output: str | None = None
    """File to write, complete or not at all; compressed where it ends in .gz; standard output without it."""
    format: Literal["text", "jsonl"] = "text"
    """text: `log_prob<TAB>tokens` a line, natural logarithm, end of sentence counted; jsonl: an object a line."""
    feature: Literal["log-prob", "prob"] = "log-prob"
    """New score: natural logarithm of p(target | source), or p itself, as Moses expects in a phrase table."""
    feature_name: str = "Seq2Seq0"
    """Name of the new feature in an n-best list."""
    encoding_errors: Literal["strict", "replace"] = "strict"
    """Invalid UTF-8: `strict` stops and names the line, `replace` puts U+FFFD in its place."""
    run: DeviceArguments = field(default_factory=lambda: DeviceArguments(precision="auto"))


def score(arguments: ScoreArguments, command: list[str]) -> None:
    """Writes log p(target | source) of each pair.

    Raises:
        UserError: No model, no such file, files of unequal length or another format, text that is no UTF-8.
    """
    _check(arguments)
    tables = arguments.phrase_table is not None or arguments.nbest is not None
    run = arguments.run
    if not tables and run.precision == "auto":
        # there are few enough sentences for the exact product
        run = dataclasses.replace(run, precision="float32")
    with output_file(arguments.output) as write:
        translator = load_translator(arguments.model, run, "score")
        rows = _scored_entries(translator, arguments) if tables else _scored_lines(translator, arguments)
        for row in progress(rows, arguments.output):
            write.write(row)


def _check(arguments: ScoreArguments) -> None:
    pairs = arguments.source_file is not None and arguments.target_file is not None
    table, nbest = arguments.phrase_table is not None, arguments.nbest is not None
    if nbest and arguments.source_file is None:
        raise ConfigError("score --nbest needs --source-file FILE, the sentences that were translated")
    if table + nbest > 1 or ((table or nbest) and arguments.target_file is not None):
        raise ConfigError("score takes a phrase table, an n-best list or two files of lines; give one of these")
    if table and arguments.source_file is not None:
        raise ConfigError("score --phrase-table has its sources in the table; leave --source-file out")
    if (table or nbest) and arguments.format != "text":
        raise ConfigError("score writes phrase tables and n-best lists in their own format; leave --format out")
    if not (pairs or table or nbest):
        raise ConfigError(
            "score needs --source-file FILE and --target-file FILE, one sentence a line; or --phrase-table FILE; or "
            "--nbest FILE and --source-file FILE"
        )


def _scored_entries(translator: Translator, arguments: ScoreArguments) -> Iterator[str]:
    """Lines of a phrase table or an n-best list with one more feature."""
    from seq2seq.inference.phrases import nbest_list, phrase_table, score_entries
    from seq2seq.text.tables import read_lines

    errors = arguments.encoding_errors
    if arguments.phrase_table is not None:
        entries = phrase_table(read_lines(arguments.phrase_table, errors), arguments.phrase_table)
    else:
        assert arguments.nbest is not None and arguments.source_file is not None
        lines, sources = read_lines(arguments.nbest, errors), read_lines(arguments.source_file, errors)
        entries = nbest_list(lines, sources, arguments.nbest, arguments.feature_name)
    for line in score_entries(translator, entries, probability=arguments.feature == "prob"):
        yield line + "\n"


def _scored_lines(translator: Translator, arguments: ScoreArguments) -> Iterator[str]:
    """log p and tokens of each pair of lines."""
    from seq2seq.text.tables import line_pairs

    assert arguments.source_file is not None and arguments.target_file is not None
    errors = DataConfig(encoding_errors=arguments.encoding_errors)
    blocks = line_pairs(Path(arguments.source_file), Path(arguments.target_file), errors)
    pairs = (pair for sources, targets in blocks for pair in zip(sources, targets, strict=True))
    for number, found in enumerate(translator.score_stream(pairs), 1):
        if arguments.format == "jsonl":
            yield json_line({"line": number, "log_prob": found.log_prob, "tokens": found.tokens})
        else:
            yield f"{found.log_prob:.6f}\t{found.tokens}\n"
