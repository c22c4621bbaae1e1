"""What a run records of where it ran."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch

import seq2seq
from seq2seq.app import environment


def test_everything_a_figure_depends_on_is_there():
    found = environment.environment(torch.device("cpu"), torch.bfloat16)
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["seq2seq"] == seq2seq.__version__
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["python"] == sys.version.split()[0]
    assert (found["threads"], found["precision"], found["device"]) == (torch.get_num_threads(), "bfloat16", "cpu")
    assert found["cores"] >= 1 and found["processor"]


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("torch", "no-such-package"))
    assert environment.versions()["no-such-package"] == "missing"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_of_a_checkout_and_of_none(tmp_path, monkeypatch):
    package = tmp_path / "repository" / "seq2seq" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.touch()
    monkeypatch.setattr(seq2seq, "__file__", str(package))
    assert environment.commit() is None

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", *who, "-C", str(tmp_path / "repository"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    assert environment.commit() is None  # no commit yet
    git("add", ".")
    git("commit", "-qm", "first")
    head = git("rev-parse", "HEAD")
    assert environment.commit() == head
    package.write_text("changed")
    assert environment.commit() == f"{head}-dirty"
    # a package that is installed in an environment inside of the checkout is not its code
    monkeypatch.setattr(seq2seq, "__file__", str(tmp_path / "repository" / "venv" / "lib" / "seq2seq" / "__init__.py"))
    assert environment.commit() is None
