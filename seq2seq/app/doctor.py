"""`seq2seq doctor`: what is installed, what the machine offers, and whether a small model trains on it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from seq2seq.errors import UserError

# what every command needs; `datasets` and `pyarrow` are found, not imported: that alone would take a second
IMPORTED = ("numpy", "sentencepiece", "safetensors", "sacrebleu", "yaml", "tqdm", "tyro")
FOUND = ("datasets", "pyarrow", "huggingface_hub", "matplotlib")
EXTRAS = {"tensorboard": "tensorboard", "tune": "optuna"}

# free disk below which a training is likely to stop for want of it
LEAST_DISK = 1e9


@dataclass(frozen=True)
class DoctorArguments:
    """Arguments of `seq2seq doctor`."""

    output: str = "."
    """Directory whose disk is looked at: where models would be written."""


class Finding(NamedTuple):
    """One line of the report."""

    name: str
    text: str
    good: bool = True
    """What is not good makes the command fail."""


def doctor(arguments: DoctorArguments, command: list[str]) -> None:
    """Prints what was found, one line each.

    Raises:
        UserError: Something that training or translating needs is missing or does not work.
    """
    bad = []
    for finding in examine(Path(arguments.output)):
        sys.stdout.write(f"{'ok' if finding.good else 'BAD':<4} {finding.name:<12} {finding.text}\n")
        sys.stdout.flush()
        if not finding.good:
            bad.append(finding.name)
    if bad:
        raise UserError(f"doctor: {len(bad)} of these must be mended first: {', '.join(bad)}")
    sys.stdout.write("Everything needed works.\n")


def examine(output: Path) -> Iterator[Finding]:
    """All findings, the cheap ones first; one that fails never hides the others."""
    yield from _packages()
    yield _disk("output", output)
    yield _disk("cache", Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser())
    try:
        import torch  # noqa: F401
    except (ImportError, OSError) as error:
        yield Finding("torch", f"cannot be imported ({_short(error)}); pip install torch", good=False)
        return
    yield _guarded("threads", _threads)
    yield _guarded("kernels", _kernels)
    yield _guarded("bfloat16", _bfloat16)
    yield _guarded("gpu", _gpu)
    yield _guarded("training", _training)


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # whatever is wrong with the machine is what we are here to tell
        return Finding(name, f"failed: {_short(error)}", good=False)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _packages() -> Iterator[Finding]:
    from seq2seq.app.environment import commit, processor, versions

    found = versions()
    checkout = commit()
    own = found.pop("seq2seq") + (f", commit {checkout}" if checkout else "")
    python = found.pop("python")
    yield Finding("seq2seq", own)
    good = (3, 10) <= sys.version_info[:2]
    yield Finding("python", f"{python} on {processor()}" + ("" if good else "; 3.10 or newer is needed"), good)
    bad = []
    for name in IMPORTED:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken binary raises anything
            bad.append(f"{name}: {_short(error)}")
    bad += [f"{name}: missing" for name in FOUND if importlib.util.find_spec(name) is None]
    shown = ", ".join(f"{name} {version}" for name, version in found.items())
    yield Finding("packages", shown if not bad else f"{'; '.join(bad)} (pip install -e . mends that)", not bad)
    extras = [extra for extra, name in EXTRAS.items() if importlib.util.find_spec(name) is not None]
    yield Finding("extras", ", ".join(extras) or "none")


def _disk(name: str, path: Path) -> Finding:
    place = path.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding(name, f"{place} cannot be written (permission denied, or a read-only disk)", good=False)
    few = f"; a training may need more than {LEAST_DISK / 1e9:.0f} GB" if free < LEAST_DISK else ""
    return Finding(name, f"{path}: {free / 1e9:,.1f} GB free{few}", not few)


def _threads() -> Finding:
    import torch

    from seq2seq.nn.hardware import usable_cores

    usable, asked = usable_cores(), os.environ.get("OMP_NUM_THREADS")
    text = f"{usable} cores may be used, torch takes {torch.get_num_threads()} threads"
    text += f", OMP_NUM_THREADS is {asked}" if asked else ""
    with contextlib.suppress(OSError, ValueError):  # a container may have less time than cores
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max" and int(quota) < usable * int(period):
            share = int(quota) / int(period)
            text += f"; this container has the time of {share:g} cores: train with --threads {max(1, round(share))}"
    return Finding("threads", text)


def _kernels() -> Finding:
    from seq2seq.nn.kernels import description, has_tiles

    found = description()
    if found != "compiled":
        return Finding("kernels", f"{found}; all works, but slower (install gcc, then seq2seq again)")
    return Finding("kernels", "compiled; bfloat16 products on the matrix unit (AMX)" if has_tiles() else "compiled")


def _bfloat16() -> Finding:
    import torch

    from seq2seq.nn.hardware import choose_device, choose_precision, precision_name

    device = choose_device("auto")
    product = torch.ones(8, 8, dtype=torch.bfloat16, device=device) @ torch.ones(8, 8, dtype=torch.bfloat16).to(device)
    good = bool((product == 8).all())
    chosen = precision_name(choose_precision("auto", device))
    level = torch.backends.cpu.get_cpu_capability()
    return Finding("bfloat16", f"{'works' if good else 'gives wrong products'}; on {device} ({level}) "
                               f"--precision auto now takes {chosen}", good)  # fmt: skip


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built for CPUs"
        return Finding("gpu", f"none ({built})")
    name, (free, total) = torch.cuda.get_device_name(), torch.cuda.mem_get_info()
    return Finding("gpu", f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free")


def _training() -> Finding:
    """A few steps of a tiny model on the device that training would take: the loss must fall."""
    import torch

    from seq2seq.config import ModelConfig
    from seq2seq.nn.hardware import choose_device
    from seq2seq.nn.translator import TranslationModel
    from seq2seq.text.batching import collate

    start, device = time.perf_counter(), choose_device("auto")
    torch.manual_seed(1)
    sizes = ModelConfig(embedding_size=16, encoder_size=16, decoder_size=16, attention_size=16)
    model = TranslationModel(sizes, 20, 20, joint=True).to(device).eval()  # without dropout, so that no chance decides
    ids = [[5, 6, 7], [8, 9], [10, 11, 12, 13]]
    batch = collate(ids, ids, source_eos=3, target_bos=2, target_eos=3, source_pad=0, target_pad=0).to(device)
    losses = []
    for _ in range(5):  # plain gradient descent: importing PyTorch's optimizers alone takes a second
        loss, count = model.loss(batch)
        weights = list(model.parameters())
        with torch.no_grad():
            for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.sub_(gradient, alpha=0.5 / count)
        losses.append(loss.item() / count)
    good = math.isfinite(losses[-1]) and losses[-1] < losses[0]
    seconds = time.perf_counter() - start
    shown = f"a tiny model's loss went from {losses[0]:.3f} to {losses[-1]:.3f} in five steps, {seconds:.2f} s"
    return Finding("training", shown if good else f"{shown}; it must fall", good)
