#!/usr/bin/env python
"""Speed of training and decoding beside JoeyNMT, Marian and CTranslate2, on this machine, in one run.

    python scripts/bench/peers.py --data DIR --source en --target de [--work DIR] [--json]

DIR holds train.en train.de test.en test.de (and valid.*, which ours wants). Each peer is set up once in an environment
of its own below --work, from the package registry (about 4 GB in all), and trained briefly before it decodes, so that
its translations have the length of real ones: BLEU and mean length stand beside each speed. What is done is kept: the
next run measures at once. Programs take turns (all of them, then all again ...), one at a time; figures are medians
over the turns. Leave the machine alone meanwhile, or give --before a command that sees to it, such as "taskset -c 0,1".
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU
from toolkits.ours import Ours
from toolkits.peer_ctranslate2 import CTranslate2
from toolkits.peer_joeynmt import JoeyNMT
from toolkits.peer_marian import Marian
from toolkits.workplace import Program, Workplace, figure, last_object, megaflop

from seq2seq.nn.hardware import usable_cores
from seq2seq.text.tables import read_lines
from seq2seq.text.tokenizer import Tokenizer

SENTENCES, SINGLES, BEAMS = 1000, 100, (1, 5)


def peers(names: Sequence[str]) -> list[Program]:
    """The programs that stand for these toolkits."""
    found: dict[str, list[Program]] = {
        "joeynmt": [JoeyNMT()],
        "marian": [Marian(512), Marian(320)],
        "ctranslate2": [CTranslate2("int8"), CTranslate2("float32")],
    }
    return [program for name in names for program in found[name]]


def in_turns(programs: Sequence[Program], rounds: int, measure: Callable[[Program, int], Any]) -> dict[str, list[Any]]:
    """What each program gives in each round: all of them once, then all again, so that drifts meet all alike."""
    found: dict[str, list[Any]] = {program.name: [] for program in programs}
    for round_ in range(1, rounds + 1):
        for program in programs:
            sys.stderr.write(f"round {round_} of {rounds}: {program.name}\n")
            found[program.name].append(measure(program, round_))
    return found


def training_rows(programs: Sequence[Program], results: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row a program: median, range, and how often as fast each of ours is."""
    speeds = {name: [result["tokens_per_second"] for result in found] for name, found in results.items()}
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    rows = []
    for program in programs:
        row: dict[str, Any] = {
            "program": program.name,
            "precision": results[program.name][-1]["precision"],
            "megaflop_per_token": round(megaflop(program.multiplications()), 1),
            "tokens_per_second": round(medians[program.name]),
            "slowest": round(min(speeds[program.name])),
            "fastest": round(max(speeds[program.name])),
        }
        rows.append(row | ratios(row, medians))
    return rows


def ratios(row: dict[str, Any], medians: dict[str, float], suffix: str = "") -> dict[str, float]:
    """For each of ours, how often as much it does as this row's program; nothing where the row is one of ours."""
    if row["program"].startswith("ours"):
        return {}
    return {
        f"{name} / this{suffix}": round(value / medians[row["program"]], 2)
        for name, value in medians.items()
        if name.startswith("ours")
    }


def decoding_rows(programs: Sequence[Program], results: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row a program: medians of all figures, and ratios of sentences a second."""

    def median(name: str, beam: int, figure: str) -> float:
        return statistics.median(result[f"beam_{beam}"][figure] for result in results[name])

    rows = []
    for program in programs:
        row: dict[str, Any] = {"program": program.name, "precision": results[program.name][-1]["precision"]}
        for beam in reversed(BEAMS):
            row[f"beam_{beam}_sentences_per_second"] = round(median(program.name, beam, "sentences_per_second"))
        for column in ("p50_ms", "p99_ms"):
            row[f"beam_5_{column}"] = round(median(program.name, 5, column), 1)
        row |= {name: results[program.name][-1][name] for name in ("mean_length", "bleu")}
        for beam in reversed(BEAMS):
            speeds = {name: median(name, beam, "sentences_per_second") for name in results}
            row |= ratios(row, speeds, f", beam {beam}")
        rows.append(row)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table; a column that a row lacks stays empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = [name.replace("_", " ") for name in columns]
    body = [[str(row.get(name, "")) for name in columns] for row in rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(columns), *body))


def measure_training(program: Program, place: Workplace, round_: int) -> dict[str, Any]:
    """One run's figures."""
    output = place.measured(program.training(place, round_))
    speed = figure(program.tokens_per_second, output)
    return {"tokens_per_second": speed, "precision": program.precision_used(output)}


def measure_decoding(program: Program, place: Workplace) -> dict[str, Any]:
    """One run's figures, with length and BLEU of its translations."""
    output = place.work / "translations.txt"
    wanted: dict[str, Any] = {"input": str(place.text("test", place.source)), "output": str(output)}
    wanted |= {"sentences": SENTENCES, "beams": list(BEAMS), "singles": SINGLES}
    answer = place.measured(program.decoding(place, wanted))
    result = figure(last_object, answer) | {"precision": program.precision_used(answer)}
    found = list(read_lines(output))
    lengths = [len(ids) for ids in Tokenizer.load(place.tokenizer).encode(found)]
    references = list(read_lines(place.text("test", place.target)))[: len(found)]
    bleu = BLEU().corpus_score(found, [references]).score
    return result | {"mean_length": round(statistics.mean(lengths), 1), "bleu": round(bleu, 1)}


def compare(options: argparse.Namespace, place: Workplace) -> dict[str, Any]:
    """Sets everything up, then measures."""
    place.work.mkdir(parents=True, exist_ok=True)
    place.prepare()
    precisions = dict.fromkeys([*options.training_precision, *options.decoding_precision])
    model = Path(options.model) if options.model else None
    mine = [
        Ours(name, trains=name in options.training_precision, decodes=name in options.decoding_precision, model=model)
        for name in precisions
    ]
    programs: list[Program] = [*mine, *peers(options.peers)]
    for program in programs:
        program.prepare(place)
    result: dict[str, Any] = {"processor": processor(), "threads": place.threads, "rounds": options.rounds}
    if "training" in options.measure:
        chosen = [program for program in programs if program.trains]
        found = in_turns(chosen, options.rounds, lambda program, round_: measure_training(program, place, round_))
        result["training"] = training_rows(chosen, found)
    if "decoding" in options.measure:
        chosen = [program for program in programs if program.decodes]
        for program in chosen:
            program.prepare_decoding(place)
        found = in_turns(chosen, options.rounds, lambda program, _: measure_decoding(program, place))
        result["decoding"] = decoding_rows(chosen, found)
    result["notes"] = list(dict.fromkeys(note for program in programs for note in program.notes))
    return result


def processor() -> str:
    """What the system calls its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, type=Path, help="folder with the corpus")
    parser.add_argument("--source", required=True)
    parser.add_argument("--target", required=True)
    cache = Path.home() / ".cache" / "seq2seq" / "peers"
    parser.add_argument("--work", type=Path, default=cache, help="where everything is set up (default: %(default)s)")
    parser.add_argument("--model", help="ours to decode with; without it one of the sizes compared is trained")
    names = ["joeynmt", "marian", "ctranslate2"]
    parser.add_argument("--peers", nargs="*", default=names, choices=names)
    kinds = ["training", "decoding"]
    parser.add_argument("--measure", nargs="+", default=kinds, choices=kinds)
    parser.add_argument("--training-precision", nargs="+", default=["auto", "float32"])
    parser.add_argument("--decoding-precision", nargs="+", default=["auto", "float32"])
    parser.add_argument("--rounds", type=int, default=3, help="turns that each program gets (default: %(default)s)")
    parser.add_argument("--updates", type=int, default=600, help="of peers' training before they decode")
    parser.add_argument("--threads", type=int, default=0, help="0: the cores that this process may use")
    parser.add_argument("--before", default="", help="put before each command that is measured")
    parser.add_argument("--json", action="store_true", help="print one object instead of tables")
    return parser.parse_args()


def main() -> None:
    """Measures and prints."""
    options = arguments()
    threads = options.threads or usable_cores()
    work, data = options.work.expanduser().resolve(), options.data.resolve()
    before = tuple(shlex.split(options.before))
    place = Workplace(data, work, options.source, options.target, threads, options.updates, before)
    result = compare(options, place)
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    sys.stdout.write(f"{result['processor']}, {result['threads']} threads, medians of {result['rounds']} rounds\n")
    for kind in options.measure:
        sys.stdout.write(f"\n{kind}\n\n{table(result[kind])}")
    sys.stdout.writelines(f"\n{note}\n" for note in result["notes"])


if __name__ == "__main__":
    main()
