"""The body of one OCR request as it comes from its client: timed, counted, decoded, scanned, and kept while it may be needed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Final, Protocol

from aiohttp import StreamReader
from aiohttp.web import RequestPayloadError

from ...errors import ClientGone, Refusal
from ...exchange import Exchange
from ..net.fair_queue import FairQueue
from ..request_head import RequestHead
from ..routes import Route
from ..transform.inflate import BodyInflater
from ..upload_rate import WINDOW_S, UploadRate

_SLOW_HINT: Final = "Send the body faster."


class Scan(Protocol):
    """Reads the decoded body as it passes."""

    def feed(self, piece: bytes) -> int:
        """Read the next bytes; return the work that it was, for `FairQueue.spend`. Raises Refusal."""
        ...

    def end(self) -> None:
        """End the body. Raises Refusal."""
        ...


class ClientBody:
    """Reads each byte once, in order; `kept` are the decoded bytes from the first on, until `drop` is called.

    A piece is kept before anything is awaited: a reader that is cancelled loses nothing, and another one goes on from there.
    """

    __slots__ = (
        "_body",
        "_exchange",
        "_fair",
        "_idle",
        "_inflater",
        "_inflating",
        "_loop",
        "_rate",
        "_replaced",
        "_route",
        "_scan",
        "ended",
        "head",
        "is_whole",
        "kept",
        "kept_bytes",
    )

    def __init__(
        self,
        exchange: Exchange,
        head: RequestHead,
        route: Route,
        body: StreamReader,
        scan: Scan,
        fair: FairQueue,
        inflater: BodyInflater | None,
    ) -> None:
        """`inflater` undoes the body's Content-Encoding, None without one."""
        self._exchange = exchange
        self.head = head
        self._route = route
        self._body = body
        self._scan = scan
        self._fair = fair
        self._inflater = inflater
        self._loop = asyncio.get_running_loop()
        self._rate: UploadRate | None = None
        self._idle: asyncio.Timeout | None = None
        self._inflating: AsyncIterator[bytes] | None = None
        self._replaced = False
        self.kept: deque[bytes] = deque()
        self.kept_bytes = 0
        self.is_whole = True
        """Whether `kept` has all that has come so far."""
        self.ended = False
        """Whether the last byte has come."""

    @property
    def length(self) -> int | None:
        """The decoded body's length; None where it is not known before the end, or not kept then."""
        if self.is_plain:
            return self.head.length
        return self.kept_bytes if self.ended and self.is_whole else None

    @property
    def is_plain(self) -> bool:
        """Whether the bytes on the wire are the body's, and their number was declared."""
        return self._inflater is None and self.head.length is not None and not self._replaced

    @property
    def taken(self) -> int:
        """How many bytes of a plain body have come."""
        return self._exchange.bytes_up

    @property
    def left(self) -> int:
        """How many bytes of a plain body are still to come."""
        return (self.head.length or 0) - self._exchange.bytes_up

    async def read(self) -> bytes:
        """Return the next piece, scanned and kept; b"" at the end.

        Raises Refusal (body_too_large, slow_request, bad_request) and ClientGone.
        """
        while not self.ended:
            piece = await self._decoded()
            if piece is None:
                continue
            if not piece or (self.is_plain and not self.left):
                self._end()
            if piece:
                await self._scanned(piece)
            if self.ended:
                self._scan.end()
            if piece:
                return piece
        return b""

    async def _decoded(self) -> bytes | None:
        """Return the next decoded bytes, b"" at the end; None where the bytes that came yield nothing more."""
        if self._inflater is None:
            return await self._next()
        if self._inflating is None:
            coded = await self._next()
            if not coded:
                return b""
            self._inflating = self._inflater.pieces(coded)
        piece = await anext(self._inflating, None)  # One by one: few bytes can stand for many, which must have room first.
        if piece is None:
            self._inflating = None
        return piece

    async def _scanned(self, piece: bytes) -> None:
        self.keep(piece)
        work = self._scan.feed(piece)
        if not self.ended and not self._fair.spend(work):
            await self._fair.turn()

    def keep(self, piece: bytes) -> None:
        """Keep a piece, unless the body has been dropped."""
        if self.is_whole:
            self.kept.append(piece)
            self.kept_bytes += len(piece)

    def drop(self) -> None:
        """Keep nothing more from now on: what `kept` has is for one reader, who takes it out."""
        self.is_whole = False

    def count(self, size: int) -> None:
        """Count bytes on the wire. Raises Refusal (body_too_large)."""
        self._exchange.bytes_up += size
        if self._exchange.bytes_up > self._route.max_body_bytes:
            raise Refusal("body_too_large", f"The body is larger than {self._route.max_body_bytes} bytes.", closes=True)

    async def _next(self) -> bytes:
        """Return the next bytes on the wire, b"" at the end."""
        body = self._body
        if body.is_eof():
            piece = b"" if body.at_eof() else body.read_nowait()
        else:
            piece = await self._awaited()
        self.count(len(piece))
        return piece

    async def _awaited(self) -> bytes:
        idle_s = self._route.timeouts.idle_s
        rate = self.watch_rate()
        try:
            async with asyncio.timeout(idle_s) as self._idle:
                rate.resume()
                return await self._body.readany()
        except TimeoutError:
            raise self.slow(idle_s) from None
        except RequestPayloadError:
            raise Refusal("bad_request", "The body's chunks are malformed.", closes=True) from None
        except ConnectionError:
            raise ClientGone from None
        finally:
            rate.pause()
            self._idle = None

    def slow(self, idle_s: float | None) -> Refusal:
        """Return the refusal of a client that sends too slowly."""
        if self._rate is not None and self._rate.too_slow:
            why = f"Less than {self._route.min_upload_rate} bytes a second of the body came over {WINDOW_S:g} s."
            return Refusal("slow_request", why, hint=_SLOW_HINT, closes=True)
        return Refusal("slow_request", f"Nothing of the body came for {idle_s:g} s.", closes=True)

    def watch_rate(self) -> UploadRate:
        """Return the watch of the client's rate, which ends a wait for the client."""
        if self._rate is None:
            self._rate = UploadRate(self._loop, self._route.min_upload_rate, lambda: self._exchange.bytes_up, self._on_too_slow)
        return self._rate

    def ends_by(self, waiting: asyncio.Timeout | None) -> None:
        """Let a client that is slower than the route's rate end this wait: of the one that reads past this body."""
        self._idle = waiting

    def _on_too_slow(self) -> None:
        if self._idle is not None and not self._idle.expired():
            self._idle.reschedule(self._loop.time())

    def _end(self) -> None:
        """Note the end. Raises ClientGone where the connection ended before the declared length had come."""
        if self.head.length is not None and self._exchange.bytes_up != self.head.length:
            raise ClientGone
        self.ended = True
        if self._inflater is not None:
            self._inflater.end()

    def end_bypassed(self) -> None:
        """Note that the rest has passed by the bypass: counted and scanned."""
        self._end()
        self._scan.end()

    def close(self) -> None:
        """Drop everything, and stop watching."""
        self.is_whole = False
        self.kept.clear()
        if self._rate is not None:
            self._rate.close()
            self._rate = None

    def replace_whole(self, body: bytes) -> None:
        """Let a body that has come whole be this one from now on: the JSON that a form stands for."""
        self.kept = deque([body])
        self.kept_bytes = len(body)
        self._replaced = True
