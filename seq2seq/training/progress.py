"""Where a run stands: all of it goes into a checkpoint, so that a resumed run tells what the unbroken one would."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any, TypeVar

from seq2seq.errors import ModelDirectoryError

T = TypeVar("T")


@dataclass
class Progress:
    """Counters of the whole run."""

    step: int = 0
    epoch: int = 0
    position: int = 0  # batches of this epoch already used
    seconds: float = 0.0
    tokens: int = 0
    best: float | None = None
    best_step: int = 0  # of the model that is kept; without anything to validate on it is the last one, and best None
    bad_validations: int = 0  # since the best one
    stale_validations: int = 0  # since the best one or the last reduction of the learning rate
    reductions: int = 0
    skipped: int = 0  # steps whose loss or gradient was not finite
    skipped_in_a_row: int = 0
    halved: int = 0  # steps that were repeated with their batches in halves, for want of memory
    validated_step: int = 0
    log_bytes: int = 0  # length of metrics.jsonl at the checkpoint


@dataclass
class Window:
    """Sums since the last log line."""

    loss: float = 0.0
    tokens: int = 0
    seconds: float = 0.0  # until the checkpoint
    start: float = field(default_factory=time.perf_counter)

    def loss_per_token(self) -> float:
        """In nats."""
        return self.loss / max(self.tokens, 1)

    def speed(self) -> float:
        """Target tokens (or texts) per second."""
        return self.tokens / max(self.seconds + time.perf_counter() - self.start, 1e-9)

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"loss": self.loss, "tokens": self.tokens, "seconds": self.seconds + time.perf_counter() - self.start}


def restored(kind: type[T], values: Any) -> T:
    """A `Progress` or `Window` from a checkpoint; counters that it does not have yet begin at their defaults.

    Raises:
        ModelDirectoryError: It holds something else.
    """
    kinds: dict[str, tuple[type, ...]]
    kinds = {"int": (int,), "float": (int, float), "float | None": (int, float, type(None))}
    known = {f.name: kinds[str(f.type)] for f in dataclasses.fields(kind) if f.name != "start"}  # type: ignore[arg-type]
    good = isinstance(values, dict) and all(
        name in known and isinstance(value, known[name]) and not isinstance(value, bool)
        for name, value in values.items()
    )
    if not good:
        raise ModelDirectoryError(
            f"the training state is damaged, or of another version of seq2seq ({kind.__name__.lower()}: {values!r:.80})"
            "; start anew with --overwrite"
        )
    return kind(**values)
