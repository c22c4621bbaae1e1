"""`seq2seq diversify`: a corpus in, the same with what models of both directions make of its two sides out.

    D  ->  D  +  {(x, forward(x))}  +  {(backward(y), y)}      for the pairs (x, y) of D

(Data diversification, Nguyen et al. 2020, arXiv:1911.01986.) With `--n-best` a text gets several translations, the best
found or, with `--sample`, as many draws (Edunov et al. 2018, arXiv:1808.09381, for back-translation). With `--closest`
two of these are kept: the best and that with most of the given translation's n-grams, which is nearly as easy to learn
as the former and nearly as right as the given one (sequence-level interpolation, Kim & Rush 2016, arXiv:1606.07947).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from seq2seq.app.corpora import CorpusArguments, CorpusFolder
from seq2seq.app.models import Models, load_translator
from seq2seq.app.streams import DeviceArguments, progress
from seq2seq.checkpoint import directions
from seq2seq.config import SearchConfig
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    import datasets

    from seq2seq.inference.translator import Translator

REPORT = "diversify.json"


@dataclass(frozen=True)
class DiversifyArguments(CorpusArguments):
    """Arguments of `seq2seq diversify`."""

    forward: Models = ()
    """Model that translates the sources; several times: an ensemble."""
    backward: Models = ()
    """Model of the other direction, which translates the targets; several times: an ensemble."""
    closest: bool = False
    """Of the `n_best` translations keep two: the first, and that which is closest to the given one by sentence BLEU."""
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
    if arguments.closest and arguments.search.n_best < 2:
        raise ConfigError("--closest chooses among several translations: give --n-best 2 or more, such as 10")
    folder = CorpusFolder(arguments, REPORT)
    models = {name: _translator(name, arguments) for name in ("forward", "backward") if getattr(arguments, name)}
    corpus, _ = folder.begin()
    counts = {"given": len(corpus), **dict.fromkeys(models, 0)}
    pairs = _all_pairs(corpus, models, arguments, counts)
    each = 2 if arguments.closest else arguments.search.n_best
    total = len(corpus) * (1 + each * len(models))
    folder.write(arguments.train_split, progress(pairs, arguments.output, total, " pairs"))
    report = {
        "pairs": counts,
        "forward": list(arguments.forward),
        "backward": list(arguments.backward),
        "closest": arguments.closest,
        "search": asdict(arguments.search),
        "command": command,
    }
    folder.tell(report)
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    sys.stdout.write(f"{sum(counts.values()):,} pairs for training in {folder.path}: {told}\n")


def _translator(name: str, arguments: DiversifyArguments) -> Translator:
    """The forward or the backward model.

    Raises:
        UserError: It cannot be read, or it (a member of an ensemble) translates between other languages.
    """
    from seq2seq.inference.loading import describe_translator, local_directory

    models = getattr(arguments, name)
    wanted = (arguments.source, arguments.target)[:: 1 if name == "forward" else -1]
    for model in models:
        _, config = describe_translator(local_directory(model))
        if wanted not in directions(config):
            raise ConfigError(
                f"--{name} {model} translates {config['source']} to {config['target']}, expected {wanted[0]} to "
                f"{wanted[1]}, as --source and --target say; name the corpus' languages with these, and the model "
                "of the other direction with the other option"
            )
    return load_translator(models, arguments.run, "diversify")


def _all_pairs(
    corpus: datasets.Dataset, models: Mapping[str, Translator], arguments: DiversifyArguments, counts: dict[str, int]
) -> Iterator[tuple[str, str]]:
    """The pairs of the corpus, then those of each model, one for each of a text's translations that says something.

    Two translations of a text that are equal, as where a word can be cut into pieces in several ways, make one pair.
    """
    from seq2seq.inference.risk import sentence_bleu
    from seq2seq.text.corpus import pairs_of

    yield from pairs_of(corpus)
    for name, translator in models.items():
        side = 0 if name == "forward" else 1
        texts = (pair[side] for pair in pairs_of(corpus))
        found = translator.translate_stream(texts, **asdict(arguments.search))
        language = arguments.target if name == "forward" else arguments.source
        for pair, translations in zip(pairs_of(corpus), found, strict=True):
            kept = list(dict.fromkeys(translation.text for translation in translations if translation.text))
            if arguments.closest and kept:
                given = pair[1 - side]
                kept = list(dict.fromkeys((kept[0], max(kept, key=lambda text: sentence_bleu(text, given, language)))))
            for text in kept:
                counts[name] += 1
                yield (pair[0], text) if name == "forward" else (text, pair[1])
