"""`export`, and the example that translates with what it wrote."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT

from seq2seq import Translator
from seq2seq.app.cli import main

WITHOUT_TORCH = """\
import runpy, sys
sys.modules["torch"] = None  # importing it would fail
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0])
"""


def test_the_example_translates_as_torch_does(tiny_model, tmp_path, capsys):
    pytest.importorskip("onnx", reason="needs onnx (extra `onnx`)")
    pytest.importorskip("onnxruntime", reason="needs onnxruntime (extra `onnx`)")
    folder = tmp_path / "onnx"
    assert main(["export", "--model", str(tiny_model), "--onnx", str(folder)]) == 0
    assert "logits in onnxruntime differ" in capsys.readouterr().err
    texts = ["A red house.", "", "Where is the cat?", "犬"]
    example = [str(ROOT / "scripts" / "examples" / "translate_onnx.py"), str(folder)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *example], input="\n".join(texts) + "\n", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = Translator.from_pretrained(tiny_model, precision="float32").translate(texts, beam_size=1)
    assert done.stdout.split("\n")[:-1] == expected


def test_what_is_missing_is_said(tiny_model, monkeypatch, capsys):
    assert main(["export", "--model", str(tiny_model)]) == 2
    assert "export needs --onnx DIR" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["export", "--model", str(tiny_model), "--onnx", "x"]) == 2
    assert "export needs onnx and onnxruntime: pip install 'seq2seq[onnx]'" in capsys.readouterr().err
