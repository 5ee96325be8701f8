"""Sends a response's body to the client, framed and metered.

Each piece is sent where it arrives, in the transport's callback, as long as client and meter keep up: no task wakes up for it.
"""

from __future__ import annotations

from typing import Final

from ..errors import ClientGone
from .call import Call
from .downstream.response_writer import ResponseWriter

_LARGE_BYTES: Final = 16 * 1024  # from here on, joining a piece and its framing costs more than sending them one by one


class ResponseBody:
    """The body of one response on its way to the client: the BodySink of an upstream connection.

    `stopped`: the client or the meter is slower, and no piece is taken where it arrives until `go_on` was awaited.
    """

    __slots__ = ("_call", "_chunked", "_downstream", "_gone", "_slow", "stopped")

    def __init__(self, call: Call, downstream: ResponseWriter, *, chunked: bool) -> None:
        self._call = call
        self._downstream = downstream
        self._chunked = chunked
        self._slow = False
        self._gone = False
        self.stopped = False

    def deadline(self, since: float) -> float | None:
        """Return the deadline (the loop's time) of the next piece, when the last one came at `since`."""
        return self._call.idle_deadline(since)

    def take(self, piece: bytes) -> bool:
        """Send a piece, then meter it; False: the next one must wait for `go_on`. Never raises."""
        call = self._call
        try:
            if self._chunked:
                self._slow = self.send(piece)
            else:
                call.exchange.bytes_down += len(piece)
                self._slow = self._downstream.pass_on(piece)
        except ClientGone:
            self._gone = True
        call.feed(piece)
        self.stopped = self._slow or self._gone or not call.meter_ready
        return not self.stopped

    def send(self, piece: bytes, head: bytes = b"", *, batched: bool = False) -> bool:
        """Send `head` and a piece of the body; True: the client is slower. Raises ClientGone."""
        downstream, chunked = self._downstream, self._chunked
        self._call.exchange.bytes_down += len(piece)
        if len(piece) < _LARGE_BYTES:
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
            return downstream.write(head + framed if head else framed, batched=batched)
        if chunked:
            return downstream.write_parts((head + b"%x\r\n" % len(piece), piece, b"\r\n"))
        return downstream.write_parts((head, piece)) if head else downstream.write(piece, batched=batched)

    async def go_on(self) -> None:
        """Wait until both the client and the meter take more. Raises ClientGone."""
        if self._gone:
            raise ClientGone
        if self._slow:
            await self._downstream.drained()
        if not self._call.meter_ready:
            await self._call.meter_drained()
        self.stopped = False
