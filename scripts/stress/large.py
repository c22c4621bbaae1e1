#!/usr/bin/env python
"""Corpora of millions of pairs: filtered, prepared and trained on; how fast, and in how much memory.

python scripts/stress/large.py --data FOLDER --source en --target de [--pairs 2000000 20000000] [--steps 50]

The pairs of a small corpus are repeated, each time with a word more from another pair, until there are enough. Every
stage is a process of its own. Its memory is asked for ten times a second: `own` is what the system cannot take back
(RssAnon of /proc/PID/status), `resident` counts mapped files too, which the system takes back when it needs the room.
Of two sizes, the peaks of a stage's own memory must not differ by more than a tenth. About 450 bytes of disk a pair.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SMALL = """--embedding-size 64 --encoder-size 64 --decoder-size 128 --attention-size 64 --batch-tokens 3000
--max-epochs 0 --precision float32 --validation-metric loss --validation-sentences 50""".split()
MOST_GROWTH = 1.1
STEP = 7919
"""A prime: the pair that gives a word is so many further for each repetition."""

READ = "from seq2seq.app.train import load_corpus; from seq2seq.config import DataConfig; import sys\n" \
       "load_corpus(DataConfig(data=sys.argv[1], source=sys.argv[2], target=sys.argv[3]), 'train')"  # fmt: skip
TOKENIZER = READ.replace("load_corpus(", "corpus = load_corpus(") + (
    "\nfrom seq2seq.app.train import _tokenizers; from seq2seq.config import TrainTranslatorConfig\n"
    "_tokenizers(TrainTranslatorConfig(), lambda: corpus, None)[0].save(sys.argv[4])"
)
TOKENISE = READ.replace("load_corpus(", "corpus = load_corpus(") + (
    "\nfrom seq2seq.text.data import TranslationData; from seq2seq.text.tokenizer import Tokenizer\n"
    "t = Tokenizer.load(sys.argv[4])\n"
    "TranslationData.prepare(corpus, t, t, max_length=200, drop_empty=True, threads=int(sys.argv[5]))"
)


class Stage(NamedTuple):
    """What a process took."""

    name: str
    pairs: int
    seconds: float
    computing: float
    """Seconds of computing of all cores: on a busy machine the figure to trust."""
    own: float
    """Peak of its own memory in MB."""
    resident: float
    """Peak of its resident memory in MB."""

    def row(self) -> str:
        """A line of the table."""
        return (
            f"| {self.pairs:,} | {self.name} | {self.seconds:.1f} | {self.computing:.1f} "
            f"| {self.pairs / self.seconds:,.0f} | {self.own:,.0f} | {self.resident:,.0f} |\n"
        )


def repeated(sources: list[str], targets: list[str], count: int) -> Iterator[tuple[str, str]]:
    """So many pairs: the given ones first, then each with another pair's last words."""
    size = len(sources)
    ends = [[text.rsplit(maxsplit=1)[-1] if text.strip() else "" for text in side] for side in (sources, targets)]
    for number in range(count):
        round_, row = divmod(number, size)
        if round_ == 0:
            yield sources[row], targets[row]
        else:
            other = (row + round_ * STEP) % size
            yield f"{sources[row]} {ends[0][other]}", f"{targets[row]} {ends[1][other]}"


def make(folder: Path, data: Path, languages: tuple[str, str], count: int) -> None:
    """A corpus of that many training pairs; the validation pairs are the given ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for language in languages:
        (folder / f"valid.{language}").write_bytes((data / f"valid.{language}").read_bytes())
    sides = [(data / f"train.{language}").read_text(encoding="utf-8").splitlines() for language in languages]
    with open(folder / f"train.{languages[0]}", "w") as source, open(folder / f"train.{languages[1]}", "w") as target:
        pairs = repeated(*sides, count)
        while block := list(itertools.islice(pairs, 10_000)):
            source.writelines(pair[0] + "\n" for pair in block)
            target.writelines(pair[1] + "\n" for pair in block)


def measured(name: str, pairs: int, arguments: list[str]) -> Stage:
    """Runs Python with these arguments and watches its memory.

    Raises:
        SystemExit: It fails.
    """
    start, before, own, resident = time.perf_counter(), computed(), 0.0, 0.0
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL) as running:
        while running.poll() is None:
            own, resident = max(own, memory(running.pid, "RssAnon")), max(resident, memory(running.pid, "VmHWM"))
            time.sleep(0.1)
    if running.returncode:
        raise SystemExit(f"{name} of {pairs:,} pairs ended with exit code {running.returncode}")
    stage = Stage(name, pairs, time.perf_counter() - start, computed() - before, own, resident)
    sys.stdout.write(stage.row())
    sys.stdout.flush()
    return stage


def computed() -> float:
    """Seconds that processes which have ended have kept cores busy."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory(process: int, field: str) -> float:
    """A figure in MB of /proc/PID/status; 0 of a process that is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith(field + ":")), 0.0)


def stages(options: argparse.Namespace, folder: Path, count: int) -> list[Stage]:
    """All stages for a corpus of that size, one after the other."""
    languages = (options.source, options.target)
    make(folder / "raw", Path(options.data), languages, count)
    names = ["--source", options.source, "--target", options.target]
    clean, model = str(folder / "clean"), str(folder / "tokenizer.model")
    where = [clean, *languages, model]
    package = ["-m", "seq2seq"]
    train = [*package, "train", "--data", clean, *names, "--tokenizer", model, "--output", str(folder / "run"), *SMALL]
    train += ["--threads", str(options.threads), "--max-steps", str(options.steps)]
    return [
        measured("filter", count, [*package, "filter", "--data", str(folder / "raw"), *names, "--output", clean]),
        measured("read", count, ["-c", READ, *where]),
        measured("train tokenizer", count, ["-c", TOKENIZER, *where]),
        measured("tokenise", count, ["-c", TOKENISE, *where, str(options.threads)]),
        measured(f"train {options.steps} steps", count, train),
    ]


def main() -> None:
    """Prints the table, and fails where memory grows with the corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with train.SOURCE, train.TARGET, valid.SOURCE ...")
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", default="de")
    parser.add_argument("--pairs", type=int, nargs="+", default=[2_000_000])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", help="where there is room; default: a temporary folder")
    options = parser.parse_args()
    columns = ["pairs", "stage", "seconds", "seconds of computing", "pairs/s", "own memory, MB", "resident, MB"]
    sys.stdout.write(f"| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|\n")
    of_sizes = []
    for count in options.pairs:
        with tempfile.TemporaryDirectory(prefix="seq2seq-", dir=options.folder) as folder:
            os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_CACHE=str(Path(folder) / "cache"))
            of_sizes.append(stages(options, Path(folder), count))
        prepared = [stage for stage in of_sizes[-1] if stage.name in ("filter", "read", "tokenise")]
        seconds, computing = (sum(stage[field] for stage in prepared) for field in (2, 3))
        sys.stdout.write(
            f"filter, read and tokenise {count:,} pairs: {count / seconds:,.0f} pairs/s, {count / computing:,.0f} for "
            "each second of computing\n"
        )
    for several in zip(*of_sizes, strict=True) if len(of_sizes) > 1 else ():
        first, last = several[0], several[-1]
        sys.stdout.write(f"{first.name}: {last.own / first.own:.3f} times the memory\n")
        assert last.own <= MOST_GROWTH * first.own, f"memory of {first.name} grows with the corpus"


if __name__ == "__main__":
    main()
