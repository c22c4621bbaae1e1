"""A corpus read while it is trained on: its windows, where they begin again, what they share with a prepared corpus."""

from __future__ import annotations

import json

import datasets
import numpy as np
import pytest
import torch

from seq2seq.config import DataConfig, TokenizerConfig
from seq2seq.errors import ConfigError, CorpusError
from seq2seq.text import streaming
from seq2seq.text.corpus import load_corpus, stream_corpus
from seq2seq.text.data import TranslationData
from seq2seq.text.streaming import PairStream, StreamedData
from seq2seq.text.tokenizer import Tokenizer

WORDS = "red green blue old new small large house garden river walks sleeps sings".split()
SOURCES = [" ".join(WORDS[(i * j) % len(WORDS)] for j in range(1, 2 + i % 9)) + f" {i}" for i in range(300)]
TARGETS = [" ".join(reversed(text.split())) + " !" for text in SOURCES]
SOURCES[7], TARGETS[11] = "", "  "
LIMITS = {"batch_tokens": 200, "batch_sentences": 0, "seed": 3}


@pytest.fixture(autouse=True)
def small_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(streaming, "BLOCK_ROWS", 40)
    datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def tokenizers():
    both = Tokenizer.train(SOURCES + TARGETS, TokenizerConfig(vocab_size=330), 1)
    return both, both


@pytest.fixture(params=["parquet", "jsonl"])
def data(tmp_path, request):
    write = {"parquet": "to_parquet", "jsonl": "to_json"}[request.param]
    for shard, rows in enumerate(np.array_split(np.arange(300), 3)):
        part = {"en": [SOURCES[i] for i in rows], "de": [TARGETS[i] for i in rows]}
        getattr(datasets.Dataset.from_dict(part), write)(
            str(tmp_path / f"train-{shard:05d}-of-00003.{request.param}"), batch_size=30
        )
    return DataConfig(data=str(tmp_path), source="en", target="de")


def opened(data, tokenizers, window, both=False):
    stream = PairStream(*stream_corpus(data, "train"), data)
    return StreamedData(stream, tokenizers, window=window, max_length=200, both_directions=both)


def batches(source, epoch, start=0, **options):
    order = source.order(epoch, **LIMITS)
    return list(source.batches(order, **{"start": start, "sampling": 0.1, "seed": 3, "epoch": epoch, **options}))


def same(some, others):
    return len(some) == len(others) and all(
        torch.equal(x, y) for a, b in zip(some, others, strict=True) for x, y in zip(a, b, strict=True)
    )


def texts(source, epoch):
    """Of an epoch, in the order of the stream."""
    rows = np.sort(np.concatenate(source.order(epoch, **LIMITS)[:]))
    return source._window(epoch).source_texts(rows)


@pytest.mark.parametrize("both", [False, True])
def test_a_stream_within_one_window_is_a_prepared_corpus(data, tokenizers, both):
    corpus = load_corpus(data, "train")
    prepared = TranslationData.prepare(corpus, *tokenizers, max_length=200, drop_empty=True, both_directions=both)
    streamed = opened(data, tokenizers, 1000, both)
    assert len(prepared) == (596 if both else 298)
    for epoch in (0, 1, 2):
        assert same(batches(streamed, epoch), batches(prepared, epoch))


def test_windows_follow_each_other_and_begin_again(data, tokenizers):
    streamed = opened(data, tokenizers, 80)
    seen = [text for epoch in range(6) for text in texts(streamed, epoch)]
    usable = [SOURCES[i] for i in range(300) if i not in (7, 11)]
    assert seen[: len(usable)] == usable  # windows of 80, 80, 80 and 60 rows
    assert seen[len(usable) :] == usable[: len(seen) - len(usable)] and len(seen) == len(usable) + 158
    assert len(opened(data, tokenizers, 80)._window(0)) == 78


def test_a_run_goes_on_in_the_middle_of_a_stream(data, tokenizers):
    """And a run that has gone on does so again, from what it has told."""
    unbroken = opened(data, tokenizers, 80)
    made, places = [], []
    for epoch in range(6):
        places.append(json.dumps(unbroken.place(epoch)))
        made.append(batches(unbroken, epoch))
    for epoch, place in enumerate(places[:-1]):
        resumed = opened(data, tokenizers, 80)
        resumed.go_to(epoch, json.loads(place))
        resumed.order(0, **LIMITS)  # as the trainer asks for it
        assert same(batches(resumed, epoch, start=2), made[epoch][2:])
        assert same(batches(resumed, epoch + 1), made[epoch + 1])
        again = opened(data, tokenizers, 80)
        again.go_to(epoch + 1, json.loads(json.dumps(resumed.place(epoch + 1))))
        assert same(batches(again, epoch + 1), made[epoch + 1])


def test_processes_share_each_batch(data, tokenizers):
    whole = batches(opened(data, tokenizers, 80), 0, sampling=0.0)
    parts = [batches(opened(data, tokenizers, 80), 0, sampling=0.0, share=slice(rank, None, 2)) for rank in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(first.source_lengths, batch.source_lengths[0::2])
        if second is not None:
            assert torch.equal(second.source_lengths, batch.source_lengths[1::2])


def test_errors(data, tokenizers, tmp_path):
    (tmp_path / "valid.tsv").write_text("a\tb\n")
    with pytest.raises(CorpusError, match=r"valid\.tsv: --streaming reads Parquet files, JSONL files and data sets of"):
        stream_corpus(data, "valid")
    with pytest.raises(CorpusError, match="has no split 'test'"):
        stream_corpus(data, "test")
    with pytest.raises(CorpusError, match="no column 'fr'"):
        opened(DataConfig(data=data.data, source="fr", target="de"), tokenizers, 80).order(0, **LIMITS)
    with pytest.raises(ConfigError, match="begun without --streaming"):
        opened(data, tokenizers, 80).order(3, **LIMITS)
    broken = opened(data, tokenizers, 80)
    broken.go_to(1, {"nonsense": 1})
    with pytest.raises(CorpusError, match="the stream cannot be read"):
        broken.order(1, **LIMITS)


def test_nothing_of_use(tmp_path, tokenizers):
    (tmp_path / "train.jsonl").write_text('{"en": "a", "de": ""}\n' * 90)
    data = DataConfig(data=str(tmp_path / "train.jsonl"), source="en", target="de")
    with pytest.raises(CorpusError, match="no usable pairs to train on"):
        opened(data, tokenizers, 40).order(0, **LIMITS)
    (tmp_path / "train.jsonl").write_text('{"en": "a", "de": ""}\n' * 90 + '{"en": "a", "de": "b"}\n')
    streamed = opened(data, tokenizers, 40)
    assert [len(streamed._window(epoch)) for epoch in (0, 1)] == [1, 1]
    assert len(PairStream(*stream_corpus(data, "train"), data).first(50)) == 50
