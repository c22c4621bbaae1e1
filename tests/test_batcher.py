"""Dynamic batching with tasks that say what they were called with: grouping, order, bounds, failures, the end."""

from __future__ import annotations

import threading
import time
from concurrent.futures import wait
from typing import NamedTuple

import pytest

from seq2seq.serving.batcher import Batcher, Closed, QueueFull

calls: list[tuple[str, list[int]]] = []
gate = threading.Event()
begun = threading.Event()


class Double(NamedTuple):
    """Doubles numbers once the gate is open; fails at 13."""

    name: str = "a"

    def __call__(self, items: list[int]) -> list[int]:
        calls.append((self.name, list(items)))
        begun.set()
        assert gate.wait(10)
        if 13 in items:
            raise ValueError("thirteen")
        return [2 * item for item in items]


@pytest.fixture
def batcher():
    calls.clear()
    gate.clear()
    begun.clear()
    batcher = Batcher(batch_size=4, queue_size=10, gather=0)
    yield batcher
    gate.set()
    batcher.close()


def hold(batcher, item=0):
    """An item that is being worked on until the gate opens, so that all others wait."""
    futures = batcher.submit(Double(), [item])
    assert begun.wait(10)
    return futures


def test_what_waits_together_is_worked_on_together(batcher):
    futures = hold(batcher)
    for item in range(1, 7):
        futures += batcher.submit(Double(), [item])
    assert batcher.waiting == 6
    gate.set()
    assert [future.result(10) for future in futures] == [0, 2, 4, 6, 8, 10, 12]
    assert calls == [("a", [0]), ("a", [1, 2, 3, 4]), ("a", [5, 6])]


def test_other_tasks_are_kept_apart_and_the_oldest_goes_first(batcher):
    futures = hold(batcher)
    for item, name in enumerate("abbab", 1):
        futures += batcher.submit(Double(name), [item])
    gate.set()
    assert [future.result(10) for future in futures] == [0, 2, 4, 6, 8, 10]
    assert calls == [("a", [0]), ("a", [1, 4]), ("b", [2, 3, 5])]


def test_one_alone_is_not_kept_waiting():
    gate.set()
    batcher = Batcher(batch_size=4, queue_size=10, gather=5)
    start = time.perf_counter()
    assert [batcher.submit(Double(), [n])[0].result(10) for n in range(5)] == [0, 2, 4, 6, 8]
    assert time.perf_counter() - start < 2
    batcher.close()


def test_after_a_batch_of_several_the_next_is_waited_for():
    gate.set()
    calls.clear()
    batcher = Batcher(batch_size=3, queue_size=10, gather=30)
    wait(batcher.submit(Double(), [1, 2, 3]))
    futures = batcher.submit(Double(), [4])
    time.sleep(0.05)
    futures += batcher.submit(Double(), [5]) + batcher.submit(Double(), [6])  # as many as before: no more waiting
    assert [future.result(10) for future in futures] == [8, 10, 12]
    assert calls == [("a", [1, 2, 3]), ("a", [4, 5, 6])]
    batcher.close()


def test_a_full_queue_takes_all_or_nothing(batcher):
    futures = hold(batcher)
    futures += batcher.submit(Double(), list(range(8)))
    with pytest.raises(QueueFull):
        batcher.submit(Double(), [1, 2, 3])
    assert batcher.waiting == 8
    futures += batcher.submit(Double(), [8, 9])
    with pytest.raises(QueueFull):
        batcher.submit(Double(), [1])
    assert batcher.submit(Double(), []) == []
    gate.set()
    assert [future.result(10) for future in futures] == [0, *range(0, 20, 2)]


def test_items_whose_senders_have_gone_are_skipped_and_hold_no_place(batcher):
    hold(batcher)
    futures = batcher.submit(Double(), list(range(1, 11)))
    assert all(future.cancel() for future in futures[1:])
    again = batcher.submit(Double(), [77, 78])
    gate.set()
    assert [future.result(10) for future in [futures[0], *again]] == [2, 154, 156]
    assert calls == [("a", [0]), ("a", [1, 77, 78])]


def test_an_item_that_fails_fails_alone(batcher):
    hold(batcher)
    futures = batcher.submit(Double(), [1, 13, 2])
    gate.set()
    assert futures[0].result(10) == 2 and futures[2].result(10) == 4
    with pytest.raises(ValueError, match="thirteen"):
        futures[1].result(10)
    assert batcher.submit(Double(), [3])[0].result(10) == 6


def test_a_task_with_too_few_results_answers_nobody_wrongly():
    batcher = Batcher(batch_size=4, queue_size=4)
    with pytest.raises(AssertionError, match="a result an item"):
        batcher.submit(lambda items: [], [1])[0].result(10)
    batcher.close()


def test_the_end_comes_when_all_that_waits_is_done(batcher):
    futures = hold(batcher) + batcher.submit(Double(), [1, 2, 3, 4, 5, 6])
    closing = threading.Thread(target=batcher.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    with pytest.raises(Closed):
        batcher.submit(Double(), [1])
    gate.set()
    closing.join(10)
    assert not closing.is_alive()
    assert [future.result(0) for future in futures] == [0, 2, 4, 6, 8, 10, 12]
