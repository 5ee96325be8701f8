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


class Sent(web.StreamResponse):
    """What aiohttp's server gets back when the answer is already on the wire: whether the connection lives on.

    aiohttp's own responses add Content-Type and Server, drop Content-Length from a 304 and bytes that are not UTF-8.
    """

    def __init__(self, *, keeps_alive: bool) -> None:
        super().__init__()
        self._keeps_alive = keeps_alive

    @property
    def keep_alive(self) -> bool:
        """Whether the connection lives on (aiohttp's server asks this)."""
        return self._keeps_alive

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send nothing: the head has been sent."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Send nothing: the body has been sent."""


class ResponseWriter:
    """One request's client. `started` tells whether a byte of an answer was sent to it."""

    __slots__ = ("_client", "_follows", "_idle_s", "_request", "started")

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._client = cast(ClientConnection, request.protocol)
        self._idle_s: float | None = None
        self._follows = self._client.request_count > 1
        self.started = False

    @property
    def head_cache(self) -> HeadCache:
        """The last head of this client's connection, and what it came to."""
        return self._client.head_cache

    @property
    def body(self) -> StreamReader:
        """The request's body, as it comes."""
        return self._request.content

    def bypass(self, taken: int, left: int) -> BodyBypass | None:
        """Return the way past the parser for what is `left` of the body behind what was `taken` of it; None: there is none."""
        return self._client.bypass(self._request.content, taken, left)

    def expect_within(self, idle_s: float | None) -> None:
        """Give up on a client that takes nothing for so long."""
        self._idle_s = idle_s

    def write(self, piece: bytes, *, soon: bool = False) -> bool:
        """Send bytes of the answer; True: the client is slower than we, and `drained` is to be awaited. Raises ClientGone.

        `soon`: with what others send at the end of the loop's turn, where that holds up nothing.
        """
        self.started = True
        client = self._open()
        client.send(piece, soon=soon)
        return client.writing_paused

    def pass_on(self, piece: bytes) -> bool:
        """Send more of an answer that has begun, as `write` does, in fewer calls (see connection.Connection.data_received)."""
        client = self._client
        transport = client.transport
        if client.unsent or transport is None or transport.is_closing():
            return self.write(piece)
        transport.write(piece)
        return client.writing_paused

    def write_parts(self, parts: tuple[bytes, ...]) -> bool:
        """Send several pieces in a row, as `write` does, without joining them first."""
        self.started = True
        client = self._open()
        client.send_parts(parts)
        return client.writing_paused

    def invite(self) -> None:
        """Send 100 Continue: local checks have passed, the body is wanted (RFC 9110 §10.1.1). Raises ClientGone."""
        self._open().send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _open(self) -> ClientConnection:
        transport = self._client.transport
        if transport is None or transport.is_closing():
            raise ClientGone
        return self._client

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
        """End an answer that only the connection's end delimits; the client may still be heard for a while (RFC 9112 §9.6).

        Else a client whose upload is not over yet would wait for that end as long as the connection lingers.
        """
        transport = self._request.transport
        if transport is not None and transport.can_write_eof():
            transport.write_eof()

    def abort(self, *, shows: bool = False) -> None:
        """Break the connection, so that nobody takes what was sent for a whole answer: a reset, never a clean end.

        Only where this answer's framing itself `shows` that it is not whole, and an earlier one went before it, is the connection
        closed in order: a reset would take from a slow client what was complete.
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
