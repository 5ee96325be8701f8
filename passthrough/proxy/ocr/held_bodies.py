"""The room for request bodies that are held in memory: reserved before they are read, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque


class Room:
    """Room for one body, until it is released."""

    __slots__ = ("_bodies", "size")

    def __init__(self, bodies: HeldBodies, size: int) -> None:
        self._bodies: HeldBodies | None = bodies
        self.size = size

    def shrink(self, size: int) -> None:
        """Give back what is beyond `size`: the body turned out to be smaller."""
        if self._bodies is not None and size < self.size:
            surplus, self.size = self.size - size, size
            self._bodies.give_back(surplus)

    def release(self) -> None:
        """Give all of it back. Idempotent."""
        if self._bodies is not None:
            bodies, self._bodies = self._bodies, None
            bodies.give_back(self.size)


class HeldBodies:
    """The bytes that all held bodies of one process may have together. Every method is called on the event loop.

    A body's room is reserved whole, before it is read: bodies that grow side by side would wait for each other without end.
    """

    __slots__ = ("_taken", "_waiting", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` is changed by `resize` (a reload): what is taken stays taken."""
        self.max_bytes = max_bytes
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def resize(self, max_bytes: int) -> None:
        """Change the bound; where there is more room now, those that wait for it go on."""
        self.max_bytes = max_bytes
        self._admit()

    @property
    def taken(self) -> int:
        """The bytes that are reserved now."""
        return self._taken

    def take_at_once(self, size: int) -> Room | None:
        """Return room for `size` bytes, None where it is short, or others wait for it."""
        if self._waiting or self._taken + size > self.max_bytes:
            return None
        self._taken += size
        return Room(self, size)

    async def reserve(self, size: int, timeout_s: float | None) -> Room:
        """Wait for room, behind all who wait already. Raises TimeoutError. Who waits must hold no room."""
        room = self.take_at_once(size)
        if room is not None:
            return room
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (size, turn)
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # Its turn came together with the time-out, or the client's end.
                self.give_back(size)
            elif waiter in self._waiting:  # `_admit` drops one that is cancelled, when it comes to it.
                self._waiting.remove(waiter)
                self._admit()  # It may have stood before smaller ones.
            raise
        return Room(self, size)

    def give_back(self, size: int) -> None:
        """Take back what was reserved, and let those go on that have waited for it (a Room calls this)."""
        self._taken -= size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._taken + self._waiting[0][0] <= self.max_bytes:
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._taken += size
                turn.set_result(None)
