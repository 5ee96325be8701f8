"""Ends waits in time, by one timer for many of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class DeadlineTimer:
    """One connection's timer. Neither what arrives nor a later end touches it: when it rings, its owner looks whether it is time.

    So a wait that ends as it should costs no timer of its own.
    """

    __slots__ = ("_at", "_handle", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._at = 0.0

    def set(self, at: float, expired: Callable[[], float | None]) -> None:
        """Call `ring` at this time of the loop's clock, or earlier, and again when it says."""
        if self._handle is None or self._at > at:
            self.cancel()
            self._at = at
            self._handle = self._loop.call_at(at, self._fire, expired)

    def cancel(self) -> None:
        """Ring no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self, expired: Callable[[], float | None]) -> None:
        self._handle = None
        at = expired()
        if at is not None:
            self.set(at, expired)
