"""Model directories: what they hold, how they are written so that a reader never sees half of one, how they are read.

    config.json           format version, task, languages, sizes, the resolved configuration of the run
    model.safetensors     weights (averaged ones where averaging is on); a checksum of them stands in its header
    tokenizer.model       SentencePiece; source.model and target.model when the vocabularies are separate
    metrics.json          scores of these weights
    README.md             model card
    training_state/       only while training: step-N/ with all that going on needs

Each file is replaced in one rename, and all that a reader combines (configuration, tokenizers) is written before the
weights and never changes afterwards. No pickle is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seq2seq.errors import ModelDirectoryError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1
STATE_PREFIX = "step-"
# the state of a step that is being saved again
PREVIOUS = ".previous"


class SavedModel(NamedTuple):
    """A model directory, read."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    tokenizers: dict[str, bytes]  # "source" and "target" SentencePiece models, the same one when joint


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file through a temporary sibling, flushed to the disk before it takes the name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _checksum(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def tensors_to_bytes(tensors: dict[str, Tensor]) -> bytes:
    """A safetensors file with a checksum of names, types, shapes and numbers in its header."""
    from safetensors.torch import save

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(contiguous, metadata={"sha256": _checksum(contiguous)})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, checked against the checksum in its header.

    Raises:
        ModelDirectoryError: No such file, cut short, or changed since it was written.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            expected = (file.metadata() or {}).get("sha256")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise ModelDirectoryError(f"{path.parent} has no {path.name}; give a directory that training wrote") from None
    except (SafetensorError, OSError) as error:
        raise ModelDirectoryError(f"{path} is damaged ({error}); copy the model directory again") from None
    if expected is not None and expected != _checksum(tensors):
        raise ModelDirectoryError(f"{path} is damaged (its checksum differs); copy the model directory again")
    return tensors


def start_model_directory(directory: Path, config: dict[str, Any], tokenizers: dict[str, bytes]) -> None:
    """Writes what does not change during training: configuration and tokenizers.

    Args:
        directory: Made if it is not there.
        config: JSON-able; `format_version` is added.
        tokenizers: SentencePiece models "source" and "target"; one file is written when they are the same.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if tokenizers["source"] == tokenizers["target"]:
        write_atomically(directory / "tokenizer.model", tokenizers["source"])
    else:
        for side in ("source", "target"):
            write_atomically(directory / f"{side}.model", tokenizers[side])
    write_atomically(directory / "config.json", _json({"format_version": FORMAT_VERSION, **config}))


def save_weights(directory: Path, tensors: dict[str, Tensor], metrics: dict[str, Any], card: str) -> None:
    """Writes weights, their scores and the model card into a directory begun with `start_model_directory`."""
    write_atomically(directory / "model.safetensors", tensors_to_bytes(tensors))
    write_atomically(directory / "metrics.json", _json(metrics))
    write_atomically(directory / "README.md", card.encode())


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
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
    if not (directory / "config.json").is_file():
        raise ModelDirectoryError(
            f"{directory} is no model directory (it has no config.json); give the --output of a training run"
        )
    config = _read_json(directory / "config.json")
    version = config.get("format_version")
    if not isinstance(version, int):
        raise ModelDirectoryError(f"{directory}/config.json has no format_version; it was not written by seq2seq")
    if version > FORMAT_VERSION:
        raise ModelDirectoryError(
            f"{directory} has format {version}, this version of seq2seq reads up to {FORMAT_VERSION}: "
            "upgrade with `pip install --upgrade seq2seq`"
        )
    return config


def read_tokenizers(directory: Path) -> dict[str, bytes]:
    """The SentencePiece models of a model directory, "source" and "target".

    Raises:
        ModelDirectoryError: Neither tokenizer.model nor source.model and target.model are there.
    """
    joint = directory / "tokenizer.model"
    paths = dict.fromkeys(("source", "target"), joint)
    if not joint.is_file():
        paths = {side: directory / f"{side}.model" for side in paths}
    try:
        return {side: path.read_bytes() for side, path in paths.items()}
    except OSError:
        raise ModelDirectoryError(f"{directory} has no tokenizer.model; copy the model directory again") from None


def load_model(directory: str | Path) -> SavedModel:
    """Reads a model directory.

    Raises:
        ModelDirectoryError: It is none, is damaged or incomplete, or is of a newer format.
    """
    directory = Path(directory)
    config = read_config(directory)
    return SavedModel(config, read_tensors(directory / "model.safetensors"), read_tokenizers(directory))


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
        write_atomically(temporary / "tensors.safetensors", tensors_to_bytes(state.tensors))
        write_atomically(temporary / "state.json", _json(state.values))
        if final.exists():  # the same step again: the state of before stays until the new one has its name
            shutil.rmtree(root / PREVIOUS, ignore_errors=True)
            os.replace(final, root / PREVIOUS)
        os.replace(temporary, final)
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


def load_training_state(directory: Path) -> TrainingState | None:
    """The newest training state of a model directory, or None when there is none.

    Raises:
        ModelDirectoryError: It is damaged.
    """
    state = _newest_state(directory)
    if state is None:
        return None
    return TrainingState(read_tensors(state / "tensors.safetensors"), _read_json(state / "state.json"))


# names that training itself writes
TRAINING_FILES = {
    "config.json", "model.safetensors", "tokenizer.model", "source.model", "target.model", "metrics.json",
    "metrics.jsonl", "README.md", "training_state", "tensorboard", ".lock",
}  # fmt: skip


def only_training_files(directory: Path) -> bool:
    """Whether a directory holds nothing but what training writes, temporary files included."""
    return all(path.name in TRAINING_FILES or path.name.startswith(".") for path in directory.iterdir())


def clear(directory: Path) -> None:
    """Removes an earlier run's files from a directory; other files stay."""
    for name in TRAINING_FILES - {".lock"}:
        path = directory / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def check_writable(directory: Path) -> None:
    """Makes sure, without leaving anything behind, that a directory can be made or written.

    Raises:
        ModelDirectoryError: It cannot.
    """
    place = directory
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        raise ModelDirectoryError(f"cannot write to {place} (permission denied); give another --output")


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Keeps a second training out of the directory while this one runs; the lock goes with the process.

    Raises:
        ModelDirectoryError: Another process holds it, or the directory cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = open(directory / ".lock", "w")
    except OSError as error:
        raise ModelDirectoryError(f"cannot write to {directory} ({error.strerror}); give another --output") from None
    with file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # no such lock on Windows
            pass
        except OSError:
            raise ModelDirectoryError(
                f"another training is writing {directory}; wait for it, or choose another --output"
            ) from None
        yield
    (directory / ".lock").unlink(missing_ok=True)
