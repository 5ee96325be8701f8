"""The connections of the admin port: their number is bounded, and each wait of one has a deadline."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from ..aiohttp_internals import AiohttpConnection

KEEP_ALIVE_S: Final = 75.0
"""How long a connection may wait for a request's first byte, as on the traffic port."""

HEAD_S: Final = 20.0
"""How long a request's head may take from its first byte to its last, as on the traffic port."""

RESPONSE_READ_S: Final = 60.0
"""How long a client may take to read a response."""

MAX_CONNECTIONS: Final = 64
"""How many connections there may be: this many descriptors are kept back from the traffic."""

_TOO_MANY: Final = b"\r\n".join(
    [b"HTTP/1.1 503 Service Unavailable", b"Retry-After: 1", b"Content-Length: 0", b"Connection: close", b"", b""]
)


class AdminListener:
    """The factory of connections to one application's server, at most `max_connections` at once."""

    def __init__(self, server: web.Server, max_connections: int = MAX_CONNECTIONS) -> None:
        self.server = server
        self.max_connections = max_connections

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return _Protocol(self, loop=asyncio.get_running_loop(), access_log=None, keepalive_timeout=KEEP_ALIVE_S)

    def evict_idle(self, newcomer: web.RequestHandler) -> bool:
        """Close the connection that has been idle for longest, in favour of a new one; False where none is idle."""
        idle = [each for each in self.server.connections if each is not newcomer and isinstance(each, _Protocol) and each.is_idle]
        if not idle:
            return False
        min(idle, key=lambda each: each.idle_since).force_close()
        return True


class _Protocol(AiohttpConnection):
    """One connection of the admin port."""

    __slots__ = ("_head_deadline", "_listener", "idle_since")

    def __init__(self, listener: AdminListener, **options: Any) -> None:
        super().__init__(listener.server, **options)
        self._listener = listener
        self._head_deadline: asyncio.TimerHandle | None = None
        self.idle_since = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request of which no byte has come, and is not being closed."""
        return self._awaits_request() and self._head_deadline is None and not self.force_closed

    def _awaits_request(self) -> bool:
        return self.request_waiter is not None and not self.request_waiter.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, or respond 503 where there are too many connections (asyncio calls this)."""
        super().connection_made(transport)
        self.idle_since = asyncio.get_running_loop().time()
        open_ = sum(not each.force_closed for each in self._listener.server.connections if isinstance(each, _Protocol))
        if open_ > self._listener.max_connections and not self._listener.evict_idle(self):
            assert self.transport is not None
            self.transport.write(_TOO_MANY)
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel the deadline (asyncio calls this)."""
        self._expect_head(False)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read bytes, and start the deadline of a head that has begun (asyncio calls this)."""
        super().data_received(data)
        self._expect_head(self._awaits_request() and bool(data))

    def _expect_head(self, expected: bool) -> None:
        if not expected and self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None
        elif expected and self._head_deadline is None:
            self._head_deadline = asyncio.get_running_loop().call_later(HEAD_S, self.force_close)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response before its deadline (aiohttp calls this)."""
        try:
            async with asyncio.timeout(RESPONSE_READ_S):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            self.force_close()
            return resp, True
        finally:
            self.idle_since = asyncio.get_running_loop().time()
