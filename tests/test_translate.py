"""--attention and --alignments through the real command."""

from __future__ import annotations

import json
import re

import pytest

from seq2seq.app.cli import main

FAST = ["--max-length", "6", "--threads", "1", "--beam-size", "2", "--precision", "float32"]


def test_alignments_are_those_of_the_page(tiny_model, tmp_path, capsys):
    page = tmp_path / "a.html"
    texts = ["A red house.", "", "Where is the cat?"]
    command = ["translate", "--model", str(tiny_model), *texts, *FAST, "--alignments", "pharaoh"]
    assert main([*command, "--attention", str(page), "--format", "jsonl"]) == 0
    rows = [json.loads(line)["translations"][0] for line in capsys.readouterr().out.splitlines()]
    assert main(command) == 0
    assert capsys.readouterr().out.split("\n")[:-1] == [row["alignment"] for row in rows]
    tables = page.read_text(encoding="utf-8").split("<table>")[1:]
    for text, row, table in zip(texts, rows, tables, strict=True):
        assert row["source_words"] == text.split() and bool(row["words"]) == bool(row["text"].strip())
        width = len(row["source_words"]) + 1
        weights = [float(w) for w in re.findall(r"--w:([\d.]+)", table)]
        lines = [weights[start : start + width - 1] for start in range(0, len(weights) - width, width)]
        chosen = {int(link.split("-")[1]): int(link.split("-")[0]) for link in row["alignment"].split()}
        assert sorted(chosen) == list(range(len(row["words"])))
        assert all(line[chosen[n]] >= max(line) - 1e-3 for n, line in enumerate(lines))


def test_n_best_alignments(tiny_model, capsys):
    command = ["translate", "--model", str(tiny_model), "A red house.", *FAST, "--n-best", "2"]
    assert main([*command, "--alignments", "pharaoh"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[:2] for row in rows] == [["1", "1"], ["1", "2"]]
    assert all(re.fullmatch(r"\d+-\d+( \d+-\d+)*", row[3]) for row in rows)


@pytest.mark.parametrize("option", [["--attention", "a.png"], ["--alignments", "pharaoh"]])
def test_a_model_without_attention_says_so(option, tmp_path, monkeypatch, capsys):
    from models import small_tokenizer, write_model

    monkeypatch.chdir(tmp_path)
    tokenizer = small_tokenizer(320)
    model = write_model(tmp_path / "model", tokenizer, 1, attention="none")
    assert main(["translate", "--model", model, "a cat", *option, *FAST]) == 2
    assert f"{option[0]}: {model} was trained with --attention none" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()
