"""Which model answers which request, and what the page is told of a translation."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from models import TEXT, small_tokenizer, write_model
from test_classifier import SMALL, toy

from seq2seq import Classifier, Translator
from seq2seq.app.cli import main
from seq2seq.checkpoint import read_config, write_atomically
from seq2seq.config import SearchConfig
from seq2seq.errors import ConfigError, ModelDirectoryError
from seq2seq.serving.catalog import NAMES, Catalog, Classify, ScorePairs, Translate, Unknown, details

SEARCH = SearchConfig(beam_size=3, max_length=8)
HERE = {"device": "cpu", "threads": 1, "precision": "float32"}


def with_languages(path: str, source: str, target: str) -> str:
    """The model directory, its languages changed."""
    config = {**read_config(path), "source": source, "target": target}
    write_atomically(Path(path) / "config.json", json.dumps(config).encode())
    return path


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("models")
    tokenizer = small_tokenizer()
    found = {"en fr": write_model(root / "a", tokenizer, 0)}
    for n, pair in enumerate(("de fr", "fr en"), 1):
        found[pair] = with_languages(write_model(root / str(n), tokenizer, n), *pair.split())
    given = ["--data", str(toy(root / "data")), "--output", str(root / "animals"), *SMALL, "--max-epochs", "1"]
    assert main(["train-classifier", *given]) == 0
    return {**found, "animals": str(root / "animals")}


@pytest.fixture(scope="module")
def catalog(paths) -> Catalog:
    return Catalog.load(list(paths.values()), SEARCH, **HERE)


def test_a_request_finds_its_model(catalog, paths):
    for pair in ("en fr", "de fr", "fr en"):
        code, translator = catalog.translator(*pair.split())
        assert code == pair[:2]
        own = Translator.from_pretrained(paths[pair], **HERE).translate(TEXT[0], beam_size=3, max_length=8)
        assert Translate(translator, SEARCH, 1, False)([TEXT[0]])[0][0].text == own
    assert catalog.translator(" EN ", "Fr")[0] == "en"
    assert catalog.translator("auto", "en")[0] == "fr"
    assert catalog.classifier(None) is catalog.classifier("animals")


def test_a_model_of_both_directions(tmp_path):
    path = write_model(tmp_path / "both", small_tokenizer(), 0)
    config = read_config(path)
    config["options"]["both_directions"] = True
    write_atomically(Path(path) / "config.json", json.dumps(config).encode())
    catalog = Catalog.load([path], SEARCH, **HERE)
    assert catalog.translators["en", "fr"] is catalog.translators["fr", "en"]
    assert [(x["code"], x["targets"]) for x in catalog.languages()] == [("en", ["fr"]), ("fr", ["en"])]
    with pytest.raises(ConfigError, match="a second model for fr → en; give one for each direction"):
        Catalog.load(
            [with_languages(write_model(tmp_path / "one", small_tokenizer(), 1), "fr", "en"), path], SEARCH, **HERE
        )


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("en", "de", "no model translates en → de; there are: en → fr, de → fr, fr → en"),
        ("xx", "fr", "no model translates xx → fr"),
        ("auto", "de", "no model translates auto → de"),
        ("auto", "fr", "give source as one of de, en"),
    ],
)
def test_languages_that_no_model_knows(catalog, source, target, message):
    with pytest.raises(Unknown, match=message):
        catalog.translator(source, target)


def test_classifiers_that_are_not_there(catalog):
    with pytest.raises(Unknown, match=r"no classifier 'animal'; did you mean 'animals'\? \(there are: animals\)"):
        catalog.classifier("animal")
    only = Catalog(catalog.translators, {})
    with pytest.raises(Unknown, match="model is missing; there are: none: this server only translates"):
        only.classifier(None)
    with pytest.raises(Unknown, match="there are: none: this server only classifies"):
        Catalog({}, catalog.classifiers).translator("en", "fr")


def test_languages_are_listed_as_libretranslate_does(catalog):
    assert catalog.languages() == [
        {"code": "en", "name": "English", "targets": ["fr"]},
        {"code": "de", "name": "German", "targets": ["fr"]},
        {"code": "fr", "name": "French", "targets": ["en"]},
    ]
    assert len(NAMES) > 40 and all(len(code) == 2 and name[0].isupper() for code, name in NAMES.items())


def test_models_that_cannot_be_told_apart(paths, tmp_path):
    with pytest.raises(ConfigError, match="a second model for en → fr; give one for each direction"):
        Catalog.load([paths["en fr"]] * 2, SEARCH, **HERE)
    twin = shutil.copytree(paths["animals"], tmp_path / "animals")
    with pytest.raises(ConfigError, match="two classifiers are called 'animals'"):
        Catalog.load([paths["animals"], str(twin)], SEARCH, **HERE)
    with pytest.raises(ModelDirectoryError, match="no model directory"):
        Catalog.load([str(tmp_path / "absent")], SEARCH, **HERE)
    with pytest.raises(ConfigError, match="serve needs --model"):
        Catalog.load([], SEARCH, **HERE)
    with pytest.raises(ConfigError, match="leave --sample out"):
        Catalog.load([paths["en fr"]], SearchConfig(sample=True), **HERE)


def test_tasks_answer_as_the_models_do(catalog, paths):
    translator, classifier = catalog.translators["en", "fr"], catalog.classifiers["animals"]
    wide = Translate(translator, SEARCH, 5, True)(TEXT)
    assert [[t.text for t in best] for best in wide] == translator.translate(TEXT, n_best=5, beam_size=5, max_length=8)
    assert all(best[0].attention is not None for best in wide)
    pairs = list(zip(TEXT, TEXT[::-1], strict=True))
    assert ScorePairs(translator)(pairs) == translator.score(TEXT, TEXT[::-1])
    texts = ["a red cat runs", "", "a dog sleeps"]
    expected = Classifier.from_pretrained(paths["animals"], device="cpu").predict(texts, top_k=2)
    for found, known in zip(Classify(classifier, 2)(texts), expected, strict=True):
        assert [p.label for p in found] == [p.label for p in known]
        assert [p.probability for p in found] == pytest.approx([p.probability for p in known], abs=1e-5)
    assert Translate(translator, SEARCH, 5, True) == Translate(
        translator, SearchConfig(beam_size=3, max_length=8), 5, True
    )
    assert Translate(translator, SEARCH, 5, True) != Translate(translator, SEARCH, 5, False)


def test_details_of_a_line(catalog):
    translator = catalog.translators["en", "fr"]
    (best,) = Translate(translator, SEARCH, 2, True)(["two men  eat red apples ."])
    shown = details(best)
    assert shown["words"] == ["two", "men", "eat", "red", "apples", "."]
    assert [t["text"] for t in shown["translations"]] == [t.text for t in best]
    for found, known in zip(shown["translations"], best, strict=True):
        assert found["words"] == known.text.split()
        weights = np.array(found["attention"])
        assert weights.shape == (len(found["words"]), 6) and (weights >= 0).all() and (weights.sum(1) <= 1.01).all()
        assert found["confidence"] == pytest.approx(math.exp(known.log_prob / (len(known.pieces) + 1)), abs=1e-4)
        # the first word by hand: the mean over its pieces of the sums over the first source word's pieces
        rows = next((n for n, piece in enumerate(known.pieces) if n and piece[0] == "▁"), len(known.pieces))
        columns = next(n for n, piece in enumerate(known.source_pieces) if n and piece[0] == "▁")
        assert weights[0, 0] == pytest.approx(float(known.attention[:rows, :columns].sum() / rows), abs=1e-3)
    assert details([]) == {"words": [], "translations": []}
