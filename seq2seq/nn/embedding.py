"""Token ids to vectors, with dropout of entries and of whole pieces.

Shapes: V vocabulary, E embedding.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from seq2seq.config import EncoderConfig
from seq2seq.nn.functional import dropout, dropout_mask


def embed(ids: Tensor, table: Tensor, config: EncoderConfig, training: bool) -> Tensor:
    """Rows (..., E) of a table (V, E) for ids (...); dropout as configured, in training only."""
    embedded = dropout(F.embedding(ids, table), config.dropout_embedding, training)
    if training and config.word_dropout > 0:
        # no rescaling: a missing word is not a louder sentence
        keep = 1 - config.word_dropout
        embedded = embedded * (dropout_mask((*ids.shape, 1), config.word_dropout, embedded) * keep)
    return embedded
