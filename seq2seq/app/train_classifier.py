"""`seq2seq train-classifier`: from labelled text, and a translator if there is one, to a model directory."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch
from torch import Tensor, nn

from seq2seq import checkpoint
from seq2seq.app.run import Again, Run, say
from seq2seq.config import TrainClassifierConfig
from seq2seq.errors import ConfigError, CorpusError
from seq2seq.inference.card import model_card
from seq2seq.inference.classification import classification_report
from seq2seq.inference.classifier import decide
from seq2seq.inference.loading import check_ngrams, describe_translator, load_translator
from seq2seq.nn.classifier import ClassificationModel, label_loss
from seq2seq.nn.ngrams import WORDS, NgramLayer, spelling
from seq2seq.text.batching import batch_order
from seq2seq.text.labels import (
    LabelledBatch,
    LabelledData,
    Labels,
    Limits,
    check_labels,
    has_labelled,
    label_weights,
    load_labelled,
    stratified,
)
from seq2seq.text.tokenizer import Tokenizer
from seq2seq.training.distributed import ALONE, World, joined_world
from seq2seq.training.logistic import mixture, solved
from seq2seq.training.optim import LayerRates

# what a classifier takes from the translator that it starts from
TAKEN = ("embedding_size", "scale_embedding", "encoder_size", "encoder_layers", "reset_after")


class Start(NamedTuple):
    """A translator to start from."""

    tokenizer: Tokenizer
    weights: dict[str, Tensor]
    """By their names in the classifier."""
    joint: bool
    """Both languages have one vocabulary and one embedding."""

    @classmethod
    def read(cls, config: TrainClassifierConfig, directory: Path) -> Start:
        """Tokenizer, embedding and encoder of a translator's model directory.

        Raises:
            ModelDirectoryError: No (readable) model directory.
            ConfigError: It holds no translator.
        """
        saved = load_translator(directory, torch.device("cpu"))
        tensors = saved.model.state_dict()
        side = config.model.encoder_side
        joint = saved.config["joint"] and "source_embedding.weight" not in tensors
        table = "target_embedding.weight" if joint or side == "target" else "source_embedding.weight"
        weights = {"embedding.weight": tensors[table]}
        if joint or side == "source":
            weights |= {name: value for name, value in tensors.items() if name.startswith("encoder.")}
        else:
            say(f"{directory} embeds its languages apart: only the embedding of {side} is taken, the encoder is new")
        return cls(Tokenizer.from_bytes(saved.tokenizers[side]), weights, joint)


class Examples(NamedTuple):
    """What is trained and validated on."""

    train: LabelledData
    valid: LabelledData
    held_out: bool
    """The validation texts are some of those that were given to train on."""
    other: LabelledData | None
    """The validation texts in a language that is not trained on."""
    labels: list[str]
    several: bool

    def whole(self) -> Examples:
        """The same with all of those texts to train on, and none to validate."""
        return self._replace(train=self.train.joined(self.valid), valid=self.valid.first(0), held_out=False, other=None)


class ClassificationTask:
    """Classification as the trainer sees it."""

    unit = "texts"

    def __init__(
        self, config: TrainClassifierConfig, examples: Examples, device: torch.device, world: World = ALONE
    ) -> None:
        self.config, self.examples, self.device, self.world = config, examples, device, world
        self.directory = Path(config.training.output)
        self.measured: dict[str, Any] = {}
        """What the model's metrics say in the place of scores of its own, where it has none."""
        self.judge: NgramLayer | None = None
        """What validation has in the place of the model's n-grams, where these know the validation texts."""

    def order(self, epoch: int) -> Sequence[np.ndarray]:
        """The batches of an epoch."""
        training, lengths = self.config.training, self.examples.train.lengths
        return batch_order(
            lengths, lengths, batch_tokens=training.batch_tokens, batch_sentences=training.batch_sentences,
            seed=training.seed, epoch=epoch,
        )  # fmt: skip

    def batches(self, order: Sequence[np.ndarray], epoch: int, start: int) -> Iterator[LabelledBatch | None]:
        """This process' shares of those batches, tokenised anew where sampling is on."""
        sampling, seed = self.config.tokenizer.sampling, self.config.training.seed
        share = self.world.share
        return self.examples.train.batches(order, start=start, sampling=sampling, seed=seed, epoch=epoch, share=share)

    def learned(self, batch: LabelledBatch | None, model: nn.Module) -> Sequence[LabelledBatch | None]:
        """Each batch as it is."""
        return (batch,)

    def place(self, epoch: int) -> None:
        """All epochs read the same texts: a checkpoint need not tell where."""

    def go_to(self, epoch: int, place: Any) -> None:
        """The inverse of `place`."""

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Loss a text in nats, accuracy and F1 in percent; accuracy in the other language where there is one.

        Before, the mixture of encoder and n-grams becomes that which is best here. Nothing where there is no text to
        validate on.
        """
        assert isinstance(model, ClassificationModel)
        if not len(self.examples.valid):
            return {}
        parts, labels = self._parts(model, self.examples.valid)
        if model.ngrams is not None:
            model.ngrams.mixture.copy_(mixture(parts, labels, model.label_weights))
        scores = self._measured(model, parts, labels)
        if self.examples.other is not None:
            name = f"accuracy_{self.config.model.tied_languages}"
            scores[name] = self._measured(model, *self._parts(model, self.examples.other))["accuracy"]
        return scores

    def _parts(self, model: ClassificationModel, data: LabelledData) -> tuple[Tensor, Tensor]:
        """The parts of all texts' scores, on the model's device, and their labels; each process reads a share."""
        order = _order(data)
        batches, kept = filter(None, data.batches(order[self.world.share])), model.ngrams
        model.ngrams = self.judge or kept
        try:
            found = self.world.joined([model.parts(batch.to(self.device)).float().cpu().numpy() for batch in batches])
        finally:
            model.ngrams = kept
        labels = data.labels[np.concatenate(order)]
        return torch.from_numpy(np.concatenate(found)).to(self.device), torch.from_numpy(labels).to(self.device)

    def _measured(self, model: ClassificationModel, parts: Tensor, labels: Tensor) -> dict[str, float]:
        several, names, logits = self.examples.several, self.examples.labels, model.mixed(parts)
        truth = labels.cpu().numpy() if several else np.eye(len(names), dtype=bool)[labels.cpu().numpy()]
        decided = decide(model.distribution(logits).cpu().numpy(), several)
        loss = label_loss(logits, labels, model.label_weights).item() / len(labels)
        return {"loss": loss, **classification_report(truth, decided, names, several).summary()}

    def save(self, tensors: dict[str, Tensor], metrics: dict[str, Any]) -> None:
        """Replaces the model in the output directory."""
        metrics = metrics | self.measured
        card = model_card(checkpoint.read_config(self.directory), metrics, self.directory.name)
        checkpoint.save_weights(self.directory, tensors, metrics, card)


def _order(data: LabelledData) -> Sequence[np.ndarray]:
    """Batches of all texts, for what reads them once and in any order."""
    return batch_order(data.lengths, data.lengths, batch_tokens=6000, batch_sentences=0, seed=0, epoch=0)


def train_classifier(config: TrainClassifierConfig, command: list[str]) -> None:
    """Trains a classifier as configured and leaves a model directory.

    Args:
        config: Every option of the run.
        command: What was typed, kept with the metrics.

    Raises:
        UserError: Options, data or directories that cannot be used; nothing is written then.
        Interrupted: A signal stopped the run, whose state is saved.
        SystemExit: Another process of this training has told why it ends.
    """
    with joined_world() as world:
        _train(config, command, world)


def _train(config: TrainClassifierConfig, command: list[str], world: World) -> None:
    config = world.lead(lambda: _with_sizes(config))
    expected = "a folder with train.tsv ... (label<TAB>text), a file, or a hub data set id"
    run = Run.begin(config, command, expected, world)
    start = Start.read(config, Path(config.model.encoder)) if config.model.encoder and run.resumed is None else None
    examples, tokenizer = world.in_turn(lambda: prepare_examples(config, run.resumed, start))
    config = _long_enough(config, len(ClassificationTask(config, examples, run.device).order(0)))
    run = run._replace(config=config)
    task = ClassificationTask(config, examples, run.device, world)
    model = build_classifier(config, examples, tokenizer, start)
    model.ngrams, task.judge = _ngram_layers(run, task, tokenizer, model.label_weights)
    model = model.to(run.device)
    optimization = config.optimization
    depths = {name: model.depth(name) for name, _ in model.named_parameters()}
    layers = LayerRates(depths, optimization.layer_decay, optimization.unfreeze_epochs)
    described = {
        "task": "classification",
        "labels": examples.labels,
        "several": examples.several,
        "examples": len(examples.train),
        "separator": config.data.label_separator,
        "limits": examples.train.limits._asdict(),
        "known_ngrams": 0 if model.ngrams is None else len(model.ngrams.names),
        "words": WORDS if model.ngrams is not None else 0,
    }
    again = None
    # where validation lowers the rate, there is no schedule without it
    repeatable = config.training.refit and config.data.train_share == 1 and optimization.schedule != "plateau"
    if examples.held_out and repeatable:
        again = Again(
            lambda: ClassificationTask(config, examples.whole(), run.device, world),
            functools.partial(_new_model, run, tokenizer, model),
        )
    run.train(model, task, described, (tokenizer, tokenizer), layers, again)


def _new_model(
    run: Run, tokenizer: Tokenizer, first: ClassificationModel, task: ClassificationTask, measured: dict[str, Any]
) -> ClassificationModel:
    """A new model to learn from all texts, with the n-grams and the mixture of a first that has learned as long.

    So nothing that was given is lost to validation, whose scores stay those of the model that did not know its texts.
    The mixture is that of the last validation; of the best where --patience makes it learn as long as the best had.
    """
    mixture, valid = run.world.lead(lambda: _found(run.directory))
    task.measured = {"valid": valid, "examples": len(task.examples.train), **measured}
    config = task.config
    start = Start.read(config, Path(config.model.encoder)) if config.model.encoder else None
    model = build_classifier(config, task.examples, tokenizer, start)
    model.ngrams, first.ngrams = first.ngrams, None  # what the first training has ended with is in its directory
    if model.ngrams is not None and (run.config.training.patience or not model.ngrams.mixture.isfinite().all()):
        model.ngrams.mixture.copy_(torch.tensor(mixture))
    return model.to(run.device)


def _found(directory: Path) -> tuple[list[float], dict[str, float]]:
    """The mixture of the model in a directory, and its scores."""
    tensors = checkpoint.load_model(directory).tensors
    return tensors.get("ngrams.mixture", torch.zeros(0)).tolist(), checkpoint.read_metrics(directory)["valid"]


def _ngram_layers(
    run: Run, task: ClassificationTask, tokenizer: Tokenizer, weights: Tensor | None
) -> tuple[NgramLayer | None, NgramLayer | None]:
    """The layer on n-grams, solved for (empty where a checkpoint will fill it), and that for validation, if another.

    Texts that were held out of those given are for the encoder's sake, which must stop somewhere; a problem with one
    answer has no such need. So the n-grams have all texts from the beginning (but where a share of them was asked for),
    and validation goes by n-grams that have not seen its own.

    Raises:
        ModelDirectoryError: The run that goes on is of an earlier version, whose n-grams were others.
    """
    config, examples = task.config.model, task.examples
    saved = None
    if run.resumed is not None and checkpoint.last_step(run.resumed) is not None:
        saved = checkpoint.read_config(run.resumed)
        check_ngrams(run.resumed, saved)
    if not config.ngrams:
        return None, None
    spelt = spelling(tokenizer.texts())

    def solve(*parts: LabelledData) -> tuple[NgramLayer, int]:
        start = time.perf_counter()
        batches = (batch for part in parts for batch in part.batches(_order(part)) if batch is not None)
        layer, texts = solved(config.ngrams, len(examples.labels), batches, config.ngram_penalty, weights, spelt=spelt)
        share = "" if texts == sum(map(len, parts)) else ", for want of memory"
        seconds = time.perf_counter() - start
        say(f"n-grams of {texts:,} texts{share}: {len(layer.names):,} known, solved for in {seconds:.1f} s")
        return layer, texts

    judge, texts = None, 0
    # where a run goes on, the share may have been larger at its beginning
    if examples.held_out and (task.config.data.train_share == 1 or saved is not None):
        judge, texts = solve(examples.train)
        judge = judge.to(run.device)
    if saved is not None:
        return NgramLayer(config.ngrams, saved["known_ngrams"], len(examples.labels), tokenizer.vocab_size), judge
    if judge is None or texts < len(examples.train):  # no memory for more
        return judge or solve(examples.train)[0], None
    return solve(examples.train, examples.valid)[0], judge


def _with_sizes(config: TrainClassifierConfig) -> TrainClassifierConfig:
    """The configuration with the translator's sizes in it, where there is one.

    Raises:
        ConfigError: The directory holds no translator, or --tied-languages cannot be tried.
    """
    model = config.model
    if not model.encoder:
        if model.tied_languages:
            raise ConfigError("--tied-languages needs --encoder, a translator with one vocabulary for both languages")
        return config
    if config.tokenizer.tokenizer:
        raise ConfigError("--tokenizer and --encoder exclude each other: the translator brings its own tokenizer")
    sizes, described = describe_translator(Path(model.encoder))
    if model.tied_languages and not (described["joint"] and sizes.tie_source_target):
        raise ConfigError(
            f"--tied-languages: {model.encoder} has not one vocabulary and embedding for both languages; train the "
            "translator with --joint and --tie-source-target"
        )
    taken = {name: getattr(sizes, name) for name in TAKEN}
    return dataclasses.replace(config, model=dataclasses.replace(model, **taken))


def _long_enough(config: TrainClassifierConfig, batches: int) -> TrainClassifierConfig:
    """The configuration with so many epochs, of some batches each, that there are `min_steps` (if epochs limit it)."""
    training = config.training
    steps = -(-batches // config.optimization.accumulate)
    if training.max_steps or not 0 < training.max_epochs * steps < training.min_steps:
        return config
    epochs, every = (
        -(-training.min_steps // steps),
        training.validate_every or training.min_steps // training.max_epochs,
    )
    say(f"{training.max_epochs} epochs of {steps} steps are few: {epochs} epochs instead (--min-steps)")
    return dataclasses.replace(config, training=dataclasses.replace(training, max_epochs=epochs, validate_every=every))


def prepare_examples(
    config: TrainClassifierConfig, resumed: Path | None, start: Start | None
) -> tuple[Examples, Tokenizer]:
    """Texts and labels to train and to validate on, tokenised, and the tokenizer; says what was found and left out."""
    data, several = config.data, bool(config.data.label_separator)
    corpus = load_labelled(data, data.train_split)
    every = Labels.read(corpus, data.label_separator)
    rows = np.arange(len(corpus)) if several else np.flatnonzero(every.present())
    if len(rows) < len(corpus):
        say(f"left out of training: {len(corpus) - len(rows):,} rows without a label")
    valid_corpus, valid_rows = corpus, np.zeros(0, dtype=np.int64)
    if has_labelled(data, data.valid_split):
        valid_corpus = load_labelled(data, data.valid_split)
    else:
        rows, valid_rows = _held_out(config, rows, every)
    if data.train_share < 1:
        rows = rows[stratified(every.strata()[rows], 1 - data.train_share, config.training.seed)[0]]
    names = every.take(rows).names()
    check_labels(names, data.data, several)
    valid_labels = Labels.read(valid_corpus, data.label_separator)
    if valid_corpus is not corpus:
        valid_rows = np.arange(len(valid_corpus))
    valid_rows = _known(valid_rows, valid_labels, names, several)
    if not len(valid_rows) and (valid_corpus is not corpus or data.valid_share > 0):
        raise CorpusError(f"{data.data}: no validation text has a label that the training texts have")
    tokenizer = _tokenizer(config, corpus.select(rows), resumed, start)
    limits = Limits(data.max_length, data.long_texts, data.max_windows)
    train = LabelledData(corpus, _targets(every, rows, names, several), rows, tokenizer, limits)
    targets = _targets(valid_labels, valid_rows, names, several)
    valid, other = LabelledData(valid_corpus, targets, valid_rows, tokenizer, limits), None
    if config.model.tied_languages:
        columns = dataclasses.replace(data, text_column=config.model.tied_languages)
        split = data.train_split if valid_corpus is corpus else data.valid_split
        other = LabelledData(load_labelled(columns, split), targets, valid_rows, tokenizer, limits)
    say(f"{len(train):,} texts to train on, {len(valid):,} for validation, {len(names):,} labels")
    if train.cut:
        say(f"{train.cut:,} training texts have more than {limits.most:,} pieces: only that many are read")
    held_out = valid_corpus is corpus and len(valid) > 0
    return Examples(train, valid, held_out, other, names, several), tokenizer


def _held_out(config: TrainClassifierConfig, rows: np.ndarray, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    data = config.data
    if not 0 <= data.valid_share < 1:
        raise ConfigError(f"--valid-share is {data.valid_share}, expected 0 or more and less than 1")
    if data.valid_share == 0:
        if config.training.patience or config.optimization.schedule == "plateau":
            raise ConfigError("--valid-share 0 holds no text out: there is nothing for --patience or plateau to go by")
        say(f"no split {data.valid_split!r}, and none is held out: the model of the end is kept, unmeasured")
        return rows, rows[:0]
    kept, held = stratified(labels.strata()[rows], data.valid_share, config.training.seed)
    if not len(held):
        raise CorpusError(
            f"{data.data} has no validation split {data.valid_split!r}, and {len(rows)} training texts are too few to "
            "hold some of them out; add texts, or a validation split"
        )
    say(f"no split {data.valid_split!r}: {len(held):,} of {len(rows):,} training texts are held out for validation")
    return rows[kept], rows[held]


def _known(rows: np.ndarray, labels: Labels, names: list[str], several: bool) -> np.ndarray:
    """The rows all of whose labels are known."""
    known = set(names)
    good = np.array([set(cell) <= known and (several or bool(cell)) for cell in labels.cells], dtype=bool)
    kept = rows[good[labels.codes[rows]]]
    if len(kept) < len(rows):
        say(f"left out of validation: {len(rows) - len(kept):,} rows with no label, or one that training has not")
    return kept


def _targets(labels: Labels, rows: np.ndarray, names: list[str], several: bool) -> np.ndarray:
    hot = labels.take(rows).hot(names)
    return hot if several else hot.argmax(1)


def _tokenizer(
    config: TrainClassifierConfig, corpus: datasets.Dataset, resumed: Path | None, start: Start | None
) -> Tokenizer:
    if resumed is not None:
        return Tokenizer.from_bytes(checkpoint.read_tokenizers(resumed)["source"])
    if start is not None:
        return start.tokenizer
    if config.tokenizer.tokenizer is not None:
        return Tokenizer.load(config.tokenizer.tokenizer)
    lines = (line for rows in corpus.select_columns(["target"]).iter(batch_size=1000) for line in rows["target"])
    return Tokenizer.train(lines, config.tokenizer, config.training.seed)


def build_classifier(
    config: TrainClassifierConfig, examples: Examples, tokenizer: Tokenizer, start: Start | None
) -> ClassificationModel:
    """A model with the seed's initial weights, or in part the translator's; says how large it is."""
    torch.manual_seed(config.training.seed)
    weights = None
    if config.data.class_weights == "balanced":
        weights = torch.from_numpy(label_weights(examples.train.labels, len(examples.labels)))
    model = ClassificationModel(config.model, tokenizer.vocab_size, len(examples.labels), examples.several, weights)
    if start is not None:
        model.load_state_dict(start.weights, strict=False)
    frozen = {"none": (), "embedding": ("embedding.",), "encoder": ("embedding.", "encoder.")}
    for name, parameter in model.named_parameters():
        if name.startswith(frozen[config.optimization.freeze]):
            parameter.requires_grad_(False)
    count = sum(p.numel() for p in model.parameters())
    origin = f", {len(start.weights)} tensors from {config.model.encoder}" if start is not None else ""
    say(f"model: {count:,} parameters, vocabulary {tokenizer.vocab_size:,}{origin}")
    return model
