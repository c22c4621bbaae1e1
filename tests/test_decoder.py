"""What the decoder remembers of a batch and how hypotheses use it; its equations are tested with the whole model."""

from __future__ import annotations

import dataclasses

import torch

from seq2seq.config import ModelConfig
from seq2seq.nn.translator import TranslationModel

SOURCE = torch.tensor([[4, 5, 6, 7, 3], [9, 4, 3, 0, 0], [3, 0, 0, 0, 0]])
LENGTHS = torch.tensor([5, 3, 1])


def _model(**options: object) -> TranslationModel:
    config = ModelConfig(embedding_size=6, encoder_size=5, decoder_size=7, attention_size=4, decoder_layers=2)
    torch.manual_seed(0)
    model = TranslationModel(dataclasses.replace(config, **options), 13, 11, joint=False)  # type: ignore[arg-type]
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.double()


def test_hypotheses_of_a_sentence_share_its_memory() -> None:
    """Rows n K .. n K + K - 1 see sentence n: the same numbers as with a memory copied for every row."""
    for attention in ("bahdanau", "none"):
        model = _model(attention=attention).eval()
        memory = model.encode(SOURCE, LENGTHS)
        rows = torch.arange(3).repeat_interleave(2)
        tokens = torch.tensor([4, 5, 6, 7, 8, 9])
        shared = model.step(tokens, model.initial_state(memory).select(rows), memory)
        copied = model.step(tokens, model.initial_state(memory).select(rows), memory.select(rows))
        torch.testing.assert_close(shared[0], copied[0])
        torch.testing.assert_close(shared[1].hidden, copied[1].hidden)


def test_memory_select_drops_padding_columns() -> None:
    model = _model().eval()
    memory = model.encode(SOURCE, LENGTHS).select(torch.tensor([2, 1]))
    assert memory.values.shape[:2] == (2, 3) and memory.lengths.tolist() == [1, 3] and memory.size == 2


def test_attention_weights_are_zero_at_padding_and_sum_to_one() -> None:
    model = _model().eval()
    memory = model.encode(SOURCE, LENGTHS)
    weights = model.step(torch.tensor([2, 2, 2]), model.initial_state(memory), memory)[2]
    assert weights is not None
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, dtype=torch.float64))
    assert (weights[1, 3:] == 0).all() and (weights[2, 1:] == 0).all() and (weights[0] > 0).all()


def test_fixed_summary_reaches_every_step() -> None:
    """Without attention the source acts through the summary alone: it changes the readout even at equal states."""
    model = _model(attention="none").eval()
    memory = model.encode(SOURCE, LENGTHS)
    state = model.initial_state(memory)
    same = state._replace(hidden=torch.zeros_like(state.hidden), upper=torch.zeros_like(state.upper))
    logits, _, weights = model.step(torch.tensor([5, 5, 5]), same, memory)
    assert weights is None
    assert (logits[0] - logits[1]).abs().max() > 1e-3
