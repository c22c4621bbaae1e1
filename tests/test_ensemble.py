"""Several models as one: the mean of their probabilities and of their attention."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from toys import BOS, EOS, OPTIONS, SOURCES, ToyModel, close, run

from seq2seq.errors import ConfigError
from seq2seq.inference.ensemble import Ensemble


def test_an_ensemble_of_equal_models_is_the_model():
    model = ToyModel(13)
    for options in OPTIONS:
        assert close(run(Ensemble([model, model, model]), SOURCES, **options), run(model, SOURCES, **options))


def test_an_ensemble_averages_probabilities():
    models = [ToyModel(14), ToyModel(15)]
    found = run(Ensemble(models), SOURCES, beam_size=4, n_best=3, with_attention=True)
    for source, hypotheses in zip(SOURCES, found, strict=True):
        for h in hypotheses:
            memories = [model.encode(torch.tensor([source]), torch.tensor([len(source)])) for model in models]
            states = [model.initial_state(memory) for model, memory in zip(models, memories, strict=True)]
            total, rows = 0.0, []
            for previous, piece in itertools.pairwise([BOS, *h.ids, EOS]):
                p, weights = 0.0, torch.zeros(len(source), dtype=torch.float64)
                for m, model in enumerate(models):
                    logits, states[m], attention = model.step(torch.tensor([previous]), states[m], memories[m])
                    p += float(torch.softmax(logits.double(), -1)[0, piece]) / 2
                    weights += attention[0] / 2
                total += np.log(p)
                rows.append(weights)
            assert h.log_prob == pytest.approx(total, abs=1e-4)
            assert h.attention is not None and torch.allclose(h.attention, torch.stack(rows).float(), atol=1e-5)


def test_an_ensemble_refuses_vocabularies_of_different_sizes():
    class Wider(ToyModel):
        def step(self, tokens, state, memory):
            logits, state, weights = super().step(tokens, state, memory)
            return torch.nn.functional.pad(logits, (0, 2)), state, weights

    with pytest.raises(ConfigError, match=r"different sizes \(7, 9\).*--tokenizer"):
        run(Ensemble([ToyModel(), Wider()]), SOURCES)
    with pytest.raises(ConfigError, match="at least one model"):
        Ensemble([])
