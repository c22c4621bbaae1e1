"""Reads model directories, of translators and of classifiers, downloading them first where they are on the hub.

A directory may come from anybody and may have suffered on its way. So everything that config.json says is checked for
type and range, its sizes are compared with the shapes that stand in the header of the weights while the model has no
memory yet, and the vocabulary with the tokenizer; only then are weights read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seq2seq.checkpoint import read_config, read_tokenizers, read_weights
from seq2seq.config import ClassifierConfig, EncoderConfig, LabelDataConfig, ModelConfig, from_flat
from seq2seq.errors import ConfigError, ModelDirectoryError, shown
from seq2seq.nn.classifier import ClassificationModel
from seq2seq.nn.ngrams import LONGEST, WORDS
from seq2seq.nn.translator import TranslationModel
from seq2seq.text.labels import Limits
from seq2seq.text.tokenizer import Tokenizer

_SURROGATE = re.compile("[\ud800-\udfff]")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

_BEFORE = {"scale_embedding": False}
_TRANSLATOR_BEFORE = {**_BEFORE, "query_token": False, "attend_embedding": False, "readout_scale": 1.0}
"""What models did that were written before an option existed, where it is not the option's default."""

MOST_LAYERS = 64
"""Far above what anybody trains; a loop over as many as a file may claim would not end."""

_Config = TypeVar("_Config", bound=EncoderConfig)
_Model = TypeVar("_Model", bound=nn.Module)


class LoadedTranslator(NamedTuple):
    """A translator's model directory, read and checked."""

    model: TranslationModel
    tokenizers: dict[str, bytes]
    """"source" and "target" SentencePiece models, the same one when joint."""
    config: dict[str, Any]


class LoadedClassifier(NamedTuple):
    """A classifier's model directory, read and checked."""

    model: ClassificationModel
    tokenizer: Tokenizer
    labels: list[str]
    limits: Limits
    config: dict[str, Any]


def load_translator(path: str | Path, device: torch.device) -> LoadedTranslator:
    """Model, tokenizers and configuration of a model directory.

    Args:
        path: A directory, or `user/name` on the hub where no such directory is here.
        device: Where to put the model.

    Raises:
        ModelDirectoryError: It cannot be read, or holds no translation model.
    """
    directory = local_directory(path)
    options, config = describe_translator(directory)
    tokenizers = read_tokenizers(directory)
    source, target = (_value(directory, config, f"{side}_vocab", int) for side in ("source", "target"))
    for side, size in (("source", source), ("target", target)):
        _check_vocabulary(directory, _tokenizer(directory, tokenizers[side]), size)
    model = _filled(directory, lambda: TranslationModel(options, source, target, config["joint"]))
    return LoadedTranslator(model.to(device), tokenizers, config)


def describe_translator(directory: Path) -> tuple[ModelConfig, dict[str, Any]]:
    """What config.json says of a translator: sizes and structure, and all of it.

    Raises:
        ModelDirectoryError: It cannot be read, or says nonsense, or describes another kind of model.
    """
    config = read_config(directory)
    _check_task(directory, config, "translation", ", not a translator; give a translator's directory")
    for name in ("source", "target"):
        _value(directory, config, name, str)
    _value(directory, config, "joint", bool)
    if "max_length" in config.get("options", {}):
        _value(directory, config["options"], "max_length", int)
    _complete(config, _TRANSLATOR_BEFORE)
    return _sizes(directory, ModelConfig, config), config


def load_classifier(path: str | Path, device: torch.device) -> LoadedClassifier:
    """Model, tokenizer, labels and configuration of a model directory.

    Args:
        path: A directory, or `user/name` on the hub where no such directory is here.
        device: Where to put the model.

    Raises:
        ModelDirectoryError: It cannot be read, or holds no classifier.
    """
    directory = local_directory(path)
    config = read_config(directory)
    _check_task(directory, config, "classification", "; give one that `train-classifier` has written")
    _complete(config, _BEFORE)
    check_ngrams(directory, config)
    options = _sizes(directory, ClassifierConfig, config)
    labels = _value(directory, config, "labels", list)
    if not labels or len(set(map(str, labels))) < len(labels):
        raise _nonsense(directory, "labels", labels, "a list of different names")
    for label in labels:
        if not _is_text(label) or not label or "\n" in label:
            raise _nonsense(directory, "labels", label, "names of one line")
    limits = _limits(directory, config)
    several = _value(directory, config, "several", bool)
    _value(directory, config, "separator", str)
    for name in ("text_column", "label_column", "label_separator"):
        _value(directory, _value(directory, config, "options", dict), name, str)
    tokenizer = _tokenizer(directory, read_tokenizers(directory)["source"])
    known = _value(directory, config, "known_ngrams", int)
    if not 0 <= options.ngrams <= LONGEST:
        raise _nonsense(directory, "ngrams", options.ngrams, f"a number from 0 to {LONGEST}")
    if (known > 0) != (options.ngrams > 0):
        raise _nonsense(directory, "known_ngrams", known, f"what belongs to ngrams {options.ngrams}")
    sizes = tokenizer.vocab_size, len(labels), several
    model = _filled(directory, lambda: ClassificationModel(options, *sizes, known_ngrams=known))
    return LoadedClassifier(model.to(device), tokenizer, labels, limits, config)


def check_ngrams(directory: Path, config: dict[str, Any]) -> None:
    """Gives a classifier of an earlier version, where n-grams were others, what it lacks if it has none.

    Raises:
        ModelDirectoryError: It has some.
    """
    model = _value(directory, config, "model", dict)
    learned = model.pop("dropout_ngrams", None) is not None
    if model.get("ngrams") == 0:
        if learned:
            config["known_ngrams"] = 0
    elif learned or config.get("words") != WORDS:
        raise ModelDirectoryError(f"{directory} is of an earlier version, whose n-grams were others; train it again")


def _check_task(directory: Path, config: dict[str, Any], expected: str, advice: str) -> None:
    task = config.get("task", "translation")
    if task != expected:
        name = task if task in ("translation", "classification") else shown(task)
        raise ModelDirectoryError(f"{directory} holds a model for {name}{advice}")


def _nonsense(directory: Path, name: str, value: Any, expected: str) -> ModelDirectoryError:
    return ModelDirectoryError(
        f"{directory}/config.json: {name} is {shown(value)}, expected {expected}; copy the model directory again"
    )


def _value(directory: Path, values: dict[str, Any], name: str, kind: type) -> Any:
    """A value of config.json, of that type.

    Raises:
        ModelDirectoryError: It is not there, or of another type; a whole number is also below 0, a text is no Unicode.
    """
    if name not in values:
        raise ModelDirectoryError(f"{directory}/config.json has no {name!r}; copy the model directory again")
    value = values[name]
    negative = isinstance(value, int) and value < 0
    if type(value) is not kind or negative or (kind is str and not _is_text(value)):
        names = {int: "a whole number of 0 or more", str: "text", bool: "true or false", list: "a list", dict: "{...}"}
        raise _nonsense(directory, name, value, names[kind])
    return value


def _is_text(value: Any) -> bool:
    """Whether a value is text that can be written (JSON can hold half a surrogate pair)."""
    return isinstance(value, str) and not _SURROGATE.search(value)


def _complete(config: dict[str, Any], before: dict[str, Any]) -> None:
    """Gives a model the options that did not exist when it was written."""
    if isinstance(config.get("model"), dict):
        config["model"] = before | config["model"]


def _sizes(directory: Path, kind: type[_Config], config: dict[str, Any]) -> _Config:
    """Sizes and structure of the model.

    Raises:
        ModelDirectoryError: Unknown options, values of the wrong type, sizes that no model has.
    """
    where = f"{directory}/config.json"
    try:
        options = from_flat(kind, _value(directory, config, "model", dict), where=where)
    except ConfigError as error:
        raise ModelDirectoryError(str(error)) from None
    for name in vars(options):
        value: Any = getattr(options, name)
        if name.endswith("_size") and value < 1:
            raise _nonsense(directory, name, value, "1 or more")
        if name.endswith("_layers") and not 1 <= value <= MOST_LAYERS:
            raise _nonsense(directory, name, value, f"a number from 1 to {MOST_LAYERS}")
    return options


def _limits(directory: Path, config: dict[str, Any]) -> Limits:
    values = _value(directory, config, "limits", dict)
    try:
        # checked like the options of the same names
        options = from_flat(LabelDataConfig, {name: values[name] for name in Limits._fields})
    except (ConfigError, KeyError) as error:
        raise _nonsense(directory, "limits", values, f"those of training ({error})") from None
    limits = Limits(options.max_length, options.long_texts, options.max_windows)
    if limits.max_length < 1 or limits.max_windows < 1:
        raise _nonsense(directory, "limits", values, "1 or more")
    return limits


def _tokenizer(directory: Path, model: bytes) -> Tokenizer:
    try:
        return Tokenizer(model, f"the tokenizer in {directory}")
    except ConfigError as error:
        raise ModelDirectoryError(str(error)) from None


def _check_vocabulary(directory: Path, tokenizer: Tokenizer, size: int) -> None:
    if tokenizer.vocab_size != size:
        raise ModelDirectoryError(
            f"{directory}: tokenizer and config.json do not belong together ({tokenizer.vocab_size:,} pieces, expected "
            f"{size:,}); copy the directory again"
        )


class _Unfilled(TorchFunctionMode):
    """Parameters are made and not filled: random numbers without memory would load PyTorch's compiler, a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The tensor as it is, for what fills one in place."""
        named = kwargs or {}
        if func in _FILLS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


_FILLS = (Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_)


def _filled(directory: Path, build: Callable[[], _Model]) -> _Model:
    """The model with its weights; before they are known to fit, no memory is taken for either.

    Raises:
        ModelDirectoryError: No weights, damaged ones, or others than the configuration describes.
    """
    try:
        with torch.device("meta"), _Unfilled():
            model = build()
    except (RuntimeError, TypeError, ValueError, ArithmeticError) as error:
        reason = " ".join(str(error).split())
        raise ModelDirectoryError(f"{directory}/config.json describes no possible model ({reason[:200]})") from None
    tensors = model.state_dict()
    whole = {name for name, tensor in tensors.items() if not tensor.is_floating_point()}
    weights = read_weights(directory, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, whole)
    model.load_state_dict(weights, assign=True)
    return model


def local_directory(path: str | Path) -> Path:
    """The local directory of a model; one on the hub is downloaded first (without any file that could hold code)."""
    local = Path(path).expanduser()
    # runs/model looks like a hub id too: where runs/ is here, a slip of the pen is the likelier reading
    if local.exists() or not isinstance(path, str) or not _HUB_ID.fullmatch(path) or local.parent.exists():
        return local
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(path, allow_patterns=["*.json", "*.safetensors", "*.model", "README.md"]))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelDirectoryError(
            f"{path} is neither a directory here nor a model that could be downloaded from the hub ({reason[:200]}); "
            "give the --output of a training run"
        ) from None
