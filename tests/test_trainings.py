"""Trainings as processes: the flags that make a configuration, what is followed, and how one ends."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest
from conftest import TINY

from seq2seq import checkpoint
from seq2seq.app.cli import parse_command
from seq2seq.app.trainings import Training, stop, words_of
from seq2seq.config import TrainTranslatorConfig, sections, to_flat

DIFFERENT = {
    "data": "a folder", "source": "--source", "both_directions": True, "joint": False, "tokenizer": "x.model",
    "max_minutes": 0.5,
    "dropout": 0.125, "learning_rate": 1e-5, "seed": 7, "tokenizer_type": "unigram", "output": "", "query_token": False,
}  # fmt: skip


def test_words_make_the_configuration_again():
    base = TrainTranslatorConfig()
    config = TrainTranslatorConfig(
        **{
            name: dataclasses.replace(
                getattr(base, name),
                **{key: value for key, value in DIFFERENT.items() if key in {f.name for f in dataclasses.fields(kind)}},
            )
            for name, kind in sections(TrainTranslatorConfig).items()
        }
    )
    assert words_of(base) == []
    words = words_of(config)
    assert len(words) == len(DIFFERENT) - 1, "the empty output is the default"
    found = to_flat(parse_command("train", words))
    assert found.pop("config") is None
    assert found == to_flat(config)


def test_only_new_validations_and_no_half_line(tmp_path: Path):
    training = Training("completion", ["bash"], tmp_path, tmp_path / "log")
    metrics = tmp_path / "metrics.jsonl"
    assert training.validations() == []
    lines = [{"step": 1, "loss": 2.0}, {"step": 1, "valid": {"bleu": 3.0}}, {"step": 2, "valid": {"bleu": 4.0}}]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines[:2]) + '{"step": 2, "val', encoding="utf-8")
    assert [line["step"] for line in training.validations()] == [1]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert [line["step"] for line in training.validations()] == [2]
    while training.running():
        time.sleep(0.05)
    assert "complete" in (tmp_path / "log").read_text(encoding="utf-8") and training.failure() == ""


def test_a_failure_is_told_by_its_last_line(tmp_path: Path):
    training = Training("train", ["--data", "nowhere", "--output", str(tmp_path / "m")], tmp_path / "m", tmp_path / "l")
    training.wait()
    assert training.failure().startswith("ended with 2: nowhere")
    assert str(tmp_path / "l") in training.failure()


def test_without_a_log_it_speaks_for_itself(tmp_path: Path, capfd):
    training = Training("diversify", [], tmp_path, None)
    training.wait()
    assert training.failure() == "ended with 2" and "diversify needs" in capfd.readouterr().err


def test_a_stop_saves_the_state(tmp_path: Path, small_corpus: Path):
    output = tmp_path / "model"
    words = ["--data", str(small_corpus), "--source", "en", "--target", "fr", "--output", str(output)]
    words += [*TINY, "--max-steps", "100000", "--validate-every", "5"]
    training, steps = Training("train", words, output, tmp_path / "log"), []
    while training.running() and not steps:
        steps = [line["step"] for line in training.validations()]
        time.sleep(0.1)
    stop([training])
    assert not training.running() and training.failure().startswith("ended with 143"), training.failure()
    saved = checkpoint.last_step(output)
    assert saved is not None and saved >= steps[-1]
    assert f"stopped at step {saved}, all saved" in (tmp_path / "log").read_text(encoding="utf-8")
    stop([training])  # one that has ended


def test_all_are_asked_before_any_is_waited_for_and_a_second_signal_kills():
    said = []

    class Slow:
        def __init__(self, name):
            self.name = name

        def terminate(self):
            said.append(("terminate", self.name))

        def wait(self):
            said.append(("wait", self.name))
            if self.name == "second":
                raise KeyboardInterrupt

        def kill(self):
            said.append(("kill", self.name))

    with pytest.raises(KeyboardInterrupt):
        stop([Slow("first"), Slow("second")])
    names = ("first", "second")
    assert said == [(what, name) for what in ("terminate", "wait", "kill") for name in names]
