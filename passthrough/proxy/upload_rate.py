"""Whether a client sends its body too slowly, by the time in which it is read from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

WINDOW_S: Final = 60.0
"""Over how long a rate is taken."""


class UploadRate:
    """One upload's rate over a minute of reading: while the target or we are slower, the clock stands still.

    One timer watches it, whatever the number of pieces: what comes counts nothing here.
    """

    __slots__ = ("_before", "_bytes", "_loop", "_on_too_slow", "_rate", "_read_s", "_since", "_timer", "too_slow")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, rate: int | None, read: Callable[[], int], on_too_slow: Callable[[], None]
    ) -> None:
        """`rate` is in bytes a second, None: any; `read` tells how many have come; `ends` is called where it is too slow."""
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
        """Note that the client is read from, from now on."""
        self._since = self._loop.time()

    def pause(self) -> None:
        """Note that the client is not read from for now."""
        if self._since is not None:
            self._read_s += self._loop.time() - self._since
            self._since = None

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        """Judge a whole minute of reading; wait for what is missing of it."""
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
