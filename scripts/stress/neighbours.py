#!/usr/bin/env python
"""A translation depends on its sentence alone: not on the size of the batch, the order, or what else is in the batch.

python scripts/stress/neighbours.py --model DIR --input FILE [--sentences 1000] [--precision float32] [--beam-size 5]

Translates the sentences as they stand, one by one, in small batches, backwards, shuffled, and between others that are
much longer and shorter. Texts must be the same, scores the same to rounding.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import Any

from seq2seq import Translator
from seq2seq.text.tables import read_lines

ROUNDING = 1e-3
"""Largest difference of log probabilities that counts as rounding."""


def found(translator: Translator, texts: list[str], **options: Any) -> list[tuple[str, float]]:
    """Text and log probability of each translation."""
    return [(best[0].text, best[0].log_prob) for best in translator.translate_detailed(texts, **options)]


def ways(translator: Translator, texts: list[str], **options: Any) -> dict[str, list[tuple[str, float]]]:
    """The translations of the same texts, in their order, made in several ways."""
    count, draw = len(texts), random.Random(1)
    order = draw.sample(range(count), count)
    shuffled = found(translator, [texts[n] for n in order], **options)
    mixed = [part for text in texts for part in (text, "Yes.", " ".join(draw.choices(texts, k=4)))]
    return {
        "together": found(translator, texts, **options),
        "in batches of 200 pieces": found(translator, texts, **options, search_tokens=200),
        "one by one": [found(translator, [text], **options)[0] for text in texts],
        "backwards": found(translator, texts[::-1], **options)[::-1],
        "shuffled": [shuffled[order.index(n)] for n in range(count)],
        "among others": found(translator, mixed, **options)[::3],
    }


def differences(made: dict[str, list[tuple[str, float]]]) -> dict[str, tuple[int, float]]:
    """Of each way but the first: texts that differ from the first way's, and the largest difference of a score."""
    first, *others = made
    return {
        name: (
            sum(a[0] != b[0] for a, b in zip(made[first], made[name], strict=True)),
            max(abs(a[1] - b[1]) for a, b in zip(made[first], made[name], strict=True)),
        )
        for name in others
    }


def main() -> None:
    """Prints the differences of each way from the first, and fails where there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--beam-size", type=int, default=5)
    options = parser.parse_args()
    texts = list(read_lines(options.input))[: options.sentences]
    translator = Translator.from_pretrained(options.model, precision=options.precision, device="cpu")
    bad = False
    for name, (texts_differ, score) in differences(ways(translator, texts, beam_size=options.beam_size)).items():
        sys.stdout.write(f"{name:<26} {texts_differ:4} of {len(texts):,} texts differ, scores by {score:.1e} at most\n")
        bad |= texts_differ > 0 or score > ROUNDING
    sys.exit(bad)


if __name__ == "__main__":
    main()
