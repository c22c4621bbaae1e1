"""The tokenised corpus: ids of the text, cached, the same batches from any position."""

from __future__ import annotations

import mmap
import time

import datasets
import numpy as np
import pytest
import torch

from seq2seq.config import TokenizerConfig
from seq2seq.text import cache as cache_module
from seq2seq.text import data as data_module
from seq2seq.text.batching import batch_order, collate
from seq2seq.text.data import TranslationData
from seq2seq.text.tokenizer import Tokenizer


def order(sides, **options):
    return batch_order(*sides, **{"batch_tokens": 500, "batch_sentences": 0, "seed": 1, "epoch": 0, **options})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    return tmp_path / "cache"


WORDS = "red green blue old new small large house garden river walks sleeps sings".split()
SOURCES = [" ".join(WORDS[(i * j) % len(WORDS)] for j in range(1, 2 + i % 9)) for i in range(300)]
TARGETS = [" ".join(reversed(text.split())) + " !" for text in SOURCES]
SOURCES[7], TARGETS[11], SOURCES[13] = "", "  ", "house " * 60


@pytest.fixture(scope="module")
def tokenizers():
    config = TokenizerConfig(vocab_size=330)
    return Tokenizer.train(SOURCES, config, 1), Tokenizer.train(TARGETS, config, 1)


@pytest.fixture
def corpus(tmp_path):
    made = datasets.Dataset.from_dict({"source": SOURCES, "target": TARGETS})
    made.save_to_disk(str(tmp_path / "made"))
    return datasets.load_from_disk(str(tmp_path / "made"))


def expected_batch(tokenizers, sources, targets):
    specials = {"source_eos": 3, "target_bos": 2, "target_eos": 3, "source_pad": 0, "target_pad": 0}
    return collate(tokenizers[0].encode(sources), tokenizers[1].encode(targets), **specials)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_dropped_pairs_are_counted(corpus, tokenizers):
    data = TranslationData.prepare(corpus, *tokenizers, max_length=50, drop_empty=True)
    assert data.dropped == {"empty side": 2, "more than 50 pieces": 1}
    kept = [i for i in range(300) if i not in (7, 11, 13)]
    assert len(data) == 297
    assert data.source_texts(range(297)) == [SOURCES[i] for i in kept]
    assert data.target_texts([0, 296, 10]) == [TARGETS[kept[i]] for i in (0, 296, 10)]
    assert data.source_lengths.tolist() == [len(ids) + 1 for ids in tokenizers[0].encode([SOURCES[i] for i in kept])]
    assert data.target_lengths.tolist() == [len(ids) + 1 for ids in tokenizers[1].encode([TARGETS[i] for i in kept])]
    everything = TranslationData.prepare(corpus, *tokenizers, max_length=0, drop_empty=False)
    assert len(everything) == 300 and set(everything.dropped.values()) == {0}
    assert everything.source_lengths[7] == 1 and everything.target_texts([11]) == ["  "]


@pytest.mark.parametrize("in_memory", [False, True])
def test_batches_hold_the_ids_of_the_text(corpus, tokenizers, in_memory):
    if in_memory:
        corpus = datasets.Dataset.from_dict({"source": SOURCES, "target": TARGETS})
    data = TranslationData.prepare(corpus, *tokenizers, max_length=0, drop_empty=False)
    batches = order((data.source_lengths, data.target_lengths), batch_tokens=200)
    made = list(data.batches(batches, seed=1, epoch=0))
    assert len(made) == len(batches) > 10
    for indices, batch in zip(batches, made, strict=True):
        wanted = expected_batch(tokenizers, [SOURCES[i] for i in indices], [TARGETS[i] for i in indices])
        assert same(batch, wanted)
        assert len(indices) == 1 or max(batch.source.numel(), batch.target[:, 1:].numel()) <= 200


def test_a_selection_of_a_corpus(corpus, tokenizers):
    data = TranslationData.prepare(corpus.select([200, 3, 100]), *tokenizers, max_length=0, drop_empty=True)
    assert data.source_texts([0, 1, 2]) == [SOURCES[i] for i in (200, 3, 100)]
    wanted = expected_batch(tokenizers, [SOURCES[100], SOURCES[200]], [TARGETS[100], TARGETS[200]])
    assert same(data.fetch(np.array([2, 0])), wanted)


def test_both_directions(corpus, tokenizers, monkeypatch):
    """The second half is the first with source and target changed over; nothing is tokenised twice."""
    joint = tokenizers[0]
    one = TranslationData.prepare(corpus, joint, joint, max_length=50, drop_empty=True)
    monkeypatch.setattr(Tokenizer, "encode", None)
    both = TranslationData.prepare(corpus, joint, joint, max_length=50, drop_empty=True, both_directions=True)
    monkeypatch.undo()
    assert len(one) == 297 and len(both) == 594 and both.dropped == one.dropped
    rows = np.array([3, 200, 297 + 3, 297 + 200])
    sources, targets = one.source_texts(rows[:2]), one.target_texts(rows[:2])
    assert both.source_texts(rows) == sources + targets and both.target_texts(rows) == targets + sources
    assert same(both.fetch(rows), expected_batch((joint, joint), sources + targets, targets + sources))
    assert same(both.fetch(rows[:2]), one.fetch(rows[:2]))


def test_tokens_are_cached_and_memory_mapped(corpus, tokenizers, cache, monkeypatch):
    TranslationData.prepare(corpus, *tokenizers, max_length=50, drop_empty=True)
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*.arrow")}
    assert len(files) == 1
    with monkeypatch.context() as patch:
        patch.setattr(Tokenizer, "encode", lambda *_: pytest.fail("tokenised again"))
        data = TranslationData.prepare(corpus, *tokenizers, max_length=5, drop_empty=True)
    assert data._tokens.cache_files and data.dropped["more than 5 pieces"] > 1
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.arrow")} == files
    TranslationData.prepare(corpus, tokenizers[1], tokenizers[0], max_length=50, drop_empty=True)
    assert len(list(cache.rglob("*.arrow"))) == 2  # another tokenizer, another file


def test_threads_change_no_byte(corpus, tokenizers, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(data_module, "BLOCK_ROWS", 17)
    monkeypatch.setattr(cache_module, "SHARD_ROWS", 60)
    made = []
    for threads in (1, 3):
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / str(threads))
        data = TranslationData.prepare(corpus, *tokenizers, max_length=0, drop_empty=True, threads=threads)
        made.append({p.name: p.read_bytes() for p in (tmp_path / str(threads)).rglob("*.arrow")})
        texts = data.source_texts(range(298))
        assert data.source_lengths.tolist() == [len(ids) + 1 for ids in tokenizers[0].encode(texts)]
    assert made[0] == made[1] and len(made[0]) == 5


def test_tokenising_goes_on_after_an_interruption(corpus, tokenizers, monkeypatch):
    monkeypatch.setattr(data_module, "BLOCK_ROWS", 10)
    monkeypatch.setattr(cache_module, "SHARD_ROWS", 100)
    encode, calls = Tokenizer.encode, []

    def interrupted(self, texts):
        calls.append(len(texts))
        if len(calls) == 51:  # two of a block: in the third shard
            raise KeyboardInterrupt
        return encode(self, texts)

    monkeypatch.setattr(Tokenizer, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        TranslationData.prepare(corpus, *tokenizers, max_length=0, drop_empty=False)
    calls[:] = [0] * 100
    data = TranslationData.prepare(corpus, *tokenizers, max_length=0, drop_empty=False)
    assert sum(calls) == 2 * 100
    monkeypatch.undo()
    assert same(data.fetch(np.arange(300)), expected_batch(tokenizers, SOURCES, TARGETS))


def test_lengths_and_rows_are_memory_mapped(corpus, tokenizers):
    data = TranslationData.prepare(corpus, *tokenizers, max_length=0, drop_empty=True)
    for array in (data._rows, data.source_lengths, data.target_lengths):
        while isinstance(array, np.ndarray) and array.base is not None:
            array = array.base
        assert isinstance(array, mmap.mmap)
    nothing = datasets.Dataset.from_dict({"source": ["", "a"], "target": ["b", ""]})
    assert len(TranslationData.prepare(nothing, *tokenizers, max_length=0, drop_empty=True)) == 0


@pytest.mark.parametrize("sampling", [0.0, 0.3])
def test_a_resumed_run_sees_the_same_batches(corpus, tokenizers, sampling):
    data = TranslationData.prepare(corpus, *tokenizers, max_length=0, drop_empty=True)
    batches = order((data.source_lengths, data.target_lengths), batch_tokens=300)
    options = {"sampling": sampling, "seed": 5, "epoch": 2}
    unbroken = list(data.batches(batches, **options))
    for start in (0, 1, len(batches) - 1, len(batches)):
        resumed = list(data.batches(batches, start=start, **options))
        assert len(resumed) == len(batches) - start
        assert all(same(a, b) for a, b in zip(resumed, unbroken[start:], strict=True))


def test_sampling_segments_anew_each_epoch(corpus, tokenizers):
    data = TranslationData.prepare(corpus, *tokenizers, max_length=0, drop_empty=True)
    batches = [np.arange(100)] * 2

    def drawn(**options):
        return list(data.batches(batches, **{"sampling": 0.3, "seed": 5, "epoch": 0, **options}))

    first = drawn()
    for other in (drawn(epoch=1), drawn(seed=6), list(reversed(first)), drawn(sampling=0.0)):
        assert not same(first[0], other[0])
    for batch in first:
        assert tokenizers[0].decode(batch.source.tolist()) == [text.strip() for text in data.source_texts(range(100))]
        assert tokenizers[1].decode(batch.target.tolist()) == data.target_texts(range(100))
        lengths_found = [row.index(3) + 1 for row in batch.source.tolist()]
        assert batch.source_lengths.tolist() == lengths_found


def test_batches_can_be_left_early_and_carry_errors(corpus, tokenizers):
    data = TranslationData.prepare(corpus, *tokenizers, max_length=0, drop_empty=True)
    batches = [np.arange(10)] * 100
    for _ in data.batches(batches, seed=1, epoch=0):
        break
    with pytest.raises(IndexError):
        list(data.batches([np.array([10**6])], seed=1, epoch=0))


def test_fetching_is_quick(corpus, tokenizers):
    data = TranslationData.prepare(corpus, *tokenizers, max_length=0, drop_empty=True)
    random = np.random.default_rng(0)
    best = float("inf")
    for _ in range(20):
        indices = random.choice(len(data), 64, replace=False)
        start = time.perf_counter()
        data.fetch(indices)
        best = min(best, time.perf_counter() - start)
    assert best < 0.01  # about 0.5 ms on an idle core
