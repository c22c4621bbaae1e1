"""The models of a server, found by language pair or by name, and what can be asked of them as tasks for the batcher."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from seq2seq.checkpoint import directions, read_config
from seq2seq.config import SearchConfig
from seq2seq.errors import ConfigError, UserError, nearest
from seq2seq.inference.alignments import word_attention
from seq2seq.inference.classifier import Classifier, Prediction
from seq2seq.inference.loading import local_directory
from seq2seq.inference.rules import check_search
from seq2seq.inference.scoring import Score
from seq2seq.inference.translator import Translation, Translator

Precision = Literal["auto", "float32", "bfloat16", "int8"]

_NAMES = """
ar Arabic, bg Bulgarian, bn Bengali, ca Catalan, cs Czech, da Danish, de German, el Greek, en English, eo Esperanto,
es Spanish, et Estonian, eu Basque, fa Persian, fi Finnish, fr French, ga Irish, gl Galician, he Hebrew, hi Hindi,
hr Croatian, hu Hungarian, id Indonesian, is Icelandic, it Italian, ja Japanese, ko Korean, lt Lithuanian, lv Latvian,
mk Macedonian, ms Malay, nb Norwegian Bokmål, nl Dutch, pl Polish, pt Portuguese, ro Romanian, ru Russian, sk Slovak,
sl Slovenian, sq Albanian, sr Serbian, sv Swedish, sw Swahili, ta Tamil, th Thai, tr Turkish, uk Ukrainian, ur Urdu,
vi Vietnamese, zh Chinese"""
NAMES = {code: name for code, name in (entry.strip().split(" ", 1) for entry in _NAMES.split(","))}
"""English names of languages; any other code is its own name."""


class Translate(NamedTuple):
    """Lines to their translations, best first."""

    translator: Translator
    search: SearchConfig
    n_best: int
    with_attention: bool

    def __call__(self, lines: list[str]) -> list[list[Translation]]:
        beam = max(self.search.beam_size, self.n_best)
        options = {**vars(self.search), "n_best": self.n_best, "beam_size": beam}
        return self.translator.translate_detailed(lines, with_attention=self.with_attention, **options)


class ScorePairs(NamedTuple):
    """(source, translation) pairs to log probabilities."""

    translator: Translator

    def __call__(self, pairs: list[tuple[str, str]]) -> list[Score]:
        return list(self.translator.score_stream(pairs))


class Classify(NamedTuple):
    """Texts to labels, likeliest first."""

    classifier: Classifier
    top_k: int

    def __call__(self, texts: list[str]) -> list[list[Prediction]]:
        return list(self.classifier.predict_stream(texts, top_k=self.top_k))


class Unknown(UserError):
    """No model of this server does what a request asks for."""


class Catalog:
    """Translators by (source, target), classifiers by name."""

    def __init__(
        self,
        translators: dict[tuple[str, str], Translator],
        classifiers: dict[str, Classifier],
        search: SearchConfig | None = None,
    ) -> None:
        """Models in memory; `load` reads them.

        Raises:
            ConfigError: Options of search that contradict each other, or that ask for draws, or no model at all.
        """
        self.translators, self.classifiers, self.search = translators, classifiers, search or SearchConfig()
        _check(self.search)
        if not translators and not classifiers:
            raise ConfigError("serve needs --model DIR, a directory that a training has written")

    @classmethod
    def load(
        cls, paths: Sequence[str], search: SearchConfig, *, device: str, threads: int, precision: Precision
    ) -> Catalog:
        """Reads model directories, or names on the hub.

        Raises:
            ModelDirectoryError: One is no (readable) model directory.
            ConfigError: Two models for one language pair, or of one name; or as `Catalog`.
        """
        _check(search)  # before anything that takes long
        translators: dict[tuple[str, str], Translator] = {}
        classifiers: dict[str, Classifier] = {}
        for path in paths:
            directory = local_directory(path)
            config = read_config(directory)
            if config.get("task") == "classification":
                kind: Precision = "float32" if precision == "int8" else precision
                classifier = Classifier.from_pretrained(directory, device=device, threads=threads, precision=kind)
                name = Path(path).resolve().name if Path(path).exists() else path
                if name in classifiers:
                    raise ConfigError(f"two classifiers are called {name!r}; rename the directory of one")
                classifiers[name] = classifier
                continue
            translator = Translator.from_pretrained(directory, device=device, threads=threads, precision=precision)
            for pair in directions(config):
                if pair in translators:
                    raise ConfigError(
                        f"{path} is a second model for {pair[0]} → {pair[1]}; give one for each direction"
                    )
                translators[pair] = translator
        return cls(translators, classifiers, search)

    def languages(self) -> list[dict[str, Any]]:
        """Every language with those that it can be translated into, as LibreTranslate lists them; sources first."""
        codes = dict.fromkeys([source for source, _ in self.translators] + [target for _, target in self.translators])
        return [
            {
                "code": code,
                "name": NAMES.get(code, code),
                "targets": [target for source, target in self.translators if source == code],
            }
            for code in codes
        ]

    def translator(self, source: str, target: str) -> tuple[str, Translator]:
        """The model for a language pair, and the source's code; source `auto` is the only one that there is.

        Raises:
            Unknown: There is none, or `auto` would have to choose.
        """
        source, target = source.strip().lower(), target.strip().lower()
        pairs = {(s.lower(), t.lower()): (s, t) for s, t in self.translators}
        if source == "auto":
            sources = [s for s, t in pairs if t == target]
            if len(sources) > 1:
                raise Unknown(f"languages are not detected here: give source as one of {', '.join(sorted(sources))}")
            source = sources[0] if sources else source
        if (source, target) not in pairs:
            known = ", ".join(f"{s} → {t}" for s, t in self.translators) or "none: this server only classifies"
            raise Unknown(f"no model translates {source} → {target}; there are: {known}")
        found = pairs[source, target]
        return found[0], self.translators[found]

    def classifier(self, name: str | None) -> Classifier:
        """A classifier by its name, which may be left out where there is one.

        Raises:
            Unknown: There is none of this name, or no name although there are several.
        """
        known = ", ".join(self.classifiers) or "none: this server only translates"
        if name is None:
            if len(self.classifiers) != 1:
                raise Unknown(f"model is missing; there are: {known}")
            return next(iter(self.classifiers.values()))
        if name not in self.classifiers:
            raise Unknown(f"no classifier {name!r}{nearest(name, self.classifiers)} (there are: {known})")
        return self.classifiers[name]


def _check(search: SearchConfig) -> None:
    check_search(search)
    if search.sample:
        raise ConfigError("a server answers the same each time; leave --sample out")


def details(found: list[Translation]) -> dict[str, Any]:
    """What the page shows of one line: its words, and each translation with its words, confidence and attention.

    Confidence is the geometric mean of the probabilities of all pieces and the end of the sentence. Row n of the
    attention (words of the translation x words of the source) belongs to word n; what is missing to 1 went to the end
    of the source.
    """
    shown: list[dict[str, Any]] = []
    words: list[str] = []
    for translation in found:
        entry: dict[str, Any] = {"text": translation.text, "words": [], "attention": []}
        if translation.attention is not None:
            joined = word_attention(translation.pieces, translation.source_pieces, translation.attention)
            words, weights = joined.source, joined.weights[:-1, :-1]
            entry |= {"words": joined.target, "attention": [[round(x, 3) for x in row] for row in weights.tolist()]}
        entry["confidence"] = round(math.exp(translation.log_prob / (len(translation.pieces) + 1)), 4)
        shown.append(entry)
    return {"words": words, "translations": shown}
