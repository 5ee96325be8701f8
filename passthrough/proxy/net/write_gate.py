"""Whether a peer takes what is written to it, and the wait until it takes more."""

from __future__ import annotations

import asyncio

from .sockets import unsent_bytes


class WriteGate:
    """The room in one connection's write buffer. `full`: more is to be written only behind `wait`. One waits at a time."""

    __slots__ = ("_loop", "_waiter", "full")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self.full = False

    def clear(self) -> None:
        """Note that there is room again."""
        self.full = False
        self.wake()

    def wake(self) -> None:
        """Have whoever waits look again: there is room, or the connection has ended."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, transport: asyncio.Transport, idle_s: float | None) -> None:
        """Wait while it is full and the connection open; TimeoutError: the peer took nothing for `idle_s` seconds."""
        while self.full and not transport.is_closing():
            unsent = unsent_bytes(transport)
            self._waiter = self._loop.create_future()
            try:
                async with asyncio.timeout(idle_s):
                    await self._waiter
            except TimeoutError:
                if not transport.is_closing() and unsent_bytes(transport) >= unsent:
                    raise
            finally:
                self._waiter = None
