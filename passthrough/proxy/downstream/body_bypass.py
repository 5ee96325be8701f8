"""Reads the rest of a large request body, of known length, past aiohttp's parser into one shared buffer.

Copies are the cost of a large body: the loop makes one, the parser another, the joining of pieces a third. Here the bytes go
from the kernel into a buffer that all connections share, and are consumed there at once. No byte after the body's end is ever
read here: those are the parser's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

from aiohttp import StreamReader

from ..net.fair_queue import FairQueue

PIECE_BYTES: Final = 256 * 1024
"""How much is read at once: half of it costs a sixth more of CPU time, for more wake-ups, and twice of it gains nothing."""

WORTH_BYTES: Final = 128 * 1024
"""Below this, changing the protocol costs what it saves."""


class SharedBuffer:
    """The buffer that all bypassed bodies are read into, one piece at a time: between two pieces it holds nothing."""

    __slots__ = ("bytes", "view")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Leave the buffer to a write that still needs it, and allocate another one."""
        self.bytes = bytearray(PIECE_BYTES)
        self.view = memoryview(self.bytes)


Take = Callable[[SharedBuffer, int], bool]
"""Consumes that many bytes from the buffer's begin, at once; never raises. False: no more for now."""


class Owner(Protocol):
    """The connection's protocol before and after the bypass."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """The connection's transport."""

    def expect_request(self) -> None:
        """Expect the next request: the body has ended."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note the end of the connection."""

    def eof_received(self) -> None:
        """Note that the client has closed its side."""

    def pause_writing(self) -> None:
        """Note that the client is slower than the proxy."""

    def resume_writing(self) -> None:
        """Note that the client has caught up."""


class BodyBypass(asyncio.BufferedProtocol):
    """The protocol of a client connection while the rest of one body is read: `left` bytes of it have not been read yet.

    It begins paused, reads during `deliver`, and after `detach` feeds the body's stream as the parser would have done: there
    aiohttp discards what was not read of a body.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_fair",
        "_loop",
        "_lost",
        "_owner",
        "_paused",
        "_piece_s",
        "_take",
        "_transport",
        "_waiter",
        "left",
    )  # fmt: skip

    def __init__(self, owner: Owner, body: StreamReader, buffer: SharedBuffer, fair: FairQueue, left: int) -> None:
        """`left` is how much of the body the parser has not passed to its stream; `fair` is the queue of the whole event loop."""
        assert owner.transport is not None
        self.left = left
        self._owner = owner
        self._body = body
        self._buffer = buffer
        self._fair = fair
        self._transport = owner.transport
        self._loop = asyncio.get_running_loop()
        self._take: Take | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = True
        self._lost = False
        self._piece_s = 0.0
        self._set_protocol(self)
        self._transport.pause_reading()

    def _set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        # Reading is paused for the change: uvloop 0.23 goes on reading for the old protocol, whatever the new one is.
        self._transport.pause_reading()
        self._transport.set_protocol(protocol)
        self._transport.resume_reading()

    # ── for the request body ──

    async def deliver(self, take: Take, idle_s: float | None) -> None:
        """Read, and call `take` with what comes, until it wants no more for now, or until the body's end.

        Raises TimeoutError where nothing comes for `idle_s`, and ConnectionError where the connection has ended.
        """
        self._take = take
        self._piece_s = self._loop.time()
        self._go_on()
        while not self._paused:
            self._waiter = self._loop.create_future()
            try:
                async with asyncio.timeout_at(None if idle_s is None else self._piece_s + idle_s):
                    await self._waiter
            except TimeoutError:
                if idle_s is None or self._loop.time() - self._piece_s >= idle_s:
                    raise
            finally:
                self._waiter = None
        if self._lost:
            raise ConnectionResetError

    def detach(self) -> None:
        """From now on feed what comes to the body's stream. Idempotent."""
        self._take = None
        if self._paused:
            self._go_on()

    def _go_on(self) -> None:
        self._paused = self._lost or not self.left
        if not self._paused:
            self._transport.resume_reading()

    def _pause(self) -> None:
        self._paused = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ── for the transport ──

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer to read into, never larger than the rest of the body (asyncio calls this)."""
        view = self._buffer.view
        return view if self.left >= PIECE_BYTES else view[: self.left]

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what was read (asyncio calls this)."""
        self.left -= nbytes
        self._piece_s = self._loop.time()
        wanted = True
        if self._take is None:
            self._body.feed_data(bytes(self._buffer.view[:nbytes]))
        else:
            wanted = self._take(self._buffer, nbytes)
        more = self._fair.spend(nbytes)
        if not self.left:
            self._end()
        elif not wanted:
            self._transport.pause_reading()
            self._pause()
        elif not more:
            self._transport.pause_reading()
            self._fair.wait(self._resume_in_turn)

    def _resume_in_turn(self) -> None:
        """Read on, where the bypass has not ended meanwhile."""
        if self.left and not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def _end(self) -> None:
        """Return the connection to its owner, for the next request."""
        self._owner.expect_request()
        self._set_protocol(cast(asyncio.BaseProtocol, self._owner))
        self._body.feed_eof()
        self._pause()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on (asyncio calls this)."""
        self._lost = True
        self._pause()
        self._owner.connection_lost(exc)

    def eof_received(self) -> None:
        """Pass it on (asyncio calls this)."""
        self._owner.eof_received()

    def pause_writing(self) -> None:
        """Pass it on (asyncio calls this)."""
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on (asyncio calls this)."""
        self._owner.resume_writing()
