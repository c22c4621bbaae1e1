"""The short help: docs cut at clauses, values that hold shown, options that have gone missing left out."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from seq2seq.app import commands
from seq2seq.app.help import COMMON, MOST, short_help
from seq2seq.config import sections


@dataclass
class Inner:
    rate: float = 1e-3
    """How fast the weights may move; this is not shown because the line is full long before it ends, so it is cut."""
    keep: bool = True
    """Short."""


@dataclass
class Outer:
    name: str = ""
    """One word that goes on and on without any mark between the clauses so that it is cut between two words"""
    inner: Inner = field(default_factory=Inner)


def test_what_is_shown(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = short_help("x", "Does x.", "seq2seq x", Outer(inner=Inner(rate=0.5))).splitlines()
    assert lines[:5] == ["Example:", "  seq2seq x", "", "Does x.", "Options, with their defaults"]
    assert [line.split() for line in lines[6:]] == [
        ["--rate", "0.5", *"How fast the weights may move.".split()],
        ["--no-keep", "Short."],
    ]
    assert lines[5].split()[:3] == ["--name", "...", "One"] and lines[5].endswith("…") and len(lines[5]) < 80
    monkeypatch.setitem(COMMON, "x", "rate gone")
    text = short_help("x", "Does x.", "seq2seq x", Outer())
    assert "--rate 0.001" in text and "gone" not in text and "2 more: --help-all" in text


@pytest.mark.parametrize("name", list(COMMON))
def test_common_options_are_options(name):
    arguments = commands.COMMANDS[name].arguments
    known = {option for section in sections(arguments).values() for option in section.__dataclass_fields__}
    assert set(COMMON[name].split()) - known - set(arguments.__dataclass_fields__) == set()
    assert len(COMMON[name].split()) <= MOST
