"""Embeddings with dropout of entries and of whole pieces."""

from __future__ import annotations

import dataclasses

import torch

from seq2seq.config import EncoderConfig
from seq2seq.nn.embedding import embed

IDS = torch.arange(2000).view(200, 10)
TABLE = torch.randn(2000, 16) + 3.0
SCALED = 4 * TABLE[IDS]
CONFIG = EncoderConfig(embedding_size=16, dropout_embedding=0.0)


def test_scaled_rows_outside_training():
    config = dataclasses.replace(CONFIG, dropout_embedding=0.5, word_dropout=0.5)
    assert torch.equal(embed(IDS, TABLE, config, training=False), SCALED)
    plain = dataclasses.replace(config, scale_embedding=False)
    assert torch.equal(embed(IDS, TABLE, plain, training=False), TABLE[IDS])


def test_whole_pieces_are_dropped_and_the_others_left_as_they_are():
    torch.manual_seed(1)
    embedded = embed(IDS, TABLE, dataclasses.replace(CONFIG, word_dropout=0.25), training=True)
    gone = (embedded == 0).all(-1)
    assert 0.2 < gone.float().mean() < 0.3
    torch.testing.assert_close(embedded[~gone], SCALED[~gone])


def test_entries_are_dropped_and_the_others_scaled():
    torch.manual_seed(1)
    embedded = embed(IDS, TABLE, dataclasses.replace(CONFIG, dropout_embedding=0.25), training=True)
    kept = embedded != 0
    assert 0.72 < kept.float().mean() < 0.78
    torch.testing.assert_close(embedded[kept], (SCALED / 0.75)[kept])
