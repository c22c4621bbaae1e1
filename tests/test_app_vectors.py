"""`embed` into both formats, and reading them again."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from seq2seq.app import vectors
from seq2seq.app.cli import main
from seq2seq.app.vectors import read_vectors
from seq2seq.errors import ConfigError


def test_both_formats_hold_the_same(tiny_model, tmp_path, capsys):
    texts = ["A dog.", "", "Where is the cat?"]
    (tmp_path / "in").write_text("".join(f"{text}\n" for text in texts))
    command = ["embed", "--model", str(tiny_model), "--threads", "1"]
    assert main([*command, "--input", str(tmp_path / "in"), "--output", str(tmp_path / "a.npy")]) == 0
    matrix = np.load(tmp_path / "a.npy")
    assert (matrix.dtype, matrix.shape) == (np.float32, (3, 32))
    assert main([*command, *texts]) == 0
    (tmp_path / "a.tsv").write_text(capsys.readouterr().out)
    assert np.allclose(read_vectors(str(tmp_path / "a.tsv")), matrix, rtol=1e-4, atol=1e-5)
    assert read_vectors(str(tmp_path / "a.npy")).tolist() == matrix.tolist()
    assert main([*command, "--input", str(tmp_path / "in"), "x"]) == 2
    assert main(["embed", "x", "--output", str(tmp_path / "absent.npy")]) == 2  # no model
    assert {path.name for path in tmp_path.iterdir()} == {"in", "a.npy", "a.tsv"}


@pytest.mark.parametrize("content", [b"", b"a\tb\n", b"1\t2\n3\n", b"nan\t1\n"])
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_what_holds_no_vectors(content, tmp_path):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ConfigError, match=r"vectors from|no matrix of finite"):
        read_vectors(str(tmp_path / "a"))


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    with pytest.raises(ConfigError, match="No space left"):
        with vectors._matrix_file(tmp_path / "a.npy") as add:
            add(np.ones(3, np.float32))
            raise OSError(errno.ENOSPC, "No space left on device")  # as a write gives it, without the file's name
    assert list(tmp_path.iterdir()) == []
