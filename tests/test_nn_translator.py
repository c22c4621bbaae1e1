"""The whole model: one path for training and decoding, padding without influence, options that do what they say."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor

from seq2seq.config import ModelConfig
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.batching import Batch

SMALL = ModelConfig(
    embedding_size=6, encoder_size=5, decoder_size=7, attention_size=4, dropout=0.0, dropout_embedding=0.0,
    dropout_readout=0.0,
)  # fmt: skip
V_SOURCE, V_TARGET, PAD, BOS, EOS = 13, 11, 0, 2, 3


def _model(**options: object) -> TranslationModel:
    torch.manual_seed(0)
    model = TranslationModel(dataclasses.replace(SMALL, **options), V_SOURCE, V_TARGET, joint=False)  # type: ignore[arg-type]
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.double()


def _batch(sources: list[list[int]], targets: list[list[int]]) -> Batch:
    def pad(rows: list[list[int]]) -> Tensor:
        width = max(len(row) for row in rows)
        return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])

    source, target = [[*row, EOS] for row in sources], [[BOS, *row, EOS] for row in targets]
    return Batch(
        pad(source), torch.tensor([len(r) for r in source]), pad(target), torch.tensor([len(r) - 1 for r in target])
    )


BATCH = _batch([[4, 5, 6, 7, 8], [9, 4], []], [[5, 6], [7, 8, 9, 10], [4]])

VARIANTS = [
    {"attention": attention, "reset_after": reset_after, "readout": readout, "encoder_layers": n, "decoder_layers": n}
    for attention, reset_after, (readout, n) in itertools.product(
        ("bahdanau", "none"), (True, False), (("tanh", 1), ("maxout", 2), ("tanh", 3))
    )
]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda o: "-".join(str(v) for v in o.values()))
class TestOnePath:
    def test_teacher_forcing_equals_steps(self, options: dict[str, object]) -> None:
        """Loss and gradients of `forward` are those of a loop over `step` with PyTorch's cross-entropy."""
        model = _model(**options)
        expected = torch.zeros((), dtype=torch.float64)
        memory = model.encode(BATCH.source, BATCH.source_lengths)
        state = model.initial_state(memory)
        for t in range(BATCH.target.shape[1] - 1):
            logits, state, _ = model.step(BATCH.target[:, t], state, memory)
            losses = torch.nn.functional.cross_entropy(
                logits, BATCH.target[:, t + 1], label_smoothing=0.1, reduction="none"
            )
            expected = expected + losses[t < BATCH.target_lengths].sum()
        trained = [p for p in model.parameters() if p.requires_grad]
        theirs = torch.autograd.grad(expected, trained)
        loss, count = model.loss(BATCH, 0.1)
        ours = torch.autograd.grad(loss, trained)
        assert count == 10
        torch.testing.assert_close(loss, expected)
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other)

    def test_neighbours_and_padding_change_nothing(self, options: dict[str, object]) -> None:
        model = _model(**options).eval()
        together = model.log_probs(BATCH)
        for i in range(3):
            s, t = int(BATCH.source_lengths[i]), int(BATCH.target_lengths[i])
            alone = Batch(
                BATCH.source[i : i + 1, :s], BATCH.source_lengths[i : i + 1],
                BATCH.target[i : i + 1, : t + 1], BATCH.target_lengths[i : i + 1],
            )  # fmt: skip
            torch.testing.assert_close(model.log_probs(alone)[0], together[i, :t])
            assert (together[i, t:] == 0).all()


@pytest.mark.parametrize("beyond", [False, True])
def test_equals_the_papers_equations(beyond: bool) -> None:
    """Bahdanau et al. 2015, appendix A, for one sentence and three target tokens.

    Beyond the paper embeddings and the deep output are scaled, embeddings are attended to beside the states, and the
    query sees y_{t-1}.
    """
    model = _model(
        reset_after=False, readout="maxout", query_token=beyond, attend_embedding=beyond, scale_embedding=beyond,
        readout_scale=2.5 if beyond else 1.0,
    )  # fmt: skip
    source, target = [4, 5, 6, EOS], [BOS, 7, 8, EOS]
    scale, louder = (6**0.5, 2.5) if beyond else (1.0, 1.0)
    embed = scale * model.source_embedding.weight  # type: ignore[union-attr]

    def gru(x: Tensor, h: Tensor, w: Tensor, b: Tensor, u: Tensor) -> Tensor:
        size = len(h)
        r = torch.sigmoid((w @ x + b)[:size] + u[:size] @ h)
        z = torch.sigmoid((w @ x + b)[size : 2 * size] + u[size : 2 * size] @ h)
        candidate = torch.tanh((w @ x + b)[2 * size :] + u[2 * size :] @ (r * h))
        return (1 - z) * candidate + z * h

    layer = model.encoder.layers[0]
    parts = layer.weight_input, layer.bias_input, layer.weight_recurrent
    forward, backward = [torch.zeros(5, dtype=torch.float64)], [torch.zeros(5, dtype=torch.float64)]
    for token in source:
        forward.append(gru(embed[token], forward[-1], *(part[0] for part in parts)))
    for token in reversed(source):
        backward.append(gru(embed[token], backward[-1], *(part[1] for part in parts)))
    states = [torch.cat(pair) for pair in zip(forward[1:], reversed(backward[1:]), strict=True)]
    if beyond:
        states = [torch.cat((h, embed[token])) for h, token in zip(states, source, strict=True)]
    d = model.decoder
    s = torch.tanh(d.initial.weight @ backward[-1] + d.initial.bias)
    total = torch.zeros((), dtype=torch.float64)
    for previous, label in itertools.pairwise(target):
        y = scale * model.target_embedding.weight[previous]
        query = d.query @ s + (d.query_token @ y if d.query_token is not None else 0)
        e = torch.stack([d.score @ torch.tanh(query + d.key.weight @ h + d.key.bias) for h in states])
        c = sum(a * h for a, h in zip(torch.softmax(e, 0), states, strict=True))
        s = gru(torch.cat((y, c)), s, d.gru.weight_input[0], d.gru.bias_input[0], d.gru.weight_recurrent[0])
        t = (d.readout.weight @ torch.cat((s, c, y)) + d.readout.bias).view(-1, 2).max(-1).values
        total = total + torch.log_softmax(model.target_embedding.weight @ (louder * t) + model.output_bias, 0)[label]
    torch.testing.assert_close(model.log_probs(_batch([[4, 5, 6]], [[7, 8]])).sum(), total.detach())


def test_tying_shares_weights() -> None:
    def count(joint: bool, **options: object) -> int:
        config = dataclasses.replace(SMALL, **options)  # type: ignore[arg-type]
        return sum(p.numel() for p in TranslationModel(config, V_TARGET, V_TARGET, joint).parameters())

    table = V_TARGET * 6
    assert count(True) + table == count(False) == count(True, tie_source_target=False)
    assert count(True, tie_output=False) == count(True) + table


def test_dropout_options_act_in_training_only() -> None:
    for name in ("dropout_embedding", "dropout", "dropout_readout", "dropout_state", "word_dropout"):
        model = _model(**{name: 0.5, "encoder_layers": 2, "decoder_layers": 2})
        torch.manual_seed(1)
        first = model.loss(BATCH)[0]
        torch.manual_seed(2)
        assert first != model.loss(BATCH)[0], name
        model.eval()
        plain = _model(encoder_layers=2, decoder_layers=2).eval()
        torch.testing.assert_close(model.loss(BATCH)[0], plain.loss(BATCH)[0])


def test_word_dropout_takes_whole_words_without_rescaling() -> None:
    model = _model(word_dropout=0.4, scale_embedding=False)
    embedded = model._embed(torch.full((1000,), 5), source=False)
    missing = (embedded == 0).all(-1)
    assert 0.33 < missing.float().mean() < 0.47
    assert (embedded[~missing] == model.target_embedding.weight[5]).all()


def test_r_drop_without_dropout_changes_nothing() -> None:
    """Two equal passes: the mean of their losses is that of one, and nothing diverges; padding differs by sentence."""
    results = []
    for r_drop in (0.0, 2.0):
        model = _model(r_drop=r_drop).train()
        loss, count = model.loss(BATCH, 0.1)
        loss.backward()
        results.append((loss, count, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}))
    torch.testing.assert_close(results[1], results[0])


def test_r_drop_pulls_passes_together() -> None:
    model = _model(r_drop=2.0, dropout_readout=0.5).train()
    torch.manual_seed(1)
    with_divergence, _ = model.loss(BATCH)
    model.config = dataclasses.replace(model.config, r_drop=1e-9)
    torch.manual_seed(1)
    without, _ = model.loss(BATCH)
    assert with_divergence > without
    model.eval()
    model.config = dataclasses.replace(model.config, r_drop=2.0)
    plain, _ = _model(dropout_readout=0.5).eval().loss(BATCH)
    torch.testing.assert_close(model.loss(BATCH)[0], plain)
