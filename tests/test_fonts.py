"""Fonts for any script: found where one is installed, said where none is."""

from __future__ import annotations

import matplotlib
from matplotlib import font_manager, get_data_path

from seq2seq.app.fonts import DEFAULT, choose_fonts, describe, fonts_for

STIX = f"{get_data_path()}/fonts/ttf/STIXGeneral.ttf"


def test_what_the_default_has_needs_nothing_else():
    assert choose_fonts(set("Größe Ελλάς Привет"), ["absent.ttf"]) == ([DEFAULT], set())


def test_another_font_is_taken_for_what_it_alone_has():
    have = set(map(chr, font_manager.get_font(STIX).get_charmap()))
    default = set(map(chr, font_manager.get_font(font_manager.findfont(DEFAULT)).get_charmap()))
    only = max(have - default)
    cmr = f"{get_data_path()}/fonts/ttf/cmr10.ttf"
    assert choose_fonts({"a", only, "犬"}, [cmr, "absent.ttf", STIX]) == ([DEFAULT, "STIXGeneral"], {"犬"})


def test_what_no_font_has_is_said(capsys, monkeypatch):
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    with fonts_for(["a 犬\u200dन", "猫"]):
        assert matplotlib.rcParams["font.family"] == [DEFAULT]
    error = capsys.readouterr().err
    assert error.startswith("no installed font has 3 of the characters (Devanagari न, Cjk 犬猫); install one, such as")
    assert "Unnamed" in describe({"\ue000"})
