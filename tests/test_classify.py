"""classify, and evaluate of a classifier, as a person calls them."""

from __future__ import annotations

import json

import matplotlib.image
import pytest
from test_classifier import SMALL, TEXTS, toy

from seq2seq.app.cli import main


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy(tmp_path_factory.mktemp("toy") / "data")


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("classifiers") / "toy"
    assert main(["train-classifier", "--data", str(data), "--output", str(output), *SMALL, "--max-epochs", "1"]) == 0
    return str(output)


def test_a_line_out_for_a_line_in(trained, tmp_path, capsys):
    texts = [text for text in TEXTS if "\0" not in text]
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    given = ["classify", "--model", trained, "--input", str(tmp_path / "in.txt"), "--threads", "1"]
    assert main([*given, "--output", str(tmp_path / "out.tsv")]) == 0
    lines = (tmp_path / "out.tsv").read_text().splitlines()
    assert len(lines) == len(texts)
    for line in lines:
        label, probability = line.split("\t")
        assert label in ("cat", "dog", "bird", "none") and 0.25 <= float(probability) <= 1
    capsys.readouterr()
    assert main(["classify", "--model", trained, "--threads", "1", "--", *texts]) == 0
    assert capsys.readouterr().out.splitlines() == lines
    assert main([*given, "--top-k", "2"]) == 0
    for line, best in zip(capsys.readouterr().out.splitlines(), lines, strict=True):
        assert line.startswith(best + "\t") and line.count("\t") == 3
    assert main([*given, "--format", "jsonl"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == texts and [row["line"] for row in rows] == list(range(1, len(texts) + 1))
    assert [row["labels"][0]["label"] for row in rows] == [line.split("\t")[0] for line in lines]


def test_a_text_that_is_cut_is_said(trained, capsys):
    assert main(["classify", "--model", trained, "word " * 9000]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert "1 texts are longer than 2,048 pieces: only that many of each were read" in captured.err


def test_evaluate(data, trained, tmp_path, capsys):
    given = ["evaluate", "--model", trained, "--data", str(data), "--threads", "1"]
    assert main([*given, "--confusion-png", str(tmp_path / "c.png")]) == 0
    out = capsys.readouterr().out
    assert all(part in out for part in ("accuracy", "macro F1", "micro F1", "precision", "confusion matrix", "bird"))
    assert matplotlib.image.imread(tmp_path / "c.png").shape[2] == 4


def test_labels_that_training_has_not_seen(data, trained, tmp_path, capsys):
    rows = (data / "test.tsv").read_text()
    (tmp_path / "more.tsv").write_text(rows + "cow\ta cow\n" * 20)
    given = ["evaluate", "--model", trained, "--format", "json", "--threads", "1"]
    assert main([*given, "--data", str(data)]) == 0
    before = json.loads(capsys.readouterr().out)
    assert main([*given, "--data", str(tmp_path / "more.tsv"), "--split", "train"]) == 0
    captured = capsys.readouterr()
    after = json.loads(captured.out)
    assert "has never seen, and so cannot give: cow" in captured.err
    assert after["accuracy"] == pytest.approx(before["accuracy"] * 60 / 80)
    assert after["labels"][-1] == {"label": "cow", "precision": 0.0, "recall": 0.0, "f1": 0.0, "texts": 20}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["classify", "a text"], "classify needs --model DIR"),
        (["classify", "--model", "MODEL", "--input", "x", "a"], "classify got texts and --input"),
        (["classify", "--model", "absent", "a"], "no model directory absent"),
        (["evaluate", "--model", "MODEL"], "evaluate of a classifier needs one --model DIR, and --data"),
        (["evaluate", "--model", "MODEL", "--data", "DATA", "--against", "x"], "--against goes with translations"),
        (["evaluate", "--model", "MODEL", "--data", "DATA", "--split", "valid"], "no split 'valid'"),
    ],
)
def test_refusals(data, trained, capsys, arguments, message):
    places = {"MODEL": trained, "DATA": str(data)}
    assert main([places.get(word, word) for word in arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_row_without_a_label_cannot_be_measured(trained, tmp_path, capsys):
    (tmp_path / "x.tsv").write_text("cat\ta cat\n\ta dog\n")
    assert main(["evaluate", "--model", trained, "--data", str(tmp_path / "x.tsv"), "--split", "train"]) == 2
    assert "row 2 has no label" in capsys.readouterr().err
