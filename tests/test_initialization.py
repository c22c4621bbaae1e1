"""Initial weights have the distribution their name says."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from seq2seq.config import ModelConfig
from seq2seq.nn.translator import TranslationModel

CONFIG = ModelConfig(embedding_size=64, encoder_size=48, decoder_size=80, attention_size=40, tie_output=False)


def _model(**options: object) -> TranslationModel:
    torch.manual_seed(0)
    return TranslationModel(dataclasses.replace(CONFIG, **options), 300, 200, joint=False)  # type: ignore[arg-type]


def test_recurrent_matrices_are_orthogonal_a_gate_at_a_time() -> None:
    for layer in (_model().encoder.layers[0], _model().decoder.gru):
        for direction in layer.weight_recurrent:
            for gate in direction.chunk(3):
                torch.testing.assert_close(gate @ gate.t(), torch.eye(len(gate)), rtol=0, atol=1e-5)


def test_glorot_looks_at_one_gate_not_at_the_stack() -> None:
    weight = _model().decoder.gru.weight_input[0]
    bound = (6 / (80 + weight.shape[1])) ** 0.5  # 3 x 80 rows are three matrices of 80
    assert 0.95 * bound < weight.abs().max() <= bound


@pytest.mark.parametrize(
    ("name", "std", "largest"), [("normal", 0.02, 0.2), ("truncated_normal", 0.0176, 0.04), ("uniform", 0.01155, 0.02)]
)
def test_scaled_distributions(name: str, std: float, largest: float) -> None:
    model = _model(initialization=name, initialization_scale=0.02, orthogonal_recurrent=False)
    for weight in (model.decoder.readout.weight, model.decoder.gru.weight_recurrent, model.target_embedding.weight):
        assert weight.std().item() == pytest.approx(std, rel=0.05)
        assert weight.abs().max() <= largest


def test_biases_are_zero_and_nothing_else_is() -> None:
    for name, parameter in _model().named_parameters():
        assert (parameter == 0).all() if "bias" in name else (parameter != 0).any(), name
