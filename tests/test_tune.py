"""The search for options: ranges as typed, real trainings, what goes on and what fails."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from conftest import TINY

from seq2seq.app import trainings, tune
from seq2seq.config import TrainTranslatorConfig, option_names
from seq2seq.errors import ConfigError

KNOWN = set(option_names(TrainTranslatorConfig))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("learning_rate=1e-4..4e-3:log", ("learning_rate", (1e-4, 4e-3), False, True)),
        ("--batch-tokens=500..3000", ("batch_tokens", (500, 3000), False, False)),
        ("dropout=0..0.5", ("dropout", (0, 0.5), False, False)),
        ("tokenizer_type=bpe,unigram", ("tokenizer_type", ("bpe", "unigram"), True, False)),
        ("embedding_size=64, 128", ("embedding_size", (64, 128), True, False)),
    ],
)
def test_ranges(text: str, expected: tuple) -> None:
    assert tune.parse_range(text, KNOWN) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("drop_out=0..1", "there is no option 'drop_out'; did you mean 'dropout'"),
        ("dropout", "expected NAME=LOW..HIGH"),
        ("dropout=", "expected NAME=LOW..HIGH"),
        ("dropout=low..high", "expected two numbers"),
        ("dropout=0.1..0.5:linear", "expected two numbers"),
        ("dropout=0.5..0.1", "the smaller end first"),
        ("learning_rate=0..1:log", "above 0 for :log"),
    ],
)
def test_ranges_that_cannot_be_used(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tune.parse_range(text, KNOWN)


class TestStudy:
    @pytest.fixture(autouse=True)
    def _optuna(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("optuna", reason="the extra `tune` is not installed")
        monkeypatch.setattr(tune, "POLL_SECONDS", 0.05)

    def _run(self, study: Path, corpus: Path, trials: int, *more: str) -> int:
        data = ["--data", str(corpus), "--source", "en", "--target", "fr", *TINY]
        options = ["--study", str(study), "--trials", str(trials), "--metric", "loss", "--tune", "dropout=0.1,0.3"]
        return tune.main([*options, *more, "--", *data])

    def test_trains_goes_on_and_tells(self, small_corpus: Path, tmp_path: Path, capsys) -> None:
        assert self._run(tmp_path, small_corpus, 1) == 0
        first = capsys.readouterr().out
        assert self._run(tmp_path, small_corpus, 2) == 0
        second = capsys.readouterr().out
        assert first.count("trial 0: --dropout=0.") == 1 and "trial 0:" not in second and "trial 1:" in second
        rows = [line.strip("| ").split(" | ") for line in second.splitlines() if line.startswith("| ")][2:]
        assert {row[0] for row in rows} == {"0", "1"} and float(rows[0][1]) <= float(rows[1][1])
        metrics = json.loads((tmp_path / f"trial-000{rows[0][0]}" / "metrics.json").read_text(encoding="utf-8"))
        assert float(rows[0][1]) == pytest.approx(metrics["valid"]["loss"], rel=1e-3)

    def test_failed_training(self, small_corpus: Path, tmp_path: Path, capsys) -> None:
        assert self._run(tmp_path / "s", small_corpus.parent / "nothing", 1) == 2
        assert "the first training failed" in capsys.readouterr().err

    def test_unknown_metric(self, small_corpus: Path, tmp_path: Path, capsys) -> None:
        data = ["--data", str(small_corpus), "--source", "en", "--target", "fr", *TINY]
        options = ["--study", str(tmp_path / "s"), "--trials", "1", "--metric", "belu", "--tune", "dropout=0.1,0.3"]
        assert tune.main([*options, "--", *data]) == 2
        assert "this training reports loss, bleu, chrf" in capsys.readouterr().err


def test_prunes_a_trial_that_is_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that writes a bad score and would go on for a minute is stopped."""
    optuna = pytest.importorskip("optuna", reason="the extra `tune` is not installed")
    script = (
        "import json, os, sys, time; d = sys.argv[sys.argv.index('--output') + 1]; os.makedirs(d)\n"
        "f = open(d + '/metrics.jsonl', 'w'); f.write(json.dumps({'valid': {'bleu': 1.0}}) + '\\n'); f.flush()\n"
        "time.sleep(60)"
    )
    real = trainings.subprocess.Popen
    monkeypatch.setattr(
        trainings.subprocess, "Popen", lambda command, **k: real([command[0], "-c", script, *command[3:]], **k)
    )
    monkeypatch.setattr(tune, "POLL_SECONDS", 0.05)

    class Behind:
        number = 0

        def suggest_float(self, name: str, low: float, high: float, log: bool) -> float:
            return low

        def report(self, score: float, step: int) -> None:
            assert (score, step) == (1.0, 1)

        def should_prune(self) -> bool:
            return True

    options = argparse.Namespace(study=str(tmp_path), command="train", metric="bleu")
    with pytest.raises(optuna.TrialPruned):
        tune.run_trial(Behind(), [tune.Range("dropout", (0.1, 0.5), False)], options, [])
