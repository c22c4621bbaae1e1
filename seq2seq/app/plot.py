"""`seq2seq plot`: the course of trainings, or vectors in two dimensions."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from seq2seq.errors import ConfigError, CorpusError


@dataclass(frozen=True)
class PlotArguments:
    """Arguments of `seq2seq plot`."""

    runs: Annotated[Positional[tuple[str, ...]], arg(metavar="DIR ...", help_behavior_hint="")] = ()
    """Model directories, finished or in training: loss, BLEU, learning rate and speed, all in one picture."""
    output: str = "plot.png"
    """Picture to write: .png, .svg or .pdf."""
    axis: Literal["steps", "minutes"] = "steps"
    """What runs to the right."""
    vectors: str | None = None
    """Instead of runs: vectors that `seq2seq embed` has written, .npy or tab-separated."""
    labels: str | None = None
    """Texts of the vectors, one a line; shown where they are not too many."""
    projection: Literal["pca", "tsne"] = "pca"
    """Vectors to points: principal components, or t-SNE (needs scikit-learn)."""
    projection_seed: int = 1
    """Seed of t-SNE."""


def plot(arguments: PlotArguments, command: list[str]) -> None:
    """Draws one picture.

    Raises:
        UserError: Neither or both of runs and vectors, or a file that cannot be read or written.
    """
    if bool(arguments.runs) == (arguments.vectors is not None):
        raise ConfigError("plot needs model directories, or --vectors FILE" + (", not both" if arguments.runs else ""))
    path = Path(arguments.output)
    if arguments.vectors is not None:
        _plot_vectors(arguments.vectors, arguments, path)
    else:
        from seq2seq.app.plots import courses_picture, read_course

        courses_picture([read_course(Path(run)) for run in arguments.runs], path, arguments.axis)
    sys.stderr.write(f"{path} written\n")


def _plot_vectors(file: str, arguments: PlotArguments, path: Path) -> None:
    from seq2seq.app.plots import vectors_picture
    from seq2seq.app.vectors import read_vectors
    from seq2seq.inference.vectors import neighbours, principal_components
    from seq2seq.text.tables import read_lines

    vectors = read_vectors(file)
    labels = list(read_lines(arguments.labels, "strict")) if arguments.labels is not None else []
    if labels and len(labels) != len(vectors):
        raise CorpusError(f"{arguments.labels} has {len(labels):,} lines, {file} {len(vectors):,} vectors")
    tsne = arguments.projection == "tsne"
    points = neighbours(vectors, arguments.projection_seed) if tsne else principal_components(vectors)
    vectors_picture(points, labels, path)
