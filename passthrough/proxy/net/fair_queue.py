"""Bounds the work of all large bodies in one event loop iteration; transfers beyond that wait in a queue.

A socket with much input is read in every iteration. With hundreds of them one iteration takes seconds, and each step of a small
request waits as long. Only reading on is rationed: what has been read is forwarded at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

WORK: Final = 2 * 1024 * 1024
"""How much is done in one iteration, in bytes forwarded: three to four milliseconds. Other work is counted as bytes."""

PIECE: Final = 256 * 1024
"""How much one transfer is expected to do when it goes on: uvloop reads that much at once."""


class FairQueue:
    """The transfers of one event loop that wait for their turn, the longest waiting first."""

    __slots__ = ("_done", "_loop", "_scheduled", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._done = 0
        self._scheduled = False
        self._waiting: deque[Callable[[], None]] = deque()

    def spend(self, work: int) -> bool:
        """Count work that was done; False: do no more in this iteration, but `wait` for a later one."""
        self._done += work
        if not self._scheduled:
            self._schedule()
        return self._done < WORK and not self._waiting

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` in one of the next iterations, after those that wait already. `go_on` must not raise."""
        self._waiting.append(go_on)
        if not self._scheduled:
            self._schedule()

    async def turn(self) -> None:
        """Wait for one of the next iterations, after those that wait already."""
        turn: asyncio.Future[None] = self._loop.create_future()
        self.wait(lambda: None if turn.done() else turn.set_result(None))
        await turn

    def _schedule(self) -> None:
        self._scheduled = True
        self._loop.call_soon(self._next)

    def _next(self) -> None:
        """Begin an iteration: let as many transfers go on as its work allows."""
        self._done = 0
        self._scheduled = False
        for _ in range(min(len(self._waiting), WORK // PIECE)):
            try:
                self._waiting.popleft()()
            except Exception as defect:  # noqa: BLE001 - one transfer's defect must not stop the others
                self._loop.call_exception_handler({"message": "A transfer could not go on.", "exception": defect})
        if self._waiting and not self._scheduled:
            self._schedule()
