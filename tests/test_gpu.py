"""The same code on a CUDA device: results of the CPU's, and the real command."""

from __future__ import annotations

import pytest
import torch
from conftest import TINY

from seq2seq import Translator
from seq2seq.app.cli import main
from seq2seq.config import ClassifierConfig, ModelConfig, SearchConfig
from seq2seq.inference.search import search
from seq2seq.nn.classifier import ClassificationModel
from seq2seq.nn.ngrams import named_ngrams, named_words, spelling
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.batching import Batch
from seq2seq.text.labels import LabelledBatch

pytestmark = pytest.mark.gpu


def _model(attention: str, reset_after: bool, layers: int) -> TranslationModel:
    torch.manual_seed(0)
    config = ModelConfig(
        attention=attention, reset_after=reset_after, embedding_size=8, encoder_size=8, decoder_size=12,
        attention_size=8, encoder_layers=layers, decoder_layers=layers,
    )  # fmt: skip
    return TranslationModel(config, 30, 30, joint=True).double().eval()


def _batch() -> Batch:
    source, target = torch.randint(4, 30, (5, 7)), torch.randint(4, 30, (5, 9))
    return Batch(source, torch.tensor([7, 7, 5, 4, 1]), target, torch.tensor([8, 6, 8, 1, 3]))


@pytest.mark.parametrize("attention", ["bahdanau", "none"])
@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("layers", [1, 2])
class TestModel:
    def test_loss_and_gradients(self, attention: str, reset_after: bool, layers: int) -> None:
        results = []
        for device in ("cpu", "cuda"):
            model = _model(attention, reset_after, layers).to(device)
            torch.manual_seed(1)
            loss, count = model.loss(_batch().to(torch.device(device)), 0.1)
            loss.backward()
            grads = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
            results.append((loss.item(), count, grads))
        (loss, count, grads), (gpu_loss, gpu_count, gpu_grads) = results
        assert (gpu_loss, gpu_count) == (pytest.approx(loss), count)
        torch.testing.assert_close(gpu_grads, grads)

    def test_search(self, attention: str, reset_after: bool, layers: int) -> None:
        found = []
        for device in ("cpu", "cuda"):
            model, batch = _model(attention, reset_after, layers).to(device), _batch().to(torch.device(device))
            options = SearchConfig(beam_size=3, n_best=2)
            found.append(search(model, batch.source, batch.source_lengths, options, bos_id=2, eos_id=3, pad_id=0))
        for ours, theirs in zip(*found, strict=True):
            assert [h.ids for h in ours] == [h.ids for h in theirs]
            assert [h.log_prob for h in ours] == pytest.approx([h.log_prob for h in theirs], rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_classifier(dtype: torch.dtype) -> None:
    """Windows, n-grams and pooling: the same scores."""
    torch.manual_seed(0)
    config = ClassifierConfig(embedding_size=8, encoder_size=8, ngrams=2)
    pieces, lengths, owners = torch.randint(4, 30, (4, 6)), torch.tensor([6, 3, 1, 4]), torch.tensor([0, 1, 1, 2])
    spelt = spelling(["", "", "", "", *(("\u2581" * (i % 2)) + str(i) for i in range(26))])
    names = torch.cat([of(pieces, lengths, owners, by)[1] for of, by in ((named_ngrams, 2), (named_words, spelt))])
    names = names.unique()
    model = ClassificationModel(config, 30, 3, known_ngrams=len(names)).to(dtype).eval()
    assert model.ngrams is not None
    model.ngrams.names.copy_(names)
    model.ngrams.spelling.copy_(spelt)
    for parameter in (model.ngrams.rarity, model.ngrams.weight, model.ngrams.bias):
        torch.nn.init.uniform_(parameter)
    batch = LabelledBatch(pieces, lengths, owners, torch.tensor([0, 1, 2]))
    expected = model.logits(batch)
    torch.testing.assert_close(model.cuda().logits(batch.to("cuda")).cpu(), expected)


def test_command(small_corpus, tmp_path) -> None:
    """Trained in bfloat16 on the GPU, resumed there, used on both devices."""
    options = [
        "train",
        "--data",
        str(small_corpus),
        "--source",
        "en",
        "--target",
        "fr",
        "--output",
        str(tmp_path / "m"),
    ]
    sizes = [*TINY, "--device", "cuda", "--precision", "bfloat16"]
    assert main([*options, *sizes]) == 0
    assert main([*options, *sizes, "--max-steps", "9", "--resume"]) == 0
    for device in ("cpu", "cuda"):
        assert len(Translator.from_pretrained(tmp_path / "m", device=device).translate(["A cat sleeps."])) == 1
