"""What all tests share: nothing is fetched, nothing is left outside pytest's own folders."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A model that learns nothing but is built, trained, saved and loaded within seconds.
TINY = [
    *("--vocab-size", "400", "--embedding-size", "16", "--encoder-size", "16", "--decoder-size", "16"),
    *("--attention-size", "16", "--batch-tokens", "400", "--max-steps", "6", "--validation-sentences", "4"),
    *("--precision", "float32", "--threads", "1"),
]


def pytest_configure(config):
    """Before any test module is imported, for `datasets` reads its settings once, when it is imported."""
    config.seq2seq_caches = tempfile.TemporaryDirectory(prefix="seq2seq-tests-")
    os.environ["HF_HOME"] = config.seq2seq_caches.name
    # a second thread gains nothing at these sizes, and on a busy machine it costs: threads wait for each other
    os.environ["OMP_NUM_THREADS"] = "1"
    # a shell starts programs in its background with SIGINT ignored, and what they start would ignore it too
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_DATASETS_OFFLINE"] = "1"
    for name in ("HF_DATASETS_CACHE", "SEQ2SEQ_TRACEBACK"):
        os.environ.pop(name, None)


def pytest_unconfigure(config):
    config.seq2seq_caches.cleanup()


def pytest_collection_modifyitems(config, items):
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if gpu:
        import torch

        if not torch.cuda.is_available():
            for item in gpu:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def one_precision(request, monkeypatch):
    """`auto` is float32: what is faster on a busy machine changes from one call to the next, and results with it."""
    if request.node.path.name != "test_hardware.py":
        for name in ("_seconds", "_prepared_seconds"):
            monkeypatch.setattr(f"seq2seq.nn.hardware.{name}", lambda dtype, device: 0.0)


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory) -> Path:
    """A folder with the first lines of the embedded corpus: 200 pairs to train on, 10 to validate, 10 to test."""
    folder = tmp_path_factory.mktemp("corpus")
    for split, count in (("train", 200), ("valid", 10), ("test", 10)):
        for language in ("en", "fr"):
            lines = (ROOT / "data" / "demo" / f"{split}.{language}").read_text(encoding="utf-8").split("\n")
            (folder / f"{split}.{language}").write_text("\n".join(lines[:count]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_model(small_corpus, tmp_path_factory) -> Path:
    """A model directory that the real command wrote, after some steps of training."""
    from seq2seq.app.cli import main

    output = tmp_path_factory.mktemp("models") / "tiny"
    languages = ["--source", "en", "--target", "fr"]
    assert main(["train", "--data", str(small_corpus), *languages, "--output", str(output), *TINY]) == 0
    return output
