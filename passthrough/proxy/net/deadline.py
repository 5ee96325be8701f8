"""Ends waits at their deadlines, with one event loop timer for many waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class DeadlineTimer:
    """The timer of one connection. Neither arriving data nor a later deadline moves it: when it fires, its owner checks the time.

    So a wait that ends before its deadline costs no timer of its own.
    """

    __slots__ = ("_at", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._at = 0.0

    def set(self, at: float, expired: Callable[[], float | None]) -> None:
        """Call `expired` at the loop's time `at`, or earlier, and again at the time that it returns."""
        if self._handle is None or self._at > at:
            self.cancel()
            self._at = at
            self._handle = self._loop.call_at(at, self._fire, expired)

    def cancel(self) -> None:
        """Cancel the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self, expired: Callable[[], float | None]) -> None:
        self._handle = None
        at = expired()
        if at is not None:
            self.set(at, expired)
