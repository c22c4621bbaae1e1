"""From attention over pieces to attention over words, and to links between words.

A word is what lies between spaces. In scripts that are written without spaces each piece is a word of its own, because
there the tokenizer's pieces are the nearest thing to words; the bytes of a character that the vocabulary lacks always
stay together. Indices count from 0 and are those of the normalised text that the model reads and writes.

Shapes: T target pieces, S source pieces, N target words, M source words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

END = "</s>"
"""How the end of a sentence is called where its row or column is shown."""

_SPACE = "\u2581"  # how SentencePiece writes a space
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
# Thai, Lao, Tibetan, Myanmar, Khmer; kana, Han and their punctuation; half-width kana; Han beyond the first plane
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff01-\uff9f\U00020000-\U0003ffff]"
)

Weights = NDArray[np.float32]


class Word(NamedTuple):
    """Consecutive pieces that make one word."""

    text: str
    start: int  # its first piece
    end: int  # the piece after its last


class WordAttention(NamedTuple):
    """Attention between the words of a translation and those of its source."""

    source: list[str]  # M words
    target: list[str]  # N words
    weights: Weights  # (N + 1, M + 1), the end of the sentence last; each row sums to 1


def join_pieces(pieces: Sequence[str]) -> list[Word]:
    """The words that pieces of SentencePiece make; every piece belongs to exactly one, unless there is no text at all.

    Args:
        pieces: With U+2581 for a space, and `<0x..>` for a byte.
    """
    words: list[Word] = []
    text, start = "", 0
    for unit in _characters(pieces):
        if text and _begins_word(text, unit.text):
            words.append(Word(text.strip(_SPACE), start, unit.start))
            text, start = "", unit.start
        text = (text + unit.text).lstrip(_SPACE)
    if text:
        words.append(Word(text.strip(_SPACE), start, len(pieces)))
    elif words:
        words[-1] = words[-1]._replace(end=len(pieces))
    return words


def _characters(pieces: Sequence[str]) -> list[Word]:
    """The pieces, the bytes of one character joined and decoded."""
    units: list[Word] = []
    pending = b""
    for position, piece in enumerate(pieces):
        found = _BYTE.fullmatch(piece)
        byte = bytes.fromhex(found[1]) if found else b""
        if byte and pending and 0x80 <= byte[0] < 0xC0:
            pending += byte
            units[-1] = Word(pending.decode("utf-8", "replace"), units[-1].start, position + 1)
            continue
        pending = byte
        units.append(Word(byte.decode("utf-8", "replace") if byte else piece, position, position + 1))
    return units


def _begins_word(before: str, text: str) -> bool:
    """Whether a unit begins a word after the text of another one."""
    if text.startswith(_SPACE) or before.endswith(_SPACE):
        return True
    if unicodedata.category(text[:1] or " ").startswith("M"):  # a mark on the character before it
        return False
    return bool(_UNSPACED.match(text) or _UNSPACED.match(before[-1]))


def word_attention(pieces: Sequence[str], source_pieces: Sequence[str], attention: Any) -> WordAttention:
    """Attention between words: the sum over a source word's pieces, the mean over a target word's.

    Args:
        pieces: T pieces of a translation, as in `Translation.pieces`.
        source_pieces: S pieces of its source.
        attention: (T + 1, S + 1) weights, a tensor or an array, the end of the sentence last.
    """
    weights = np.asarray(attention, dtype=np.float32)
    assert weights.shape == (len(pieces) + 1, len(source_pieces) + 1), weights.shape
    target, source = join_pieces(pieces), join_pieces(source_pieces)
    weights = np.add.reduceat(weights, _starts(source, len(source_pieces)), axis=1)
    starts = _starts(target, len(pieces))
    counts = np.diff([*starts, len(pieces) + 1])
    weights = np.add.reduceat(weights, starts, axis=0) / counts[:, None]
    return WordAttention([word.text for word in source], [word.text for word in target], weights.astype(np.float32))


def _starts(words: Sequence[Word], pieces: int) -> list[int]:
    """First piece of each word and of the end of the sentence, which takes pieces without text along."""
    return [word.start for word in words] + ([pieces] if words else [0])


def links(attention: WordAttention) -> list[tuple[int, int]]:
    """For each target word the source word with the largest weight: (source, target) pairs in order of the target.

    The end of the sentence is linked to nothing, and of two equal weights the first wins.
    """
    weights = attention.weights[:-1, :-1]
    if not weights.size:
        return []
    return [(int(source), target) for target, source in enumerate(weights.argmax(1))]


def pharaoh(pairs: Iterable[tuple[int, int]]) -> str:
    """Links in the format of the Pharaoh decoder and its successors: `0-0 1-2`, source index first."""
    return " ".join(f"{source}-{target}" for source, target in sorted(pairs))
