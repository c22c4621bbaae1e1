"""The prompt, typed into through a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time

from conftest import ROOT

CODE = "from seq2seq.app.prompt import typed_lines\nfor line in typed_lines(): print(repr(line))"


def test_lines_history_and_the_end():
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "dumb", "INPUTRC": "/dev/null"}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE], stdin=slave, stdout=slave, stderr=subprocess.PIPE, cwd=ROOT, env=environment
    )
    os.close(slave)
    shown = b""
    keys_of_lines = (b"A dog.\r", "Größe \xe4".encode() + b"\r", b"\x10\x10\r", b"\x04")  # Ctrl-P: the line before
    for lines, keys in enumerate(keys_of_lines):
        deadline = time.monotonic() + 60
        # a line that is drawn anew begins with the prompt as well: it is the next one's once all before are answered
        while not (shown.endswith(b"> ") and shown.count(b"'\r\n") == lines) and time.monotonic() < deadline:
            shown += os.read(master, 1024)
        os.write(master, keys)
    _, errors = process.communicate(timeout=60)
    try:
        while part := os.read(master, 1024):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(master)
    text = shown.decode()
    assert process.returncode == 0, errors
    assert text.count("'A dog.'") == 2 and "'Größe ä'" in text
    assert b"Ctrl-D ends" in errors
