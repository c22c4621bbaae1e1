"""What all trainings share. Whole runs stand in test_train.py and test_train_classifier.py."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from seq2seq.app.run import MAY_CHANGE, Run
from seq2seq.config import TrainClassifierConfig, TrainTranslatorConfig, from_flat, option_names
from seq2seq.errors import ConfigError

CONFIGS = [TrainTranslatorConfig, TrainClassifierConfig]


def test_options_that_may_change_are_options():
    assert set().union(*map(option_names, CONFIGS)) >= MAY_CHANGE


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": ""}, "--data is missing: a heap of text"),
        ({"output": ""}, "--output is missing"),
        ({"max_epochs": 0}, "nothing would end this training"),
        ({"batch_tokens": 0, "batch_sentences": 0}, "--batch-tokens or --batch-sentences"),
        ({"accumulate": 0}, "--accumulate is 0, expected 1 or more"),
        ({"encoder_layers": 0}, "--encoder-layers is 0, expected 1 or more"),
        ({"sampling": 1.0}, "--sampling is 1.0, expected 0 or more and less than 1"),
    ],
)
def test_options_that_cannot_work(config, options, message, tmp_path):
    given = {"data": "x", "output": str(tmp_path / "m"), **options}
    with pytest.raises(ConfigError, match=message):
        Run.begin(from_flat(config, given), [], "a heap of text")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("config", CONFIGS)
def test_a_run_begins_without_writing(config, tmp_path):
    values = {"data": "x", "output": str(tmp_path / "m"), "threads": 1, "precision": "float32", "device": "cpu"}
    run = Run.begin(from_flat(config, values), ["seq2seq"], "")
    assert (run.directory, run.resumed, run.device.type) == (Path(tmp_path / "m"), None, "cpu")
    assert dataclasses.asdict(run.config)["training"]["threads"] == 1
    assert not run.directory.exists()
