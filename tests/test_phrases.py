"""Moses formats through the real command: every column kept, scores those of whole pairs, order and files whole."""

from __future__ import annotations

import gzip
import math

import pytest
import torch

from seq2seq import Translator
from seq2seq.app.cli import main
from seq2seq.errors import CorpusError
from seq2seq.inference import phrases
from seq2seq.inference.phrases import FLOOR, Entry, nbest_list, phrase_table, with_feature

TABLE = """\
! als ||| as ||| 0.00641026 0.000224143 1 0.263736 ||| 1-0 ||| 156 1 1
the cat ||| le chat ||| 0.5 1 ||| 0-0 1-1 ||| 2 1 1 ||| |||
the cat ||| le chat noir ||| 0.5  1 |||  ||| 2 1 1 ||| ||| {{Tree [X]}}
the cat ||| le ||| 1e-07|||0-0
été 日本 ||| \u2028 &quot; &#124; ||| 0.1 ||| 0-0
||| ||| |||
x|||y|||1"""
NBEST = """\
0 ||| le chat noir  ||| LM0= -1.5 TM0= -2 -3 ||| -4.5 ||| 0-0
0 ||| le chat ||| LM0= -1.5 ||| -4.5
2 ||| un chien ||| LM0= -9 ||| -9"""
FAST = ["--threads", "2", "--precision", "float32"]


@pytest.fixture(autouse=True)
def one_thread():
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("window", [16_000, 2])
def test_a_phrase_table_gets_one_more_score(tiny_model, tmp_path, monkeypatch, window):
    monkeypatch.setattr(phrases, "WINDOW", window)
    table, output = tmp_path / "table.gz", tmp_path / "out.gz"
    with gzip.open(table, "wt", encoding="utf-8", newline="\n") as file:
        file.write(TABLE + "\n")
    command = ["score", "--model", str(tiny_model), "--phrase-table", str(table), "--output", str(output), *FAST]
    assert main(command) == 0
    with gzip.open(output, "rt", encoding="utf-8", newline="\n") as file:
        lines = file.read().split("\n")
    assert lines.pop() == ""
    old = [line.split("|||") for line in TABLE.split("\n")]
    new = [line.split("|||") for line in lines]
    assert [columns[:2] + columns[3:] for columns in new] == [columns[:2] + columns[3:] for columns in old]
    assert [columns[2].split()[:-1] for columns in new] == [columns[2].split() for columns in old]
    translator = Translator.from_pretrained(tiny_model, precision="float32")
    scores = translator.score([columns[0].strip() for columns in old], [columns[1].strip() for columns in old])
    written = [float(columns[2].split()[-1]) for columns in new]
    assert written == pytest.approx([score.log_prob for score in scores], abs=2e-3)
    assert main([*command[:-4], "--feature", "prob", *FAST, "--output", str(tmp_path / "p")]) == 0
    values = [float(line.split("|||")[2].split()[-1]) for line in (tmp_path / "p").read_text("utf-8").split("\n")[:-1]]
    assert values == pytest.approx([math.exp(score.log_prob) for score in scores], rel=1e-2)


def test_an_nbest_list_gets_one_more_feature(tiny_model, tmp_path, capsys):
    (tmp_path / "nbest").write_text(NBEST + "\n")
    (tmp_path / "source").write_text("the black cat\nskipped\na dog\nnever asked for\n")
    files = ["--nbest", str(tmp_path / "nbest"), "--source-file", str(tmp_path / "source")]
    assert main(["score", "--model", str(tiny_model), *files, "--feature-name", "RNN", *FAST]) == 0
    lines = capsys.readouterr().out.split("\n")
    sources, targets = ["the black cat", "the black cat", "a dog"], ["le chat noir", "le chat", "un chien"]
    scores = Translator.from_pretrained(tiny_model, precision="float32").score(sources, targets)
    for line, old, score in zip(lines, NBEST.split("\n"), scores, strict=False):
        before, rest = line.split(" RNN= ")
        value, after = rest.split(" ", 1)
        assert f"{before} {after}" == old
        assert float(value) == pytest.approx(score.log_prob, abs=2e-3)
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda: phrase_table(["a ||| b ||| 1", "no table"], "t"), r"t:2: expected `source \|\|\| target .*'no table'"),
        (lambda: nbest_list(["a ||| b ||| 1"], ["x"], "n", "F"), r"n:1: expected `number \|\|\| target"),
        (lambda: nbest_list(["1 ||| b ||| 1", "0 ||| b ||| 1"], ["x", "y"], "n", "F"), r"n:2: source 0 comes after 1"),
        (lambda: nbest_list(["2 ||| b ||| 1"], ["x", "y"], "n", "F"), r"n:1 is about source 2, but there are fewer"),
    ],
)
def test_a_line_of_another_format_is_named(read, message):
    with pytest.raises(CorpusError, match=message):
        list(read())


def test_probabilities_do_not_vanish():
    entry = Entry("a", "b", ["a ", " b ", " 1 ", " 0-0"], "")
    assert with_feature(entry, -5000.0, True) == f"a ||| b ||| 1 {math.exp(FLOOR):.6g} ||| 0-0"
    assert with_feature(entry, -5000.0, False) == "a ||| b ||| 1 -5000 ||| 0-0"
    assert float(f"{math.exp(FLOOR):.6g}") > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nbest", "n"], "needs --source-file FILE, the sentences that were translated"),
        (["--phrase-table", "t", "--nbest", "n", "--source-file", "s"], "give one of these"),
        (["--phrase-table", "t", "--source-file", "s"], "leave --source-file out"),
        (["--phrase-table", "t", "--format", "jsonl"], "leave --format out"),
        ([], "score needs --source-file FILE and --target-file FILE"),
    ],
)
def test_options_that_contradict_each_other(options, message, capsys):
    assert main(["score", *options]) == 2
    assert message in capsys.readouterr().err


def test_memory_does_not_grow_with_the_table(tiny_model, monkeypatch):
    """No more entries are read ahead than the windows that are at work."""
    monkeypatch.setattr(phrases, "WINDOW", 10)
    torch.set_num_threads(2)
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield "the cat ||| le chat ||| 1"

    translator = Translator.from_pretrained(tiny_model, threads=2, precision="float32")
    stream = phrases.score_entries(translator, phrase_table(endless(), "t"))
    for line in range(1, 80):
        next(stream)
        assert read <= line + 4 * 10
    stream.close()
    assert torch.get_num_threads() == 2
