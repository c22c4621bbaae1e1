"""Rows of single files: lines as `wc -l` counts them, and tables of four kinds."""

from __future__ import annotations

import gzip
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seq2seq.config import DataConfig
from seq2seq.errors import CorpusError
from seq2seq.text import tables
from seq2seq.text.tables import line_pairs, read_lines, split_lines, table_pairs

EN_DE = DataConfig(source="en", target="de")
NAMED = DataConfig()


def rows(pairs):
    """All (source, target) of blocks of pairs."""
    return [pair for sources, targets in pairs for pair in zip(sources, targets, strict=True)]


def table(path, text, data=EN_DE):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return rows(table_pairs(path, data))


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"\n\na\n\n", ["", "", "a", ""]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\r\r\n", ["a\r"]),  # one carriage return belongs to the line end, the other to the text
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
        ("a\u2028b\x0bc\x0cd\x85e\x1cf\n".encode(), ["a\u2028b\x0bc\x0cd\x85e\x1cf"]),
        (b"a\0b\n\0\n", ["a\0b", "\0"]),
    ],
)
def test_lines_end_at_line_feeds_only(tmp_path, content, lines):
    (tmp_path / "t").write_bytes(content)
    assert list(read_lines(tmp_path / "t")) == lines
    with gzip.open(tmp_path / "t.gz", "wb") as stream:
        stream.write(content)
    assert list(read_lines(tmp_path / "t.gz")) == lines


@given(st.lists(st.text(st.characters(exclude_characters="\n\r\ufeff", exclude_categories=["Cs"]))), st.integers(1, 9))
def test_blocks_of_any_size_give_the_same_lines(lines, block_bytes):
    stream = io.BytesIO("".join(line + "\n" for line in lines).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BLOCK_BYTES", block_bytes)
        assert list(split_lines(stream, "stream")) == lines


@pytest.mark.parametrize("block_bytes", [3, 1 << 20])
def test_invalid_utf8_is_named_by_file_and_line_or_replaced(tmp_path, monkeypatch, block_bytes):
    monkeypatch.setattr(tables, "BLOCK_BYTES", block_bytes)
    path = tmp_path / "train.en"
    path.write_bytes(b"fine\n\ncaf\xe9\nfine\n")
    with pytest.raises(CorpusError, match=r"train\.en:3: byte 0xe9 is no UTF-8; .*--encoding-errors replace"):
        list(read_lines(path))
    assert list(read_lines(path, "replace")) == ["fine", "", "caf\ufffd", "fine"]


def test_file_errors(tmp_path):
    (tmp_path / "train.en").write_text("a\n")
    with pytest.raises(CorpusError, match=r"cannot read .*trian\.en: No such file.*did you mean 'train\.en'"):
        list(read_lines(tmp_path / "trian.en"))
    with pytest.raises(CorpusError, match="nor is there a folder"):
        list(read_lines(tmp_path / "nowhere" / "train.en"))
    with pytest.raises(CorpusError, match="Is a directory"):
        list(read_lines(tmp_path))
    (tmp_path / "plain.gz").write_text("this was never compressed\n")
    with pytest.raises(CorpusError, match=r"plain\.gz is no gzip file"):
        list(read_lines(tmp_path / "plain.gz"))


def test_cut_and_damaged_gzip(tmp_path):
    whole = gzip.compress("".join(f"line {i} {i * i}\n" for i in range(5000)).encode())
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorpusError, match=r"cut\.gz is a cut or damaged gzip file.*compress it again"):
        list(read_lines(tmp_path / "cut.gz"))
    (tmp_path / "bad.gz").write_bytes(whole[:3000] + b"\xff" * 40 + whole[3040:])
    with pytest.raises(CorpusError, match=r"bad\.gz"):
        list(read_lines(tmp_path / "bad.gz"))


def test_line_pairs_of_unequal_files_names_both_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_ROWS", 4)
    (tmp_path / "train.en").write_text("a\n" * 11)
    (tmp_path / "train.de").write_text("b\n" * 9)
    with pytest.raises(CorpusError, match=r"train\.en has 11 lines, .*train\.de has 9; line n of one"):
        rows(line_pairs(tmp_path / "train.en", tmp_path / "train.de", EN_DE))
    (tmp_path / "train.de").write_text("b\n" * 10 + "c")
    assert rows(line_pairs(tmp_path / "train.en", tmp_path / "train.de", EN_DE)) == [("a", "b")] * 10 + [("a", "c")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("en\tde\na b\tc d\n", [("a b", "c d")]),
        ("de\tnote\ten\nc\tx\ta\n", [("a", "c")]),
        ("source\ttarget\na\tb\n", [("a", "b")]),
        ("a\tb\nc\td\n", [("a", "b"), ("c", "d")]),  # two columns without a header
        ("a\tb\n", [("a", "b")]),
        ('"a\t"b""\n', [('"a', '"b""')]),  # quotes are text
        ("a\t\n\tb\n", [("a", ""), ("", "b")]),
        ("a\u2028a\tb\n", [("a\u2028a", "b")]),
        ("a\tb\r\nc\td\r\n", [("a", "b"), ("c", "d")]),
    ],
)
def test_tsv(tmp_path, text, expected):
    assert table(tmp_path / "x.tsv", text) == expected
    (tmp_path / "x.tsv.gz").write_bytes(gzip.compress(text.encode()))
    assert rows(table_pairs(tmp_path / "x.tsv.gz", EN_DE)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\nc\n", r"x\.tsv:2: 1 column, expected 2 as in the first row"),
        ("en\tde\na\tb\nc\td\te\n", r"x\.tsv:3: 3 columns, expected 2"),
        ("en\tfr\na\tb\n", r"no column 'de'; columns found: en, fr.*--target"),
        ("english\tgerman\tnote\na\tb\tc\n", r"no column 'en' nor 'de'; columns found: english, german, note"),
        ("en\tde\tde\na\tb\tc\n", r"x\.tsv:1: the header names 'de' twice"),
        ("single\n", r"no column 'en' nor 'de'; columns found: single"),
    ],
)
def test_tsv_errors(tmp_path, text, message):
    with pytest.raises(CorpusError, match=message):
        table(tmp_path / "x.tsv", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('en,de\n"a, b","c ""d"""\n', [("a, b", 'c "d"')]),
        ('en,de\n"a\nb",c\nd,e\n', [("a b", "c"), ("d", "e")]),  # a line break inside a cell becomes a space
        ("a,b\nc,d\n", [("a", "b"), ("c", "d")]),
        ("id,target,source\r\n1,b,a\r\n", [("a", "b")]),
    ],
)
def test_csv(tmp_path, text, expected):
    assert table(tmp_path / "x.csv", text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('en,de\na,"never closed\nb,c\n', r"x\.csv:2: unexpected end of data; a cell with quotes"),
        ('en,de\na,b\n"c" d,e\n', r"x\.csv:3: .*; a cell with quotes"),
        ('en,de\n"a\nb",c\nonly one\n', r"x\.csv:4: 1 column, expected 2"),  # line of the file, not row of the table
        ("en,en,de\na,b,c\n", "the header names 'en' twice"),
    ],
)
def test_csv_errors(tmp_path, text, message):
    with pytest.raises(CorpusError, match=message):
        table(tmp_path / "x.csv", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"en": "a", "de": "b", "id": 1}\n', [("a", "b")]),
        ('{"source": "a", "target": "b"}\n', [("a", "b")]),
        ('{"translation": {"de": "b", "en": "a"}}\n', [("a", "b")]),
        ('{"en": null, "de": "x\\ny\\r\\nz"}\n', [("", "x y z")]),
        ('{"en": "\\ud83d\\ude00", "de": "\\u2028"}\n', [("\U0001f600", "\u2028")]),
    ],
)
def test_jsonl(tmp_path, text, expected):
    assert table(tmp_path / "x.jsonl", text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"en": "a", "de": "b"}\n{"en": "a"\n', r"x\.jsonl:2: no valid JSON"),
        ('{"en": "a", "de": "b"}\n\n', r"x\.jsonl:2: no valid JSON"),
        ('["a", "b"]\n', r"x\.jsonl:1: list, expected an object"),
        ('{"en": "a", "de": "b"}\n{"en": "a", "fr": "b"}\n', r"x\.jsonl:2: no 'de', .*names found: en, fr"),
        ('{"en": "a", "de": 5}\n', r"x\.jsonl:1: 'de' is 5, expected text"),
        (
            '{"translation": {"en": "a", "fr": "b"}}\n',
            r"no column 'de'; columns found: translation\.en, translation\.fr",
        ),
        ('{"translation": {"en": "a", "de": "b"}}\n{"translation": 7}\n', r"x\.jsonl:2: no 'en'"),
    ],
)
def test_jsonl_errors(tmp_path, text, message):
    with pytest.raises(CorpusError, match=message):
        table(tmp_path / "x.jsonl", text)


def test_nearest_column_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"no column 'englsh'.*did you mean 'english'"):
        table(tmp_path / "x.tsv", "english\tgerman\tn\na\tb\tc\n", DataConfig(source="englsh", target="german"))


@pytest.mark.parametrize(
    "columns",
    [
        {"de": ["b", None], "en": ["a", "c\nd"]},
        {"target": ["b", ""], "source": ["a", "c\r\nd"], "id": [1, 2]},
        {"translation": [{"en": "a", "de": "b"}, {"en": "c\nd", "de": None}]},
        {"en": pa.array(["a", "c d"]).dictionary_encode(), "de": pa.array(["b", ""], type=pa.large_string())},
    ],
)
def test_parquet(tmp_path, columns):
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    assert rows(table_pairs(tmp_path / "x.parquet", EN_DE)) == [("a", "b"), ("c d", "")]


def test_parquet_errors(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"en": ["a"], "de": [5]}), path)
    with pytest.raises(CorpusError, match="column 'de' holds int64, expected text"):
        rows(table_pairs(path, EN_DE))
    with pytest.raises(CorpusError, match="no column 'source' nor 'target'; columns found: en, de"):
        rows(table_pairs(path, NAMED))
    path.write_bytes(b"PAR1 and then something else")
    with pytest.raises(CorpusError, match=r"x\.parquet is no Parquet file"):
        rows(table_pairs(path, EN_DE))
