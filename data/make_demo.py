"""Write the English-French demo corpus: ``python data/make_demo.py [--output data/demo] [--seed 1]``.

The sentences come from the templates of ``demo_templates.py``. The corpus is a function of the seed alone: it does not
depend on the Python version, on the hash seed or on the platform.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from demo_lexicon import P, finish
from demo_templates import TEMPLATES, Draw

TRAIN_PER_LABEL, HELD_OUT_PER_LABEL = 800, 30
MIN_WORDS, MAX_WORDS = 3, 25
MIN_TYPE_COUNT = 3
# A template that only repeats itself this many times in a row has no new sentence to offer.
PATIENCE = 40


class Example(NamedTuple):
    """One line of the corpus and the template and lexical choices that it was made from."""

    en: str
    fr: str
    label: str
    combination: tuple[str, ...]


def words(sentence: str) -> list[str]:
    """Split on whitespace after detaching punctuation."""
    return re.sub(r"([.,?!])(?=\s|$)", r" \1 ", sentence).split()


def normalized(sentence: str) -> str:
    """Lower case without punctuation: two sentences that differ in nothing else count as one."""
    return " ".join(w for w in words(sentence.lower()) if w not in ".,?!")


def _fits(sentence: str) -> bool:
    tokens = words(sentence)
    # Bounds hold whether or not the reader counts punctuation marks as words.
    return len(normalized(sentence).split()) >= MIN_WORDS and len(tokens) <= MAX_WORDS


class Generator:
    """Draws sentences and keeps them distinct on both sides over the whole corpus."""

    def __init__(self, seed: int) -> None:
        """Start with an empty corpus."""
        self._rng = random.Random(seed)
        self._french: dict[str, str] = {}
        self._english: dict[str, str] = {}

    def _new(self, label: str, index: int) -> Example | None:
        """One sentence of a template, or None if the corpus has it already."""
        template = TEMPLATES[label][index]
        draw = Draw(self._rng)
        pair: P = finish(template(draw))
        en, fr = normalized(pair.en), normalized(pair.fr)
        if self._french.get(en, fr) != fr:
            raise ValueError(f"two translations of {pair.en!r}")
        if en in self._french or fr in self._english or not (_fits(pair.en) and _fits(pair.fr)):
            return None
        self._french[en], self._english[fr] = fr, en
        return Example(pair.en, pair.fr, label, (template.__name__, *draw.choices))

    def examples(self, label: str, count: int) -> list[Example]:
        """Distinct examples of one label, in equal shares from its templates as long as these last."""
        out: list[Example] = []
        active = list(range(len(TEMPLATES[label])))
        while len(out) < count:
            for index in list(active):
                found = next((e for e in (self._new(label, index) for _ in range(PATIENCE)) if e), None)
                if found is None:
                    active.remove(index)
                else:
                    out.append(found)
            if not active:
                raise ValueError(f"the templates of {label} make fewer than {count} sentences")
        return out[:count]

    def shuffled(self, items: list[Example]) -> list[Example]:
        """A random order that does not rely on the implementation of random.shuffle."""
        return [item for _, item in sorted(((self._rng.random(), item) for item in items), key=lambda pair: pair[0])]


def _types(examples: list[Example]) -> Counter[tuple[str, str]]:
    return Counter(
        t for e in examples for side, text in (("en", e.en), ("fr", e.fr)) for t in ((side, w) for w in words(text))
    )


def build(seed: int) -> dict[str, list[Example]]:
    """The three splits; the held-out ones recombine words and templates of the training set."""
    generator = Generator(seed)
    splits: dict[str, list[Example]] = {"train": [], "valid": [], "test": []}
    pools = {}
    for label in TEMPLATES:
        pools[label] = generator.shuffled(generator.examples(label, TRAIN_PER_LABEL + 2 * HELD_OUT_PER_LABEL))
    counts = _types([e for pool in pools.values() for e in pool])
    for pool in pools.values():
        held_out: list[Example] = []
        for example in pool:
            types = _types([example])
            # Each held-out word keeps enough occurrences in what remains for training.
            if len(held_out) < 2 * HELD_OUT_PER_LABEL and all(
                counts[t] - n >= MIN_TYPE_COUNT for t, n in types.items()
            ):
                held_out.append(example)
                counts -= types
            else:
                splits["train"].append(example)
        splits["valid"] += held_out[:HELD_OUT_PER_LABEL]
        splits["test"] += held_out[HELD_OUT_PER_LABEL:]
    return {name: generator.shuffled(examples) for name, examples in splits.items()}


def write(splits: dict[str, list[Example]], output: Path) -> None:
    """Write one file per split and column."""
    output.mkdir(parents=True, exist_ok=True)
    for name, examples in splits.items():
        for column in ("en", "fr", "label"):
            text = "".join(f"{getattr(e, column)}\n" for e in examples)
            # Bytes, so that no platform rewrites the line ends.
            (output / f"{name}.{column}").write_bytes(text.encode("utf-8"))


def main() -> int:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description="Write the English-French demo corpus.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "demo", help="directory to write to")
    parser.add_argument("--seed", type=int, default=1, help="seed of the generator")
    args = parser.parse_args()
    splits = build(args.seed)
    write(splits, args.output)
    sizes = ", ".join(f"{len(examples)} {name}" for name, examples in splits.items())
    sys.stdout.write(f"{sizes} pairs written to {args.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
