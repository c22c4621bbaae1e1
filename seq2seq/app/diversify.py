"""`seq2seq diversify`: a corpus in, the same with what models of both directions make of its two sides out.

    D  ->  D  +  {(x, forward(x))}  +  {(backward(y), y)}      for the pairs (x, y) of D

(Data diversification, Nguyen et al. 2020, arXiv:1911.01986.)
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from seq2seq.app.models import Models, load_translator
from seq2seq.app.streams import DeviceArguments, begin_corpus, check_folder, output_file, progress, write_pairs
from seq2seq.config import DataConfig, SearchConfig
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    import datasets

    from seq2seq.inference.translator import Translator

REPORT = "diversify.json"


@dataclass(frozen=True)
class DiversifyArguments:
    """Arguments of `seq2seq diversify`."""

    data: str = ""
    """Corpus, as for `train`."""
    source: str = "source"
    """Language (column, file ending) of the sources."""
    target: str = "target"
    """Language (column, file ending) of the targets."""
    forward: Models = ()
    """Model that translates the sources; several times: an ensemble."""
    backward: Models = ()
    """Model of the other direction, which translates the targets; several times: an ensemble."""
    output: str = ""
    """Folder to write: train.SOURCE and train.TARGET, the other splits as they are, and diversify.json."""
    train_split: str = "train"
    """Split to translate."""
    encoding_errors: Literal["strict", "replace"] = "strict"
    """Invalid UTF-8: `strict` stops and names the line, `replace` puts U+FFFD in its place."""
    search: SearchConfig = field(default_factory=SearchConfig)
    run: DeviceArguments = field(default_factory=lambda: DeviceArguments(precision="auto"))


def diversify(arguments: DiversifyArguments, command: list[str]) -> None:
    """Writes the given pairs and those that the models add.

    Raises:
        UserError: No such corpus or model, models of another direction, a folder that holds other files, is the corpus
            or cannot be written.
    """
    if not arguments.data or not arguments.output or not (arguments.forward or arguments.backward):
        raise ConfigError("diversify needs --data CORPUS, --output FOLDER, and --forward DIR, --backward DIR or both")
    from seq2seq.inference.rules import check_search

    check_search(arguments.search)
    if arguments.search.n_best != 1:
        raise ConfigError(f"--n-best is {arguments.search.n_best}, expected 1: a text gets one translation")
    folder, languages = Path(arguments.output), (arguments.source, arguments.target)
    check_folder(folder, REPORT)  # before models are loaded
    models = {name: _translator(name, arguments) for name in ("forward", "backward") if getattr(arguments, name)}
    from seq2seq.text.corpus import load_corpus, pairs_of, split_names
    from seq2seq.text.finding import same_split

    data = DataConfig(
        data=arguments.data, source=arguments.source, target=arguments.target, encoding_errors=arguments.encoding_errors
    )
    corpus = load_corpus(data, arguments.train_split)
    names = split_names(data)
    split = same_split(arguments.train_split, names)
    others = {name: load_corpus(data, name) for name in names if name != split}
    begin_corpus(folder, REPORT, arguments.data, languages)
    for name, other in others.items():
        write_pairs(folder, name, languages, pairs_of(other))
    counts = {"given": len(corpus), **dict.fromkeys(models, 0)}
    pairs = _all_pairs(corpus, models, arguments.search, counts)
    total = len(corpus) * (1 + len(models))
    write_pairs(folder, arguments.train_split, languages, progress(pairs, arguments.output, total, " pairs"))
    report = {
        "languages": languages,
        "pairs": counts,
        "forward": list(arguments.forward),
        "backward": list(arguments.backward),
        "search": asdict(arguments.search),
        "command": command,
    }
    with output_file(str(folder / REPORT)) as file:
        file.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    sys.stdout.write(f"{sum(counts.values()):,} pairs for training in {folder}: {told}\n")


def _translator(name: str, arguments: DiversifyArguments) -> Translator:
    """The forward or the backward model.

    Raises:
        UserError: It cannot be read, or it (a member of an ensemble) translates between other languages.
    """
    from seq2seq.inference.loading import describe_translator, local_directory

    models = getattr(arguments, name)
    wanted = [arguments.source, arguments.target][:: 1 if name == "forward" else -1]
    for model in models:
        _, config = describe_translator(local_directory(model))
        found = [config["source"], config["target"]]
        if found != wanted:
            raise ConfigError(
                f"--{name} {model} translates {found[0]} to {found[1]}, expected {wanted[0]} to {wanted[1]}, as "
                "--source and --target say; name the corpus' languages with these, and the model of the other "
                "direction with the other option"
            )
    return load_translator(models, arguments.run, "diversify")


def _all_pairs(
    corpus: datasets.Dataset, models: Mapping[str, Translator], search: SearchConfig, counts: dict[str, int]
) -> Iterator[tuple[str, str]]:
    """The pairs of the corpus, then those of each model; a text that it translates to nothing makes none."""
    from seq2seq.text.corpus import pairs_of

    yield from pairs_of(corpus)
    for name, translator in models.items():
        side = 0 if name == "forward" else 1
        texts = (pair[side] for pair in pairs_of(corpus))
        found = translator.translate_stream(texts, **asdict(search))
        for pair, best in zip(pairs_of(corpus), found, strict=True):
            if best[0].text:
                counts[name] += 1
                yield (pair[0], best[0].text) if name == "forward" else (best[0].text, pair[1])
