"""The ablation's table: what is trained, what is not trained again, means and differences."""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.fixture
def ablation(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "bench"))
    return importlib.import_module("ablation")


def test_a_table_and_no_training_twice(ablation, tmp_path, capsys, monkeypatch):
    started = []

    def run(words, **_):
        """A training: its loss is its seed, one more without scaled embeddings; the best was before its end."""
        given = dict(itertools.pairwise(words))
        started.append(words)
        model = Path(given["--output"])
        model.mkdir()
        loss = float(given["--seed"]) + ("--no-scale-embedding" in words)
        lines = [{"valid": {"loss": 0.5, "bleu": 99.0}}, {"valid": {"loss": loss, "bleu": 30 - loss}}, {"loss": 7.0}]
        (model / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(ablation.subprocess, "run", run)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("max_epochs: 1\n")
    words = ["ablation", "--config", str(recipe), "--data", "D", "--source", "en", "--target", "de", "--epochs", "2"]
    words += ["--runs", str(tmp_path), "--change", "small=--no-scale-embedding", "--seeds"]
    monkeypatch.setattr("sys.argv", [*words, "1", "3"])
    ablation.main()
    assert capsys.readouterr().out.splitlines() == [
        "| 2 epochs, seeds [1, 3] | loss | greedy BLEU |",
        "| --- | --- | --- |",
        "| the recipe | 2.000 ± 1.414 | 28.00 ± 1.41 |",
        "| small | 3.000 ± 1.414 (+1.000) | 27.00 ± 1.41 (-1.00) |",
    ]
    assert len(started) == 4
    assert all("--resume" in words and words[words.index("--max-epochs") + 1] == "2" for words in started)
    monkeypatch.setattr("sys.argv", [*words, "1", "2", "3"])
    ablation.main()
    assert len(started) == 6
    assert "| the recipe | 2.000 ± 1.000 |" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*words, "1", "--epochs", "5"])  # another schedule: other trainings
    ablation.main()
    assert len(started) == 8
    recipe.write_text("max_epochs: 1\ndropout: 0.2\n")
    ablation.main()
    assert len(started) == 10


def test_a_training_that_fails_is_told_and_done_again(ablation, tmp_path, monkeypatch, capsys):
    codes = iter([2, 0])

    def run(words, **_):
        model = Path(words[words.index("--output") + 1])
        model.mkdir(exist_ok=True)
        (model / "metrics.jsonl").write_text('{"valid": {"loss": 1.0, "bleu": 2.0}}\n')
        return subprocess.CompletedProcess(words, next(codes))

    monkeypatch.setattr(ablation.subprocess, "run", run)
    monkeypatch.setattr(ablation, "CHANGES", {})
    recipe = tmp_path / "c.yaml"
    recipe.touch()
    words = ["ablation", "--config", str(recipe), "--data", "D", "--source", "en", "--target", "de", "--seeds", "1"]
    monkeypatch.setattr("sys.argv", [*words, "--runs", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"the recipe, seed 1, ended with exit code 2; see .*the-recipe-1-.*\.log"):
        ablation.main()
    ablation.main()
    assert "| the recipe | 1.000 ± 0.000 | 2.00 ± 0.00 |" in capsys.readouterr().out


def test_changes_have_a_name_and_options(ablation):
    assert ablation.change("a b=--x 1 --y") == ("a b", "--x 1 --y")
    for text in ("--x 1", "name", "name=x", "=--x", "the recipe=--x"):
        with pytest.raises(argparse.ArgumentTypeError, match="NAME=--OPTION VALUE"):
            ablation.change(text)


def test_the_changes_are_options_of_train(ablation):
    from seq2seq.config import TrainTranslatorConfig, to_flat

    known = set(to_flat(TrainTranslatorConfig()))
    for options in ablation.CHANGES.values():
        assert options.split()[0].removeprefix("--no-").removeprefix("--").replace("-", "_") in known
