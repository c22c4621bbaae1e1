"""`score` of lines: compressed output; tables are in test_phrases."""

from __future__ import annotations

import gzip

from seq2seq.app.cli import main


def test_lines_into_a_compressed_file(tiny_model, tmp_path, capsys):
    (tmp_path / "a").write_text("A red house.\nThe cat.\n")
    files = ["--source-file", str(tmp_path / "a"), "--target-file", str(tmp_path / "a")]
    command = ["score", "--model", str(tiny_model), *files, "--threads", "1"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert shown.count("\n") == 2
    assert main([*command, "--output", str(tmp_path / "out.gz")]) == 0
    with gzip.open(tmp_path / "out.gz", "rt") as file:
        assert file.read() == shown
