"""Sentences and phrases as vectors: what the encoder makes of a text, before any word of a translation.

Legend: B texts of a batch, S longest of them in pieces, C size of encoder states, which is the size of a vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seq2seq.errors import ConfigError
from seq2seq.inference.sources import checked, one_line, windows
from seq2seq.inference.translator import Translator
from seq2seq.nn.embedding import embed
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.batching import collate, length_batches

Kind = Literal["summary", "mean"]
Vectors = NDArray[np.float32]


@torch.inference_mode()
def embed_ids(model: TranslationModel, source: Tensor, lengths: Tensor, kind: Kind) -> Tensor:
    """Vectors (B, C) of ids (B, S), padded, and lengths (B,).

    Args:
        model: In evaluation mode.
        source: Ids, each row with EOS.
        lengths: Ids and EOS of each row.
        kind: `summary` is what the decoder starts from: without attention the summary c of Cho et al. 2014, with it the
            last state of each direction. `mean` is the mean of all states.
    """
    table = model.source_embedding or model.target_embedding
    states, last, first = model.encoder(
        embed(source.t(), table.weight, model.config, training=False), lengths
    )  # (S, B, C)
    if kind == "mean":
        real = torch.arange(len(states), device=lengths.device)[:, None, None] < lengths[:, None]
        return states.where(real, 0).sum(0) / lengths[:, None]
    if model.decoder.attention:
        return torch.cat((last, first), -1)
    return model.decoder.remember((states,), last, first, lengths).summary


def embed_stream(
    translator: Translator,
    lines: Iterable[str],
    kind: Kind = "summary",
    *,
    batch_tokens: int = 4000,
    window: int = 1000,
) -> Iterator[Vectors]:
    """Vectors (C,) of texts as they come, in their order; at most `window` of them are read ahead.

    Raises:
        ConfigError: Several models, whose vectors have nothing to do with each other.
    """
    if len(translator.models) > 1:
        raise ConfigError("vectors come from one model; give --model once")
    return _stream(translator, lines, kind, batch_tokens, window)


def _stream(
    translator: Translator, lines: Iterable[str], kind: Kind, batch_tokens: int, window: int
) -> Iterator[Vectors]:
    tokenizer, model = translator.source_tokenizer, translator.models[0]
    for part in windows(((text, "") for text in checked(lines)), window):
        ids = tokenizer.encode([one_line(text) for text, _ in part])
        found: list[Vectors] = [np.empty(0, dtype=np.float32)] * len(ids)
        for group in length_batches(np.array([len(row) + 1 for row in ids]), batch_tokens):
            batch = collate(
                [ids[i] for i in group], [[]] * len(group), source_eos=tokenizer.eos_id, source_pad=tokenizer.pad_id,
                target_bos=0, target_eos=0, target_pad=0,
            ).to(translator.device)  # fmt: skip
            vectors = embed_ids(model, batch.source, batch.source_lengths, kind).float().cpu().numpy()
            for i, vector in zip(group, vectors, strict=True):
                found[i] = vector
        yield from found


def principal_components(vectors: Vectors) -> Vectors:
    """The two directions in which vectors (N, C) differ most: points (N, 2)."""
    centred = vectors - vectors.mean(0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    points = (left * scale)[:, :2]
    return np.pad(points, ((0, 0), (0, 2 - points.shape[1])))


def neighbours(vectors: Vectors, seed: int) -> Vectors:
    """Points (N, 2) whose neighbours are those of the vectors (N, C): t-SNE (van der Maaten and Hinton 2008).

    Raises:
        ConfigError: scikit-learn is not installed, or there are fewer than five vectors.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise ConfigError("tsne needs a package: pip install scikit-learn; or take pca") from None
    if len(vectors) < 5:
        raise ConfigError(f"tsne needs at least 5 vectors, got {len(vectors)}; take pca")
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)
