"""Accuracy and F1 against plain counting; scikit-learn too where it is installed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from seq2seq.inference.classification import classification_report

NAMES = ["a", "b", "c", "never"]


def hot(rows, count=4) -> np.ndarray:
    return np.eye(count)[rows]


def test_figures_by_hand():
    truth, predicted = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 0]
    report = classification_report(hot(truth), hot(predicted), NAMES, several=False)
    assert report.accuracy == report.micro_f1 == pytest.approx(3 / 6)
    by_name = {row.label: row for row in report.labels}
    assert (by_name["a"].precision, by_name["a"].recall, by_name["a"].texts) == (
        pytest.approx(2 / 4),
        pytest.approx(2 / 3),
        3,
    )
    assert by_name["b"].f1 == pytest.approx(0.5) and by_name["c"].f1 == 0.0 and by_name["never"].texts == 0
    assert report.macro_f1 == pytest.approx((4 / 7 + 0.5 + 0) / 3)  # of the labels that occur
    assert report.confusion.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("several", [False, True])
def test_as_scikit_learn_has_it(several):
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(1)
    if several:
        truth, predicted = (random.random((200, 4)) < 0.3 for _ in range(2))
    else:
        truth, predicted = (hot(random.integers(0, 4, 200)) for _ in range(2))
    report = classification_report(truth, predicted, NAMES, several)
    ours = [report.accuracy, report.macro_f1, report.micro_f1]
    arrays = (truth, predicted) if several else (truth.argmax(1), predicted.argmax(1))
    f1 = [metrics.f1_score(*arrays, average=kind) for kind in ("macro", "micro")]
    assert ours == pytest.approx([metrics.accuracy_score(*arrays), *f1])
    if not several:
        assert np.array_equal(report.confusion, metrics.confusion_matrix(*arrays))


def test_text_and_json():
    report = classification_report(hot([0, 1, 2]), hot([0, 1, 1]), NAMES, several=False)
    text = report.to_text()
    assert "accuracy     66.67" in text and "confusion matrix" in text and "never" in text
    assert json.loads(json.dumps(report.to_dict()))["confusion"][2] == [0, 1, 0, 0]
    many = [f"label {n}" for n in range(30)]
    report = classification_report(hot([0, 1, 29, 29], 30), hot([0, 1, 4, 4], 30), many, several=False)
    assert report.to_text().splitlines()[-1].split("  ")[-2].strip() in ("label 29", "")
    assert report.to_text().splitlines()[-1].strip().startswith("2  label 29")
    assert "confus" not in classification_report(hot([0]), hot([1]), NAMES, several=True).to_text()


def test_nothing_to_measure():
    report = classification_report(np.zeros((0, 2)), np.zeros((0, 2)), ["a", "b"], several=False)
    assert (report.texts, report.accuracy, report.macro_f1) == (0, 0.0, 0.0)
