"""Lets tasks of an event loop wait until another thread wakes them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Lock


class Waiters:
    """The tasks that wait, on any event loop; the other thread calls `wake`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: set[asyncio.Future[None]] = set()

    def join(self) -> asyncio.Future[None]:
        """Return a future that the next `wake` completes, for `wait`."""
        future = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.add(future)
        return future

    async def wait(self, future: asyncio.Future[None], timeout_s: float) -> None:
        """Wait until the future is done, for at most `timeout_s` seconds."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await future
        finally:
            with self._lock:
                self._waiting.discard(future)

    def wake(self) -> None:
        """Wake all tasks that have joined."""
        with self._lock:
            waiting, self._waiting = self._waiting, set()
        for future in waiting:
            with suppress(RuntimeError):  # its loop has ended meanwhile
                future.get_loop().call_soon_threadsafe(_done, future)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
