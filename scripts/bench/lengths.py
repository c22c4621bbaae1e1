#!/usr/bin/env python
"""BLEU by source length, one line a model: the figure of Bahdanau et al. 2015 (fixed vector against attention).

    python scripts/bench/lengths.py --models runs/cho2014 runs/bahdanau2015 --data DIR --split test \
        --picture docs/lengths.png

The sentences are put into groups of about the same number by the length of their source in words, so that no point
stands on a handful of sentences. Prints the table that the picture shows.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import sacrebleu

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from seq2seq.config import DataConfig
from seq2seq.inference.translator import Translator
from seq2seq.text.corpus import load_corpus


def groups(lengths: np.ndarray, count: int) -> list[np.ndarray]:
    """Row numbers of about `count` groups of increasing length; sentences of one length are never in two groups."""
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, count + 1)[1:-1]))
    places = np.searchsorted(edges, lengths, side="left")
    return [np.flatnonzero(places == place) for place in range(len(edges) + 1) if (places == place).any()]


def measure(model: str, data: str, split: str, count: int) -> list[tuple[float, str, int, float]]:
    """Mean length, range of lengths, sentences and BLEU of each group."""
    translator = Translator.from_pretrained(model)
    corpus = load_corpus(
        DataConfig(data=data, source=translator.config["source"], target=translator.config["target"]), split
    )
    sources, references = list(corpus["source"]), list(corpus["target"])
    translations = translator.translate(sources)
    lengths = np.array([len(source.split()) for source in sources])
    table = []
    for rows in groups(lengths, count):
        bleu = sacrebleu.corpus_bleu([translations[row] for row in rows], [[references[row] for row in rows]])
        inside = lengths[rows]
        table.append((float(inside.mean()), f"{inside.min()} to {inside.max()}", len(rows), bleu.score))
    return table


def draw(found: dict[str, list[tuple[float, str, int, float]]], path: str) -> None:
    """One line a model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for (name, table), marker in zip(found.items(), "os^Dv*", strict=False):
        axes.plot([row[0] for row in table], [row[3] for row in table], marker=marker, label=name)
    axes.set(xlabel="words in the source", ylabel="BLEU", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Reads the arguments, prints the table, draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", required=True, metavar="DIR")
    parser.add_argument(
        "--names", nargs="+", metavar="NAME", help="for the legend; without them the directories' names"
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--groups", type=int, default=6)
    parser.add_argument("--picture")
    arguments = parser.parse_args()
    names = arguments.names or [Path(model).name for model in arguments.models]
    if len(names) != len(arguments.models):
        parser.error(f"{len(names)} names for {len(arguments.models)} models")
    found = {
        name: measure(model, arguments.data, arguments.split, arguments.groups)
        for name, model in zip(names, arguments.models, strict=True)
    }
    print(f"| words | sentences | {' | '.join(found)} |")
    print(f"| --- | --- |{' --- |' * len(found)}")
    for rows in zip(*found.values(), strict=True):
        print(f"| {rows[0][1]} | {rows[0][2]} | {' | '.join(f'{row[3]:.1f}' for row in rows)} |")
    if arguments.picture:
        draw(found, arguments.picture)


if __name__ == "__main__":
    main()
