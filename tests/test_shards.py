"""Output as a folder: whole files in order, gone on with, dealt to processes; that of other work is refused."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from models import small_tokenizer, write_model

from seq2seq.app.cli import main
from seq2seq.app.shards import begin, is_folder, missing_shards
from seq2seq.errors import ConfigError

FAST = ["--max-length", "6", "--threads", "1", "--beam-size", "2", "--precision", "float32"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "m", small_tokenizer(), 1)


@pytest.fixture
def text(tmp_path):
    lines = [f"the cat {i} sat on the mat {'very ' * (i % 5)}" if i % 7 else "" for i in range(23)]
    (tmp_path / "in.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return tmp_path / "in.txt"


def whole(folder):
    """The files of a folder, one after the other."""
    return "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("[0-9]*")))


def rounded(text):
    """Scores with fewer digits: the last one follows from the lines that are translated together."""
    return re.sub(r"(-?\d+\.\d{3})\d+", r"\1", text)


def translated(model, text, output, *options):
    return main(["translate", "--model", model, "--input", str(text), "--output", str(output), *FAST, *options])


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 40])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_all_lines_once(tmp_path, count, processes):
    lines = [str(i) for i in range(count)]
    found = [list(missing_shards(lines, tmp_path, 10, ".txt", (rank, processes))) for rank in range(processes)]
    shards = sorted(itertools.chain(*found), key=lambda shard: shard.first)
    assert [line for shard in shards for line in shard.lines] == lines
    assert [shard.path.name for shard in shards] == [f"{i:06}.txt" for i in range(-(-count // 10))]
    assert all(shard.first == 10 * i and len(shard.lines) <= 10 for i, shard in enumerate(shards))


def test_what_is_there_is_not_made_again(tmp_path):
    (tmp_path / "000001.txt").touch()
    found = list(missing_shards(map(str, range(35)), tmp_path, 10, ".txt", (0, 1)))
    assert [shard.first for shard in found] == [0, 20, 30]


def test_names_of_folders(tmp_path):
    assert is_folder("out/") and is_folder(str(tmp_path))
    assert not is_folder("out.txt") and not is_folder(None) and not is_folder("-")


@pytest.mark.parametrize(
    "options", [[], ["--n-best", "2"], ["--format", "jsonl"], ["--sample", "--search-seed", "3"]], ids=str
)
def test_a_folder_holds_what_a_file_would(model, text, tmp_path, options, monkeypatch):
    """Made by one process, and by two that know nothing of each other."""
    assert translated(model, text, tmp_path / "one.txt", *options) == 0
    expected = (tmp_path / "one.txt").read_text(encoding="utf-8")
    assert translated(model, text, f"{tmp_path}/one/", *options, "--shard-lines", "5") == 0
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        assert translated(model, text, f"{tmp_path}/two/", *options, "--shard-lines", "5") == 0
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert len(names) == 6 and "shards.json" in names
    for folder in ("one", "two"):
        assert rounded(whole(tmp_path / folder)) == rounded(expected)


def test_an_interrupted_run_goes_on(model, text, tmp_path, capsys):
    folder = tmp_path / "out"
    assert translated(model, text, f"{folder}/", "--shard-lines", "5") == 0
    expected = whole(folder)
    kept = (folder / "000001.txt").stat().st_mtime_ns
    (folder / "000002.txt").unlink()
    (folder / ".000002.txt.77.tmp").write_text("half of")  # as a killed process leaves it
    capsys.readouterr()
    assert translated(model, text, folder, "--shard-lines", "5") == 0  # a folder that is there needs no slash
    assert capsys.readouterr().err.endswith(f"1 files of up to 5 lines written to {folder}\n")
    assert whole(folder) == expected and (folder / "000001.txt").stat().st_mtime_ns == kept


def test_other_work_is_refused(model, text, tmp_path, capsys):
    folder = f"{tmp_path}/out/"
    assert translated(model, text, folder, "--shard-lines", "5") == 0
    other = write_model(tmp_path / "other", small_tokenizer(), 2)
    changes = [
        ([model, text, folder, "--shard-lines", "6"], "shard_lines = 5, now 6"),
        ([model, text, folder, "--shard-lines", "5", "--beam-size", "1"], "beam_size = 2, now 1"),
        ([other, text, folder, "--shard-lines", "5"], "models = "),
    ]
    for arguments, told in changes:
        capsys.readouterr()
        assert translated(*arguments) == 2
        assert told in capsys.readouterr().err
    text.write_text("changed\n")
    assert translated(model, text, folder, "--shard-lines", "5") == 2
    assert "input = " in capsys.readouterr().err


def test_other_files_stay(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds other files \(mine.txt ...\); give a new folder"):
        begin(tmp_path, {"a": 1})
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "shards.json").write_text("{")
    with pytest.raises(ConfigError, match=r"shards.json is damaged"):
        begin(tmp_path / "new", {"a": 1})
    begin(tmp_path / "third", {"a": (1, 2)})
    begin(tmp_path / "third", {"a": (1, 2)})
    assert json.loads((tmp_path / "third" / "shards.json").read_text()) == {"a": [1, 2]}


def test_what_a_folder_needs(model, text, tmp_path, capsys, monkeypatch):
    assert main(["translate", "a cat", "--model", model, "--output", f"{tmp_path}/out/", *FAST]) == 2
    assert "takes its text from --input FILE" in capsys.readouterr().err
    assert translated(model, text, f"{tmp_path}/out/", "--shard-lines", "0") == 2
    assert "--shard-lines is 0, expected 1 or more" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert translated(model, text, tmp_path / "out.txt") == 2
    assert "give --output FOLDER/ (with the slash)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.txt").exists()
