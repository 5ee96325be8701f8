"""A document that is being downloaded: its body, decoded, bounded and within its time-outs; and the downloads' counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from ...errors import Refusal, UpstreamFailure
from ...meter.decode import Chain, Oversized
from ...meter.false_coding import Undecodable
from ..upstream.connection import Connection


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """What a download may take. Times are seconds.

    `connect_s` is for one name and its connection, `head_s` for all redirects up to the final response's head, `idle_s` between
    two pieces of the body. A host whose body comes at less than `min_rate` bytes a second, over `rate_window_s` of waiting for
    it, is too slow: the document would hold its place in memory for days.
    """

    connect_s: float = 10.0
    head_s: float = 60.0
    idle_s: float = 60.0
    min_rate: int = 4096
    rate_window_s: float = 60.0


def unreachable(message: str) -> Refusal:
    """Return the refusal of a request whose document cannot be had."""
    return Refusal("document_unreachable", message[:1].upper() + message[1:])


def too_large(max_bytes: int) -> Refusal:
    """Return the refusal of a request whose document is too large."""
    return Refusal("document_too_large", f"The document is larger than {max_bytes} bytes.")


def outcome_of(ended: BaseException) -> str:
    """Return the outcome as which a download is counted that ended so: a refusal, or a cancelled task."""
    return ended.kind.code.removeprefix("document_") if isinstance(ended, Refusal) else "cancelled"


def earliest(at: float, deadline: float | None) -> float:
    """Return the earlier of two times."""
    return at if deadline is None or at < deadline else deadline


@dataclass(slots=True)
class DownloadCounts:
    """The downloads since the process started: how many by outcome, and the bytes of all their bodies as they came.

    The outcomes are `ok` (complete), `unreachable`, `refused`, `too_large`, and `cancelled` (closed before its end).
    """

    outcomes: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("ok", "unreachable", "refused", "too_large", "cancelled"), 0)
    )
    received_bytes: int = 0


class Download:
    """The body of one response, decoded, bounded, within its time-outs; counted once, whatever ends it."""

    __slots__ = (
        "_connection",
        "_counts",
        "_deadline",
        "_decoded",
        "_decoder",
        "_has_bytes",
        "_left",
        "_limits",
        "_loop",
        "_max_bytes",
        "_outcome",
        "_waited_bytes",
        "_waited_s",
    )

    def __init__(
        self,
        connection: Connection,
        decoder: Chain | None,
        max_bytes: int,
        counts: DownloadCounts,
        *,
        limits: DownloadLimits,
        deadline: float | None,
    ) -> None:
        """`decoder` yields at most `max_bytes`. `deadline` is the loop's time, None: none."""
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._decoder = decoder
        self._decoded: Iterator[bytes] = iter(())
        self._max_bytes = self._left = max_bytes
        self._counts = counts
        self._limits = limits
        self._deadline = deadline
        self._has_bytes = False
        self._waited_s = 0.0
        self._waited_bytes = 0
        self._outcome: str | None = None

    async def piece(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises Refusal; the connection is closed then, and at the end."""
        if self._outcome == "ok":
            return b""
        try:
            piece = await self._next()
            if not (piece or self._has_bytes):
                raise unreachable("The document's host sent an empty document.")
        except Refusal as refusal:
            self.end(outcome_of(refusal))
            raise
        self._has_bytes = True
        if not piece:
            self.end("ok")
        return piece

    def end(self, outcome: str) -> None:
        """Close the connection, and count the outcome unless one was counted. Idempotent."""
        if self._outcome is None:
            self._outcome = outcome
            self._counts.outcomes[outcome] += 1
            self._connection.abort()

    async def _next(self) -> bytes:
        decoder = self._decoder
        if decoder is None:
            return await self._coded()
        while True:
            while (piece := await self._step()) is not None:
                if piece:
                    return piece
            coded = await self._coded()
            if not coded:
                if not decoder.whole:
                    raise unreachable("The document breaks off: its content coding does not end.")
                return b""
            self._decoded = decoder.pieces(coded)

    async def _step(self) -> bytes | None:
        """Return what the next step of decoding yields, made on a thread; None where more must be read."""
        try:
            return await asyncio.to_thread(next, self._decoded, None)
        except Undecodable:
            raise unreachable("The document cannot be decoded as its Content-Encoding says.") from None
        except Oversized:
            raise too_large(self._max_bytes) from None

    async def _coded(self) -> bytes:
        """Return the next bytes of the body as they came, b"" at its end."""
        while (piece := self._take()) is None:
            now = self._loop.time()
            if not await self._connection.arrived(earliest(now + self._limits.idle_s, self._deadline)):
                in_time = self._deadline is None or self._loop.time() < self._deadline
                raise unreachable("The document stopped coming." if in_time else "The document did not come in time.")
            self._waited_s += self._loop.time() - now
        self._counts.received_bytes += len(piece)
        self._left -= len(piece)
        if self._left < 0:
            raise too_large(self._max_bytes)
        if piece:
            self._check_rate(len(piece))
        return piece

    def _check_rate(self, size: int) -> None:
        """Check the rate when so long was waited as a rate is taken over: a slow reader costs the host nothing."""
        self._waited_bytes += size
        if self._waited_s >= self._limits.rate_window_s:
            if self._waited_bytes < self._limits.min_rate * self._waited_s:
                raise unreachable("The document comes too slowly.")
            self._waited_s, self._waited_bytes = 0.0, 0

    def _take(self) -> bytes | None:
        try:
            return self._connection.take()
        except UpstreamFailure as failure:
            raise unreachable(failure.message) from None


class Document(AsyncIterator[bytes]):
    """One document that is being downloaded: its first bytes have come. Close it, also after an error; that is idempotent.

    `media_type` is safe within a data URI and within JSON: lower case, without parameters. `length` is in bytes, None where the
    host did not say it, or where the body is coded; a document of known length has exactly that many bytes, or `piece` raises.
    """

    __slots__ = ("_download", "_first", "length", "media_type")

    def __init__(self, download: Download, first: bytes, media_type: str, length: int | None) -> None:
        self._download = download
        self._first = first
        self.media_type = media_type
        self.length = length

    async def piece(self) -> bytes:
        """Return the next bytes, b"" at the end. Where this is cancelled, close the document.

        Raises Refusal: document_unreachable (it broke off, stalled, or the deadline has passed), document_too_large.
        """
        if self._first:
            first, self._first = self._first, b""
            return first
        return await self._download.piece()

    def pieces(self) -> AsyncIterator[bytes]:
        """Return an iterator over what `piece` returns, without the end. It raises what `piece` raises."""
        return self

    async def __anext__(self) -> bytes:
        piece = await self.piece()
        if not piece:
            raise StopAsyncIteration
        return piece

    def close(self) -> None:
        """End the download at once."""
        self._first = b""
        self._download.end("cancelled")
