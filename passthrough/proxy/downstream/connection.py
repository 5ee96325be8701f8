"""The client's half of an exchange: our bytes on aiohttp's connection, as they are."""

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
