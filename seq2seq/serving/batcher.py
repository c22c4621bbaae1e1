"""Dynamic batching: items that wait at the same time are worked on together. Knows nothing of models or of HTTP.

One thread works. While it does, new items wait; when it is done it takes the oldest and all that can go with it. So a
lone client never waits for others, and the batches grow with the load.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

GATHER_SECONDS = 0.004
"""After a batch of several items their senders get this time at most to come back, so that the next is as large."""


class Task(Hashable, Protocol):
    """What to do with items; those of tasks that compare equal may be worked on in one call."""

    def __call__(self, items: list[Any], /) -> Sequence[Any]:
        """As many results as items, in their order."""


class QueueFull(Exception):
    """More items wait than the queue holds."""


class Closed(Exception):
    """Nothing is accepted any more."""


class _Entry(NamedTuple):
    task: Task
    item: Any
    future: Future[Any]


class Batcher:
    """A bounded queue, and a thread that empties it batch by batch."""

    def __init__(self, *, batch_size: int, queue_size: int, gather: float = GATHER_SECONDS) -> None:
        """Starts the thread.

        Args:
            batch_size: Most items a call.
            queue_size: Most items that wait; those being worked on do not count.
            gather: Seconds that a batch waits at most to become as large as the one before it.
        """
        self.batch_size, self.queue_size, self.gather = batch_size, queue_size, gather
        self._waiting: deque[_Entry] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Items in the queue whose senders still wait."""
        with self._changed:
            return sum(not entry.future.cancelled() for entry in self._waiting)

    def submit(self, task: Task, items: Sequence[Any]) -> list[Future[Any]]:
        """Queues items, all of them or none.

        A future that is cancelled while its item waits is skipped.

        Args:
            task: What to do with each.
            items: May end up in different batches.

        Returns:
            A future an item.

        Raises:
            QueueFull: There is no place for all of them now.
            Closed: `close` was called.
        """
        entries = [_Entry(task, item, Future()) for item in items]
        with self._changed:
            if self._closed:
                raise Closed
            if len(self._waiting) + len(entries) > self.queue_size:
                # those whose senders have gone hold no place
                self._waiting = deque(entry for entry in self._waiting if not entry.future.cancelled())
                if len(self._waiting) + len(entries) > self.queue_size:
                    raise QueueFull
            self._waiting.extend(entries)
            self._changed.notify()
        return [entry.future for entry in entries]

    def close(self) -> None:
        """Accepts nothing more, finishes all that waits, and ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        before = 0
        while True:
            batch = self._next(before)
            if batch is None:
                return
            before = len(batch)
            _work(batch)

    def _next(self, before: int) -> list[_Entry] | None:
        """Waits for items, a moment for as many as `before`, and takes a batch; None when closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._changed.wait_for(lambda: len(self._waiting) >= before or self._closed, self.gather)
            if not self._waiting:
                return None
            task = self._waiting[0].task
            batch: list[_Entry] = []
            others: deque[_Entry] = deque()
            for entry in self._waiting:
                chosen = len(batch) < self.batch_size and entry.task == task
                (batch if chosen else others).append(entry)
            self._waiting = others
        return [entry for entry in batch if entry.future.set_running_or_notify_cancel()]


def _work(batch: list[_Entry]) -> None:
    """Answers a batch; where it fails its items are tried one by one, so that no item fails for another's sake."""
    if not batch:
        return
    try:
        results = batch[0].task([entry.item for entry in batch])
        assert len(results) == len(batch), "a task gives a result an item"
    except Exception as error:
        if len(batch) == 1:
            batch[0].future.set_exception(error)
            return
        for entry in batch:
            _work([entry])
        return
    for entry, result in zip(batch, results, strict=True):
        entry.future.set_result(result)
