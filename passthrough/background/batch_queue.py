"""A bounded queue from the event loop to a thread: put without blocking, taken in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Event
from typing import Generic, TypeVar

Item = TypeVar("Item")


class BatchQueue(Generic[Item]):
    """A queue between the event loop, which puts items, and one thread, which takes them in batches.

    The thread waits `gather_s` seconds before it takes fewer than `batch` items: waking it for each one would take the event loop
    longer than the item's own work.
    """

    def __init__(self, bound: int, *, batch: int, gather_s: float, weigh: Callable[[Item], int] | None = None) -> None:
        """`bound` and `batch` are numbers of items or, with `weigh`, the sum of their weights."""
        self._items: deque[Item] = deque()
        self._weigh = weigh
        self._weight_put = 0  # each is written by one side only, so that neither needs a lock
        self._weight_taken = 0
        self._bound = bound
        self._batch = batch
        self._gather_s = gather_s
        self._filled = Event()
        self._closing = Event()
        self._closed = False  # the same, for `put`, which reads it for each item

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> bool:
        """Append an item and return True; False where the queue is full or closed, and the item was not appended."""
        if self._weight_put - self._weight_taken >= self._bound or self._closed:
            return False
        self._weight_put += 1 if self._weigh is None else self._weigh(item)
        self._items.append(item)
        if not self._filled.is_set():
            self._filled.set()
        return True

    def take(self) -> list[Item]:
        """Wait for items and return the oldest, at least one; an empty list once the queue is closed and empty."""
        while True:
            self._filled.wait()
            if self._weight_put - self._weight_taken < self._batch:
                self._closing.wait(self._gather_s)
            self._filled.clear()
            taken = self._oldest()
            if self._items or self._closing.is_set():
                self._filled.set()
            if taken or self._closing.is_set():
                return taken

    def _oldest(self) -> list[Item]:
        items, weigh, batch = self._items, self._weigh, self._batch
        if weigh is None:
            taken = [items.popleft() for _ in range(min(len(items), batch))]
            self._weight_taken += len(taken)
            return taken
        taken, weight = [], 0
        while items and weight < batch:
            item = items.popleft()
            weight += weigh(item)
            taken.append(item)
        self._weight_taken += weight
        return taken

    def close(self) -> None:
        """Accept no more items; those in the queue can still be taken."""
        self._closed = True
        self._closing.set()
        self._filled.set()

    def pause(self, seconds: float) -> bool:
        """Let the taking thread wait; return at once, with True, when the queue is or gets closed."""
        return self._closing.wait(seconds)
