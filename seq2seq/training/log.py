"""metrics.jsonl, and TensorBoard's event files beside it where they are wanted."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any


class MetricsLog:
    """Lines of a run; a resumed one goes on behind the last line that its checkpoint knows."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "metrics.jsonl"
        self.board: Any = None

    def open_board(self, step: int) -> None:
        """Writes to TensorBoard too; what an earlier process has written there after this step is hidden."""
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(str(self.path.parent / "tensorboard"), purge_step=step + 1 if step else None)

    def write(self, values: dict[str, Any]) -> None:
        """Adds a line; numbers that are not finite are null in it, as JSON has none of them."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(values), allow_nan=False) + "\n")
        if self.board is not None:
            part = "valid" if "valid" in values else "train"
            for name, value in (values | values.get("valid", {})).items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    self.board.add_scalar(f"{part}/{name}", value, values["step"])

    def size(self) -> int:
        """Bytes written so far, all of them on the disk."""
        if not self.path.exists():
            return 0
        with open(self.path, "ab") as file:
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_size

    def cut(self, size: int) -> None:
        """Forgets what was written after a checkpoint."""
        if self.path.exists() and self.path.stat().st_size > size:
            with open(self.path, "r+b") as file:
                file.truncate(size)

    def close(self) -> None:
        """Ends the event files."""
        if self.board is not None:
            self.board.close()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
