"""`seq2seq filter`: a corpus in, the pairs worth training on out, and what went and why."""

from __future__ import annotations

import itertools
import sys
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from seq2seq.app.corpora import CorpusArguments, CorpusFolder
from seq2seq.app.streams import progress
from seq2seq.config import FilterConfig
from seq2seq.errors import ConfigError, shown

if TYPE_CHECKING:
    from seq2seq.text.filtering import Outcome

REPORT = "filter.json"


@dataclass(frozen=True)
class FilterArguments(CorpusArguments):
    """Arguments of `seq2seq filter`."""

    filter: FilterConfig = field(default_factory=FilterConfig)


def filter_corpus(arguments: FilterArguments, command: list[str]) -> None:
    """Writes the pairs that are kept, and says how many went for which reason.

    Raises:
        UserError: No such corpus, options that make no sense, a folder that holds other files or cannot be written.
    """
    _check(arguments)
    folder = CorpusFolder(arguments, REPORT)
    from seq2seq.text.filtering import filtered, new_outcome

    corpus, others = folder.begin()
    outcome = new_outcome(corpus)
    blocks = progress(filtered(corpus, arguments.filter, others, outcome), arguments.output, unit=" blocks")
    folder.write(arguments.train_split, itertools.chain.from_iterable(blocks))
    report = {
        "read": outcome.read,
        "kept": outcome.kept,
        "left_out": dict(outcome.left_out.most_common()),
        "examples": outcome.examples,
        "options": asdict(arguments.filter),
        "command": command,
    }
    folder.tell(report)
    sys.stdout.write(told(outcome))
    if not outcome.kept:
        raise ConfigError(f"nothing is left of {arguments.data}; see {folder.report} for what went and why")


def _check(arguments: FilterArguments) -> None:
    if not arguments.data or not arguments.output:
        raise ConfigError("filter needs --data CORPUS and --output FOLDER")
    limits = arguments.filter
    if 0 < limits.max_ratio < 1 or limits.max_ratio < 0:
        raise ConfigError(f"--max-ratio is {limits.max_ratio:g}, expected 1 or more, or 0 for no limit")
    if not 0 <= limits.min_letters <= 1:
        raise ConfigError(f"--min-letters is {limits.min_letters:g}, expected 0 to 1")
    if limits.max_characters < 0:
        raise ConfigError(f"--max-characters is {limits.max_characters}, expected 0 or more")


def told(outcome: Outcome) -> str:
    """The outcome as a table, the most frequent reason first, with an example each."""
    read = max(outcome.read, 1)
    lines = [f"{outcome.read:,} pairs read, {outcome.kept:,} kept ({outcome.kept / read:.1%})\n"]
    for reason, count in outcome.left_out.most_common():
        source, target = outcome.examples[reason]
        lines.append(f"{count:>12,}  {count / read:>6.1%}  {reason}: {shown(source, 40)}, {shown(target, 40)}\n")
    return "".join(lines)
