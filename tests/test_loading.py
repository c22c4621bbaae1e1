"""Directories and names on the hub that hold a translator, and those that do not."""

from __future__ import annotations

import shutil

import pytest
from models import TEXT, small_tokenizer, write_model

from seq2seq import Translator
from seq2seq.errors import ConfigError, ModelDirectoryError
from seq2seq.text.tokenizer import Tokenizer

SHORT = {"beam_size": 3, "max_length": 8}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


@pytest.fixture(scope="module")
def paths(tokenizer, tmp_path_factory) -> list[str]:
    return [write_model(tmp_path_factory.mktemp("models") / "a", tokenizer, 0)]


def test_paths_that_hold_no_translator(paths, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelDirectoryError, match="no model directory"):
        Translator.from_pretrained("nowhere")
    (tmp_path / "runs").mkdir()
    with pytest.raises(ModelDirectoryError, match="no model directory runs/nowhere"):
        Translator.from_pretrained("runs/nowhere")  # runs/ is here: no hub id
    with pytest.raises(ModelDirectoryError, match="is no model directory"):
        Translator.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="no model given"):
        Translator.from_pretrained([])
    with pytest.raises(ModelDirectoryError, match="holds a model for classification, not a translator"):
        Translator.from_pretrained(write_model(tmp_path / "c", tokenizer, 1, task="classification"))
    mixed = shutil.copytree(paths[0], tmp_path / "mixed")
    shutil.copy(write_model(tmp_path / "big", tokenizer, 1, decoder_size=24) + "/config.json", mixed / "config.json")
    with pytest.raises(ModelDirectoryError, match=r"do not belong together.*copy the directory again"):
        Translator.from_pretrained(mixed)


def test_a_name_on_the_hub_is_fetched_without_code(paths, monkeypatch, tmp_path):
    import huggingface_hub

    asked = {}

    def fetch(name, allow_patterns):
        asked.update(name=name, patterns=allow_patterns)
        return paths[0]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert Translator.from_pretrained("someone/model", device="cpu").translate(TEXT[0], **SHORT)
    assert asked["name"] == "someone/model"
    assert not any(pattern.endswith((".bin", ".py", ".pt", "*")) for pattern in asked["patterns"])


def test_a_hub_that_cannot_be_reached_is_told(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # tests run with the hub switched off
    with pytest.raises(ModelDirectoryError, match="someone/model is neither a directory here nor a model"):
        Translator.from_pretrained("someone/model")
