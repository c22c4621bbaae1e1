"""Minimum risk training: a model's own translations, each with the weight that its quality gives it.

The risk of a source x with reference y is what its translations are expected to miss of a sentence's BLEU,

    R = sum_h q(h) (1 - BLEU(h, y)),    q(h) = p(h | x) / sum_h' p(h' | x),

over the translations h that a beam finds (Shen et al. 2016, arXiv:1512.02433, section 3.2, with alpha = 1). As

    grad R = sum_h -q(h) (BLEU(h, y) - sum_h' q(h') BLEU(h', y)) grad log p(h | x),

these translations are learned from like pairs of a corpus: those better than the model's average with positive
weights, the others with negative ones. Beside the cross-entropy of the reference, as in Edunov et al. 2018
(arXiv:1711.04956), whose search for translations at each step this follows too.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from sacrebleu.metrics import BLEU

from seq2seq.config import SearchConfig
from seq2seq.inference.evaluate import tokenizer_for
from seq2seq.inference.prepared import PreparedModel
from seq2seq.inference.search import search
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.batching import TILE, Batch, WeightedBatch, collate
from seq2seq.text.tokenizer import Tokenizer

LEAST = 0.003
"""Of the risk's weight: a translation that has less costs a pass and moves nothing."""


def own_translations(
    model: TranslationModel,
    batch: Batch,
    tokenizers: tuple[Tokenizer, Tokenizer],
    weight: float,
    beam_size: int,
    language: str,
    precision: torch.dtype = torch.float32,
) -> WeightedBatch | None:
    """Translations of a batch's sources by the model as it stands, whose weighted loss has the gradient of the risk.

    Args:
        model: In training mode, in which it is left.
        batch: B pairs.
        tokenizers: Of source and target.
        weight: Of the risk, summed over the sources; the cross-entropy is summed over the references' tokens.
        beam_size: Most translations of a source.
        language: Target language code; decides sacrebleu's tokenizer.
        precision: Of the search's products.

    Returns:
        Pairs of ids with weights, on the CPU; None where no translation is better or worse than the others.
    """
    source, target = tokenizers
    device = model.output_bias.device
    placed = batch.to(device)
    model.eval()
    try:
        found = search(
            PreparedModel(model, precision, table=False), placed.source, placed.source_lengths,
            SearchConfig(beam_size=beam_size, n_best=beam_size),
            bos_id=target.bos_id, eos_id=target.eos_id, pad_id=target.pad_id,
        )  # fmt: skip
    finally:
        model.train()
    rows = zip(batch.target.tolist(), batch.target_lengths.tolist(), strict=True)
    references = target.decode([ids[1:length] for ids, length in rows])
    texts = iter(target.decode([hypothesis.ids for best in found for hypothesis in best]))
    learned: list[tuple[float, int, list[int]]] = []  # weight, source, pieces
    for n, (best, reference) in enumerate(zip(found, references, strict=True)):
        scores = np.array([sentence_bleu(next(texts), reference, language) for _ in best])
        weights = weight * risk_weights(np.array([hypothesis.log_prob for hypothesis in best]), scores)
        learned += [(share, n, h.ids) for share, h in zip(weights.tolist(), best, strict=True)]
    learned = sorted((item for item in learned if abs(item[0]) >= LEAST * weight), key=lambda item: -abs(item[0]))
    if not learned:
        return None
    if len(learned) > TILE:  # as in batches of a corpus; the last ones have the least weight
        del learned[len(learned) // TILE * TILE :]
    pairs = collate(
        [batch.source[n, : int(batch.source_lengths[n]) - 1].tolist() for _, n, _ in learned],
        [ids for _, _, ids in learned],
        source_eos=source.eos_id, source_pad=source.pad_id, target_bos=target.bos_id, target_eos=target.eos_id,
        target_pad=target.pad_id,
    )  # fmt: skip
    return WeightedBatch(pairs, torch.tensor([share for share, _, _ in learned], dtype=torch.float32))


def risk_weights(log_probs: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """What -log p of each of K translations is multiplied by, so that the sum has the gradient of the risk.

    Args:
        log_probs: (K,) log p of each.
        scores: (K,) their quality.
    """
    q = np.exp(log_probs - log_probs.max())
    q /= q.sum()
    weights: np.ndarray = q * (scores - q @ scores)
    return weights


def sentence_bleu(hypothesis: str, reference: str, language: str) -> float:
    """BLEU of one sentence, 0 to 1; one is added to the counts of n-grams from 2 on (Lin & Och 2004)."""
    return _metric(tokenizer_for(language)[0]).sentence_score(hypothesis, [reference]).score / 100


@functools.lru_cache(maxsize=8)
def _metric(tokenizer: str) -> BLEU:
    # the order is always four, for one is added; asked for all the same, or sacrebleu warns at each sentence
    return BLEU(tokenize=tokenizer, smooth_method="add-k", smooth_value=1, effective_order=True)
