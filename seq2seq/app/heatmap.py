"""Attention as a picture: a heat map a sentence, target words by source words, as PNG, SVG or HTML."""

from __future__ import annotations

import contextlib
import html
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from seq2seq.app.streams import output_file
from seq2seq.errors import ConfigError
from seq2seq.inference.alignments import END, WordAttention

MOST = 12
"""Sentences in one picture; a page has room for all."""

CELL = 0.3
"""Inches that a word takes."""

Draw = Callable[[WordAttention], object]

_STYLE = """\
:root { color-scheme: light dark; font: 15px/1.3 system-ui, sans-serif }
body { margin: 1.5em } figure { margin: 0 0 2.5em; overflow-x: auto } table { border-collapse: collapse }
th { font-weight: normal; padding: .15em .5em; text-align: right; white-space: nowrap }
thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; padding: .5em .15em }
td { width: 1.7em; min-width: 1.7em; height: 1.7em; border: 1px solid color-mix(in srgb, currentColor 12%, transparent);
     background: color-mix(in srgb, #1769c2 calc(var(--w) * 100%), transparent) }
"""


@contextlib.contextmanager
def attention_picture(path: str) -> Iterator[Draw]:
    """A function that takes sentence after sentence; the file is there when the context is left without an error.

    Raises:
        ConfigError: A name that ends in neither .html, .png nor .svg, or a file that cannot be written.
    """
    kind = Path(path).suffix.lower().removeprefix(".")
    if kind == "html":
        with output_file(path) as file:
            file.write('<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Attention</title>\n')
            file.write('<meta name="viewport" content="width=device-width">\n')
            file.write(f"<style>\n{_STYLE}</style>\n<h1>Attention</h1>\n<p>Target words (rows) by source words.</p>\n")
            yield lambda attention: file.write(attention_table(attention))
            file.write("</html>\n")
        return
    if kind not in ("png", "svg"):
        raise ConfigError(f"--attention {path}: the name should end in .png, .svg or .html")
    kept: list[WordAttention] = []
    seen = 0

    def keep(attention: WordAttention) -> None:
        nonlocal seen
        seen += 1
        if len(kept) < MOST and attention.target:
            kept.append(attention)

    yield keep
    if not kept:
        raise ConfigError(f"--attention {path}: there is no translation with any word to draw")
    if len(kept) < seen:
        page = Path(path).with_suffix(".html").name
        sys.stderr.write(f"{path} shows {len(kept)} of {seen:,} lines; --attention {page} shows all of them\n")
    draw_attention(kept, Path(path))


def attention_table(attention: WordAttention) -> str:
    """One sentence as an HTML table."""

    def word(text: str) -> str:
        return f"<bdi>{html.escape(text)}</bdi>"

    source, target = [*attention.source, END], [*attention.target, END]
    rows = ["<figure><table>\n<thead><tr><td></td>", *(f"<th>{word(text)}</th>" for text in source), "</tr></thead>\n"]
    for text, weights in zip(target, attention.weights.tolist(), strict=True):
        rows.append(f"<tr><th>{word(text)}</th>")
        for other, weight in zip(source, weights, strict=True):
            rows.append(
                f'<td style="--w:{weight:.3f}" title="{html.escape(text)} · {html.escape(other)}: {weight:.0%}">'
            )
        rows.append("</tr>\n")
    return "".join([*rows, "</table></figure>\n"])


def draw_attention(sentences: list[WordAttention], path: Path) -> None:
    """Heat maps of a few sentences in one picture, up to three beside each other.

    Raises:
        ConfigError: The file cannot be written.
    """
    from seq2seq.app.fonts import fonts_for

    with fonts_for([text for one in sentences for text in (*one.source, *one.target)]):
        _draw(sentences, path)


def _draw(sentences: list[WordAttention], path: Path) -> None:
    from matplotlib.figure import Figure

    from seq2seq.app.plots import save

    columns = min(len(sentences), 3 if len(sentences) > 4 else 2)
    rows = -(-len(sentences) // columns)
    width = CELL * max(len(one.source) + 1 for one in sentences)
    heights = [
        CELL * max(len(one.target) + 1 for one in sentences[start : start + columns])
        for start in range(0, len(sentences), columns)
    ]
    margin = 1.3  # inches for the words themselves
    size = (columns * (width + margin), sum(heights) + rows * margin)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for place in axes.flat[len(sentences) :]:
        place.set_axis_off()
    for place, one in zip(axes.flat, sentences, strict=False):
        source, target = [*one.source, END], [*one.target, END]
        place.imshow(one.weights, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        place.set_xticks(range(len(source)), source, rotation=90, fontsize=9)
        place.set_yticks(range(len(target)), target, fontsize=9)
        place.xaxis.tick_top()
        place.tick_params(length=0)
        place.set_xticks([n - 0.5 for n in range(1, len(source))], minor=True)
        place.set_yticks([n - 0.5 for n in range(1, len(target))], minor=True)
        place.grid(which="minor", color="#dddddd", linewidth=0.5)
        place.tick_params(which="minor", length=0)
    save(figure, path)
