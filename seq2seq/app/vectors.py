"""`seq2seq embed`, and the files of vectors that it writes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from seq2seq.app.models import Models, load_translator
from seq2seq.app.streams import DeviceArguments, output_file, progress, text_lines, whole_file
from seq2seq.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

HEADER = 128
"""Bytes of the header of a .npy file as NumPy writes it for a matrix, whatever its number of rows."""


@dataclass(frozen=True)
class EmbedArguments:
    """Arguments of `seq2seq embed`."""

    sentences: Annotated[Positional[tuple[str, ...]], arg(metavar="TEXT ...", help_behavior_hint="")] = ()
    """Texts; without them, and without --input, standard input is read."""
    model: Models = ()
    """Translator's model directory, whose encoder reads the texts."""
    input: str | None = None
    """Texts, one sentence or phrase a line; may be a .gz file."""
    output: str | None = None
    """.npy: a float32 matrix, a row a line; any other name, or standard output without it: tab-separated numbers."""
    vector: Literal["summary", "mean"] = "summary"
    """summary: what the decoder starts from (the ends of both directions); mean: the mean of the encoder's states."""
    encoding_errors: Literal["strict", "replace"] = "strict"
    """Invalid UTF-8: `strict` stops and names the line, `replace` puts U+FFFD in its place."""
    run: DeviceArguments = field(default_factory=DeviceArguments)


def embed(arguments: EmbedArguments, command: list[str]) -> None:
    """Writes a vector for each text.

    Raises:
        UserError: No model, several, no such file, text that is no UTF-8.
    """
    if arguments.sentences and arguments.input is not None:
        raise ConfigError("embed got texts and --input; give one of them")
    binary = arguments.output is not None and arguments.output.endswith(".npy")
    opened = _matrix_file(Path(arguments.output or "")) if binary else _table(arguments.output)
    with opened as write:
        translator = load_translator(arguments.model, arguments.run, "embed")
        from seq2seq.inference.vectors import embed_stream

        lines, waiting = text_lines(arguments.sentences, arguments.input, arguments.encoding_errors)
        options: dict[str, Any] = {"window": 1} if waiting else {}
        for vector in progress(embed_stream(translator, lines, arguments.vector, **options), arguments.output):
            write(vector)


@contextlib.contextmanager
def _table(path: str | None) -> Iterator[Callable[[np.ndarray], object]]:
    with output_file(path) as file:
        yield lambda vector: file.write("\t".join(f"{value:.6g}" for value in vector.tolist()) + "\n")


@contextlib.contextmanager
def _matrix_file(path: Path) -> Iterator[Callable[[np.ndarray], object]]:
    """A .npy file written row by row: the number of rows goes into its header at the end."""
    from numpy.lib import format as npy

    rows, size = 0, 0
    with whole_file(path) as written, open(written, "wb") as file:
        file.write(bytes(HEADER))

        def add(vector: np.ndarray) -> None:
            nonlocal rows, size
            rows, size = rows + 1, len(vector)
            file.write(vector.astype("<f4").tobytes())

        yield add
        file.seek(0)
        npy.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, size)})
        assert file.tell() == HEADER


def read_vectors(path: str) -> np.ndarray:
    """A matrix (N, C) that `embed` has written, or any other of that form.

    Raises:
        ConfigError: No such file, or something else in it.
    """
    import numpy as np

    try:
        if path.endswith(".npy"):
            vectors = np.load(path, allow_pickle=False)
        else:
            vectors = np.loadtxt(path, delimiter="\t", ndmin=2, dtype=np.float32)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"cannot read vectors from {path} ({reason[:200]}); give what `seq2seq embed` wrote"
        ) from None
    if vectors.ndim != 2 or not vectors.size or not np.isfinite(vectors).all():
        raise ConfigError(f"{path} holds no matrix of finite numbers, one row a text, but shape {vectors.shape}")
    return vectors
