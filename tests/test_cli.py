"""The command line: every flag reaches its option, every mistake gets one message and exit code 2."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import typing

import pytest
from conftest import ROOT

from seq2seq import __version__
from seq2seq.app import cli, commands, help
from seq2seq.app.cli import main, parse_command
from seq2seq.app.score import ScoreArguments
from seq2seq.config import SearchConfig, TrainClassifierConfig, TrainTranslatorConfig, field_docs, sections, to_flat
from seq2seq.errors import ConfigError, CorpusError


def another_value(hint, default):
    """A value of the option's type that is not its default."""
    if typing.get_origin(hint) is typing.Literal:
        return next(choice for choice in typing.get_args(hint) if choice != default)
    if hint is bool:
        return not default
    return default + 3 if hint is int else default + 0.25 if hint is float else "abc"


OPTIONS = [
    (command, section, option.name, another_value(typing.get_type_hints(section)[option.name], option.default))
    for command, groups in (("train", sections(TrainTranslatorConfig).values()), ("translate", [SearchConfig]))
    for section in groups
    for option in dataclasses.fields(section)
]


def flag(name: str, value: object) -> list[str]:
    spelling = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{spelling}" if value else f"--no-{spelling}"]
    return [f"--{spelling}", str(value)]


def test_every_option_is_a_flag():
    train = [word for command, _, name, value in OPTIONS if command == "train" for word in flag(name, value)]
    search = [word for command, _, name, value in OPTIONS if command == "translate" for word in flag(name, value)]
    options = parse_command("train", train)
    expected = {name: value for command, _, name, value in OPTIONS if command == "train"}
    assert {name: value for name, value in to_flat(options).items() if name != "config"} == expected
    expected = {name: value for command, _, name, value in OPTIONS if command == "translate"}
    for command in ("translate", "evaluate"):
        assert dataclasses.asdict(parse_command(command, search).search) == expected


def test_flags_win_over_the_recipe_and_the_recipe_over_defaults(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("learning_rate: 1e-2\nattention: none\njoint: false\ntokenizer: a.model\nseed: 5\n")
    for spelling in (["--config", str(recipe)], [f"--config={recipe}"]):
        options = parse_command("train", [*spelling, "--seed", "6", "--joint", "--tokenizer", "none"])
        assert (options.training.seed, options.tokenizer.joint, options.tokenizer.tokenizer) == (6, True, None)
        assert (options.optimization.learning_rate, options.model.attention) == (0.01, "none")
        assert options.optimization.beta1 == TrainTranslatorConfig().optimization.beta1


def test_a_wrong_recipe_is_told_before_anything_runs(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("lerning_rate: 1\n")
    with pytest.raises(ConfigError, match=r"recipe\.yaml: unknown option 'lerning_rate'; did you mean 'learning_rate'"):
        parse_command("train", ["--config", str(recipe)])


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["train", "--lerning-rate", "1"], ["--lerning-rate", "--learning-rate"]),
        (["train", "--learning_rat", "1"], ["--learning_rat", "--learning-rate"]),
        (["train", "--learning-rate", "fast"], ["--learning-rate", "'fast'", "expected a number"]),
        (["train", "--max-steps", "1.5"], ["--max-steps", "'1.5'", "expected a whole number"]),
        (["train", "--attention", "dot"], ["--attention", "'dot'", "bahdanau", "none"]),
        (["train", "--seed"], ["--seed", "Expected 1 value"]),
        (["translate", "--beamsize", "3"], ["--beamsize", "--beam-size"]),
        (["translate", "--format", "xml"], ["--format", "'xml'", "jsonl"]),
        (["evaluate", "--hypothesis", "f"], ["--hypothesis", "--hypotheses"]),
        (["score", "--sourcefile", "f"], ["--sourcefile", "--source-file"]),
    ],
)
def test_a_wrong_argument_is_told_with_what_was_expected(arguments, parts, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(part in err for part in parts), err


@pytest.mark.parametrize("name", list(commands.COMMANDS))
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_fits_a_screen_and_begins_with_an_example(name, flag, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        main([name, flag])
    assert not caught.value.code
    text = capsys.readouterr().out
    assert text.startswith(f"Example:\n  seq2seq {name}")
    lines = text.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    for option in help.COMMON.get(name, "").split():
        spelling = option.replace("_", "-")
        assert any(word in text for word in (f"--{spelling} ", f"--no-{spelling} ", option.upper())), option


@pytest.mark.parametrize("name", list(commands.COMMANDS))
def test_all_help_tells_line_and_default_of_every_option(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "700")  # no line of help is broken
    with pytest.raises(SystemExit) as caught:
        main([name, "--help-all"])
    assert not caught.value.code
    text = capsys.readouterr().out
    assert text.startswith(f"Example:\n  seq2seq {name}")
    trained = {"train": TrainTranslatorConfig, "train-classifier": TrainClassifierConfig}
    searching = [SearchConfig] if name in ("translate", "evaluate") else []
    sections_shown = list(sections(trained[name]).values()) if name in trained else searching
    for section in sections_shown:
        for option, doc in field_docs(section).items():
            spelling = option.replace("_", "-")
            assert f"--{spelling} " in text or f"--{spelling}, --no-{spelling}" in text
            assert doc in text
    if name == "train":
        assert "Peak learning rate. (default: 0.002)" in text
        titles = ["data options", "tokenizer options", "model options", "optimization options", "training options"]
        assert [text.index(title) for title in titles] == sorted(text.index(title) for title in titles)


@pytest.mark.parametrize("name", list(commands.COMMANDS))
def test_the_examples_in_help_are_right(name):
    import shlex

    for line in cli.COMMANDS[name].example.split("\n"):
        program, command, *arguments = shlex.split(line)
        assert (program, command) == ("seq2seq", name)
        if name == "train":
            arguments = [word.replace("configs/", f"{ROOT}/configs/") for word in arguments]
        parse_command(name, arguments)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_general_help_names_every_command(arguments, capsys):
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in commands.COMMANDS)
    assert list(cli.COMMANDS) == list(commands.COMMANDS)
    assert len(out.splitlines()) < 24


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"seq2seq {__version__}\n"


def test_an_unknown_command(capsys):
    assert main(["trian"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("seq2seq: error: unknown command 'trian'; did you mean 'train'?")


def raising(error: BaseException):
    def run(*_):
        raise error

    return {"score": commands.Implementation(ScoreArguments, run)}


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (CorpusError("a.en:3: bad"), 2, "seq2seq: error: a.en:3: bad\n"),
        (PermissionError(13, "Permission denied", "x.en"), 2, "seq2seq: error: x.en: Permission denied\n"),
        (KeyboardInterrupt(), 130, "\n"),
    ],
)
def test_an_error_is_one_message_and_an_exit_code(error, code, text, capsys, monkeypatch):
    monkeypatch.setattr(commands, "COMMANDS", raising(error))
    assert main(["score"]) == code
    assert capsys.readouterr() == ("", text)


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_a_traceback_on_request(how, monkeypatch):
    monkeypatch.setattr(commands, "COMMANDS", raising(CorpusError("bad")))
    if how == "variable":
        monkeypatch.setenv("SEQ2SEQ_TRACEBACK", "1")
    with pytest.raises(CorpusError):
        main(["score", *(["--traceback"] if how == "flag" else [])])


def test_our_own_mistakes_are_not_hidden(monkeypatch):
    monkeypatch.setattr(commands, "COMMANDS", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["score"])


def test_words_after_a_double_dash_are_sentences():
    assert parse_command("translate", ["--model", "m", "--", "--help", "-x"]).sentences == ("--help", "-x")
    assert parse_command("translate", ["A dog.", "--model", "m", "--model", "n"]).model == ("m", "n")


def test_train_needs_data_and_output(capsys):
    assert main(["train"]) == 2
    assert "seq2seq: error: --data is missing: a folder" in capsys.readouterr().err
    assert main(["train", "--data", "x"]) == 2
    assert "seq2seq: error: --output is missing: the model directory" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error():
    code = "import sys; from seq2seq.app.cli import main; sys.exit(main(['--help']))"
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, env=environment)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("name", list(commands.COMMANDS))
def test_scripts_run_the_same_code(name):
    script = str(ROOT / "scripts" / f"{name.replace('-', '_')}.py")
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
    assert f"seq2seq {name}" in done.stdout


def test_the_package_can_be_run():
    done = subprocess.run([sys.executable, "-m", "seq2seq", "--version"], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, f"seq2seq {__version__}\n")
