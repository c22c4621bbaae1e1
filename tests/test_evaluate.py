"""Figures against sacrebleu's own command, and against counts made by hand."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import subprocess
import sys

import pytest

from seq2seq.errors import CorpusError
from seq2seq.inference.evaluate import bleu, chrf, evaluate, tokenizer_for

REFERENCES = [
    "The cat sat on the mat, and the dog ran.",
    "A man rides a bicycle through the old town.",
    "Two children play football in a green park near the river .",
    "It rains.",
    "Where is the train station, please?",
    "An old woman buys three red apples, two pears and a loaf of bread at the market in the old town on Monday.",
] * 5


def noisy(texts: list[str], share: float, seed: int) -> list[str]:
    """Texts with a share of the words dropped or doubled."""
    draw = random.Random(seed)
    out = []
    for text in texts:
        words = []
        for word in text.split():
            luck = draw.random()
            words += [] if luck < share / 2 else [word, word] if luck < share else [word]
        out.append(" ".join(words))
    return out


GOOD, BAD = noisy(REFERENCES, 0.15, 1), noisy(REFERENCES, 0.6, 2)


def test_figures_and_signatures_are_those_of_sacrebleu_itself(tmp_path):
    for name, lines in (("hyp", GOOD), ("ref", REFERENCES)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", "ref", "-i", "hyp", "-m", "bleu", "chrf", "ter", "-f", "json",
               "-w", "8"]  # fmt: skip
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = json.loads(answer.stdout)
    result = evaluate(GOOD, REFERENCES, language="en")
    for metric, theirs in zip(result.metrics, expected, strict=True):
        assert metric.name == theirs["name"]
        assert metric.score == pytest.approx(theirs["score"], abs=1e-6)
        assert metric.signature == theirs["signature"]
    assert bleu(GOOD, REFERENCES, language="en") == pytest.approx(expected[0]["score"], abs=1e-6)
    assert chrf(GOOD, REFERENCES) == pytest.approx(expected[1]["score"], abs=1e-6)


def test_the_paired_bootstrap_is_that_of_sacrebleu_itself(tmp_path):
    for name, lines in (("hyp", GOOD), ("other", BAD), ("ref", REFERENCES)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", "ref", "-i", "other", "hyp", "-m", "bleu", "chrf", "--paired-bs",
               "--paired-bs-n", "200", "-f", "text", "-w", "5"]  # fmt: skip
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    number = r"([0-9]+\.[0-9]+)"
    rows = re.findall(rf"{number} \({number} ± {number}\)", answer.stdout)  # BLEU, chrF of one system, then the other
    p_values = re.findall(rf"p = {number}", answer.stdout)
    result = evaluate(GOOD, REFERENCES, against=BAD, language="en", resamples=200)
    for n, figures in enumerate(result.comparison[:2]):
        expected = [float(value) for value in (*rows[n + 2], rows[n][0], p_values[n])]
        found = [figures.score, figures.mean, figures.interval, figures.other, figures.p_value]
        assert found == pytest.approx(expected, abs=1e-4)
        assert figures.signature in answer.stdout


def test_equal_systems_do_not_differ_and_unequal_ones_do():
    same = evaluate(GOOD, REFERENCES, against=GOOD, resamples=100).comparison
    assert all(c.score == c.other and c.p_value == 1 for c in same)
    different = evaluate(GOOD, REFERENCES, against=BAD, resamples=100)
    assert all(c.p_value < 0.05 for c in different.comparison[:2])
    assert different.comparison[0].score > different.comparison[0].other
    assert "significant at 0.05" in different.to_text()
    assert "no significant difference" in evaluate(GOOD, REFERENCES, against=GOOD, resamples=100).to_text()


def test_table_by_length_counts_every_sentence_once():
    lengths = [1, 5, 6, 10, 11, 15, 16, 20, 21, 30, 31, 80, 0]
    sources = [" ".join(["w"] * n) for n in lengths]
    hypotheses, references = GOOD[: len(lengths)], REFERENCES[: len(lengths)]
    table = evaluate(hypotheses, references, sources=sources).by_length
    expected = {(1, 5): [0, 1, 12], (6, 10): [2, 3], (11, 15): [4, 5], (16, 20): [6, 7], (21, 30): [8, 9],
                (31, None): [10, 11]}  # fmt: skip
    assert {(b.least, b.most): b.sentences for b in table} == {k: len(v) for k, v in expected.items()}
    for bucket, inside in zip(table, expected.values(), strict=True):
        part = bleu([hypotheses[n] for n in inside], [references[n] for n in inside])
        assert bucket.bleu == pytest.approx(part)
    assert [b.least for b in evaluate(GOOD, REFERENCES, sources=["a b"] * len(GOOD)).by_length] == [1]


def test_lengths_are_characters_where_words_have_no_spaces():
    result = evaluate(GOOD[:2], REFERENCES[:2], sources=["猫がマットの上に座った。", "雨。"], source_language="ja")
    assert result.unit == "characters"
    assert [(b.least, b.sentences) for b in result.by_length] == [(1, 1), (11, 1)]
    assert "source characters" in result.to_text()


@pytest.mark.parametrize("code", ["", "de", "fr", "pt_BR", "en-US"])
def test_most_languages_take_13a(code):
    assert tokenizer_for(code) == ("13a", "")


@pytest.mark.parametrize("code", ["zh", "zh_CN", "ZH-Hant"])
def test_chinese_takes_its_own_tokenizer(code):
    assert tokenizer_for(code) == ("zh", "")


@pytest.mark.parametrize(("code", "module"), [("ja", "MeCab"), ("ko", "mecab_ko")])
def test_japanese_and_korean_take_mecab_where_it_is_and_say_so_where_not(code, module, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find(name))
    tokenizer, note = tokenizer_for(code)
    assert tokenizer == "char" and f"pip install 'sacrebleu[{code}]'" in note
    result = evaluate(["猫がいる。"], ["猫がいた。"], language=code)
    assert "tok:char" in result.metrics[0].signature
    assert note in result.to_text() and note in result.to_dict()["notes"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    assert tokenizer_for(code) == (f"{code}-mecab", "")


def test_chinese_is_split_into_characters():
    hypotheses, references = ["我们在北京吃饭和喝茶"], ["我们在北京吃饭和喝水"]
    assert bleu(hypotheses, references, language="zh") > 50
    assert bleu(hypotheses, references) < 1  # one long word, and wrong
    ter = evaluate(hypotheses, references, language="zh").metrics[2]
    assert ter.score == pytest.approx(10.0) and "asian:yes" in ter.signature


def test_case_counts_unless_told_otherwise():
    assert bleu(["THE CAT SAT ON THE MAT"], ["the cat sat on the mat"]) < 1
    assert bleu(["THE CAT SAT ON THE MAT"], ["the cat sat on the mat"], lowercase=True) == pytest.approx(100)
    result = evaluate(["THE CAT SAT ON THE MAT"], ["the cat sat on the mat"], lowercase=True)
    assert [round(m.score) for m in result.metrics] == [100, 100, 0]
    assert "case:lc" in result.metrics[0].signature


def test_figures_go_into_json_and_text():
    result = evaluate(GOOD, REFERENCES, sources=REFERENCES, against=BAD, language="en", resamples=50)
    read = json.loads(json.dumps(result.to_dict()))
    assert read["sentences"] == 30
    assert [m["name"] for m in read["metrics"]] == ["BLEU", "chrF2", "TER"]
    text = result.to_text()
    for metric in result.metrics:
        assert f"{metric.score:.2f}" in text and metric.signature in text
    for bucket in result.by_length:
        assert f"{bucket.bleu:.2f}" in text
    assert text.endswith("\n") and "bs:50" in text


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"references": REFERENCES[:29]}, "30 hypotheses but 29 references"),
        ({"sources": REFERENCES[:2]}, "30 hypotheses but 2 sources"),
        ({"against": BAD * 2}, "30 hypotheses but 60 translations to compare with"),
    ],
)
def test_unequal_counts_are_refused(extra, message):
    with pytest.raises(CorpusError) as error:
        evaluate(**{"hypotheses": GOOD, "references": REFERENCES, **extra})
    assert message in str(error.value)


def test_nothing_is_refused():
    for function in (bleu, chrf, evaluate):
        with pytest.raises(CorpusError, match="nothing to evaluate"):
            function([], [])


def test_empty_translations_have_a_score():
    result = evaluate([""] * 6, REFERENCES[:6], sources=REFERENCES[:6])
    assert result.metrics[0].score == 0


def test_ter_is_left_out_where_it_would_take_hours():
    """A sentence against itself in another order; both systems count."""
    short, long = ["a b", "c"], ["a b", "c d e " * 200]
    assert [m.name for m in evaluate(long, short).metrics] == ["BLEU", "chrF2", "TER"]
    for hypotheses, against in ((long, None), (short, long)):
        found = evaluate(hypotheses, long, against=against, resamples=10)
        assert [m.name for m in found.metrics] == ["BLEU", "chrF2"]
        assert "TER is left out: line 2 has more than 300 words" in found.to_text()
