"""Search against brute force, plain loops and itself, on a small recurrent model over a four-word vocabulary."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from toys import BOS, EOS, IDS, OPTIONS, PAD, SOURCES, VOCABULARY, WORDS, FixedModel, ToyModel, close, padded, run

from seq2seq.config import SearchConfig
from seq2seq.inference import search as search_module
from seq2seq.inference.search import search


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("least", [0, 2])
def test_a_beam_as_wide_as_the_space_finds_what_brute_force_finds(alpha, least):
    longest = 3
    for seed in range(3):
        model = ToyModel(seed)
        sources = SOURCES[:3]
        found = run(model, sources, beam_size=4**longest * 2, n_best=12, length_penalty=alpha, min_length=least,
                    max_length=longest)  # fmt: skip
        for source, hypotheses in zip(sources, found, strict=True):
            space = [list(ids) for n in range(least, longest + 1) for ids in itertools.product(WORDS, repeat=n)]
            scored = sorted(((model.score(source, ids) / (len(ids) + 1) ** alpha, ids) for ids in space), reverse=True)
            assert [h.ids for h in hypotheses] == [ids for _, ids in scored[:12]]
            assert np.allclose([h.score for h in hypotheses], [score for score, _ in scored[:12]], atol=1e-5)


def greedy_loop(model: ToyModel, source: list[int], longest: int) -> list[int]:
    memory = model.encode(torch.tensor([source]), torch.tensor([len(source)]))
    state, ids, previous = model.initial_state(memory), [], BOS
    while len(ids) < longest:
        logits, state, _ = model.step(torch.tensor([previous]), state, memory)
        previous = max((piece for piece in range(VOCABULARY) if piece not in (PAD, BOS)), key=lambda i: logits[0, i])
        if previous == EOS:
            break
        ids.append(previous)
    return ids


def beam_loop(model: ToyModel, source: list[int], size: int, alpha: float, longest: int) -> list[list[int]]:
    """Beam search of one sentence in lists and loops, one hypothesis at a time, without any bound; ids, best first."""
    memory = model.encode(torch.tensor([source]), torch.tensor([len(source)]))
    live, finished = [(0.0, [], model.initial_state(memory))], []
    for t in range(longest + 1):
        candidates = []
        for total, ids, state in live:
            logits, state, _ = model.step(torch.tensor([ids[-1] if ids else BOS]), state, memory)
            log_probs = torch.log_softmax(logits, -1)[0].tolist()
            allowed = (EOS, *WORDS) if t < longest else (EOS,)
            candidates += [(total + log_probs[piece], ids, piece, state) for piece in allowed]
        candidates.sort(key=lambda candidate: -candidate[0])
        for total, ids, piece, _ in candidates[:size]:
            if piece == EOS:
                finished.append((total / (len(ids) + 1) ** alpha, ids))
        live = [(total, [*ids, piece], state) for total, ids, piece, state in candidates if piece != EOS][:size]
        if len(finished) >= size:
            break
    return [ids for _, ids in sorted(finished, reverse=True)]


@pytest.mark.parametrize("size", [2, 3, 6])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 3.0])
def test_the_beam_is_that_of_a_plain_loop(size, alpha):
    for seed in range(20, 26):
        model = ToyModel(seed)
        found = run(model, SOURCES, beam_size=size, n_best=2, length_penalty=alpha, max_length=9)
        for source, hypotheses in zip(SOURCES, found, strict=True):
            assert [h.ids for h in hypotheses] == beam_loop(model, source, size, alpha, 9)[:2]


def test_beam_1_is_the_argmax_loop():
    for seed in range(4):
        model = ToyModel(seed)
        greedy = run(model, SOURCES, beam_size=1, max_length=12)
        assert [found[0].ids for found in greedy] == [greedy_loop(model, source, 12) for source in SOURCES]


def test_hypotheses_score_what_forced_decoding_gives():
    model = ToyModel(1)
    for size, best, alpha in ((1, 1, 1.0), (4, 4, 0.7)):
        found = run(model, SOURCES, beam_size=size, n_best=best, length_penalty=alpha)
        for source, hypotheses in zip(SOURCES, found, strict=True):
            for h in hypotheses:
                assert h.log_prob == pytest.approx(model.score(source, h.ids), abs=1e-4)
                assert h.score == pytest.approx(h.log_prob / (len(h.ids) + 1) ** alpha)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_neither_neighbours_nor_their_order_matter(options):
    model = ToyModel(3)
    streams = [(n,) for n in range(len(SOURCES))]
    together = run(model, SOURCES, **options, streams=streams)
    alone = [run(model, [source], **options, streams=[s])[0] for source, s in zip(SOURCES, streams, strict=True)]
    assert close(together, alone)
    order = [5, 2, 7, 0, 3, 6, 1, 4]
    permuted = run(model, [SOURCES[i] for i in order], **options, streams=[streams[i] for i in order])
    assert close(permuted, [together[i] for i in order])
    assert len({len(found[0].ids) for found in together}) > 1  # else the test would show little


def test_default_limit_is_twice_each_source_plus_20():
    endless = FixedModel([0, 0, 1e-9, 0.5, 0.3, 0.1, 0.1])
    for size in (1, 3):
        found = run(endless, [[3, EOS], [3, 4, 5, EOS]], beam_size=size)
        assert [len(f[0].ids) for f in found] == [22, 26]
        assert found[0][0].log_prob == pytest.approx(22 * np.log(0.5) + np.log(1e-9), rel=1e-5)


def test_a_model_that_cannot_end_still_answers():
    for size in (1, 3):
        found = run(FixedModel([0, 0, 0, 0.5, 0.3, 0.1, 0.1]), [[3, EOS]], beam_size=size, max_length=4)
        assert found[0][0].ids == [3, 3, 3, 3]


def test_pad_and_bos_are_never_produced_but_keep_their_probability():
    model = FixedModel([0.4, 0.3, 0.1, 0.1, 0.05, 0.03, 0.02])
    for options in ({"beam_size": 1}, {"beam_size": 4, "n_best": 4}, {"sample": True, "n_best": 50}):
        for h in run(model, [[3, EOS]], max_length=5, **options)[0]:
            assert not {PAD, BOS} & set(h.ids)
    found = run(model, [[3, EOS]], max_length=1, min_length=1, beam_size=1)
    assert found[0][0].log_prob == pytest.approx(2 * np.log(0.1))


def test_eos_in_the_place_of_pad_and_bos_still_ends():
    found = search(ToyModel(0), *padded(SOURCES), SearchConfig(beam_size=2), bos_id=EOS, eos_id=EOS, pad_id=EOS)
    assert all(EOS not in f[0].ids for f in found)
    assert any(len(f[0].ids) < 10 for f in found)


@pytest.mark.parametrize("size", [1, 3])
def test_lengths_stay_within_the_given_limits(size):
    model = ToyModel(3)
    free = run(model, SOURCES, beam_size=size)
    assert {len(found[0].ids) for found in free} - {4, 5}
    for found in run(model, SOURCES, beam_size=size, n_best=size, min_length=4, max_length=5):
        assert all(4 <= len(h.ids) <= 5 for h in found)


def ngrams(ids: list[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]


@pytest.mark.parametrize("options", [{"beam_size": 1}, {"beam_size": 4, "n_best": 4}, {"sample": True, "n_best": 5}])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_ngram_comes_twice(options, n):
    model = ToyModel(4, sharpness=4)
    free = run(model, SOURCES, min_length=8, **options)
    assert any(len(set(ngrams(h.ids, n))) < len(ngrams(h.ids, n)) for found in free for h in found)
    for found in run(model, SOURCES, min_length=8, no_repeat_ngram=n, **options):
        for h in found:
            assert len(set(ngrams(h.ids, n))) == len(ngrams(h.ids, n))


def test_minimum_gives_way_where_no_piece_is_left():
    for size in (1, 3):
        found = run(ToyModel(4), SOURCES[:2], beam_size=size, no_repeat_ngram=1, min_length=9, max_length=12)
        assert all(sorted(f[0].ids) == list(WORDS) for f in found)


def test_no_repeat_beam_equals_brute_force():
    model, longest = ToyModel(5), 3
    found = run(model, SOURCES[:2], beam_size=128, n_best=5, no_repeat_ngram=1, max_length=longest)
    for source, hypotheses in zip(SOURCES[:2], found, strict=True):
        space = [list(ids) for n in range(longest + 1) for ids in itertools.permutations(WORDS, n)]
        scored = sorted(((model.score(source, ids) / (len(ids) + 1), ids) for ids in space), reverse=True)
        assert [h.ids for h in hypotheses] == [ids for _, ids in scored[:5]]


@pytest.mark.parametrize("options", [{"beam_size": 1}, {"beam_size": 4, "n_best": 4}, {"sample": True, "n_best": 5}])
def test_prefix_begins_every_hypothesis_and_counts_in_its_score(options):
    model = ToyModel(6)
    prefix = [[6, 6, 6], [], [3], [4, 3], [], [5], [6], []]
    found = run(model, SOURCES, prefix=prefix, **options)
    free = run(model, SOURCES, **options)
    for n, (source, start, hypotheses) in enumerate(zip(SOURCES, prefix, found, strict=True)):
        for h in hypotheses:
            assert h.ids[: len(start)] == start
            assert h.log_prob == pytest.approx(model.score(source, h.ids), abs=1e-4)
        if not start:
            assert close([hypotheses], [free[n]])
    assert len({tuple(h.ids) for h in run(model, SOURCES[:1], prefix=[[6]], beam_size=4, n_best=4)[0]}) == 4


def test_prefix_with_a_wide_beam_equals_brute_force():
    model, start = ToyModel(7), [6, 3]
    found = run(model, SOURCES[:1], prefix=[start], beam_size=64, n_best=6, max_length=4)[0]
    space = [start + list(ids) for n in range(3) for ids in itertools.product(WORDS, repeat=n)]
    scored = sorted(((model.score(SOURCES[0], ids) / (len(ids) + 1), ids) for ids in space), reverse=True)
    assert [h.ids for h in found] == [ids for _, ids in scored[:6]]


def test_prefix_longer_than_the_limit_is_the_translation():
    for size in (1, 3):
        found = run(ToyModel(0), SOURCES[:1], prefix=[[3, 4, 5]], beam_size=size, n_best=size, max_length=2)
        assert [h.ids for h in found[0]] == [[3, 4, 5]]


def test_n_best_is_sorted_and_distinct_and_begins_with_the_best():
    model = ToyModel(8)
    many = run(model, SOURCES, beam_size=6, n_best=6)
    one = run(model, SOURCES, beam_size=6)
    for hypotheses, best in zip(many, one, strict=True):
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True) and len(scores) == 6
        assert len({tuple(h.ids) for h in hypotheses}) == 6
        assert close([hypotheses[:1]], [best])


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_stopping_early_never_changes_the_answer(alpha, monkeypatch):
    """Without the bound the search goes on until K hypotheses have finished; the n_best are the same."""
    model = ToyModel(9)
    early = run(model, SOURCES, beam_size=5, n_best=2, length_penalty=alpha)
    steps = len(model.rows)
    monkeypatch.setattr(search_module, "_settled", lambda live, *_: np.zeros_like(live, dtype=bool))
    late = run(model, SOURCES, beam_size=5, n_best=2, length_penalty=alpha)
    assert close(early, late)
    assert steps <= len(model.rows) - steps


def test_the_bound_saves_steps():
    probable = FixedModel([0, 0, 0.9, 0.05, 0.03, 0.01, 0.01])
    run(probable, SOURCES, beam_size=5, length_penalty=0.0)
    assert len(probable.rows) == 1  # nothing can beat a first EOS with nine tenths of the probability


def test_finished_sentences_leave_the_batch():
    model = ToyModel(10)
    for size in (1, 4):
        model.rows.clear()
        found = run(model, SOURCES, beam_size=size)
        assert model.rows[0] == size * len(SOURCES)
        assert model.rows[-1] < model.rows[0]
        assert all(a >= b for a, b in itertools.pairwise(model.rows))
        if size == 1:  # a row is at most a third waste: a quarter of the batch may wait to leave
            needed = sum(len(f[0].ids) + 1 for f in found)
            assert needed <= sum(model.rows) <= needed * 4 / 3 + 1


@pytest.mark.parametrize("size", [1, 3])
def test_attention_has_the_rows_that_the_model_gave(size):
    model = ToyModel(11)
    answer = run(model, SOURCES, beam_size=size, n_best=size, with_attention=True)
    for source, found in zip(SOURCES, answer, strict=True):
        for h in found:
            memory = model.encode(torch.tensor([source]), torch.tensor([len(source)]))
            state, rows = model.initial_state(memory), []
            for previous in [BOS, *h.ids]:
                _, state, weights = model.step(torch.tensor([previous]), state, memory)
                rows.append(weights[0])
            assert h.attention is not None and h.attention.shape == (len(h.ids) + 1, len(source))
            assert torch.allclose(h.attention, torch.stack(rows).float(), atol=1e-5)
    assert run(model, SOURCES, beam_size=size)[0][0].attention is None


def test_draws_follow_the_model():
    p = [0.0, 0.0, 0.4, 0.3, 0.15, 0.1, 0.05]
    draws = 4000
    found = run(FixedModel(p), [[3, EOS]], sample=True, n_best=draws, max_length=1)[0]
    counts = np.array([sum(h.ids == ([] if piece == EOS else [piece]) for h in found) for piece in range(2, 7)])
    expected = draws * np.array(p[2:])
    assert counts.sum() == draws
    assert ((counts - expected) ** 2 / expected).sum() < 18.5  # chi-square with 4 degrees of freedom, p = 0.001


def test_temperature_sharpens():
    p = np.array([0.0, 0.0, 0.4, 0.3, 0.15, 0.1, 0.05])
    options = {"sample": True, "n_best": 4000, "max_length": 1}
    sharp = p**2 / (p**2).sum()
    found = run(FixedModel(list(p)), [[3, EOS]], temperature=0.5, **options)[0]
    assert sum(h.ids == [] for h in found) / 4000 == pytest.approx(sharp[EOS], abs=0.03)
    # the reported probability is the model's, not that of the sharpened distribution
    assert next(h for h in found if not h.ids).log_prob == pytest.approx(np.log(0.4))
    assert all(h.ids == [] for h in run(FixedModel(list(p)), [[3, EOS]], temperature=1e-4, **options)[0])


@pytest.mark.parametrize(
    ("restriction", "allowed"),
    [
        ({"top_k": 1}, {3}),
        ({"top_k": 2}, {3, 6}),
        ({"top_p": 0.4}, {3}),
        ({"top_p": 0.41}, {3, 6}),  # the piece that crosses the threshold is in
        ({"top_p": 0.75}, {3, 6, 4}),
        ({"top_k": 2, "top_p": 0.99}, {3, 6}),
        ({"top_k": 100}, {3, 4, 5, 6}),
    ],
    ids=str,
)
def test_top_k_and_top_p_restrict(restriction, allowed):
    model = FixedModel([0.0, 0.0, 1e-12, 0.4, 0.2, 0.1, 0.3])
    found = run(model, [[3, EOS]], sample=True, n_best=400, max_length=1, min_length=1, **restriction)[0]
    assert {h.ids[0] for h in found} == allowed
    if restriction == {"top_k": 2}:
        assert sum(h.ids == [3] for h in found) / 400 == pytest.approx(4 / 7, abs=0.1)


def test_draws_are_a_function_of_seed_and_stream():
    model = ToyModel(12, sharpness=0.5)
    options = {"sample": True, "n_best": 4}
    first = run(model, [[3, EOS]] * 2, **options)
    assert close(first, run(model, [[3, EOS]] * 2, **options))
    assert not close(first[:1], first[1:])  # the same sentence twice: two streams
    assert not close(first, run(model, [[3, EOS]] * 2, search_seed=2, **options))
    assert close(first[1:], run(model, [[3, EOS]], streams=[(1,)], **options))


def test_no_sentences_no_translations():
    nothing = torch.zeros(0, 1, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    assert search(ToyModel(), *nothing, SearchConfig(), **IDS) == []
