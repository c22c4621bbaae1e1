"""Random segmentations of text that follow from a seed alone: BPE-dropout and sampling from a unigram lattice.

SentencePiece draws both from a generator that, since its release 0.2.2, is seeded anew in each process whatever seed is
set; a run that is resumed would see other pieces. So the draws are made here, over the pieces and scores of its model.
Pieces never cross a space (where a model has some that do, a whole text counts as one word), so words are segmented
apart, and what was worked out for a word is kept.
"""

from __future__ import annotations

import heapq
import itertools
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np
from sentencepiece import SentencePieceProcessor

SPACE = "\u2581"

# what is kept of words; all of it is forgotten when there is more
MOST_KEPT = 200_000

# how much less likely than the least likely piece SentencePiece takes a character without a piece to be, in nats
UNKNOWN_PENALTY = 10.0


class Pieces:
    """Pieces of a SentencePiece model: their scores, and the ids of any string."""

    def __init__(self, processor: SentencePieceProcessor, user_defined: frozenset[str]) -> None:
        """Takes the pieces out of a model; `user_defined` are those that are never split or merged."""
        every = range(processor.get_piece_size())
        plain = [i for i in every if not (processor.is_control(i) or processor.is_unknown(i) or processor.is_byte(i))]
        self.ids = {processor.id_to_piece(i): i for i in plain if not processor.is_unused(i)}
        self.scores = {piece: processor.get_score(i) for piece, i in self.ids.items()}
        self.user_defined = user_defined
        self.bytes = {int(processor.id_to_piece(i)[3:5], 16): i for i in every if processor.is_byte(i)}
        self.unknown: int = processor.unk_id()
        self.longest = max(map(len, self.ids), default=1)
        self.crossing = any(SPACE in piece[1:] for piece in self.ids)
        first = "|".join(map(re.escape, sorted(user_defined, key=len, reverse=True)))
        self._symbols = re.compile(f"{first}|." if first else ".", re.DOTALL)

    def words(self, text: str) -> list[str]:
        """The parts of a normalised text that are segmented apart."""
        if self.crossing or self.user_defined:
            return [text] if text else []
        return re.findall(f"{SPACE}[^{SPACE}]*|[^{SPACE}]+", text)

    def symbols(self, word: str) -> list[str]:
        """Characters, and pieces that are never split."""
        return self._symbols.findall(word)

    def spelt(self, piece: str) -> list[int]:
        """Id of a piece, or of its bytes."""
        found = self.ids.get(piece)
        if found is not None:
            return [found]
        return [self.bytes[byte] for byte in piece.encode()] if len(self.bytes) == 256 else [self.unknown]


class BpeDropout:
    """BPE whose merges are each left out with some probability (Provilkov et al. 2020, arXiv:1910.13267)."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        self._known: dict[tuple[str, tuple[int, ...]], tuple[list[int], int]] = {}

    def draws(self, random: np.random.Generator, amount: float) -> Iterator[float]:
        """How many merges are made before one is left out, again and again."""
        return itertools.chain.from_iterable((random.geometric(amount, 512) - 1).tolist() for _ in itertools.count())

    def sample(self, word: str, draws: Iterator[float]) -> list[int]:
        """Ids of a word."""
        left_out: tuple[int, ...] = ()
        place = next(draws)
        while True:
            ids, merges = self._segment(word, left_out)
            if place >= merges:
                return ids
            left_out += (int(place),)
            place += 1 + next(draws)

    def _segment(self, word: str, left_out: tuple[int, ...]) -> tuple[list[int], int]:
        """Ids where the merges of these numbers, in the order of their turns, are left out; number of turns."""
        key = word, left_out
        if key not in self._known:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[key] = self._merge(word, left_out)
        return self._known[key]

    def _merge(self, word: str, left_out: tuple[int, ...]) -> tuple[list[int], int]:
        symbols = self.pieces.symbols(word)
        before, after = list(range(-1, len(symbols) - 1)), list(range(1, len(symbols) + 1))
        scores, fixed = self.pieces.scores, self.pieces.user_defined
        heap: list[tuple[float, int, int, str]] = []

        def offer(left: int, right: int) -> None:
            if left >= 0 and right < len(symbols) and symbols[left] not in fixed and symbols[right] not in fixed:
                joined = symbols[left] + symbols[right]
                if joined in scores:
                    heapq.heappush(heap, (-scores[joined], left, right, joined))

        for left in range(len(symbols) - 1):
            offer(left, left + 1)
        turns = 0
        while heap:
            _, left, right, joined = heapq.heappop(heap)
            if not symbols[left] or not symbols[right] or symbols[left] + symbols[right] != joined:
                continue  # one of the two is part of something longer by now
            turns += 1
            if turns - 1 in left_out:
                continue
            symbols[left], symbols[right] = joined, ""
            after[left] = after[right]
            if after[right] < len(symbols):
                before[after[right]] = left
            offer(before[left], left)
            offer(left, after[left])
        return list(itertools.chain.from_iterable(self.pieces.spelt(symbol) for symbol in symbols if symbol)), turns


class UnigramSampling:
    """A segmentation drawn in proportion to its probability to a power (Kudo 2018, arXiv:1804.10959)."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces, self.smoothing = pieces, 1.0
        self._known: dict[str, list[tuple[list[int], list[float]]]] = {}
        normal = [score for piece, score in pieces.scores.items() if piece not in pieces.user_defined]
        self.least, self.most = min(normal, default=0.0), max(normal, default=0.0)

    def draws(self, random: np.random.Generator, amount: float) -> Iterator[float]:
        """Uniform numbers; 1 - amount is the power."""
        if self.smoothing != 1 - amount:
            self.smoothing = 1 - amount
            self._known.clear()
        return itertools.chain.from_iterable(random.random(512).tolist() for _ in itertools.count())

    def sample(self, word: str, draws: Iterator[float]) -> list[int]:
        """Ids of a word, drawn from its end to its start."""
        if word not in self._known:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[word] = self._lattice(word)
        lattice, end, found = self._known[word], len(word), []
        while end:
            starts, shares = lattice[end]
            start = starts[min(bisect_right(shares, next(draws)), len(starts) - 1)]
            found.append(word[start:end])
            end = start
        return list(itertools.chain.from_iterable(map(self.pieces.spelt, reversed(found))))

    def _lattice(self, word: str) -> list[tuple[list[int], list[float]]]:
        """For each end of a piece: where the piece may begin, and the cumulated probabilities of that."""
        totals, lattice = [0.0], [([0], [1.0])]  # log of the sum over all segmentations up to each place
        for end in range(1, len(word) + 1):
            starts, scores = [], []
            for start in range(max(0, end - self.pieces.longest), end):
                score = self._score(word[start:end])
                if score is not None and totals[start] > -math.inf:
                    starts.append(start)
                    scores.append(totals[start] + self.smoothing * score)
            top = max(scores, default=-math.inf)
            weights = [math.exp(score - top) for score in scores]
            total = sum(weights)
            totals.append(top + math.log(total) if weights else -math.inf)
            lattice.append((starts, [part / total for part in itertools.accumulate(weights)]))
        return lattice

    def _score(self, piece: str) -> float | None:
        if piece in self.pieces.user_defined:  # as SentencePiece does, so that it is always taken
            return len(piece) * self.most - 0.1
        score = self.pieces.scores.get(piece)
        return self.least - UNKNOWN_PENALTY if score is None and len(piece) == 1 else score


class Sampler:
    """Random segmentations by one model."""

    def __init__(self, processor: SentencePieceProcessor, algorithm: str, user_defined: frozenset[str]) -> None:
        """Takes a BPE or unigram model; `user_defined` are its pieces that are never split."""
        self._processor, self._pieces = processor, Pieces(processor, user_defined)
        self._method = BpeDropout(self._pieces) if algorithm == "bpe" else UnigramSampling(self._pieces)

    def __call__(self, texts: Sequence[str], seed: int, amount: float) -> list[list[int]]:
        """Ids of each text; `amount` in (0, 1] is the probability that a merge is left out, or 1 - the power."""
        draws = self._method.draws(np.random.default_rng(seed % 2**63), amount)
        sample, unknown, rows = self._method.sample, self._pieces.unknown, []
        for text in self._processor.normalize(texts):
            row = list(itertools.chain.from_iterable(sample(word, draws) for word in self._pieces.words(text)))
            if unknown in row:  # SentencePiece takes neighbours without a piece together
                row = [i for i, last in zip(row, [None, *row], strict=False) if i != unknown or last != unknown]
            rows.append(row)
        return rows
