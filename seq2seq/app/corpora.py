"""Commands that make one corpus of another: their options, and the folder that they write.

The folder holds SPLIT.LANGUAGE files of lines and a report, which is there, with the languages alone, from the start:
it tells what the folder is after an interruption too, so that the same command may be given again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seq2seq.app.streams import check_folder, output_file
from seq2seq.config import DataConfig
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class CorpusArguments:
    """Arguments that such commands share."""

    data: str = ""
    """Corpus, as for `train`."""
    source: str = "source"
    """Language (column, file ending) of the sources."""
    target: str = "target"
    """Language (column, file ending) of the targets."""
    output: str = ""
    """Folder to write: train.SOURCE and train.TARGET, the other splits as they are, and a report (JSON)."""
    train_split: str = "train"
    """Split to work on."""
    encoding_errors: Literal["strict", "replace"] = "strict"
    """Invalid UTF-8: `strict` stops and names the line, `replace` puts U+FFFD in its place."""


class CorpusFolder:
    """The folder that a command writes."""

    def __init__(self, arguments: CorpusArguments, report: str) -> None:
        """Looks at the folder and changes nothing.

        Args:
            arguments: Of the command.
            report: Name of its report.

        Raises:
            ConfigError: The folder holds other files or those of other languages, or is the corpus itself.
        """
        self.arguments, self.path = arguments, Path(arguments.output)
        self.report = self.path / report
        self.languages = (arguments.source, arguments.target)
        check_folder(self.path, report)
        if self.path.is_dir() and Path(arguments.data).exists() and self.path.samefile(arguments.data):
            raise ConfigError(f"--output {self.path} is --data itself; give another folder")
        before = None
        with contextlib.suppress(OSError, ValueError, AttributeError):
            before = json.loads(self.report.read_text(encoding="utf-8")).get("languages")
        if before not in (None, list(self.languages)):
            raise ConfigError(
                f"--output {self.path} holds {' and '.join(map(str, before))}; give a folder for each pair"
            )

    def begin(self) -> tuple[datasets.Dataset, dict[str, datasets.Dataset]]:
        """Reads the corpus, makes the folder and copies the splits that stay as they are.

        Returns:
            The split to work on, and the others by name.

        Raises:
            UserError: There is no such corpus, or the folder cannot be written.
        """
        import datasets

        from seq2seq.text.corpus import load_corpus, pairs_of, split_names
        from seq2seq.text.finding import same_split

        given = self.arguments
        data = DataConfig(
            data=given.data, source=given.source, target=given.target, encoding_errors=given.encoding_errors
        )
        datasets.disable_progress_bars()
        corpus = load_corpus(data, given.train_split)
        names = split_names(data)
        worked_on = same_split(given.train_split, names)
        others = {name: load_corpus(data, name) for name in names if name != worked_on}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror}") from None
        self.tell({})
        for name, split in others.items():
            self.write(name, pairs_of(split))
        return corpus, others

    def write(self, split: str, pairs: Iterable[tuple[str, str]]) -> None:
        """Two files of lines; neither takes its name before both are written.

        Raises:
            ConfigError: One cannot be written, or the disk is full.
        """
        paths = [str(self.path / f"{split}.{language}") for language in self.languages]
        with output_file(paths[0]) as sources, output_file(paths[1]) as targets:
            for source, target in pairs:
                sources.write(source + "\n")
                targets.write(target + "\n")
            sources.flush()  # a disk that is full for one of them leaves none

    def tell(self, report: dict[str, Any]) -> None:
        """Writes the report.

        Raises:
            ConfigError: It cannot be written.
        """
        with output_file(str(self.report)) as file:
            file.write(json.dumps({"languages": self.languages, **report}, indent=2, ensure_ascii=False) + "\n")
