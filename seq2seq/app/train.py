"""`seq2seq train`: from a corpus to a model directory."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch import Tensor, nn

from seq2seq import checkpoint
from seq2seq.app.run import Run, say
from seq2seq.config import DataConfig, TrainTranslatorConfig
from seq2seq.errors import ConfigError, CorpusError
from seq2seq.inference.card import model_card
from seq2seq.inference.evaluate import bleu, chrf, tokenizer_for
from seq2seq.inference.loading import describe_translator, load_translator
from seq2seq.inference.risk import own_translations
from seq2seq.inference.translator import Translator
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.batching import Batch, WeightedBatch
from seq2seq.text.corpus import stream_corpus, train_and_valid
from seq2seq.text.data import TranslationData
from seq2seq.text.streaming import PairStream, StreamedData
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.training.distributed import ALONE, World, joined_world

# sizes and structure are those of the model that one starts from; these options are not
OF_TRAINING = {
    "initialization", "initialization_scale", "orthogonal_recurrent", "r_drop", "word_dropout",
    "dropout", "dropout_embedding", "dropout_readout", "dropout_state",
}  # fmt: skip


class TranslationTask:
    """Translation as the trainer sees it: batches, validation by decoding, the best model on disk."""

    unit = "tok"

    def __init__(
        self,
        config: TrainTranslatorConfig,
        train: TranslationData | StreamedData,
        valid: TranslationData,
        tokenizers: tuple[Tokenizer, Tokenizer],
        device: torch.device,
        precision: torch.dtype = torch.float32,
        world: World = ALONE,
    ) -> None:
        self.config, self.train, self.valid, self.device, self.world = config, train, valid, device, world
        self.tokenizers, self.precision = tokenizers, precision
        self.directory = Path(config.training.output)
        count = min(len(valid), config.training.validation_sentences)
        rows = np.arange(count) * len(valid) // max(count, 1)  # from all of it: many files are sorted by length
        self.sources = valid.source_texts(rows)
        self.references = valid.target_texts(rows)

    def order(self, epoch: int) -> Sequence[np.ndarray]:
        """The batches of an epoch."""
        training = self.config.training
        return self.train.order(
            epoch,
            batch_tokens=training.batch_tokens,
            batch_sentences=training.batch_sentences,
            seed=training.seed,
        )

    def batches(self, order: Sequence[np.ndarray], epoch: int, start: int) -> Iterator[Batch | None]:
        """This process' shares of those batches, tokenised anew where sampling is on."""
        sampling, seed = self.config.tokenizer.sampling, self.config.training.seed
        share = self.world.share
        return self.train.batches(order, start=start, sampling=sampling, seed=seed, epoch=epoch, share=share)

    def learned(self, batch: Batch | None, model: nn.Module) -> Sequence[Batch | WeightedBatch | None]:
        """A batch, and with minimum risk training the model's own translations of its sources."""
        training = self.config.training
        if training.risk <= 0 or batch is None:
            return (batch,)
        assert isinstance(model, TranslationModel)
        found = own_translations(
            model, batch, self.tokenizers, training.risk, training.risk_beam, self.config.data.target, self.precision
        )
        return (batch,) if found is None else (batch, found)

    def place(self, epoch: int) -> Any:
        """Where in a stream an epoch begins."""
        return self.train.place(epoch)

    def go_to(self, epoch: int, place: Any) -> None:
        """Lets an epoch begin there."""
        self.train.go_to(epoch, place)

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Loss a token in nats over the validation set; BLEU and chrF of greedy translations; prints two of them."""
        assert isinstance(model, TranslationModel)
        training = self.config.training
        order = self.valid.order(0, batch_tokens=max(training.batch_tokens, 1000), batch_sentences=0, seed=0)
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
        config = world.lead(lambda: _with_structure(config))
        run = Run.begin(config, command, "a folder with train.en train.de ..., a file, or a hub data set id", world)
        train, valid, tokenizers = prepare_data(config, run.resumed, world)
        start = Path(config.training.initial_model) if config.training.initial_model and not run.resumed else None
        model = build_model(config, tokenizers, start).to(run.device)
        task = TranslationTask(config, train, valid, tokenizers, run.device, run.precision, world)
        known = {"examples": len(train)} if isinstance(train, TranslationData) else {}  # of a stream only its end tells
        run.train(model, task, {**_described(config, tokenizers), **known}, tokenizers)


def _with_structure(config: TrainTranslatorConfig) -> TrainTranslatorConfig:
    """The configuration with sizes and structure of the model to start from, where there is one.

    Raises:
        ConfigError: That model's tokenizers do not go with the languages or with other options.
        ModelDirectoryError: It holds no (readable) translator.
    """
    name, data = config.training.initial_model, config.data
    if config.training.risk and data.both_directions and tokenizer_for(data.source) != tokenizer_for(data.target):
        raise ConfigError(
            f"--risk takes BLEU of both languages with --both-directions, which {data.source} and {data.target} count "
            "in other units; train a model of one direction"
        )
    if config.training.risk and not name:
        say("--risk without --initial-model: translations of a model that knows nothing teach nothing")
    if not name:
        if data.both_directions and not (config.tokenizer.joint or config.tokenizer.tokenizer):
            raise ConfigError("--both-directions needs one vocabulary for both languages; leave --no-joint out")
        return config
    if config.tokenizer.tokenizer:
        raise ConfigError("--tokenizer and --initial-model exclude each other: the model brings its own tokenizer")
    structure, described = describe_translator(Path(name))
    languages = described["source"], described["target"]
    if not described["joint"] and (data.both_directions or languages != (data.source, data.target)):
        raise ConfigError(
            f"{name} has a vocabulary of its own for {languages[0]} and for {languages[1]}, so it cannot start a model "
            f"from {data.source} to {data.target}{' and back' * data.both_directions}; start from one that was trained "
            "with --joint"
        )
    kept = {name: value for name, value in vars(config.model).items() if name in OF_TRAINING}
    return dataclasses.replace(config, model=dataclasses.replace(structure, **kept))


def prepare_data(
    config: TrainTranslatorConfig, resumed: Path | None, world: World = ALONE
) -> tuple[TranslationData | StreamedData, TranslationData, tuple[Tokenizer, Tokenizer]]:
    """Training and validation data, tokenised, and the tokenizers; says what was found and what was left out."""
    data = config.data
    if data.streaming:
        return _streamed_data(config, resumed, world)
    train_corpus, valid_corpus, held_out = world.in_turn(lambda: train_and_valid(data, config.training.seed))
    told = f" (held out, for there is no split {data.valid_split!r})" if held_out else ""
    say(f"corpus: {len(train_corpus):,} training pairs, {len(valid_corpus):,} for validation{told}")
    tokenizers = _shared_tokenizers(config, lambda: train_corpus, resumed, world)

    def tokenised() -> tuple[TranslationData, TranslationData]:
        def prepare(corpus: datasets.Dataset, most: int, both: bool) -> TranslationData:
            threads = torch.get_num_threads()
            return TranslationData.prepare(
                corpus, *tokenizers, max_length=most, drop_empty=True, threads=threads, both_directions=both
            )

        return prepare(train_corpus, data.max_length, data.both_directions), prepare(valid_corpus, 0, False)

    train, valid = world.in_turn(tokenised)
    for reason, count in train.dropped.items():
        if count:
            say(f"left out of training: {count:,} pairs ({reason})")
    _check_usable(data, training=train, validation=valid)
    return train, valid, tokenizers


def _streamed_data(
    config: TrainTranslatorConfig, resumed: Path | None, world: World
) -> tuple[StreamedData, TranslationData, tuple[Tokenizer, Tokenizer]]:
    """The same of a corpus that is read while it is trained on; each process reads all of it, and uses its share."""
    data, sample = config.data, config.tokenizer.tokenizer_sentences
    stream = PairStream(*stream_corpus(data, data.train_split), data)
    valid_corpus = PairStream(*stream_corpus(data, data.valid_split), data).first(data.stream_buffer)
    say(f"corpus: streamed, {data.stream_buffer:,} pairs in memory; {len(valid_corpus):,} pairs for validation")

    def beginning() -> datasets.Dataset:
        first = stream.first(sample)
        say(f"tokenizer: trained on the first {len(first):,} pairs of the stream")
        return first

    tokenizers = _shared_tokenizers(config, beginning, resumed, world)
    valid = world.in_turn(lambda: TranslationData.prepare(valid_corpus, *tokenizers, max_length=0, drop_empty=True))
    _check_usable(data, validation=valid)
    train = StreamedData(stream, tokenizers, data.stream_buffer, data.max_length, data.both_directions)
    return train, valid, tokenizers


def _check_usable(data: DataConfig, **parts: TranslationData) -> None:
    for name, part in parts.items():
        if not len(part):
            raise CorpusError(f"{data.data}: no usable {name} pairs; both sides of a pair must hold text")


def _shared_tokenizers(
    config: TrainTranslatorConfig, corpus: Callable[[], datasets.Dataset], resumed: Path | None, world: World
) -> tuple[Tokenizer, Tokenizer]:
    """The first process' tokenizers, in all of them."""
    return _both(*world.lead(lambda: tuple(side.to_bytes() for side in _tokenizers(config, corpus, resumed))))


def _both(source: bytes, target: bytes) -> tuple[Tokenizer, Tokenizer]:
    """Source and target tokenizer; one that serves both is made once."""
    first = Tokenizer.from_bytes(source)
    return first, first if source == target else Tokenizer.from_bytes(target)


def build_model(
    config: TrainTranslatorConfig, tokenizers: tuple[Tokenizer, Tokenizer], start: Path | None = None
) -> TranslationModel:
    """A model with the initial weights that the seed gives, or those of `start`; says how large it is."""
    torch.manual_seed(config.training.seed)
    sizes = tokenizers[0].vocab_size, tokenizers[1].vocab_size
    joint = tokenizers[0].fingerprint == tokenizers[1].fingerprint
    model = TranslationModel(config.model, *sizes, joint)
    if start is not None:
        model.load_state_dict(load_translator(start, torch.device("cpu")).model.state_dict())
    parameters = sum(p.numel() for p in model.parameters())
    kind, origin = " (joint)" if joint else "", f", from {start}" if start is not None else ""
    say(f"model: {parameters:,} parameters, vocabulary {sizes[0]:,} → {sizes[1]:,}{kind}{origin}")
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
    config: TrainTranslatorConfig, pairs: Callable[[], datasets.Dataset], resumed: Path | None
) -> tuple[Tokenizer, Tokenizer]:
    """Source and target tokenizer: those of the run that goes on or of the model to start from, given, or trained."""
    if resumed is not None or config.training.initial_model:
        saved = checkpoint.read_tokenizers(resumed or Path(config.training.initial_model))
        return _both(saved["source"], saved["target"])
    options, seed = config.tokenizer, config.training.seed
    if options.tokenizer is not None:
        given = Tokenizer.load(options.tokenizer)
        return given, given
    corpus = pairs()
    if options.joint:
        lines = itertools.chain.from_iterable(zip(_lines(corpus, "source"), _lines(corpus, "target"), strict=True))
        joint = Tokenizer.train(lines, options, seed, languages=2)
        return joint, joint
    return tuple(Tokenizer.train(_lines(corpus, side), options, seed) for side in ("source", "target"))  # type: ignore[return-value]


def _lines(corpus: datasets.Dataset, column: str) -> Iterator[str]:
    """One column's strings, a thousand rows in memory at a time."""
    for rows in corpus.select_columns([column]).iter(batch_size=1000):
        yield from rows[column]
