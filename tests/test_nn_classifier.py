"""The classification model against plain loops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seq2seq.config import ClassifierConfig
from seq2seq.nn.classifier import ClassificationModel, Pooling, label_loss
from seq2seq.nn.ngrams import named_ngrams
from seq2seq.text.labels import LabelledBatch

KINDS = ["concat", "mean", "max", "last", "attention"]
LENGTHS = torch.tensor([3, 5, 1, 2])
OWNERS = torch.tensor([0, 1, 1, 2])  # the second text has two windows


def config(**options) -> ClassifierConfig:
    sizes = {"embedding_size": 6, "encoder_size": 4, "attention_size": 5, "encoder_layers": 2}
    off = {"dropout": 0.0, "dropout_embedding": 0.0, "dropout_pooled": 0.0, "ngrams": 0}
    return ClassifierConfig(**{**sizes, **off, **options})


def by_loops(pooling: Pooling, states: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    rows = []
    for text in range(3):
        windows = [w for w in range(4) if OWNERS[w] == text]
        every = torch.cat([states[: LENGTHS[w], w] for w in windows])  # all states of the text
        parts = {"mean": every.mean(0), "max": every.max(0).values, "last": ends[windows].mean(0)}
        if pooling.kind == "attention":
            scores = torch.stack([pooling.weight_score @ torch.tanh(pooling.weight_hidden @ h) for h in every])
            parts["attention"] = torch.softmax(scores, 0) @ every
        names = ["mean", "max", "last"] if pooling.kind == "concat" else [pooling.kind]
        rows.append(torch.cat([parts[name] for name in names]))
    return torch.stack(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_pooling_equals_loops_whatever_the_padding_holds(kind):
    torch.manual_seed(1)
    pooling = Pooling(config(pooling=kind))
    for parameter in pooling.parameters():
        torch.nn.init.normal_(parameter)
    states, ends = torch.randn(5, 4, 8), torch.randn(4, 8)
    expected = by_loops(pooling, states, ends)
    states[torch.arange(5)[:, None] >= LENGTHS] = 1e6
    torch.testing.assert_close(pooling(states, ends, LENGTHS, OWNERS), expected)
    assert expected.shape[1] == pooling.size


def batch(labels: torch.Tensor) -> LabelledBatch:
    torch.manual_seed(2)
    return LabelledBatch(torch.randint(4, 30, (4, 5)), LENGTHS, OWNERS, labels)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_is_the_summed_cross_entropy(kind):
    labels = torch.tensor([2, 0, 1])
    model = ClassificationModel(config(pooling=kind), 30, 3).eval()
    log_p = model.probabilities(batch(labels)).log()
    loss, count = model.loss(batch(labels))
    torch.testing.assert_close(loss, -sum(log_p[i, label] for i, label in enumerate(labels)))
    assert count == 3
    smooth, _ = model.loss(batch(labels), 0.3)
    torch.testing.assert_close(smooth, 0.7 * loss - 0.3 * log_p.mean(1).sum())


def test_weights_of_labels():
    labels, weights = torch.tensor([2, 0, 1]), torch.tensor([1.0, 2.0, 3.0])
    torch.manual_seed(3)
    model = ClassificationModel(config(), 30, 3, label_weights=weights).eval()
    log_p = model.probabilities(batch(labels)).log()
    torch.testing.assert_close(model.loss(batch(labels))[0], -(log_p[0, 2] * 3 + log_p[1, 0] + log_p[2, 1] * 2))
    assert "label_weights" not in model.state_dict()


def test_several_labels_are_questions_of_their_own():
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    model = ClassificationModel(config(), 30, 3, several=True).eval()
    p = model.probabilities(batch(labels))
    expected = -(labels * p.log() + (1 - labels) * (1 - p).log()).sum()
    torch.testing.assert_close(model.loss(batch(labels))[0], expected)


@pytest.mark.parametrize("several", [False, True])
def test_r_drop(several):
    """Without dropout the two passes are one: the loss is the plain one. With dropout their divergence is added."""
    labels = torch.eye(3) if several else torch.tensor([2, 0, 1])
    torch.manual_seed(4)
    model = ClassificationModel(config(r_drop=2.0), 30, 3, several)
    plain = model.eval().loss(batch(labels), 0.1)[0]
    torch.testing.assert_close(model.train().loss(batch(labels), 0.1)[0], plain)

    model = ClassificationModel(config(r_drop=2.0, dropout_pooled=0.5), 30, 3, several)
    passes = []
    original = model._encoded
    model._encoded = lambda value: passes.append(original(value)) or passes[-1]
    loss, count = model.loss(batch(labels))
    first, second = passes[0].detach().double().chunk(2)
    if several:
        first, second = (torch.stack((F.logsigmoid(x), F.logsigmoid(-x)), -1) for x in (first, second))
    else:
        first, second = (torch.log_softmax(x, -1) for x in (first, second))
    divergence = sum((p.exp() * (p - q)).sum() / 2 for p, q in ((first, second), (second, first)))
    twice = [label_loss(x, labels, None) for x in passes[0].chunk(2)]
    torch.testing.assert_close(loss.double(), (sum(twice) / 2).double() + 2 * divergence)
    assert count == 3 and divergence > 0


@pytest.mark.parametrize("several", [False, True])
def test_encoder_and_ngrams_learn_apart_and_their_probabilities_to_some_powers_are_multiplied(several):
    labels = torch.eye(3) if several else torch.tensor([2, 0, 1])
    torch.manual_seed(5)
    model = ClassificationModel(config(ngrams=1), 30, 3, several, known_ngrams=30).eval()
    given, layer = batch(labels), model.ngrams
    names = named_ngrams(torch.arange(30)[None], torch.tensor([30]), torch.tensor([0]), 1)[1][1:]  # without the mark
    layer.names.copy_(names.sort()[0])
    torch.nn.init.normal_(layer.weight), torch.nn.init.normal_(layer.bias), torch.nn.init.uniform_(layer.rarity)
    layer.mixture.copy_(torch.tensor([0.3, 0.9]))
    scores = [model._encoded(given), layer(given.pieces, given.lengths, given.owners)]
    assert scores[1].std() > 0.1
    if several:
        yes, no = (torch.sigmoid(s * scores[0]) ** 0.3 * torch.sigmoid(s * scores[1]) ** 0.9 for s in (1, -1))
        p = yes / (yes + no)
    else:
        p = torch.softmax(scores[0], -1) ** 0.3 * torch.softmax(scores[1], -1) ** 0.9
        p = p / p.sum(-1, keepdim=True)
    torch.testing.assert_close(model.probabilities(given), p)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.parts(given)
        assert rounded.dtype == torch.float32 and torch.equal(
            model.mixed(rounded), 0.3 * rounded[:, 0] + 0.9 * rounded[:, 1]
        )
    torch.testing.assert_close(model.train().loss(given)[0], label_loss(scores[0], labels, None))


def test_all_parameters_learn_but_the_ngrams_and_have_their_depth():
    model = ClassificationModel(config(pooling="attention", ngrams=1), 30, 3, known_ngrams=4)
    model.loss(batch(torch.tensor([2, 0, 1])))[0].backward()
    learned = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.sum().isfinite()}
    assert learned == {name for name, _ in model.named_parameters() if not name.startswith("ngrams.")}
    depths = {name: model.depth(name) for name, _ in model.named_parameters()}
    assert depths["head.weight"] == depths["pooling.weight_score"] == 0
    assert depths["encoder.layers.1.bias_input"] == 1 and depths["encoder.layers.0.bias_input"] == 2
    assert depths["embedding.weight"] == 3
