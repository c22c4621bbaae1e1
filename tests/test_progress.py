"""Where a run stands: kept in JSON and taken back, damage refused."""

from __future__ import annotations

import json
import time

import pytest

from seq2seq.errors import ModelDirectoryError
from seq2seq.training.progress import Progress, Window, restored


def test_round_trip():
    progress = Progress(step=7, best=None, seconds=1.5)
    assert restored(Progress, json.loads(json.dumps(vars(progress)))) == progress
    better = Progress(step=8, best=-0.1 - 0.2, skipped_in_a_row=3)
    assert restored(Progress, json.loads(json.dumps(vars(better)))) == better


def test_a_counter_that_an_older_version_did_not_have_begins_at_its_default():
    assert restored(Progress, {"step": 3}) == Progress(step=3)


@pytest.mark.parametrize(
    "values", [None, [], {"step": "3"}, {"step": True}, {"stepp": 3}, {"step": 1.5}, {"start": 1.0}]
)
def test_what_is_no_progress_is_refused(values):
    with pytest.raises(ModelDirectoryError, match="training state is damaged, or of another version"):
        restored(Progress, values)
    with pytest.raises(ModelDirectoryError, match="training state is damaged"):
        restored(Window, values)


def test_a_window_goes_on_with_its_sums_and_its_time(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    window = Window(start=100.0)
    assert window.loss_per_token() == 0.0
    window.loss, window.tokens = 12.0, 4
    now = 102.0
    again = restored(Window, json.loads(json.dumps(window.to_json())))
    again.start = now = 500.0  # another process, later
    now = 502.0
    assert again.loss_per_token() == 3.0
    assert again.speed() == 1.0
