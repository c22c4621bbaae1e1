"""Pictures: a PNG of a sensible size, and the right cell dark."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from seq2seq.app.plots import confusion_png
from seq2seq.errors import ConfigError


def test_confusion_matrix(tmp_path):
    confusion_png(np.array([[9, 0], [0, 5]]), ["yes", "no"], tmp_path / "a.png")
    confusion_png(np.array([[0, 9], [5, 0]]), ["yes", "no"], tmp_path / "b.png")
    first, second = (matplotlib.image.imread(tmp_path / name) for name in ("a.png", "b.png"))
    assert first.shape == second.shape and first.shape[0] >= 300
    assert np.abs(first - second).mean() > 0.05
    confusion_png(np.eye(77, dtype=int), [f"a long label {n}" for n in range(77)], tmp_path / "c.png")
    assert max(matplotlib.image.imread(tmp_path / "c.png").shape) <= 2400
    with pytest.raises(ConfigError, match="cannot write"):
        confusion_png(np.eye(2, dtype=int), ["a", "b"], tmp_path / "absent" / "a.png")
