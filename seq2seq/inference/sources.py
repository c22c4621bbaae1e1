"""Lines on their way to the model: one window at a time, each with its prefix, long ones cut into parts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from seq2seq.errors import ConfigError, CorpusError
from seq2seq.text.tokenizer import Tokenizer

WINDOW_CHARACTERS = 300_000
"""A window of lines ends here too, so that long lines do not fill the memory."""

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_BYTE_INSIDE_CHARACTER = re.compile(r"<0x[89AB][0-9A-F]>")
_SENTENCE_ENDS = tuple(".!?…。！？؟।;:")
_SPACE = "\u2581"  # how SentencePiece writes a space


def checked(texts: Iterable[str]) -> Iterator[str]:
    """The texts.

    Raises:
        ConfigError: One is no str.
    """
    for n, text in enumerate(texts):
        if not isinstance(text, str):
            raise ConfigError(f"text {n + 1} is {text!r}, expected a str")
        yield text


def with_prefix(lines: Iterable[str], prefix: str | Iterable[str] | None) -> Iterator[tuple[str, str]]:
    """Each line with its prefix.

    Raises:
        CorpusError: Not as many prefixes as lines.
    """
    if prefix is None or isinstance(prefix, str):
        yield from ((line, prefix or "") for line in checked(lines))
        return
    prefixes = iter(prefix)
    count = 0
    for line in checked(lines):
        given = next(prefixes, None)
        if given is None:
            raise CorpusError(f"only {count:,} prefixes for more lines than that; give one a line, or one for all")
        count += 1
        yield line, given
    if next(prefixes, None) is not None:
        raise CorpusError(f"more prefixes than the {count:,} lines; give one a line, or one for all")


def one_line(text: str) -> str:
    """The text with a space in the place of each line break."""
    return _LINE_BREAK.sub(" ", text)


def windows(pairs: Iterable[tuple[str, str]], lines: int) -> Iterator[list[tuple[str, str]]]:
    """Consecutive parts of at most `lines` pairs, ended early by WINDOW_CHARACTERS."""
    part: list[tuple[str, str]] = []
    characters = 0
    for pair in pairs:
        part.append(pair)
        characters += len(pair[0]) + len(pair[1])
        if len(part) >= lines or characters >= WINDOW_CHARACTERS:
            yield part
            part, characters = [], 0
    if part:
        yield part


def _cut(pieces: list[str]) -> int:
    """Where to end the first part of a source: at a sentence end, a space, or a character, as late as possible.

    Args:
        pieces: The longest part that is allowed, and the piece after it. The first half is never cut.
    """
    last = len(pieces) - 1
    places = range(last, last // 2, -1)
    for place in places:
        if pieces[place - 1].endswith(_SENTENCE_ENDS) and _begins_word(pieces, place):
            return place
    for place in places:
        if pieces[place].startswith(_SPACE):
            return place
    return next((place for place in places if not _BYTE_INSIDE_CHARACTER.fullmatch(pieces[place])), last)


def _begins_word(pieces: list[str], place: int) -> bool:
    """Whether a sentence can begin here: after a space, or anywhere after a mark of a script without spaces."""
    return pieces[place].startswith(_SPACE) or not pieces[place - 1][-1].isascii()


def cut_source(ids: list[int], tokenizer: Tokenizer, longest: int) -> list[list[int]]:
    """A source's ids in parts of at most `longest`; none for a source without pieces."""
    parts, start = [], 0
    while len(ids) - start > longest:
        end = start + _cut(tokenizer.pieces(ids[start : start + longest + 1]))
        parts.append(ids[start:end])
        start = end
    return [*parts, ids[start:]] if start < len(ids) else parts
