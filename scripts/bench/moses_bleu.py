#!/usr/bin/env python
"""BLEU as papers on Multi30k report it: lowercase text, Moses punctuation normalisation and tokens.

    python scripts/bench/moses_bleu.py LANGUAGE HYPOTHESES REFERENCES

Both files hold raw text, one sentence a line. Needs the extra `bench`. Figures on these tokens lie above those of
`seq2seq evaluate`, which are of cased, raw text; the two must never be compared with each other.
"""

from __future__ import annotations

import sys

from sacrebleu.metrics import BLEU
from sacremoses import MosesPunctNormalizer, MosesTokenizer

from seq2seq.text.tables import read_lines


def tokenised(path: str, language: str) -> list[str]:
    """The lines of a file in lowercase Moses tokens, joined by spaces."""
    normalize = MosesPunctNormalizer(language).normalize
    tokenize = MosesTokenizer(language).tokenize
    return [tokenize(normalize(line.strip().lower()), return_str=True, escape=False) for line in read_lines(path)]


def main() -> None:
    """Prints the score."""
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    language, hypotheses, references = sys.argv[1:]
    pairs = tokenised(hypotheses, language), tokenised(references, language)
    if len(pairs[0]) != len(pairs[1]):
        sys.exit(f"{hypotheses} has {len(pairs[0])} lines, {references} has {len(pairs[1])}")
    score = BLEU(tokenize="none", force=True).corpus_score(pairs[0], [pairs[1]])
    sys.stdout.write(f"{score.score:.2f}  ({score})\n")


if __name__ == "__main__":
    main()
