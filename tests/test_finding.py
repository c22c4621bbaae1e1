"""What `--data` names: the splits of a corpus, and which files each of them is."""

from __future__ import annotations

import pytest

from seq2seq.config import DataConfig
from seq2seq.errors import CorpusError
from seq2seq.text.finding import Files, find_corpus, same_split


def names(part):
    assert isinstance(part, Files)
    return [path.name for path in part.paths], part.lines


@pytest.mark.parametrize(
    ("files", "source", "expected"),
    [
        (["train.en", "train.de.gz", "valid.en"], "en", {"train": (["train.en", "train.de.gz"], True)}),
        (["train.tsv", "train.tsv.gz"], "en", {"train": (["train.tsv"], False)}),  # the plain one of the two
        (["train.tsv", "train.de"], "tsv", {"train": (["train.tsv", "train.de"], True)}),  # Tsogo has this code
        (
            ["train-00001-of-00002.parquet", "train-00000-of-00002.parquet", "test.csv"],
            "en",
            {
                "train": (["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"], False),
                "test": (["test.csv"], False),
            },
        ),
        (
            ["test2016.tsv", "part-1-of-2.tsv"],
            "en",
            {"test2016": (["test2016.tsv"], False), "part-1-of-2": (["part-1-of-2.tsv"], False)},
        ),
    ],
)
def test_folders(tmp_path, files, source, expected):
    for name in files:
        (tmp_path / name).touch()
    found = find_corpus(DataConfig(data=str(tmp_path), source=source, target="de"))
    assert {split: names(part) for split, part in found.splits.items()} == expected


def test_patterns(tmp_path):
    for name in ("a-train-2.jsonl", "a-train-10.jsonl", "a-dev-1.jsonl", "b-train-1.jsonl"):
        (tmp_path / name).touch()
    found = find_corpus(DataConfig(data=str(tmp_path / "a-{split}-*.jsonl")))
    assert {split: names(part)[0] for split, part in found.splits.items()} == {
        "dev": ["a-dev-1.jsonl"], "train": ["a-train-10.jsonl", "a-train-2.jsonl"],
    }  # fmt: skip
    assert names(found.split("valid"))[0] == ["a-dev-1.jsonl"]
    assert names(find_corpus(DataConfig(data=str(tmp_path / "?-train-?.jsonl"))).split("train"))[0] == [
        "a-train-2.jsonl", "b-train-1.jsonl",
    ]  # fmt: skip
    with pytest.raises(CorpusError, match=r"no split 'test'; splits found: dev, train"):
        found.split("test")


def test_names_of_validation_splits():
    assert same_split("valid", ["train", "dev"]) == "dev"
    assert same_split("val", ["valid", "val"]) == "val"
    assert same_split("train", ["dev"]) is None
