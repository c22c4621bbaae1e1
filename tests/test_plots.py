"""Pictures: a PNG of a sensible size, and the right cell dark."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest

from seq2seq.app.plots import Course, confusion_png, courses_picture
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


def test_the_name_says_the_format(tmp_path):
    with pytest.raises(ConfigError, match=r"should end in \.png, \.svg, \.pdf"):
        confusion_png(np.eye(2, dtype=int), ["a", "b"], tmp_path / "a.gif")


def test_a_course_shows_every_run(tmp_path):
    rows = [
        {"step": s, "seconds": 60 * s, "loss": 9 / s, "learning_rate": 0.1, "tokens_per_second": 5} for s in (1, 2, 4)
    ]
    valid = [{"step": 4, "seconds": 240, "valid": {"loss": 2.0, "bleu": 30.0}}]
    one, two = Course("one", rows, valid), Course("two", rows, [])
    for names, courses in (("a", [one]), ("b", [one, two])):
        courses_picture(courses, tmp_path / f"{names}.svg")
    first, second = ((tmp_path / f"{name}.svg").read_text() for name in ("a", "b"))
    assert "#1f77b4" in first and "#ff7f0e" not in first
    assert "#1f77b4" in second and "#ff7f0e" in second
