"""The classification model: windows of token ids in, loss or probabilities of labels out.

Shapes: B texts, W windows of them (W = B where no text is long), S longest window, C encoder states, P pooled,
K labels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.config import ClassifierConfig
from seq2seq.nn.embedding import embed
from seq2seq.nn.encoder import Encoder
from seq2seq.nn.functional import dropout, linear, tanh
from seq2seq.nn.initialization import initialize
from seq2seq.nn.ngrams import NgramLayer
from seq2seq.text.labels import LabelledBatch


class Pooling(nn.Module):
    """The states of all of a text's windows as one vector; padding has no part in it."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.kind, states = config.pooling, 2 * config.encoder_size
        self.size = 3 * states if self.kind == "concat" else states
        if self.kind == "attention":  # v . tanh(U h), softmax over all states of a text
            self.weight_hidden = nn.Parameter(torch.empty(config.attention_size, states))
            self.weight_score = nn.Parameter(torch.empty(config.attention_size))

    def forward(self, states: Tensor, ends: Tensor, lengths: Tensor, owners: Tensor) -> Tensor:
        """Pools.

        Args:
            states: (S, W, C).
            ends: (W, C) the forward direction's last state and the backward direction's state at the first token.
            lengths: (W,) tokens of each window.
            owners: (W,) text of each window, ascending from 0.

        Returns:
            (B, P).
        """
        real = torch.arange(len(states), device=lengths.device)[:, None] < lengths  # (S, W)
        parts = []
        if self.kind in ("mean", "concat"):
            total = _sums((states * real[..., None].to(states.dtype)).sum(0), owners)  # (B, C)
            parts.append(total / _sums(lengths[:, None].to(states.dtype), owners))
        if self.kind in ("max", "concat"):
            parts.append(_largest(states.masked_fill(~real[..., None], -torch.inf).amax(0), owners))
        if self.kind in ("last", "concat"):
            parts.append(_sums(ends, owners) / _sums(torch.ones_like(ends[:, :1]), owners))
        if self.kind == "attention":
            parts.append(self._attended(states, real, owners))
        return torch.cat(parts, -1)

    def _attended(self, states: Tensor, real: Tensor, owners: Tensor) -> Tensor:
        scores = linear(tanh(linear(states, self.weight_hidden)), self.weight_score[None])[..., 0]  # (S, W)
        scores = scores.masked_fill(~real, -torch.inf)
        top = _largest(scores.amax(0)[:, None], owners)[owners, 0]  # (W,) the text's highest score
        weights = (scores - top).exp()
        summed = (weights[..., None] * states).sum(0)
        return _sums(summed, owners) / _sums(weights.sum(0)[:, None], owners)


def _sums(values: Tensor, owners: Tensor) -> Tensor:
    """(B, N): sums over each text's windows of values (W, N)."""
    texts = int(owners[-1]) + 1
    return values if texts == len(owners) else values.new_zeros(texts, values.shape[1]).index_add(0, owners, values)


def _largest(values: Tensor, owners: Tensor) -> Tensor:
    """(B, N): largest over each text's windows of values (W, N)."""
    texts = int(owners[-1]) + 1
    if texts == len(owners):
        return values
    index = owners[:, None].expand_as(values)
    return values.new_full((texts, values.shape[1]), -torch.inf).scatter_reduce(0, index, values, "amax")


def label_loss(logits: Tensor, labels: Tensor, weights: Tensor | None, smoothing: float = 0.0) -> Tensor:
    """Summed cross-entropy in nats of scores (B, K).

    Args:
        logits: (B, K).
        labels: (B,) int64 the label of each text; or (B, K) floats, 1 for each that it has: K questions of yes or no.
        weights: (K,) factors of the labels' losses.
        smoothing: Mass of the target distribution that is spread evenly.
    """
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels, weight=weights, reduction="sum", label_smoothing=smoothing)
    target = labels * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weights, reduction="sum")


class ClassificationModel(nn.Module):
    """Embedding, bidirectional GRU encoder, pooling, dropout, linear head; beside them a linear layer on n-grams.

    The two learn apart, so that neither leans on the other; what the encoder cannot learn from few or long texts the
    n-grams often can. The encoder learns step by step from `loss`; the layer on n-grams has its weights from
    `seq2seq.training.logistic`, once and before. A label's probability is the product of the two, each to a power of
    its own, scaled so that all labels add up to 1 (a logarithmic pool, Genest & Zidek 1986); validation texts decide
    the two powers.
    """

    label_weights: Tensor | None

    def __init__(
        self,
        config: ClassifierConfig,
        vocab: int,
        labels: int,
        several: bool = False,
        label_weights: Tensor | None = None,
        known_ngrams: int = 0,
    ) -> None:
        """Builds the model with initial weights.

        Args:
            config: Sizes and structure.
            vocab: Pieces of the vocabulary.
            labels: K.
            several: A text may have several labels or none: each has a probability of its own.
            label_weights: (K,) factors of the labels' losses.
            known_ngrams: Size of the table of n-grams; 0: there is no layer for them, or not yet.
        """
        super().__init__()
        self.config, self.several = config, several
        self.embedding = nn.Embedding(vocab, config.embedding_size)
        self.encoder = Encoder(config)
        self.pooling = Pooling(config)
        self.head = nn.Linear(self.pooling.size, labels)
        self.register_buffer("label_weights", label_weights, persistent=False)
        initialize(self, config)
        self.ngrams = None
        if known_ngrams > 0:
            self.ngrams = NgramLayer(config.ngrams, known_ngrams, labels, vocab)

    def logits(self, batch: LabelledBatch) -> Tensor:
        """Scores (B, K) of the labels."""
        return self.mixed(self.parts(batch))

    def parts(self, batch: LabelledBatch) -> Tensor:
        """Scores (B, 1, K) of the encoder, or (B, 2, K) of the encoder and of the n-grams where there are some."""
        scores = self._encoded(batch)
        if self.ngrams is None:
            return scores[:, None]
        return torch.stack((scores, self.ngrams(batch.pieces, batch.lengths, batch.owners)), 1)

    def mixed(self, parts: Tensor) -> Tensor:
        """Scores (B, K) of those `parts`."""
        if self.ngrams is None:
            return parts[:, 0]
        return (parts * self.ngrams.mixture[:, None]).sum(1)  # no product that autocast would round

    def _encoded(self, batch: LabelledBatch) -> Tensor:
        """The encoder's scores (B, K)."""
        embedded = embed(batch.pieces.t(), self.embedding.weight, self.config, self.training)
        states, last, first = self.encoder(embedded, batch.lengths)
        pooled = self.pooling(states, torch.cat((last, first), -1), batch.lengths, batch.owners)
        pooled = dropout(pooled, self.config.dropout_pooled, self.training)
        return linear(pooled, self.head.weight, self.head.bias)

    def loss(self, batch: LabelledBatch, label_smoothing: float = 0.0) -> tuple[Tensor, int]:
        """Summed cross-entropy in nats, and the number of texts B in the sum.

        With several labels the cross-entropies of a text's K yes-no questions are added. In training it is the
        encoder's alone; with `r_drop` above 0 the encoder reads each text twice, and half the symmetric divergence of
        the two distributions, times that weight, is added to the mean of their losses (Wu et al. 2021,
        arXiv:2106.14448).
        """
        count = int(batch.owners[-1]) + 1
        if self.training and self.config.r_drop > 0:
            return self._twice(batch, count, label_smoothing), count
        logits = self._encoded(batch) if self.training else self.logits(batch)
        return label_loss(logits, batch.labels, self.label_weights, label_smoothing), count

    def _twice(self, batch: LabelledBatch, count: int, smoothing: float) -> Tensor:
        twice = LabelledBatch(
            torch.cat((batch.pieces, batch.pieces)),
            torch.cat((batch.lengths, batch.lengths)),
            torch.cat((batch.owners, batch.owners + count)),
            torch.cat((batch.labels, batch.labels)),
        )
        logits = self._encoded(twice)
        loss = label_loss(logits, twice.labels, self.label_weights, smoothing) / 2
        if self.several:
            log_p = torch.stack((F.logsigmoid(logits), F.logsigmoid(-logits)), -1)
        else:
            log_p = torch.log_softmax(logits, -1)
        first, second = log_p.split(count)
        divergence = ((first.exp() - second.exp()) * (first - second)).sum() / 2
        return loss + self.config.r_drop * divergence

    @torch.no_grad()
    def probabilities(self, batch: LabelledBatch) -> Tensor:
        """(B, K): of each label given the text; rows add up to 1 unless a text may have several."""
        return self.distribution(self.logits(batch))

    def distribution(self, logits: Tensor) -> Tensor:
        """The probabilities (B, K) of scores (B, K)."""
        return torch.sigmoid(logits) if self.several else torch.softmax(logits, -1)

    def depth(self, name: str) -> int:
        """How far below the head a parameter lies: 0 head and pooling, 1 the top encoder layer, ..., the embedding."""
        if name.startswith("encoder.layers."):
            return len(self.encoder.layers) - int(name.split(".")[2])
        return len(self.encoder.layers) + 1 if name.startswith("embedding.") else 0
