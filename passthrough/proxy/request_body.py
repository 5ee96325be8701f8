"""Sends a request's body to the target: counted, bounded, timed, and never ended on the connection unless it is complete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import StreamReader
from aiohttp.web import RequestPayloadError

from ..errors import ClientGone, Refusal
from ..exchange import Exchange
from ..meter.request import AnyRequestMeter, RequestMeter
from .downstream.body_bypass import BodyBypass, SharedBuffer
from .replay_buffer import ReplayBuffer
from .request_head import RequestHead
from .routes import Route
from .upload_rate import WINDOW_S, UploadRate
from .upstream.connection import Connection

_CHUNKED_WORK: Final = 512 * 1024
"""The work that a piece of a chunked body counts as: it holds up to 2048 chunks (aiohttp 3.14), and each takes microseconds."""


_SLOW_HINT: Final = "Send the body faster, or lower the route's 'min_upload_rate' (none: any)."


class RequestBody:
    """The body of one request, on its way from the client to the target."""

    __slots__ = ("_connection", "_ended", "_exchange", "_replay", "_route", "_written", "head", "request_meter")

    def __init__(
        self,
        exchange: Exchange,
        head: RequestHead,
        route: Route,
        connection: Connection,
        replay: ReplayBuffer | None = None,
        *,
        request_meter: AnyRequestMeter | None = None,
    ) -> None:
        """`replay` keeps the body, where the route may send it again; `request_meter` reads from it what the request asks for."""
        self.request_meter = request_meter
        self._replay = replay
        self._exchange = exchange
        self.head = head
        self._route = route
        self._connection = connection
        self._ended = False
        self._written = 0

    @property
    def complete(self) -> bool:
        """Whether its last byte was written to the connection, whose write buffer is not full.

        `stream` may not have returned yet, for it waits for its turn after the last piece too. A client that leaves meanwhile has
        sent a complete request.
        """
        return self._ended or (self._written == self.head.length and not self._connection.full)

    async def send_whole(self, request_head: bytes, body: bytes, *, batched: bool) -> None:
        """Send the head and a body that is in memory, in one piece. Raises Refusal (body_too_large).

        `batched`: see Connection.write.
        """
        self._count(body)
        end = b"0\r\n\r\n" if self.head.chunked else b""
        self._connection.write(request_head + self._framed(body) + end, batched=batched)
        self._ended = True
        if self._replay is not None:  # After the write: what the target sent during a wait before it would pass for the response.
            await self._replay.keep(body)

    async def stream(
        self, body: StreamReader, request_meter: RequestMeter | None, bypass: Callable[[int, int], BodyBypass | None]
    ) -> None:
        """Send the body as it comes, and feed it to the meter. `bypass` returns the BodyBypass for the rest of a long one.

        Raises Refusal (body_too_large, slow_request, bad_request), ClientGone where the client's connection ended too early, and
        UpstreamFailure where the target takes nothing more. In none of these cases is the body ended on the connection.
        """
        idle_s = self._route.timeouts.idle_s
        rest: BodyBypass | None = None
        rate: UploadRate | None = None
        fair = self._connection.fair
        try:
            async with asyncio.timeout(idle_s) as idle:
                loop = asyncio.get_running_loop()
                rate = self._rate(loop, idle)
                rate.resume()
                while piece := await body.readany():
                    idle.reschedule(None)  # While the target is slower, the client's time-out does not run.
                    rate.pause()
                    self._count(piece)
                    if self._replay is not None:
                        await self._replay.keep(piece)
                    elif self.head.length is not None:
                        rest = bypass(self._exchange.bytes_up, self.head.length - self._exchange.bytes_up)
                    self._write(piece)
                    # After the write, which metering must not delay.
                    if request_meter is not None and not request_meter.feed(piece):
                        await request_meter.drained()
                    await self._connection.drain(idle_s)
                    if not fair.spend(_CHUNKED_WORK if self.head.chunked else len(piece)):
                        await fair.turn()
                    if rest is not None:
                        await self._stream_bypass(rest, rate, request_meter, idle_s)
                        break
                    idle.reschedule(None if idle_s is None else loop.time() + idle_s)
                    rate.resume()
        except TimeoutError:
            if rate is not None and rate.too_slow:
                why = f"Less than {self._route.min_upload_rate} bytes a second of the body came over {WINDOW_S:g} s."
                raise Refusal("slow_request", why, hint=_SLOW_HINT, closes=True) from None
            raise Refusal("slow_request", f"Nothing of the body came for {idle_s:g} s.", closes=True) from None
        except RequestPayloadError:
            raise Refusal("bad_request", "The body's chunks are malformed.", closes=True) from None
        except ConnectionError:
            raise ClientGone from None
        finally:
            if rate is not None:
                rate.close()
            if rest is not None:
                rest.detach()
        if self.head.length is not None and self._exchange.bytes_up != self.head.length:
            raise ClientGone
        if self.head.chunked:
            self._connection.write(b"0\r\n\r\n")
        self._ended = True

    def _rate(self, loop: asyncio.AbstractEventLoop, idle: asyncio.Timeout) -> UploadRate:
        """Return the watch of the client's rate; it ends the upload by means of this time-out."""
        return UploadRate(
            loop,
            self._route.min_upload_rate,
            lambda: self._exchange.bytes_up,
            lambda: None if idle.expired() else idle.reschedule(loop.time()),
        )

    async def _stream_bypass(
        self, rest: BodyBypass, rate: UploadRate, request_meter: RequestMeter | None, idle_s: float | None
    ) -> None:
        """Send the rest of a body whose length is known to be allowed. Raises as `stream` and BodyBypass.deliver do."""

        def take(buffer: SharedBuffer, size: int) -> bool:
            self._exchange.bytes_up += size
            piece = buffer.view[:size]
            left = self._connection.write_view(piece)
            self._written += size
            wanted = request_meter is None or request_meter.peek(buffer.bytes, size) or request_meter.feed(bytes(piece))
            if not left:
                buffer.renew()
            return wanted and self._connection.writable

        while rest.left:
            rate.resume()
            await rest.deliver(take, idle_s)
            rate.pause()
            if request_meter is not None:
                await request_meter.drained()
            await self._connection.drain(idle_s)

    async def resend(self, request_head: bytes, request_meter: RequestMeter | None = None) -> None:
        """Send head and body again, from the replay buffer, and feed the body to a meter that has not read it before.

        Raises UpstreamFailure where the target takes nothing more.
        """
        assert self._replay is not None
        self._connection.write(request_head)
        async for piece in self._replay.pieces():
            self._connection.write(self._framed(piece))
            if request_meter is not None and not request_meter.feed(piece):
                await request_meter.drained()
            await self._connection.drain(self._route.timeouts.idle_s)
        if self.head.chunked:
            self._connection.write(b"0\r\n\r\n")
        self._ended = True

    def _write(self, piece: bytes) -> None:
        self._connection.write(self._framed(piece))
        self._written += len(piece)

    def _framed(self, piece: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self.head.chunked and piece else piece

    def _count(self, piece: bytes) -> None:
        self._exchange.bytes_up += len(piece)
        if self._exchange.bytes_up > self._route.max_body_bytes:
            raise Refusal("body_too_large", f"The body is larger than {self._route.max_body_bytes} bytes.", closes=True)
