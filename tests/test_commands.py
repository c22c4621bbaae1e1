"""translate, evaluate, score, train as a person calls them: lines in, lines out, files whole or not at all."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import sacrebleu
from conftest import ROOT, TINY

from seq2seq.app import cli, commands
from seq2seq.app.cli import main

# empty, blank, long, NUL, other scripts, joined emoji, and what is a line break to Python but not in a file
ODD_LINES = [
    *("A dog.", "", "   ", "word " * 600, "a\0b", "日本語 हिन्दी العربية", "👩🏽‍🚀👨‍👩‍👧", "a\u2028b\x0bc\x85d\x1ce"),
    *("\t\t", "<s> </s> ▁"),
]
FAST = ["--max-length", "4", "--threads", "1", "--beam-size", "2", "--precision", "float32"]


class Stdin:
    """Standard input that holds some bytes."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)

    def isatty(self) -> bool:
        return False


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs a command: (code, standard output, standard error)."""

    def call(*arguments: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", Stdin(stdin))
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return call


def text_file(folder, name, lines):
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_as_many_lines_out_as_in_whatever_they_hold(run, tiny_model, tmp_path):
    source, target = text_file(tmp_path, "odd", ODD_LINES), tmp_path / "out"
    assert run("translate", "--model", tiny_model, "--input", source, "--output", target, *FAST)[0] == 0
    lines = target.read_bytes().decode().split("\n")
    assert len(lines) == len(ODD_LINES) + 1 and lines[-1] == ""
    assert lines[1] == lines[2] == lines[8] == ""
    code, out, _ = run("translate", "--model", tiny_model, "--input", source, *FAST)
    assert (code, out.split("\n")) == (0, lines)
    code, out, _ = run("translate", "--model", tiny_model, *FAST, stdin=source.read_bytes())
    assert (code, out.split("\n")) == (0, lines)
    code, out, _ = run("translate", "--model", tiny_model, "--flush", *FAST, stdin=source.read_bytes())
    assert (code, out.split("\n")) == (0, lines)


def test_order_is_kept(run, tiny_model):
    sentences = ["The museum opens at eight.", "Hello!", "I have never been to Spain.", "Yes."]
    alone = [run("translate", "--model", tiny_model, sentence, *FAST)[1] for sentence in sentences]
    assert len(set(alone)) > 1
    assert run("translate", "--model", tiny_model, *FAST, "--", *sentences)[1] == "".join(alone)


def test_n_best_and_jsonl(run, tiny_model):
    words = ["translate", "--model", tiny_model, "A dog.", "", "Two dogs.", *FAST, "--n-best", "2"]
    code, out, _ = run(*words)
    rows = [line.split("\t") for line in out.split("\n")[:-1]]  # an untrained model writes all kinds of characters
    assert code == 0
    assert [row[:2] for row in rows] == [["1", "1"], ["1", "2"], ["2", "1"], ["3", "1"], ["3", "2"]]
    assert float(rows[0][2]) >= float(rows[1][2])
    objects = [json.loads(line) for line in run(*words, "--format", "jsonl")[1].splitlines()]
    assert [(entry["line"], entry["source"]) for entry in objects] == [(1, "A dog."), (2, ""), (3, "Two dogs.")]
    best = objects[0]["translations"]
    assert [translation["text"] for translation in best] == [row[3] for row in rows[:2]]
    assert [f"{translation['score']:.6f}" for translation in best] == [row[2] for row in rows[:2]]


def test_two_copies_of_a_model_translate_as_one(run, tiny_model):
    one = run("translate", "--model", tiny_model, "A dog.", *FAST)
    assert run("translate", "--model", tiny_model, "--model", tiny_model, "A dog.", *FAST) == one


def test_score_adds_up_to_what_the_model_gives_each_piece(run, tiny_model, small_corpus, tmp_path):
    from seq2seq import Translator

    files = ["--source-file", small_corpus / "test.en", "--target-file", small_corpus / "test.fr"]
    exact = ["--threads", "1", "--precision", "float32"]
    code, out, _ = run("score", "--model", tiny_model, *files, *exact)
    sides = [(small_corpus / f"test.{side}").read_text(encoding="utf-8").splitlines() for side in ("en", "fr")]
    expected = Translator.from_pretrained(tiny_model, precision="float32").score(*sides)
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert [int(tokens) for _, tokens in rows] == [len(score.pieces) for score in expected]
    assert [float(p) for p, _ in rows] == pytest.approx([sum(score.pieces) for score in expected], abs=1e-3)
    target = tmp_path / "scores"
    assert run("score", "--model", tiny_model, *files, *exact, "--format", "jsonl", "--output", target)[:2] == (0, "")
    objects = [json.loads(line) for line in target.read_text().splitlines()]
    assert [(entry["line"], entry["tokens"]) for entry in objects] == [(n, int(t)) for n, (_, t) in enumerate(rows, 1)]


def test_evaluate_is_sacrebleu(run, tmp_path, small_corpus):
    references = (small_corpus / "test.fr").read_text(encoding="utf-8").splitlines()
    mine = text_file(tmp_path, "mine", [line.replace("a", "o", 1) for line in references])
    files = ["--hypotheses", mine, "--references", small_corpus / "test.fr"]
    code, out, _ = run("evaluate", *files, "--sources", small_corpus / "test.en", "--format", "json")
    figures = json.loads(out)
    bleu = sacrebleu.corpus_bleu(mine.read_text(encoding="utf-8").splitlines(), [references])
    assert code == 0
    assert figures["metrics"][0]["score"] == pytest.approx(bleu.score)
    assert sum(bucket["sentences"] for bucket in figures["by_length"]) == 10
    code, out, _ = run("evaluate", *files, "--against", small_corpus / "test.fr")
    assert code == 0
    assert f"{bleu.score:.2f}" in out and "tok:13a" in out and "paired bootstrap" in out


def test_evaluate_a_model(run, tiny_model, small_corpus, tmp_path):
    saved, figures = tmp_path / "translations", tmp_path / "figures"
    model = ["evaluate", "--model", tiny_model, "--data", small_corpus, *FAST]
    assert run(*model, "--save-translations", saved, "--output", figures, "--format", "json")[:2] == (0, "")
    assert run("translate", "--model", tiny_model, "--input", small_corpus / "test.en", *FAST)[1] == saved.read_text()
    code, out, _ = run("evaluate", "--hypotheses", saved, "--references", small_corpus / "test.fr", "--format", "json")
    assert code == 0
    assert json.loads(out)["metrics"] == json.loads(figures.read_text())["metrics"]


MODEL = ["--model", "MODEL"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["translate", "x"], ["translate needs --model DIR", "seq2seq train"]),
        (["translate", "--model", "DIR/absent", "x"], ["no model directory", "absent", "seq2seq train"]),
        (["translate", "--model", "DIR", "x"], ["is no model directory", "config.json"]),
        (["translate", "--model", "DIR/newer", "x"], ["format 99", "newer"]),
        (["translate", *MODEL, "x", "--input", "DIR/text"], ["sentences and --input", "one of them"]),
        (["translate", *MODEL, "--input", "DIR/absent.en"], ["cannot read", "absent.en"]),
        (["translate", *MODEL, "--input", "DIR/latin1"], ["latin1:3", "0xe9", "--encoding-errors replace"]),
        (["translate", *MODEL, "x", "--output", "DIR/absent/out"], ["cannot write", "absent/out"]),
        (["translate", *MODEL, "x", "--n-best", "9"], ["n_best is 9", "beam_size is 5"]),
        (["translate", *MODEL, "x", "--device", "tpu"], ["tpu", "cpu"]),
        (["evaluate"], ["--model DIR with --data CORPUS, or --hypotheses FILE"]),
        (["evaluate", *MODEL, "--hypotheses", "DIR/text"], ["not both"]),
        (["evaluate", *MODEL], ["needs --data CORPUS"]),
        (["evaluate", "--data", "CORPUS"], ["needs --model DIR"]),
        (["evaluate", "--hypotheses", "DIR/text"], ["--hypotheses FILE and --references FILE"]),
        (["evaluate", *MODEL, "--data", "CORPUS", "--split", "tset"], ["'tset'", "did you mean 'test'"]),
        (["evaluate", *MODEL, "--data", "CORPUS", "--target", "de"], ["test.de"]),
        (["evaluate", *MODEL, "--data", "CORPUS", "--against", "DIR/text"], ["has 2 lines", "has 10"]),
        (["evaluate", "--hypotheses", "DIR/text", "--references", "CORPUS/test.fr"], ["2 hypotheses", "10 references"]),
        (
            ["evaluate", "--hypotheses", "DIR/text", "--references", "DIR/text", "--save-translations", "DIR/s"],
            ["--save-translations goes with --model"],
        ),
        (["score", *MODEL], ["--source-file FILE and --target-file FILE"]),
        (
            ["score", *MODEL, "--source-file", "DIR/text", "--target-file", "CORPUS/test.fr"],
            ["text has 2 lines", "test.fr has 10"],
        ),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_wrong_inputs(arguments, parts, run, tiny_model, small_corpus, tmp_path):
    text_file(tmp_path, "text", ["One.", "Two."])
    (tmp_path / "latin1").write_bytes("a\nb\ncafé\n".encode("latin1"))
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "config.json").write_text('{"format_version": 99}')
    before = sorted(os.listdir(tmp_path))
    names = {"MODEL": str(tiny_model), "CORPUS": str(small_corpus), "DIR": str(tmp_path)}
    words = []
    for word in arguments:
        first, slash, rest = word.partition("/")
        words.append(names.get(first, first) + slash + rest)
    if "--output" not in words and words[0] == "translate":
        words += ["--output", str(tmp_path / "written")]
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("seq2seq: error: ")
    assert err.count("\n") == 1, err
    assert all(part in err for part in parts), err
    assert sorted(os.listdir(tmp_path)) == before, "something half-written is left"


def test_a_file_keeps_its_content_when_writing_fails(run, tiny_model, tmp_path):
    (tmp_path / "in").write_bytes(b"fine\n" * 3 + b"\xff\n")
    target = text_file(tmp_path, "out", ["precious"])
    words = ["translate", "--model", tiny_model, "--input", tmp_path / "in", "--output", target, *FAST]
    assert run(*words)[0] == 2
    assert target.read_text() == "precious\n"
    assert run(*words, "--encoding-errors", "replace")[0] == 0
    assert target.read_text().count("\n") == 4
    assert sorted(os.listdir(tmp_path)) == ["in", "out"]


def test_a_device_is_written_to_and_not_replaced(run, tiny_model):
    assert run("translate", "--model", tiny_model, "x", "--output", "/dev/null", *FAST)[0] == 0
    assert not os.path.isfile("/dev/null")


def test_bytes_on_the_command_line_that_are_no_text(run, tiny_model):
    code, out, _ = run("translate", "--model", tiny_model, "caf\udce9", "--format", "jsonl", *FAST)
    assert code == 0
    assert json.loads(out)["source"] == "caf\ufffd"


def process(*arguments: object, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "seq2seq", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_flush_answers_while_the_pipe_is_open(tiny_model):
    with process("translate", "--model", tiny_model, "--flush", *FAST, stdin=subprocess.PIPE) as running:
        for line in (b"A dog.\n", b"A cat.\n"):
            running.stdin.write(line)
            running.stdin.flush()
            assert running.stdout.readline().endswith(b"\n")
        running.stdin.close()
        assert running.wait(30) == 0
        assert running.stderr.read() == b""


def test_a_reader_that_leaves_ends_it_quietly(tiny_model, small_corpus):
    # more than the pipe holds, so that writing must fail
    words = ["translate", "--model", tiny_model, "--input", small_corpus / "train.en", "--n-best", "2", *FAST]
    with process(*words, "--format", "jsonl", "--flush", stdin=subprocess.DEVNULL) as running:
        running.stdout.readline()
        running.stdout.close()
        assert running.wait(60) == 141
        assert running.stderr.read() == b""


def test_control_c_ends_it_without_a_traceback(tiny_model, tmp_path):
    words = ["translate", "--model", tiny_model, "--flush", "--output", tmp_path / "out", *FAST]
    with process(*words, stdin=subprocess.PIPE) as running:
        running.stdin.write(b"A dog.\n")
        running.stdin.flush()
        (waiting,) = [tmp_path / name for name in _appears(tmp_path)]
        deadline = time.monotonic() + 60
        while not waiting.stat().st_size and time.monotonic() < deadline:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
        assert b"Traceback" not in running.stderr.read()
    assert os.listdir(tmp_path) == []


def _appears(folder) -> list[str]:
    deadline = time.monotonic() + 60
    while not os.listdir(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return os.listdir(folder)


def test_a_signal_to_the_trainer_becomes_the_exit_code(run, monkeypatch, small_corpus, tmp_path):
    from seq2seq.app import train
    from seq2seq.training.trainer import Interrupted

    def interrupted(config, command):
        assert command[:4] == ["seq2seq", "train", "--data", str(small_corpus)]
        assert (config.training.seed, type(config).__name__) == (3, "TrainTranslatorConfig")
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(train, "train_translator", interrupted)
    with pytest.raises(SystemExit) as caught:
        run("train", "--data", small_corpus, "--output", tmp_path / "m", "--seed", "3", *TINY)
    assert caught.value.code == 143


def test_every_command_of_the_help_is_implemented():
    assert set(commands.COMMANDS) == set(cli.COMMANDS)
