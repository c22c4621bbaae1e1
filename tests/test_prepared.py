"""The prepared model against the plain one: step by step, and against the training path."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from seq2seq.config import ModelConfig, SearchConfig
from seq2seq.inference import prepared
from seq2seq.inference.prepared import PreparedModel
from seq2seq.inference.search import search
from seq2seq.nn import kernels
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.batching import Batch

SMALL = ModelConfig(embedding_size=12, encoder_size=10, decoder_size=14, attention_size=9)
SOURCE, LENGTHS = torch.tensor([[4, 5, 6, 7, 3], [9, 4, 3, 0, 0], [3, 0, 0, 0, 0]]), torch.tensor([5, 3, 1])
KINDS = [
    {"attention": attention, "reset_after": reset_after, "readout": readout, "decoder_layers": layers,
     "encoder_layers": 3 - layers, "query_token": (readout == "tanh") == reset_after, "attend_embedding": layers == 1}
    for attention, reset_after, readout, layers in itertools.product(
        ("bahdanau", "none"), (True, False), ("tanh", "maxout"), (1, 2)
    )
]  # fmt: skip


def _model(**options: object) -> TranslationModel:
    torch.manual_seed(0)
    model = TranslationModel(dataclasses.replace(SMALL, **options), 13, 11, joint=False)  # type: ignore[arg-type]
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


@torch.no_grad()
def _difference(model: TranslationModel, fast: PreparedModel) -> float:
    """Largest difference of the logits, over their spread, in some steps of two hypotheses a sentence."""
    memory, other = model.encode(SOURCE, LENGTHS), fast.encode(SOURCE, LENGTHS)
    rows = torch.arange(3).repeat_interleave(2)
    state, fast_state = model.initial_state(memory).select(rows), fast.initial_state(other).select(rows)
    worst = 0.0
    for t in range(5):
        tokens = (torch.arange(6) + t) % 11
        logits, state, weights = model.step(tokens, state, memory)
        found, fast_state, fast_weights = fast.step(tokens, fast_state, other)
        assert found.dtype == logits.dtype and (weights is None) == (fast_weights is None)
        worst = max(worst, float((found - logits).abs().max() / logits.std()))
        if weights is not None and worst < 1e-9:
            torch.testing.assert_close(fast_weights, weights)
    return worst


@pytest.mark.parametrize("options", KINDS, ids=lambda options: "-".join(map(str, options.values())))
def test_a_step_is_that_of_the_model(options, monkeypatch):
    model = _model(**options)
    assert _difference(model, PreparedModel(model)) < 1e-5
    assert 1e-4 < _difference(model, PreparedModel(model, torch.bfloat16)) < 0.15
    if hasattr(torch, "_int_mm"):
        assert 1e-4 < _difference(model, PreparedModel(model, torch.int8)) < 0.4
    model = model.double()
    assert _difference(model, PreparedModel(model)) < 1e-12
    monkeypatch.setattr(prepared, "TABLE_NUMBERS", 0)
    assert _difference(model, PreparedModel(model)) < 1e-12


@pytest.mark.parametrize("options", [{}, {"query_token": False}, {"attend_embedding": False}], ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_as_one_piece_of_work(monkeypatch, options, threads):
    """Where the matrix unit and compiled code do all of a step, it is the same as piece by piece."""
    monkeypatch.setattr(kernels, "THREADED", 1)
    model = _model(embedding_size=32, encoder_size=16, decoder_size=64, **options)
    fast = PreparedModel(model, torch.bfloat16)
    if fast.compiled is None:
        pytest.skip("no matrix unit (AMX) on this machine, or no compiled kernels")
    assert 1e-4 < _difference(model, fast) < 0.15
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            memory, tokens = fast.encode(SOURCE, LENGTHS), torch.arange(6) % 11
            state = fast.initial_state(memory).select(torch.arange(3).repeat_interleave(2))
            logits, following, weights = fast.step(tokens, state, memory)
            alone, _, _ = fast.step(tokens[2:4], state.select(torch.tensor([2, 3])), memory.select(torch.tensor([1])))
            assert torch.equal(alone, logits[2:4])  # whatever is beside it
            fast.compiled = None
            expected, expected_state, expected_weights = fast.step(tokens, state, memory)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
    torch.testing.assert_close(following.hidden, expected_state.hidden, rtol=0, atol=1e-6)
    torch.testing.assert_close(weights, expected_weights, rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [1, 4, 11, 30])
@pytest.mark.parametrize("block", [32, 64])
def test_the_best_pieces_of_a_step(monkeypatch, count, block):
    """They are those of its logits, over several blocks of rows, of which the last is not full."""
    monkeypatch.setattr(prepared, "NEAR_LOGITS", 11 * block)
    monkeypatch.setattr(kernels, "THREADED", 1)
    model = _model(embedding_size=32, encoder_size=16, decoder_size=64)
    fast = PreparedModel(model, torch.bfloat16)
    if fast.compiled is None:
        pytest.skip("no matrix unit (AMX) on this machine, or no compiled kernels")
    hypotheses = 25
    with torch.no_grad():
        memory, tokens = fast.encode(SOURCE, LENGTHS), torch.arange(3 * hypotheses) % 11
        state = fast.initial_state(memory).select(torch.arange(3).repeat_interleave(hypotheses))
        state.hidden[70] = torch.nan  # of no use to anybody, and to no other row either
        logits, following, weights = fast.step(tokens, state, memory)
        best, places, other, other_weights = fast.best(tokens, state, memory, count, [2, 5])
    torch.testing.assert_close(other.hidden, following.hidden, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(other_weights, weights, rtol=0, atol=0, equal_nan=True)
    log_probs = torch.log_softmax(logits, -1)
    log_probs[:, [2, 5]] = -torch.inf
    log_probs[70] = -torch.inf
    assert best.shape == places.shape == (75, min(count, 11))
    torch.testing.assert_close(best, log_probs.sort(-1, descending=True)[0][:, :count], rtol=0, atol=2e-6)
    torch.testing.assert_close(best, log_probs.gather(1, places), rtol=0, atol=2e-6)
    assert all(len(set(row)) == best.shape[1] for row in places.tolist())


def test_what_compiled_code_may_not_read_goes_another_way():
    model = _model(embedding_size=32, encoder_size=16, decoder_size=64)
    fast, never = PreparedModel(model, torch.bfloat16), [2]
    if fast.compiled is None:
        pytest.skip("no matrix unit (AMX) on this machine, or no compiled kernels")
    with torch.no_grad():
        memory, tokens = fast.encode(SOURCE, LENGTHS), torch.arange(6)
        state = fast.initial_state(memory).select(torch.arange(3).repeat_interleave(2))
        expected = fast.step(tokens, state, memory)[0]
        narrow = memory._replace(lengths=LENGTHS.int())
        apart = memory._replace(lengths=torch.stack((LENGTHS, LENGTHS), 1)[:, 0])
        for other in (narrow, apart):
            assert fast.best(tokens, state, other, 3, never) is None
            torch.testing.assert_close(fast.step(tokens, state, other)[0], expected, rtol=0, atol=1e-5)
        for wrong in (tokens - 1, tokens + 6):
            assert fast.best(wrong, state, memory, 3, never) is None
            with pytest.raises(IndexError):
                fast.step(wrong, state, memory)
        assert fast.best(tokens[:5], state.select(torch.arange(5)), memory, 3, never) is None
        for piece in (-1, 11):
            with pytest.raises(IndexError, match="of 11"):
                fast.best(tokens, state, memory, 3, [2, piece])


@pytest.mark.parametrize("options", [{}, {"min_length": 4}, {"no_repeat_ngram": 2}, {"max_length": 5}], ids=str)
def test_a_search_by_the_best_pieces_finds_the_same(options):
    model = _model(embedding_size=32, encoder_size=16, decoder_size=64)
    fast = PreparedModel(model, torch.bfloat16)
    if fast.compiled is None:
        pytest.skip("no matrix unit (AMX) on this machine, or no compiled kernels")
    for beam_size in (1, 4, 6):  # 6: more continuations than pieces
        config = SearchConfig(beam_size=beam_size, n_best=min(beam_size, 3), **options)
        ends = {"bos_id": 2, "eos_id": 3, "pad_id": 0, "prefix": [[4], [], [5, 6]], "with_attention": True}
        found = search(fast, SOURCE, LENGTHS, config, **ends)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PreparedModel, "best", None)
            expected = search(fast, SOURCE, LENGTHS, config, **ends)
        for mine, other in zip(found, expected, strict=True):
            assert [one.ids for one in mine] == [one.ids for one in other]
            assert [one.log_prob for one in mine] == pytest.approx([one.log_prob for one in other], abs=1e-5)


@pytest.mark.parametrize("attention", ["bahdanau", "none"])
def test_decoding_path_is_the_training_path(attention):
    model = _model(attention=attention, decoder_layers=2)
    target, lengths = torch.tensor([[2, 4, 5, 3], [2, 6, 3, 0], [2, 3, 0, 0]]), torch.tensor([3, 2, 1])
    expected = model.log_probs(Batch(SOURCE, LENGTHS, target, lengths))
    fast = PreparedModel(model)
    with torch.no_grad():
        memory = fast.encode(SOURCE, LENGTHS)
        state = fast.initial_state(memory)
        for t in range(3):
            logits, state, _ = fast.step(target[:, t], state, memory)
            found = torch.log_softmax(logits, -1).gather(1, target[:, t + 1 : t + 2])[:, 0]
            torch.testing.assert_close(found * (t < lengths), expected[:, t], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_it_keeps_the_weights_of_when_it_was_made(precision):
    model = _model()
    fast = PreparedModel(model, precision)

    @torch.no_grad()
    def logits() -> torch.Tensor:
        memory = fast.encode(SOURCE, LENGTHS)
        return fast.step(torch.tensor([4, 5, 6]), fast.initial_state(memory), memory)[0]

    before = logits()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(logits(), before) and before.std() > 0.1
