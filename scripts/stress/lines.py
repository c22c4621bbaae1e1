#!/usr/bin/env python
"""A thousand lines of anything through `seq2seq translate`: as many lines out, in order, in bounded memory.

python scripts/stress/lines.py --model DIR [--lines 1000] [--seed 1]
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MARKS = [
    "\x00",
    "\t",
    "  ",
    "\u2028",
    "\x85",
    "\x0b",
    "\u200d",
    "\ufeff",
    "\U0001f469\U0001f3fd\u200d\U0001f680",
    "\u202e",
]
SCRIPTS = [(0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA), (0x621, 0x64A), (0x905, 0x939),
           (0x3041, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x1F300, 0x1F5FF)]  # fmt: skip


def line(rng: random.Random) -> str:
    """One line: empty, blank, or words of any script with odd characters between them."""
    kind = rng.random()
    if kind < 0.1:
        return ""
    if kind < 0.15:
        return rng.choice([" ", "\t", "\u3000 "])
    return words(rng, rng.randint(1, 12), *rng.choice(SCRIPTS))


def words(rng: random.Random, count: int, low: int, high: int) -> str:
    """So many words of letters between two code points, with up to three odd characters."""
    text = ["".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 7))) for _ in range(count)]
    for _ in range(rng.randint(0, 3)):
        text.insert(rng.randrange(len(text) + 1), rng.choice(MARKS))
    return " ".join(text)


def main() -> None:
    """Runs the command twice, whole and with an invalid byte, and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    lines = [line(rng) for _ in range(options.lines - 1)]
    lines.insert(options.lines // 3, words(rng, 5000, *SCRIPTS[0]))
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "lines.txt"), Path(folder, "out.txt")
        source.write_text("".join(f"{text}\n" for text in lines), encoding="utf-8", newline="")
        command = [sys.executable, "-m", "seq2seq", "translate", "--model", options.model, "--input", str(source)]
        start = time.perf_counter()
        done = subprocess.run([*command, "--output", str(target)], stderr=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        assert done.returncode == 0, done.stderr
        found = target.read_text(encoding="utf-8").split("\n")
        assert found.pop() == "" and len(found) == len(lines), f"{len(found)} lines out of {len(lines)}"
        blank = [n for n, text in enumerate(lines) if not text.strip()]
        assert all(found[n] == "" for n in blank), "a blank line has a translation"

        bad = len(lines) // 2
        content = source.read_bytes().split(b"\n")
        content[bad] += b"\xff"
        source.write_bytes(b"\n".join(content))
        refused = subprocess.run([*command, "--output", str(target) + "2"], stderr=subprocess.PIPE, text=True)
        assert refused.returncode == 2 and f"lines.txt:{bad + 1}" in refused.stderr, refused.stderr
        assert not Path(str(target) + "2").exists()
    longest = max(len(text.split()) for text in lines)
    sys.stdout.write(
        f"{len(lines)} lines in, {len(found)} out ({len(blank)} blank, the longest of {longest} words), "
        f"{seconds:.0f} s, peak {peak:.0f} MB; invalid UTF-8 in line {bad + 1} reported\n"
    )


if __name__ == "__main__":
    main()
