"""This toolkit, measured by the same scripts that measure it alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from toolkits.workplace import (
    ATTENTION,
    DECODER,
    EMBEDDING,
    ENCODER,
    HERE,
    ROOT,
    VOCABULARY,
    Program,
    Workplace,
    gru,
    last_object,
    once,
    run,
)

EPOCHS = 6

# the peers have attention as in the paper, without what ours adds to it
AS_THE_PEERS = ["--no-query-token", "--no-attend-embedding", "--no-scale-embedding"]


class Ours(Program):
    """One precision of ours."""

    def __init__(self, precision: str, *, trains: bool, decodes: bool, model: Path | None = None) -> None:
        """Args:
        precision: As `--precision` takes it.
        trains: Whether it is a row of the training table.
        decodes: Whether it is one of the decoding table.
        model: A model directory to decode with; None trains one of the sizes compared.
        """
        self.precision, self.trains, self.decodes, self.model = precision, trains, decodes, model
        self.name = f"ours, {precision}"

    def _folder(self, place: Workplace) -> Path:
        return place.work / "ours"

    def _train_options(self, place: Workplace) -> list[str]:
        sizes = {
            **{"--embedding-size": EMBEDDING, "--encoder-size": ENCODER, "--decoder-size": DECODER},
            **{"--attention-size": ATTENTION, "--data": place.data, "--source": place.source},
            **{"--target": place.target, "--tokenizer": place.tokenizer, "--threads": place.threads},
        }
        return [str(word) for option in sizes.items() for word in option] + AS_THE_PEERS

    def prepare_decoding(self, place: Workplace) -> None:
        """A brief training, unless a model is given."""
        if self.model is not None:
            return
        model = self._folder(place) / "model"
        model.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "seq2seq", "train", *self._train_options(place)]
        command += ["--output", str(model), "--overwrite", "--max-epochs", str(EPOCHS)]
        once(model, [EPOCHS, DECODER], lambda: run(command, place.threads, model.with_name("model.log")))

    def precision_used(self, output: str) -> str:
        """What `auto` has chosen."""
        return last_object(output)["precision"]

    def multiplications(self) -> int:
        """One cell, whose input is embedding and context; keys and query; readout to the tied output matrix."""
        context = 2 * ENCODER
        cell = gru(EMBEDDING + context, DECODER)
        attention = (context + DECODER) * ATTENTION
        readout = (DECODER + context + EMBEDDING) * EMBEDDING
        return 2 * gru(EMBEDDING, ENCODER) + cell + attention + readout + EMBEDDING * VOCABULARY

    def training(self, place: Workplace, round_: int) -> list[str | Path]:
        """`training.py`, which takes 64 sentences a batch by itself."""
        chosen = ["--precision", self.precision, "--seed", str(round_)]
        return [sys.executable, ROOT / "scripts/bench/training.py", "--json", *self._train_options(place), *chosen]

    def tokens_per_second(self, log: str) -> float:
        """Its own median; it counts labels that are not padding, the end of the sentence among them."""
        return last_object(log)["tokens_per_second"]

    def decoding(self, place: Workplace, wanted: dict[str, Any]) -> list[str | Path]:
        """`Translator`, with batches as it makes them."""
        model = str((self.model or self._folder(place) / "model").resolve())
        request = {**wanted, "model": model, "precision": self.precision, "threads": place.threads}
        return [sys.executable, HERE / "with_ours.py", json.dumps(request)]
