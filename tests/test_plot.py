"""`plot` of runs and of vectors, through the real command."""

from __future__ import annotations

import matplotlib.image
import numpy as np

from seq2seq.app.cli import main


def test_runs_in_one_picture(tiny_model, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    rows = '{"step": 1, "seconds": 2, "loss": 3, "learning_rate": 1, "tokens_per_second": 9}\n{"step": 2, "sec'
    (other / "metrics.jsonl").write_text(rows)  # a run under way, whose last line is half written
    for axis in ("steps", "minutes"):
        path = tmp_path / f"{axis}.png"
        assert main(["plot", str(tiny_model), str(other), "--output", str(path), "--axis", axis]) == 0
        assert matplotlib.image.imread(path).shape[:2] == (640, 1000)
        assert f"{path} written" in capsys.readouterr().err


def test_vectors_as_points(tmp_path, capsys):
    np.save(tmp_path / "v.npy", np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32))
    (tmp_path / "labels").write_text("a\nb\nc\nd\ne\nf\n")
    command = ["plot", "--vectors", str(tmp_path / "v.npy"), "--labels", str(tmp_path / "labels")]
    assert main([*command, "--output", str(tmp_path / "v.svg")]) == 0
    assert (tmp_path / "v.svg").exists()
    (tmp_path / "labels").write_text("a\n")
    assert main([*command, "--output", str(tmp_path / "w.svg")]) == 2
    assert "labels has 1 lines" in capsys.readouterr().err


def test_what_cannot_be_plotted(tmp_path, capsys):
    for arguments, message in (
        ([], "plot needs model directories, or --vectors FILE"),
        (["a", "--vectors", "b"], "not both"),
        ([str(tmp_path)], "metrics.jsonl: No such file"),
    ):
        assert main(["plot", *arguments]) == 2
        assert message in capsys.readouterr().err
