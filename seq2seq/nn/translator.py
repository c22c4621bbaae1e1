"""The translation model: token ids in, loss, log probabilities or next-token logits out.

Shapes: B batch, S source length, T target length, rows = B * K hypotheses, E embedding, V target vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.config import ModelConfig
from seq2seq.nn.decoder import Decoder, DecoderState, Memory
from seq2seq.nn.encoder import Encoder
from seq2seq.nn.functional import dropout, dropout_mask
from seq2seq.nn.initialization import initialize
from seq2seq.nn.loss import label_log_probs, output_cross_entropy
from seq2seq.text.batching import Batch


class TranslationModel(nn.Module):
    """GRU encoder-decoder (Cho et al. 2014; Bahdanau et al. 2015)."""

    def __init__(self, config: ModelConfig, source_vocab: int, target_vocab: int, joint: bool) -> None:
        """Builds the model with initial weights.

        Args:
            config: Sizes and structure.
            source_vocab: Pieces of the source vocabulary.
            target_vocab: Pieces of the target vocabulary, V.
            joint: Both are one vocabulary, so that `tie_source_target` can share its embeddings.
        """
        super().__init__()
        self.config = config
        self.target_embedding = nn.Embedding(target_vocab, config.embedding_size)
        tied = joint and config.tie_source_target
        self.source_embedding = None if tied else nn.Embedding(source_vocab, config.embedding_size)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.output = None if config.tie_output else nn.Parameter(torch.empty(target_vocab, config.embedding_size))
        self.output_bias = nn.Parameter(torch.zeros(target_vocab))
        initialize(self, config)

    @property
    def output_weight(self) -> Tensor:
        """(V, E): rows of the output layer."""
        return self.target_embedding.weight if self.output is None else self.output

    def _embed(self, ids: Tensor, source: bool) -> Tensor:
        """Embeddings (..., E) of ids (...), with dropout of entries and of whole words in training."""
        table = self.source_embedding if source and self.source_embedding is not None else self.target_embedding
        embedded = dropout(F.embedding(ids, table.weight), self.config.dropout_embedding, self.training)
        if self.training and self.config.word_dropout > 0:
            # no rescaling: a missing word is not a louder sentence
            keep = 1 - self.config.word_dropout
            embedded = embedded * (dropout_mask((*ids.shape, 1), self.config.word_dropout, embedded) * keep)
        return embedded

    def encode(self, source: Tensor, source_lengths: Tensor) -> Memory:
        """Memory of B sentences from ids (B, S), padded, and lengths (B,)."""
        states, last, first = self.encoder(self._embed(source.t(), source=True), source_lengths)
        return self.decoder.remember(states, last, first, source_lengths)

    def _readouts(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Readouts (R, E), labels (R,) and places (R,) in time-major (T * B,) rows of the R real target tokens."""
        real = _real(batch)
        memory = self.encode(batch.source, batch.source_lengths)
        target = batch.target.t()  # (T + 1, B)
        hidden, _ = self.decoder(self._embed(target[:-1], source=False), memory)
        return hidden.flatten(0, 1).index_select(0, real), target[1:].flatten().index_select(0, real), real

    def forward(self, batch: Batch, label_smoothing: float = 0.0) -> tuple[Tensor, int]:
        """Summed cross-entropy in nats, and the number of target tokens (end of sentence included) in the sum."""
        hidden, labels, _ = self._readouts(batch)
        loss = output_cross_entropy(hidden, self.output_weight, self.output_bias, labels, label_smoothing)
        return loss, len(labels)

    loss = forward

    @torch.no_grad()
    def log_probs(self, batch: Batch) -> Tensor:
        """log p (B, T) of each target token given the source and the tokens before it; 0 at padding."""
        hidden, labels, real = self._readouts(batch)
        batch_size, steps = batch.target.shape[0], batch.target.shape[1] - 1
        flat = hidden.new_zeros(steps * batch_size)
        flat[real] = label_log_probs(hidden, self.output_weight, self.output_bias, labels)
        return flat.view(steps, batch_size).t()

    def initial_state(self, memory: Memory) -> DecoderState:
        """Decoder state before the first token, one row a sentence."""
        return self.decoder.initial_state(memory)

    def step(self, tokens: Tensor, state: DecoderState, memory: Memory) -> tuple[Tensor, DecoderState, Tensor | None]:
        """One decoding step.

        Args:
            tokens: (rows,) previous tokens; rows n K .. n K + K - 1 belong to sentence n.
            state: Of the rows.
            memory: Of the B sentences.

        Returns:
            Logits (rows, V), next state, attention weights (rows, S) or None.
        """
        hidden, state, weights = self.decoder.step(self._embed(tokens, source=False), state, memory)
        logits = F.linear(hidden, self.output_weight).to(hidden.dtype) + self.output_bias
        return logits, state, weights


def _real(batch: Batch) -> Tensor:
    """Indices, into time-major (T * B,) rows, of the target tokens that are no padding."""
    steps = batch.target.shape[1] - 1
    time = torch.arange(steps, device=batch.target.device)[:, None]
    return (time < batch.target_lengths).flatten().nonzero()[:, 0]
