"""The prepared encoder against the plain one."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from seq2seq.config import ModelConfig
from seq2seq.inference.prepared_encoder import PreparedEncoder
from seq2seq.nn.encoder import Encoder

LENGTHS = torch.tensor([6, 3, 1])


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 0.03), (torch.int8, 0.06)])
def test_states_are_those_of_the_encoder(reset_after, layers, dtype, tolerance):
    torch.manual_seed(1)
    config = ModelConfig(embedding_size=8, encoder_size=9, encoder_layers=layers)
    encoder = Encoder(dataclasses.replace(config, reset_after=reset_after)).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    encoder = encoder.double() if dtype == torch.float64 else encoder
    embedded = torch.randn(6, 3, 8, dtype=torch.float64).to(next(encoder.parameters()).dtype)
    if dtype == torch.int8 and not hasattr(torch, "_int_mm"):
        pytest.skip("this PyTorch has no int8 product")
    prepared = PreparedEncoder(encoder, dtype)
    with torch.no_grad():
        for lengths in (LENGTHS, LENGTHS[:1]):
            inputs = embedded[:, : len(lengths)]
            expected, found = encoder(inputs, lengths), prepared(inputs, lengths)
            real = torch.arange(6)[:, None] < lengths
            assert float((found[0] - expected[0])[real].abs().max()) < tolerance
            assert all(float((f - e).abs().max()) < tolerance for f, e in zip(found[1:], expected[1:], strict=True))
