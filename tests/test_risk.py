"""Minimum risk training: weights against the gradient of the expected BLEU, taken through the model itself."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from models import TEXT, make_model, small_tokenizer

from seq2seq.config import ModelConfig, SearchConfig
from seq2seq.inference import risk
from seq2seq.inference.prepared import PreparedModel
from seq2seq.inference.risk import own_translations, risk_weights, sentence_bleu
from seq2seq.inference.search import search
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.batching import Batch, collate
from seq2seq.text.tokenizer import Tokenizer

CALM = {"dropout": 0.0, "dropout_embedding": 0.0, "dropout_readout": 0.0}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


def _batch(tokenizer: Tokenizer, sources: list[str], targets: list[str], other: Tokenizer | None = None) -> Batch:
    target = other or tokenizer
    ids = {"source_eos": tokenizer.eos_id, "source_pad": tokenizer.pad_id, "target_bos": target.bos_id}
    ids |= {"target_eos": target.eos_id, "target_pad": target.pad_id}
    return collate(tokenizer.encode(sources), target.encode(targets), **ids)


def _pairs(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """Ids of each pair, without padding."""
    rows = zip(batch.source.tolist(), batch.source_lengths, batch.target.tolist(), batch.target_lengths, strict=True)
    return [(source[:s], target[: t + 1]) for source, s, target, t in rows]


def _nll(model: TranslationModel, source: list[int], target: list[int]) -> torch.Tensor:
    """-log p of one translation, which PyTorch differentiates step by step."""
    memory = model.encode(torch.tensor([source]), torch.tensor([len(source)]))
    state, total = model.initial_state(memory), torch.zeros((), dtype=torch.float64)
    for token, label in itertools.pairwise(target):
        logits, state, _ = model.step(torch.tensor([token]), state, memory)
        total = total - torch.log_softmax(logits[0], -1)[label]
    return total


def test_the_gradient_is_that_of_the_risk(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all translations that the beam finds, the expected miss of BLEU is differentiated as it is written."""
    monkeypatch.setattr(risk, "LEAST", -1.0)
    monkeypatch.setattr(risk, "TILE", 1)
    model = make_model(tokenizer, 3, initialization_scale=0.3, **CALM).double().train()
    batch = _batch(tokenizer, TEXT[:3], TEXT[1:])
    own = own_translations(model, batch, (tokenizer, tokenizer), 30.0, 4, "en")
    assert own is not None
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss, counted = model.loss(own, 0.1)
    assert counted == 0
    ours = torch.autograd.grad(loss, parameters)
    expected = torch.zeros((), dtype=torch.float64)
    for (source, _), text in zip(_pairs(batch), TEXT[1:], strict=True):
        found = [target for other, target in _pairs(own.pairs) if other == source]
        assert len(found) == 4
        q = torch.softmax(-torch.stack([_nll(model, source, target) for target in found]), 0)
        missed = [1 - sentence_bleu(tokenizer.decode([target[1:-1]])[0], text, "en") for target in found]
        expected = expected + 30 * (q @ torch.tensor(missed, dtype=torch.float64))
    for mine, theirs in zip(ours, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)  # weights are float32


def test_following_it_lowers_the_risk(tokenizer: Tokenizer) -> None:
    model = make_model(tokenizer, 1, initialization_scale=0.3, **CALM).train()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    batch = _batch(tokenizer, TEXT, TEXT)
    # what is said at first is nonsense, of which BLEU sees little: begin where something is right
    for _ in range(12):
        model.loss(batch)[0].backward()
        optimizer.step()
        optimizer.zero_grad()

    def expected_bleu() -> float:
        ids = {"bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id, "pad_id": tokenizer.pad_id}
        options = SearchConfig(beam_size=8, n_best=8)
        model.eval()
        found = search(PreparedModel(model), batch.source, batch.source_lengths, options, **ids)
        model.train()
        expected = []
        for best, text in zip(found, TEXT, strict=True):
            q = np.exp([hypothesis.log_prob for hypothesis in best])
            scores = [sentence_bleu(tokenizer.decode([hypothesis.ids])[0], text, "en") for hypothesis in best]
            expected.append(q @ scores / q.sum())
        return float(np.mean(expected))

    before = expected_bleu()
    for group in optimizer.param_groups:
        group["lr"] = 0.002
    for _ in range(15):
        own = own_translations(model, batch, (tokenizer, tokenizer), 1.0, 8, "en")
        if own is None:
            break
        model.loss(own)[0].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert expected_bleu() > before + 0.05


def test_weights_add_up_to_nothing_and_follow_quality() -> None:
    log_probs, scores = np.array([-1.0, -2.0, -1.5]), np.array([0.2, 0.9, 0.4])
    weights = risk_weights(log_probs, scores)
    q = np.exp(log_probs) / np.exp(log_probs).sum()
    np.testing.assert_allclose(weights, q * (scores - (q * scores).sum()))
    np.testing.assert_allclose(weights.sum(), 0, atol=1e-12)
    assert weights[1] > 0 > weights[0]
    assert not risk_weights(np.array([-1000.0, -1001.0]), np.array([0.3, 0.3])).any()


def test_translations_that_move_nothing_are_left_out(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tokenizer, 3, **CALM).train()
    batch = _batch(tokenizer, TEXT, TEXT)
    monkeypatch.setattr(risk, "sentence_bleu", lambda *_: 0.5)
    assert own_translations(model, batch, (tokenizer, tokenizer), 30.0, 3, "en") is None
    monkeypatch.setattr(risk, "risk_weights", lambda *_: np.array([0.5, -0.001, -0.499]))
    few = own_translations(model, batch, (tokenizer, tokenizer), 30.0, 3, "en")
    assert few is not None
    assert few.weights.tolist() == pytest.approx([15] * len(TEXT) + [-14.97] * len(TEXT))
    assert len(few.pairs.source) == len(few.pairs.target) == len(few.weights)


def test_two_vocabularies_and_whole_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources come back as they were, translations are pieces of the other vocabulary, the least of them left out."""
    monkeypatch.setattr(risk, "sentence_bleu", lambda text, *_: len(text) % 7 / 7)
    monkeypatch.setattr(risk, "LEAST", -1.0)
    source, target = small_tokenizer(330), small_tokenizer(300)
    torch.manual_seed(2)
    sizes = {"embedding_size": 16, "encoder_size": 12, "decoder_size": 20, "attention_size": 10}
    config = ModelConfig(**sizes, initialization="normal", initialization_scale=0.6)
    model = TranslationModel(config, source.vocab_size, target.vocab_size, joint=False).train()
    batch = _batch(source, TEXT, TEXT, target)
    monkeypatch.setattr(risk, "TILE", 1000)
    every = own_translations(model, batch, (source, target), 30.0, 5, "en")
    monkeypatch.setattr(risk, "TILE", 8)
    tiles = own_translations(model, batch, (source, target), 30.0, 5, "en")
    assert every is not None
    assert tiles is not None
    assert (len(every.weights), len(tiles.weights)) == (20, 16)
    assert torch.equal(tiles.weights, every.weights[: len(tiles.weights)])
    assert every.weights.abs().tolist() == sorted(every.weights.abs().tolist(), reverse=True)
    sources = [pair[0] for pair in _pairs(batch)]
    for found, translation in _pairs(tiles.pairs):
        assert found in sources
        assert translation[0] == target.bos_id
        assert translation[-1] == target.eos_id
        assert max(translation) < target.vocab_size


def test_the_model_is_left_in_training(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tokenizer, 3).train()
    batch = _batch(tokenizer, TEXT, TEXT)
    monkeypatch.setattr(risk, "sentence_bleu", lambda text, *_: len(text) % 7 / 7)
    first, second = (own_translations(model, batch, (tokenizer, tokenizer), 30.0, 3, "en") for _ in range(2))
    assert model.training
    assert first is not None
    assert second is not None
    assert torch.equal(first.pairs.target, second.pairs.target)  # dropout has no part in what is found

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(risk, "search", fails)
    with pytest.raises(RuntimeError, match="memory"):
        own_translations(model, batch, (tokenizer, tokenizer), 30.0, 3, "en")
    assert model.training


@pytest.mark.parametrize(
    ("hypothesis", "reference"),
    [
        ("a man on a horse", "a man on a horse"),
        ("a man sits on a brown horse .", "a man on a horse ."),
        ("a man", "a man on a horse"),
        ("the the the the", "the cat"),
        ("dog", "a dog"),
        ("tree", "a dog"),
    ],
)
def test_sentence_bleu_is_counted_by_hand(hypothesis: str, reference: str) -> None:
    words, others = hypothesis.split(), reference.split()
    logs = []
    for n in range(1, 5):
        found = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        there = Counter(tuple(others[i : i + n]) for i in range(len(others) - n + 1))
        one = 0 if n == 1 else 1
        matches, total = sum((found & there).values()) + one, sum(found.values()) + one
        logs.append(math.log(matches / total) if matches else -math.inf)
    expected = math.exp(sum(logs) / 4 + min(0, 1 - len(others) / len(words)))
    assert sentence_bleu(hypothesis, reference, "en") == pytest.approx(expected, abs=1e-9)


def test_nothing_said_has_no_bleu() -> None:
    assert sentence_bleu("", "a dog", "en") == 0
