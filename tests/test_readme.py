"""README: every command in it is one that the program takes, the quick ones are run, its tables are up to date."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil

import pytest
from conftest import ROOT, TINY

from seq2seq.app import commands
from seq2seq.app.cli import main, parse_command

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
CONSOLE = [line[2:] for kind, block in BLOCKS if kind == "console" for line in block.splitlines() if line[:2] == "$ "]


def test_every_console_line_is_a_command():
    lines = [line for kind, block in BLOCKS if kind == "console" for line in block.splitlines()]
    assert len(lines) == len(CONSOLE), "a line of a console block without `$ `"
    assert {kind for kind, _ in BLOCKS} <= {"console", "python", "text", "yaml"}
    assert {shlex.split(line)[1] for line in CONSOLE if line.startswith("seq2seq")} == set(commands.COMMANDS)


@pytest.mark.parametrize("line", CONSOLE)
def test_commands_parse(line, monkeypatch):
    monkeypatch.chdir(ROOT)  # recipes are named from the root of the checkout
    program, *arguments = shlex.split(line)
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in arguments)
    elif program == "seq2seq":
        parse_command(arguments[0], arguments[1:])
    elif program == "torchrun":
        module = arguments.index("-m")
        assert arguments[module + 1] == "seq2seq"
        parse_command(arguments[module + 2], arguments[module + 3 :])
    elif program == "python":
        assert (ROOT / arguments[0]).is_file()
    else:
        assert program == "pip"


def make_mycorpus(folder, small_corpus):
    """A folder like the one README describes."""
    (folder / "mycorpus").mkdir()
    for split in ("train", "valid", "test"):
        for language, source in (("en", "en"), ("de", "fr")):
            shutil.copy(small_corpus / f"{split}.{source}", folder / "mycorpus" / f"{split}.{language}")
    (folder / "new.en").write_text("A red house.\n\nWhere is the cat?\n", encoding="utf-8")


def test_own_data_in_three_lines_and_python(tmp_path, small_corpus, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_mycorpus(tmp_path, small_corpus)
    shutil.copytree("mycorpus", "otherdomain")
    lines = [shlex.split(line) for line in CONSOLE if "runs/mine" in line]
    assert [(line[1], "--resume" in line) for line in lines] == [
        ("train", False), ("translate", False), ("evaluate", False), ("train", True), ("train", False),
    ]  # fmt: skip
    for _, *arguments in lines:
        assert main([*arguments, *(TINY if arguments[0] == "train" else [])]) == 0, capsys.readouterr()
    assert (tmp_path / "new.de").read_text(encoding="utf-8").count("\n") == 3
    assert "BLEU" in capsys.readouterr().out

    (python,) = [block for kind, block in BLOCKS if kind == "python"]
    *statements, expression = python.strip().splitlines()
    names: dict = {}
    exec("\n".join(statements), names)
    (translation,) = eval(expression, names)
    assert isinstance(translation, str)


def test_options_table_is_up_to_date():
    spec = importlib.util.spec_from_file_location("options_table", ROOT / "scripts" / "options_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.with_table(README) == README, "python scripts/options_table.py writes it"
    assert module.with_table("a <!-- options -->old<!-- end of options --> b").count("| `--beam-size` |") == 1


def test_the_file_tree_is_there():
    (tree,) = [block for kind, block in BLOCKS if kind == "text" and "seq2seq/ " in block]
    parent = ROOT
    for line in tree.splitlines():
        name = line.split()[0] if not line.startswith("  ") else f"seq2seq/{line.split()[0]}"
        assert (parent / name).exists(), name
        if line.startswith("  ") and line.split()[0].endswith("/"):  # a folder of the package, and modules that it has
            words = re.findall(r"\w+", line.split(None, 1)[1].split(":")[0])
            assert [word for word in words if not (parent / name / f"{word}.py").exists()] == []


def test_files_that_readme_names_exist():
    for name in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"configs/\w+\.yaml|scripts/\w+\.py|seq2seq/\w+\.py", README):
        assert (ROOT / name).exists(), name
