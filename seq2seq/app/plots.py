"""Pictures: a confusion matrix, the course of trainings, vectors as points."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from seq2seq.app.streams import whole_file
from seq2seq.errors import ConfigError, ModelDirectoryError

FORMATS = ("png", "svg", "pdf")

NUMBERED = 30
"""Cells of a matrix of more labels than this hold no numbers."""

NAMED = 250
"""More points than this are drawn without their texts."""

_SCORES = {"bleu": "BLEU", "accuracy": "accuracy", "macro_f1": "macro F1", "micro_f1": "micro F1"}


def save(figure: Figure, path: Path) -> None:
    """Writes a picture; the end of the name says in which format.

    Raises:
        ConfigError: The file cannot be written, or the format is unknown.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ConfigError(f"{path}: the name of a picture should end in {', '.join(f'.{name}' for name in FORMATS)}")
    with whole_file(path) as written:
        figure.savefig(written, format=kind, dpi=100)


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
    save(figure, path)


class Course(NamedTuple):
    """How one training went: what its metrics.jsonl holds."""

    name: str
    training: list[dict[str, Any]]  # step, seconds, loss, learning_rate, tokens_per_second
    validations: list[dict[str, Any]]  # step, seconds, valid: name to figure


def read_course(directory: Path) -> Course:
    """The course of the training that wrote a model directory; one that is still under way has part of it.

    Raises:
        ModelDirectoryError: There is no metrics.jsonl, or nothing in it.
    """
    path = directory / "metrics.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ModelDirectoryError(
            f"cannot read {path}: {error.strerror}; give the --output of `seq2seq train`"
        ) from None
    rows = []
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):  # the last line may be half written
            rows.append(json.loads(line))
    if not rows:
        raise ModelDirectoryError(f"{path} holds no figures yet; wait for the first line, --log-every steps")
    name = directory.name or directory.resolve().name
    return Course(name, [row for row in rows if "loss" in row], [row for row in rows if "valid" in row])


def courses_picture(courses: Sequence[Course], path: Path, axis: str = "steps") -> None:
    """Loss, score, learning rate and speed of several trainings, one colour each.

    Args:
        courses: At least one.
        path: File to write.
        axis: What runs to the right: `steps` or `minutes`.

    Raises:
        ConfigError: The file cannot be written.
    """
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    panels = figure.subplots(2, 2)
    (loss, score), (rate, speed) = panels
    scores = {name for course in courses for row in course.validations for name in row["valid"]}
    chosen = next((name for name in ("bleu", "accuracy", "macro_f1", "micro_f1") if name in scores), "")
    for number, course in enumerate(courses):
        colour = f"C{number % 10}"

        def across(rows: list[dict[str, Any]]) -> list[float]:
            return [row["seconds"] / 60 if axis == "minutes" else row["step"] for row in rows]

        loss.plot(across(course.training), [row["loss"] for row in course.training], color=colour, alpha=0.45, lw=1)
        measured = [row for row in course.validations if "loss" in row["valid"]]
        values = [row["valid"]["loss"] for row in measured]
        loss.plot(across(measured), values, color=colour, marker=".", label=course.name)
        measured = [row for row in course.validations if chosen in row["valid"]]
        score.plot(across(measured), [row["valid"][chosen] for row in measured], color=colour, marker=".")
        for panel, name in ((rate, "learning_rate"), (speed, "tokens_per_second")):
            rows = [row for row in course.training if name in row]
            panel.plot(across(rows), [row[name] for row in rows], color=colour, lw=1.2)
    titles = ("loss: training (pale), validation (dots)", f"validation: {_SCORES.get(chosen, 'no score')}",
              "learning rate", "tokens a second")  # fmt: skip
    for panel, title in zip(panels.flat, titles, strict=True):
        panel.set_title(title, fontsize=10, loc="left")
        panel.grid(color="#e5e5e5", lw=0.7)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_xlabel(axis)
        panel.set_xlim(left=0)
    speed.set_ylim(bottom=0)
    figure.legend(*loss.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    save(figure, path)


def vectors_picture(points: np.ndarray, labels: Sequence[str], path: Path) -> None:
    """Points (N, 2), with their texts where there are no more than `NAMED`.

    Raises:
        ConfigError: The file cannot be written.
    """
    from seq2seq.app.fonts import fonts_for

    named = bool(labels) and len(points) <= NAMED
    with fonts_for(labels if named else []):
        figure = Figure(figsize=(10, 8), layout="constrained")
        axes = figure.add_subplot()
        axes.scatter(points[:, 0], points[:, 1], s=14 if named else 4, color="C0", alpha=0.8, linewidths=0)
        for (x, y), label in zip(points.tolist(), labels if named else [], strict=False):
            shown = label if len(label) <= 40 else label[:39] + "…"
            axes.annotate(shown, (x, y), (3, 3), textcoords="offset points", fontsize=7)
        axes.set_axis_off()
        save(figure, path)
