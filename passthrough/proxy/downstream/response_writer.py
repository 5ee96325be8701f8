"""Writes one request's response on its client's connection: our bytes, as they are."""

from __future__ import annotations

import asyncio
from typing import Final, cast

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter

from ...errors import ClientGone
from ..net.sockets import reset_on_close, unsent_bytes
from ..prepared import HeadCache
from .body_bypass import BodyBypass
from .connection import ClientConnection

_FLUSH_S: Final = 60.0
"""How long a client may take the bytes that precede a broken response, on a route without an idle time-out."""


class Sent(web.StreamResponse):
    """The response that aiohttp's server gets when ours is on the wire already: it only says whether the connection persists.

    aiohttp's own responses add Content-Type and Server, drop Content-Length from a 304 and bytes that are not UTF-8.
    """

    def __init__(self, *, keeps_alive: bool) -> None:
        super().__init__()
        self._keeps_alive = keeps_alive

    @property
    def keep_alive(self) -> bool:
        """Whether the connection persists (aiohttp's server asks this)."""
        return self._keeps_alive

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send nothing: the head has been sent."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Send nothing: the body has been sent."""


class ResponseWriter:
    """The client's side of one exchange. `started` says whether a byte of a response was sent."""

    __slots__ = ("_connection", "_follows", "_idle_s", "_request", "started")

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._connection = cast(ClientConnection, request.protocol)
        self._idle_s: float | None = None
        self._follows = self._connection.request_count > 1
        self.started = False

    @property
    def head_cache(self) -> HeadCache:
        """The last head on this client connection, and the prepared request that it led to."""
        return self._connection.head_cache

    @property
    def body(self) -> StreamReader:
        """The request's body, as it comes."""
        return self._request.content

    def bypass(self, taken: int, left: int) -> BodyBypass | None:
        """Return the bypass around the parser for the `left` bytes of the body behind the `taken` ones; None: there is none."""
        return self._connection.bypass(self._request.content, taken, left)

    def expect_within(self, idle_s: float | None) -> None:
        """Set the idle time-out: a client that takes nothing for this long is given up."""
        self._idle_s = idle_s

    def write(self, piece: bytes, *, batched: bool = False) -> bool:
        """Send bytes of the response; True: the client is slower than we, await `drained`. Raises ClientGone.

        `batched`: together with what others send in this loop iteration, where that delays nothing.
        """
        self.started = True
        connection = self._open()
        connection.send(piece, batched=batched)
        return connection.writing_paused

    def pass_on(self, piece: bytes) -> bool:
        """Send more of a response that has begun, as `write` does, in fewer calls (see connection.Connection.data_received)."""
        connection = self._connection
        transport = connection.transport
        if connection.unsent or transport is None or transport.is_closing():
            return self.write(piece)
        transport.write(piece)
        return connection.writing_paused

    def write_parts(self, parts: tuple[bytes, ...]) -> bool:
        """Send several pieces in a row, as `write` does, without joining them first."""
        self.started = True
        connection = self._open()
        connection.send_parts(parts)
        return connection.writing_paused

    def invite(self) -> None:
        """Send 100 Continue: local checks have passed, the body is wanted (RFC 9110 §10.1.1). Raises ClientGone."""
        self._open().send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _open(self) -> ClientConnection:
        transport = self._connection.transport
        if transport is None or transport.is_closing():
            raise ClientGone
        return self._connection

    async def drained(self) -> None:
        """Wait while the client is slower than we, as long as it takes anything within the idle time-out. Raises ClientGone."""
        # In a task: aiohttp 3.14 keeps the future of a cancelled `drain` and would hand it to the next one.
        draining = asyncio.ensure_future(self._request.writer.drain())
        try:
            while True:
                unsent = unsent_bytes(self._request.transport)
                await asyncio.wait({draining}, timeout=self._idle_s)
                if draining.done():
                    return draining.result()
                if unsent_bytes(self._request.transport) >= unsent:
                    self.abort()
                    raise ClientGone
        except ConnectionError:
            raise ClientGone from None
        finally:
            draining.cancel()

    def finish(self) -> None:
        """End a response that only the connection's end delimits; the client may still send for a while (RFC 9112 §9.6).

        Otherwise a client that still uploads would wait for that end as long as the connection lingers.
        """
        transport = self._request.transport
        if transport is not None and transport.can_write_eof():
            transport.write_eof()

    def abort(self, *, shows: bool = False) -> None:
        """Break the connection, so that no client takes a part for the whole response: a reset, never a clean end.

        Only where the response's framing `shows` that it is incomplete, and an earlier response went before it, is the connection
        closed in order: a reset would take the complete earlier one from a slow client.
        """
        transport = self._request.transport
        if transport is None:
            return
        if shows and self._follows:
            transport.close()
            asyncio.get_running_loop().call_later(self._idle_s or _FLUSH_S, transport.abort)
            return
        reset_on_close(transport)
        transport.abort()
