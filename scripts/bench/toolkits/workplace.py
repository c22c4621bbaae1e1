"""Where toolkits are set up and what they share: sizes, tokenizer, environments, finished steps, counts of work."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from seq2seq.config import TokenizerConfig
from seq2seq.text.tables import read_lines
from seq2seq.text.tokenizer import Tokenizer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

VOCABULARY, EMBEDDING, ENCODER, DECODER, ATTENTION = 8000, 256, 256, 512, 512
BATCH, SMOOTHING = 64, 0.1


@dataclasses.dataclass(frozen=True)
class Workplace:
    """A corpus, and the directory that holds everything made from it."""

    data: Path
    """With train.en train.de test.en test.de, for source en and target de."""
    work: Path
    source: str
    target: str
    threads: int
    updates: int
    """Updates of the brief training of peers before they decode."""
    before: tuple[str, ...] = ()
    """Words put before each command that is measured."""

    @property
    def tokenizer(self) -> Path:
        """The SentencePiece model that all share; Marian knows it by this ending."""
        return self.work / "joint.spm"

    @property
    def pieces(self) -> Path:
        """Its pieces, one a line, in the order of their ids."""
        return self.work / "pieces.txt"

    def text(self, split: str, side: str) -> Path:
        """One side of one split."""
        return self.data / f"{split}.{side}"

    def measured(self, command: Sequence[str | Path]) -> str:
        """What a command writes that is run to be timed."""
        return run([*self.before, *command], self.threads)

    def prepare(self) -> None:
        """Trains the tokenizer, unless that is done."""
        sides = [self.text("train", side) for side in (self.source, self.target)]

        def train() -> None:
            lines = [line for path in sides for line in read_lines(path)]
            tokenizer = Tokenizer.train(lines, TokenizerConfig(vocab_size=VOCABULARY), 1, languages=2)
            tokenizer.save(self.tokenizer)
            pieces = tokenizer.pieces(range(tokenizer.vocab_size))
            self.pieces.write_text("\n".join(pieces), encoding="utf-8")

        once(self.work / "tokenizer", [VOCABULARY, *(hashlib.sha256(p.read_bytes()).hexdigest() for p in sides)], train)


def once(name: Path, key: Any, make: Callable[[], object]) -> None:
    """Runs `make`, unless it has been run to its end for the same key."""
    marker = name.with_name(name.name + ".done")
    text = json.dumps(key)
    if marker.is_file() and marker.read_text(encoding="utf-8") == text:
        return
    sys.stderr.write(f"{name.name}: setting up in {name.parent}\n")
    marker.unlink(missing_ok=True)
    make()
    marker.write_text(text, encoding="utf-8")


def environment_variables(threads: int) -> dict[str, str]:
    """Of every program that is measured: so many OpenMP threads, no GPU."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"}


def run(command: Sequence[str | Path], threads: int, log: Path | None = None) -> str:
    """What a program writes to standard output and standard error together; also to `log`, while it runs.

    Raises:
        SystemExit: It failed; its last lines are told.
    """
    words = [str(word) for word in command]
    with tempfile.TemporaryFile("w+b") if log is None else log.open("w+b") as file:
        done = subprocess.run(words, env=environment_variables(threads), stdout=file, stderr=subprocess.STDOUT)
        file.seek(0)
        text = file.read().decode(errors="replace")
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\nended with status {done.returncode}:\n{text[-3000:]}")
    return text


def last_object(text: str) -> dict[str, Any]:
    """The JSON object in the last line that is one."""
    return json.loads([line for line in text.splitlines() if line.startswith("{")][-1])


def figure(read: Callable[[str], Any], text: str) -> Any:
    """What `read` finds in a program's output.

    Raises:
        SystemExit: It finds nothing; the output's last lines are told.
    """
    try:
        return read(text)
    except (IndexError, ZeroDivisionError):
        raise SystemExit(f"there are no figures in what came:\n{text[-3000:]}") from None


def pin(package: str, constraints: str) -> str:
    """A package with the version that a constraints file names for it."""
    found = re.search(rf"^{re.escape(package)}==[^\s;]+", constraints, re.MULTILINE)
    if found is None:
        raise ValueError(f"no version of {package} in constraints.txt")
    return found[0]


def without(constraints: str, packages: Sequence[str]) -> str:
    """A constraints file without some packages."""
    kept = [line for line in constraints.splitlines() if re.split(r"[=<>\s;]", line)[0] not in packages]
    return "\n".join(kept) + "\n"


class Environment:
    """A virtual environment of its own for a toolkit."""

    def __init__(self, folder: Path, packages: Sequence[str], unpinned: Sequence[str] = ()) -> None:
        """Args:
        folder: Where it stands.
        packages: Requirements, with versions.
        unpinned: Packages of which the toolkit needs other versions than constraints.txt has.
        """
        self.folder, self.packages, self.unpinned = folder, list(packages), list(unpinned)
        self.python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"

    def prepare(self, patch: Callable[[Environment], None] | None = None) -> None:
        """Makes it from the package registry, once; `patch` then changes what the toolkit needs changed."""

        def make() -> None:
            run([sys.executable, "-m", "venv", "--clear", self.folder], 1)
            versions = self.folder / "constraints.txt"
            all_pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
            versions.write_text(without(all_pins, self.unpinned), encoding="utf-8")
            run([self.python, "-m", "pip", "install", "-q", "-c", versions, *self.packages], 1)
            if patch is not None:
                patch(self)

        once(self.folder, [sys.version, self.packages, self.unpinned], make)

    def package(self, name: str) -> Path:
        """The folder of an installed package."""
        code = f"import importlib.util; print(importlib.util.find_spec({name!r}).origin)"
        return Path(run([self.python, "-c", code], 1).splitlines()[-1]).parent


def gru(inputs: int, state: int) -> int:
    """Multiplications of one GRU step."""
    return 3 * state * (inputs + state)


def megaflop(multiplications: int) -> float:
    """Of forward and backward products, from the multiplications of the forward ones: x 2 operations, x 3 passes."""
    return 6 * multiplications / 1e6


class Program:
    """A program that trains, decodes or both. Subclasses say how; each is one row of the tables."""

    name = ""
    notes: ClassVar[list[str]] = []
    precision = "float32"
    trains = True
    decodes = True

    def prepare(self, place: Workplace) -> None:
        """Sets up its environment."""

    def prepare_decoding(self, place: Workplace) -> None:
        """Trains the model that decodes, long enough for lengths of a real one."""

    def precision_used(self, output: str) -> str:
        """Type of matrix products, where the output of a command tells it."""
        return self.precision

    def multiplications(self) -> int:
        """In matrix products, a target token, forward, with a source as long as the target."""
        raise NotImplementedError

    def training(self, place: Workplace, round_: int) -> list[str | Path]:
        """The command whose output `tokens_per_second` reads; each round takes other batches."""
        raise NotImplementedError

    def tokens_per_second(self, log: str) -> float:
        """Real target tokens (end of sentence counted, padding not) a second, warm-up left out."""
        raise NotImplementedError

    def decoding(self, place: Workplace, wanted: dict[str, Any]) -> list[str | Path]:
        """The command that ends with one JSON object, as `timing.measure` gives it."""
        raise NotImplementedError
