"""Token ids to vectors, with dropout of entries and of whole pieces.

Shapes: V vocabulary, E embedding.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from seq2seq.config import EncoderConfig
from seq2seq.nn.functional import dropout, dropout_mask


def embedding_scale(config: EncoderConfig) -> float:
    """What rows of the table are multiplied by: the root of E (as Vaswani et al. 2017, section 3.4), or 1.

    A table that is the output layer too must begin with rows of about unit length, or the first logits are far too
    large; what the recurrence reads may be larger, and with Adam, whose steps do not know the scale, then also moves
    faster.
    """
    return config.embedding_size**0.5 if config.scale_embedding else 1.0


def embed(ids: Tensor, table: Tensor, config: EncoderConfig, training: bool) -> Tensor:
    """Rows (..., E) of a table (V, E) for ids (...), scaled as configured; dropout in training only."""
    embedded = dropout(F.embedding(ids, table), config.dropout_embedding, training, embedding_scale(config))
    if training and config.word_dropout > 0:
        # no rescaling: a missing word is not a louder sentence
        keep = 1 - config.word_dropout
        embedded = embedded * (dropout_mask((*ids.shape, 1), config.word_dropout, embedded) * keep)
    return embedded
