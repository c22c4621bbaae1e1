"""Completion, asked of the shells themselves."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from seq2seq.app.cli import main

CASES = [
    (["tra"], {"train", "train-classifier", "translate"}),
    (["translate", "--beam"], {"--beam-size"}),
    (["train", "--attention", ""], {"bahdanau", "none"}),
    (["translate", "--model", "my"], {"mymodel"}),
    (["score", "--phrase-table", "my"], {"mymodel"}),
]


@pytest.fixture
def script(tmp_path, capsys):
    def write(shell: str):
        assert main(["completion", shell]) == 0
        path = tmp_path / f"script.{shell}"
        path.write_text(capsys.readouterr().out)
        (tmp_path / "mymodel").mkdir()
        return path

    return write


def test_bash(script, tmp_path):
    path = script("bash")
    for words, expected in CASES:
        line = " ".join(f"'{word}'" for word in ["seq2seq", *words])
        code = f"source {path}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _tyro_seq2seq; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
        assert set(done.stdout.split()) == expected


def test_zsh_takes_the_script(script):
    zsh = shutil.which("zsh")
    path = script("zsh")
    assert path.read_text().startswith("#compdef seq2seq")
    if zsh is None:
        pytest.skip("no zsh here")
    subprocess.run([zsh, "-n", str(path)], check=True)
