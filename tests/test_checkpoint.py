"""Model directories: what is written is read back, what is damaged is refused, nothing half-written is ever seen."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seq2seq import checkpoint
from seq2seq.checkpoint import TrainingState
from seq2seq.errors import ModelDirectoryError

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1.0, 2.0])}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    checkpoint.start_model_directory(path, {"task": "translation"}, {"source": b"spm", "target": b"spm"})
    checkpoint.save_weights(path, TENSORS, {"step": 1}, "card")
    return path


def test_round_trip(directory: Path) -> None:
    saved = checkpoint.load_model(directory)
    digests = {name: [hashlib.sha256((directory / name).read_bytes()).hexdigest()]
               for name in ("model.safetensors", "tokenizer.model")}  # fmt: skip
    assert saved.config == {"format_version": checkpoint.FORMAT_VERSION, "task": "translation", "sha256": digests}
    assert saved.tokenizers == {"source": b"spm", "target": b"spm"}
    assert saved.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(saved.tensors[name], TENSORS[name]) for name in TENSORS)
    assert sorted(p.name for p in directory.iterdir()) == [
        "README.md", "config.json", "metrics.json", "model.safetensors", "tokenizer.model",
    ]  # fmt: skip


def test_separate_tokenizers(tmp_path: Path) -> None:
    checkpoint.start_model_directory(tmp_path, {}, {"source": b"s", "target": b"t"})
    assert checkpoint.read_tokenizers(tmp_path) == {"source": b"s", "target": b"t"}
    assert not (tmp_path / "tokenizer.model").exists()


def _truncate(path: Path) -> None:
    (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-5])


def _flip(path: Path) -> None:
    content = bytearray((path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (path / "model.safetensors").write_bytes(content)


def _newer(path: Path) -> None:
    (path / "config.json").write_text(json.dumps({"format_version": 99}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "model.safetensors").unlink(), "has no model.safetensors"),
        (_truncate, "damaged"),
        (_flip, "checksum differs"),
        (lambda p: (p / "model.safetensors").write_bytes(b""), "damaged"),
        (lambda p: (p / "tokenizer.model").unlink(), "has no tokenizer.model"),
        (lambda p: (p / "config.json").write_text("{"), "cannot read"),
        (lambda p: (p / "config.json").write_text("[]"), "no JSON object"),
        (lambda p: (p / "config.json").write_text("{}"), "format_version"),
        (_newer, "has format 99, this version of seq2seq reads up to 1: upgrade"),
        (lambda p: (p / "config.json").unlink(), "is no model directory"),
    ],
)
def test_damage_is_refused(directory: Path, damage, message: str) -> None:
    damage(directory)
    with pytest.raises(ModelDirectoryError, match=message):
        checkpoint.load_model(directory)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError, match="no model directory"):
        checkpoint.load_model(tmp_path / "absent")


def test_failed_write_leaves_the_old_file(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    before = (directory / "model.safetensors").read_bytes()
    monkeypatch.setattr(checkpoint.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save_weights(directory, {"a": torch.zeros(9)}, {}, "")
    assert (directory / "model.safetensors").read_bytes() == before
    assert not list(directory.glob(".*"))


def test_newest_training_state_is_kept_alone(directory: Path) -> None:
    assert checkpoint.load_training_state(directory) is None
    for step in (9, 10, 100):
        state = TrainingState({"w": torch.full((2,), float(step))}, {"n": step})
        checkpoint.save_training_state(directory, step, state)
    leftover = directory / "training_state" / ".tmp-1"  # of a killed process
    leftover.mkdir()
    state = checkpoint.load_training_state(directory)
    assert state is not None and state.values == {"n": 100} and state.tensors["w"].tolist() == [100, 100]
    checkpoint.save_training_state(directory, 100, state)
    assert [p.name for p in (directory / "training_state").iterdir()] == ["step-000000100"]


def test_a_stop_between_two_renames_loses_no_state(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same step saved again: at every moment one complete state is there."""

    class Stopped(BaseException):
        pass

    replace, left = checkpoint.os.replace, 0

    def replace_until(source: Path, target: Path) -> None:
        nonlocal left
        if Path(target).parent == directory / "training_state":
            if left == 0:
                raise Stopped
            left -= 1
        replace(source, target)

    monkeypatch.setattr(checkpoint.os, "replace", replace_until)
    state = TrainingState({"w": torch.ones(2)}, {"n": 7})
    left = 1
    checkpoint.save_training_state(directory, 7, state)
    for left in (0, 1):
        allowed = left
        with pytest.raises(Stopped):
            checkpoint.save_training_state(directory, 7, state)
        assert checkpoint.has_training_state(directory), allowed
        found = checkpoint.load_training_state(directory)
        assert found is not None and found.values == {"n": 7}, allowed
    left = 9
    checkpoint.save_training_state(directory, 8, state)
    assert [p.name for p in (directory / "training_state").iterdir()] == ["step-000000008"]


KILLED_AT_EACH_CALL = """
import builtins, os, shutil, signal, sys
from pathlib import Path
import torch
from seq2seq import checkpoint
from seq2seq.checkpoint import TrainingState

def state(step):
    return TrainingState({"w": torch.full((3,), float(step))}, {"progress": {"step": step}})

def die_at(wanted):
    left = wanted
    def counted(call):
        def run(*arguments, **options):
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)
        return run
    for name in ("fsync", "replace", "mkdir", "unlink", "rmdir", "open", "close"):
        setattr(os, name, counted(getattr(os, name)))
    builtins.open = counted(open)

os.fsync = lambda descriptor: None  # a kill loses nothing that the system has; this is about the order of calls
directory, killed = Path(sys.argv[1]), 0
for again in (False, True):  # the next step, and the same step once more
    for call in range(1000):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        checkpoint.save_training_state(directory, 3, state(3))
        pid = os.fork()
        if pid == 0:
            die_at(call)
            checkpoint.save_training_state(directory, 3 if again else 4, state(4))
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, -9), code
        found = checkpoint.load_training_state(directory)
        step = int(found.values["progress"]["step"])
        assert step in (3, 4) and found.tensors["w"].tolist() == [step] * 3, (again, call)
        assert checkpoint.last_step(directory) == step
        if code == 0:
            break
        killed += 1
        checkpoint.save_training_state(directory, 5, state(5))  # and what is left over does no harm
        names = {p.name for p in (directory / "training_state").iterdir()}
        assert names == {"step-000000005"}, names
        assert checkpoint.last_step(directory) == 5
print(killed)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_call_of_saving_leaves_a_whole_state(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_AT_EACH_CALL, str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15
