"""Marian's wheel, `pymarian`: its `s2s` model, in C++."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar

from toolkits.workplace import (
    BATCH,
    EMBEDDING,
    HERE,
    SMOOTHING,
    VOCABULARY,
    Environment,
    Program,
    Workplace,
    gru,
    once,
    run,
)

UPDATES, LOGGED = 24, 4

LINE = re.compile(r"\* ([\d,]+) (?:@ [\d,]+ )?after [\d,]+ : Time ([\d.]+)s")


class Marian(Program):
    """An encoder and decoder whose states are all of one size."""

    notes: ClassVar[list[str]] = [
        "Marian: float32. One state size for the decoder and for each direction of the encoder, attention as wide as "
        "both directions, two GRU cells a decoder step: with a state of 512 it has the decoder asked for and a larger "
        "encoder, with 320 about as many products a token as ours. Every thread trains on batches of its own and "
        "updates without waiting for the others, which is its default and its fastest way. The wheel is built for AVX.",
    ]

    def __init__(self, state: int) -> None:
        """Args:
        state: Its `--dim-rnn`.
        """
        self.state = state
        self.name = f"Marian 1.12, state {state}"

    def _folder(self, place: Workplace) -> Path:
        return place.work / "marian"

    def _environment(self, place: Workplace) -> Environment:
        return Environment(self._folder(place) / "venv", ["pymarian==1.12.42"])

    def prepare(self, place: Workplace) -> None:
        """Its environment."""
        (self._folder(place) / "temporary").mkdir(parents=True, exist_ok=True)
        self._environment(place).prepare()

    def _train(self, place: Workplace, model: Path, updates: int, logged: int, seed: int) -> list[str | Path]:
        text = [place.text("train", side) for side in (place.source, place.target)]
        options: dict[str, Any] = {
            **{"--type": "s2s", "--dim-emb": EMBEDDING, "--dim-rnn": self.state, "--dropout-rnn": 0.1},
            **{"--optimizer": "adam", "--learn-rate": 2e-3, "--label-smoothing": SMOOTHING, "--mini-batch": BATCH},
            **{"--max-length": 200, "--cpu-threads": place.threads, "--data-threads": 1, "--workspace": 2000},
            **{"--after": f"{updates}u", "--disp-freq": f"{logged}u", "--save-freq": "1000000u", "--seed": seed},
            **{"--tempdir": self._folder(place) / "temporary", "--model": model},
        }
        words = [str(word) for option in options.items() for word in option]
        words += ["--train-sets", *map(str, text), "--vocabs", *[str(place.tokenizer)] * 2]
        flags = ["--tied-embeddings-all", "--no-reload", "--overwrite"]
        return [self._environment(place).python, "-m", "pymarian", "train", *words, *flags]

    def _model(self, place: Workplace) -> Path:
        return self._folder(place) / f"model-{self.state}.npz"

    def prepare_decoding(self, place: Workplace) -> None:
        """A brief training."""
        model = self._model(place)
        command = self._train(place, model, place.updates, 50, 1)
        once(model, [place.updates], lambda: run(command, place.threads, model.with_suffix(".log")))

    def multiplications(self) -> int:
        """Two cells, one before and one after the attention, which is as wide as the context; tied output."""
        context = 2 * self.state
        cells = gru(EMBEDDING, self.state) + gru(context, self.state)
        attention = (context + self.state) * context
        readout = (EMBEDDING + self.state + context) * EMBEDDING
        return 2 * gru(EMBEDDING, self.state) + cells + attention + readout + EMBEDDING * VOCABULARY

    def training(self, place: Workplace, round_: int) -> list[str | Path]:
        """A run of a few updates."""
        return self._train(place, self._folder(place) / "speed.npz", UPDATES, LOGGED, round_)

    def tokens_per_second(self, log: str) -> float:
        """Labels over seconds, both its own counts; the first line warms up. The end of the sentence is a label."""
        lines = [(int(labels.replace(",", "")), float(seconds)) for labels, seconds in LINE.findall(log)][1:]
        return sum(labels for labels, _ in lines) / sum(seconds for _, seconds in lines)

    def decoding(self, place: Workplace, wanted: dict[str, Any]) -> list[str | Path]:
        """Its own interface for Python, batches of 64 lines of like lengths."""
        model, vocabulary = str(self._model(place)), str(place.tokenizer)
        request = {**wanted, "model": model, "vocabulary": vocabulary, "threads": place.threads}
        return [self._environment(place).python, HERE / "with_marian.py", json.dumps(request)]
