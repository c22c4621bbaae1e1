"""`seq2seq train`: from a corpus to a model directory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor, nn

from seq2seq import checkpoint
from seq2seq.app.run import Run, say
from seq2seq.config import DataConfig, TrainTranslatorConfig
from seq2seq.errors import CorpusError
from seq2seq.inference.card import model_card
from seq2seq.inference.evaluate import bleu, chrf
from seq2seq.inference.translator import Translator
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.batching import Batch, batch_order
from seq2seq.text.corpus import has_split, load_corpus
from seq2seq.text.data import TranslationData
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.training.distributed import ALONE, World, joined_world


class TranslationTask:
    """Translation as the trainer sees it: batches, validation by decoding, the best model on disk."""

    unit = "tok"

    def __init__(
        self,
        config: TrainTranslatorConfig,
        train: TranslationData,
        valid: TranslationData,
        tokenizers: tuple[Tokenizer, Tokenizer],
        device: torch.device,
        world: World = ALONE,
    ) -> None:
        self.config, self.train, self.valid, self.device, self.world = config, train, valid, device, world
        self.tokenizers = tokenizers
        self.directory = Path(config.training.output)
        count = min(len(valid), config.training.validation_sentences)
        rows = np.arange(count) * len(valid) // max(count, 1)  # from all of it: many files are sorted by length
        self.sources = valid.source_texts(rows)
        self.references = valid.target_texts(rows)

    def order(self, epoch: int) -> Sequence[np.ndarray]:
        """The batches of an epoch."""
        training = self.config.training
        return batch_order(
            self.train.source_lengths,
            self.train.target_lengths,
            batch_tokens=training.batch_tokens,
            batch_sentences=training.batch_sentences,
            seed=training.seed,
            epoch=epoch,
        )

    def batches(self, order: Sequence[np.ndarray], epoch: int, start: int) -> Iterator[Batch | None]:
        """This process' shares of those batches, tokenised anew where sampling is on."""
        sampling, seed = self.config.tokenizer.sampling, self.config.training.seed
        share = self.world.share
        return self.train.batches(order, start=start, sampling=sampling, seed=seed, epoch=epoch, share=share)

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Loss a token in nats over the validation set; BLEU and chrF of greedy translations; prints two of them."""
        assert isinstance(model, TranslationModel)
        training = self.config.training
        order = batch_order(
            self.valid.source_lengths, self.valid.target_lengths,
            batch_tokens=max(training.batch_tokens, 1000), batch_sentences=0, seed=0, epoch=0,
        )  # fmt: skip
        total, tokens = 0.0, 0.0
        for batch in filter(None, self.valid.batches(order[self.world.share])):
            loss, count = model.loss(batch.to(self.device))
            total, tokens = total + loss.item(), tokens + count
        total, tokens = self.world.sums(total, tokens)
        translator = Translator(model, *self.tokenizers)
        hypotheses = self.world.joined(translator.translate(self.sources[self.world.share], beam_size=1))
        for i in np.linspace(0, len(self.sources) - 1, 4).astype(int)[1:3]:
            say(f"  source      {self.sources[i]}\n  reference   {self.references[i]}\n  translation {hypotheses[i]}")
        target = self.config.data.target
        return {
            "loss": total / max(tokens, 1),
            "bleu": bleu(hypotheses, self.references, language=target),
            "chrf": chrf(hypotheses, self.references),
        }

    def save(self, tensors: dict[str, Tensor], metrics: dict[str, Any]) -> None:
        """Replaces the model in the output directory."""
        card = model_card(checkpoint.read_config(self.directory), metrics, self.directory.name)
        checkpoint.save_weights(self.directory, tensors, metrics, card)


def train_translator(config: TrainTranslatorConfig, command: list[str]) -> None:
    """Trains a translation model as configured and leaves a model directory.

    Args:
        config: Every option of the run.
        command: What was typed, kept with the metrics.

    Raises:
        UserError: Options, corpus or output directory that cannot be used; nothing is written then.
        Interrupted: A signal stopped the run, whose state is saved.
        SystemExit: Another process of this training has told why it ends.
    """
    with joined_world() as world:
        run = Run.begin(config, command, "a folder with train.en train.de ..., a file, or a hub data set id", world)
        train, valid, tokenizers = prepare_data(config, run.resumed, world)
        model = build_model(config, tokenizers).to(run.device)
        task = TranslationTask(config, train, valid, tokenizers, run.device, world)
        run.train(model, task, {**_described(config, tokenizers), "examples": len(train)}, tokenizers)


def prepare_data(
    config: TrainTranslatorConfig, resumed: Path | None, world: World = ALONE
) -> tuple[TranslationData, TranslationData, tuple[Tokenizer, Tokenizer]]:
    """Training and validation data, tokenised, and the tokenizers; says what was found and what was left out."""
    data = config.data
    train_corpus, valid_corpus = world.in_turn(lambda: _corpora(data))
    say(f"corpus: {len(train_corpus):,} training pairs, {len(valid_corpus):,} for validation")
    made = world.lead(lambda: tuple(side.to_bytes() for side in _tokenizers(config, train_corpus, resumed)))
    source = Tokenizer.from_bytes(made[0])
    tokenizers = source, source if made[0] == made[1] else Tokenizer.from_bytes(made[1])

    def tokenised() -> list[TranslationData]:
        return [
            TranslationData.prepare(
                corpus, *tokenizers, max_length=most, drop_empty=True, threads=torch.get_num_threads()
            )
            for corpus, most in ((train_corpus, data.max_length), (valid_corpus, 0))
        ]

    train, valid = world.in_turn(tokenised)
    for reason, count in train.dropped.items():
        if count:
            say(f"left out of training: {count:,} pairs ({reason})")
    for name, part in (("training", train), ("validation", valid)):
        if not len(part):
            raise CorpusError(f"{data.data}: no usable {name} pairs; both sides of a pair must hold text")
    return train, valid, tokenizers


def _corpora(data: DataConfig) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Training and validation split."""
    train = load_corpus(data, data.train_split)
    if not has_split(data, data.valid_split):
        raise CorpusError(
            f"{data.data} has no validation split {data.valid_split!r}; add one (a few hundred pairs "
            "that are not in the training split), or name another with --valid-split"
        )
    return train, load_corpus(data, data.valid_split)


def build_model(config: TrainTranslatorConfig, tokenizers: tuple[Tokenizer, Tokenizer]) -> TranslationModel:
    """A model with the initial weights that the seed gives; says how large it is."""
    torch.manual_seed(config.training.seed)
    sizes = tokenizers[0].vocab_size, tokenizers[1].vocab_size
    joint = tokenizers[0].fingerprint == tokenizers[1].fingerprint
    model = TranslationModel(config.model, *sizes, joint)
    parameters = sum(p.numel() for p in model.parameters())
    say(f"model: {parameters:,} parameters, vocabulary {sizes[0]:,} → {sizes[1]:,}{' (joint)' if joint else ''}")
    return model


def _described(config: TrainTranslatorConfig, tokenizers: tuple[Tokenizer, Tokenizer]) -> dict[str, Any]:
    """What config.json says of a translator."""
    source, target = tokenizers
    return {
        "task": "translation",
        "source": config.data.source,
        "target": config.data.target,
        "source_vocab": source.vocab_size,
        "target_vocab": target.vocab_size,
        "joint": source.fingerprint == target.fingerprint,
    }


def _tokenizers(
    config: TrainTranslatorConfig, corpus: datasets.Dataset, resumed: Path | None
) -> tuple[Tokenizer, Tokenizer]:
    """Source and target tokenizer: those of the run that goes on, a given one, or newly trained."""
    if resumed is not None:
        saved = checkpoint.read_tokenizers(resumed)
        source = Tokenizer.from_bytes(saved["source"])
        return source, source if saved["source"] == saved["target"] else Tokenizer.from_bytes(saved["target"])
    options, seed = config.tokenizer, config.training.seed
    if options.tokenizer is not None:
        given = Tokenizer.load(options.tokenizer)
        return given, given
    if options.joint:
        lines = itertools.chain.from_iterable(zip(_lines(corpus, "source"), _lines(corpus, "target"), strict=True))
        joint = Tokenizer.train(lines, options, seed, languages=2)
        return joint, joint
    return tuple(Tokenizer.train(_lines(corpus, side), options, seed) for side in ("source", "target"))  # type: ignore[return-value]


def _lines(corpus: datasets.Dataset, column: str) -> Iterator[str]:
    """One column's strings, a thousand rows in memory at a time."""
    for rows in corpus.select_columns([column]).iter(batch_size=1000):
        yield from rows[column]
