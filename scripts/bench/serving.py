"""One client against many: errors, mixed-up answers, throughput and latency of `seq2seq serve`.

    python scripts/bench/serving.py --model runs/en-de --input test.en

starts a server on a free port, sends it lines one by one from one client and then from many at once, and compares
each answer with what the Translator says of that line alone. An answer that is another line's is counted as mixed up,
any other difference as different (products in int8 or bfloat16 may round another way in a larger batch).
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from seq2seq import Translator


class Outcome(NamedTuple):
    """One request."""

    line: str
    status: int
    text: str
    seconds: float


def client(address: str, pair: tuple[str, str], lines: list[str]) -> list[Outcome]:
    """Sends lines one after the other over one connection; waits and tries again when told that the queue is full."""
    connection = http.client.HTTPConnection(address, timeout=120)
    found = []
    for line in lines:
        body = json.dumps({"q": line, "source": pair[0], "target": pair[1]})
        start = time.perf_counter()
        for _ in range(100):
            connection.request("POST", "/translate", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            values = json.loads(answer.read())
            if answer.status != 429:
                break
            time.sleep(0.1)
        seconds = time.perf_counter() - start
        found.append(Outcome(line, answer.status, values.get("translatedText", ""), seconds))
    connection.close()
    return found


def measure(address: str, pair: tuple[str, str], lines: list[str], clients: int) -> tuple[list[Outcome], float]:
    """All outcomes, and requests a second."""
    parts = [lines[n::clients] for n in range(clients)]
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = [outcome for part in pool.map(lambda part: client(address, pair, part), parts) for outcome in part]
    return found, len(found) / (time.perf_counter() - start)


def report(name: str, found: list[Outcome], rate: float, expected: dict[str, str]) -> None:
    """Prints one row."""
    errors = sum(outcome.status != 200 for outcome in found)
    wrong = [o for o in found if o.status == 200 and o.text != expected[o.line]]
    mixed = sum(any(o.text == text for line, text in expected.items() if line != o.line) for o in wrong)
    times = statistics.quantiles([1000 * outcome.seconds for outcome in found], n=100)
    print(
        f"{name:<12} {len(found):>6,} requests  {errors} errors  {mixed} mixed up  {len(wrong) - mixed} different  "
        f"{rate:7.1f} requests/s  p50 {times[49]:6.1f} ms  p99 {times[98]:6.1f} ms"
    )


def main() -> None:
    """Starts the server, measures, stops it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", type=Path, required=True, help="source text, one sentence a line")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--lines", type=int, default=500, help="different lines among them")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    lines = list(dict.fromkeys(given.input.read_text(encoding="utf-8").splitlines()))[: given.lines]
    translator = Translator.from_pretrained(given.model, threads=given.threads, precision=given.precision)
    expected = {line: translator.translate(line) for line in lines}
    pair = translator.config["source"], translator.config["target"]
    sent = [lines[n % len(lines)] for n in range(given.requests)]
    command = [sys.executable, "-m", "seq2seq", "serve", "--model", given.model, "--port", "0"]
    command += ["--precision", given.precision, "--threads", str(given.threads)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://(\S+)", server.stdout.readline())
            assert found, "the server did not start"
            measure(found[1], pair, sent[:64], 16)  # warm
            alone, one = measure(found[1], pair, sent, 1)
            report("one client", alone, one, expected)
            together, many = measure(found[1], pair, sent, given.clients)
            report(f"{given.clients} clients", together, many, expected)
            print(f"throughput: {many / one:.2f} x")
        finally:
            server.terminate()
            server.wait(60)


if __name__ == "__main__":
    main()
