"""Minimum Bayes risk: of several translations the one that the others, by their probabilities, speak for most.

    h* = argmax_h sum_h' q(h') BLEU(h, h'),    q(h) ~ exp(L score(h))

over the hypotheses of a beam (Kumar & Byrne 2004), where score is the log probability a piece as the beam ranks by it
(`length_penalty`) and L their mean length: raw log probabilities prefer what is short, and BLEU does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from seq2seq.inference.evaluate import split_words
from seq2seq.inference.search import Hypothesis

ORDER = 4


def agreement(texts: Sequence[str], weights: np.ndarray, language: str) -> np.ndarray:
    """Expected sentence BLEU (K,), 0 to 1, of K translations against each other.

    Args:
        texts: K translations of one source.
        weights: (K,) the probability that each is right.
        language: Code; decides sacrebleu's tokenizer.
    """
    words = [split_words(text, language) for text in texts]
    lengths = np.array([len(row) for row in words], dtype=np.float64)
    logs = np.zeros((len(texts), len(texts)))
    for n in range(1, ORDER + 1):
        places: dict[tuple[str, ...], int] = {}
        counted = [Counter(zip(*(row[k:] for k in range(n)), strict=False)) for row in words]
        for counts in counted:
            for ngram in counts:
                places.setdefault(ngram, len(places))
        table = np.zeros((len(texts), len(places)), dtype=np.int32)
        for row, counts in zip(table, counted, strict=True):
            row[[places[ngram] for ngram in counts]] = list(counts.values())
        matches = np.minimum(table[:, None], table[None]).sum(-1)
        smooth = float(n > 1)  # one is added to the counts of n-grams from 2 on (Lin & Och 2004)
        with np.errstate(divide="ignore", invalid="ignore"):
            precisions = (matches + smooth) / (np.maximum(lengths - n + 1, 0) + smooth)[:, None]
            logs += np.log(np.nan_to_num(precisions)) / ORDER
    with np.errstate(divide="ignore", invalid="ignore"):
        short = np.minimum(1 - lengths[None] / lengths[:, None], 0)
    bleu: np.ndarray = np.exp(logs + np.nan_to_num(short, neginf=0))
    return bleu @ weights


def by_agreement(
    hypotheses: Sequence[tuple[Hypothesis, str]], language: str, length_penalty: float
) -> list[tuple[Hypothesis, str]]:
    """The hypotheses of one source with their texts, those first that agree most with the others.

    Args:
        hypotheses: K of them.
        language: Code of their language.
        length_penalty: The search's.
    """
    length = np.mean([len(h.ids) + 1 for h, _ in hypotheses])
    # what a typical hypothesis' log probability is divided by is given back, to all alike
    scores = np.array([h.score for h, _ in hypotheses]) * length**length_penalty
    weights = np.exp(scores - scores.max())
    found = agreement([text for _, text in hypotheses], weights / weights.sum(), language)
    return [hypotheses[k] for k in np.argsort(-found, kind="stable")]
