"""How decoding is timed, the same for every toolkit; standard library only, as it runs in their environments."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARM_UP = 128
"""Sentences translated before the clock starts."""

PASSES, ENOUGH = 3, 10.0
"""All lines are translated so many times, or until that many seconds have gone; the median counts."""


def request() -> dict[str, Any]:
    """What the first argument, a JSON object, asks for."""
    return json.loads(sys.argv[1])


def percentile(values: list[float], share: float) -> float:
    """The value below which this share of the others lies, by nearest rank from below."""
    return sorted(values)[int(share * (len(values) - 1))]


def measure(translate: Callable[[list[str], int], list[str]], wanted: dict[str, Any]) -> dict[str, Any]:
    """Sentences a second and latencies of one toolkit.

    Args:
        translate: Texts and beam size to translations, in order.
        wanted: `input` and `output`, paths of text files; `sentences`, how many lines of the input; `beams`, sizes;
            `singles`, how many of the lines are also translated on their own (0: none). The output gets the
            translations of the last beam size.

    Returns:
        For each beam `beam_K`: `sentences_per_second` of all lines in one call, `p50_ms` and `p99_ms` of lines alone.
    """
    lines = Path(wanted["input"]).read_text(encoding="utf-8").splitlines()[: wanted["sentences"]]
    result: dict[str, Any] = {}
    found: list[str] = []
    for beam in wanted["beams"]:
        translate(lines[:WARM_UP], beam)
        seconds: list[float] = []
        while len(seconds) < PASSES and sum(seconds) < ENOUGH:
            start = time.perf_counter()
            found = translate(lines, beam)
            seconds.append(time.perf_counter() - start)
        if len(found) != len(lines):
            raise RuntimeError(f"{len(found)} translations of {len(lines)} lines")
        row = {"sentences_per_second": len(lines) / statistics.median(seconds)}
        if wanted["singles"]:
            alone = []
            for line in lines[: wanted["singles"]]:
                start = time.perf_counter()
                translate([line], beam)
                alone.append(1000 * (time.perf_counter() - start))
            row |= {"p50_ms": percentile(alone, 0.5), "p99_ms": percentile(alone, 0.99)}
        result[f"beam_{beam}"] = row
    Path(wanted["output"]).write_text("".join(f"{line}\n" for line in found), encoding="utf-8")
    return result


def answer(result: dict[str, Any]) -> None:
    """Writes the result as the last line of standard output."""
    sys.stdout.write("\n" + json.dumps(result) + "\n")
