"""Time as a token source sees it; an argument, so that a test can move it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

# Both count the time that a machine sleeps, and no one sets them: CLOCK_BOOTTIME on Linux, CLOCK_MONOTONIC on macOS.
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


class Handle(Protocol):
    """What can still be called off."""

    def cancel(self) -> None:
        """Call it off. Idempotent."""


class Clock(Protocol):
    """Three clocks: one that only goes forward, one that people set, and one that calls."""

    def steady_s(self) -> float:
        """Seconds since some moment. It never jumps, and it counts the time for which the machine sleeps."""

    def utc_s(self) -> float:
        """Seconds since the epoch. It jumps when it is set."""

    def later(self, delay_s: float, call: Callable[[], None]) -> Handle:
        """Call on the event loop after this time."""


class LoopClock:
    """The clocks of the running event loop and its machine."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def steady_s(self) -> float:
        """As Clock."""
        return time.monotonic() if _STEADY is None else time.clock_gettime(_STEADY)

    def utc_s(self) -> float:
        """As Clock."""
        return time.time()

    def later(self, delay_s: float, call: Callable[[], None]) -> Handle:
        """As Clock."""
        return self._loop.call_later(delay_s, call)
