"""Where a long source is cut, and how lines are read ahead; whole behaviours are in test_translator.py."""

from __future__ import annotations

import pytest

from seq2seq.errors import ConfigError, CorpusError
from seq2seq.inference import sources
from seq2seq.inference.sources import _cut, checked, cut_source, one_line, windows, with_prefix


@pytest.mark.parametrize(
    ("pieces", "place"),
    [
        (["▁a", "b", ".", "▁c", "▁d", "e", "f", "▁g"], 7),  # too early a full stop: a space, the last one
        (["▁a", "b", "▁c", "d", ".", "▁c", "d", "▁e"], 5),
        (["▁a", "▁b", "▁3", ".", "5", "▁c", "d", "e"], 5),  # no sentence ends within a number
        (["猫", "が", "い", "る", "。", "犬", "が", "い"], 5),
        (["a", "b", "c", "d", "e", "f", "g", "h"], 7),
        (["a", "b", "c", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "<0xF0>"], 7),
        (["a", "b", "c", "d", "e", "<0xE2>", "<0x98>", "<0x80>"], 5),  # not within a character
        (["<0x80>"] * 8, 7),
    ],
)
def test_where_a_source_is_cut(pieces, place):
    assert _cut(pieces) == place


class _Letters:
    """A tokenizer whose piece n is the n-th letter of a text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def pieces(self, ids):
        return [self.text[i] for i in ids]


@pytest.mark.parametrize("longest", [1, 2, 5, 9, 30])
def test_parts_are_the_source_and_none_is_too_long(longest):
    text = "▁ab.▁cd▁efg▁h.▁ijk▁l"
    parts = cut_source(list(range(len(text))), _Letters(text), longest)
    assert [i for part in parts for i in part] == list(range(len(text)))
    assert all(0 < len(part) <= longest for part in parts)
    assert cut_source([], _Letters(text), longest) == []


def test_windows_end_by_lines_or_by_characters(monkeypatch):
    pairs = [("ab", ""), ("c" * 30, ""), ("d", "e" * 30), ("f", ""), ("g", "")]
    assert [len(part) for part in windows(pairs, 2)] == [2, 2, 1]
    monkeypatch.setattr(sources, "WINDOW_CHARACTERS", 31)
    assert [len(part) for part in windows(pairs, 4)] == [2, 1, 2]
    assert [pair for part in windows(pairs, 4) for pair in part] == pairs


def test_lines_and_prefixes_belong_together():
    assert list(with_prefix(["a", "b"], None)) == [("a", ""), ("b", "")]
    assert list(with_prefix(["a", "b"], "x")) == [("a", "x"), ("b", "x")]
    assert list(with_prefix(["a", "b"], iter("xy"))) == [("a", "x"), ("b", "y")]
    with pytest.raises(CorpusError, match="more prefixes than the 1 lines"):
        list(with_prefix(["a"], iter("xy")))
    with pytest.raises(ConfigError, match="text 2 is 3, expected a str"):
        list(checked(["a", 3]))


def test_a_line_break_becomes_one_space():
    assert one_line("a\r\nb\rc\nd") == "a b c d"
