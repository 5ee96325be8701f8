"""Small writes of one turn of the event loop, sent together at its end.

Each send wakes whoever receives, where that sleeps: among many small exchanges that costs more than the send itself. Sent one
right after another they find the receivers awake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class WriteBatch:
    """The sends that are due at the end of the event loop's present turn."""

    __slots__ = ("_due", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: list[Callable[[], None]] = []

    def schedule(self, send: Callable[[], None]) -> None:
        """Have `send` called soon, with all others of this turn. It does nothing where its piece has been sent meanwhile."""
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
