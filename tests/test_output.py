"""The output directory: what is refused and why, one training at a time, nothing of the user's removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from seq2seq import checkpoint
from seq2seq.app import output
from seq2seq.checkpoint import TrainingState
from seq2seq.errors import ConfigError, ModelDirectoryError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A finished model without a training state, as far as names go."""
    path = tmp_path / "model"
    checkpoint.start_model_directory(path, {"task": "translation"}, {"source": b"spm", "target": b"spm"})
    checkpoint.save_weights(path, {"a": torch.ones(2)}, {"step": 1}, "card")
    return path


def _state(directory: Path) -> None:
    checkpoint.save_training_state(directory, 3, TrainingState({"w": torch.ones(1)}, {"progress": {"step": 3}}))


@pytest.mark.parametrize(
    ("state", "weights", "resume", "overwrite", "expected"),
    [
        (True, True, True, False, True),
        (True, True, True, True, True),  # the same command with --resume goes on, whatever else it says
        (True, True, False, True, False),
        (True, True, False, False, "already holds a model; --resume goes on with it, --overwrite replaces it"),
        (False, True, True, False, "no training state to go on from; --overwrite trains it anew"),
        (False, True, True, True, False),
        (False, False, True, False, False),  # killed before the first checkpoint
        (False, False, False, False, "already holds a model"),
    ],
)
def test_what_becomes_of_a_model_that_is_there(directory, state, weights, resume, overwrite, expected):
    if state:
        _state(directory)
    if not weights:
        (directory / "model.safetensors").unlink()
    before = sorted(directory.rglob("*"))
    if isinstance(expected, bool):
        assert output.goes_on(directory, resume, overwrite) is expected
    else:
        with pytest.raises(ConfigError, match=expected):
            output.goes_on(directory, resume, overwrite)
    assert sorted(directory.rglob("*")) == before


def test_directories_without_a_model(tmp_path):
    assert not output.goes_on(tmp_path / "absent" / "deep", False, False)
    assert not output.goes_on(tmp_path, False, False)
    (tmp_path / "tokenizer.model").touch()  # all that a training killed early has written
    (tmp_path / ".config.json.77.tmp").touch()
    assert not output.goes_on(tmp_path, False, False)
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="holds other files and no model"):
        output.goes_on(tmp_path, False, True)
    with pytest.raises(ConfigError, match="is a file; give a directory"):
        output.goes_on(tmp_path / "thesis.tex", False, False)
    with pytest.raises(ModelDirectoryError, match=r"thesis\.tex is a file"):
        output.goes_on(tmp_path / "thesis.tex" / "model", False, False)


def test_clear_takes_the_configuration_first_and_leaves_what_is_not_ours(directory, monkeypatch):
    """Killed on its way, it must leave no model that is half of one."""
    (directory / "notes.txt").write_text("mine")
    _state(directory)
    assert not output.only_training_files(directory)
    first = []
    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda self, **options: (first.append(self.name), unlink(self, **options)))
    output.clear(directory)
    assert first[0] == "config.json"
    assert [path.name for path in directory.iterdir()] == ["notes.txt"]


def test_leftovers_of_killed_trainings_go_and_nothing_else(directory):
    state = directory / "training_state"
    _state(directory)
    (state / ".tmp-12").mkdir()
    ours = [".model.safetensors.123.tmp", ".config.json.9.tmp", ".metrics.json.10.tmp"]
    theirs = [".notes.1.tmp", "model.safetensors.1.tmp", ".model.safetensors.tmp", ".git"]
    for name in ours + theirs:
        (directory / name).touch()
    kept = {path.name for path in directory.iterdir()} - set(ours)
    output.remove_leftovers(directory)
    assert {path.name for path in directory.iterdir()} == kept
    assert [path.name for path in state.iterdir()] == ["step-000000003"]


OTHER = (
    "import sys; from pathlib import Path; from seq2seq.app import output\n"
    "from seq2seq.errors import ModelDirectoryError\n"
    "try:\n"
    "    with output.exclusive(Path(sys.argv[1])): print('entered')\n"
    "except ModelDirectoryError as error: print(error)\n"
)


def test_a_second_training_is_kept_out(directory):
    def other() -> str:
        return subprocess.run([sys.executable, "-c", OTHER, str(directory)], capture_output=True, text=True).stdout

    with output.exclusive(directory):
        assert "another training is writing" in other()
        with pytest.raises(ModelDirectoryError, match=r"another training is writing .*wait for it, or choose another"):
            output.check_free(directory)
    assert other() == "entered\n"
    assert not (directory / ".lock").exists()


def test_the_lock_of_a_killed_training_does_not_stay(directory):
    code = OTHER.replace("print('entered')", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert subprocess.run([sys.executable, "-c", code, str(directory)]).returncode == -9
    assert (directory / ".lock").exists()
    output.check_free(directory)
    with output.exclusive(directory):
        pass


def test_no_two_hold_the_lock_while_it_is_given_and_taken(tmp_path):
    """Its file is removed when it is given back: who has opened the old file must not believe to hold the new one."""
    inside, most, entered = 0, 0, 0
    end = time.monotonic() + 1.0

    def work() -> None:
        nonlocal inside, most, entered
        while time.monotonic() < end:
            try:
                with output.exclusive(tmp_path / "m"):
                    inside += 1
                    most, entered = max(most, inside), entered + 1
                    time.sleep(0.0002)
                    inside -= 1
            except ModelDirectoryError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entered > 10 and most == 1


def test_a_disk_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with output.exclusive(tmp_path):
        pass


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_a_directory_that_may_not_be_written(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir(mode=0o555)
    if os.geteuid() == 0:  # root may write anywhere
        monkeypatch.setattr(output.os, "access", lambda path, mode: Path(path) != tmp_path / "locked")
    with pytest.raises(
        ModelDirectoryError, match=r"cannot write to .*locked \(permission denied, or a read-only disk\)"
    ):
        output.goes_on(tmp_path / "locked" / "m", False, False)


def test_little_room_is_told(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    assert output.room_missing(tmp_path, free // 2) == ""
    assert "MB of free disk, and this training may need 9,000,000,000 MB" in output.room_missing(tmp_path, 9 * 10**15)
