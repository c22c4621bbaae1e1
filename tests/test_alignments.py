"""Pieces joined to words, against SentencePiece's own decoding; word matrices against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seq2seq.config import TokenizerConfig
from seq2seq.inference.alignments import WordAttention, join_pieces, links, pharaoh, word_attention
from seq2seq.text.tokenizer import Tokenizer


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ("▁A ▁star ring ▁man .", ["A", "starring", "man."]),
        ("A ▁man", ["A", "man"]),
        ("▁ A", ["A"]),  # a space that is a piece of its own
        ("▁a ▁ ▁ ▁b", ["a", "b"]),
        ("▁a ▁", ["a"]),
        ("a▁ man▁", ["a", "man"]),  # spaces as suffixes, which SentencePiece can be told to write
        ("▁<0xF0>", ["<0xF0>"]),  # no byte, but text that looks like one
        ("▁ <0xC3> <0xA9> t <0xC3> <0xA9>", ["été"]),
        ("▁x <0xFF> <0x41>", ["x\ufffdA"]),
        ("▁私は 犬 が 好き 。", ["私は", "犬", "が", "好き", "。"]),
        ("▁ <0xE7> <0x8A> <0xAC> <0xE7> <0x8C> <0xAB> ▁ok", ["犬", "猫", "ok"]),
        ("▁GRU を 使う", ["GRU", "を", "使う"]),
        ("▁ไป \u0e35\u0e48 ไหน", ["ไป\u0e35\u0e48", "ไหน"]),  # marks stay with their character
        ("▁नम स्ते", ["नमस्ते"]),
        ("", []),
        ("▁ ▁", []),
    ],
)
def test_words_and_their_pieces(pieces, words):
    pieces = pieces.split()
    found = join_pieces(pieces)
    assert [word.text for word in found] == words
    covered = [position for word in found for position in range(word.start, word.end)]
    assert covered == (list(range(len(pieces))) if words else [])


def test_words_are_those_between_spaces_of_the_decoded_text():
    text = ["the cat sat, on the mat; it's 5 o'clock!", "ein Wörterbuch für alle Fälle", "ÿ ñandú ☂ zz"]
    tokenizer = Tokenizer.train(text[:2] * 10, TokenizerConfig(vocab_size=330), seed=1)
    for ids in tokenizer.encode(text):
        assert [word.text for word in join_pieces(tokenizer.pieces(ids))] == tokenizer.decode([ids])[0].split()


def test_weights_are_summed_over_source_pieces_and_averaged_over_target_pieces():
    source, target = ["▁a", "b", "▁c", "d", "e", "▁f"], ["▁x", "▁y", "z"]
    weights = torch.softmax(torch.randn(4, 7, generator=torch.Generator().manual_seed(1)), -1)
    found = word_attention(target, source, weights)
    assert (found.source, found.target) == (["ab", "cde", "f"], ["x", "yz"])
    columns, rows = [(0, 1), (2, 3, 4), (5,), (6,)], [(0,), (1, 2), (3,)]
    expected = [
        [sum(float(weights[t, s]) for t in row for s in column) / len(row) for column in columns] for row in rows
    ]
    assert np.allclose(found.weights, expected, atol=1e-6)
    assert np.allclose(found.weights.sum(1), 1, atol=1e-6)


def test_without_words_only_the_end_of_the_sentence_is_left():
    assert word_attention([], [], [[1.0]]).weights.tolist() == [[1.0]]
    found = word_attention(["▁"], ["▁a"], [[0.25, 0.75], [1, 0]])
    assert (found.target, found.weights.tolist()) == ([], [[0.625, 0.375]])
    assert links(found) == [] and pharaoh([]) == ""


def test_links_in_the_format_of_pharaoh():
    weights = np.array([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1], [0.3, 0.3, 0.4], [0, 0, 1]], dtype=np.float32)
    attention = WordAttention(["a", "b"], ["x", "y", "z"], weights)
    assert links(attention) == [(1, 0), (0, 1), (0, 2)]  # never to the end of the sentence; the first of equals
    assert pharaoh(links(attention)) == "0-1 0-2 1-0"
