"""Resolves the names that clients choose: each look-up on a thread of its own, a bounded number at once, and none remembered.

The resolver of targets keeps each name's addresses, and a thread for a look-up that hangs: names are few there. Here a client
could make them as many as it likes.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Final

from ..upstream.resolver import AddressInfo, LookUp, ip_addresses

MAX_AT_ONCE: Final = 32
"""How many look-ups run at once. A name whose servers hang takes half a minute of one (resolv.conf: 5 s, two times, three
servers); meanwhile the others serve."""


class NameLookUps:
    """The look-ups of one process. Every method is called on the event loop."""

    def __init__(self, look_up: LookUp) -> None:
        """`look_up` is called with a name, on threads."""
        self._loop = asyncio.get_running_loop()
        self._look_up = look_up
        self._free = asyncio.Semaphore(MAX_AT_ONCE)

    async def addresses(self, host: str, port: int) -> list[AddressInfo]:
        """Return the addresses of a name as they are now; none where it is not resolved."""
        await self._free.acquire()
        result: asyncio.Future[list[AddressInfo]] = self._loop.create_future()
        try:
            # A daemon: the end of the process does not wait for it.
            threading.Thread(target=self._ask, args=(host, port, result), name="resolve-document", daemon=True).start()
        except RuntimeError:  # No thread can be started.
            self._ended(result, [])
        return await result

    def _ask(self, host: str, port: int, result: asyncio.Future[list[AddressInfo]]) -> None:
        """Look a name up, on a thread, and pass the result to the event loop."""
        try:
            found = ip_addresses(self._look_up(host, None, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):  # UnicodeError: not a possible DNS name
            found = []
        addresses: list[AddressInfo] = [(family, kind, proto, "", (at[0], port, *at[2:])) for family, kind, proto, _, at in found]
        with suppress(RuntimeError):  # The loop has been closed meanwhile.
            self._loop.call_soon_threadsafe(self._ended, result, addresses)

    def _ended(self, result: asyncio.Future[list[AddressInfo]], addresses: list[AddressInfo]) -> None:
        self._free.release()
        if not result.done():  # Else its task was cancelled.
            result.set_result(addresses)
