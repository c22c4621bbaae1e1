"""Decodes with Marian's wheel, in its environment: `model`, `vocabulary`, `threads`, and what timing asks for."""

from __future__ import annotations

from pymarian import Translator
from timing import answer, measure, request


def main() -> None:
    """Loads the model, measures, answers."""
    wanted = request()
    translator = Translator(
        models=wanted["model"],
        vocabs=[wanted["vocabulary"]] * 2,
        cpu_threads=wanted["threads"],
        mini_batch=64,
        maxi_batch=100,
        maxi_batch_sort="src",
        normalize=1,
        quiet="",
        quiet_translation="",
    )

    def translate(lines: list[str], beam: int) -> list[str]:
        return translator.translate(lines, beam_size=beam)

    answer(measure(translate, wanted))


if __name__ == "__main__":
    main()
