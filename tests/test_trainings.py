"""Trainings as processes: the flags that make a configuration, what is followed, and how one ends."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import pytest
from conftest import TINY

from seq2seq.app.cli import parse_command
from seq2seq.app.trainings import Training, words_of
from seq2seq.config import TrainTranslatorConfig, sections, to_flat

DIFFERENT = {
    "data": "a folder", "source": "--source", "both_directions": True, "joint": False, "tokenizer": "x.model",
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
    while training.running():
        time.sleep(0.05)
    assert training.failure().startswith("the training ended with 2: nowhere")
    assert str(tmp_path / "l") in training.failure()


@pytest.mark.timeout(120)
def test_a_stop_saves_the_state(tmp_path: Path, small_corpus: Path):
    output = tmp_path / "model"
    words = ["--data", str(small_corpus), "--source", "en", "--target", "fr", "--output", str(output)]
    training = Training("train", [*words, *TINY, "--max-steps", "100000"], output, tmp_path / "log")
    while training.running() and not training.validations():
        time.sleep(0.1)
    training.stop()
    assert (output / "training_state").is_dir() and not training.running()
    assert training.failure().startswith("the training ended with 143"), training.failure()
    training.stop()  # one that has ended
