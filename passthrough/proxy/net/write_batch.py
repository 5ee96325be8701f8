"""Batches small socket writes so that all of one event loop iteration go out together at its end.

Each send wakes a receiver that sleeps: among many small exchanges that costs more than the send itself. When they are sent one
right after another, the receivers are awake already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class WriteBatch:
    """The sends that are due at the end of the current event loop iteration."""

    __slots__ = ("_due", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: list[Callable[[], None]] = []

    def schedule(self, send: Callable[[], None]) -> None:
        """Call `send` at the end of this iteration. It must do nothing where its piece has been sent meanwhile."""
        if not self._due:
            self._loop.call_soon(self._send)
        self._due.append(send)

    def _send(self) -> None:
        due, self._due = self._due, []
        for send in due:
            try:
                send()
            except Exception as defect:  # noqa: BLE001 - one connection's defect must not keep back what others have to send
                self._loop.call_exception_handler({"message": "A piece could not be sent.", "exception": defect})
