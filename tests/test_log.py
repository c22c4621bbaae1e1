"""metrics.jsonl: strict JSON a line, cut back to a checkpoint and no further."""

from __future__ import annotations

import json

import pytest

from seq2seq.training.log import MetricsLog


def strictly(line: str):
    def refuse(name: str):
        raise AssertionError(name)

    return json.loads(line, parse_constant=refuse)


def test_lines_are_strict_json(tmp_path):
    log = MetricsLog(tmp_path)
    log.write({"step": 1, "loss": float("nan"), "valid": {"bleu": float("-inf"), "chrf": 1.5}, "best": True})
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert strictly(line) == {"step": 1, "loss": None, "valid": {"bleu": None, "chrf": 1.5}, "best": True}


def test_cut_forgets_what_came_after_a_checkpoint_and_adds_nothing(tmp_path):
    log = MetricsLog(tmp_path)
    assert log.size() == 0
    assert not (tmp_path / "metrics.jsonl").exists()
    log.cut(10)
    log.write({"step": 1})
    size = log.size()
    log.write({"step": 2})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 3, "los')  # killed
    log.cut(size)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'
    log.cut(size + 100)  # lines that the disk has lost are not made up of NULs
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'
    log.close()


def test_board(tmp_path):
    pytest.importorskip("tensorboard")
    log = MetricsLog(tmp_path)
    log.open_board(5)
    log.write({"step": 6, "loss": 1.0, "valid": {"bleu": 2.0}, "best": True})
    log.close()
    assert list((tmp_path / "tensorboard").glob("events*"))
