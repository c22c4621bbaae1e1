"""The classifier as a whole: model directory, predictions, long and empty texts, several labels, other sizes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from seq2seq import Classifier, Translator
from seq2seq.app.cli import main
from seq2seq.checkpoint import load_model
from seq2seq.errors import ConfigError, ModelDirectoryError
from seq2seq.inference.classifier import decide

# learns the toy task within seconds
SMALL = [
    *("--vocab-size", "300", "--embedding-size", "24", "--encoder-size", "24", "--batch-sentences", "16"),
    *("--warmup-steps", "10", "--learning-rate", "0.01", "--ema-decay", "0.9", "--max-epochs", "4", "--threads", "1"),
    *("--precision", "float32", "--min-steps", "0"),
]
TEXTS = ["a red cat sleeps here", "", "   ", "a small dog runs", "word " * 900, "日本語", "a\0b\tc", "a green bird"]


def toy(folder: Path, rows: int = 240) -> Path:
    """label<TAB>text: the label is the animal, or `none`; a word beside it does not matter."""
    random = np.random.default_rng(1)
    folder.mkdir()
    for split, count in (("train", rows), ("test", 60)):
        lines = []
        for _ in range(count):
            animal = ["cat", "dog", "bird", "none"][random.integers(4)]
            words = [*random.choice(["red", "small", "green", "old"], 2), "thing" if animal == "none" else animal]
            random.shuffle(words)
            lines.append(f"{animal}\t{' '.join(words)} {random.choice(['runs', 'sleeps'])}\n")
        (folder / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return toy(tmp_path_factory.mktemp("toy") / "data")


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("classifiers") / "toy"
    assert main(["train-classifier", "--data", str(data), "--output", str(output), *SMALL]) == 0
    return output


def test_the_toy_task_is_learned(data, trained, capsys):
    assert main(["evaluate", "--model", str(trained), "--data", str(data), "--split", "test", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["accuracy"] >= 95 and report["texts"] == 60
    rows = [line.split("\t") for line in (data / "test.tsv").read_text().splitlines()]
    found = Classifier.from_pretrained(trained).predict([text for _, text in rows])
    share = np.mean([label == prediction.label for (label, _), prediction in zip(rows, found, strict=True)])
    assert 100 * share == pytest.approx(report["accuracy"])


def test_what_predict_gives(trained):
    classifier = Classifier.from_pretrained(trained)
    found = classifier.predict(TEXTS)
    assert len(found) == len(TEXTS) and all(0 < p.probability <= 1 for p in found)
    label, probability = classifier.predict(TEXTS[0])
    assert (label, probability) == ("cat", pytest.approx(found[0].probability, abs=1e-5))
    for ranked, best in zip(classifier.predict(TEXTS, top_k=9), found, strict=True):
        assert ranked[0].label == best.label and {p.label for p in ranked} == {"cat", "dog", "bird", "none"}
        assert sum(p.probability for p in ranked) == pytest.approx(1, abs=1e-4)
        assert [p.probability for p in ranked] == sorted((p.probability for p in ranked), reverse=True)
    assert classifier.predict([]) == []
    with pytest.raises(ConfigError, match="text 2 is 3, expected a str"):
        classifier.predict(["a", 3])
    with pytest.raises(ConfigError, match="top_k is 0"):
        classifier.predict("a", top_k=0)


def test_a_prediction_depends_on_its_text_alone(trained):
    classifier = Classifier.from_pretrained(trained)
    together = classifier.probabilities(TEXTS)
    alone = np.concatenate([classifier.probabilities([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert classifier.probabilities([]).shape == (0, 4)
    windows = list(classifier.predict_stream(iter(TEXTS), window=2))
    assert [best[0].label for best in windows] == [p.label for p in classifier.predict(TEXTS)]


def test_long_texts_are_read_in_windows_and_the_rest_is_counted(trained):
    classifier = Classifier.from_pretrained(trained)
    classifier.limits = classifier.limits._replace(max_length=20, max_windows=3)
    filler = "old thing runs " * 2
    classifier.predict([filler])
    assert classifier.cut == 0
    classifier.predict([filler * 30, "a cat", "cat " * 500])
    assert classifier.cut == 2


def test_decide():
    probabilities = np.array([[0.2, 0.5, 0.3], [0.6, 0.6, 0.1]])
    assert decide(probabilities, several=False).tolist() == [[False, True, False], [True, False, False]]
    assert decide(probabilities, several=True).tolist() == [[False, True, False], [True, True, False]]


def test_several_labels(tmp_path, capsys):
    """Each animal in the text is a label; a text without one has none."""
    random = np.random.default_rng(2)
    animals = ["cat", "dog", "bird"]
    lines = []
    for _ in range(300):
        chosen = [animal for animal in animals if random.random() < 0.4]
        words = [*chosen, "red", "thing"]
        random.shuffle(words)
        lines.append(json.dumps({"label": chosen, "text": " ".join(words)}) + "\n")
    (tmp_path / "pets.jsonl").write_text("".join(lines))
    train = ["train-classifier", "--data", str(tmp_path / "pets.jsonl"), "--output", str(tmp_path / "m"), *SMALL]
    assert main(train) == 2
    assert "is a list of labels; --label-separator" in capsys.readouterr().err
    assert main([*train, "--label-separator", "|", "--class-weights", "balanced", "--r-drop", "0.5"]) == 0
    classifier = Classifier.from_pretrained(tmp_path / "m")
    texts = ["cat red dog thing", "red thing", "bird thing red"]
    assert [{p.label for p in best} for best in classifier.predict(texts)] == [{"cat", "dog"}, set(), {"bird"}]
    capsys.readouterr()
    assert main(["classify", "--model", str(tmp_path / "m"), *texts]) == 0
    first, second, third = capsys.readouterr().out.split("\n")[:3]
    assert sorted(first.split("\t")[0].split("|")) == ["cat", "dog"] and first.split("\t")[1].count("|") == 1
    assert second == "\t" and third.startswith("bird\t0.")
    assert (
        main(["evaluate", "--model", str(tmp_path / "m"), "--data", str(tmp_path / "pets.jsonl"), "--split", "train"])
        == 0
    )
    assert "confusion" not in capsys.readouterr().out


def test_a_classifier_starts_from_a_translator(tiny_model, tmp_path, capsys):
    """On the embedded corpus's labels; the other language of a joint vocabulary is tried without training on it."""
    for split, count in (("train", 120), ("valid", 40)):
        for ending in ("en", "fr", "label"):
            lines = (ROOT / "data" / "demo" / f"{split}.{ending}").read_text(encoding="utf-8").split("\n")[:count]
            (tmp_path / f"{split}.{ending}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fixed = ["train-classifier", "--data", str(tmp_path), "--text-column", "en", "--encoder", str(tiny_model)]
    options = [
        *fixed,
        "--max-epochs",
        "1",
        "--min-steps",
        "0",
        "--threads",
        "1",
        "--precision",
        "float32",
        "--sampling",
        "0",
    ]
    assert main([*options, "--output", str(tmp_path / "a"), "--tied-languages", "fr", "--freeze", "encoder"]) == 0
    assert "tensors from" in capsys.readouterr().out
    saved, translator = load_model(tmp_path / "a"), load_model(tiny_model)
    assert saved.tokenizers["source"] == translator.tokenizers["source"]
    assert saved.config["model"]["encoder_size"] == 16
    assert torch.equal(saved.tensors["embedding.weight"], translator.tensors["target_embedding.weight"])
    name = "encoder.layers.0.weight_recurrent"
    assert torch.equal(saved.tensors[name], translator.tensors[name])
    assert "accuracy_fr" in json.loads((tmp_path / "a" / "metrics.json").read_text())["valid"]

    # unfrozen from the top: the embedding, two layers below the head, has not moved after one epoch, the encoder has
    assert main([*options, "--output", str(tmp_path / "b"), "--unfreeze-epochs", "0.5"]) == 0
    moved = load_model(tmp_path / "b").tensors
    assert torch.equal(moved["embedding.weight"], translator.tensors["target_embedding.weight"])
    assert not torch.equal(moved[name], translator.tensors[name])


def test_what_is_no_classifier(tiny_model, trained, capsys):
    with pytest.raises(ModelDirectoryError, match="a model for translation"):
        Classifier.from_pretrained(tiny_model)
    with pytest.raises(ModelDirectoryError, match="classification"):
        Translator.from_pretrained(trained)
    assert main(["train-classifier", "--data", "x", "--output", "y", "--encoder", str(trained)]) == 2
    assert "holds a model for classification, not a translator; give a translator's" in capsys.readouterr().err
