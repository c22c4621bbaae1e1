"""Random segmentations: SentencePiece's where nothing is left out, its distribution, the same ones in every process."""

from __future__ import annotations

import io
import itertools
import math
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import sentencepiece
from conftest import ROOT

from seq2seq.config import TokenizerConfig
from seq2seq.text import sampling
from seq2seq.text.sampling import BpeDropout, Pieces, UnigramSampling
from seq2seq.text.tokenizer import Tokenizer

TEXT = (ROOT / "data" / "demo" / "train.en").read_text(encoding="utf-8").splitlines()[:300]
ODD = ["日本 x🚀", "  a  b ", "wörld-ly", "ﬁne", "a\tb", "", "x" * 50, "🚀🚀🚀", "▁ ▁▁a"]


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def tokenizer(request) -> Tokenizer:
    return Tokenizer.train(TEXT, TokenizerConfig(vocab_size=700, tokenizer_type=request.param), 1)


def given(**options) -> sentencepiece.SentencePieceProcessor:
    """A model that other options of SentencePiece made."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT), model_writer=model, minloglevel=2, num_threads=1, **{"vocab_size": 300, **options}
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


@pytest.mark.parametrize(
    "options",
    [
        {"byte_fallback": True, "vocab_size": 700},
        {},
        {"user_defined_symbols": ["ing", "th"]},
        {"split_by_whitespace": False},
        {"treat_whitespace_as_suffix": True},
        {"add_dummy_prefix": False, "remove_extra_whitespaces": False},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_bpe_with_nothing_left_out_is_sentencepieces(options):
    processor = given(model_type="bpe", **options)
    defined = frozenset(options.get("user_defined_symbols", []))
    sampler = sampling.Sampler(processor, "bpe", defined)
    sampler._method.draws = lambda random, amount: itertools.repeat(10**9)  # type: ignore[method-assign]
    for text in [*TEXT, *ODD]:
        assert sampler([text], 1, 0.5) == [processor.encode(text)], text


def test_piece_frequencies_are_those_of_sentencepieces_own_sampling(tokenizer):
    """Of 60 samples of each sentence, by both; the standard error of a difference of shares is the unit."""
    amount, rounds = 0.2, 60
    power = amount if tokenizer.algorithm == "bpe" else 1 - amount
    theirs: Counter[int] = Counter()
    for seed in range(rounds):
        # a batch's thread begins with the seed that was set last, perhaps by another test, and draws the same each time
        sentencepiece.set_random_generator_seed(seed)
        sampled = tokenizer._processor.encode(
            TEXT[:60], enable_sampling=True, alpha=power, nbest_size=-1, num_threads=1
        )
        theirs.update(piece for row in sampled for piece in row)
    ours = Counter(i for seed in range(rounds) for row in tokenizer.sample(TEXT[:60], seed, amount) for i in row)
    total, other = sum(ours.values()), sum(theirs.values())
    assert total == pytest.approx(other, rel=0.01)
    for piece in ours.keys() | theirs.keys():
        share = (ours[piece] + theirs[piece]) / (total + other)
        error = math.sqrt(share * (1 / total + 1 / other))
        assert abs(ours[piece] / total - theirs[piece] / other) < 5 * error + 1e-9, tokenizer.pieces([piece])


def test_unigram_draws_in_proportion_to_the_power_of_the_probability():
    """Against all segmentations of a word, listed."""
    tokenizer = Tokenizer.train(TEXT, TokenizerConfig(vocab_size=700, tokenizer_type="unigram"), 1)
    pieces = Pieces(tokenizer._processor, frozenset())
    word, power = "\u2581the", 0.6

    def every(rest: str):
        if not rest:
            yield (), 0.0
        for end in range(1, len(rest) + 1):
            score = pieces.scores.get(rest[:end])
            if score is not None:
                for tail, total in every(rest[end:]):
                    yield (pieces.ids[rest[:end]], *tail), score + total

    weights = {ids: math.exp(power * score) for ids, score in every(word)}
    assert len(weights) > 3
    method = UnigramSampling(pieces)
    draws = method.draws(np.random.default_rng(1), 1 - power)
    found = Counter(tuple(method.sample(word, draws)) for _ in range(20_000))
    for ids, weight in weights.items():
        share = weight / sum(weights.values())
        assert found[ids] / 20_000 == pytest.approx(share, abs=5 * math.sqrt(share / 20_000) + 1e-4)


def test_bpe_dropout_leaves_out_each_merge_with_its_probability():
    """Against a coin thrown for every turn."""
    tokenizer = Tokenizer.train(TEXT, TokenizerConfig(vocab_size=700), 1)
    method, word, rounds = BpeDropout(Pieces(tokenizer._processor, frozenset())), "\u2581people", 4000
    assert method._merge(word, ())[0] == tokenizer.encode(["people"])[0]
    coins = np.random.default_rng(2).random((rounds, 50)) < 0.3
    expected = Counter(tuple(method._merge(word, tuple(np.flatnonzero(row)))[0]) for row in coins)
    draws = method.draws(np.random.default_rng(1), 0.3)
    found = Counter(tuple(method.sample(word, draws)) for _ in range(rounds))
    assert len(expected) >= 4
    for ids in expected.keys() | found.keys():
        share = (expected[ids] + found[ids]) / (2 * rounds)
        assert abs(expected[ids] - found[ids]) / rounds < 5 * math.sqrt(2 * share / rounds)


def test_what_is_kept_of_words_is_bounded_and_changes_nothing(tokenizer, monkeypatch):
    expected = tokenizer.sample(TEXT, 5, 0.3)
    monkeypatch.setattr(sampling, "MOST_KEPT", 7)
    again = Tokenizer.from_bytes(tokenizer.to_bytes())
    assert again.sample(TEXT, 5, 0.3) == expected
    assert again._sampler is not None and len(again._sampler._method._known) <= 7


def test_every_process_draws_the_same(tokenizer, tmp_path):
    """A run that is resumed must see the pieces that the unbroken run saw."""
    tokenizer.save(tmp_path / "t.model")
    code = (
        "import sys; from seq2seq.text.tokenizer import Tokenizer\n"
        "print(Tokenizer.load(sys.argv[1]).sample(['the dogs of my neighbour', 'a museum'] * 20, 3, 0.3))"
    )

    def other(seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, str(tmp_path / "t.model")]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()

    expected = str(tokenizer.sample(["the dogs of my neighbour", "a museum"] * 20, 3, 0.3))
    assert other("1") == other("2") == expected
