"""Pictures, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seq2seq.errors import ConfigError

NUMBERED = 30
"""Cells of a matrix of more labels than this hold no numbers."""


def confusion_png(confusion: np.ndarray, labels: Sequence[str], path: Path) -> None:
    """Draws a confusion matrix.

    Args:
        confusion: (K, K) texts, a row for each true label, a column for each predicted one.
        labels: K names.
        path: File to write.

    Raises:
        ConfigError: It cannot be written.
    """
    count = len(labels)
    side = min(max(4.0, 1.5 + 0.45 * count), 24.0)  # inches
    figure = Figure(figsize=(side, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    size = 9 if count <= NUMBERED else 6
    axes.set_xticks(range(count), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(count), labels, fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if count <= NUMBERED:
        for (i, j), value in np.ndenumerate(confusion):
            axes.text(j, i, str(value), ha="center", va="center", color="white" if share[i, j] > 0.5 else "black")
    try:
        figure.savefig(path, format="png", dpi=100)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
