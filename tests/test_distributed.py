"""Several processes against one: what they tell each other, the losses of a step, a process that ends."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT, TINY

from seq2seq.app import run
from seq2seq.app.cli import main
from seq2seq.checkpoint import read_tensors
from seq2seq.errors import ConfigError, UserError
from seq2seq.training.distributed import ALONE, World, joined_world, place

_SPEC = importlib.util.spec_from_file_location("processes", ROOT / "scripts" / "stress" / "processes.py")
processes = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(processes)

# no dropout: what it leaves out differs from process to process
DRY = ["--dropout", "0", "--dropout-embedding", "0", "--dropout-readout", "0", "--max-steps", "12", "--log-every", "1"]


def torchrun(count: int, *words: str) -> subprocess.Popen[str]:
    """A job on this machine, its processes started by PyTorch's launcher."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*launcher, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def training(data: Path, output: Path, *options: str) -> list[str]:
    return ["train", "--data", str(data), "--source", "en", "--target", "fr", "--output", str(output), *TINY, *options]


def test_alone_nothing_changes():
    assert ALONE.leads and place() == (0, 1)
    assert ALONE.sums(1.5, 2) == [1.5, 2] and ALONE.word("a") == "a" and ALONE.joined([1, 2]) == [1, 2]
    assert ALONE.lead(lambda: 3) == 3 and ALONE.in_turn(lambda: 4) == 4
    assert [10, 11, 12][ALONE.share] == [10, 11, 12]
    with joined_world() as world:
        assert (world.rank, world.size) == (0, 1)


def test_shares_are_dealt_like_cards():
    cards = list(range(11))
    shares = [cards[World(rank, 4).share] for rank in range(4)]
    assert sorted(card for share in shares for card in share) == cards
    assert shares[1] == [1, 5, 9]


def test_only_the_first_process_tells_what_all_have_noticed():
    assert isinstance(World(0, 2).failure("why"), UserError)
    assert isinstance(World(1, 2).failure("why"), SystemExit)


def test_a_later_process_says_nothing(monkeypatch, capsys):
    run.say("first")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    run.say("second")
    assert capsys.readouterr().out == "first\n"


def test_incomplete_variables_are_told(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match=r"WORLD_SIZE is 2, but the processes cannot meet .*'RANK'.* torchrun"):
        with joined_world():
            pass


TALK = """
    import sys
    from seq2seq.errors import UserError
    from seq2seq.training.distributed import joined_world

    with joined_world() as world:
        rank = world.rank
        assert world.size == 3
        assert world.sums(rank, 1) == [3, 3]
        assert world.word(["from", rank]) == ["from", 0]
        assert world.lead(lambda: rank) == 0
        assert world.in_turn(lambda: rank) == rank
        whole = list(range(7))
        assert world.joined(whole[world.share]) == whole
        assert world.joined([]) == []
        def fail():
            raise UserError("told once")
        try:
            world.lead(fail)
        except UserError as error:
            assert rank == 0 and str(error) == "told once"
        except SystemExit as ended:
            assert rank > 0 and ended.code == 2
        else:
            raise AssertionError
        if world.word("on") == "on" and rank == 0:
            print("all said")
"""


def test_what_processes_tell_each_other(tmp_path):
    (tmp_path / "talk.py").write_text(textwrap.dedent(TALK))
    job = torchrun(3, str(tmp_path / "talk.py"))
    out, err = job.communicate(timeout=300)
    assert job.returncode == 0, err
    assert out == "all said\n"


def test_two_processes_learn_what_one_does(small_corpus, tmp_path, capsys):
    """The same losses, weights and scores; in batches of one or two sentences a process may have none."""
    options = [*DRY, "--sampling", "0.2", "--accumulate", "2", "--validate-every", "6", "--batch-tokens", "40"]
    assert main(training(small_corpus, tmp_path / "one", *options)) == 0
    job = torchrun(2, "-m", "seq2seq", *training(small_corpus, tmp_path / "two", *options))
    out, err = job.communicate(timeout=300)
    assert job.returncode == 0, err
    assert "2 processes of 1 threads" in out
    assert len([line for line in out.splitlines() if line.startswith("step ")]) == 2  # each validation told once
    one, two = processes.logged(tmp_path / "one"), processes.logged(tmp_path / "two")
    assert [line["step"] for line in one] == [line["step"] for line in two] and len(one) == 14
    for a, b in zip(one, two, strict=True):
        if "loss" in a:
            assert b["loss"] == pytest.approx(a["loss"], abs=1e-4)
            assert b["learning_rate"] == pytest.approx(a["learning_rate"], rel=1e-9)
            assert b["gradient_norm"] == pytest.approx(a["gradient_norm"], rel=1e-3)
        else:
            assert b["valid"] == pytest.approx(a["valid"], abs=1e-3)
    weights = [read_tensors(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-4)
    capsys.readouterr()
    assert main([*training(small_corpus, tmp_path / "two", *options), "--max-steps", "14", "--resume"]) == 0
    assert "begun with processes 2, now 1: the same run, but not bit for bit" in capsys.readouterr().out


def test_two_processes_learn_to_classify_what_one_does(tmp_path):
    options = [
        *("train-classifier", "--data", str(tmp_path / "data"), "--text-column", "en", "--min-steps", "0"),
        *("--embedding-size", "8", "--encoder-size", "8", "--vocab-size", "400", "--precision", "float32"),
        *("--dropout", "0", "--dropout-embedding", "0", "--dropout-pooled", "0"),
        *("--word-dropout", "0", "--max-steps", "8", "--validate-every", "4", "--log-every", "1", "--threads", "1"),
    ]
    (tmp_path / "data").mkdir()
    for name in ("train.en", "train.label"):  # without validation texts: some are held out, and learned from in the end
        shutil.copy(ROOT / "data" / "demo" / name, tmp_path / "data")
    assert main([*options, "--output", str(tmp_path / "one")]) == 0
    job = torchrun(2, "-m", "seq2seq", *options, "--output", str(tmp_path / "two"))
    _, err = job.communicate(timeout=300)
    assert job.returncode == 0, err
    one, two = processes.logged(tmp_path / "one"), processes.logged(tmp_path / "two")
    assert len(one) == len(two) == 10
    for a, b in zip(one, two, strict=True):
        if "loss" in a:
            assert b["loss"] == pytest.approx(a["loss"], abs=1e-4)
        else:
            assert b["valid"] == pytest.approx(a["valid"], abs=0.5)  # a text or two may be at the edge
    reports = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    assert reports[0]["refit"] == reports[1]["refit"]
    weights = [read_tensors(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, tensor in weights[0].items():
        if not name.startswith("ngrams."):
            torch.testing.assert_close(weights[1][name], tensor, rtol=1e-2, atol=1e-3)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds processes in /proc")
def test_a_job_whose_process_is_killed_starts_anew_and_ends_like_an_unbroken_one(small_corpus, tmp_path):
    options = ["--max-steps", "60", "--validate-every", "30", "--save-every", "5", "--log-every", "1"]
    jobs = {
        name: torchrun(2, "--max-restarts", "1", "-m", "seq2seq", *training(small_corpus, tmp_path / name, *options))
        for name in ("unbroken", "killed")  # side by side, for most of the time is start-up
    }
    while len(processes.logged(tmp_path / "killed")) < 12:
        assert jobs["killed"].poll() is None
        time.sleep(0.02)
    os.kill(processes.processes_of(jobs["killed"].pid)[1], signal.SIGKILL)
    states = {}
    for name, job in jobs.items():
        out, err = job.communicate(timeout=300)
        assert job.returncode == 0, err
        assert ("going on from step" in out) == (name == "killed")
        states[name] = read_tensors(tmp_path / name / "training_state" / "step-000000060" / "tensors.safetensors")
    for name, tensor in states["unbroken"].items():
        assert torch.equal(states["killed"][name], tensor), name


def test_a_mistake_is_told_once(small_corpus, tmp_path):
    job = torchrun(
        2, "-m", "seq2seq", *training(small_corpus, tmp_path / "m", "--clip-norm", "1", "--batch-tokens", "0")
    )
    out, err = job.communicate(timeout=300)
    assert job.returncode != 0 and out == ""
    assert err.count("seq2seq: error:") == 1 and "--batch-tokens or --batch-sentences must be above 0" in err
    assert not (tmp_path / "m").exists()
