"""`seq2seq filter`: a corpus in, the pairs worth training on out, and what went and why."""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seq2seq.app.streams import begin_corpus, output_file, progress, write_pairs
from seq2seq.config import DataConfig, FilterConfig
from seq2seq.errors import ConfigError, shown

if TYPE_CHECKING:
    from seq2seq.text.filtering import Outcome

REPORT = "filter.json"


@dataclass(frozen=True)
class FilterArguments:
    """Arguments of `seq2seq filter`."""

    data: str = ""
    """Corpus, as for `train`."""
    source: str = "source"
    """Language (column, file ending) of the sources."""
    target: str = "target"
    """Language (column, file ending) of the targets."""
    output: str = ""
    """Folder to write: train.SOURCE and train.TARGET, the other splits as they are, and filter.json."""
    train_split: str = "train"
    """Split to filter."""
    encoding_errors: Literal["strict", "replace"] = "strict"
    """Invalid UTF-8: `strict` stops and names the line, `replace` puts U+FFFD in its place."""
    filter: FilterConfig = field(default_factory=FilterConfig)


def filter_corpus(arguments: FilterArguments, command: list[str]) -> None:
    """Writes the pairs that are kept, and says how many went for which reason.

    Raises:
        UserError: No such corpus, options that make no sense, a folder that holds other files or cannot be written.
    """
    folder = _checked(arguments)
    import datasets

    from seq2seq.text.corpus import load_corpus, pairs_of, split_names
    from seq2seq.text.filtering import filtered, new_outcome

    data = DataConfig(
        data=arguments.data, source=arguments.source, target=arguments.target, encoding_errors=arguments.encoding_errors
    )
    datasets.disable_progress_bars()
    corpus = load_corpus(data, arguments.train_split)
    others = {name: load_corpus(data, name) for name in split_names(data) if name != arguments.train_split}
    outcome = new_outcome(corpus)
    languages = (arguments.source, arguments.target)
    begin_corpus(folder, REPORT, arguments.data, languages)
    for name, split in others.items():
        write_pairs(folder, name, languages, pairs_of(split))
    blocks = progress(filtered(corpus, arguments.filter, others, outcome), arguments.output, unit=" blocks")
    write_pairs(folder, arguments.train_split, languages, itertools.chain.from_iterable(blocks))
    report = {
        "languages": languages,
        "read": outcome.read,
        "kept": outcome.kept,
        "left_out": dict(outcome.left_out.most_common()),
        "examples": outcome.examples,
        "options": asdict(arguments.filter),
        "command": command,
    }
    with output_file(str(folder / REPORT)) as file:
        file.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.write(told(outcome))
    if not outcome.kept:
        raise ConfigError(f"nothing is left of {arguments.data}; see {folder / REPORT} for what went and why")


def _checked(arguments: FilterArguments) -> Path:
    if not arguments.data or not arguments.output:
        raise ConfigError("filter needs --data CORPUS and --output FOLDER")
    limits = arguments.filter
    if 0 < limits.max_ratio < 1 or limits.max_ratio < 0:
        raise ConfigError(f"--max-ratio is {limits.max_ratio:g}, expected 1 or more, or 0 for no limit")
    if not 0 <= limits.min_letters <= 1:
        raise ConfigError(f"--min-letters is {limits.min_letters:g}, expected 0 to 1")
    if limits.max_characters < 0:
        raise ConfigError(f"--max-characters is {limits.max_characters}, expected 0 or more")
    return Path(arguments.output)


def told(outcome: Outcome) -> str:
    """The outcome as a table, the most frequent reason first, with an example each."""
    read = max(outcome.read, 1)
    lines = [f"{outcome.read:,} pairs read, {outcome.kept:,} kept ({outcome.kept / read:.1%})\n"]
    for reason, count in outcome.left_out.most_common():
        source, target = outcome.examples[reason]
        lines.append(f"{count:>12,}  {count / read:>6.1%}  {reason}: {shown(source, 40)}, {shown(target, 40)}\n")
    return "".join(lines)
