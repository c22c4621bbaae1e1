"""`seq2seq filter` by the real command."""

from __future__ import annotations

import json
import re

import pytest

from seq2seq.app.cli import main


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    rows = {
        "train": [
            ("A red house.", "Une maison rouge."), ("", "vide"), ("A red house.", "Une maison rouge."),
            ("A dog runs.", "Un chien court."), ("OK then", "OK then"), ("Two cats sleep.", "Deux chats dorment."),
        ],
        "valid": [("A dog runs.", "Le chien court."), ("", "")],
        "test": [("A bird.", "Un oiseau.")],
    }  # fmt: skip
    for split, pairs in rows.items():
        for i, language in enumerate(("en", "fr")):
            (folder / f"{split}.{language}").write_text("".join(pair[i] + "\n" for pair in pairs), encoding="utf-8")
    return folder


def run(raw, output, *options):
    languages = ["--source", "en", "--target", "fr"]
    return main(["filter", "--data", str(raw), *languages, "--output", str(output), *options])


def test_a_folder_to_train_on(raw, tmp_path, capsys):
    clean = tmp_path / "clean"
    assert run(raw, clean) == 0
    told = capsys.readouterr().out
    assert told.startswith("6 pairs read, 2 kept (33.3%)\n")
    for why in ("a repetition", "empty side", "both sides the same", "source in a held-out split"):
        assert f"1   16.7%  {why}: '" in told
    assert (clean / "train.en").read_text() == "A red house.\nTwo cats sleep.\n"
    assert (clean / "train.fr").read_text() == "Une maison rouge.\nDeux chats dorment.\n"
    for split in ("valid", "test"):
        for language in ("en", "fr"):
            name = f"{split}.{language}"
            assert (clean / name).read_text() == (raw / name).read_text()
    report = json.loads((clean / "filter.json").read_text())
    assert (report["read"], report["kept"]) == (6, 2) and sum(report["left_out"].values()) == 4
    assert report["options"]["max_ratio"] == 3 and report["examples"]["empty side"] == ["", "vide"]
    assert run(clean, tmp_path / "twice") == 0
    assert capsys.readouterr().out == "2 pairs read, 2 kept (100.0%)\n"


def test_its_own_output_is_replaced_and_nothing_else(raw, tmp_path, capsys):
    assert run(raw, tmp_path / "clean") == 0
    assert run(raw, tmp_path / "clean", "--keep-repetitions") == 0
    assert (tmp_path / "clean" / "train.en").read_text().count("\n") == 3
    assert run(raw, raw) == 2
    error = capsys.readouterr().err
    assert re.search(r"holds other files \((train|valid|test)\.(en|fr) \.\.\.\); give a new folder\n$", error)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--max-ratio", "0.5"], "--max-ratio is 0.5, expected 1 or more, or 0 for no limit"),
        (["--min-letters", "2"], "--min-letters is 2, expected 0 to 1"),
        (["--max-characters", "-1"], "--max-characters is -1, expected 0 or more"),
        (["--max-characters", "3"], "nothing is left of"),
        (["--train-split", "training"], "has no split 'training'"),
    ],
)
def test_refused(raw, tmp_path, capsys, options, told):
    assert run(raw, tmp_path / "clean", *options) == 2
    assert told in capsys.readouterr().err


def test_what_it_needs(capsys):
    assert main(["filter", "--data", "x"]) == 2
    assert "filter needs --data CORPUS and --output FOLDER" in capsys.readouterr().err
