"""`seq2seq diversify` by the real command, with the tiny model of one direction and the same under the other's name."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import datasets
import pytest

from seq2seq import Translator
from seq2seq.app import diversify
from seq2seq.app.cli import main
from seq2seq.config import DataConfig, SearchConfig
from seq2seq.text.corpus import load_corpus


@pytest.fixture(scope="module")
def backward_model(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("backward") / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["source"], config["target"] = config["target"], config["source"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture
def raw(tmp_path, small_corpus):
    folder = tmp_path / "raw"
    folder.mkdir()
    for language in ("en", "fr"):
        for split, count in (("train", 12), ("valid", 3), ("test", 2)):
            lines = (small_corpus / f"{split}.{language}").read_text(encoding="utf-8").splitlines()[:count]
            if split == "train":
                lines[4] = "" if language == "en" else lines[4]  # nothing to translate, nothing comes of it
            (folder / f"{split}.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def run(raw, output, *options):
    words = ["--data", str(raw), "--source", "en", "--target", "fr", "--output", str(output), "--precision", "float32"]
    return main(["diversify", *words, "--beam-size", "2", "--max-length", "8", *options])


def lines_of(path):
    return path.read_text(encoding="utf-8").split("\n")[:-1]  # a model of six steps writes all kinds of characters


def test_both_sides_are_translated(raw, tmp_path, tiny_model, backward_model, capsys):
    more = tmp_path / "more"
    assert run(raw, more, "--forward", str(tiny_model), "--backward", str(backward_model)) == 0
    told = capsys.readouterr().out
    sides = [lines_of(raw / f"train.{language}") for language in ("en", "fr")]
    models = [Translator.from_pretrained(model, precision="float32") for model in (tiny_model, backward_model)]
    made = [m.translate(side, beam_size=2, max_length=8) for m, side in zip(models, sides, strict=True)]
    forward = [(source, target) for source, target in zip(sides[0], made[0], strict=True) if target]
    backward = [(source, target) for source, target in zip(made[1], sides[1], strict=True) if source]
    assert len(forward) <= 11 and backward, "an empty source has no translation"
    expected = [*zip(*sides, strict=True), *forward, *backward]
    assert list(zip(lines_of(more / "train.en"), lines_of(more / "train.fr"), strict=True)) == expected
    counts = {"given": 12, "forward": len(forward), "backward": len(backward)}
    assert json.loads((more / "diversify.json").read_text())["pairs"] == counts
    assert told.startswith(f"{len(expected)} pairs for training in {more}: 12 given, {len(forward)} forward, ")
    for split in ("valid", "test"):
        for language in ("en", "fr"):
            assert (more / f"{split}.{language}").read_bytes() == (raw / f"{split}.{language}").read_bytes()
    assert len(load_corpus(DataConfig(data=str(more), source="en", target="fr"), "train")) == len(expected)


def test_one_direction_alone_and_again_into_the_same_folder(raw, tmp_path, tiny_model, backward_model, capsys):
    more = tmp_path / "more"
    assert run(raw, more, "--forward", str(tiny_model)) == 0
    assert "forward" in capsys.readouterr().out
    assert run(raw, more, "--backward", str(backward_model)) == 0
    assert set(json.loads((more / "diversify.json").read_text())["pairs"]) == {"given", "backward"}
    assert len(lines_of(more / "train.fr")) == 24
    assert lines_of(more / "train.fr")[12:] == lines_of(raw / "train.fr")[: len(lines_of(more / "train.fr")) - 12]


def test_the_same_command_after_an_interruption(raw, tmp_path, tiny_model, monkeypatch):
    def interrupted(*_):
        yield from ()
        raise KeyboardInterrupt

    more = tmp_path / "more"
    with monkeypatch.context() as patch:
        patch.setattr(diversify, "_all_pairs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            diversify.diversify(
                diversify.DiversifyArguments(str(raw), "en", "fr", str(more), forward=(str(tiny_model),)), []
            )
    assert (more / "valid.en").exists() and not (more / "train.en").exists()
    assert run(raw, more, "--forward", str(tiny_model)) == 0
    assert (more / "train.en").exists()


def test_its_own_output_is_no_corpus_for_the_same_folder(raw, tmp_path, tiny_model, capsys):
    more = tmp_path / "more"
    assert run(raw, more, "--forward", str(tiny_model)) == 0
    before = {path.name: path.read_bytes() for path in more.iterdir()}
    assert run(more, more, "--forward", str(tiny_model)) == 2
    assert "is --data itself; give another folder" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in more.iterdir()} == before


@pytest.mark.parametrize("search", [{"n_best": 2}, {"n_best": 3, "sample": True, "search_seed": 5}])
def test_a_text_has_several_translations(raw, tmp_path, backward_model, search):
    words = [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in search.items()]
    assert run(raw, tmp_path / "more", "--backward", str(backward_model), *words) == 0
    sides = [lines_of(raw / f"train.{language}") for language in ("en", "fr")]
    model = Translator.from_pretrained(backward_model, precision="float32")
    found = [
        list(dict.fromkeys(filter(None, texts)))
        for texts in model.translate(sides[1], beam_size=2, max_length=8, **search)
    ]
    expected = [(text, target) for texts, target in zip(found, sides[1], strict=True) for text in texts]
    made = [*zip(*(lines_of(tmp_path / "more" / f"train.{language}") for language in ("en", "fr")), strict=True)]
    assert made == [*zip(*sides, strict=True), *expected]
    assert len(expected) > len(sides[1]), "one translation each would pass, too"
    report = json.loads((tmp_path / "more" / "diversify.json").read_text(encoding="utf-8"))
    assert report["pairs"] == {"given": 12, "backward": len(expected)}


def test_equal_translations_make_one_pair():
    found = [[SimpleNamespace(text=text) for text in texts] for texts in (["x", "x", "", "y"], ["x"])]
    model = SimpleNamespace(translate_stream=lambda texts, **options: (found[int(text)] for text in texts))
    corpus, counts = datasets.Dataset.from_dict({"source": ["0", "1"], "target": ["a", "b"]}), {"forward": 0}
    arguments = diversify.DiversifyArguments(search=SearchConfig(n_best=4))
    made = list(diversify._all_pairs(corpus, {"forward": model}, arguments, counts))
    assert made[2:] == [("0", "x"), ("0", "y"), ("1", "x")] and counts == {"forward": 3}


def test_the_best_translation_and_the_closest(raw, tmp_path, capsys):
    texts = ["a dog runs", "a black dog runs fast", "the black dog runs"], ["yes", "no"], ["", "one"]
    found = [[SimpleNamespace(text=text) for text in of_one] for of_one in texts]
    model = SimpleNamespace(translate_stream=lambda texts, **options: (found[int(text)] for text in texts))
    given = ["the black dog runs home", "yes", "another"]
    corpus, counts = datasets.Dataset.from_dict({"source": ["0", "1", "2"], "target": given}), {"forward": 0}
    arguments = diversify.DiversifyArguments(source="fr", target="en", closest=True, search=SearchConfig(n_best=3))
    made = list(diversify._all_pairs(corpus, {"forward": model}, arguments, counts))
    # where the best one is the closest, or the only one, there is no second
    assert made[3:] == [("0", "a dog runs"), ("0", "the black dog runs"), ("1", "yes"), ("2", "one")]
    assert run(raw, tmp_path / "more", "--forward", "m", "--closest") == 2
    assert "--closest chooses among several translations: give --n-best" in capsys.readouterr().err


def test_a_model_of_both_directions(raw, tmp_path, tiny_model):
    both = tmp_path / "both"
    shutil.copytree(tiny_model, both)
    config = json.loads((both / "config.json").read_text(encoding="utf-8"))
    config["options"]["both_directions"] = True
    (both / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert run(raw, tmp_path / "more", "--forward", str(both), "--backward", str(both)) == 0
    assert len(lines_of(tmp_path / "more" / "train.fr")) > 2 * 12


def test_what_does_not_go(raw, tmp_path, tiny_model, backward_model, capsys):
    def refused(*words):
        assert run(raw, tmp_path / "more", *words) == 2
        assert not (tmp_path / "more").exists()
        return capsys.readouterr().err

    assert "--forward DIR, --backward DIR or both" in refused()
    assert "--forward" in (told := refused("--forward", str(backward_model)))
    assert "translates fr to en, expected en to fr" in told
    assert "translates fr to en" in refused("--forward", str(tiny_model), "--forward", str(backward_model))
    assert "translates en to fr, expected fr to en" in refused("--backward", str(tiny_model))
    assert "n_best is 3 but beam_size is 2" in refused("--forward", str(tiny_model), "--n-best", "3")
    assert "no-model" in refused("--forward", str(tmp_path / "no-model"))
    assert run(raw, raw, "--forward", str(tiny_model)) == 2
    assert "holds other files" in capsys.readouterr().err
