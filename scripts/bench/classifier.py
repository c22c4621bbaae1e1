"""Classifiers side by side on the same files: this toolkit's, fastText, and TF-IDF with logistic regression.

    pip install 'seq2seq[bench]'
    python scripts/bench/classifier.py --data trec sst2 banking77 --seeds 5 --encoder runs/tatoeba
    python scripts/bench/classifier.py --data trec --curve curve.png --encoder runs/tatoeba

Each folder holds train.tsv and test.tsv, perhaps valid.tsv, with label<TAB>text. Where there is no valid.tsv, ours
holds a part of the training texts out; the other two train on all of them, with the settings that stand below, each of
which is reported.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from seq2seq.config import LabelDataConfig
from seq2seq.text.labels import Labels, load_labelled, stratified

SHARES = (0.01, 0.03, 0.1, 0.3, 1.0)
SMALLER_STEPS = ["--layer-decay", "0.7", "--sampling", "0"]
Split = tuple[list[str], list[str]]
FASTTEXT = {
    "fastText, 2-grams, rate 0.1": {"epoch": 25, "lr": 0.1, "wordNgrams": 2},
    "fastText, 2-grams, rate 0.5": {"epoch": 25, "lr": 0.5, "wordNgrams": 2},
    "fastText, 2-grams, rate 1": {"epoch": 25, "lr": 1.0, "wordNgrams": 2},
}


def read(folder: str, split: str, share: float = 1.0, seed: int = 1) -> Split:
    """Labels and texts of a split, or of a share of it: the rows that `train-classifier --train-share` takes."""
    corpus = load_labelled(LabelDataConfig(data=folder), split)
    labels = Labels.read(corpus, "")
    rows = stratified(labels.strata(), 1 - share, seed)[0] if share < 1 else np.arange(len(corpus))
    texts = list(corpus["target"])
    return [labels.cells[labels.codes[row]][0] for row in rows], [texts[row] for row in rows]


def tf_idf(train: Split, test: Split) -> float:
    """Accuracy of logistic regression on TF-IDF of words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = LogisticRegression(C=10, max_iter=2000).fit(features.fit_transform(train[1]), train[0])
    return float(np.mean(model.predict(features.transform(test[1])) == np.array(test[0])))


def fast_text(train: Split, test: Split, options: dict[str, float]) -> float:
    """Accuracy of fastText's supervised model; not a number where its training does not converge."""
    import fasttext

    names = sorted(set(train[0]) | set(test[0]))
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.writelines(
            f"__label__{names.index(a)} {' '.join(b.lower().split())}\n" for a, b in zip(*train, strict=True)
        )
        file.flush()
        try:
            model = fasttext.train_supervised(file.name, thread=1, verbose=0, **options)
        except RuntimeError:  # "Encountered NaN"
            return float("nan")
    # its Python predict() fails with numpy 2 in some builds, the function below it does not
    found = [model.f.predict(" ".join(text.lower().split()) + "\n", 1, 0.0, "strict")[0][1] for text in test[1]]
    return float(
        np.mean([f"__label__{names.index(label)}" == guess for label, guess in zip(test[0], found, strict=True)])
    )


def ours(folder: str, seed: int, options: list[str], share: float = 1.0) -> tuple[float, float]:
    """Test accuracy of a classifier trained by the command, and minutes of training and testing."""
    from seq2seq.app.cli import main

    with tempfile.TemporaryDirectory() as place:
        output, report = f"{place}/model", f"{place}/report.json"
        fixed = ["--data", folder, "--output", output, "--seed", str(seed), "--train-share", str(share)]
        start = time.perf_counter()
        if main(["train-classifier", *fixed, *options]):
            raise SystemExit(2)
        test = ["--data", folder, "--split", "test", "--format", "json", "--output", report, "--threads", "1"]
        if main(["evaluate", "--model", output, *test]):
            raise SystemExit(2)
        minutes = (time.perf_counter() - start) / 60
        return json.loads(Path(report).read_text())["accuracy"] / 100, minutes


def shown(values: list[float]) -> str:
    """Mean and standard deviation in percent."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.2f} ± {100 * spread:.2f}"


def compare(folder: str, seeds: int, systems: dict[str, list[str]]) -> None:
    """One table row a system."""
    train, test = read(folder, "train"), read(folder, "test")
    print(f"{folder}: {len(train[0])} training texts, {len(test[0])} test texts", flush=True)
    print(f"| {Path(folder).name} | TF-IDF, logistic regression | {100 * tf_idf(train, test):.2f} |", flush=True)
    for name, options in FASTTEXT.items():
        print(f"| {Path(folder).name} | {name} | {100 * fast_text(train, test, options):.2f} |", flush=True)
    for name, options in systems.items():
        start = time.perf_counter()
        found = [ours(folder, seed, options) for seed in range(1, seeds + 1)]
        minutes = statistics.mean(value for _, value in found)
        accuracies = [value for value, _ in found]
        listed = " ".join(f"{100 * value:.2f}" for value in accuracies)
        print(f"| {Path(folder).name} | {name} | {shown(accuracies)} | {minutes:.2f} minutes | {listed} |", flush=True)
        print(f"  {time.perf_counter() - start:.0f} s", file=sys.stderr)


def curve(folders: list[str], seeds: int, systems: dict[str, list[str]], path: Path, table: Path) -> None:
    """Learning curves: test accuracy against the share of the training texts, mean over seeds; picture and table."""
    rows: list[tuple[str, str, float, float]] = []
    for folder in folders:
        test = read(folder, "test")
        for share in SHARES:
            linear = statistics.mean(tf_idf(read(folder, "train", share, s), test) for s in range(1, seeds + 1))
            rows.append((Path(folder).name, "TF-IDF, logistic regression", share, linear))
            for name, options in systems.items():
                mean = statistics.mean(ours(folder, s, options, share)[0] for s in range(1, seeds + 1))
                rows.append((Path(folder).name, name, share, mean))
            for row in rows[-1 - len(systems) :]:
                print(f"| {row[0]} | {row[1]} | {row[2]:.0%} | {100 * row[3]:.2f} |", flush=True)
            table.write_text(json.dumps(rows), encoding="utf-8")
    draw(rows, path)


def draw(rows: list[tuple[str, str, float, float]], path: Path) -> None:
    """A PNG with a part for each data set of rows (data set, system, share, accuracy)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row[0] for row in rows))
    figure = Figure(figsize=(4.2 * len(names), 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(parts, names, strict=True):
        for system in dict.fromkeys(row[1] for row in rows):
            chosen = [row for row in rows if row[:2] == (name, system)]
            axes.plot([100 * row[2] for row in chosen], [100 * row[3] for row in chosen], marker="o", label=system)
        axes.set_xscale("log")
        axes.set_xticks([100 * share for share in SHARES], [f"{100 * share:g} %" for share in SHARES])
        axes.set_title(name)
        axes.set_xlabel("share of the training texts")
        axes.grid(alpha=0.3)
    parts[0].set_ylabel("test accuracy, %")
    parts[-1].legend()
    figure.savefig(path, dpi=75)


def speed(folders: list[str], model: str, threads: int) -> None:
    """Texts a second, median of five passes over the test texts, the first left out."""
    from seq2seq import Classifier

    for precision in ("float32", "bfloat16"):
        classifier = Classifier.from_pretrained(model, threads=threads, precision=precision)
        for folder in folders:
            texts = read(folder, "test")[1]
            rates = []
            for _ in range(6):
                start = time.perf_counter()
                classifier.probabilities(texts)
                rates.append(len(texts) / (time.perf_counter() - start))
            pieces = statistics.mean(map(len, classifier.tokenizer.encode(texts)))
            rate = f"{statistics.median(rates[1:]):,.0f} texts/s"
            print(f"| {Path(folder).name} | {pieces:.1f} pieces a text | {precision} | {rate} |", flush=True)


def main() -> None:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--encoder", help="translator to start from; without it from scratch only")
    parser.add_argument("--config", default=str(Path(__file__).resolve().parents[2] / "configs" / "classifier.yaml"))
    parser.add_argument("--curve", type=Path, help="draw learning curves into this PNG (figures beside it, as JSON)")
    parser.add_argument("options", nargs="*", help="more options of train-classifier, after --")
    parser.add_argument("--speed", help="a classifier's directory: only measure how fast it is on the test texts")
    parser.add_argument("--threads", type=int, default=2, help="for --speed")
    arguments = parser.parse_args()
    if arguments.speed:
        speed(arguments.data, arguments.speed, arguments.threads)
        return
    common = ["--config", arguments.config, *arguments.options]
    systems = {"from scratch": common}
    if arguments.encoder:
        systems["from a translator"] = [*common, "--encoder", arguments.encoder, *SMALLER_STEPS]
    if arguments.curve:
        curve(arguments.data, arguments.seeds, systems, arguments.curve, arguments.curve.with_suffix(".json"))
        return
    for folder in arguments.data:
        compare(folder, arguments.seeds, systems)


if __name__ == "__main__":
    main()
