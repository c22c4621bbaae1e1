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
import textwrap
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from seq2seq.errors import ConfigError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class DataConfig:
    """What to read."""

    data: str = ""
    """Corpus: a folder with train.en train.de valid.en ..., a .tsv/.csv/.jsonl/.parquet file, or a hub data set id."""
    source: str = "source"
    """Language (column, file ending) to translate from."""
    target: str = "target"
    """Language (column, file ending) to translate into."""
    train_split: str = "train"
    """Split to train on."""
    valid_split: str = "valid"
    """Split to validate on; `val`, `dev` and `validation` are found too."""
    max_length: int = 200
    """Training pairs with more pieces than this on either side are left out (and counted)."""
    encoding_errors: Literal["strict", "replace"] = "strict"
    """Invalid UTF-8: `strict` stops and names the line, `replace` puts U+FFFD in its place."""


@dataclass(frozen=True)
class TokenizerConfig:
    """Text to pieces."""

    tokenizer: str | None = None
    """A SentencePiece .model to use as it is, instead of training one."""
    vocab_size: int = 8000
    """Pieces in the vocabulary (in each of the two when not joint); fewer when the text is too small for it."""
    tokenizer_type: Literal["bpe", "unigram"] = "bpe"
    """SentencePiece algorithm."""
    joint: bool = True
    """One vocabulary for both languages."""
    normalization: Literal["nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity"] = "nmt_nfkc"
    """SentencePiece normalisation rule, stored in the model; `identity` changes nothing."""
    tokenizer_sentences: int = 1_000_000
    """The tokenizer is trained on at most this many lines a language, a seeded sample."""
    sampling: float = 0.0
    """BPE-dropout probability, or (unigram) 1 - smoothing; training segments anew each epoch. 0 turns it off."""


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and structure (notation: E embedding, H state, C context, A attention)."""

    attention: Literal["bahdanau", "none"] = "bahdanau"
    """`bahdanau`: additive attention; `none`: one fixed summary of the source (Cho et al. 2014)."""
    embedding_size: int = 256
    """E, of both languages."""
    encoder_size: int = 256
    """State of each of the encoder's two directions; C is twice that."""
    encoder_layers: int = 1
    """Bidirectional GRU layers; residual from the second on."""
    decoder_size: int = 512
    """H, the decoder's state."""
    decoder_layers: int = 1
    """Decoder GRU layers; the ones above the first take [output; context], with residual connections."""
    attention_size: int = 256
    """A, the hidden layer of the attention."""
    reset_after: bool = True
    """Reset gate after the recurrent product (as cuDNN and torch.nn.GRU), or before it (as the papers)."""
    readout: Literal["tanh", "maxout"] = "tanh"
    """Deep output: tanh, or maxout over pairs as in the papers."""
    tie_output: bool = True
    """Output matrix = target embedding."""
    tie_source_target: bool = True
    """Source embedding = target embedding; only where the vocabulary is joint."""
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
    dropout_readout: float = 0.3
    """Dropout on the deep output, before the output matrix."""
    dropout_state: float = 0.0
    """Variational dropout on the recurrent state: one mask a sequence."""
    word_dropout: float = 0.0
    """Probability that a whole word's embedding is zero, source and target input."""


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
class TrainingConfig:
    """The run."""

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
    validation_metric: Literal["bleu", "chrf", "loss"] = "bleu"
    """What decides the best model, early stopping and the plateau schedule."""
    validation_sentences: int = 1000
    """At most this many sentences are translated at a validation (the loss is over all of them)."""
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
    search_tokens: int = 4000
    """Budget of a decoding batch: sentences x hypotheses x longest source."""


@dataclass(frozen=True)
class TrainTranslatorConfig:
    """Train a translation model."""

    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


@functools.cache
def field_docs(section: type) -> dict[str, str]:
    """The doc line under each field of a dataclass, read from its source."""
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


def sections(config: type) -> dict[str, type]:
    """Name and dataclass of each section of a command's configuration; {"": config} when it has none."""
    hints = typing.get_type_hints(config)
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
            raise ConfigError(f"{where}: unknown option {name!r}{nearest(str(name), names)}")
        cls = sections(config)[names[name]]
        hint = typing.get_type_hints(cls)[name]
        if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
            try:
                value = float(value)
            except ValueError:
                pass
        if not _accepts(hint, value):
            raise ConfigError(f"{where}: {name} is {value!r}, expected {_expected(hint)}")
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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or any(isinstance(value, (dict, list)) for value in values.values()):
        raise ConfigError(f"{path}: expected lines of `option: value`, as `seq2seq train --help` names them")
    return values
