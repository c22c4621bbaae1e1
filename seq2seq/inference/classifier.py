"""`Classifier`: a model directory in memory; raw text in, labels and probabilities out.

Legend: N texts, K labels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from seq2seq.errors import ConfigError
from seq2seq.inference.hub import push_to_hub
from seq2seq.inference.loading import load_classifier, local_directory
from seq2seq.inference.sources import one_line, windows, with_prefix
from seq2seq.nn.classifier import ClassificationModel
from seq2seq.nn.hardware import choose_device, choose_precision, use_threads
from seq2seq.text.batching import flatten, length_batches
from seq2seq.text.labels import LabelledBatch, Limits, text_batch
from seq2seq.text.tokenizer import Tokenizer

WINDOW = 4000
"""Texts read ahead, to be sorted by length."""

BATCH_TOKENS = 6000
"""Pieces in a batch, padding included."""

THRESHOLD = 0.5
"""A text that may have several labels has those of at least this probability."""


class Prediction(NamedTuple):
    """A label of a text, and its probability."""

    label: str
    probability: float


class Classifier:
    """Classifies; keeps the model ready between calls, and nothing else but a count of texts that were cut."""

    def __init__(
        self,
        model: ClassificationModel,
        tokenizer: Tokenizer,
        labels: Sequence[str],
        limits: Limits,
        *,
        config: dict[str, Any] | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        """A classifier from parts in memory; `from_pretrained` reads them from a directory.

        Args:
            model: Put into evaluation mode.
            tokenizer: Of the texts.
            labels: K names.
            limits: How much of a text is read.
            config: What the model directory's config.json holds.
            precision: Type of matrix products.
        """
        self.model, self.tokenizer, self.labels, self.limits = model.eval(), tokenizer, list(labels), limits
        self.config: dict[str, Any] = config or {}
        self.precision, self.device = precision, next(model.parameters()).device
        self.cut = 0
        """Texts so far of which only a part was read, because they are longer than `limits` allow."""
        self.directory: Path | None = None
        """Where the model was read from."""

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        precision: Literal["auto", "float32", "bfloat16", "int8"] = "float32",
    ) -> Classifier:
        """Reads a model directory that `seq2seq train-classifier` has written.

        Args:
            path: The directory, or `user/name` on the Hugging Face hub where no such directory is here.
            device: `auto`, `cpu` or `cuda`.
            threads: CPU threads of this process; 0 takes the cores that it may use, None leaves them as they are.
            precision: Type of matrix products; `auto` takes bfloat16 where a short timed product shows it to be faster;
                int8 is refused.

        Raises:
            ModelDirectoryError: No (readable) model directory, or one that holds no classifier.
            ConfigError: No such device.
        """
        if threads is not None:
            use_threads(threads)
        chosen = choose_device(device)
        directory = local_directory(path)
        loaded = load_classifier(directory, chosen)
        parts = loaded.model, loaded.tokenizer, loaded.labels, loaded.limits
        classifier = cls(*parts, config=loaded.config, precision=choose_precision(precision, chosen))
        classifier.directory = directory
        return classifier

    def push_to_hub(self, name: str, *, private: bool = True, token: str | None = None) -> str:
        """Puts the model directory onto the Hugging Face hub as `user/name`; see `seq2seq.inference.hub`."""
        return push_to_hub(self.directory, name, private=private, token=token)

    def predict(self, texts: str | Sequence[str], *, top_k: int = 1) -> Any:
        """Labels of texts, with probabilities.

        Args:
            texts: One text, or a list of them; an empty one has a prediction too.
            top_k: How many labels of a text to give.

        Returns:
            For a list of texts a list, for one text one, of: a `Prediction` (label, probability); with `top_k` above 1
            a list of that many, the likeliest first; where a text may have several labels a list of all with a
            probability of one half or more, or of the `top_k` likeliest where that is above 1.

        Raises:
            ConfigError: A text that is no str, or top_k below 1.
        """
        found = self.predict_stream([texts] if isinstance(texts, str) else texts, top_k=top_k)
        one = top_k == 1 and not self.model.several
        rows = [row[0] if one else row for row in found]
        return rows[0] if isinstance(texts, str) else rows

    def predict_stream(
        self, texts: Iterable[str], *, top_k: int = 1, window: int = WINDOW
    ) -> Iterator[list[Prediction]]:
        """As `predict`, for texts as they come, one list each; at most `window` of them are read ahead."""
        if top_k < 1:
            raise ConfigError(f"top_k is {top_k}, expected at least 1")
        for part in windows(with_prefix(texts, None), window):
            yield from self._named(self._probabilities([text for text, _ in part]), top_k)

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """(N, K) float32: of each label given each text."""
        parts = [self._probabilities([text for text, _ in part]) for part in windows(with_prefix(texts, None), WINDOW)]
        return np.concatenate([np.zeros((0, len(self.labels)), dtype=np.float32), *parts])

    @torch.inference_mode()
    def _probabilities(self, texts: list[str]) -> np.ndarray:
        ids = self.tokenizer.encode([one_line(text) for text in texts])
        lengths = np.array([len(row) for row in ids], dtype=np.int64)
        self.cut += int((lengths > self.limits.most).sum())
        found = np.zeros((len(ids), len(self.labels)), dtype=np.float32)
        none = np.zeros(0, dtype=np.int64)
        with self._products():
            for group in length_batches(np.minimum(lengths, self.limits.most) + 1, BATCH_TOKENS):
                batch = text_batch(*flatten([ids[i] for i in group]), none, self.tokenizer, self.limits)
                found[group] = self.model.probabilities(LabelledBatch(*batch).to(self.device)).float().cpu().numpy()
        return found

    def _named(self, probabilities: np.ndarray, top_k: int) -> Iterator[list[Prediction]]:
        order = np.argsort(-probabilities, axis=1, kind="stable")
        if self.model.several and top_k == 1:
            counts = (probabilities >= THRESHOLD).sum(1).tolist()
        else:
            counts = [min(top_k, len(self.labels))] * len(probabilities)
        for row, places, count in zip(probabilities, order, counts, strict=True):
            yield [Prediction(self.labels[k], float(row[k])) for k in places[:count]]

    def _products(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)


def decide(probabilities: np.ndarray, several: bool) -> np.ndarray:
    """(N, K) 0 or 1: the likeliest label of each text, or where it may have several all that are likely enough."""
    if several:
        return probabilities >= THRESHOLD
    return np.eye(probabilities.shape[1], dtype=bool)[probabilities.argmax(1)]
