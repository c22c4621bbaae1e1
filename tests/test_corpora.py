"""Folders of a corpus that a command writes: what they are taken for, and that they are whole."""

from __future__ import annotations

import contextlib
import errno
import io

import pytest

from seq2seq.app import corpora
from seq2seq.app.cli import main


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    rows = {
        "train": [("A red house.", "Une maison rouge."), ("Two cats sleep.", "Deux chats dorment.")],
        "valid": [("A dog runs.", "Le chien court."), ("", "")],
        "test": [("A bird.", "Un oiseau.")],
    }
    for split, pairs in rows.items():
        for i, language in enumerate(("en", "fr")):
            (folder / f"{split}.{language}").write_text("".join(pair[i] + "\n" for pair in pairs), encoding="utf-8")
    return folder


def filtered(raw, output, source, target, *options):
    words = ["--data", str(raw), "--source", source, "--target", target, "--output", str(output)]
    return main(["filter", *words, *options])


def test_a_split_by_another_of_its_names_is_no_other_split(raw, tmp_path):
    assert filtered(raw, tmp_path / "clean", "en", "fr", "--train-split", "validation", "--keep-held-out") == 0
    names = {path.name for path in (tmp_path / "clean").iterdir() if path.suffix == ".en"}
    assert names == {"train.en", "validation.en", "test.en"}
    assert (tmp_path / "clean" / "validation.en").read_text() == "A dog runs.\n"


def test_folders_that_would_mix(raw, tmp_path, capsys):
    clean = tmp_path / "clean"
    for language in ("en", "fr"):
        (raw / f"train.{language}2").write_bytes((raw / f"train.{language}").read_bytes())
    assert filtered(raw, clean, "en", "fr") == 0
    before = {path.name: path.read_bytes() for path in clean.iterdir()}
    assert filtered(raw, clean, "en2", "fr2") == 2
    assert "holds en and fr; give a folder for each pair" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in clean.iterdir()} == before


def test_a_full_disk_leaves_neither_side(tmp_path, monkeypatch):
    """The last of the sources cannot be written: the targets, whole, must not take their name."""

    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    whole = []

    @contextlib.contextmanager
    def output_file(path):
        yield Full() if path.endswith(".en") else io.StringIO()
        whole.append(path)

    monkeypatch.setattr(corpora, "output_file", output_file)
    folder = corpora.CorpusFolder(corpora.CorpusArguments("x", "en", "fr", str(tmp_path)), "report.json")
    with pytest.raises(OSError, match="No space left"):
        folder.write("train", [("a", "b")])
    assert whole == []
