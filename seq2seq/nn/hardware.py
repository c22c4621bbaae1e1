"""What the machine offers: threads, the type of matrix products, an allocator that keeps its memory."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

import torch

from seq2seq.errors import ConfigError
from seq2seq.nn.product import LEVELS, Product
from seq2seq.tensors import machine_memory

# mallopt's names in <malloc.h>
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

# kernels that each of oneDNN's caches may hold; with AMX, where each takes 2 to 20 ms to compile, up to so many, one
# for so many bytes of memory: one more in both caches costs about 2 MB in a long training
KERNELS, AMX_KERNELS, BYTES_A_KERNEL = 128, 1024, 8 << 20

# products timed to learn how fast a type is, 10 to 50 ms in all: the first ones find the processor not awake yet
PROBES = 30


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` takes a CUDA GPU where there is one.

    Raises:
        ConfigError: No device of that name here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used ({reason}); give --device cpu, cuda or auto") from None
    return device


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def precision_name(dtype: torch.dtype) -> str:
    """What --precision calls a type of products: `bfloat16`."""
    return str(dtype).removeprefix("torch.")


def processes_here() -> int:
    """How many processes a launcher (torchrun) has started on this machine, this one among them."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def use_threads(threads: int) -> int:
    """Sets the CPU threads; 0 takes the cores that this process may use. Returns their number.

    Where a launcher has started several processes on this machine, each takes its part of the cores.
    """
    if threads <= 0:
        threads = max(usable_cores() // processes_here(), 1)
    torch.set_num_threads(threads)
    return threads


def keep_memory() -> bool:
    """Tells glibc to keep freed blocks for the next step instead of returning them to the system.

    Training frees and asks for the same large blocks at each step; handed back, they are faulted in again page by
    page. PyTorch is also told, if it has made no tensor yet, to ask for huge pages: large tensors then need few entries
    of the processor's page table, which made training a tenth faster. Returns whether the C library took it.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc
        return False
    # glibc raises the threshold by itself up to 32 MiB; some versions refuse more than that
    larger = mallopt(M_MMAP_THRESHOLD, 1 << 30) or mallopt(M_MMAP_THRESHOLD, 32 << 20)
    return bool(larger) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def has_amx() -> bool:
    """Whether this processor has AMX's matrix unit, as far as PyTorch tells (2.6 does not)."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_tile"))


def bound_kernel_caches() -> None:
    """Keeps oneDNN from holding a compiled kernel for each of thousands of batch shapes, if called before its first.

    Its two caches hold 1,024 kernels each by default, which in bfloat16 training took over 3 GB. A step uses a few
    dozen; with AMX it is worth that memory, where there is enough of it, to have those of the shapes of an epoch at
    hand. Settings that are in the environment already are left as they are.
    """
    kernels, memory = KERNELS, machine_memory()
    if has_amx():
        fitting = AMX_KERNELS if memory is None else memory // processes_here() // BYTES_A_KERNEL
        kernels = min(max(fitting, KERNELS), AMX_KERNELS)
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, str(kernels))


def _seconds(dtype: torch.dtype, device: torch.device) -> float:
    a, b = (torch.ones(size, 512, dtype=dtype, device=device) for size in (256, 1024))
    best = float("inf")
    for _ in range(PROBES):
        start = time.perf_counter()
        c = a @ b.t()
        c[0, 0].item()  # waits for a GPU
        best = min(best, time.perf_counter() - start)
    return best


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """Type of matrix products: as asked, or for `auto` bfloat16 where a short timed product is 1.2 times as fast.

    Whoever multiplies in bfloat16 asks here first, so here oneDNN is kept from growing with it.

    Raises:
        ConfigError: int8 was asked for.
    """
    bound_kernel_caches()
    if precision == "int8":
        raise ConfigError("precision is int8, which is for translating alone; give auto, float32 or bfloat16")
    if precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    faster = _seconds(torch.bfloat16, device) * 1.2 < _seconds(torch.float32, device)
    return torch.bfloat16 if faster else torch.float32


def _prepared_seconds(dtype: torch.dtype, device: torch.device) -> float:
    """Time of the product of `_seconds` as decoding multiplies; infinite for int8 where this build's is not exact."""
    x, weight = torch.ones(256, 512, device=device), torch.ones(1024, 512, device=device)
    # neighbours that a kernel with 16-bit sums would cut off, and a small sum, of which float32 keeps each unit
    x[:, ::3] = -1
    x[:, 256:] *= -1
    best = float("inf")
    try:
        multiply = Product(weight, dtype=dtype, bound=1.0)
        for _ in range(PROBES):
            start = time.perf_counter()
            y = multiply(x)
            y[0, 0].item()
            best = min(best, time.perf_counter() - start)
    except (AttributeError, RuntimeError):
        return float("inf")
    exact = dtype != torch.int8 or bool(((y - x[0].sum()) * LEVELS**2).abs().max() < 0.5)
    return best if exact else float("inf")


def choose_decoding_precision(precision: str, device: torch.device) -> torch.dtype:
    """Type of the decoder's products: as asked, or for `auto` int8 where that is faster than the best float.

    Raises:
        ConfigError: int8 was asked for, and PyTorch has no exact int8 product here.
    """
    if precision not in ("auto", "int8"):
        return choose_precision(precision, device)
    seconds = _prepared_seconds(torch.int8, device) if device.type == "cpu" else float("inf")
    if precision == "int8":
        if seconds == float("inf"):
            raise ConfigError(f"precision int8 cannot be used: no exact int8 products on {device}; give auto")
        return torch.int8
    best = choose_precision("auto", device)
    return torch.int8 if seconds < _prepared_seconds(best, device) else best
