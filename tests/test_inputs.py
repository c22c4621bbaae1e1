"""Text as it comes: over eighty odd or broken inputs, and exactly what each command makes of them."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from models import TEXT, small_tokenizer, write_classifier, write_model

from seq2seq.app import train, train_classifier
from seq2seq.app.cli import main
from seq2seq.errors import UserError


class Case(NamedTuple):
    """An input and its outcome."""

    name: str
    command: str  # a key of COMMANDS, and further options
    files: dict[str, bytes]
    expected: list[str] | list[int] | str  # the texts as they were read, or the number of rows; or a part of the error


BOM = b"\xef\xbb\xbf"
MEGABYTE = b"many words " * 95_000 + b"end"
TEN_THOUSAND = b"word " * 9_999 + b"end"
RIGHT_TO_LEFT = "\u200f\u202bשלום عالم\u202c (1) \u2067אבג\u2069"
EMOJI = "👩🏽‍🚀 👨‍👩‍👧‍👦 🇩🇪🇫🇷 ❤️ 1️⃣"
BREAKS = "a\u2028b\u2029c\x0bd\x0ce\x85f\x1cg\x1dh\x1ei"
NO_CHARACTERS = "\uffff \U0010ffff \ue000 \ufffd"
STACKED = "e" + "\u0301\u0316" * 3000
ZIPPED = gzip.compress(b"one\ntwo\n" * 500, mtime=0)

# file, and the lines that every command must see in it, or a part of the message
LINES: list[tuple[str, bytes, list[str] | str]] = [
    ("an empty file", b"", []),
    ("a line feed alone", b"\n", [""]),
    ("no line feed at the end", b"one\ntwo", ["one", "two"]),
    ("blank lines", b"\none\n\n  \n\t\n", ["", "one", "", "  ", "\t"]),
    ("carriage returns and line feeds", b"one\r\ntwo\r\n\r\n", ["one", "two", ""]),
    ("a carriage return inside a line", b"one\rtwo\n", ["one\rtwo"]),
    ("two carriage returns at the end", b"one\r\r\n", ["one\r"]),
    ("a byte order mark", BOM + b"one\ntwo\n", ["one", "two"]),
    ("a byte order mark alone", BOM, []),
    ("a second byte order mark", BOM + b"one\n" + BOM + b"two\n", ["one", "\ufefftwo"]),
    ("NUL", b"one\0two\n\0\n", ["one\0two", "\0"]),
    ("what only Python takes for line ends", BREAKS.encode() + b"\n", [BREAKS]),
    ("right to left, with marks of direction", RIGHT_TO_LEFT.encode() + b"\n", [RIGHT_TO_LEFT]),
    ("sequences of emoji", EMOJI.encode() + b"\n", [EMOJI]),
    ("accents in heaps", STACKED.encode() + b"\n", [STACKED]),
    ("control characters", b"a\x07b\x1b[31mc\x7f\n", ["a\x07b\x1b[31mc\x7f"]),
    ("what looks like special pieces", "<s> </s> <pad> <unk> ▁ <0x41>\n".encode(), ["<s> </s> <pad> <unk> ▁ <0x41>"]),
    ("code points that are no characters", f"{NO_CHARACTERS}\n".encode(), [NO_CHARACTERS]),
    ("a line of a megabyte", b"one\n" + MEGABYTE + b"\ntwo\n", ["one", MEGABYTE.decode(), "two"]),
    ("a word of 200,000 letters", b"x" * 200_000 + b"\ntwo\n", ["x" * 200_000, "two"]),
    ("a sentence of 10,000 words", TEN_THOUSAND + b"\ntwo\n", [TEN_THOUSAND.decode(), "two"]),
    ("a byte that is no UTF-8", b"one\ntwo\ncaf\xe9\nfour\n", "x:3: byte 0xe9 is no UTF-8"),
    ("half a surrogate pair in bytes", b"one\n\xed\xa0\x80\n", "x:2: byte 0xed is no UTF-8"),
    ("a character cut by the end", b"one\n\xf0\x9f\x98", "x:2: byte 0xf0 is no UTF-8"),
    ("UTF-16", "one\n".encode("utf-16"), "x:1: byte 0xff is no UTF-8"),
    ("no file", b"", "cannot read"),
]  # fmt: skip
ZIPS: list[tuple[str, bytes, list[str] | str]] = [
    ("two gzip files in one", gzip.compress(b"one\n", mtime=0) * 2, ["one", "one"]),
    ("a gzip file cut short", ZIPPED[:-12], "is a cut or damaged gzip file"),
    ("a gzip file without content", b"", []),
    ("no gzip file", b"one\ntwo\n", "is no gzip file"),
    ("a damaged gzip file", ZIPPED[:15] + b"\xff\xff\xff" + ZIPPED[18:], "gzip file"),
]


def lines_cases() -> list[Case]:
    cases = []
    for command in ("translate", "classify"):
        for name, content, expected in LINES:
            files = {} if name == "no file" else {"x": content}
            cases.append(Case(name, command, files, expected))
        cases += [Case(name, f"{command}-gz", {"x.gz": content}, expected) for name, content, expected in ZIPS]
        replaced = ["one", "caf\ufffd", "\ufffd\ufffd\ufffd"]
        cases.append(Case("no UTF-8, replaced", f"{command} --encoding-errors replace",
                          {"x": b"one\ncaf\xe9\n\xed\xa0\x80\n"}, replaced))  # fmt: skip
    return cases


def pairs(source: bytes, target: bytes) -> dict[str, bytes]:
    return {"x": source, "y": target}


PAIRS = [
    Case("fewer targets", "score", pairs(b"one\ntwo\n", b"un\n"), "x has 2 lines,"),
    Case("no target at all", "score", pairs(b"one\n", b""), "y has 0; line n of one"),
    Case("both files empty", "score", pairs(b"", b""), 0),
    Case("one side empty", "score", pairs(b"\none\n", b"un\n\n"), 2),
    Case("line ends of two systems", "score", pairs(b"one\r\ntwo\r\n", b"un\ndeux"), 2),
    Case("line ends of Python", "score", pairs(BREAKS.encode(), b"un\n"), 1),
    Case("NUL in both", "score", pairs(b"\0\na\0b\n", b"\0\0\nc\n"), 2),
    Case("10,000 words to score", "score", pairs(TEN_THOUSAND, b"un\n"), 1),
    Case("no UTF-8 in a target", "score", pairs(b"one\ntwo\n", b"un\n\xff\n"), "y:2: byte 0xff is no UTF-8"),
    Case("targets that are not there", "score", {"x": b"one\n"}, "cannot read"),
    Case("more references", "evaluate", pairs(b"un\n", b"un\ndeux\n"), "1 hypotheses but 2 references"),
    Case("nothing to evaluate", "evaluate", pairs(b"", b""), "nothing to evaluate"),
    Case("blank hypotheses", "evaluate", pairs(b"\n\n", b"un\ndeux\n"), 2),
    Case("blank references", "evaluate", pairs(b"un\n\n", b"\n\n"), 2),
    Case("a mark and line ends of two systems", "evaluate", pairs(BOM + b"un\r\n", b"un\n"), 1),
    Case("line ends of Python in references", "evaluate", pairs(b"un\n", BREAKS.encode()), 1),
    Case("NUL and emoji", "evaluate", pairs(b"\0\n", EMOJI.encode() + b"\n"), 1),
    Case("10,000 words to evaluate", "evaluate", pairs(TEN_THOUSAND + b"\n", TEN_THOUSAND[::-1] + b"\n"), 1),
    Case("no UTF-8 in a reference", "evaluate", pairs(b"un\n", b"\xff\n"), "y:1: byte 0xff is no UTF-8"),
]


def parquet(**columns) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


GOOD = {"train.en": "\n".join(TEXT * 5).encode(), "train.fr": "\n".join(TEXT * 5).encode()}
VALID = {"valid.en": b"a cat .\n", "valid.fr": b"un chat .\n"}


def table(ending: str, content: bytes | str) -> dict[str, bytes]:
    content = content if isinstance(content, bytes) else content.encode()
    return {f"train.{ending}": content, **VALID}


# the numbers: pairs that were read, and pairs that are left to train on
TRAIN = [
    Case("as it should be", "train", {**GOOD, **VALID}, [20, 20]),
    Case("unequal files", "train", {**VALID, "train.en": b"a\nb\n", "train.fr": b"a\n"}, "train.en has 2 lines, "),
    Case("unequal validation", "train", {**GOOD, "valid.en": b"a\n", "valid.fr": b"a\nb\n"}, "valid.fr has 2; "),
    Case("one language is empty", "train", {**VALID, "train.en": b"a\n", "train.fr": b""}, "train.fr has 0; "),
    Case("an empty corpus", "train", {**VALID, "train.en": b"", "train.fr": b""}, "the corpus is empty"),
    Case("one language only", "train", {**VALID, "train.en": b"a\n"}, "train.en is there, but train.fr is not"),
    Case("no validation: a pair is held out, and what has its source", "train", GOOD, [15, 15]),
    Case("no validation, and one source", "train",
         {"train.en": b"a\na\n", "train.fr": b"b\nc\n"}, "2 pairs are too few"),
    Case("half of a validation", "train", {**GOOD, "valid.en": b"a\n"}, "valid.en is there, but valid.fr is not"),
    Case("one side of each pair empty", "train",
         {**VALID, "train.en": b"a\n\n" * 9, "train.fr": b"\nb\n" * 9}, "no usable training pairs"),
    Case("nothing but white space", "train",
         {**VALID, "train.en": b" \n\t\n", "train.fr": b"\n\xe3\x80\x80\n"}, "no text to train a tokenizer on"),
    Case("some sides empty, some long", "train",
         {**VALID, "train.en": GOOD["train.en"] + b"\n\none\n" + TEN_THOUSAND,
          "train.fr": GOOD["train.fr"] + b"\nun\n\nun"}, [23, 20]),
    Case("a line of a megabyte to train on", "train",
         {**VALID, "train.en": GOOD["train.en"] + b"\n" + MEGABYTE, "train.fr": GOOD["train.fr"] + b"\nun"}, [21, 20]),
    Case("everything odd at once", "train",
         {**VALID, "train.en": BOM + "\r\n".join([*TEXT * 5, BREAKS, EMOJI]).encode(),
          "train.fr": "\n".join([*TEXT * 5, RIGHT_TO_LEFT, "a\0b"]).encode()}, [22, 22]),
    Case("no UTF-8 to train on", "train", {**VALID, **GOOD, "train.fr": b"a\n\xfe\n"}, "train.fr:2: byte 0xfe"),
    Case("no UTF-8 to train on, replaced", "train --encoding-errors replace",
         {**VALID, **GOOD, "train.fr": GOOD["train.fr"].replace(b"red", b"r\xfed", 1)}, [20, 20]),
    Case("gzip cut short, to train on", "train",
         {**VALID, "train.en.gz": ZIPPED[:-9], "train.fr": b"a\n"}, "train.en.gz is a cut or damaged gzip file"),
    Case("a ragged TSV", "train", table("tsv", "en\tfr\na\tb\nc\n"), "train.tsv:3: 1 column, expected 2"),
    Case("a TSV with a tab too many", "train", table("tsv", "a\tb\nc\td\te\n"), "train.tsv:2: 3 columns, expected 2"),
    Case("a TSV with an empty line", "train", table("tsv", "a\tb\n\nc\td\n"), "train.tsv:2: 1 column, expected 2"),
    Case("a TSV with a column twice", "train", table("tsv", "en\tfr\ten\na\tb\tc\n"), "names 'en' twice"),
    Case("a TSV without our columns", "train", table("tsv", "english\tfrench\tid\na\tb\tc\n"), "mean 'french'? Name"),
    Case("quotes mean nothing in a TSV", "train", table("tsv", '"the cat\tle "chat"\n' * 9), [9, 9]),
    Case("a TSV with a mark and carriage returns", "train",
         table("tsv", BOM + b"fr\ten\r\nle chat\tthe cat\r\n"), [1, 1]),
    Case("a CSV with quotes, commas and breaks", "train", table("csv", 'en,fr\n"a, ""b""\nc","d\r\ne"\n'), [1, 1]),
    Case("a CSV whose quote never ends", "train", table("csv", 'en,fr\na,"b\nc,d\n'), "train.csv:2: unexpected end"),
    Case("a CSV with text after a quote", "train", table("csv", 'en,fr\na,b\n"c" d,e\n'), "train.csv:3: "),
    Case("a CSV with a cell of a megabyte", "train",
         table("csv", b'en,fr\na cat,un chat\n"' + MEGABYTE + b'",b\n'), [2, 1]),
    Case("a CSV with NUL", "train", table("csv", "en,fr\na\0 cat,un\0 chat\n"), [1, 1]),
    Case("JSON cut short", "train", table("jsonl", '{"en": "a", "fr": "b"}\n{"en": "a'), "train.jsonl:2: no valid"),
    Case("JSON that is no object", "train", table("jsonl", "[1]\n"), "train.jsonl:1: list, expected an object"),
    Case("JSON of many brackets", "train", table("jsonl", "[" * 100_000), "train.jsonl:1: no valid JSON"),
    Case("JSON with a number for text", "train", table("jsonl", '{"en": "a", "fr": 5}\n'), "'fr' is 5, expected text"),
    Case("JSON without a column", "train",
         table("jsonl", '{"en": "a", "fr": "b"}\n{"en": "a"}\n'), "train.jsonl:2: no 'fr', which earlier lines have"),
    Case("JSON with half a surrogate pair", "train",
         table("jsonl", '{"en": "\\ud83d", "fr": "b"}\n'), "train.jsonl:1: here is half of a surrogate pair"),
    Case("JSON with null", "train", table("jsonl", '{"en": "a cat", "fr": "b"}\n{"en": null, "fr": "b"}\n'), [2, 1]),
    Case("no Parquet file", "train", table("parquet", b"PAR1 or not"), "is no Parquet file, or a damaged one"),
    Case("Parquet cut short", "train", table("parquet", parquet(en=["a"], fr=["b"])[:-9]), "or a damaged one"),
    Case("Parquet with numbers", "train", table("parquet", parquet(en=["a"], fr=[1])), "column 'fr' holds int64"),
    Case("Parquet that is no UTF-8", "train",
         table("parquet", parquet(en=pa.array([b"\xff"]).cast(pa.string(), safe=False), fr=["b"])),
         "text that is no UTF-8"),
]  # fmt: skip

TWO = "cat\ta cat sleeps\ndog\ta dog runs\n"
# the numbers: texts to train on, and for validation
LABELLED = [
    Case("labels as they should be", "train-classifier", {"train.tsv": (TWO * 20).encode()}, [36, 4]),
    Case("one label", "train-classifier", {"train.tsv": b"cat\ta cat\n" * 20}, "has only one label, 'cat'"),
    Case("no labels at all", "train-classifier", {"train.tsv": b"\ta cat\n" * 20}, "too few to hold"),
    Case("rows without a label", "train-classifier", {"train.tsv": (TWO * 20 + "\ta bird\n" * 5).encode()}, [36, 4]),
    Case("empty texts", "train-classifier", {"train.tsv": (TWO * 20 + "cat\t\n" * 10).encode()}, [45, 5]),
    Case("ragged labels", "train-classifier", {"train.tsv": (TWO + "cat\n").encode()}, "train.tsv:3: 1 column"),
    Case("a column of labels twice", "train-classifier",
         {"train.csv": b"label,text,label\na,b,c\n"}, "the header names 'label' twice"),
    Case("a column of another name", "train-classifier",
         {"train.csv": b"label,sentence\na,b\n"}, "no column 'text'; columns found: label, sentence"),
    Case("labels with quotes and breaks", "train-classifier",
         {"train.csv": b'label,text\n' + b'"a ""b""\n c","x, y"\nd,z\n' * 20}, [36, 4]),
    Case("labels with NUL", "train-classifier", {"train.tsv": b"a\0\tx\nb\ty\n" * 20}, [36, 4]),
    Case("more texts than labels", "train-classifier",
         {"train.label": b"a\n", "train.text": b"x\ny\n"}, "line n of one must be the label of line n"),
    Case("lists of labels", "train-classifier",
         {"train.jsonl": b'{"label": ["a", "b"], "text": "x"}\n'}, "is a list of labels; --label-separator"),
    Case("labels that are no UTF-8", "train-classifier", {"train.tsv": b"a\tx\n\xff\ty\n"}, "train.tsv:2: byte 0xff"),
    Case("texts of 10,000 words", "train-classifier",
         {"train.tsv": TWO.encode() * 20 + b"cat\t" + TEN_THOUSAND}, [37, 4]),
]  # fmt: skip

CASES = [*lines_cases(), *PAIRS, *TRAIN, *LABELLED]
FAST = ["--threads", "1", "--precision", "float32"]
COMMANDS = {
    "translate": ["translate", "--model", "TRANSLATOR", "--input", "HERE/x", "--format", "jsonl", *FAST,
                  "--max-length", "3", "--beam-size", "1"],
    "classify": ["classify", "--model", "CLASSIFIER", "--input", "HERE/x", "--format", "jsonl", *FAST],
    "score": ["score", "--model", "TRANSLATOR", "--source-file", "HERE/x", "--target-file", "HERE/y", "--format",
              "jsonl", *FAST],
    "evaluate": ["evaluate", "--hypotheses", "HERE/x", "--references", "HERE/y", "--format", "json"],
    "train": ["train", "--data", "HERE", "--source", "en", "--target", "fr", "--output", "HERE/out", "--vocab-size",
              "400", *FAST],
    "train-classifier": ["train-classifier", "--data", "HERE", "--output", "HERE/out", "--vocab-size", "400", *FAST],
}  # fmt: skip
for gzipped in ("translate", "classify"):
    COMMANDS[f"{gzipped}-gz"] = [word.replace("HERE/x", "HERE/x.gz") for word in COMMANDS[gzipped]]


class DataRead(UserError):
    """Training has read its data; what comes after is not this file's subject."""


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    tokenizer = small_tokenizer()
    return {
        "TRANSLATOR": write_model(folder / "t", tokenizer, 0),
        "CLASSIFIER": write_classifier(folder / "c", tokenizer, 0),
    }


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    """The numbers of what training has read, in the place of training."""
    read_pairs, read_labelled = train.prepare_data, train_classifier.prepare_examples

    def pairs_read(config, *arguments):
        train_part, _, _ = read_pairs(config, *arguments)
        raise DataRead(f"{len(train_part._corpus)} {len(train_part)}")

    def labelled_read(*arguments):
        examples, _ = read_labelled(*arguments)
        raise DataRead(f"{len(examples.train)} {len(examples.valid)}")

    monkeypatch.setattr(train, "prepare_data", pairs_read)
    monkeypatch.setattr(train_classifier, "prepare_examples", labelled_read)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.command.split()[0]}: {case.name}")
def test_an_odd_input_has_the_expected_outcome(case, models, tmp_path, capsys):
    here = tmp_path / "here"
    here.mkdir()
    for name, content in case.files.items():
        (here / name).write_bytes(content)
    name, *options = case.command.split()
    words = [models.get(word, word.replace("HERE", str(here))) for word in [*COMMANDS[name], *options]]
    code = main(words)
    out, err = capsys.readouterr()
    error = err.rpartition("seq2seq: error: ")[2]
    assert "Traceback" not in err
    if isinstance(case.expected, str):
        assert code == 2 and case.expected in error, err
        assert error.count("\n") == 1 and len(error) < 1000
        assert not out or name.startswith("train"), "output beside an error"
        assert sorted(path.name for path in here.iterdir()) == sorted(case.files), "something half-written is left"
    elif name.startswith("train"):
        assert (code, error) == (2, f"{case.expected[0]} {case.expected[1]}\n")
    elif name == "evaluate":
        assert code == 0 and json.loads(out)["sentences"] == case.expected
    else:
        rows = [json.loads(line) for line in out.split("\n")[:-1]]
        assert code == 0 and [row["line"] for row in rows] == list(range(1, len(rows) + 1))
        if name == "score":
            assert len(rows) == case.expected and all(row["log_prob"] < 0 for row in rows)
        else:
            assert [row["source" if name.startswith("translate") else "text"] for row in rows] == case.expected


def test_the_table_is_long_and_every_command_has_its_part():
    assert len(CASES) >= 60 and len({(case.command, case.name) for case in CASES}) == len(CASES)
    used = {case.command.split()[0].removesuffix("-gz") for case in CASES}
    assert used == {"train", "train-classifier", "translate", "classify", "evaluate", "score"}


def test_plain_translations_are_a_line_each(models, tmp_path, capsys):
    """All that can be read, in one file: as many lines out as in."""
    texts = [text for _, _, expected in LINES if isinstance(expected, list) for text in expected if len(text) < 20_000]
    (tmp_path / "x").write_bytes("".join(f"{text}\n" for text in texts).encode())
    words = [models.get(word, word.replace("HERE", str(tmp_path))) for word in COMMANDS["translate"]]
    words.remove("--format"), words.remove("jsonl")
    assert main([*words, "--output", str(tmp_path / "y")]) == 0
    found = Path(tmp_path / "y").read_bytes().decode().split("\n")
    assert len(found) == len(texts) + 1
    assert all(not line for line, text in zip(found, texts, strict=False) if not text.strip())
