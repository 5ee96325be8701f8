"""Watches the rate at which a client sends its body, over the time in which the proxy reads from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

WINDOW_S: Final = 60.0
"""The time over which a rate is taken."""


class UploadRate:
    """One upload's rate over a minute of reading. While the target or the proxy is slower, the clock stands still.

    One timer reads the upload's byte count: the pieces themselves cost nothing here.
    """

    __slots__ = ("_before", "_bytes", "_loop", "_on_too_slow", "_rate", "_read_s", "_since", "_timer", "too_slow")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, rate: int | None, read: Callable[[], int], on_too_slow: Callable[[], None]
    ) -> None:
        """`rate` is the minimum in bytes a second, None for none. `read` returns the byte count.

        `on_too_slow` ends the wait for the client. It is called when the client was too slow, and at each `resume` after that: a
        piece that comes in the same turn of the event loop ends that wait first.
        """
        self._loop = loop
        self._rate = rate
        self._bytes = read
        self._on_too_slow = on_too_slow
        self._before = 0
        self._read_s = 0.0
        self._since: float | None = None
        self._timer = None if rate is None else loop.call_later(WINDOW_S, self._check)
        self.too_slow = False

    def resume(self) -> None:
        """Let the clock run: the client is read from."""
        self._since = self._loop.time()
        if self.too_slow:
            self._on_too_slow()

    def pause(self) -> None:
        """Stop the clock: the client is not read from for now."""
        if self._since is not None:
            self._read_s += self._loop.time() - self._since
            self._since = None

    def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        """Check the rate when a whole minute was read; else wait for the rest of the minute."""
        assert self._rate is not None
        if self._since is not None:
            self.pause()
            self.resume()
        left_s = WINDOW_S - self._read_s
        if left_s <= 0.0:
            received = self._bytes() - self._before
            if received < self._rate * self._read_s:
                self.too_slow = True
                self._on_too_slow()
                return
            self._before += received
            self._read_s = 0.0
            left_s = WINDOW_S
        self._timer = self._loop.call_later(left_s, self._check)
