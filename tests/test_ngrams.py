"""N-grams and their scores against loops over the text, window by window."""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections import Counter

import pytest
import torch

from seq2seq.config import TokenizerConfig
from seq2seq.nn.ngrams import NgramLayer, named_ngrams, named_words, spelling, sums
from seq2seq.text.tokenizer import Tokenizer

PIECES = torch.tensor([[7, 8, 7, 8, 3], [9, 3, 0, 0, 0], [7, 3, 0, 0, 0], [5, 6, 3, 0, 0]])
LENGTHS = torch.tensor([5, 2, 2, 3])
OWNERS = torch.tensor([0, 1, 1, 2])
BATCH = PIECES, LENGTHS, OWNERS
TEXTS = [[[7, 8, 7, 8, 3]], [[9, 3], [7, 3]], [[5, 6, 3]]]


def grams(windows: list[list[int]], longest: int) -> Counter[tuple[int, ...]]:
    """N-grams of a text and how often each occurs; -1 marks where a window begins."""
    found = Counter()
    for window in ([-1, *window] for window in windows):
        for n in range(1, longest + 1):
            found.update(tuple(window[i : i + n]) for i in range(len(window) - n + 1))
    return found


@pytest.mark.parametrize("longest", [1, 2, 3, 9])
def test_a_name_for_each_different_ngram(longest):
    """As many as the loop finds and as often, and two texts share as many as the loop says that they share."""
    texts, names = named_ngrams(*BATCH, longest)
    found = [Counter(names[texts == text].tolist()) for text in range(3)]
    expected = [grams(windows, longest) for windows in TEXTS]
    for mine, loop in zip(found, expected, strict=True):
        assert sorted(mine.values()) == sorted(loop.values())
        assert sum(name % 2 for name in mine) == sum(len(gram) == 1 for gram in loop)
    for i, j in itertools.product(range(3), repeat=2):
        assert len(found[i].keys() & found[j].keys()) == len(expected[i].keys() & expected[j].keys())


def test_no_two_of_many_ngrams_have_one_name():
    ids = torch.randint(4, 32_000, (1, 100_000))
    names = named_ngrams(ids, torch.tensor([100_000]), torch.tensor([0]), 3)[1]
    pairs, triples = ({tuple(gram) for gram in ids.unfold(1, n, 1)[0].tolist()} for n in (2, 3))
    with_mark = 1 + 1 + 1  # alone, before a piece, before two
    assert len(names.unique()) == with_mark + len(ids.unique()) + len(pairs) + len(triples)


def layer_of(known: list[tuple[int, ...]]) -> tuple[NgramLayer, dict[tuple[int, ...], int]]:
    """A layer that knows some n-grams, with random numbers; and the place of each."""
    named = {}
    for gram in known:
        row = torch.tensor([gram])
        names = named_ngrams(row, torch.tensor([len(gram)]), torch.tensor([0]), len(gram))[1]
        named[gram] = int(names[-1])  # the mark's is before the whole
    layer = NgramLayer(3, len(known), 2, vocab=10)
    layer.names.copy_(torch.tensor(sorted(named.values())))
    torch.nn.init.normal_(layer.weight), torch.nn.init.normal_(layer.bias), torch.nn.init.uniform_(layer.rarity)
    return layer, {gram: sorted(named.values()).index(name) for gram, name in named.items()}


def test_scores_equal_a_loop_over_the_known_ngrams_and_padding_has_no_part():
    layer, place = layer_of([(7,), (8,), (3,), (7, 8), (8, 7), (7, 8, 7), (8, 3), (6,)])
    scores = layer(*BATCH)
    for row, windows in zip(scores, TEXTS, strict=True):
        counts = {gram: count for gram, count in grams(windows, 3).items() if gram in place}
        values = {gram: (1 + math.log(count)) * layer.rarity[place[gram]] for gram, count in counts.items()}
        norm = math.sqrt(sum(float(value) ** 2 for value in values.values()))
        expected = layer.bias + sum(value / norm * layer.weight[place[gram]] for gram, value in values.items())
        torch.testing.assert_close(row, expected)
    padded = torch.cat((PIECES, torch.full((4, 3), 7)), 1)
    torch.testing.assert_close(layer(padded, LENGTHS, OWNERS), scores)


def test_a_text_of_unknown_ngrams_has_the_bias():
    layer, _ = layer_of([(7,), (7, 8)])
    scores = layer(*BATCH)
    torch.testing.assert_close(scores[2], layer.bias)
    assert not torch.allclose(scores[0], layer.bias)


def test_sums_are_a_sparse_product():
    dense, sparse = torch.randn(5, 3), torch.randn(4, 5) * (torch.rand(4, 5) < 0.5)
    sparse[2] = 0
    rows, columns = sparse.nonzero(as_tuple=True)
    torch.testing.assert_close(sums(rows, 4, columns, sparse[rows, columns], dense), sparse @ dense)


WORDY = [
    "Who wrote Hamlet ? who wrote it",
    "Straße, STRASSE; die Straßen: (vier) - 3rd 42 x-y_z don't",
    "ÉTÉ été e\u0301te\u0301 नमस्ते दुनिया",
    "日本語のテスト です",
    "!!! ...",
    "",
    "\U0001f600 gone \U0001f600gone",
]


def encoded(tokenizer: Tokenizer, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A padded batch, each row a text."""
    ended = [[*row, tokenizer.eos_id] for row in rows]
    lengths = torch.tensor([len(row) for row in ended])
    pieces = torch.full((len(rows), int(lengths.max())), tokenizer.pad_id)
    for i, row in enumerate(ended):
        pieces[i, : len(row)] = torch.tensor(row)
    return pieces, lengths, torch.arange(len(rows))


def words_of(text: str) -> list[str]:
    """Letters, digits and marks of letters between everything else, in lower case."""
    return re.findall(
        r"(?:[^\W_]|[\u0300-\u036f\u0900-\u0903\u093a-\u094f])+", unicodedata.normalize("NFKC", text).lower()
    )


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_words_and_pairs_of_words_as_a_regular_expression_finds_them(kind):
    """As many and as often, the same name for the same words of different texts, whatever pieces they are cut into."""
    config = TokenizerConfig(vocab_size=400, tokenizer_type=kind, normalization="nfkc")
    tokenizer = Tokenizer.train([line for line in WORDY if "gone" not in line] * 5 + ["gone"], config, 1)
    spelt = spelling(tokenizer.texts())
    texts, names = named_words(*encoded(tokenizer, tokenizer.encode(WORDY)), spelt)
    meant: dict[object, int] = {}
    for i, text in enumerate(WORDY):
        words = words_of(text)
        expected = Counter([*words, *itertools.pairwise(words)])
        found = Counter(names[texts == i].tolist())
        assert sorted(found.values()) == sorted(expected.values()), text
        for kind, grams in ((1, words), (0, itertools.pairwise(words))):
            own = [int(name) for name in names[texts == i] if name % 2 == kind]
            assert [meant.setdefault(gram, name) for gram, name in zip(grams, own, strict=True)] == own
    assert len(set(meant.values())) == len(meant) and "gone" in meant
    for seed in range(3):
        cut = tokenizer.sample(WORDY, seed, 0.5)
        others, again = named_words(*encoded(tokenizer, cut), spelt)
        assert torch.equal(texts, others) and torch.equal(names, again)


def test_no_two_of_many_words_have_one_name_nor_that_of_a_piece():
    spelt = spelling(["", *(f"\u2581{i:x}" for i in range(50_000))])
    row = torch.arange(1, 50_001)[None], torch.tensor([50_000]), torch.tensor([0])
    names = torch.cat((named_words(*row, spelt)[1], named_ngrams(*row, 2)[1]))
    assert len(names.unique()) == len(names) == 50_000 + 49_999 + 50_001 + 50_000
    assert int(named_words(*row, spelt)[1][0]) % 2 == 1


def test_no_two_pairs_of_short_words_have_one_name():
    """Numbers of words are polynomials: those of pairs must not be another."""
    words = ["".join(letters) for n in (1, 2, 3) for letters in itertools.product("abc1", repeat=n)]
    spelt = spelling(["", *(f"\u2581{word}" for word in words)])
    pairs = torch.tensor(list(itertools.product(range(1, len(words) + 1), repeat=2)))
    _, names = named_words(pairs, torch.full((len(pairs),), 2), torch.arange(len(pairs)), spelt)
    assert len(names[names % 2 == 0].unique()) == len(pairs) == len(words) ** 2
    assert len(names[names % 2 == 1].unique()) == len(words)


def test_what_is_a_part_of_a_word():
    """Either case and either sigma; no signs, no piece of several words, no sign that only chooses how one is drawn."""
    pieces = ["\u2581\u039f\u03a3", "\u03bf\u03c2", "\u2581e\u0301", "\u0915\u093f", "42", "\u2581"]
    spelt = spelling([*pieces, "", "<", "a-b", "\u2581of\u2581the", "the\u2581", "\ufe0f", "\u20e3", "_"])
    assert spelt[0, :2].tolist() == spelt[1, :2].tolist() and spelt[:2, 2].tolist() == [1, 0]
    assert (spelt[:, 1] != 0).tolist() == [True] * 5 + [False] * 9


def test_words_of_a_batch_do_not_reach_into_the_next_window():
    spelt = spelling(["", "\u2581a", "b", "\u2581c"])
    pieces = torch.tensor([[1, 2, 3], [2, 3, 0], [3, 1, 2]])
    texts, names = named_words(pieces, torch.tensor([3, 2, 3]), torch.tensor([0, 0, 1]), spelt)
    assert texts.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 1]  # ab c, b c, c ab, and their pairs
    ab, c, b, c_again, c_third, ab_again, ab_c, b_c, c_ab = names.tolist()
    assert ab == ab_again and c == c_again == c_third and len({ab, b, c, ab_c, b_c, c_ab}) == 6


def test_a_layer_with_words_scores_them_too():
    layer, spelt = NgramLayer(1, 3, 2, vocab=4), spelling(["", "\u2581a", "b", "\u2581c"])
    layer.spelling.copy_(spelt)
    row = torch.tensor([[1, 2, 3]]), torch.tensor([3]), torch.tensor([0])
    layer.names.copy_(named_words(*row, spelt)[1].sort()[0])
    torch.nn.init.ones_(layer.rarity), torch.nn.init.normal_(layer.weight)
    torch.testing.assert_close(layer(*row)[0], layer.weight.sum(0) / math.sqrt(3))
