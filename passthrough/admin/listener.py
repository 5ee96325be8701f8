"""The connections of the admin port: a bounded number of them, none of which waits for ever."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from ..aiohttp_internals import AiohttpConnection

KEEP_ALIVE_S: Final = 75.0
"""How long a connection may wait for a request's first byte, as on the traffic port."""

HEAD_S: Final = 20.0
"""How long a request's head may take from its first byte to its last, as on the traffic port."""

TAKEN_S: Final = 60.0
"""How long a client may take to read an answer."""

MAX_CONNECTIONS: Final = 64
"""How many connections there may be: their descriptors are kept back from the traffic, and no more than these."""

_TOO_MANY: Final = b"\r\n".join(
    [b"HTTP/1.1 503 Service Unavailable", b"Retry-After: 1", b"Content-Length: 0", b"Connection: close", b"", b""]
)


class AdminListener:
    """The factory of connections to one application's server."""

    def __init__(self, server: web.Server, most: int = MAX_CONNECTIONS) -> None:
        self.server = server
        self.most = most

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return _Protocol(self, loop=asyncio.get_running_loop(), access_log=None, keepalive_timeout=KEEP_ALIVE_S)

    def make_room(self, newcomer: web.RequestHandler) -> bool:
        """For a newcomer, close the connection that has been silent for longest; False: each of them has asked something."""
        silent = [
            each for each in self.server.connections if each is not newcomer and isinstance(each, _Protocol) and each.is_silent
        ]
        if not silent:
            return False
        min(silent, key=lambda each: each.silent_since).force_close()
        return True


class _Protocol(AiohttpConnection):
    """One connection."""

    __slots__ = ("_late", "_listener", "silent_since")

    def __init__(self, listener: AdminListener, **options: Any) -> None:
        super().__init__(listener.server, **options)
        self._listener = listener
        self._late: asyncio.TimerHandle | None = None
        self.silent_since = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether it waits for a request of which no byte has come, and is not being closed."""
        return self._awaits_request() and self._late is None and not self.force_closed

    def _awaits_request(self) -> bool:
        return self.request_waiter is not None and not self.request_waiter.done()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve where there is room (asyncio calls this)."""
        super().connection_made(transport)
        self.silent_since = asyncio.get_running_loop().time()
        open_ = sum(not each.force_closed for each in self._listener.server.connections if isinstance(each, _Protocol))
        if open_ > self._listener.most and not self._listener.make_room(self):
            assert self.transport is not None
            self.transport.write(_TOO_MANY)
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the deadline (asyncio calls this)."""
        self._expect_head(False)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came, and give a head that has begun its time (asyncio calls this)."""
        super().data_received(data)
        self._expect_head(self._awaits_request() and bool(data))

    def _expect_head(self, expected: bool) -> None:
        if not expected and self._late is not None:
            self._late.cancel()
            self._late = None
        elif expected and self._late is None:
            self._late = asyncio.get_running_loop().call_later(HEAD_S, self.force_close)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer, within its time."""
        try:
            async with asyncio.timeout(TAKEN_S):
                return await super().finish_response(request, resp, start_time)
        except TimeoutError:
            self.force_close()
            return resp, True
        finally:
            self.silent_since = asyncio.get_running_loop().time()
