"""Brings a small plain body to its reader when somebody wants to know what is in it, and not piece by piece where it passes."""

from __future__ import annotations

from typing import Final

from .tap import Reader
from .usage import Unmetered

SMALL_BYTES: Final = 8192
"""What is no larger is held until it is read."""


class AtOnce:
    """The way of one body of a known length to its reader (tap.Tap)."""

    __slots__ = ("_left_bytes", "_pieces", "_reader", "failure")

    busy = False
    """Whether the reader is being used by another thread."""

    decoded = True
    """Whether the coded bytes so far end where they may end."""

    def __init__(self, reader: Reader) -> None:
        self.failure: Unmetered | None = None
        self._reader = reader
        self._pieces: list[bytes] = []
        self._left_bytes = SMALL_BYTES

    def refuse(self, why: Unmetered) -> None:
        """Ignore all bytes from now on, because of `why`."""
        self.failure = why
        self._pieces.clear()

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes of the body; there is always room."""
        if self.failure is None:
            self._left_bytes -= len(chunk)
            if self._left_bytes < 0:
                self.refuse(Unmetered.TOO_LARGE)
            else:
                self._pieces.append(chunk)
        return True

    def settle(self) -> None:
        """Read what was fed, to its end."""
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        at = 0
        while at < len(body):
            at = self._reader.feed(body, at)

    async def drained(self) -> None:
        """Wait for nothing: there is room."""

    async def rest(self) -> None:
        """Wait for nothing: no other thread reads."""
