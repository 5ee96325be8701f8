"""Sends an answer's body on, framed and metered: piece by piece, where it arrives, while neither client nor meter is slower."""

from __future__ import annotations

from typing import Final

from ..errors import ClientGone
from .call import Call
from .downstream.response_writer import ResponseWriter

_LARGE_BYTES: Final = 16 * 1024  # from here on a copy costs more than to send a piece and what frames it in parts


class ResponseBody:
    """The body of one answer on its way to its client (connection.Flow).

    `stopped` tells that it does not take pieces where they arrive until `go_on` was awaited.
    """

    __slots__ = ("_call", "_chunked", "_downstream", "_gone", "_slow", "stopped")

    def __init__(self, call: Call, downstream: ResponseWriter, *, chunked: bool) -> None:
        self._call = call
        self._downstream = downstream
        self._chunked = chunked
        self._slow = False
        self._gone = False
        self.stopped = False

    def until(self, since: float) -> float | None:
        """Return the loop's time until which the next piece must have come, when the last one came at `since`."""
        return self._call.idle_until(since)

    def take(self, piece: bytes) -> bool:
        """Send a piece, and meter it behind that; False: the next one must wait for `go_on`. Never raises."""
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
        """Send a piece behind `head`; True: the client is slower. Raises ClientGone."""
        downstream, chunked = self._downstream, self._chunked
        self._call.exchange.bytes_down += len(piece)
        if len(piece) < _LARGE_BYTES:
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
            return downstream.write(head + framed if head else framed, soon=batched)
        if chunked:
            return downstream.write_parts((head + b"%x\r\n" % len(piece), piece, b"\r\n"))
        return downstream.write_parts((head, piece)) if head else downstream.write(piece, soon=batched)

    async def go_on(self) -> None:
        """Wait until client and meter take more. Raises ClientGone."""
        if self._gone:
            raise ClientGone
        if self._slow:
            await self._downstream.drained()
        if not self._call.meter_ready:
            await self._call.meter_drained()
        self.stopped = False
