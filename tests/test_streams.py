"""What commands read and write."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any

import pytest

from seq2seq.app.streams import json_line, output_file, progress, text_lines
from seq2seq.errors import ConfigError


def test_a_file_takes_its_name_when_it_is_complete(tmp_path):
    path = tmp_path / "out"
    with output_file(str(path)) as file:
        file.write("a\n")
        assert not path.exists()
    assert path.read_text() == "a\n"
    with pytest.raises(RuntimeError), output_file(str(path)) as file:
        file.write("b\n")
        raise RuntimeError
    assert path.read_text() == "a\n" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ConfigError, match="cannot write"), output_file(str(tmp_path / "absent" / "x")):
        pass
    with output_file(None) as file:
        assert file is sys.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_told():
    with (
        pytest.raises(ConfigError, match="cannot write /dev/full: No space left on device"),
        output_file("/dev/full") as file,
    ):
        file.write("x" * 100_000)


def test_where_lines_come_from(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("one\ntwo\n")

    class Stdin:
        buffer: Any = io.BytesIO(b"three\n")

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stdin", Stdin())
    for given, expected in (
        ((("a", "b"), None), ["a", "b"]),
        (((), str(tmp_path / "x")), ["one", "two"]),
        (((), "-"), ["three"]),
    ):
        lines, waiting = text_lines(*given, "strict")
        assert (list(lines), waiting) == (expected, False)


def test_progress_and_json_lines(capsys):
    assert list(progress([1, 2], None)) == [1, 2]
    assert json.loads(json_line({"text": "日\n"})) == {"text": "日\n"}
    assert json_line({"a": "日"}) == '{"a": "日"}\n'
