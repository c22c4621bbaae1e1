"""Training killed at random moments, or on a full disk: the short forms of scripts/stress/kill.py and disk.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

# memory, where there is such a disk: waiting for a real one is most of the time, and a kill cannot tell
SHORT = {"TMPDIR": "/dev/shm"} if os.access("/dev/shm", os.W_OK) else {}


def stress(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "stress" / name), *options]
    environment = {**os.environ, **SHORT, "PYTHONHASHSEED": "random"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.timeout(900)
def test_killed_trainings_end_as_the_unbroken_one():
    done = stress("kill.py", "--kills", "3", "--epochs", "1", "--once", "--fork")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("3 kills") == 2
    assert done.stdout.count("every end is that of the unbroken run") == 2
    assert all(done.stdout.count(f"| SIG{name} |") == 2 for name in ("INT", "TERM"))


@pytest.mark.timeout(900)
def test_a_full_and_a_read_only_disk_leave_the_last_checkpoint_intact():
    done = stress("disk.py", "--short")
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| no |" not in done.stdout and done.stdout.count("| yes |") >= 5


def test_the_comparison_of_ends_can_fail(tmp_path: Path):
    sys.path.insert(0, str(ROOT / "scripts" / "stress"))
    try:
        import kill
    finally:
        sys.path.pop(0)
    work = kill.Work(tmp_path)
    state = work.model / "training_state" / "step-1"
    state.mkdir(parents=True)
    (state / "state.json").write_text('{"progress": {"step": 1, "seconds": 5.0}, "window": {"loss": 1.0}}')
    (work.model / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5, "seconds": 1}\n')
    (work.model / "model.safetensors").write_bytes(b"weights")
    work.order.write_text("0 abc 0.1\n1 def 0.1\n")
    expected = kill.end_of(work)

    def changed(path: Path, old: str, new: str) -> list[str]:
        content = path.read_text()
        path.write_text(content.replace(old, new))
        found = kill.differences(expected, kill.end_of(work))
        path.write_text(content)
        return found

    assert changed(state / "state.json", "5.0", "6.0") == []
    assert changed(work.model / "metrics.jsonl", '"seconds": 1', '"seconds": 2') == []
    assert changed(state / "state.json", '"loss": 1.0', '"loss": 1.1') == ["training_state/step-1/state.json"]
    assert changed(work.model / "metrics.jsonl", "0.5", "0.6") == ["metrics.jsonl"]
    assert changed(work.model / "model.safetensors", "weights", "weightz") == ["model.safetensors"]
    assert changed(work.order, "1 def 0.1", "1 xyz 0.1") == ["batches of each step"]
    assert changed(work.order, "1 def 0.1\n", "1 def 0.1\n1 def 0.1\n1 de\n") == []
    (work.model / ".model.safetensors.7.tmp").touch()
    assert kill.differences(expected, kill.end_of(work)) == [".model.safetensors.7.tmp", "files"]
