"""Gradients of a step: sums over batches and over halves of them, for the real models; how a lack of memory looks."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
import torch

from seq2seq.config import ClassifierConfig, ModelConfig
from seq2seq.nn.classifier import ClassificationModel
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.batching import Batch, WeightedBatch, collate
from seq2seq.text.labels import LabelledBatch
from seq2seq.training.distributed import ALONE
from seq2seq.training.gradients import out_of_memory, sum_gradients

CPU = torch.device("cpu")
SPECIALS = {"source_eos": 3, "target_bos": 2, "target_eos": 3, "source_pad": 0, "target_pad": 0}


def _ids(rows: int, longest: int, seed: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(4, 20, random.integers(0, longest)).tolist() for _ in range(rows)]


def _gradients(model, batches) -> tuple[tuple[float, int], dict[str, torch.Tensor]]:
    model.zero_grad()
    sums = sum_gradients(ALONE.learner(model), batches, CPU, contextlib.nullcontext(), 0.1)
    assert sums is not None
    return sums, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def _labelled(texts: int) -> LabelledBatch:
    """Texts of one to three windows."""
    random = np.random.default_rng(texts)
    owners = np.repeat(np.arange(texts), random.integers(1, 4, texts))
    lengths = random.integers(1, 9, len(owners))
    pieces = random.integers(4, 20, (len(owners), lengths.max())) * (np.arange(lengths.max()) < lengths[:, None])
    return LabelledBatch(*map(torch.from_numpy, (pieces, lengths, owners, random.integers(0, 3, texts))))


def _model(kind: str) -> torch.nn.Module:
    torch.manual_seed(1)
    off = {"dropout": 0.0, "dropout_embedding": 0.0, "word_dropout": 0.0}
    if kind == "translation":
        sizes = {"embedding_size": 8, "encoder_size": 8, "decoder_size": 8, "attention_size": 8, "dropout_readout": 0.0}
        model = TranslationModel(ModelConfig(**sizes, **off), 20, 20, joint=True)
    else:
        sizes = {"embedding_size": 8, "encoder_size": 8, "dropout_pooled": 0.0}
        model = ClassificationModel(ClassifierConfig(**sizes, **off), 20, 3)
    return model.double().train()


@pytest.mark.parametrize("kind", ["translation", "classification"])
@pytest.mark.parametrize("rows", [2, 5, 8])
def test_halves_of_a_batch_give_the_same_sums_as_the_batch(kind, rows):
    model = _model(kind)
    batch = collate(_ids(rows, 9, 1), _ids(rows, 12, 2), **SPECIALS) if kind == "translation" else _labelled(rows)
    halves = batch.halves()
    assert len(halves) == 2
    (whole, count), gradients = _gradients(model, [batch])
    (parts, counted), summed = _gradients(model, halves)
    assert counted == count and parts == pytest.approx(whole, rel=1e-12)
    for name, gradient in gradients.items():
        torch.testing.assert_close(summed[name], gradient, rtol=1e-9, atol=1e-11)


def test_what_counts_nothing_adds_gradients_alone():
    model = _model("translation")
    batch = collate(_ids(4, 9, 1), _ids(4, 12, 2), **SPECIALS)
    weighted = WeightedBatch(batch, torch.tensor([3.0, -2.0, 1.0, -9.0]))
    (whole, count), apart = _gradients(model, [batch])
    (nothing, none), own = _gradients(model, [weighted])
    (both, counted), together = _gradients(model, [batch, weighted])
    assert (nothing, none) == (0, 0) and (both, counted) == (whole, count)
    for name, gradient in together.items():
        torch.testing.assert_close(gradient, apart[name] + own[name])
    broken = WeightedBatch(batch, torch.full((4,), torch.nan))
    assert math.isnan(_gradients(model, [batch, broken])[0][0])


def test_batches_that_find_no_memory_in_being_made():
    def made(error):
        yield collate([[5]], [[6]], **SPECIALS)
        raise error

    model = ALONE.learner(_model("translation"))
    asked = {"device": CPU, "autocast": contextlib.nullcontext(), "smoothing": 0.1}
    assert sum_gradients(model, made(MemoryError()), **asked) is None
    with pytest.raises(RuntimeError, match="something else"):
        sum_gradients(model, made(RuntimeError("something else")), **asked)


def test_halves_of_pairs_are_the_batches_that_their_pairs_would_make():
    sources, targets = _ids(5, 9, 1), _ids(5, 12, 2)
    first, second = collate(sources, targets, **SPECIALS).halves()
    for half, part in ((first, slice(0, 3)), (second, slice(3, 5))):
        expected = collate(sources[part], targets[part], **SPECIALS)
        assert all(map(torch.equal, half, expected))
    (only,) = collate([[5]], [[6]], **SPECIALS).halves()
    assert isinstance(only, Batch)


def test_halves_of_texts_keep_their_windows_and_labels():
    batch = _labelled(5)
    first, second = batch.halves()
    assert first.labels.tolist() + second.labels.tolist() == batch.labels.tolist()
    assert first.owners.tolist() + (second.owners + 3).tolist() == batch.owners.tolist()
    assert torch.cat((first.lengths, second.lengths)).tolist() == batch.lengths.tolist()
    rows = [row[:n].tolist() for half in (first, second) for row, n in zip(half.pieces, half.lengths, strict=True)]
    assert rows == [row[:n].tolist() for row, n in zip(batch.pieces, batch.lengths, strict=True)]
    assert all(half.pieces.shape[1] == half.lengths.max() for half in (first, second))
    assert len(_labelled(1).halves()) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 1 bytes"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (MemoryError(), True),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors(error, expected):
    assert out_of_memory(error) is expected


def test_a_real_lack_of_memory_is_one():
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**50, dtype=torch.float64)
    assert out_of_memory(found.value)
