"""One client's connection as aiohttp serves it, and the bytes that are sent on it, as they are."""

from __future__ import annotations

from typing import Any

from aiohttp import StreamReader, web

from ...aiohttp_internals import AiohttpConnection
from ..net.fair_queue import FairQueue
from ..net.write_batch import WriteBatch
from ..prepared import HeadCache
from .body_bypass import WORTH_BYTES, BodyBypass, SharedBuffer
from .request_parser import RequestParser


class ClientConnection(AiohttpConnection):
    """The protocol of a client's connection: our parser in aiohttp's server, and writes that may be batched.

    `unsent` holds a piece that waits for the end of the event loop iteration. Whatever else is sent goes behind it.
    """

    __slots__ = ("_batch", "_buffer", "_fair", "head_cache", "unsent")

    def __init__(self, manager: web.Server, batch: WriteBatch, buffer: SharedBuffer, fair: FairQueue, **options: Any) -> None:
        super().__init__(manager, **options)
        self._batch = batch
        self._fair = fair
        self._buffer = buffer
        self.unsent = b""
        self.head_cache = HeadCache()
        self.expect_request()

    def send(self, piece: bytes, *, batched: bool = False) -> None:
        """Send bytes; `batched`: together with what others send in this loop iteration, where that delays nothing."""
        if batched and not (
            self.unsent or self.closes_when_idle or self.force_closed or self.queued_messages or self.writing_paused
        ):
            self.unsent = piece
            self._batch.schedule(self.send_unsent)
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
        """Send at once what waits for the end of the loop iteration."""
        if self.unsent:
            piece, self.unsent = self.unsent, b""
            if self.transport is not None and not self.transport.is_closing():
                self.transport.write(piece)

    def bypass(self, body: StreamReader, taken: int, left: int) -> BodyBypass | None:
        """Take the connection for the `left` bytes of a body behind the `taken` ones; None: the parser keeps it."""
        transport = self.transport
        if left < WORTH_BYTES or transport is None or transport.is_closing():
            return None
        if taken != body.total_bytes or self.reading_paused or self.buffer_paused:
            return None  # The stream, or the parser, holds more of the body: the bypass would overtake it.
        return BodyBypass(self, body, self._buffer, self._fair, left)

    def expect_request(self) -> None:
        """Start with a new parser: the old one still waits for the rest of a body, which went past it."""
        self.use_parser(RequestParser(self.new_parser, self._is_encrypted))

    def _is_encrypted(self) -> bool:
        return self.transport is not None and self.transport.get_extra_info("sslcontext") is not None

    def data_received(self, data: bytes) -> None:
        """Parse what came (asyncio calls this)."""
        if self.unsent:
            self.send_unsent()
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Drop the cached head, and the client key in it, even while something refers to this object (asyncio calls this)."""
        self.head_cache.forget()
        super().connection_lost(exc)

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """Close when the current request has ended, or at the time-out, in seconds."""
        self.send_unsent()
        await super().shutdown(timeout)

    def close(self) -> None:
        """Close behind the current request."""
        self.send_unsent()
        super().close()

    def force_close(self) -> None:
        """Close at once."""
        self.send_unsent()
        super().force_close()
