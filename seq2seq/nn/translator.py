"""The translation model: token ids in, loss, log probabilities or next-token logits out.

Shapes: B batch, S source length, T target length, rows = B * K hypotheses, E embedding, V target vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.config import ModelConfig
from seq2seq.nn.decoder import Decoder, DecoderState, Memory
from seq2seq.nn.embedding import embed
from seq2seq.nn.encoder import Encoder
from seq2seq.nn.initialization import initialize
from seq2seq.nn.loss import label_log_probs, output_cross_entropy
from seq2seq.text.batching import Batch, WeightedBatch


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
        return embed(ids, table.weight, self.config, self.training)

    def encode(self, source: Tensor, source_lengths: Tensor) -> Memory:
        """Memory of B sentences from ids (B, S), padded, and lengths (B,)."""
        return self._remember(self._embed(source.t(), source=True), source_lengths)

    def _remember(self, embedded: Tensor, source_lengths: Tensor) -> Memory:
        """Memory of B sentences from embeddings (S, B, E)."""
        states, last, first = self.encoder(embedded, source_lengths)
        parts = (states, embedded) if self.decoder.attends_embedding else (states,)
        return self.decoder.remember(parts, last, first, source_lengths)

    def _readouts(self, batch: Batch, passes: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """Readouts of the R real target tokens, the whole batch passed once or several times.

        Returns:
            Readouts (passes * R, E), labels (R,) and places (R,) of the tokens in time-major (T * B,) rows.
        """
        time, sentence = _real(batch).unbind(1)
        width = len(batch.target)
        labels = batch.target[sentence, time + 1]
        repeated = Batch(*(torch.cat((part,) * passes) for part in batch)) if passes > 1 else batch
        read, written = repeated.source.t(), repeated.target.t()[:-1]
        if self.source_embedding is None:
            # looked up at once: each look-up has a gradient of the size of the table
            both = self._embed(torch.cat((read.flatten(), written.flatten())), source=True)
            first, second = both.split((read.numel(), written.numel()))
            source, embedded = first.view(*read.shape, -1), second.view(*written.shape, -1)
        else:
            source, embedded = self._embed(read, source=True), self._embed(written, source=False)
        memory = self._remember(source, repeated.source_lengths)
        hidden, _ = self.decoder(embedded, memory)
        places = torch.cat([time * width * passes + i * width + sentence for i in range(passes)])
        return hidden.flatten(0, 1).index_select(0, places), labels, time * width + sentence

    def forward(self, batch: Batch | WeightedBatch, label_smoothing: float = 0.0) -> tuple[Tensor, int]:
        """Summed loss in nats, and the number of target tokens (end of sentence included) in the sum.

        The loss is the cross-entropy; in training with `r_drop` the mean of two passes and their divergence. Of pairs
        with weights it is their weighted log probabilities, negated, and no token is counted.
        """
        if isinstance(batch, WeightedBatch):
            hidden, labels, places = self._readouts(batch.pairs)
            shares = batch.weights[places % len(batch.weights)]
            return output_cross_entropy(hidden, self.output_weight, self.output_bias, labels, 0.0, shares=shares), 0
        divergence = self.config.r_drop if self.training else 0.0
        hidden, labels, _ = self._readouts(batch, 2 if divergence else 1)
        loss = output_cross_entropy(hidden, self.output_weight, self.output_bias, labels, label_smoothing, divergence)
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
    """Step and sentence (R, 2) of the target tokens that are no padding, step by step."""
    steps = batch.target.shape[1] - 1
    time = torch.arange(steps, device=batch.target.device)[:, None]
    return (time < batch.target_lengths).nonzero()
