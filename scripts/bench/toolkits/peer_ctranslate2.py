"""CTranslate2: no recurrent model and no training, but the fastest that a user might take instead of ours."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any, ClassVar

from toolkits.workplace import HERE, Environment, Program, Workplace, figure, last_object, once, run

BATCHES = (16, 32, 64, 128)
PROBED, SINGLES = 512, 50
"""Sentences on which the settings are tried, in one call and one by one."""


class CTranslate2(Program):
    """A Transformer of as many parameters as our model, trained briefly in PyTorch and converted."""

    trains = False
    notes: ClassVar[list[str]] = [
        "CTranslate2: only decodes, and has no recurrent model; a Transformer of 6.0M parameters (3 + 3 layers, width "
        "256, inner 512, 4 heads), trained in PyTorch. Batch size, workers and threads are the fastest of those tried.",
    ]

    def __init__(self, compute_type: str) -> None:
        """Args:
        compute_type: `int8` or `float32`.
        """
        self.compute_type = self.precision = compute_type
        self.name = f"CTranslate2 4.8, {compute_type}"

    def _folder(self, place: Workplace) -> Path:
        return place.work / "ctranslate2"

    def _environment(self, place: Workplace) -> Environment:
        return Environment(self._folder(place) / "venv", ["ctranslate2==4.8.5", "numpy", "sentencepiece"])

    def prepare(self, place: Workplace) -> None:
        """Its environment."""
        self._folder(place).mkdir(parents=True, exist_ok=True)
        self._environment(place).prepare()

    def _command(self, place: Workplace, request: dict[str, Any]) -> list[str | Path]:
        return [self._environment(place).python, HERE / "with_ctranslate2.py", json.dumps(request)]

    def prepare_decoding(self, place: Workplace) -> None:
        """The Transformer's training, its conversion, and the choice of workers and batch size."""
        folder = self._folder(place)
        weights, updates = folder / "transformer.npz", 3 * place.updates
        languages = ["--source", place.source, "--target", place.target, "--threads", str(place.threads)]
        paths: list[str | Path] = ["--data", place.data, "--tokenizer", place.tokenizer, "--output", weights]
        command: list[str | Path] = [
            sys.executable,
            HERE / "transformer.py",
            *paths,
            *languages,
            "--updates",
            str(updates),
        ]
        once(weights, [updates], lambda: run(command, place.threads, weights.with_suffix(".log")))
        request = {"weights": str(weights), "pieces": str(place.pieces), "model": str(folder / "model")}
        once(folder / "model", [updates], lambda: run(self._command(place, request), place.threads))
        once(self._chosen(place), [updates, place.threads], lambda: self._choose(place))

    def _chosen(self, place: Workplace) -> Path:
        return self._folder(place) / f"{self.compute_type}.json"

    def _choose(self, place: Workplace) -> None:
        wanted = {
            "input": str(place.text("test", place.source)),
            "output": str(self._folder(place) / "probe.txt"),
            **{"sentences": PROBED, "beams": [5], "singles": 0},
        }

        def tried(setting: dict[str, int], **others: Any) -> dict[str, float]:
            command = self._command(place, self._request(place, wanted | others, setting))
            return figure(last_object, place.measured(command))["beam_5"]

        settings = itertools.product(sorted({1, place.threads}), BATCHES, [1])
        several = [dict(zip(("workers", "batch", "alone"), setting, strict=True)) for setting in settings]
        best = max(several, key=lambda setting: tried(setting)["sentences_per_second"])
        single = [best | {"alone": threads} for threads in sorted({1, place.threads})]
        best = min(single, key=lambda setting: tried(setting, sentences=SINGLES, singles=SINGLES)["p50_ms"])
        self._chosen(place).write_text(json.dumps(best), encoding="utf-8")

    def _request(self, place: Workplace, wanted: dict[str, Any], setting: dict[str, int]) -> dict[str, Any]:
        fixed = {"model": str(self._folder(place) / "model"), "tokenizer": str(place.tokenizer)}
        return {**wanted, **fixed, **setting, "threads": place.threads, "compute_type": self.compute_type}

    def decoding(self, place: Workplace, wanted: dict[str, Any]) -> list[str | Path]:
        """Its own interface for Python, with SentencePiece before and after it."""
        chosen = json.loads(self._chosen(place).read_text(encoding="utf-8"))
        return self._command(place, self._request(place, wanted, chosen))
