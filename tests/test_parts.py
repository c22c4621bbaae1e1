"""Parts of files: what they hold, one after the other, is what the files hold, wherever the cuts fall."""

from __future__ import annotations

import gzip
import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seq2seq.errors import CorpusError
from seq2seq.text import tables
from seq2seq.text.parts import cut, find_files, read_table, read_texts
from seq2seq.text.tables import read_lines

CONTENTS = [
    b"",
    b"a\nb\n",
    b"a\nb",
    b"\n\n\na\n\n",
    b"\xef\xbb\xbfa\r\n\xef\xbb\xbfb\nc\n",  # a mark of the file's start, and the same character in a line
    "".join(f"{'ä' * (i % 7)} {i}\n" for i in range(50)).encode(),
    "x\u2028y\x0bz\x85\n".encode() * 9 + b"end",
]


def write_files(folder, contents, ending):
    paths = [folder / f"{i}{ending}" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        with gzip.open(path, "wb") if ending == ".txt.gz" else open(path, "wb") as stream:
            stream.write(content)
    return [str(path) for path in paths]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 50, 1000])
@pytest.mark.parametrize("ending", [".txt", ".txt.gz"])
@pytest.mark.parametrize("block_bytes", [3, 1 << 20])
def test_parts_of_text(tmp_path, monkeypatch, size, ending, block_bytes):
    """Against the reader of whole files, file by file and all together."""
    monkeypatch.setattr(tables, "BLOCK_BYTES", block_bytes)
    files = write_files(tmp_path, CONTENTS, ending)
    for chosen in [*([path] for path in files), files, [*files, *files]]:
        expected = list(itertools.chain.from_iterable(map(read_lines, chosen)))
        found = [read_texts(part, "") for part in cut(chosen, size)]
        assert list(itertools.chain.from_iterable(found)) == expected
        assert [len(texts) for texts in found[:-1]] == [size] * (len(found) - 1)
        assert [part.number for part in cut(chosen, size)] == list(range(-(-len(expected) // size)))


@pytest.mark.parametrize("size", [1, 4, 10, 64, 1000])
def test_parts_of_tables(tmp_path, size):
    """Files of 0, 1 and many rows, in row groups that are no multiple of a part."""
    before, rows = 0, []
    for i, count in enumerate((37, 0, 1, 64)):
        part = [{"id": before + j, "text": f"line {before + j}" if j % 5 else None} for j in range(count)]
        schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
        pq.write_table(pa.Table.from_pylist(part, schema), tmp_path / f"{i}.parquet", row_group_size=10)
        before, rows = before + count, rows + part
    parts = list(cut(find_files(str(tmp_path)), size))
    assert pa.concat_tables([read_table(part) for part in parts]).to_pylist() == rows
    texts = list(itertools.chain.from_iterable(read_texts(part, "text") for part in parts))
    assert texts == [row["text"] or "" for row in rows]
    assert [read_table(part).num_rows for part in parts[:-1]] == [size] * (len(parts) - 1)


def test_errors_name_the_line_of_the_file(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"a\nb\nc\nd\xff\n")
    *_, last = cut([str(tmp_path / "x.txt")], 2)
    with pytest.raises(CorpusError, match=r"x\.txt:4: byte 0xff is no UTF-8"):
        read_texts(last, "")
    assert read_texts(last, "", "replace") == ["c", "d\ufffd"]


def test_a_cut_gzip_file(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"a\n" * 9999)[:-20])
    with pytest.raises(CorpusError, match=r"x\.gz is a cut or damaged gzip file"):
        list(cut([str(tmp_path / "x.gz")], 2))


def test_which_files(tmp_path):
    for name in ("b.txt", "a.txt.gz", ".hidden.txt", "shards.json"):
        (tmp_path / name).touch()
    (tmp_path / "folder.txt").mkdir()
    assert find_files(str(tmp_path)) == [str(tmp_path / "a.txt.gz"), str(tmp_path / "b.txt")]
    assert find_files(str(tmp_path / "b.txt")) == [str(tmp_path / "b.txt")]
    pq.write_table(pa.table({"a": ["x"]}), tmp_path / "c.parquet")
    with pytest.raises(CorpusError, match="this has both"):
        find_files(str(tmp_path))
    with pytest.raises(CorpusError, match=r"no such file or folder; did you mean 'b\.txt'"):
        find_files(str(tmp_path / "bb.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="neither; it holds nothing"):
        find_files(str(tmp_path / "empty"))


def test_tables_that_differ_and_columns_that_are_not_there(tmp_path):
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "a.parquet")
    (part,) = cut([str(tmp_path / "a.parquet")], 9)
    with pytest.raises(CorpusError, match=r"no column 'texts'; columns found: text; did you mean 'text'\?"):
        read_texts(part, "texts")
    pq.write_table(pa.table({"other": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(CorpusError, match=r"b\.parquet has other columns than .*a\.parquet"):
        find_files(str(tmp_path))
    (tmp_path / "bad.parquet").write_text("no table")
    with pytest.raises(CorpusError, match=r"bad\.parquet is no Parquet file"):
        list(cut([str(tmp_path / "bad.parquet")], 9))
