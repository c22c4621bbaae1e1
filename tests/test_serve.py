"""The command: it says where it listens, answers, ends at a signal, and tells what was wrong with its arguments."""

from __future__ import annotations

import builtins
import os
import re
import signal
import subprocess
import sys

import pytest
from conftest import ROOT
from servers import Client

from seq2seq import Translator
from seq2seq.app.cli import main
from seq2seq.app.serve import ServeArguments, _api_key


def start(*arguments: object, **environment: str) -> tuple[subprocess.Popen, Client]:
    """The command in a process of its own, once it listens."""
    words = [sys.executable, "-m", "seq2seq", "serve", *map(str, arguments), "--port", "0", "--threads", "1"]
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found, line + process.stderr.read()
    return process, Client(found[0])


def test_it_answers_until_a_signal_ends_it(tiny_model):
    process, client = start("--model", tiny_model, "--beam-size", "2", "--precision", "float32", SEQ2SEQ_API_KEY="k")
    try:
        answer = client.post("translate", q="A dog.", source="en", target="fr", api_key="k")
        expected = Translator.from_pretrained(tiny_model, precision="float32").translate("A dog.", beam_size=2)
        assert answer.body == {"translatedText": expected}
        assert client.post("translate", q="A dog.", source="en", target="fr").status == 403
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "serve needs --model DIR"),
        (["--model", "absent"], "no model directory absent"),
        (["--model", "MODEL", "--queue-size", "0"], "--queue-size is 0, expected 1 or more"),
        (["--model", "MODEL", "--timeout", "nan"], "--timeout is nan, expected 0.1 or more"),
        (["--model", "MODEL", "--port", "99999"], "--port is 99999, expected 0 to 65535"),
        (["--model", "MODEL", "--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid, port 0"),
        (["--model", "MODEL", "--sample"], "leave --sample out"),
        (["--model", "MODEL", "--api-key-file", "absent"], "--api-key-file absent cannot be read"),
        (["--model", "MODEL", "--api-key-file", os.devnull], "is empty; write a key into it"),
    ],
)
def test_refusals(tiny_model, arguments, message, capsys):
    words = [str(tiny_model) if word == "MODEL" else word for word in arguments]
    assert main(["serve", "--port", "0", *words]) == 2
    assert message in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(tiny_model, monkeypatch, capsys):
    whole = builtins.__import__

    def without(name, *rest, **named):
        if name.split(".")[0] in ("fastapi", "uvicorn"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])
        return whole(name, *rest, **named)

    for name in [name for name in sys.modules if name.startswith("seq2seq.serving.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["serve", "--model", str(tiny_model)]) == 2
    assert "pip install 'seq2seq[serve]'" in capsys.readouterr().err


def test_a_key_from_a_file_wins_over_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("SEQ2SEQ_API_KEY", raising=False)
    assert _api_key(ServeArguments()) is None
    monkeypatch.setenv("SEQ2SEQ_API_KEY", "one")
    assert _api_key(ServeArguments()) == "one"
    (tmp_path / "key").write_text(" two\n")
    assert _api_key(ServeArguments(api_key_file=str(tmp_path / "key"))) == "two"
