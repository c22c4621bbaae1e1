"""Vectors of texts against the encoder itself, one text at a time; projections against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from models import small_tokenizer, write_model

from seq2seq import Translator
from seq2seq.errors import ConfigError
from seq2seq.inference.vectors import embed_stream, neighbours, principal_components

TEXTS = ["a cat", "two men eat red apples in the park", "", "a dog\nruns"]


@pytest.fixture(scope="module", params=["none", "bahdanau"])
def translator(request, tmp_path_factory):
    tokenizer = small_tokenizer(320)
    folder = tmp_path_factory.mktemp("models") / request.param
    path = write_model(folder, tokenizer, 1, attention=request.param, encoder_layers=2)
    return Translator.from_pretrained(path, precision="float32")


@pytest.mark.parametrize("kind", ["summary", "mean"])
def test_vectors_are_those_of_each_text_alone(translator, kind):
    found = list(embed_stream(translator, TEXTS, kind, window=3, batch_tokens=30))
    model, tokenizer = translator.models[0], translator.source_tokenizer
    for text, vector in zip(TEXTS, found, strict=True):
        ids = torch.tensor([*tokenizer.encode([text.replace("\n", " ")])[0], tokenizer.eos_id])
        with torch.no_grad():
            states, last, first = model.encoder(model._embed(ids[:, None], source=True), torch.tensor([len(ids)]))
            expected = states[:, 0].mean(0)
            if kind == "summary":
                expected = torch.cat((last, first), -1)[0]
                if model.decoder.attention is False:
                    weight, bias = model.decoder.summarize.weight, model.decoder.summarize.bias
                    expected = torch.tanh(weight @ expected + bias)
        assert vector.shape == (24,) and np.allclose(vector, expected.numpy(), atol=1e-5)


def test_vectors_of_several_models_are_refused(translator):
    both = Translator.__new__(Translator)
    both.models = translator.models * 2
    with pytest.raises(ConfigError, match="give --model once"):
        embed_stream(both, TEXTS)


def test_principal_components_keep_most_of_the_differences():
    vectors = np.random.default_rng(1).normal(size=(50, 8)).astype(np.float32) * [9, 5, 1, 1, 1, 1, 1, 1]
    points = principal_components(vectors)
    centred = vectors - vectors.mean(0)
    values = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    assert points.shape == (50, 2) and np.allclose((points**2).sum(0), values[:2], rtol=1e-4)
    assert principal_components(vectors[:1]).tolist() == [[0, 0]]


def test_neighbours_stay_neighbours():
    pytest.importorskip("sklearn", reason="t-SNE needs scikit-learn (extra `bench`)")
    random = np.random.default_rng(1)
    vectors = np.concatenate([random.normal(size=(10, 6)), random.normal(size=(10, 6)) + 30]).astype(np.float32)
    points = neighbours(vectors, seed=1)
    centres = points[:10].mean(0), points[10:].mean(0)
    near = np.linalg.norm(points - centres[0], axis=1) < np.linalg.norm(points - centres[1], axis=1)
    assert near.tolist() == [True] * 10 + [False] * 10
    with pytest.raises(ConfigError, match="at least 5 vectors"):
        neighbours(vectors[:4], seed=1)
