"""One try's request body on its way: what is held of it, then the rest as it comes from the client, with its splices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from ...errors import ClientGone, Refusal
from ...meter.request import AnyRequestMeter, ScannedRequest
from ..downstream.body_bypass import BodyBypass, SharedBuffer
from ..request_head import RequestHead
from ..transform.request_scan import RequestScan
from ..transform.splices import Part, Slot, Splices
from ..upstream.connection import Connection
from .client_body import ClientBody
from .form_request import FormFile
from .held_document import HeldDocument


class SplicedUpload:
    """The body of one call. Only a body that came whole is ended on the connection: its declared length says so."""

    __slots__ = (
        "_body",
        "_connection",
        "_document",
        "_ended",
        "_idle_s",
        "_in_document",
        "_scan",
        "_splices",
        "_target_is_slower",
        "request_meter",
    )

    def __init__(
        self,
        body: ClientBody,
        scan: RequestScan,
        splices: Splices,
        connection: Connection,
        document: HeldDocument | FormFile | None,
        request_meter: ScannedRequest,
        idle_s: float | None,
    ) -> None:
        """`document` comes where the splices say so, in base64."""
        self._body = body
        self._scan = scan
        self._splices = splices
        self._connection = connection
        self._document = document
        self._idle_s = idle_s
        self._ended = self._in_document = self._target_is_slower = False
        self.request_meter: AnyRequestMeter | None = request_meter

    @property
    def head(self) -> RequestHead:
        """The head of the client's request."""
        return self._body.head

    @property
    def complete(self) -> bool:
        """Whether its last byte was written to the connection."""
        return self._ended

    def late(self) -> Refusal | None:
        """Return the refusal of whom the upload waits for, where that is the client or the document's host."""
        if self._ended or self._target_is_slower:
            return None
        if self._in_document:
            return Refusal("document_unreachable", "The document did not come within the deployment's time-out.", closes=True)
        return Refusal("slow_request", "The body did not come within the deployment's time-out.", closes=True)

    async def _drain(self) -> None:
        """Wait while the target is slower."""
        self._target_is_slower = True
        await self._connection.drain(self._idle_s)
        self._target_is_slower = False

    def send_whole(self, request_head: bytes, *, batched: bool) -> None:
        """Send the head and a small body that is held whole, without a document, in one piece.

        `batched`: see Connection.write.
        """
        parts = [part for piece in self._body.kept for part in self._splices.feed(piece)]
        self._connection.write(b"".join([request_head, *_without_slots(parts), self._splices.end()]), batched=batched)
        self._ended = True

    async def stream(self, bypass: Callable[[int, int], BodyBypass | None]) -> None:
        """Send what is held, then the rest as it comes; `bypass` is as in RequestBody.

        Raises Refusal (of the client's body, or of the document), ClientGone, and UpstreamFailure where the target takes nothing
        more. In none of these cases is the body ended on the connection.
        """
        body = self._body
        if body.is_whole:
            for piece in list(body.kept):
                await self._pass(piece)
        else:
            while body.kept:
                await self._pass(body.kept.popleft())
        while not body.ended:
            rest = None if body.is_whole or not body.is_plain else bypass(body.taken, body.left)
            if rest is not None:
                await self._stream_bypass(rest)
                break
            if piece := await body.read():
                await self._pass(piece)
        self._connection.write(self._splices.end())
        self._ended = True
        await self._drain()

    async def _pass(self, piece: bytes) -> None:
        """Send a piece with its splices; wait while the target is slower."""
        for part in self._splices.feed(piece):
            if isinstance(part, Slot):
                assert self._document is not None
                self._in_document = True
                async for coded in self._document.base64():
                    self._connection.write(coded)
                    await self._drain()
                self._in_document = False
            else:
                self._connection.write(part)
        await self._drain()

    async def _stream_bypass(self, rest: BodyBypass) -> None:
        """Send the rest of a plain body past the parser, as RequestBody does, but scanned and spliced."""
        body, connection, scan, splices = self._body, self._connection, self._scan, self._splices
        refused: list[Refusal] = []

        def take(buffer: SharedBuffer, size: int) -> bool:
            try:
                body.count(size)
                is_scanned = scan.peek(buffer.bytes, size)
                if is_scanned and splices.passes(size):
                    if not connection.write_view(buffer.view[:size]):
                        buffer.renew()
                else:
                    piece = bytes(buffer.view[:size])
                    if not is_scanned:
                        scan.feed(piece)
                    for part in _without_slots(splices.feed(piece)):  # The document's URL passed before the first byte went up.
                        connection.write(part)
            except Refusal as refusal:
                refused.append(refusal)
                return False
            return connection.writable

        rate = body.watch_rate()
        try:
            async with asyncio.timeout(None) as waiting:
                body.ends_by(waiting)
                while rest.left and not refused:
                    rate.resume()
                    await rest.deliver(take, self._idle_s)
                    rate.pause()
                    if not refused:
                        await self._drain()
        except TimeoutError:
            raise body.slow(self._idle_s) from None
        except ConnectionError:
            raise ClientGone from None
        finally:
            body.ends_by(None)
            rate.pause()
            rest.detach()
        if refused:
            raise refused[0]
        body.end_bypassed()


def _without_slots(parts: list[Part | Slot]) -> Iterator[Part]:
    for part in parts:
        assert not isinstance(part, Slot)
        yield part
