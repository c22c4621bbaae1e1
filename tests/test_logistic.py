"""The solved layer and mixture against scikit-learn's TF-IDF and logistic regression, and against its own optimum."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch

from seq2seq.nn.classifier import label_loss
from seq2seq.nn.ngrams import UNTOLD, spelling
from seq2seq.text.labels import LabelledBatch
from seq2seq.training import logistic
from seq2seq.training.logistic import mixture, solved


def examples(texts: int, several: bool = False) -> list[LabelledBatch]:
    """Batches of 7 texts whose label is told by some pieces, with noise."""
    random = np.random.default_rng(1)
    batches = []
    for start in range(0, texts, 7):
        count = min(7, texts - start)
        lengths = random.integers(2, 9, count)
        labels = random.integers(0, 3, count)
        pieces = random.integers(8, 40, (count, lengths.max()))
        for row, label in enumerate(labels):
            if random.random() < 0.8:
                pieces[row, random.integers(lengths[row])] = 4 + label
        pieces[np.arange(count), lengths - 1] = 3
        pieces[np.arange(lengths.max()) >= lengths[:, None]] = 0
        chosen = np.eye(3, dtype=np.float32)[labels] if several else labels
        if several:
            chosen[:, 2] = random.random(count) < 0.5
        batches.append(LabelledBatch(*map(torch.from_numpy, (pieces, lengths, np.arange(count), chosen))))
    return batches


WORDLESS = spelling([""] * 40)


def scores(layer, batches: list[LabelledBatch]) -> torch.Tensor:
    return torch.cat([layer(batch.pieces, batch.lengths, batch.owners) for batch in batches])


def as_scikit_learn_counts(batches: list[LabelledBatch]):
    """TF-IDF of n-grams as words joined by spaces, a mark before each text, and their names: those that are known."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [
        " ".join(["mark", *map(str, row[:length].tolist())])
        for batch in batches
        for row, length in zip(batch.pieces, batch.lengths.tolist(), strict=True)
    ]
    shape = {"ngram_range": (1, 3), "sublinear_tf": True, "token_pattern": r"\S+"}
    counted = TfidfVectorizer(**shape).fit(texts).vocabulary_
    having = {gram: np.array([f" {gram} " in f" {text} " for text in texts]) for gram in counted}
    known = sorted(gram for gram in counted if " " not in gram or having[gram].sum() >= 2)
    return TfidfVectorizer(vocabulary=known, **shape).fit_transform(texts), np.stack([having[gram] for gram in known])


@pytest.mark.parametrize("labels", [2, 3])
def test_equals_scikit_learn_where_all_spreads_are_one(monkeypatch, labels):
    """The same probabilities."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install 'seq2seq[bench]')")
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr(logistic, "spreads", lambda ngrams, targets, labels: torch.ones(1, labels))
    batches = [batch._replace(labels=batch.labels % labels) for batch in examples(200)]
    truth = torch.cat([batch.labels for batch in batches]).numpy()
    features, having = as_scikit_learn_counts(batches)
    p = LogisticRegression(C=20, max_iter=5000, tol=1e-8).fit(features, truth).predict_proba(features)

    penalty = 1 / 20 if labels > 2 else 2 / 20
    layer, count = solved(3, labels, batches, penalty, spelt=WORDLESS)
    assert len(layer.names) == len(having) and count == 200
    found = torch.softmax(scores(layer, batches), -1).numpy()
    assert np.abs(found - p).max() < 0.1 and (found.argmax(1) == p.argmax(1)).mean() > 0.98
    assert (found.argmax(1) == truth).mean() > 0.9
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-6)
    layer, _ = solved(3, labels, batches, penalty, spelt=WORDLESS)
    np.testing.assert_allclose(torch.softmax(scores(layer, batches), -1), p, atol=2e-3)


def spread(having: np.ndarray, hot: np.ndarray) -> np.ndarray:
    """(U, K) by loops over n-grams and labels, from which texts have them (U, N) and (N, K)."""
    told = np.empty((len(having), hot.shape[1]))
    for i, texts in enumerate(having):
        for k, labelled in enumerate(hot.T):
            expected = texts.sum() * labelled.sum() / len(hot)
            told[i, k] = 1 + abs(math.log((1 + labelled[texts].sum()) / (1 + expected)))
    # every text counts each of its n-grams once
    squares = [told[i] ** 2 for i, texts in enumerate(having) for _ in range(texts.sum())]
    return told / math.sqrt(np.mean(squares))


def test_equals_scikit_learn_whose_features_are_spread(monkeypatch):
    """A yes-no question a label, whose features are multiplied by the spreads of that label."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (pip install 'seq2seq[bench]')")
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr(logistic, "TOLERANCE", 1e-6)
    batches = examples(120, several=True)
    hot = torch.cat([batch.labels for batch in batches]).numpy()
    features, having = as_scikit_learn_counts(batches)
    layer, _ = solved(3, 3, batches, 0.1, spelt=WORDLESS)
    found = torch.sigmoid(scores(layer, batches)).numpy()
    widths = spread(having, hot)
    assert widths.max() / widths.min() > 1.5
    for k in range(3):
        own = features.multiply(widths[:, k]).tocsr()
        model = LogisticRegression(C=10, max_iter=5000, tol=1e-8).fit(own, hot[:, k])
        np.testing.assert_allclose(found[:, k], model.predict_proba(own)[:, 1], atol=2e-3)


@pytest.mark.parametrize("several", [False, True])
def test_spreads_by_loops(several):
    batches = examples(60, several)
    ngrams, targets = logistic._gathered(2, WORDLESS, batches, 10**6)
    names, which = torch.unique(ngrams.which, return_inverse=True)
    having = np.zeros((len(names), 60), dtype=bool)
    having[which, ngrams.texts] = True
    hot = (targets if several else torch.eye(3)[targets]).numpy()
    found = logistic.spreads(ngrams._replace(which=which), targets, 3)
    np.testing.assert_allclose(found, spread(having, hot), rtol=1e-5)


def test_table_and_rarity_by_a_loop():
    """Known is every single piece, and a pair that two texts have; rarity follows from the number of these texts."""
    batches = examples(100)
    texts = [
        ["mark", *row[:length].tolist()]
        for batch in batches
        for row, length in zip(batch.pieces, batch.lengths.tolist(), strict=True)
    ]
    grams = [{*text, *itertools.pairwise(text)} for text in texts]
    seen = Counter(gram for text in grams for gram in text)
    known = [count for gram, count in seen.items() if not isinstance(gram, tuple) or count >= 2]
    layer, _ = solved(2, 3, batches, 0.1, spelt=WORDLESS)
    expected = torch.tensor([1 + math.log((1 + len(texts)) / (1 + count)) for count in known])
    assert len(known) < len(seen)
    torch.testing.assert_close(layer.rarity.sort()[0], expected.sort()[0])
    assert layer.names.tolist() == sorted(set(layer.names.tolist()))


def test_words_stand_in_the_table_beside_the_pieces():
    """Of odd pieces, which are words here: all of them, and the pairs that two texts have, whatever is between."""
    batches, spelt = examples(100), spelling([f"\u2581{i}" if i % 2 else "" for i in range(40)])
    words = [
        [piece for piece in row[:length].tolist() if piece % 2]
        for batch in batches
        for row, length in zip(batch.pieces, batch.lengths.tolist(), strict=True)
    ]
    seen = Counter(gram for text in words for gram in {*text, *itertools.pairwise(text)})
    known = [count for gram, count in seen.items() if not isinstance(gram, tuple) or count >= 2]
    without, _ = solved(2, 3, batches, 0.1, spelt=WORDLESS)
    layer, _ = solved(2, 3, batches, 0.1, spelt=spelt)
    own = ~torch.isin(layer.names, without.names)
    assert len(layer.names) == len(without.names) + len(known) and len(known) < len(seen)
    expected = torch.tensor([1 + math.log((1 + len(words)) / (1 + count)) for count in known])
    torch.testing.assert_close(layer.rarity[own].sort()[0], expected.sort()[0])
    assert torch.equal(layer.spelling, spelt) and not layer.spelling.requires_grad


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 4.0, 0.5])])
def test_nothing_near_is_better(several, weights, monkeypatch):
    batches = examples(60, several)
    labels = torch.cat([batch.labels for batch in batches])
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-6)
    used = []
    spreads = logistic.spreads
    monkeypatch.setattr(logistic, "spreads", lambda *given: used.append(spreads(*given)) or used[0])
    layer, _ = solved(2, 3, batches, 0.1, weights, spelt=WORDLESS)

    def objective() -> float:
        loss = label_loss(scores(layer, batches).double(), labels, None if weights is None else weights.double())
        return float(loss + 0.05 * (layer.weight / used[0]).double().square().sum())

    best = objective()
    start = label_loss(torch.zeros(60, 3), labels, weights)
    assert best < 0.9 * start and not layer.weight.requires_grad
    torch.manual_seed(1)
    for parameter in (layer.weight, layer.bias):
        for _ in range(5):
            moved = torch.randn_like(parameter) * 0.01
            for sign in (1, -2):
                parameter.data.add_(moved, alpha=sign)
                assert objective() > best - 1e-4
            parameter.data.add_(moved)


def test_bounds_of_memory(monkeypatch):
    """With few weights allowed the n-grams of the most texts stay; with few n-grams held the later texts are left."""
    batches = examples(100)
    whole, _ = solved(2, 3, batches, 0.1, spelt=WORDLESS)
    monkeypatch.setattr(logistic, "MOST_WEIGHTS", 30)
    few, _ = solved(2, 3, batches, 0.1, spelt=WORDLESS)
    rare = whole.rarity.sort()[0]
    assert len(few.names) == 10 and set(few.names.tolist()) < set(whole.names.tolist())
    torch.testing.assert_close(few.rarity.sort()[0], rare[:10])
    monkeypatch.setattr(logistic, "MOST_NGRAMS", 1)
    read = iter(batches)
    assert solved(2, 3, read, 0.1, spelt=WORDLESS)[1] == 7
    assert len(list(read)) == len(batches) - 1


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 4.0, 0.5])])
def test_the_mixture_is_the_best_of_a_grid(several, weights):
    """One score that knows something, and another: less, nothing, or the contrary, whose weight must then be 0."""
    torch.manual_seed(1)
    labels = torch.randint(0, 3, (80,))
    hot = torch.nn.functional.one_hot(labels, 3).float()
    targets = hot if several else labels
    for share in (1.0, 0.0, -2.0):
        both = torch.stack((3 * torch.randn(80, 3) + 2 * hot, torch.randn(80, 3) + share * hot), 1)
        scaled = both.double() if several else torch.log_softmax(both.double(), -1)
        kept = None if weights is None else weights.double()

        def objective(w: torch.Tensor, scaled=scaled, kept=kept) -> float:
            loss = label_loss(torch.einsum("nik,i->nk", scaled, w), targets, kept)
            return float(loss + logistic.CAUTION * (w - torch.tensor(UNTOLD)).square().sum())

        found = mixture(both, targets, weights)
        grid = torch.cartesian_prod(torch.linspace(0, 2, 81), torch.linspace(0, 2, 81)).double()
        best = min(map(objective, grid))
        assert bool((found >= 0).all()) and objective(found) < best + 1e-4
        assert (found[1] == 0) == (share < 0)


def test_a_mixture_of_scores_that_contradict_each_other():
    """Without bounds both weights would be negative; one of them is the best that is allowed, not none."""
    torch.manual_seed(1)
    known, noise = torch.randn(4000), torch.randn(4000)
    first, second = 3 * known, -3 * known + 0.5 * noise
    targets = (torch.rand(4000) < torch.sigmoid(-3 * known - 0.25 * noise)).long()
    both = torch.stack([torch.stack((torch.zeros(4000), margin), -1) for margin in (first, second)], 1)
    found = mixture(both, targets)
    assert found[0] == 0 and 0.7 < found[1] < 1.1


def test_a_mixture_of_few_texts_stays_near_what_it_is_without_any():
    both = torch.tensor([[[9.0, -9.0], [-9.0, 9.0]]])
    assert mixture(both, torch.tensor([0])).sub(torch.tensor(UNTOLD)).abs().max() < 0.5
    nothing = mixture(torch.zeros(0, 2, 2), torch.zeros(0, dtype=torch.int64))
    torch.testing.assert_close(nothing, torch.tensor(UNTOLD, dtype=torch.float64))
