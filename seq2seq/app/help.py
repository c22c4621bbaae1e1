"""The short help of a command: an example and its common options on one screen of 24 lines of 80 columns."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from typing import Any, NamedTuple

from seq2seq.config import field_docs

MOST = 17
"""Options that fit a screen beside the example."""

COMMON = {
    "train": (
        "data source target output config vocab_size attention embedding_size encoder_size decoder_size dropout "
        "learning_rate batch_tokens max_epochs max_minutes threads resume"
    ),
    "distill": (
        "data source target output config teachers student_epochs reverse_output work vocab_size dropout "
        "learning_rate batch_tokens max_epochs max_minutes threads"
    ),
    "train-classifier": (
        "data text_column label_column label_separator output config encoder vocab_size max_length pooling "
        "learning_rate max_epochs max_minutes seed threads resume"
    ),
    "translate": (
        "sentences model input output format attention alignments beam_size n_best length_penalty max_length sample "
        "flush threads precision"
    ),
    "evaluate": (
        "model data split hypotheses references sources against lowercase format output save_translations "
        "confusion_png beam_size threads precision"
    ),
    "diversify": (
        "data source target forward backward output train_split encoding_errors beam_size n_best sample threads "
        "precision"
    ),
    "serve": "model host port api_key_file access_log beam_size threads precision",
}


class _Option(NamedTuple):
    name: str
    default: Any
    doc: str


def short_help(name: str, summary: str, example: str, defaults: Any) -> str:
    """The text.

    Args:
        name: Of the command.
        summary: A line on what it does.
        example: Its examples, which begin the text.
        defaults: Its arguments dataclass, with the values that hold where no flag is given.
    """
    width = min(shutil.get_terminal_size((80, 24)).columns - 1, 110)
    options = list(_options(defaults))
    known = {option.name: option for option in options}
    names = COMMON[name].split() if name in COMMON else list(known)
    # a name that an option has lost must not take the help away
    shown = [known[option] for option in names if option in known][:MOST]
    rest = len(options) - len(shown)
    more = f"; {rest} more: --help-all" if rest else ""
    lines = [f"Example:\n  {example}", "", summary, f"Options, with their defaults{more}"]
    flags = [_flag(option) for option in shown]
    column = min(max(map(len, flags), default=0) + 4, 32)
    for option, flag in zip(shown, flags, strict=True):
        lines.append(f"  {flag:<{column - 2}}{_cut(option.doc, width - max(column, len(flag) + 3))}")
    return "\n".join(lines) + "\n"


def _options(defaults: Any) -> Iterator[_Option]:
    kind: type = type(defaults)
    docs = field_docs(kind)
    for field in dataclasses.fields(defaults):
        value = getattr(defaults, field.name)
        if dataclasses.is_dataclass(value):
            yield from _options(value)
        else:
            yield _Option(field.name, value, docs.get(field.name, ""))


def _flag(option: _Option) -> str:
    if option.name in ("sentences", "texts", "runs", "shell"):
        return option.name.upper()
    flag, value = f"--{option.name.replace('_', '-')}", option.default
    if isinstance(value, bool):
        return flag if not value else f"--no-{flag[2:]}"
    if value in ("", None, ()):
        return flag + " ..."
    return f"{flag} {value:g}" if isinstance(value, float) else f"{flag} {value}"


def _cut(doc: str, width: int) -> str:
    """The line, or its first clauses, or as many of its words as there is room for."""
    if len(doc) <= width:
        return doc
    ends = [end for mark in ("; ", ". ", " (", ": ") if (end := doc.rfind(mark, width // 3, width)) > 0]
    if ends:
        return doc[: max(ends)] + "."
    return doc[: width - 1].rsplit(" ", 1)[0].rstrip(" ,;:.") + "…"
