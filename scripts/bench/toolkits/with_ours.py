"""Decodes with this toolkit: `model`, `precision`, `threads`, and what timing asks for."""

from __future__ import annotations

from timing import answer, measure, request

from seq2seq import Translator
from seq2seq.nn.hardware import precision_name


def main() -> None:
    """Loads the model, measures, answers."""
    wanted = request()
    translator = Translator.from_pretrained(
        wanted["model"], threads=wanted["threads"], precision=wanted["precision"], device="cpu"
    )
    result = measure(lambda lines, beam: translator.translate(lines, beam_size=beam), wanted)
    answer({**result, "precision": precision_name(translator.precision)})


if __name__ == "__main__":
    main()
