"""The compiled part of a recurrent step, where there is one: C files by way of ctypes.

`pip install` compiles it if it finds a C compiler, and goes on without if not; PyTorch then does the same work in some
twenty operations a step. Here are the structures that the C functions read, filled from tensors. A `Kernel` is filled
once for a whole sequence and then called at each step.

They are for float32 states on a CPU (in decoding only where the reset gate comes after the product); everything else
takes the other way, and with the environment variable SEQ2SEQ_KERNELS=0 all of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# Of functions and structures; kernels.c has the same number
INTERFACE = 5

FUNCTIONS = (
    *("gru_forward", "gru_backward", "attend_forward", "attend_backward"),
    *("gru_reset", "gru_candidate", "gru_candidate_backward", "gru_reset_backward"),
    *("cross_entropy", "drop", "log_softmax", "quantise", "finish"),
    *("tile_pack", "tile_product", "decoder_step", "largest"),
)

# Rows and outputs of a product on tiles are taken by so many; inputs must be a multiple of it
TILES = 32

# Numbers of a step below which a second thread costs more than it gains
THREADED = 4096

_state = threading.local()


class Recurrence(ctypes.Structure):
    """Arguments of the functions that begin with `gru_`; see kernels.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("directions", "batch", "size", "products", "between")),
        *((name, ctypes.c_int64) for name in ("x_step", "x_direction", "x_row", "narrow", "x_narrow", "threads")),
        *((name, ctypes.c_void_p) for name in ("x", "more", "from_state", "from_reset", "bias", "mask")),
        *((name, ctypes.c_void_p) for name in ("states", "gates", "inner", "inputs")),
        ("steps", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("grad_states", "through", "carry", "grads")),
    ]


class Attention(ctypes.Structure):
    """Arguments of `attend_forward` and `attend_backward`; see kernels.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("batch", "length", "width", "context", "hypotheses")),
        *((name, ctypes.c_int64) for name in ("products", "grad_columns")),
        *((name, ctypes.c_int64) for name in ("narrow", "threads")),
        *((name, ctypes.c_void_p) for name in ("lengths", "keys", "values", "v", "from_state", "query_terms")),
        *((name, ctypes.c_void_p) for name in ("queries", "weights", "contexts", "inputs")),
        *((name, ctypes.c_void_p) for name in ("by_terms", "grad_contexts", "grad_keys", "grad_v", "grads")),
    ]


class CrossEntropy(ctypes.Structure):
    """Arguments of `cross_entropy`; see kernels.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("chunk", "whole", "count", "vocabulary", "wanted")),
        *((name, ctypes.c_int64) for name in ("narrow", "threads")),
        *((name, ctypes.c_void_p) for name in ("logits", "labels", "shares")),
        ("kept", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("log_p", "scratch")),
    ]


class Dropout(ctypes.Structure):
    """Arguments of `drop`; see kernels.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("size", "threshold", "threads")),
        ("scale", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("x", "draws", "out")),
    ]


class Rows(ctypes.Structure):
    """Arguments of `quantise`, `finish` and `log_softmax`; see kernels.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "columns", "stride", "narrow", "threads")),
        *((name, ctypes.c_void_p) for name in ("x", "bias", "steps", "row_steps")),
        ("factor", ctypes.c_float),
        ("out", ctypes.c_void_p),
    ]


class TileProduct(ctypes.Structure):
    """Arguments of `tile_pack` and `tile_product`; see kernels.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("count", "rows", "inputs", "outputs")),
        *((name, ctypes.c_int64) for name in ("x_step", "x_product", "x_row")),
        *((name, ctypes.c_int64) for name in ("weight_product", "weight_input", "weight_output")),
        *((name, ctypes.c_int64) for name in ("bias_product", "bias_row", "wide", "threads")),
        *((name, ctypes.c_void_p) for name in ("x", "narrowed", "weight", "packed", "bias", "out")),
    ]


class DecoderStep(ctypes.Structure):
    """Arguments of `decoder_step`; see kernels.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "hypotheses", "length", "size", "width", "context", "read")),
        *((name, ctypes.c_int64) for name in ("vocabulary", "columns", "threads", "count", "block", "bans")),
        *((name, ctypes.c_void_p) for name in ("tokens", "table", "state", "lengths", "keys", "values", "v")),
        *((name, ctypes.c_void_p) for name in ("from_state", "from_context", "from_output", "output")),
        *((name, ctypes.c_void_p) for name in ("state_bias", "output_bias", "banned", "scratch", "narrowed")),
        *((name, ctypes.c_void_p) for name in ("next", "weights", "logits", "best", "places")),
    ]


class Largest(ctypes.Structure):
    """Arguments of `largest`; see kernels.h."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "columns", "count", "threads")),
        *((name, ctypes.c_void_p) for name in ("x", "best", "places")),
    ]


@functools.lru_cache(maxsize=1)
def _load() -> tuple[Any, str]:
    """The library, or None, and why."""
    if os.environ.get("SEQ2SEQ_KERNELS") == "0":
        return None, "turned off by SEQ2SEQ_KERNELS=0"
    spec = importlib.util.find_spec("seq2seq.nn._kernels")
    if spec is None or spec.origin is None:
        return None, "not compiled: at installation there was no C compiler with OpenMP, or it failed"
    structures = (Recurrence, Attention, CrossEntropy, Dropout, Rows, TileProduct, DecoderStep, Largest)
    expected = [INTERFACE, *map(ctypes.sizeof, structures)]
    try:
        library = ctypes.CDLL(spec.origin)
        known = ctypes.c_int64.in_dll(library, "kernels_interface").value == INTERFACE  # then there are as many
        if not known or list((ctypes.c_int64 * len(expected)).in_dll(library, "kernels_interface")) != expected:
            return None, "compiled from another version of seq2seq"
        for name in FUNCTIONS:
            getattr(library, name).argtypes = (ctypes.c_void_p, ctypes.c_int64)
            getattr(library, name).restype = None
    except (OSError, ValueError, AttributeError) as error:
        return None, f"cannot be loaded ({error})"
    return library, "compiled"


def description() -> str:
    """Whether there are compiled kernels, or why not."""
    return _load()[1]


@contextlib.contextmanager
def without() -> Iterator[None]:
    """In its block this thread computes in PyTorch alone, but for products that were prepared before it."""
    before, _state.off = getattr(_state, "off", False), True
    try:
        yield
    finally:
        _state.off = before


def _here(x: Tensor) -> bool:
    return x.device.type == "cpu" and not getattr(_state, "off", False) and _load()[0] is not None


def usable(states: Tensor, dtype: torch.dtype) -> bool:
    """Whether there are kernels for states of this type, on this device, and products of type `dtype`.

    That the other tensors are of these types too is for the caller to see.
    """
    return states.dtype == torch.float32 and dtype in (torch.float32, torch.bfloat16) and _here(states)


@functools.lru_cache(maxsize=1)
def has_tiles() -> bool:
    """Whether products can run on a matrix unit (AMX): the library knows one, the processor has it, the system lets."""
    library = _load()[0]
    if library is None:
        return False
    library.tiles_usable.restype = ctypes.c_int64
    return bool(library.tiles_usable())


def tiles_usable(weight: Tensor) -> bool:
    """Whether products with this matrix (D, I, O) can run on the processor's matrix unit: it must be bfloat16."""
    fits = weight.dtype == torch.bfloat16 and weight.shape[1] % TILES == 0 and 1 in weight.stride()[1:]
    return fits and _here(weight) and has_tiles()


class Kernel:
    """One of the C functions with its arguments, which are kept from being freed."""

    def __init__(self, function: str, arguments: type[ctypes.Structure], numbers: int, **fields: Any) -> None:
        """Fills a structure.

        Args:
            function: Its name in C.
            arguments: Type of the structure.
            numbers: How many a step computes: few of them are not worth a second thread.
            fields: Numbers, and contiguous tensors (for some, kernels.h has a stride); a name left out is null.
        """
        self._function = getattr(_load()[0], function)
        self._kept = [value for value in fields.values() if isinstance(value, Tensor)]
        plain = {name: value.data_ptr() if isinstance(value, Tensor) else value for name, value in fields.items()}
        threads = torch.get_num_threads() if numbers >= THREADED else 1
        self._arguments = arguments(**plain, threads=threads)
        self._pointer = ctypes.addressof(self._arguments)

    def __call__(self, t: int) -> None:
        """Step t."""
        self._function(self._pointer, t)
