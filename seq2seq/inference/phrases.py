"""Phrase tables and n-best lists in the formats of Moses, with one more feature: what the model thinks of each pair.

    phrase table   source ||| target ||| scores ||| alignment ||| counts ...
    n-best list    number of the source ||| target ||| Name= value ... ||| total

The lines pass through in windows: those of a window are grouped by source, each source is encoded once, and what its
targets begin with in common is computed once (`prefixes`). Windows are scored side by side, one thread each, and come
out in order, so memory does not grow with the file (Cho et al. 2014, section 3.1, is what such scores are for).
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch

from seq2seq.errors import CorpusError
from seq2seq.inference.prefixes import score_prefixes
from seq2seq.inference.sources import one_line
from seq2seq.inference.translator import Translator

WINDOW = 16_000
"""Lines of a window; more of them share more, and take more memory."""

WINDOW_CHARACTERS = 4_000_000
"""A window of lines ends here too."""

FLOOR = -100.0
"""Least log probability that is written as a probability: Moses itself takes all below it for it."""

BAR = "|||"


class Entry(NamedTuple):
    """One line."""

    source: str
    target: str
    columns: list[str]  # as they stand in the file, spaces included
    label: str  # what goes before the new feature


def phrase_table(lines: Iterable[str], name: str) -> Iterator[Entry]:
    """Entries of a phrase table.

    Args:
        lines: Its lines.
        name: Of the file, for errors.

    Raises:
        CorpusError: A line with fewer than three columns.
    """
    for number, line in enumerate(lines, 1):
        columns = line.split(BAR)
        if len(columns) < 3:
            raise CorpusError(f"{name}:{number}: expected `source ||| target ||| scores ...`, got {line[:80]!r}")
        yield Entry(columns[0].strip(), columns[1].strip(), columns, "")


def nbest_list(lines: Iterable[str], sources: Iterable[str], name: str, feature: str) -> Iterator[Entry]:
    """Entries of an n-best list, each with its source sentence.

    Args:
        lines: Lines of the list, sorted by the number of their source, as decoders write them.
        sources: Source sentences; number 0 is the first. Read as they are needed.
        name: Of the list, for errors.
        feature: Name of the new feature.

    Raises:
        CorpusError: A line that is none of such a list, numbers that go down, or one that is past the last source.
    """
    waiting = iter(sources)
    current, source = -1, ""
    for number, line in enumerate(lines, 1):
        columns = line.split(BAR)
        if len(columns) < 3 or not columns[0].strip().isdecimal():
            raise CorpusError(f"{name}:{number}: expected `number ||| target ||| features ...`, got {line[:80]!r}")
        wanted = int(columns[0])
        if wanted < current:
            raise CorpusError(f"{name}:{number}: source {wanted} comes after {current}; sort the list by this number")
        if wanted > current:
            found = next(itertools.islice(waiting, wanted - current - 1, None), None)
            if found is None:
                raise CorpusError(f"{name}:{number} is about source {wanted}, but there are fewer; they count from 0")
            current, source = wanted, found
        yield Entry(source, columns[1].strip(), columns, f"{feature}= ")


def with_feature(entry: Entry, log_prob: float, probability: bool) -> str:
    """The line with the feature at the end of its third column; everything else as it was.

    Args:
        entry: The line.
        log_prob: Natural logarithm of p(target | source).
        probability: Write p itself, not below the exponential of `FLOOR`.
    """
    value = f"{math.exp(max(log_prob, FLOOR)):.6g}" if probability else f"{log_prob:.6g}"
    old = entry.columns[2]
    kept = old.rstrip()
    # the last column may end without a space
    rest = old[len(kept) :] if kept else " "
    column = f"{kept or ' '}{' ' if kept.strip() else ''}{entry.label}{value}{rest}"
    return BAR.join([*entry.columns[:2], column, *entry.columns[3:]])


def score_window(translator: Translator, entries: list[Entry]) -> list[float]:
    """log p(target, end of sentence | source) of each entry, natural logarithm."""
    sources = {text: n for n, text in enumerate(dict.fromkeys(entry.source for entry in entries))}
    targets = {text: n for n, text in enumerate(dict.fromkeys(entry.target for entry in entries))}
    source_ids = translator.source_tokenizer.encode([one_line(text) for text in sources])
    target_ids = translator.target_tokenizer.encode([one_line(text) for text in targets])
    return score_prefixes(
        translator.searched, source_ids, [sources[entry.source] for entry in entries],
        [target_ids[targets[entry.target]] for entry in entries], translator.source_tokenizer,
        translator.target_tokenizer, device=translator.device,
    ).tolist()  # fmt: skip


def _windows(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    part: list[Entry] = []
    characters = 0
    for entry in entries:
        part.append(entry)
        characters += sum(map(len, entry.columns)) + len(entry.source)
        if len(part) >= WINDOW or characters >= WINDOW_CHARACTERS:
            yield part
            part, characters = [], 0
    if part:
        yield part


def score_entries(translator: Translator, entries: Iterable[Entry], *, probability: bool = False) -> Iterator[str]:
    """Each line with its new feature, in order; a few windows of them are in memory.

    Args:
        translator: One model, or an ensemble. The type of its products is that of decoding.
        entries: From `phrase_table` or `nbest_list`.
        probability: Write p instead of its natural logarithm.
    """

    def work(part: list[Entry]) -> list[str]:
        scores = score_window(translator, part)
        return [with_feature(entry, score, probability) for entry, score in zip(part, scores, strict=True)]

    threads = torch.get_num_threads() if translator.device.type == "cpu" else 1
    for lines in _side_by_side(work, _windows(entries), threads):
        yield from lines


def _side_by_side(
    work: Callable[[list[Entry]], list[str]], parts: Iterable[list[Entry]], threads: int
) -> Iterator[list[str]]:
    """Results in order, from several threads that each compute alone: better than one whose operations are shared."""
    pending: deque[Future[list[str]]] = deque()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for part in parts:
                pending.append(pool.submit(work, part))
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            torch.set_num_threads(threads)  # the workers' number was set for all threads to come
