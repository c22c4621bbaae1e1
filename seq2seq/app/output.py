"""The directory that a training writes: whether it can, whose it is, and that nobody else writes it meanwhile."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from seq2seq import checkpoint
from seq2seq.errors import ConfigError, ModelDirectoryError

LOCK = ".lock"

# names that training itself writes; without the first a directory is no model's, so it is the first to go
TRAINING_FILES = (
    "config.json", "model.safetensors", "tokenizer.model", "source.model", "target.model", "metrics.json",
    "metrics.jsonl", "README.md", "training_state", "tensorboard",
)  # fmt: skip

# what a process that was killed leaves of a file that it was writing
_LEFTOVER = re.compile(rf"\.({'|'.join(map(re.escape, TRAINING_FILES))})\.\d+\.tmp")


def goes_on(directory: Path, resume: bool, overwrite: bool) -> bool:
    """Whether there is a run in the directory to go on with; nothing is changed.

    Raises:
        ConfigError: It holds another model, or other files.
        ModelDirectoryError: It cannot be made or written, or another training is writing it.
    """
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"--output {directory} is a file; give a directory")
    check_writable(directory)
    if not directory.exists() or not any(directory.iterdir()):
        return False
    if not (directory / "config.json").exists():
        if not only_training_files(directory):
            raise ConfigError(f"--output {directory} holds other files and no model; give a new directory")
        return False
    if resume and checkpoint.has_training_state(directory):
        return True
    if overwrite or (resume and not (directory / checkpoint.WEIGHTS).exists()):
        return False
    if resume:
        raise ConfigError(
            f"{directory} holds a model, but no training state to go on from; --overwrite trains it anew, or give "
            "another --output"
        )
    raise ConfigError(
        f"{directory} already holds a model; --resume goes on with it, --overwrite replaces it, or give another "
        "--output"
    )


def only_training_files(directory: Path) -> bool:
    """Whether a directory holds nothing but what training writes, temporary files included."""
    return all(path.name in TRAINING_FILES or path.name.startswith(".") for path in directory.iterdir())


def clear(directory: Path) -> None:
    """Removes an earlier run's files from a directory; other files stay."""
    for name in TRAINING_FILES:
        path = directory / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def remove_leftovers(directory: Path) -> None:
    """Removes what killed trainings left half-written; only for who holds the lock."""
    for path in directory.iterdir():
        if _LEFTOVER.fullmatch(path.name):
            path.unlink(missing_ok=True)
    for path in (directory / "training_state").glob(".tmp-*"):
        shutil.rmtree(path, ignore_errors=True)


def check_writable(directory: Path) -> None:
    """Makes sure, without leaving anything behind, that a directory can be made or written.

    Raises:
        ModelDirectoryError: It cannot.
    """
    place = directory
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise ModelDirectoryError(f"cannot write to {directory} ({place} is a file); give another --output")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ModelDirectoryError(
            f"cannot write to {place} (permission denied, or a read-only disk); give another --output"
        )


def room_missing(directory: Path, needed: int) -> str:
    """A warning where fewer than so many bytes are free, or nothing."""
    free = shutil.disk_usage(directory).free
    if free >= needed:
        return ""
    return f"{directory} has {free / 1e6:,.0f} MB of free disk, and this training may need {needed / 1e6:,.0f} MB there"


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Keeps a second training out of the directory while this one runs; the lock goes with the process.

    Raises:
        ModelDirectoryError: Another process holds it, or the directory cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = _locked(directory)
    except BlockingIOError:
        raise ModelDirectoryError(
            f"another training is writing {directory}; wait for it, or choose another --output"
        ) from None
    except OSError as error:
        raise ModelDirectoryError(f"cannot write to {directory} ({error.strerror}); give another --output") from None
    with file:
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # a disk that is read-only by now
                (directory / LOCK).unlink(missing_ok=True)  # while it is held: whoever comes next makes a new one


def _locked(directory: Path) -> IO[str]:
    """The lock's file, locked.

    Raises:
        BlockingIOError: By another process, it is.
        OSError: It cannot be made.
    """
    path = directory / LOCK
    while True:
        file = open(path, "w")
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except ImportError:  # Windows has no such lock
            return file
        except BlockingIOError:
            file.close()
            raise
        except OSError:  # a network disk without locks
            return file
        file.close()  # its holder has removed it between our opening and our locking


def check_free(directory: Path) -> None:
    """Makes sure that no other training is writing a directory, which need not exist; `exclusive` keeps it so.

    Raises:
        ModelDirectoryError: One is.
    """
    if (directory / LOCK).exists():
        with exclusive(directory):
            pass
