"""Tensors in safetensors files: written with a checksum, looked at before memory is taken for them."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.errors import ModelDirectoryError

if TYPE_CHECKING:
    from torch import Tensor

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Where Linux tells how much memory a container may take."""

MOST_HEADER = 1 << 20
"""Bytes of a header at most: far above what training writes."""


def _checksum(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(_raw(tensor))
    return digest.hexdigest()


def tensors_to_bytes(tensors: dict[str, Tensor]) -> bytes:
    """A safetensors file with a checksum of names, types, shapes and numbers in its header."""
    from safetensors.torch import save

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(contiguous, metadata={"sha256": _checksum(contiguous)})


def _raw(tensor: Tensor) -> Any:
    """The numbers of a tensor on the CPU as bytes, whatever its type (numpy has no bfloat16)."""
    import torch

    return tensor.contiguous().view(-1).view(torch.uint8).numpy()


def _file_size(path: Path) -> int:
    """Bytes of a file that is there and is one.

    Raises:
        ModelDirectoryError: Nothing there, or a folder, a pipe, a device.
    """
    if not path.exists():
        raise ModelDirectoryError(f"{path.parent} has no {path.name}; give a directory that training wrote")
    if not path.is_file():
        raise ModelDirectoryError(f"{path} is no file; give a directory that training wrote")
    return path.stat().st_size


def machine_memory() -> int | None:
    """Bytes of memory that this machine, or the container, has; None where the system does not tell."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
        memory = min(memory, int(CONTAINER_LIMIT.read_text()))
    return memory


def _check_header(path: Path) -> None:
    """Looks at a safetensors file before memory is taken for it.

    Raises:
        ModelDirectoryError: No such file, a header too long to be one, or more than the machine's memory.
    """
    size, memory = _file_size(path), machine_memory()
    if memory is not None and size > memory:
        raise ModelDirectoryError(
            f"{path} has {size / 1e9:,.1f} GB, more than this machine's memory of {memory / 1e9:,.1f} GB"
        )
    with open(path, "rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > MOST_HEADER:
        raise ModelDirectoryError(f"{path} is damaged (a header of {header:,} bytes); copy the model directory again")


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a safetensors file, from its header alone.

    Raises:
        ModelDirectoryError: No such file, or a damaged one.
    """
    from safetensors import SafetensorError, safe_open

    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ModelDirectoryError(f"{path} is damaged ({error}); copy the model directory again") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file that `tensors_to_bytes` made, checked against the checksum in its header.

    Raises:
        ModelDirectoryError: No such file, cut short, or changed since it was written.
    """
    from safetensors import SafetensorError, safe_open

    _check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            expected = (file.metadata() or {}).get("sha256")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ModelDirectoryError(f"{path} is damaged ({error}); copy the model directory again") from None
    if expected != _checksum(tensors):
        raise ModelDirectoryError(f"{path} is damaged (its checksum differs); copy the model directory again")
    return tensors


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
