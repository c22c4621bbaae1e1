"""Model cards: what people and the hub are told of a model."""

from __future__ import annotations

import json

import pytest
import sacrebleu
import yaml

from seq2seq.checkpoint import read_config
from seq2seq.inference.card import model_card

TRANSLATOR = {
    "task": "translation", "source": "de", "target": "ja", "model": {"attention": "none"}, "version": "9.9",
    "options": {"data": "/home/somebody/secret/corpus", "seed": 4, "output": "runs/x"}, "examples": 12345,
    "command": ["seq2seq", "train", "--data", "two words"],
}  # fmt: skip
CLASSIFIER = {
    "task": "classification", "labels": [f"label{n}" for n in range(60)], "several": True, "model": {"pooling": "mean"},
    "options": {"data": "user/set", "encoder": "runs/en-de"},
}  # fmt: skip


def front(card: str) -> dict:
    _, matter, _ = card.split("---\n", 2)
    return yaml.safe_load(matter)


def test_a_card_that_training_wrote(tiny_model):
    config, metrics = read_config(tiny_model), json.loads((tiny_model / "metrics.json").read_text())
    card = (tiny_model / "README.md").read_text(encoding="utf-8")
    assert card == model_card(config, metrics, "tiny")
    assert front(card)["language"] == ["en", "fr"] and front(card)["pipeline_tag"] == "translation"
    (result,) = front(card)["model-index"][0]["results"]
    assert [m["value"] for m in result["metrics"]] == [
        pytest.approx(metrics["valid"][k], abs=0.01) for k in ("bleu", "chrf")
    ]
    assert "# tiny: en → fr" in card and "200 examples" in card
    assert "$ seq2seq train --data" in card and 'Translator.from_pretrained("tiny")' in card
    bleu = sacrebleu.metrics.BLEU()
    bleu.corpus_score(["a b"], [["a b"]])
    assert f"- BLEU: `{bleu.get_signature()}`" in card


def test_a_translator_without_attention_from_a_private_folder():
    card = model_card(TRANSLATOR, {"step": 7, "valid": {"loss": 1.239, "bleu": 3.0}}, "me/mine")
    assert "# me/mine: de → ja" in card and "one fixed summary of the source" in card
    assert "on `corpus`: 12,345 examples, 7 steps, seed 4" in card and "/home" not in card
    assert "| loss, nats | 1.24 |" in card and "| BLEU | 3.00 |" in card
    assert "$ seq2seq train --data 'two words'" in card
    assert 'seq2seq translate --model me/mine "A text."' in card
    unnamed = model_card({**TRANSLATOR, "source": "source", "target": "target"}, {}, "x")
    assert "language" not in front(unnamed) and "model-index" not in front(unnamed)


def test_a_classifier():
    card = model_card(CLASSIFIER, {"valid": {"accuracy": 90.0}}, "me/labels")
    assert "60 labels, any number of them a text: label0, label1" in card and "label49, ..." in card
    assert "label50" not in card and "started from the translator `en-de`" in card and "on `user/set`" in card
    assert front(card)["pipeline_tag"] == "text-classification" and "BLEU" not in card
    assert 'Classifier.from_pretrained("me/labels").predict("A text.")' in card
