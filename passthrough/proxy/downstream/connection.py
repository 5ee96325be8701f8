"""The client's half of an exchange: our bytes on aiohttp's connection, as they are."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter

from ...aiohttp_internals import AiohttpConnection
from ...errors import ClientGone
from ..net.fair_queue import FairQueue
from ..net.sockets import reset_on_close, unsent_bytes
from ..net.write_batch import WriteBatch
from ..prepared import HeadCache
from .body_bypass import WORTH_BYTES, BodyBypass, SharedBuffer
from .request_parser import RequestParser


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


class ClientConnection(AiohttpConnection):
    """A client's connection, as aiohttp serves it, and what is sent on it; all else comes behind `unsent`, to be sent soon."""

    __slots__ = ("_buffer", "_fair", "_turn", "head_cache", "unsent")

    def __init__(self, manager: web.Server, turn: WriteBatch, buffer: SharedBuffer, fair: FairQueue, **options: Any) -> None:
        super().__init__(manager, **options)
        self._turn = turn
        self._fair = fair
        self._buffer = buffer
        self.unsent = b""
        self.head_cache = HeadCache()
        self.begin_anew()

    def send(self, piece: bytes, *, soon: bool = False) -> None:
        """Send bytes; `soon`: with what others send at the end of the loop's turn, where that holds up nothing."""
        if soon and not (
            self.unsent or self.closes_when_idle or self.force_closed or self.queued_messages or self.writing_paused
        ):
            self.unsent = piece
            self._turn.schedule(self.send_unsent)
            return
        if self.unsent:
            self.send_unsent()
        if self.transport is not None:
            self.transport.write(piece)

    def send_parts(self, parts: tuple[bytes, ...]) -> None:
        """Send several pieces in a row, without joining them first."""
        self.send_unsent()
        if self.transport is not None:
            self.transport.writelines(parts)

    def send_unsent(self) -> None:
        """Send at once what was to be sent soon."""
        if self.unsent:
            piece, self.unsent = self.unsent, b""
            if self.transport is not None and not self.transport.is_closing():
                self.transport.write(piece)

    def bypass(self, body: StreamReader, taken: int, left: int) -> BodyBypass | None:
        """Take the connection for what is `left` of a body behind what was `taken` from its stream; None: the parser keeps it."""
        transport = self.transport
        if left < WORTH_BYTES or transport is None or transport.is_closing():
            return None
        if taken != body.total_bytes or self.reading_paused or self.buffer_paused:
            return None  # There is more in the stream, or in the parser: it would be overtaken.
        return BodyBypass(self, body, self._buffer, self._fair, left)

    def begin_anew(self) -> None:
        """Expect a request: the rest of the body, for which the old parser waits, went past it."""
        self.use_parser(RequestParser(self.new_parser))

    def data_received(self, data: bytes) -> None:
        """Take what came (asyncio calls this)."""
        if self.unsent:
            self.send_unsent()
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Hold no client's key any longer, whoever still refers to this (asyncio calls this)."""
        self.head_cache.forget()
        super().connection_lost(exc)

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """Close when what is being served has ended, or at the time-out, in seconds."""
        self.send_unsent()
        await super().shutdown(timeout)

    def close(self) -> None:
        """Close behind what is being served."""
        self.send_unsent()
        super().close()

    def force_close(self) -> None:
        """Close at once."""
        self.send_unsent()
        super().force_close()


_FLUSH_S: Final = 60.0


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
