"""Logistic regression on the n-grams of the training texts.

The problem is convex, so it has a best answer, which is found from any start; steps on mini-batches beside the
encoder's for some epochs stay points of accuracy behind it (figures: dev/LOG.md).

Legend: N texts, F different n-grams of all of them, U n-grams that are known, K labels.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from seq2seq.nn.classifier import label_loss
from seq2seq.nn.ngrams import UNTOLD, NgramLayer, Ngrams, counted, named, sums
from seq2seq.text.labels import LabelledBatch

MOST_NGRAMS = 10_000_000
"""Different n-grams a text, of all texts together, that are held in memory; the texts after them have no part."""

MOST_PRODUCTS = 1_000_000_000
"""Those n-grams times labels at most, for an iteration takes that many products twice."""

MOST_WEIGHTS = 8_000_000
"""Known n-grams times labels at most: those of the most texts."""

LEAST_TEXTS = 2
"""An n-gram of two pieces or words or more is known when so many training texts have it; a single one always."""

CAUTION = 10.0
"""Nats that a mixture must be better by to move one of its weights by 1."""

ITERATIONS, HISTORY, TOLERANCE = 200, 10, 1e-4
"""Of L-BFGS; the tolerance is of the gradient's largest entry, in nats a text, and scikit-learn's."""


def solved(
    longest: int,
    labels: int,
    batches: Iterable[LabelledBatch],
    penalty: float,
    label_weights: Tensor | None = None,
    *,
    spelt: Tensor,
) -> tuple[NgramLayer, int]:
    """A layer with rarity from the texts, and the weights W and the bias b that have the least

        sum over texts of cross-entropy(x W + b, label) + penalty / 2 * ||W / spreads||^2,

    by L-BFGS from zero until the gradient is as small as in scikit-learn's LogisticRegression, whose objective this
    would be were all spreads 1, with C = 1 / penalty (for two labels, which have one row of weights there and two here,
    2 / penalty). For `spreads` see there. Rarity is 1 + ln((1 + N) / (1 + texts with the n-gram)), as in its
    TfidfVectorizer. A text with several labels or none (labels of shape (B, K)) has a question of yes or no for each.

    Args:
        longest: N-grams of 1 to this many pieces.
        labels: K.
        batches: All training texts, in any order; read once.
        penalty: Above 0.
        label_weights: (K,) factors of the labels' losses.
        spelt: (V, 3) of `seq2seq.nn.ngrams.spelling`.

    Returns:
        The layer, and the number of texts that had a part.
    """  # fmt: skip
    ngrams, targets = _gathered(longest, spelt, batches, min(MOST_NGRAMS, MOST_PRODUCTS // labels))
    names, places, seen = torch.unique(ngrams.which, return_inverse=True, return_counts=True)
    kept = ((names & 1) == 1) | (seen >= LEAST_TEXTS)
    most = max(MOST_WEIGHTS // labels, 1)
    if int(kept.sum()) > most:
        order = torch.argsort(torch.where(kept, seen, 0), descending=True, stable=True)
        kept = torch.zeros_like(kept).index_fill_(0, order[:most], True)
    own = kept[places]
    ngrams = Ngrams(ngrams.texts[own], (kept.cumsum(0) - 1)[places[own]], ngrams.counts[own])
    layer = NgramLayer(longest, int(kept.sum()), labels, len(spelt))
    layer.spelling.copy_(spelt)
    layer.names.copy_(names[kept])
    layer.rarity.copy_(1 + torch.log((1 + len(targets)) / (1 + seen[kept].double())))
    _minimize(layer, ngrams, targets, penalty, spreads(ngrams, targets, labels), label_weights)
    return layer, len(targets)


def _gathered(longest: int, spelt: Tensor, batches: Iterable[LabelledBatch], most: int) -> tuple[Ngrams, Tensor]:
    """The different n-grams of all texts, by name, as if the texts were one batch; and the labels."""
    found, labels, texts, held = [], [], 0, 0
    for batch in batches:
        owners, names = named(batch.pieces, batch.lengths, batch.owners, longest, spelt)
        different, places = torch.unique(names, return_inverse=True)
        ngrams = counted(owners + texts, places, len(different))
        found.append(ngrams._replace(which=different[ngrams.which]))
        labels.append(batch.labels)
        texts, held = texts + len(batch.labels), held + len(ngrams.which)
        if held >= most:
            break
    return Ngrams(*map(torch.cat, zip(*found, strict=True))), torch.cat(labels)


def spreads(ngrams: Ngrams, targets: Tensor, labels: int) -> Tensor:
    """(U, K): how far the weight of an n-gram for a label may go, beside the others (a standard deviation of a prior).

    1 + |ln((1 + c) / (1 + e))|, where c of the texts with the n-gram have the label, and e would if it told nothing of
    labels; divided by the root of their mean square over all n-grams of all texts. So what goes with a label more often
    than by chance, or less, is believed more easily than what goes with all, as where log ratios of counts are factors
    of the features (Wang & Manning 2012, https://aclanthology.org/P12-2018), but few texts are not believed to tell
    much.

    Args:
        ngrams: Of all texts, `which` from 0 to U - 1.
        targets: (N,) labels, or (N, K) of zeros and ones where a text may have several.
        labels: K.
    """
    seen = torch.bincount(ngrams.which)
    if targets.ndim == 1:
        both = ngrams.which * labels + targets[ngrams.texts]
        having = torch.bincount(both, minlength=len(seen) * labels).view(-1, labels).float()
        share = torch.bincount(targets, minlength=labels) / len(targets)
    else:
        by_name = torch.argsort(ngrams.which, stable=True)
        ones = torch.ones(len(by_name))
        having = sums(ngrams.which[by_name], len(seen), ngrams.texts[by_name], ones, targets.float())
        share = targets.float().mean(0)
    expected = seen[:, None] * share
    told = having.add_(1).div_(expected.add_(1)).log_().abs_().add_(1)
    return told / (seen.float() @ told.square() / seen.sum()).mean().sqrt()


def _minimize(
    layer: NgramLayer, ngrams: Ngrams, targets: Tensor, penalty: float, spread: Tensor, label_weights: Tensor | None
) -> None:
    """Puts the optimum into weight and bias."""
    weight, bias, texts = layer.weight, layer.bias, len(targets)
    values = layer.values(ngrams, texts)
    by_name = torch.argsort(ngrams.which, stable=True)
    transposed = ngrams.which[by_name], len(weight), ngrams.texts[by_name], values[by_name]
    plain = torch.zeros_like(weight)  # weights divided by their spreads

    def objective() -> Tensor:
        torch.mul(plain, spread, out=weight)
        scores = sums(ngrams.texts, texts, ngrams.which, values, weight) + bias
        with torch.enable_grad():
            loss = label_loss(scores.requires_grad_(), targets, label_weights)
        (residuals,) = torch.autograd.grad(loss, scores)
        # the gradient of all weights is one sparse product, where autograd would add to them n-gram by n-gram
        plain.grad = sums(*transposed, residuals).mul_(spread).add_(plain, alpha=penalty)
        bias.grad = residuals.sum(0)
        return loss.detach() + penalty / 2 * plain.square().sum()

    with torch.no_grad():
        optimizer = torch.optim.LBFGS(
            [plain, bias],
            max_iter=ITERATIONS,
            max_eval=2 * ITERATIONS,
            history_size=HISTORY,
            tolerance_grad=TOLERANCE * texts,
            line_search_fn="strong_wolfe",
        )
        optimizer.step(objective)
        torch.mul(plain, spread, out=weight)
    bias.grad = None


def mixture(both: Tensor, targets: Tensor, label_weights: Tensor | None = None) -> Tensor:
    """The weights w (2,), of the encoder's scores and of the n-grams', that suit some texts best.

    They have the least cross-entropy(w_0 encoder + w_1 n-grams, label), summed over the texts, + CAUTION times the
    squared distance from UNTOLD; none is negative. Neither score is as sure as it should be, one too much and the
    other too little, and with few texts or long ones one of them knows far more: two numbers are learned from even few
    texts.

    Args:
        both: (N, 2, K) scores of texts that neither has learned from.
        targets: (N,) labels, or (N, K) of zeros and ones where a text may have several.
        label_weights: (K,) factors of the labels' losses.
    """
    scores, targets = both.double(), targets.double() if targets.ndim > 1 else targets
    weights = None if label_weights is None else label_weights.double()
    start = scores.new_tensor(UNTOLD)

    def loss_of(found: Tensor) -> Tensor:
        loss = label_loss(torch.einsum("nik,i->nk", scores, found), targets, weights)
        return loss + CAUTION * (found - start).square().sum()

    def best(free: Tensor) -> Tensor:
        """The optimum over the weights that are free, of which each is 0 or 1; the others are 0."""
        found = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([found], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

        def objective() -> Tensor:
            optimizer.zero_grad()
            loss = loss_of(found * free)
            loss.backward()
            return loss

        optimizer.step(objective)  # type: ignore[no-untyped-call]
        return found.detach() * free

    with torch.enable_grad():
        found = best(torch.ones_like(start))
        if bool((found >= 0).all()):
            return found
        # the function is convex: where its optimum is beyond a bound, the best that is allowed lies on one
        edges = [best(free).clamp_(min=0) for free in torch.eye(2).to(start).unbind()]
    return min(edges, key=lambda edge: float(loss_of(edge)))
