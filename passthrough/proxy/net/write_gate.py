"""Flow control of writes: whether the peer keeps up, and the wait until it does."""

from __future__ import annotations

import asyncio

from .sockets import unsent_bytes


class WriteGate:
    """The write gate of one connection. `full`: its write buffer is full, so `wait` before more. One task waits at a time."""

    __slots__ = ("_loop", "_waiter", "full")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self.full = False

    def clear(self) -> None:
        """Note that the write buffer has emptied, and wake the waiter."""
        self.full = False
        self.wake()

    def wake(self) -> None:
        """Wake the waiter: the write buffer has emptied, or the connection has ended."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, transport: asyncio.Transport, idle_s: float | None) -> None:
        """Wait while the gate is full and the connection open. Raises TimeoutError where the peer took nothing for `idle_s` s."""
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
