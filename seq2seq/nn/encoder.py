"""Bidirectional GRU encoder.

Shapes: B batch, S source length, E embedding, H state of one direction, C = 2H.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2seq.config import EncoderConfig
from seq2seq.nn.functional import dropout, reversal_index, reverse_rows
from seq2seq.nn.gru import GRULayer


class Encoder(nn.Module):
    """Reads embedded sentences in both directions (Bahdanau et al. 2015, section 3.2).

    The reverse direction starts at each sentence's own last token, so padding always lies after the text and never
    reaches a state that is used; no masks are needed inside the recurrence.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size, self.dropout = config.encoder_size, config.dropout
        self.layers = nn.ModuleList(
            GRULayer(config.embedding_size if i == 0 else 2 * size, size, 2, config.reset_after, config.dropout_state)
            for i in range(config.encoder_layers)
        )

    def forward(self, embedded: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encodes a padded batch.

        Args:
            embedded: (S, B, E) time-major embeddings.
            lengths: (B,) tokens of each sentence, at least 1.

        Returns:
            (S, B, C) states of both directions, arbitrary at padding; (B, H) the forward direction's last state;
            (B, H) the backward direction's state at the first token.
        """
        steps, batch = embedded.shape[:2]
        index = reversal_index(lengths, steps)
        inputs = embedded
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, GRULayer)
            # `unbind`, for the gradient of a part taken by its number fills the rest with zeros
            terms, reading_back = layer.input_terms(inputs).unbind(2)  # (S, B, 3H)
            backward = reverse_rows(reading_back.flatten(0, 1), index).unflatten(0, (steps, batch))
            forward, states = layer(torch.stack((terms, backward), 1)).unbind(1)  # (S, B, H)
            restored = reverse_rows(states.flatten(0, 1), index).unflatten(0, (steps, batch))
            outputs = dropout(torch.cat((forward, restored), -1), self.dropout, self.training)  # (S, B, C)
            inputs = outputs if i == 0 else inputs + outputs
        last = forward[lengths - 1, torch.arange(batch, device=lengths.device)]
        return inputs, last, restored[0]
