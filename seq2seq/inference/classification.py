"""How good a classifier is: accuracy, F1, one row a label, confusions.

Legend: N texts, K labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

WIDEST = 20
"""The confusion matrix of more labels than this is written as a list of the most frequent confusions."""


class LabelScore(NamedTuple):
    """One label's figures; 0 where there is nothing to divide by."""

    label: str
    precision: float
    recall: float
    f1: float
    texts: int  # that have the label


class ClassificationReport(NamedTuple):
    """Figures between 0 and 1."""

    texts: int
    accuracy: float  # all labels of a text right
    macro_f1: float  # mean of the F1 of all labels that some text has or is given
    micro_f1: float  # of all decisions together
    labels: list[LabelScore]
    confusion: np.ndarray | None  # (K, K) true x predicted; None where a text may have several labels

    def summary(self) -> dict[str, float]:
        """The three figures, in percent."""
        return {name: 100 * getattr(self, name) for name in ("accuracy", "macro_f1", "micro_f1")}

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = [label._asdict() for label in self.labels]
        confusion = None if self.confusion is None else self.confusion.tolist()
        return {"texts": self.texts, **self.summary(), "labels": rows, "confusion": confusion}

    def to_text(self) -> str:
        """Tables of plain text."""
        width = max(len("macro F1"), *(len(row.label) for row in self.labels)) + 2
        lines = [f"{'texts':{width}}{self.texts:>8,}"]
        shown = (("accuracy", self.accuracy), ("macro F1", self.macro_f1), ("micro F1", self.micro_f1))
        lines += [f"{name:{width}}{100 * value:8.2f}" for name, value in shown]
        lines += ["", f"{'label':{width}}{'precision':>10}{'recall':>8}{'F1':>8}{'texts':>8}"]
        lines += [
            f"{row.label:{width}}{100 * row.precision:10.2f}{100 * row.recall:8.2f}{100 * row.f1:8.2f}{row.texts:8,}"
            for row in self.labels
        ]
        if self.confusion is not None:
            lines += ["", *self._confusions(self.confusion, width)]
        return "\n".join(lines) + "\n"

    def _confusions(self, confusion: np.ndarray, width: int) -> list[str]:
        names = [row.label for row in self.labels]
        if len(names) <= WIDEST:
            columns = [max(len(name), 5) + 2 for name in names]
            head = "".join(f"{name:>{column}}" for name, column in zip(names, columns, strict=True))
            lines = ["confusion matrix: a row for each true label, a column for each predicted one"]
            lines.append(f"{'':{width}}{head}")
            for name, row in zip(names, confusion.tolist(), strict=True):
                cells = "".join(f"{count:>{column}}" for count, column in zip(row, columns, strict=True))
                lines.append(f"{name:{width}}{cells}")
            return lines
        wrong = confusion - np.diag(np.diag(confusion))
        places = np.argsort(-wrong, axis=None, kind="stable")[:WIDEST]
        pairs = [divmod(int(place), len(names)) for place in places]
        lines = ["most frequent confusions: texts, true label, predicted label"]
        return lines + [f"{wrong[i, j]:8,}  {names[i]:{width}}{names[j]}" for i, j in pairs if wrong[i, j]]


def classification_report(
    truth: np.ndarray, predicted: np.ndarray, labels: Sequence[str], several: bool
) -> ClassificationReport:
    """Compares labels, with the definitions of scikit-learn (a quotient by zero is 0).

    Args:
        truth: (N, K) 1 where a text has a label.
        predicted: (N, K) 1 where it is given one.
        labels: K names.
        several: A text may have several labels or none; there is no confusion matrix then.
    """
    truth, predicted = truth.astype(bool), predicted.astype(bool)
    right, given, has = ((x).sum(0).astype(float) for x in (truth & predicted, predicted, truth))
    precision, recall = right / np.maximum(given, 1), right / np.maximum(has, 1)
    f1 = 2 * right / np.maximum(given + has, 1)
    seen = given + has > 0
    rows = zip(labels, precision.tolist(), recall.tolist(), f1.tolist(), has.astype(int).tolist(), strict=True)
    return ClassificationReport(
        len(truth),
        float((truth == predicted).all(1).mean()) if len(truth) else 0.0,
        float(f1[seen].mean()) if seen.any() else 0.0,
        float(2 * right.sum() / max((given + has).sum(), 1)),
        [LabelScore(*row) for row in rows],
        None if several else truth.T.astype(np.int64) @ predicted.astype(np.int64),
    )
