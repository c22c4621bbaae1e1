"""Initial weights, by name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2seq.config import EncoderConfig


@torch.no_grad()
def initialize(module: nn.Module, config: EncoderConfig) -> None:
    """Fills all weights of a model: matrices as `config.initialization` says, one gate of one direction at a time.

    Biases are zero. Recurrent matrices are orthogonal (Saxe et al. 2014) with `orthogonal_recurrent`. With Glorot and
    He initialisation, whose spread follows from the sizes of a matrix, embeddings are normal with standard deviation
    E^-1/2, so that logits of a tied output layer start near unit variance. A model on the meta device has no numbers.
    """
    if any(parameter.is_meta for parameter in module.parameters()):
        return
    for name, parameter in module.named_parameters():
        kind = name.rsplit(".", 1)[-1]
        if "bias" in kind:
            nn.init.zeros_(parameter)
        elif kind in ("weight_input", "weight_recurrent"):
            for gate in (gate for direction in parameter for gate in direction.chunk(3)):
                if kind == "weight_recurrent" and config.orthogonal_recurrent:
                    nn.init.orthogonal_(gate)
                else:
                    _fill(gate, config)
        elif "embedding" in name and config.initialization in ("glorot", "he"):
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        else:
            _fill(parameter if parameter.ndim == 2 else parameter[None], config)


def _fill(matrix: Tensor, config: EncoderConfig) -> None:
    scale = config.initialization_scale
    match config.initialization:
        case "glorot":
            nn.init.xavier_uniform_(matrix)
        case "he":
            nn.init.kaiming_normal_(matrix, nonlinearity="relu")
        case "normal":
            nn.init.normal_(matrix, std=scale)
        case "truncated_normal":
            nn.init.trunc_normal_(matrix, std=scale, a=-2 * scale, b=2 * scale)
        case "uniform":
            nn.init.uniform_(matrix, -scale, scale)
