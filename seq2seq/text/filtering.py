"""Which pairs of a corpus are worth training on: lengths, letters, copies, repetitions, what is held out for tests.

Nothing here knows a language. A pair is judged by its text alone, so equal pairs are judged alike; the first reason
that applies is the one that counts. Memory does not grow with the corpus but for one bit a pair: what has to be
remembered of all pairs to find repetitions lies in temporary files, a part of which is read at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import datasets
import numpy as np

from seq2seq.config import FilterConfig
from seq2seq.text.corpus import blocks_of, pairs_of

BLOCK = 10_000
"""Pairs in memory at a time."""

PARTS = 256
"""Files that the hashes of all pairs are dealt to; one of them is in memory at a time."""

SAMPLE = 100_000
"""Pairs that the usual ratio of lengths is taken from."""

SLACK = 10
"""Characters added to both lengths before their ratio is taken, so that short texts may differ more."""

_DAMAGED = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufffd]")


class _Letters(dict[str, bool]):
    """Whether a character is a letter, or a mark on one (a vowel of Devanagari); looked up once each."""

    def __missing__(self, character: str) -> bool:
        found = unicodedata.category(character)[0] in "LM"
        self[character] = found
        return found


_LETTERS = _Letters()


class Verdicts:
    """Judges pairs one after the other."""

    def __init__(self, config: FilterConfig, ratio: float, held_out: set[int]) -> None:
        """Args:
        config: The limits.
        ratio: Usual length of a source over that of its target.
        held_out: Hashes of the sources that tests need, see `text_hash`.
        """
        self.config, self.ratio, self.held_out = config, ratio, held_out
        self.widest = math.log(config.max_ratio) if config.max_ratio > 0 else math.inf

    def reason(self, source: str, target: str) -> str | None:
        """Why a pair is left out; None where it is kept, its repetitions not regarded."""
        config, lengths = self.config, (len(source), len(target))
        if not source.strip() or not target.strip():
            return "empty side"
        if 0 < config.max_characters < max(lengths):
            return f"more than {config.max_characters:,} characters"
        if _DAMAGED.search(source) or _DAMAGED.search(target):
            return "control or replacement characters"
        if not config.keep_identical and source.strip() == target.strip():
            return "both sides the same"
        if abs(math.log((lengths[0] + SLACK) / (lengths[1] * self.ratio + SLACK))) > self.widest:
            return "lengths far from the usual ratio"
        if min(letters(source), letters(target)) < config.min_letters:
            return "few letters"
        if self.held_out and text_hash(source) in self.held_out:
            return "source in a held-out split"
        return None


def letters(text: str) -> float:
    """Share of letters among the characters that are no spaces; 0 of nothing."""
    visible = len(text) - text.count(" ")
    return sum(map(_LETTERS.__getitem__, text)) / visible if visible > 0 else 0.0


def text_hash(*texts: str) -> int:
    """64 bits of some texts, runs of white space counting as one space."""
    joined = "\t".join(" ".join(text.split()) for text in texts)
    return int.from_bytes(hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def usual_ratio(corpus: datasets.Dataset) -> float:
    """Median of source length over target length in characters, over rows from all parts of the corpus; 1 of none."""
    chosen = np.unique(np.linspace(0, len(corpus) - 1, min(len(corpus), SAMPLE)).astype(np.int64))
    found: list[float] = []
    for part in np.array_split(chosen, -(-len(chosen) // BLOCK)):
        rows = corpus[part]
        found += [len(s) / len(t) for s, t in zip(rows["source"], rows["target"], strict=True) if s and t]
    return float(np.median(found)) if found else 1.0


class Bits:
    """A bit for each of N rows, all unset at first."""

    def __init__(self, count: int) -> None:
        self._bytes = np.zeros(-(-count // 8), dtype=np.uint8)

    def set(self, rows: np.ndarray) -> None:
        """Sets those of `rows` (int64)."""
        np.bitwise_or.at(self._bytes, rows >> 3, (1 << (rows & 7)).astype(np.uint8))

    def __getitem__(self, rows: slice) -> list[bool]:
        """Which of the rows from start to stop are set."""
        start, stop, _ = rows.indices(8 * len(self._bytes))
        bits = np.unpackbits(self._bytes[start >> 3 : -(-stop // 8)], bitorder="little").view(bool)
        return bits[start & 7 :][: stop - start].tolist()  # type: ignore[no-any-return]


def repetitions(corpus: datasets.Dataset) -> Bits:
    """Pairs that stood in the corpus before. Two pairs of equal 64-bit hash are taken to be equal."""
    repeated = Bits(len(corpus))
    with tempfile.TemporaryDirectory(prefix="seq2seq-") as folder, contextlib.ExitStack() as stack:
        paths = [Path(folder) / str(part) for part in range(PARTS)]
        files = [stack.enter_context(open(path, "wb")) for path in paths]
        start = 0
        for sources, targets in blocks_of(corpus, BLOCK):
            hashes = np.fromiter(map(text_hash, sources, targets), dtype=np.uint64, count=len(sources))
            rows = np.arange(start, start + len(sources), dtype=np.uint64)
            records = np.stack([hashes, rows], axis=1)
            records = records[np.argsort(hashes % PARTS, kind="stable")]
            ends = np.cumsum(np.bincount((hashes % PARTS).astype(np.int64), minlength=PARTS))
            for file, part in zip(files, np.split(records, ends[:-1]), strict=True):
                file.write(part.tobytes())
            start += len(sources)
        for file in files:
            file.flush()
        for path in paths:
            hashes, rows = np.fromfile(path, dtype=np.uint64).reshape(-1, 2).T
            again = np.ones(len(rows), dtype=bool)
            again[np.unique(hashes, return_index=True)[1]] = False
            repeated.set(rows[again].astype(np.int64))
    return repeated


class Outcome(NamedTuple):
    """What was left out of a corpus."""

    read: int
    left_out: Counter[str]
    """Number of pairs, by reason."""
    examples: dict[str, tuple[str, str]]
    """The first pair of each reason."""

    @property
    def kept(self) -> int:
        """Pairs that stay."""
        return self.read - sum(self.left_out.values())


def filtered(
    corpus: datasets.Dataset, config: FilterConfig, held_out: Mapping[str, datasets.Dataset], outcome: Outcome
) -> Iterator[Iterable[tuple[str, str]]]:
    """The pairs that are kept, in order, block by block.

    Args:
        corpus: Columns source and target.
        config: The limits.
        held_out: Other splits, whose sources must not be trained on.
        outcome: Is counted in, as the pairs are read.
    """
    known: set[int] = set()
    if not config.keep_held_out:
        known = {text_hash(source) for split in held_out.values() for source, _ in pairs_of(split)}
    verdicts = Verdicts(config, usual_ratio(corpus), known)
    repeated = Bits(len(corpus)) if config.keep_repetitions else repetitions(corpus)
    start = 0
    for sources, targets in blocks_of(corpus, BLOCK):
        kept = []
        again = repeated[start : start + len(sources)]
        for pair, is_repetition in zip(zip(sources, targets, strict=True), again, strict=True):
            why = verdicts.reason(*pair) or ("a repetition" if is_repetition else None)
            if why is None:
                kept.append(pair)
                continue
            outcome.left_out[why] += 1
            outcome.examples.setdefault(why, pair)
        start += len(sources)
        yield kept


def new_outcome(corpus: datasets.Dataset) -> Outcome:
    """Nothing left out yet."""
    return Outcome(len(corpus), Counter(), {})
