"""The bidirectional encoder against torch.nn.GRU over packed sequences."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seq2seq.config import ModelConfig
from seq2seq.nn.encoder import Encoder
from seq2seq.nn.gru import GRULayer

E, H = 6, 5
LENGTHS = torch.tensor([3, 7, 1, 4])


def _encoder(layers: int, **options: object) -> Encoder:
    config = ModelConfig(embedding_size=E, encoder_size=H, encoder_layers=layers, dropout=0.0, **options)  # type: ignore[arg-type]
    torch.manual_seed(0)
    encoder = Encoder(config).double()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return encoder


def _reference(layer: GRULayer, input_size: int) -> torch.nn.GRU:
    gru = torch.nn.GRU(input_size, H, bidirectional=True).double()
    with torch.no_grad():
        for d, suffix in enumerate(("", "_reverse")):
            getattr(gru, f"weight_ih_l0{suffix}").copy_(layer.weight_input[d])
            getattr(gru, f"weight_hh_l0{suffix}").copy_(layer.weight_recurrent[d])
            getattr(gru, f"bias_ih_l0{suffix}").copy_(layer.bias_input[d])
            getattr(gru, f"bias_hh_l0{suffix}").zero_()[2 * H :] = layer.bias_recurrent[d]
    return gru


@pytest.mark.parametrize("layers", [1, 3])
def test_equals_packed_torch_gru_with_residual_layers(layers: int) -> None:
    encoder = _encoder(layers)
    embedded = torch.randn(7, 4, E, dtype=torch.float64)
    states, last, first = encoder(embedded, LENGTHS)
    expected = embedded
    for i, layer in enumerate(encoder.layers):
        packed = pack_padded_sequence(expected, LENGTHS, enforce_sorted=False)
        outputs, final = _reference(layer, expected.shape[-1])(packed)  # type: ignore[arg-type]
        outputs = pad_packed_sequence(outputs)[0]
        expected = outputs if i == 0 else expected + outputs
    real = torch.arange(7)[:, None] < LENGTHS
    torch.testing.assert_close(states[real], expected[real])
    torch.testing.assert_close(last, final[0])
    torch.testing.assert_close(first, final[1])


def test_padding_gives_and_receives_no_gradient() -> None:
    encoder = _encoder(2)
    embedded = torch.randn(7, 4, E, dtype=torch.float64, requires_grad=True)
    states, last, first = encoder(embedded, LENGTHS)
    real = torch.arange(7)[:, None] < LENGTHS
    (states[real].sum() + last.sum() + first.sum()).backward()
    assert embedded.grad is not None
    assert (embedded.grad[~real] == 0).all() and (embedded.grad[real] != 0).any(-1).all()
