"""`seq2seq doctor`: a line for each finding, code 2 where one is bad, quick."""

from __future__ import annotations

import builtins
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from seq2seq import __version__
from seq2seq.app import doctor
from seq2seq.app.cli import main


def test_the_real_command_is_quick():
    """In seconds of processor time, as a busy machine makes those on the clock longer."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "seq2seq", "doctor"], capture_output=True, text=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5
    lines = {line.split()[1]: line for line in done.stdout.splitlines()[:-1]}
    assert list(lines) == [
        "seq2seq", "python", "packages", "extras", "output", "cache", "threads", "kernels", "bfloat16", "gpu",
        "training",
    ]  # fmt: skip
    assert __version__ in lines["seq2seq"] and f"torch {torch.__version__}" in lines["packages"]
    assert done.stdout.splitlines()[-1] == "Everything needed works."


def _quick(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "_bfloat16", lambda: doctor.Finding("bfloat16", "-"))


def test_what_is_bad_is_named_and_hides_nothing(monkeypatch, capsys):
    _quick(monkeypatch)

    def broken() -> doctor.Finding:
        raise RuntimeError("the machine\nis on fire")

    monkeypatch.setattr(doctor, "_threads", broken)
    monkeypatch.setattr(doctor, "FOUND", ("datasets", "no_such_package"))
    assert main(["doctor"]) == 2
    out, err = capsys.readouterr()
    assert "BAD  threads      failed: the machine is on fire" in out and "no_such_package: missing" in out
    assert "ok   training" in out
    assert err == "seq2seq: error: doctor: 2 of these must be mended first: packages, threads\n"


def test_a_package_that_cannot_be_imported(monkeypatch, capsys):
    _quick(monkeypatch)
    plain = builtins.__import__

    def refuse(name: str, *rest: object, **options: object) -> object:
        if name == "torch":
            raise ImportError("libtorch.so: wrong ELF class")
        return plain(name, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    found = list(doctor.examine(Path()))
    assert [finding.name for finding in found if not finding.good] == ["torch"]
    assert "wrong ELF class" in found[-1].text


@pytest.mark.parametrize(("free", "good"), [(5e8, False), (5e9, True)])
def test_disk(monkeypatch, tmp_path, free, good):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: doctor.shutil._ntuple_diskusage(9e9, 0, free))
    found = doctor._disk("output", tmp_path / "not" / "there")
    assert found.good is good and f"{free / 1e9:.1f} GB free" in found.text
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert not doctor._disk("output", tmp_path).good


def test_a_model_that_does_not_learn_is_bad(monkeypatch):
    monkeypatch.setattr(torch.autograd, "grad", lambda loss, weights: [torch.zeros_like(weight) for weight in weights])
    assert not doctor._training().good
