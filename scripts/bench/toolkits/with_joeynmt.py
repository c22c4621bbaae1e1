"""Decodes with JoeyNMT, in its environment: `model`, a directory that its training wrote, `threads`, and timing's."""

from __future__ import annotations

import logging

import torch
from joeynmt.hub_interface import TranslatorHubInterface, _from_pretrained
from timing import answer, measure, request

BATCH = 64


def main() -> None:
    """Loads the model, measures, answers."""
    wanted = request()
    torch.set_num_threads(wanted["threads"])
    logging.disable(logging.WARNING)
    model, data, options = _from_pretrained(wanted["model"], use_cuda=False)
    translator = TranslatorHubInterface(model, data, options)

    def translate(lines: list[str], beam: int) -> list[str]:
        # One call is one batch. The lines come as they stand: JoeyNMT does not sort them by length either.
        found: list[str] = []
        with torch.inference_mode():
            for start in range(0, len(lines), BATCH):
                found += translator.translate(lines[start : start + BATCH], beam_size=beam, n_best=1)
        return found

    answer(measure(translate, wanted))


if __name__ == "__main__":
    main()
