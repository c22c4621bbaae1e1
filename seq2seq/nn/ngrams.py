"""A linear layer on the n-grams of a text: what a bag of words can tell, beside the encoder.

Shapes: B texts, W windows of them, S longest window, F different n-grams of all texts, K labels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seq2seq.nn.functional import dropout

MOST_WEIGHTS = 2_600_000
"""Buckets times labels at most."""

MOST_BUCKETS = 1 << 17

SCALE = 4.0
"""Length of a text's feature vector: the larger, the faster the weights act at a given learning rate."""


class NgramLayer(nn.Module):
    """Scores of labels: the sum of a weight for each different n-gram of a text, divided by the root of their number.

    N-grams are hashed into buckets (Weinberger et al. 2009, arXiv:0902.2206), so there is no list of them to keep; the
    weights begin at zero.
    """

    def __init__(self, longest: int, labels: int, drop: float) -> None:
        """Builds the layer.

        Args:
            longest: N-grams of 1 to this many pieces.
            labels: K.
            drop: Probability that an n-gram is left out in training.
        """
        super().__init__()
        buckets = 1 << max((MOST_WEIGHTS // labels).bit_length() - 1, 8)
        self.longest, self.drop, self.buckets = longest, drop, min(buckets, MOST_BUCKETS)
        self.weight = nn.Parameter(torch.zeros(self.buckets, labels))

    def features(self, pieces: Tensor, lengths: Tensor, owners: Tensor) -> tuple[Tensor, Tensor]:
        """Text (F,), ascending, and bucket (F,) of each different n-gram; a mark begins each window, EOS ends it."""
        real = torch.arange(pieces.shape[1] + 1, device=pieces.device) <= lengths[:, None]  # (W, S + 1)
        marked = F.pad(pieces + 1, (1, 0))
        keys, code = [], torch.zeros_like(marked)
        for n in range(min(self.longest, marked.shape[1])):  # a text has no longer n-grams
            steps = marked.shape[1] - n
            code = code[:, :steps] * 1_000_003 + marked[:, n:] + 1
            mixed = (code ^ (code >> 29)) * 0x1B873593 + n
            bucket = ((mixed ^ (mixed >> 31)) & 0x7FFFFFFF) % self.buckets
            keys.append((owners[:, None] * self.buckets + bucket)[real[:, n:]])
        found = torch.unique(torch.cat(keys))
        return found // self.buckets, found % self.buckets

    def forward(self, pieces: Tensor, lengths: Tensor, owners: Tensor) -> Tensor:
        """Scores (B, K) of texts whose windows are pieces (W, S), padded, of some lengths (W,) and owners (W,)."""
        texts, buckets = self.features(pieces, lengths, owners)
        counts = torch.bincount(texts)
        offsets = counts.cumsum(0) - counts
        weights = dropout(SCALE / counts.to(self.weight.dtype).sqrt()[texts], self.drop, self.training)
        return F.embedding_bag(buckets, self.weight, offsets, mode="sum", per_sample_weights=weights)
