"""A linear layer on the n-grams of a text, of pieces and of words: what a bag of words can tell, beside the encoder.

Shapes: B texts, W windows of them, S longest window, F different n-grams of all texts, U n-grams that are known, K
labels, V pieces of the vocabulary.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LONGEST = 64
"""Pieces of an n-gram at most."""

WORDS = 2
"""Words of an n-gram at most."""

BASE = 0x2545F4914F6CDD1D
"""Numbers of texts are polynomials in it, modulo 2^64."""

UNTOLD = (0.3, 0.7)
"""Weights of the encoder's scores and of the n-grams' where no text tells: of few texts n-grams learn more."""

TINY = 1e-30
"""Far below the squared norm of any text with an n-gram of some rarity; without any, values are zero."""


class Ngrams(NamedTuple):
    """The different n-grams of some texts, text by text."""

    texts: Tensor
    """(F,) int64: whose, ascending."""
    which: Tensor
    """(F,) int64: a name, or a place in the table of those that are known."""
    counts: Tensor
    """(F,) int64: how often the text has it."""


def named_ngrams(pieces: Tensor, lengths: Tensor, owners: Tensor, longest: int) -> tuple[Tensor, Tensor]:
    """Text and name of each n-gram of pieces, as often as it occurs.

    A name is a number that no other n-gram has, but for an accident of one in 2^62; it is odd for a single piece. A
    mark begins each window, EOS ends it.

    Args:
        pieces: (W, S) padded windows.
        lengths: (W,) pieces of each, EOS included.
        owners: (W,) text of each window.
        longest: N-grams of 1 to this many pieces.

    Returns:
        Two of some common length, int64.
    """
    real = torch.arange(pieces.shape[1] + 1, device=pieces.device) <= lengths[:, None]  # (W, S + 1)
    marked = F.pad(pieces + 1, (1, 0))
    texts, names, code = [], [], torch.zeros_like(marked)
    for n in range(min(longest, marked.shape[1])):  # a text has no longer n-grams
        steps = marked.shape[1] - n
        code = code[:, :steps] * BASE + marked[:, n:] + 1
        code = code ^ (code >> 29)
        texts.append(owners[:, None].expand_as(code)[real[:, n:]])
        names.append(_name(code, n, single=n == 0)[real[:, n:]])
    return torch.cat(texts), torch.cat(names)


def _name(code: Tensor, kind: int, single: bool) -> Tensor:
    """Numbers of one kind, mixed: even, or odd for what is single."""
    mixed = code * 0x1B873593CC9E2D51 + kind
    return ((mixed ^ (mixed >> 31)) & ~1) + single


def spelling(pieces: Sequence[str]) -> Tensor:
    """(V, 3) int64: what each piece of a vocabulary adds to the word that it is a part of.

    The number of its letters in lower case, a polynomial in BASE; BASE to the power of how many there are; and whether
    it begins a word (by U+2581). The second is 0 where a piece holds anything but letters and digits (or, in a
    vocabulary that was not trained here, a space within), so is no part of a word.

    Args:
        pieces: Each one's text, empty for those that stand for none.
    """
    table = []
    for piece in pieces:
        code, power, text = 0, 0, piece.removeprefix("\u2581")
        if text and all(map(_of_word, text)):
            letters = "".join(letter.lower() for letter in text).replace("\u03c2", "\u03c3")  # one sigma
            for letter in letters:
                code = (code * BASE + ord(letter) + 1) % 2**64
            power = pow(BASE, len(letters), 2**64)
        table.append([code, power, int(piece.startswith("\u2581"))])
    return torch.tensor([[number - 2**64 * (number >= 2**63) for number in row] for row in table], dtype=torch.int64)


def _of_word(letter: str) -> bool:
    """A letter, a digit, or a mark on letters; not one that chooses how a picture is drawn."""
    drawn = "\ufe00" <= letter <= "\ufe0f"
    return letter.isalnum() or (unicodedata.category(letter) in ("Mn", "Mc") and not drawn)


def named_words(pieces: Tensor, lengths: Tensor, owners: Tensor, spelt: Tensor) -> tuple[Tensor, Tensor]:
    """Text and name of each word and each pair of words that follow each other, as often as they occur.

    A word is what letters and digits lie between spaces, signs and the ends of a window, whatever its case and however
    it was segmented; letters that the vocabulary spells in bytes are signs. A pair may have signs between its words, or
    what was left out of a long text. Names are as those of `named_ngrams`, and none is a name there too; odd for a
    single word.

    Args:
        pieces, lengths, owners: As there.
        spelt: (V, 3) of `spelling`.
    """
    letters, powers, marks = spelt[pieces].unbind(-1)  # (W, S)
    inside = (powers != 0) & (torch.arange(pieces.shape[1], device=pieces.device) < lengths[:, None])
    begins = inside & ((marks != 0) | ~F.pad(inside[:, :-1], (1, 0)))
    codes = [letters[:, 0]]
    for i in range(1, pieces.shape[1]):
        codes.append(torch.where(begins[:, i], 0, codes[-1] * powers[:, i]) + letters[:, i])
    ends = inside & ~F.pad((inside & ~begins)[:, 1:], (0, 1))
    rows, words = ends.nonzero()[:, 0], torch.stack(codes, 1)[ends]
    both = rows[1:] == rows[:-1]
    singles = _name(words, LONGEST, single=True)
    # of names, for numbers of words are polynomials in BASE themselves
    pairs = _name(singles[:-1] * BASE + singles[1:], LONGEST + 1, single=False)[both]
    return owners[torch.cat((rows, rows[1:][both]))], torch.cat((singles, pairs))


def named(pieces: Tensor, lengths: Tensor, owners: Tensor, longest: int, spelt: Tensor) -> tuple[Tensor, Tensor]:
    """Those of `named_ngrams` and of `named_words` together."""
    ngrams, words = named_ngrams(pieces, lengths, owners, longest), named_words(pieces, lengths, owners, spelt)
    return torch.cat((ngrams[0], words[0])), torch.cat((ngrams[1], words[1]))


def counted(texts: Tensor, which: Tensor, size: int) -> Ngrams:
    """The different n-grams of each text, from text and number (less than `size`) of each one that occurs."""
    keys, counts = torch.unique(texts * size + which, return_counts=True)
    return Ngrams(keys // size, keys % size, counts)


class NgramLayer(nn.Module):
    """Scores of labels, linear in the known n-grams of a text, weighted by frequency and rarity (TF-IDF).

    They are those of pieces, and the words and pairs of words. One that a text has c times has the value
    (1 + ln c) * rarity; the values of a text are divided by their Euclidean norm. Table, rarity, weights and bias are
    not learned step by step with an encoder but solved for, and so is the mixture of both; see
    `seq2seq.training.logistic`.
    """

    def __init__(self, longest: int, known: int, labels: int, vocab: int) -> None:
        """Builds the layer, all zero.

        Args:
            longest: N-grams of 1 to this many pieces.
            known: U.
            labels: K.
            vocab: V.
        """
        super().__init__()
        self.longest = longest
        # none is a buffer: those would be sent from process to process at every step
        self.names = nn.Parameter(torch.zeros(known, dtype=torch.int64), requires_grad=False)  # ascending
        self.rarity = nn.Parameter(torch.zeros(known), requires_grad=False)
        self.weight = nn.Parameter(torch.zeros(known, labels), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(labels), requires_grad=False)
        self.spelling = nn.Parameter(torch.zeros(vocab, 3, dtype=torch.int64), requires_grad=False)  # no words yet
        self.mixture = nn.Parameter(torch.tensor(UNTOLD), requires_grad=False)  # of the encoder, and of this layer

    def known(self, pieces: Tensor, lengths: Tensor, owners: Tensor) -> Ngrams:
        """The known n-grams of texts, `which` in the table; see `named`."""
        texts, names = named(pieces, lengths, owners, self.longest, self.spelling)
        places = torch.searchsorted(self.names, names).clamp_(max=len(self.names) - 1)
        found = self.names[places] == names
        return counted(texts[found], places[found], len(self.names))

    def values(self, ngrams: Ngrams, texts: int) -> Tensor:
        """(F,) the value of each n-gram of so many texts."""
        values = (1 + ngrams.counts.to(self.rarity.dtype).log()) * self.rarity[ngrams.which]
        squares = values.new_zeros(texts).index_add_(0, ngrams.texts, values * values)
        return values / squares.clamp_(min=TINY).sqrt()[ngrams.texts]

    def forward(self, pieces: Tensor, lengths: Tensor, owners: Tensor) -> Tensor:
        """Scores (B, K) of texts as in `named_ngrams`."""
        ngrams, texts = self.known(pieces, lengths, owners), int(owners[-1]) + 1
        return sums(ngrams.texts, texts, ngrams.which, self.values(ngrams, texts), self.weight) + self.bias


def sums(rows: Tensor, count: int, columns: Tensor, values: Tensor, dense: Tensor) -> Tensor:
    """(count, N): a sparse matrix times a dense one (M, N).

    Args:
        rows: (F,) row of each entry, ascending.
        count: Rows.
        columns: (F,) its column, less than M.
        values: (F,) itself.
        dense: (M, N).
    """
    entries = torch.bincount(rows, minlength=count)
    return F.embedding_bag(columns, dense, entries.cumsum(0) - entries, mode="sum", per_sample_weights=values)
