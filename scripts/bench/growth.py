#!/usr/bin/env python
"""How cost grows with the corpus, the processes, the sentence length and the vocabulary: a figure and a table.

    python scripts/bench/growth.py [--only corpus processes length vocabulary] [--pairs 1000000] [--again]
        [--results docs/growth.json] [--picture docs/growth.svg] [--page docs/scale.md]
    python scripts/bench/growth.py --point length 100

Each point is a process of its own, at the sizes of `training.py`, one thing varied at a time; what has been measured
stands in --results and is not measured again, so a run that was interrupted goes on, and with nothing left to measure
only figure and table are made anew. --again measures those of --only again, --point one alone, which it prints. All of
it takes about ten minutes of two quiet cores; a corpus of 20,000,000 pairs asks for 15 GB of disk and half an hour.
Dashed: the expected law, through a measured point, with no other constant of its own:

corpus      The embedded corpus with numbers before its sentences, 10,000 pairs to --pairs. Reading, tokenising and
            ordering an epoch: linear, through the last point. Seconds a step: constant, through the first. Memory of
            its own (without mapped files, which the system takes back): the last point's, for no array is as long as
            the corpus.
processes   One thread each; the batch is dealt among them. Seconds for 1,000 target tokens: divided by them until
            cores run out. Memory of the largest process: constant.
length      16 sentences of one length. Seconds a step: operations, those of the attention grow with the square. Memory:
            a line through the ends.
vocabulary  64 sentences of 15 pieces. Seconds a step: operations of the matrix products. Memory: a line through the
            ends.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scaling import MODEL, USUAL
from scaling import measure as measure_sizes
from training import products_a_token, training_speeds

from seq2seq.app.environment import commit, processor
from seq2seq.config import DataConfig, OptimizationConfig, TokenizerConfig
from seq2seq.nn.hardware import choose_device, choose_precision, keep_memory, usable_cores, use_threads
from seq2seq.nn.translator import TranslationModel

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- growth -->", "<!-- end of growth -->"
VALUES = {
    "corpus": [10_000, 100_000, 1_000_000, 5_000_000, 20_000_000],
    "processes": [1, 2, 4],
    "length": [10, 25, 50, 100, 200, 400],
    "vocabulary": [2_000, 4_000, 8_000, 16_000, 32_000, 64_000],
}
LABELS = {
    "corpus": "pairs",
    "processes": "processes",
    "length": "pieces a sentence",
    "vocabulary": "pieces of the vocabulary",
}
SENTENCES = {"length": 16, "vocabulary": USUAL["batch"]}
"""In a batch, which does not change along an axis."""
ROUNDS, STEPS = 3, 10
"""What is measured on a corpus; one more round warms up. By several processes: as many steps, a figure a round."""
IDLE = 0.05
"""Share of the cores' time that other programs may take in a measurement that counts."""

Point = dict[str, Any]


class OwnMemory(threading.Thread):
    """The largest memory of this process that no file backs, looked at every 20 ms; MiB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mb, self._stop_asking = 0.0, threading.Event()

    def run(self) -> None:
        """Until told to stop."""
        while not self._stop_asking.wait(0.02):
            self.mb = max(self.mb, self.now())

    @staticmethod
    def now() -> float:
        """MiB now; all memory at its peak where the system does not tell."""
        try:
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            return int(status.partition("RssAnon:")[2].split()[0]) / 1024
        except OSError:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def __enter__(self) -> OwnMemory:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop_asking.set()
        self.join()


def write_corpus(folder: Path, pairs: int) -> None:
    """`pairs` different pairs: those of the embedded corpus, from the second time on with a number before them."""
    for language in ("en", "fr"):
        lines = (ROOT / "data" / "demo" / f"train.{language}").read_text(encoding="utf-8").splitlines()
        with open(folder / f"train.{language}", "w", encoding="utf-8") as file:
            for start in range(0, pairs, len(lines)):
                before = f"{start // len(lines)} " if start else ""
                file.writelines(f"{before}{line}\n" for line in lines[: pairs - start])


def measure_corpus(pairs: int) -> Point:
    """Seconds of reading and tokenising, seconds a step on what comes of it, and memory at both; files are new."""
    import datasets

    from seq2seq.text.corpus import load_corpus
    from seq2seq.text.data import TranslationData
    from seq2seq.text.tokenizer import Tokenizer

    keep_memory()  # before the first tensor
    use_threads(0)
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(prefix="seq2seq-growth-") as name:
        folder = Path(name)
        datasets.config.HF_DATASETS_CACHE = str(folder / "cache")
        write_corpus(folder, pairs)
        times = [time.perf_counter()]
        with OwnMemory() as preparing:
            corpus = load_corpus(DataConfig(data=name, source="en", target="fr"), "train")
            times.append(time.perf_counter())
            few = corpus.select(range(10_000))
            options = TokenizerConfig(vocab_size=USUAL["vocabulary"])
            tokenizer = Tokenizer.train([*few["source"], *few["target"]], options, seed=1)
            times.append(time.perf_counter())
            data = TranslationData.prepare(
                corpus, tokenizer, tokenizer, max_length=200, drop_empty=True, threads=usable_cores()
            )
            times.append(time.perf_counter())
        device = choose_device("auto")
        model = TranslationModel(MODEL, tokenizer.vocab_size, tokenizer.vocab_size, joint=True).to(device)
        limits = {"batch_tokens": 0, "batch_sentences": USUAL["batch"]}
        start = time.perf_counter()
        with OwnMemory() as training:
            order = data.order(0, **limits, seed=1)
            ordered = time.perf_counter() - start
            # an epoch's batches are shuffled: the first ones are a sample of the corpus
            tokens, batches = [], data.batches(order[: (ROUNDS + 1) * STEPS], seed=1, epoch=0)

            def counted() -> Iterator[Any]:
                for batch in batches:
                    tokens.append(int(batch.target_lengths.sum()))
                    yield batch

            speeds = training_speeds(
                model, counted(), choose_precision("auto", device), OptimizationConfig(), ROUNDS, STEPS
            )
        batches.close()
    return {
        "read_seconds": times[1] - times[0],
        "tokenise_seconds": times[3] - times[2],
        "order_seconds": ordered,
        "step_seconds": sum(tokens) / len(tokens) / speeds[len(speeds) // 2],
        "preparing_mb": preparing.mb,
        "memory_mb": training.mb,
    }


def measure_processes(processes: int) -> Point:
    """Seconds for 1,000 target tokens under the launcher, and the memory of the largest process."""
    with tempfile.TemporaryDirectory(prefix="seq2seq-growth-") as name:
        steps = (ROUNDS + 1) * STEPS
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        model = [f"--{size}={getattr(MODEL, size)}" for size in ("embedding_size", "encoder_size", "decoder_size")]
        words = [
            *("train", "--data", str(ROOT / "data" / "demo"), "--source", "en", "--target", "fr", "--threads", "1"),
            *("--output", f"{name}/model", "--vocab-size", "2000", "--log-every", str(STEPS)),
            *("--max-steps", str(steps), "--validate-every", str(steps), "--validation-metric", "loss"),
            *("--validation-sentences", "1"),
            *(option.replace("_", "-") for option in model),
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HOME": f"{name}/cache"}
        command = [sys.executable, *start, "-m", "seq2seq", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        lines = map(json.loads, (Path(name) / "model" / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        speeds = sorted([line["tokens_per_second"] for line in lines if "loss" in line][1:])
    return {
        "thousand_seconds": 1000 / speeds[len(speeds) // 2],
        "memory_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


def measure_step(axis: str, value: int) -> Point:
    """Seconds a step and memory of one length or vocabulary, as `scaling.py` measures them."""
    sizes = {**USUAL, "batch": SENTENCES[axis], axis: value}
    found = measure_sizes(**sizes, device_name="auto")
    tokens = sizes["batch"] * sizes["length"]
    return {"step_seconds": tokens / found["tokens_per_second"], "memory_mb": found["peak_memory_mb"]}


def busy_seconds() -> float:
    """Of all cores and programs, since the machine has started; 0 where the system does not tell."""
    try:
        ticks = Path("/proc/stat").read_text(encoding="utf-8").split(maxsplit=9)[1:9]
    except OSError:
        return 0.0
    user, nice, system, _idle, _waiting, *interrupts = map(int, ticks)
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def measure(axis: str, value: int) -> Point:
    """One point, in this process, and where it was measured."""
    busy, begin = busy_seconds(), time.monotonic()
    found = {"corpus": measure_corpus, "processes": measure_processes}.get(axis)
    point = found(value) if found is not None else measure_step(axis, value)
    rounded = {name: float(f"{number:.4g}") for name, number in point.items()}
    cores, own = usable_cores(), sum(os.times()[:4])
    others = max(busy_seconds() - busy - own, 0.0) / (cores * (time.monotonic() - begin))
    where = {"processor": processor(), "cores": cores, "commit": commit(), "others": round(others, 2)}
    return {**rounded, **where, "date": time.strftime("%Y-%m-%d")}


# ---- laws: from the measured points (x, y), what is expected at x

Line = list[tuple[float, float]]
Law = Callable[[Line, float], float]


def proportional(line: Line, x: float) -> float:
    """y / x is constant; through the last point, where fixed costs weigh least."""
    return line[-1][1] * x / line[-1][0]


def constant(line: Line, x: float) -> float:
    """The first point's."""
    return line[0][1]


def level(line: Line, x: float) -> float:
    """The last point's: a small corpus is ordered as one, a large one 250,000 pairs at a time."""
    return line[-1][1]


def through_ends(line: Line, x: float) -> float:
    """A line: a fixed part and a proportional one."""
    (x0, y0), (x1, y1) = line[0], line[-1]
    return y0 + (y1 - y0) * (x - x0) / max(x1 - x0, 1)


def divided(line: Line, x: float) -> float:
    """The first point's, divided by the processes, as far as there are cores for them."""
    return line[0][1] * line[0][0] / min(x, usable_cores())


def by_length(line: Line, x: float) -> float:
    """Operations: those of the products are proportional, those of the attention grow with the square."""

    def operations(length: float) -> float:
        attention = 6 * length * (MODEL.attention_size + 2 * MODEL.encoder_size)
        return length * (products_a_token(MODEL, USUAL["vocabulary"]) + attention)

    return line[0][1] * operations(x) / operations(line[0][0])


def by_products(line: Line, x: float) -> float:
    """Operations of the matrix products, of which the output layer's are proportional."""
    return line[0][1] * products_a_token(MODEL, int(x)) / products_a_token(MODEL, int(line[0][0]))


class Curve(NamedTuple):
    """One measured quantity along an axis, and its law."""

    axis: str
    quantity: str
    name: str
    law: Law
    unit: str


CURVES = [
    Curve("corpus", "read_seconds", "reading", proportional, "s"),
    Curve("corpus", "tokenise_seconds", "tokenising", proportional, "s"),
    Curve("corpus", "order_seconds", "ordering an epoch", proportional, "s"),
    Curve("corpus", "step_seconds", "a step", constant, "s"),
    Curve("corpus", "preparing_mb", "own memory, preparing", level, "MiB"),
    Curve("corpus", "memory_mb", "own memory, training", level, "MiB"),
    Curve("processes", "thousand_seconds", "1,000 target tokens", divided, "s"),
    Curve("processes", "memory_mb", "memory of a process", constant, "MiB"),
    Curve("length", "step_seconds", "a step", by_length, "s"),
    Curve("length", "memory_mb", "memory", through_ends, "MiB"),
    Curve("vocabulary", "step_seconds", "a step", by_products, "s"),
    Curve("vocabulary", "memory_mb", "memory", through_ends, "MiB"),
]
PANELS = [(axis, unit) for unit in ("s", "MiB") for axis in VALUES]


def line_of(curve: Curve, results: dict[str, Point]) -> Line:
    """The measured points of a curve, in order."""
    found = {value: results.get(f"{curve.axis}/{value}") for value in VALUES[curve.axis]}
    return [(value, point[curve.quantity]) for value, point in found.items() if point is not None]


def draw(results: dict[str, Point], path: Path) -> None:
    """Seconds above, memory below, a column for each axis; laws dashed."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, len(VALUES), figsize=(14, 6.4), layout="constrained")
    for panel, (axis, unit) in zip(panels.flat, PANELS, strict=True):
        for number, curve in enumerate(curve for curve in CURVES if (curve.axis, curve.unit) == (axis, unit)):
            line = line_of(curve, results)
            if not line:
                continue
            x = [point[0] for point in line]
            (drawn,) = panel.plot(x, [point[1] for point in line], "o-", color=f"C{number}", label=curve.name)
            panel.plot(x, [curve.law(line, value) for value in x], "--", color=drawn.get_color(), alpha=0.6)
        panel.plot([], [], "--", color="grey", label="expected")
        if axis == "corpus":
            panel.set_xscale("log")
        if axis in ("corpus", "processes"):
            panel.set_xticks(VALUES[axis])
            panel.set_xlim(0.8 * VALUES[axis][0], 1.2 * VALUES[axis][-1])
        panel.xaxis.set_major_formatter(lambda value, _: short(value))
        panel.minorticks_off()
        if (axis, unit) == ("corpus", "s") and len(panel.lines) > 1:
            panel.set_yscale("log")
        else:
            panel.set_ylim(bottom=0)
        panel.set_title(axis if unit == "s" else "")
        panel.set_xlabel(LABELS[axis])
        panel.grid(alpha=0.3)
        panel.legend(frameon=False, fontsize=8)
    panels[0, 0].set_ylabel("seconds")
    panels[1, 0].set_ylabel("memory, MiB")
    figure.savefig(path)


def short(value: float) -> str:
    """A number as it stands at an axis: 10k, 5M."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def table(results: dict[str, Point]) -> str:
    """Every curve: what was measured at each value, and how it grew from the last value but one to the last.

    Where a curve and its law do not start from nothing, this last step says most of how both go on.
    """
    rows = []
    for axis, values in VALUES.items():
        shown = [value for value in values if f"{axis}/{value}" in results]
        if not shown:
            continue
        rows += [f"| {LABELS[axis]} | {' | '.join(f'{value:,}' for value in shown)} | last step, law |",
                 "|" + " --- |" * (len(shown) + 2)]  # fmt: skip
        for curve in (curve for curve in CURVES if curve.axis == axis):
            line = line_of(curve, results)
            (x0, y0), (x1, y1) = line[-2:] if len(line) > 1 else (*line, *line)
            step, law = y1 / y0, curve.law(line, x1) / curve.law(line, x0)
            cells = [f"{y:,.0f}" if y >= 100 else f"{y:.3g}" for _, y in line]
            rows.append(f"| {curve.name}, {curve.unit} | {' | '.join(cells)} | x {step:.2f}, x {law:.2f} |")
        rows.append("")
    return "\n".join([*rows, provenance(results)])


def provenance(results: dict[str, Point]) -> str:
    """Where and when the points were measured, and what else the machine was doing."""
    points = list(results.values())
    machines = sorted({f"{point['cores']} cores of {point['processor']}" for point in points})
    commits = sorted({str(point["commit"])[:9] for point in points})
    dates = sorted({point["date"] for point in points})
    others = max((point["others"] for point in points), default=0.0)
    busy = f" **Other programs took up to {others:.0%} of the cores: not to be relied on.**" if others > IDLE else ""
    return f"{', '.join(machines)}; {', '.join(dates)}; commit {', '.join(commits)}.{busy}"


def with_table(page: str, results: dict[str, Point], picture: Path | None) -> str:
    """The page with picture and table between its two marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"the page has no {BEGIN} ... {END}")
    shown = (
        f"![Seconds and memory against corpus, processes, length, vocabulary]({picture.name})\n\n" if picture else ""
    )
    return f"{before}{begin}\n\n{shown}{table(results)}\n\n{end}{after}"


def main() -> None:
    """Measures what is missing, draws, writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(VALUES), default=list(VALUES))
    parser.add_argument("--pairs", type=int, default=1_000_000, help="largest corpus that is measured")
    parser.add_argument("--again", action="store_true", help="measure the points of --only though they are known")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "growth.json")
    parser.add_argument("--picture", type=Path, help="where to draw, SVG or PNG")
    parser.add_argument(
        "--page", type=Path, help=f"Markdown file beside the picture: gets it and the table between {BEGIN} and {END}"
    )
    parser.add_argument("--point", nargs=2, metavar=("AXIS", "VALUE"), help="measure one point, print it, keep nothing")
    options = parser.parse_args()
    if options.point:
        sys.stdout.write(json.dumps(measure(options.point[0], int(options.point[1]))) + "\n")
        return
    results: dict[str, Point] = {}
    if options.results.exists():
        results = json.loads(options.results.read_text(encoding="utf-8"))
    for axis in options.only:
        for value in VALUES[axis]:
            key = f"{axis}/{value}"
            if (key in results and not options.again) or (axis == "corpus" and value > options.pairs):
                continue
            begin = time.monotonic()
            command = [sys.executable, __file__, "--point", axis, str(value)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results[key] = json.loads(done.stdout)
            options.results.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            print(f"{key}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    if options.picture:
        draw(results, options.picture)
    if options.page:
        options.page.write_text(with_table(options.page.read_text("utf-8"), results, options.picture), encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
