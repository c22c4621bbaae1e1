"""Model directories: what they hold, how they are written so that a reader never sees half of one, how they are read.

    config.json           format version, task, languages, sizes, the resolved configuration of the run, checksums
    model.safetensors     weights (averaged ones where averaging is on)
    tokenizer.model       SentencePiece; source.model and target.model when the vocabularies are separate
    metrics.json          scores of these weights
    README.md             model card
    training_state/       only while training: step-N/ with all that going on needs

Each file is replaced in one rename, and all that a reader combines (configuration, tokenizers) is written before the
weights and, checksums aside, never changes afterwards; while the weights are replaced the checksums of the old and of
the new ones are both there. No pickle is read, nothing in a directory names another file to read, and what is declared
is compared with what is there before memory is taken for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seq2seq.errors import ModelDirectoryError
from seq2seq.tensors import file_digest, read_shapes, read_tensors, tensors_to_bytes

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1
STATE_PREFIX = "step-"
# the state of a step that is being saved again
PREVIOUS = ".previous"

WEIGHTS = "model.safetensors"

# Bytes that are read of a file at most: far above what training writes, far below what would fill a memory.
MOST_CONFIG = 16 << 20
MOST_TOKENIZER = 256 << 20


class SavedModel(NamedTuple):
    """A model directory, read."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    tokenizers: dict[str, bytes]  # "source" and "target" SentencePiece models, the same one when joint


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file through a temporary sibling, flushed to the disk before it takes the name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write(temporary, content)
        os.replace(temporary, path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    """Writes a file, through to the disk."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Makes renames in a directory outlast a loss of power."""
    if os.name != "nt":  # Windows opens no directories
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _digests(config: Mapping[str, Any], name: str) -> list[str]:
    """The checksums that a file may have, as config.json tells; none in one written before they were kept there."""
    kept = config.get("sha256")
    found = kept.get(name) if isinstance(kept, dict) else None
    return [str(digest) for digest in found] if isinstance(found, list) else []


def start_model_directory(directory: Path, config: dict[str, Any], tokenizers: dict[str, bytes]) -> None:
    """Writes what does not change during training: configuration and tokenizers.

    Args:
        directory: Made if it is not there.
        config: JSON-able; `format_version` is added.
        tokenizers: SentencePiece models "source" and "target"; one file is written when they are the same.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = {f"{side}.model": tokenizers[side] for side in ("source", "target")}
    if tokenizers["source"] == tokenizers["target"]:
        files = {"tokenizer.model": tokenizers["source"]}
    for name, content in files.items():
        write_atomically(directory / name, content)
    digests = {name: [hashlib.sha256(content).hexdigest()] for name, content in files.items()}
    write_atomically(directory / "config.json", _json({"format_version": FORMAT_VERSION, **config, "sha256": digests}))


def save_weights(directory: Path, tensors: dict[str, Tensor], metrics: dict[str, Any], card: str) -> None:
    """Writes weights, their scores and the model card into a directory begun with `start_model_directory`."""
    content = tensors_to_bytes(tensors)
    new = hashlib.sha256(content).hexdigest()
    config = _read_json(directory / "config.json")
    # config.json fits the weights at every moment: the old ones, the new ones, and a process that is stopped between
    _note_weights(directory, config, list(dict.fromkeys([new, *_digests(config, WEIGHTS)])))
    write_atomically(directory / WEIGHTS, content)
    _note_weights(directory, config, [new])
    write_atomically(directory / "metrics.json", _json(metrics))
    write_atomically(directory / "README.md", card.encode())


def read_metrics(directory: Path) -> dict[str, Any]:
    """The scores of the weights.

    Raises:
        ModelDirectoryError: There are none, or they are damaged.
    """
    return _read_json(directory / "metrics.json")


def _note_weights(directory: Path, config: dict[str, Any], digests: list[str]) -> None:
    checksums = {**config.get("sha256", {}), WEIGHTS: digests}
    write_atomically(directory / "config.json", _json({**config, "sha256": checksums}))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ModelDirectoryError(f"cannot read {path} ({error}); copy the model directory again") from None
    if not isinstance(value, dict):
        raise ModelDirectoryError(f"{path} is damaged (no JSON object); copy the model directory again")
    return value


def read_config(directory: str | Path) -> dict[str, Any]:
    """config.json of a model directory.

    Raises:
        ModelDirectoryError: No such directory, no model directory, or written by a newer version.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ModelDirectoryError(f"no model directory {directory}; `seq2seq train --output {directory}` would make it")
    path = directory / "config.json"
    if not path.is_file():
        raise ModelDirectoryError(
            f"{directory} is no model directory (it has no config.json); give the --output of a training run"
        )
    if path.stat().st_size > MOST_CONFIG:
        raise ModelDirectoryError(f"{path} has {path.stat().st_size:,} bytes, which no configuration needs")
    config = _read_json(path)
    version = config.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ModelDirectoryError(f"{directory}/config.json has no format_version; it was not written by seq2seq")
    if version > FORMAT_VERSION:
        raise ModelDirectoryError(
            f"{directory} has format {version}, this version of seq2seq reads up to {FORMAT_VERSION}: "
            "upgrade with `pip install --upgrade seq2seq`"
        )
    for part in ("model", "options", "sha256"):
        if not isinstance(config.get(part, {}), dict):
            raise ModelDirectoryError(f"{path}: {part!r} is no JSON object; copy the model directory again")
    return config


def directions(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Source and target of each direction in which a translator translates, that of its training's options first."""
    pair = str(config.get("source", "source")), str(config.get("target", "target"))
    both = config.get("options", {}).get("both_directions") is True
    return [pair, pair[::-1]] if both else [pair]


def read_tokenizers(directory: Path) -> dict[str, bytes]:
    """The SentencePiece models of a model directory, "source" and "target".

    Raises:
        ModelDirectoryError: Neither tokenizer.model nor source.model and target.model are there, or they are damaged.
    """
    joint = directory / "tokenizer.model"
    paths = dict.fromkeys(("source", "target"), joint)
    if not joint.is_file():
        paths = {side: directory / f"{side}.model" for side in paths}
    if not all(path.is_file() for path in paths.values()):
        raise ModelDirectoryError(f"{directory} has no tokenizer.model; copy the model directory again")
    config = read_config(directory)
    tokenizers = {}
    for side, path in paths.items():
        if path.stat().st_size > MOST_TOKENIZER:
            raise ModelDirectoryError(f"{path} has {path.stat().st_size:,} bytes, which no tokenizer needs")
        tokenizers[side] = path.read_bytes()
        digests = _digests(config, path.name)
        if digests and hashlib.sha256(tokenizers[side]).hexdigest() not in digests:
            raise ModelDirectoryError(f"{path} is damaged (its checksum differs); copy the model directory again")
    return tokenizers


def read_weights(
    directory: Path, expected: Mapping[str, tuple[int, ...]], whole: Collection[str] | None = None
) -> dict[str, Tensor]:
    """The weights of a model directory, as float32, once they are known to be those that its configuration describes.

    Args:
        directory: With config.json.
        expected: Name and shape of each tensor.
        whole: Names of those that hold whole numbers, which stay int64; None: those that do.

    Raises:
        ModelDirectoryError: No weights, damaged ones, others than expected, or some that are no numbers.
    """
    path = directory / WEIGHTS
    found = read_shapes(path)
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if wrong:
        name = wrong[0]
        raise ModelDirectoryError(
            f"{directory}: weights and config.json do not belong together ({name} has shape "
            f"{_shape(found.get(name))}, expected {_shape(expected.get(name))}); copy the directory again"
        )
    for _ in range(3):  # a training run may be replacing both
        digests = _digests(read_config(directory), WEIGHTS)
        if not digests or file_digest(path) in digests:
            break
    else:
        raise ModelDirectoryError(f"{path} is damaged (its checksum differs); copy the model directory again")
    tensors = read_tensors(path)
    for name, tensor in tensors.items():
        integers = str(tensor.dtype) == "torch.int64"
        misplaced = whole is not None and integers != (name in whole)
        if misplaced or not (integers or (tensor.is_floating_point() and bool(tensor.float().isfinite().all()))):
            raise ModelDirectoryError(f"{path} is damaged ({name} holds {tensor.dtype}, or what is no number)")
        tensors[name] = tensor if integers else tensor.float()
    return tensors


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else str(list(shape))


def load_model(directory: str | Path) -> SavedModel:
    """Reads a model directory, whatever its weights are.

    Raises:
        ModelDirectoryError: It is none, is damaged or incomplete, or is of a newer format.
    """
    directory = Path(directory)
    config = read_config(directory)
    tensors = read_weights(directory, read_shapes(directory / WEIGHTS))
    return SavedModel(config, tensors, read_tokenizers(directory))


class TrainingState(NamedTuple):
    """All that a run needs to go on as if it had not stopped."""

    tensors: dict[str, Tensor]  # weights, averaged weights, optimizer moments
    values: dict[str, Any]  # JSON-able: step, epoch, position, best score, ...


def save_training_state(directory: Path, step: int, state: TrainingState) -> None:
    """Writes training_state/step-N in one rename and removes the older ones."""
    root = directory / "training_state"
    root.mkdir(parents=True, exist_ok=True)
    final, temporary = root / f"{STATE_PREFIX}{step:09d}", root / f".tmp-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        _write(temporary / "tensors.safetensors", tensors_to_bytes(state.tensors))
        _write(temporary / "state.json", _json(state.values))
        sync_directory(temporary)
        if final.exists():  # the same step again: the state of before stays until the new one has its name
            shutil.rmtree(root / PREVIOUS, ignore_errors=True)
            os.replace(final, root / PREVIOUS)
        os.replace(temporary, final)
        sync_directory(root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in root.iterdir():
        if old != final:
            shutil.rmtree(old, ignore_errors=True)


def _newest_state(directory: Path) -> Path | None:
    root = directory / "training_state"
    states = sorted(root.glob(f"{STATE_PREFIX}*")) or list(root.glob(PREVIOUS))
    return states[-1] if states else None


def has_training_state(directory: Path) -> bool:
    """Whether there is a state to go on from; it is not read."""
    return _newest_state(directory) is not None


def last_step(directory: Path) -> int | None:
    """The step of the newest training state, or None when there is none."""
    state = _newest_state(directory)
    return None if state is None else _read_json(state / "state.json").get("progress", {}).get("step")


def load_training_state(directory: Path) -> TrainingState | None:
    """The newest training state of a model directory, or None when there is none.

    Raises:
        ModelDirectoryError: It is damaged.
    """
    state = _newest_state(directory)
    if state is None:
        return None
    return TrainingState(read_tensors(state / "tensors.safetensors"), _read_json(state / "state.json"))
