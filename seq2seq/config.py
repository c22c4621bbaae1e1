"""Every option, once: a dataclass field is the default, the type, the doc line, the YAML key and the flag.

The fields of all sections of a command have different names, so that a YAML file and the command line are flat lists
of names, while the code passes each part only the section that it needs.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import sys
import textwrap
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from seq2seq.errors import ConfigError, nearest, shown

T = TypeVar("T")


@dataclass(frozen=True)
class SplitsConfig:
    """What to read of a data set, whatever it holds."""

    data: str = ""
    """A folder, a file, or a hub data set id."""
    train_split: str = "train"
    """Split to train on."""
    valid_split: str = "valid"
    """Split to validate on; `val`, `dev` and `validation` are found too."""
    encoding_errors: Literal["strict", "replace"] = "strict"
    """Invalid UTF-8: `strict` stops and names the line, `replace` puts U+FFFD in its place."""


@dataclass(frozen=True)
class DataConfig(SplitsConfig):
    """What to read."""

    data: str = ""
    """Corpus: a folder with train.en train.de valid.en ..., a .tsv/.csv/.jsonl/.parquet file, or a hub data set id."""
    source: str = "source"
    """Language (column, file ending) to translate from."""
    target: str = "target"
    """Language (column, file ending) to translate into."""
    valid_share: float = 0.05
    """Where there is no validation split, this share of the training pairs, at most 1,000, is held out; 0: none."""
    both_directions: bool = False
    """One model for both directions: pairs are learned either way, validated from source to target; needs --joint."""
    max_length: int = 200
    """Training pairs with more pieces than this on either side are left out (and counted)."""
    streaming: bool = False
    """Read Parquet, JSONL or a hub data set while training, without preparing it first."""
    stream_buffer: int = 100_000
    """With `streaming`: pairs in memory, shuffled and put into batches together; so many count as an epoch."""

    flags: ClassVar[tuple[str, str]] = ("--source", "--target")


@dataclass(frozen=True)
class FilterConfig:
    """Which pairs of a corpus are worth training on."""

    max_characters: int = 1000
    """Most characters of either side; 0: no limit."""
    max_ratio: float = 3.0
    """A side may be so many times longer than the other, where 1 is what is usual in this corpus; 0: no limit."""
    min_letters: float = 0.5
    """Least share of letters among the characters of either side that are no spaces; 0: any."""
    keep_identical: bool = False
    """Keep pairs whose two sides are one text."""
    keep_repetitions: bool = False
    """Keep pairs that have stood in the corpus before."""
    keep_held_out: bool = False
    """Keep pairs whose source stands in another split too, such as the one to test on."""


@dataclass(frozen=True)
class TokenizerConfig:
    """Text to pieces."""

    tokenizer: str | None = None
    """A SentencePiece .model to use as it is, instead of training one."""
    vocab_size: int = 8000
    """Pieces in the vocabulary (in each of the two when not joint); fewer when the text is too small for it."""
    tokenizer_type: Literal["bpe", "unigram"] = "bpe"
    """SentencePiece algorithm."""
    normalization: Literal["nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity"] = "nmt_nfkc"
    """SentencePiece normalisation rule, stored in the model; `identity` changes nothing."""
    tokenizer_sentences: int = 1_000_000
    """The tokenizer is trained on at most this many lines a language, a seeded sample."""
    sampling: float = 0.0
    """BPE-dropout probability, or (unigram) 1 - smoothing; training segments anew each epoch. 0 turns it off."""


@dataclass(frozen=True)
class PairTokenizerConfig(TokenizerConfig):
    """Text of two languages to pieces."""

    joint: bool = True
    """One vocabulary for both languages."""


@dataclass(frozen=True)
class EncoderConfig:
    """Embedding and encoder of any model (notation: E embedding, C encoder states)."""

    embedding_size: int = 256
    """E, the size of embeddings."""
    scale_embedding: bool = True
    """Embeddings are multiplied by the root of E: larger inputs, and larger steps than those of the output layer."""
    encoder_size: int = 256
    """State of each of the encoder's two directions; C is twice that."""
    encoder_layers: int = 1
    """Bidirectional GRU layers; residual from the second on."""
    reset_after: bool = True
    """Reset gate after the recurrent product (as cuDNN and torch.nn.GRU), or before it (as the papers)."""
    initialization: Literal["glorot", "he", "truncated_normal", "normal", "uniform"] = "glorot"
    """Initial weights of matrices; biases start at zero."""
    initialization_scale: float = 0.01
    """Standard deviation (or half width) for normal, truncated_normal and uniform."""
    orthogonal_recurrent: bool = True
    """Orthogonal initial recurrent matrices, a block a gate."""
    dropout_embedding: float = 0.2
    """Dropout on embeddings."""
    dropout: float = 0.3
    """Dropout on encoder outputs and between layers."""
    dropout_state: float = 0.0
    """Variational dropout on the recurrent state: one mask a sequence."""
    word_dropout: float = 0.0
    """Probability that the embedding of a whole piece is zero."""
    r_drop: float = 0.0
    """R-Drop: weight of the divergence between two passes with different dropout; 0 (one pass) is twice as fast."""


@dataclass(frozen=True)
class ModelConfig(EncoderConfig):
    """Sizes and structure of a translator (notation: E embedding, H state, C context, A attention)."""

    embedding_size: int = 512
    """E, the size of embeddings."""
    attention: Literal["bahdanau", "none"] = "bahdanau"
    """`bahdanau`: additive attention; `none`: one fixed summary of the source (Cho et al. 2014)."""
    decoder_size: int = 512
    """H, the decoder's state."""
    decoder_layers: int = 1
    """Decoder GRU layers; the ones above the first take [output; context], with residual connections."""
    attention_size: int = 256
    """A, the hidden layer of the attention."""
    query_token: bool = True
    """The attention's query sees the previous token, not only the previous state as in Bahdanau et al. 2015."""
    attend_embedding: bool = True
    """What attention gives holds the source tokens' embeddings beside the encoder's states: a short way for words."""
    readout: Literal["tanh", "maxout"] = "tanh"
    """Deep output: tanh, or maxout over pairs as in the papers."""
    readout_scale: float = 3.0
    """The deep output is multiplied by it: larger logits, and larger steps of the output layer."""
    tie_output: bool = True
    """Output matrix = target embedding."""
    tie_source_target: bool = True
    """Source embedding = target embedding; only where the vocabulary is joint."""
    dropout_readout: float = 0.3
    """Dropout on the deep output, before the output matrix."""


@dataclass(frozen=True)
class OptimizationConfig:
    """How weights move."""

    optimizer: Literal["adamw", "adam", "sgd", "adadelta", "rmsprop"] = "adamw"
    """PyTorch's optimizers."""
    learning_rate: float = 2e-3
    """Peak learning rate."""
    beta1: float = 0.9
    """Adam's first decay; momentum of SGD and RMSprop when given."""
    beta2: float = 0.98
    """Adam's second decay."""
    rho: float = 0.95
    """Decay of Adadelta and RMSprop."""
    epsilon: float = 1e-8
    """Added to denominators."""
    weight_decay: float = 0.0
    """Decoupled weight decay on matrices (AdamW; for the others applied the same way, times the learning rate)."""
    l2: float = 0.0
    """L2 penalty: added to the gradient of matrices."""
    schedule: Literal["constant", "inverse_sqrt", "cosine", "linear", "plateau"] = "cosine"
    """Learning rate after warm-up; cosine and linear end at `final_rate` of the peak when training ends."""
    warmup_steps: int = 200
    """Steps of linear warm-up."""
    final_rate: float = 0.02
    """Share of the peak learning rate at the end of cosine and linear."""
    plateau_factor: float = 0.5
    """Plateau: the learning rate is multiplied by this when validation stops improving."""
    plateau_patience: int = 2
    """Plateau: validations without improvement before that."""
    clip_norm: float = 1.0
    """Gradients are scaled down to this global norm; 0 turns it off."""
    clip_value: float = 0.0
    """Each gradient entry is cut to [-value, value]; 0 turns it off."""
    accumulate: int = 1
    """Batches whose gradients are summed before a step."""
    label_smoothing: float = 0.1
    """Mass of the target distribution spread evenly over the vocabulary."""
    ema_decay: float = 0.999
    """Averaged weights (exponential moving average) are what is validated and saved; 0 turns it off."""


@dataclass(frozen=True)
class RunConfig:
    """The run, whatever is trained."""

    output: str = ""
    """Model directory to write."""
    seed: int = 1
    """Everything random follows from it."""
    batch_tokens: int = 3000
    """Tokens in a batch, padding included: sentences x the longest side."""
    batch_sentences: int = 0
    """At most this many sentences in a batch; 0: only the token budget counts."""
    max_epochs: int = 16
    """Stop after this many passes over the corpus; 0: no limit."""
    max_steps: int = 0
    """Stop after this many steps; 0: no limit."""
    max_minutes: float = 0.0
    """Stop after this much training time, validation included; 0: no limit."""
    validate_every: int = 0
    """Steps between validations; 0: once an epoch."""
    save_every: int = 0
    """Steps between checkpoints of the training state; 0: at each validation."""
    validation_metric: str = "loss"
    """What decides the best model, early stopping and the plateau schedule."""
    patience: int = 0
    """Stop after this many validations without improvement; 0: never."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Matrix products: `auto` takes bfloat16 where a short timed product shows it to be faster."""
    threads: int = 0
    """CPU threads; 0: the cores this process may use."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    resume: bool = False
    """Go on from the last checkpoint in `output`; starts anew, and says so, where there is none."""
    overwrite: bool = False
    """Allow `output` to be a directory that holds another model."""
    tensorboard: bool = False
    """Also write TensorBoard event files to output/tensorboard (extra `tensorboard`)."""
    log_every: int = 50
    """Steps between lines of metrics.jsonl."""


@dataclass(frozen=True)
class TrainingConfig(RunConfig):
    """The run of a translator."""

    initial_model: str = ""
    """Start from this translator: its tokenizer, sizes and weights (for a domain, more text, the other direction)."""
    risk: float = 0.0
    """Minimum risk training of an `initial_model`: weight of the BLEU (0 to 1) that its translations miss; 0: none."""
    risk_beam: int = 5
    """With `risk`: translations of a text that are compared and learned from, those that a beam of this size finds."""
    validation_metric: Literal["bleu", "chrf", "loss"] = "bleu"
    """What decides the best model, early stopping and the plateau schedule."""
    validation_sentences: int = 1000
    """At most this many sentences, from all parts of the split, are translated at a validation (loss: all of them)."""


@dataclass(frozen=True)
class DistillationConfig:
    """How several translators become one; what `train` has is that of each training."""

    teachers: int = 3
    """Translators that differ in their seed (`seed`, the next ...), and translate the training text together."""
    student_epochs: int = 7
    """Passes of the last training over the pairs made so, about four times as many (in place of max_epochs)."""
    student_rate: float = 1e-3
    """Peak learning rate of the last training, which goes on from the first teacher (in place of learning_rate)."""
    reverse_output: str = ""
    """Model directory of the other direction, which learns from the same pairs; without it there is none."""
    work: str = ""
    """Folder for teachers, pairs and logs; without it, that of `output` with .work behind."""


@dataclass(frozen=True)
class SearchConfig:
    """Decoding."""

    beam_size: int = 5
    """Hypotheses kept a sentence; 1 is greedy search."""
    n_best: int = 1
    """Translations returned a sentence."""
    length_penalty: float = 1.0
    """A hypothesis' log probability is divided by its length to this power; 0 compares raw log probabilities."""
    min_length: int = 0
    """Least pieces in a translation."""
    max_length: int = 0
    """Most pieces in a translation; 0: twice the source's pieces plus 20."""
    mbr: bool = False
    """Of the hypotheses found take that which the others agree with most (minimum Bayes risk), not the likeliest."""
    no_repeat_ngram: int = 0
    """No n-gram of this many pieces occurs twice; 0 turns it off."""
    sample: bool = False
    """Draw from the model's distribution instead of searching; `beam_size` is ignored, n_best draws are made."""
    temperature: float = 1.0
    """Logits are divided by it before sampling."""
    top_k: int = 0
    """Sample among the k likeliest pieces only; 0: all."""
    top_p: float = 1.0
    """Sample among the likeliest pieces that hold this much probability (nucleus)."""
    search_seed: int = 1
    """Seed for sampling."""
    search_tokens: int = 10_000
    """Budget of a decoding batch: sentences x hypotheses x longest source."""


@dataclass(frozen=True)
class ServingConfig:
    """What a server takes on."""

    batch_size: int = 64
    """Most lines of text that are worked on together."""
    queue_size: int = 512
    """Most lines that wait; a request for which there is no place is answered with status 429."""
    max_characters: int = 5000
    """Most characters of a request's texts; more are answered with status 413."""
    timeout: float = 30.0
    """Seconds until a request that is not done is given up (status 503)."""


@dataclass(frozen=True)
class TrainTranslatorConfig:
    """Train a translation model."""

    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: PairTokenizerConfig = field(default_factory=PairTokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass(frozen=True)
class DistillConfig(TrainTranslatorConfig):
    """Train several translation models, and one that learns from them."""

    distillation: DistillationConfig = field(default_factory=DistillationConfig)


@dataclass(frozen=True)
class LabelDataConfig(SplitsConfig):
    """Which labelled text to read."""

    data: str = ""
    """Labelled text: a folder with train.tsv ... (or train.label, train.text ...), a file, or a hub data set id."""
    text_column: str = "text"
    """Column (file ending) of the texts; a TSV or CSV file without header has `label<TAB>text`."""
    label_column: str = "label"
    """Column (file ending) of the labels."""
    label_separator: str = ""
    """Given, a row may have several labels (or none) with this between them; else the whole cell is one label."""
    valid_share: float = 0.1
    """Where there is no such split, this share of the training split is held out, the same of each label; 0: none."""
    train_share: float = 1.0
    """Train on this share of the training split only, the same of each label (for learning curves)."""
    max_length: int = 256
    """Pieces that the encoder reads at once; `long_texts` says what becomes of longer texts."""
    long_texts: Literal["windows", "ends", "start"] = "windows"
    """`windows`: read in parts, pooled together; `ends`: the middle is left out; `start`: the end is left out."""
    max_windows: int = 8
    """Parts of a text at most; the middle of a still longer one is left out (and said)."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced`: rare labels weigh more, in inverse proportion to their number."""


@dataclass(frozen=True)
class ClassifierTokenizerConfig(TokenizerConfig):
    """Text to pieces; all but `sampling` is the translator's where one is given."""

    vocab_size: int = 8000
    """Pieces in the vocabulary; fewer when the text is too small for it."""
    tokenizer_type: Literal["bpe", "unigram"] = "unigram"
    """SentencePiece algorithm; unigram measured better for classification, BPE for translation."""
    sampling: float = 0.1
    """BPE-dropout probability, or (unigram) 1 - smoothing; training segments anew each epoch. 0 turns it off."""


@dataclass(frozen=True)
class ClassifierConfig(EncoderConfig):
    """Encoder, pooling, head; the sizes are the translator's where one is given."""

    encoder: str | None = None
    """Translator's model directory to start from: tokenizer, embeddings and encoder."""
    encoder_side: Literal["source", "target"] = "source"
    """Language of the texts, among the translator's two; `target` keeps the encoder only where embeddings are tied."""
    tied_languages: str | None = None
    """Text column of the translator's other language: the classifier is measured on it too, untrained on it."""
    pooling: Literal["concat", "mean", "max", "last", "attention"] = "concat"
    """How states become one vector; `concat`: mean, max and last together."""
    attention_size: int = 128
    """Hidden layer of the attention that pools."""
    dropout_pooled: float = 0.3
    """Dropout on the pooled states, before the head."""
    ngrams: int = 3
    """Mixed with the encoder: regression on n-grams of up to so many pieces, on words and pairs of words. 0: none."""
    ngram_penalty: float = 0.01
    """L2 penalty of that regression: of the scale of scikit-learn's 1 / C (2 / C where there are two labels)."""


@dataclass(frozen=True)
class ClassifierOptimizationConfig(OptimizationConfig):
    """How weights move; lower layers may move less or later."""

    learning_rate: float = 2e-3
    """Peak learning rate, the head's."""
    warmup_steps: int = 100
    """Steps of linear warm-up."""
    ema_decay: float = 0.99
    """Averaged weights (exponential moving average) are what is validated and saved; 0 turns it off."""
    layer_decay: float = 1.0
    """Each layer down from the head learns at this times the rate of the one above; the embedding is the lowest."""
    unfreeze_epochs: float = 0.0
    """Gradual unfreezing: a layer starts to learn this many epochs after the one above it."""
    freeze: Literal["none", "embedding", "encoder"] = "none"
    """What never learns: the embedding, or it and the whole encoder."""


@dataclass(frozen=True)
class ClassifierTrainingConfig(RunConfig):
    """The run of a classifier."""

    batch_tokens: int = 2000
    """Pieces in a batch, padding included: texts x the longest."""
    batch_sentences: int = 32
    """At most this many texts in a batch; 0: only the token budget counts."""
    refit: bool = True
    """Where texts were held out of those given: in the end a new model learns from all of them, for as many epochs."""
    min_steps: int = 800
    """A set so small that `max_epochs` are fewer steps than this gets more epochs (no more validations); 0: never."""
    validation_metric: Literal["accuracy", "macro_f1", "micro_f1", "loss"] = "accuracy"
    """What decides the best model, early stopping and the plateau schedule."""


@dataclass(frozen=True)
class TrainClassifierConfig:
    """Train a text classifier."""

    data: LabelDataConfig = field(default_factory=LabelDataConfig)
    tokenizer: ClassifierTokenizerConfig = field(default_factory=ClassifierTokenizerConfig)
    model: ClassifierConfig = field(default_factory=ClassifierConfig)
    optimization: ClassifierOptimizationConfig = field(default_factory=ClassifierOptimizationConfig)
    training: ClassifierTrainingConfig = field(default_factory=ClassifierTrainingConfig)


@functools.cache
def field_docs(section: type) -> dict[str, str]:
    """The doc line under each field of a dataclass and of those it derives from, read from their source."""
    docs: dict[str, str] = {}
    for base in filter(dataclasses.is_dataclass, reversed(section.__mro__)):
        docs |= _own_docs(base)
    return docs


def _own_docs(section: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(section)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    docs = {}
    for before, after in itertools.pairwise(body):
        if (
            isinstance(before, ast.AnnAssign)
            and isinstance(before.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            docs[before.target.id] = " ".join(str(after.value.value).split())
    return docs


@functools.cache
def _hints(config: type) -> dict[str, Any]:
    return typing.get_type_hints(config)


def sections(config: type) -> dict[str, type]:
    """Name and dataclass of each section of a command's configuration; {"": config} when it has none."""
    hints = _hints(config)
    found = {f.name: hints[f.name] for f in dataclasses.fields(config) if dataclasses.is_dataclass(hints[f.name])}
    return found or {"": config}  # type: ignore[return-value]


def option_names(config: type) -> dict[str, str]:
    """Each option's section, by the option's name.

    Raises:
        AssertionError: Two sections use one name (our own mistake).
    """
    names: dict[str, str] = {}
    for section, cls in sections(config).items():
        for f in dataclasses.fields(cls):
            assert f.name not in names, f"option {f.name} stands in two sections"
            names[f.name] = section
    return names


def _accepts(hint: Any, value: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin is Literal:
        return value in typing.get_args(hint)
    if origin is not None:  # X | None, the only other kind used here
        return any(_accepts(part, value) for part in typing.get_args(hint))
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _expected(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(str(choice) for choice in typing.get_args(hint))
    return getattr(hint, "__name__", str(hint))


def from_flat(config: type[T], values: dict[str, Any], where: str = "configuration") -> T:
    """A configuration from a flat dictionary of options; options not named keep their defaults.

    Args:
        config: A dataclass whose fields are options, or sections that hold options.
        values: Option name to value.
        where: What to call the origin of the values in an error.

    Raises:
        ConfigError: An unknown name (the nearest known one is told) or a value of the wrong type.
    """
    names = option_names(config)
    parts: dict[str, dict[str, Any]] = {section: {} for section in sections(config)}
    for name, value in values.items():
        if name not in names:
            raise ConfigError(f"{where}: unknown option {shown(name)}{nearest(str(name), names)}")
        cls = sections(config)[names[name]]
        hint = _hints(cls)[name]
        if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
            try:
                value = float(value)
            except ValueError:
                pass
        if not _accepts(hint, value) or (hint is float and not abs(value) <= sys.float_info.max):
            raise ConfigError(f"{where}: {name} is {shown(value)}, expected {_expected(hint)}")
        parts[names[name]][name] = float(value) if hint is float else value
    if set(parts) == {""}:
        return config(**parts[""])
    return config(**{section: sections(config)[section](**part) for section, part in parts.items()})


def to_flat(config: Any) -> dict[str, Any]:
    """The inverse of `from_flat`: every option with its value."""
    flat: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        flat.update(dataclasses.asdict(value) if dataclasses.is_dataclass(value) else {f.name: value})  # type: ignore[arg-type]
    return flat


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The flat dictionary in a YAML recipe.

    Raises:
        ConfigError: No such file, no valid YAML, or not a flat list of `option: value`.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read configuration {path}: {error.strerror}; recipes are in configs/") from None
    # a date that does not exist is a ValueError, a sequence that opens a thousand others a RecursionError
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no valid YAML: {' '.join(str(error).split())[:300]}") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or any(isinstance(value, (dict, list)) for value in values.values()):
        raise ConfigError(f"{path}: expected lines of `option: value`, as `seq2seq train --help` names them")
    return values
