"""What a figure may depend on beside options and text: versions, the code's commit, the machine."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import seq2seq

if TYPE_CHECKING:
    import torch

# what results depend on
PACKAGES = ("torch", "numpy", "sentencepiece", "datasets", "pyarrow", "sacrebleu", "safetensors")


def versions() -> dict[str, str]:
    """Of this package, Python and the packages that results depend on; "missing" where one is."""
    found = {"seq2seq": seq2seq.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def commit() -> str | None:
    """The commit of the checkout that this code runs from, with `-dirty` behind it where files differ; None elsewhere.

    An installed package is no checkout, even where its environment lies inside of one.
    """
    root = Path(seq2seq.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    describe = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    try:
        done = subprocess.run(describe, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or one that will not look into it
        return None
    return done.stdout.strip() or None


def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def environment(device: torch.device, precision: torch.dtype) -> dict[str, Any]:
    """What a run records of where it ran; JSON-able, and without names of people or machines."""
    import torch

    from seq2seq.nn.hardware import precision_name, usable_cores

    return {
        "versions": versions(),
        "commit": commit(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": precision_name(precision),
        "byte_order": sys.byteorder,
    }
