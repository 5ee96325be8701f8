"""One HTTP/1.1 connection to a target: strict about what it reads, and never reused when in doubt.

Why not aiohttp's client: it sends idempotent requests again by itself, hands surplus bytes of one response to the next request
on the connection (aio-libs/aiohttp #13656), accepts framing that can be read in two ways, drops Content-Length from a 304 and
does not notice a short body. A proxy must do none of that, and none of it can be switched off.

The states of a connection, and what ends them; the response itself is read by parser.ResponseParser:

    IDLE ── begin() ──▶ BUSY ── finish(), after a whole response ──▶ IDLE
      │                   │
      └─ any input ──▶ CLOSED ◀─ malformed response, close before its end

Waiting is separate from taking: `take` and `take_response_head` return what has come and never wait; `arrived` waits and takes
nothing. So a cancelled wait loses no byte, and another task can go on where the first one stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, Protocol, cast

from ...errors import Reason, UpstreamFailure
from ..net.deadline import DeadlineTimer
from ..net.fair_queue import FairQueue
from ..net.sockets import input_probe, unread_input
from ..net.tls import alert_reason
from ..net.write_batch import WriteBatch
from ..net.write_gate import WriteGate
from .parser import ResponseParser
from .response_head import MalformedResponse, ResponseHead, idle_hint_s

_HIGH_WATER: Final = 256 * 1024
_LOW_WATER: Final = 64 * 1024
_UNSENT_BYTES: Final = 64 * 1024
_COPIED_BYTES: Final = 64 * 1024


_CHUNK_WORK: Final = 1024
"""The cost of reading one chunk's framing, counted as bytes forwarded."""


class BodySink(Protocol):
    """Consumes a body where it arrives, in the transport's callback, while its task waits."""

    @property
    def stopped(self) -> bool:
        """Whether it takes nothing until its task has resumed it."""
        ...

    def take(self, piece: bytes) -> bool:
        """Take a piece; False: it has stopped. Never raises."""
        ...

    def deadline(self, since: float) -> float | None:
        """Return the deadline (the loop's time) of the next piece, when the last one came at `since`."""
        ...


class State(Enum):
    """Where a connection stands between two requests."""

    IDLE = auto()
    BUSY = auto()
    CLOSED = auto()


_IDLE, _BUSY, _CLOSED = State.IDLE, State.BUSY, State.CLOSED  # before Python 3.12 an enum's look-up is slow


class Connection(asyncio.Protocol):
    """The asyncio protocol of one connection. Only `take`, `take_response_head` and `drain` raise: UpstreamFailure."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, name: str, write_batch: WriteBatch | None = None, fair: FairQueue | None = None
    ) -> None:
        """`name` is the target's name in messages. `write_batch` sends what is written `batched`; None: that is sent at once.

        `fair` is the queue of the whole event loop in which large bodies wait for their turn. The pool sets `opened_at` (the
        loop's time) and `round_trip_s`.
        """
        self._loop = loop
        self._write_batch = write_batch
        self.fair = FairQueue(loop) if fair is None else fair
        self._queued = False
        self._unsent = b""
        self._name = name
        self._transport: asyncio.Transport | None = None
        self._state = _IDLE
        self._failure: tuple[str, str, Reason | None] | None = None
        self._arrival: asyncio.Future[bool] | None = None
        self._deadline: float | None = None
        self._timer = DeadlineTimer(loop)
        self._has_input: Callable[[], bool] | None = None
        self._sink: BodySink | None = None
        self._sink_fed_at: float | None = None
        self._write_gate = WriteGate(loop)
        self._reading_paused = False
        self._ended_cleanly = False
        self.has_responded = False
        self.was_kept = False
        self.opened_at = self.round_trip_s = 0.0
        self.idle_hint_s: float | None = None
        self._parser = ResponseParser("GET")

    # ── open, busy, idle, closed ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this)."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods, not by its class
        self._transport.set_write_buffer_limits(_UNSENT_BYTES)  # Under TLS it would be 512 KB.

    def begin(self, method: str) -> bool:
        """Begin an exchange with a request of this method; its head is to be written next.

        False: the target has ended the connection, or sent something first. Then nothing of the request is sent.
        """
        self._parser = ResponseParser(method)
        self.has_responded = False
        if self._state is _IDLE and self._transport is not None and not self._transport.is_closing():
            self._state = _BUSY
            return True
        self._fail_unsent()
        return False

    def finish(self) -> bool:
        """End an exchange whose request and response are both complete; tell whether the connection may serve another."""
        response, transport = self._parser.head, self._transport
        whole = self._state is _BUSY and self._parser.ended and not self._unsent
        reusable = whole and transport is not None and not transport.is_closing() and response is not None and response.persists
        if not reusable or response is None:
            self.abort()
            return False
        self._parser = ResponseParser("GET")
        self.was_kept = True
        hint = response.values.get(b"keep-alive")
        self.idle_hint_s = None if hint is None else idle_hint_s(hint)
        self._state = _IDLE
        self._resume_reading()  # A paused idle connection would stall the next response, and hide a close.
        return True

    def is_reusable(self, *, probe: bool = True) -> bool:
        """Tell whether an idle connection can be used: it is open, and no unexpected input has come.

        Input in the kernel's buffer counts: it is the target's close, or part of a response to another request. Without `probe`
        the kernel is asked only right before the request is sent, which must then be written `batched`.
        """
        transport = self._transport
        if self._state is not _IDLE or transport is None or transport.is_closing():
            return False
        if self._has_input is None:
            self._has_input = input_probe(transport)
        return not (probe and self._has_input())

    def abort(self) -> None:
        """Close the connection at once, and wake the waiter, which then fails. Idempotent."""
        if self._failure is None:
            self._failure = ("upstream_broke", f"The connection to {self._name} was given up.", None)
        self._state = _CLOSED
        self._unsent = b""
        self._parser.drop()
        if self._transport is not None:
            self._transport.abort()
        self._timer.cancel()
        self._wake()

    def eof_received(self) -> None:
        """Note a clean end by the target (asyncio calls this); under TLS that is its closure alert alone (RFC 9112 §9.8)."""
        self._ended_cleanly = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end (asyncio calls this): it completes a close-delimited body, and is a failure in any other response."""
        if exc is not None and self._state is _BUSY and self._transport is not None:
            self._read_unread(self._transport)
        while self._state is _BUSY and self._parser.unread:
            self._read(b"")
        if self._state is _IDLE:
            self._state = _CLOSED
        elif self._state is _BUSY and not self._parser.ended and not (self._ended_cleanly and self._parser.close()):
            has_head = self._parser.head is not None
            reason = Reason.CLOSED_WITHIN if has_head else Reason.CLOSED_UNANSWERED
            when = "in the middle of its response" if has_head else "before it responded"
            if isinstance(exc, ConnectionResetError | BrokenPipeError):
                reason = Reason.RESET
            elif exc is not None and alert_reason(exc) is Reason.CLIENT_CERTIFICATE:
                reason = Reason.CLIENT_CERTIFICATE
            self._fail("upstream_broke", f"{self._name} closed the connection {when}.", reason)
        self._transport = None
        self._timer.cancel()
        self._write_gate.wake()
        self._wake()

    def _read_unread(self, transport: asyncio.Transport) -> None:
        """Read what came before a write failed: a target that refuses an upload responds, then closes during the upload."""
        if transport.get_extra_info("sslcontext") is None:  # Else the TLS guard has done so: see net.tls.
            for piece in unread_input(transport):
                self.data_received(piece)

    def _fail(self, code: str, message: str, reason: Reason) -> None:
        if self._failure is None:
            self._failure = (code, message, reason)
        self._state = _CLOSED
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            code, message, reason = self._failure
            raise UpstreamFailure(code, message, why=reason)

    # ── the request ──

    def write(self, piece: bytes | memoryview, *, batched: bool = False) -> None:
        """Send bytes of the request; they are dropped where the connection has ended (reading the response raises why).

        `batched`: at the end of the event loop iteration, together with other connections' writes; no other write may follow
        before that.
        """
        if batched and self._write_batch is not None and not self._unsent:
            self._unsent = bytes(piece)
            self._write_batch.schedule(self._send_unsent)
            return
        self._send_unsent()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(piece)

    @property
    def has_unsent(self) -> bool:
        """Whether a batched write has not been sent, or not yet."""
        return bool(self._unsent)

    @property
    def unsent(self) -> bytes:
        """A batched write that was not sent, for the target ended the connection, or sent something, before that."""
        return self._unsent if self._failure is not None else b""

    def _send_unsent(self) -> None:
        transport = self._transport
        if not self._unsent or transport is None or transport.is_closing():
            return
        if self._has_input is not None and self._has_input():
            self._fail_unsent()
            return
        piece, self._unsent = self._unsent, b""
        transport.write(piece)

    def _fail_unsent(self) -> None:
        message = f"{self._name} ended the connection, or sent something, before a request was sent."
        self._fail("upstream_unreachable", message, Reason.CLOSED_UNSENT)

    def write_view(self, piece: memoryview) -> bool:
        """Send bytes of a buffer without a copy; False: the buffer must not change, for not all of it was sent.

        A few bytes are copied, so that they never hold a large buffer.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return True
        if len(piece) < _COPIED_BYTES:
            transport.write(bytes(piece))
            return True
        transport.write(piece)
        return not transport.get_write_buffer_size()

    @property
    def full(self) -> bool:
        """Whether the write buffer is full, for the target is slower."""
        return self._write_gate.full

    @property
    def writable(self) -> bool:
        """Whether `drain` would neither wait nor raise."""
        return not self._write_gate.full and self._transport is not None and not self._transport.is_closing()

    async def drain(self, idle_s: float | None = None) -> None:
        """Wait until the target takes more, as long as it takes anything within `idle_s`.

        Raises UpstreamFailure: upstream_timeout, or what broke the connection where that ended without a response.
        """
        transport = self._transport
        if transport is not None and not transport.is_closing():
            try:
                await self._write_gate.wait(transport, idle_s)
            except TimeoutError:
                why = f"{self._name} took nothing of the body for {idle_s:g} s."
                raise UpstreamFailure("upstream_timeout", why, why=Reason.UPLOAD_TIMEOUT) from None
            if not transport.is_closing():
                return
        if self._parser.head is None:
            self._raise_failure()

    def pause_writing(self) -> None:
        """Note that the target is slower than the proxy (asyncio calls this)."""
        self._write_gate.full = True

    def resume_writing(self) -> None:
        """Note that the target has caught up (asyncio calls this)."""
        self._write_gate.clear()

    # ── the response ──

    def take_response_head(self) -> ResponseHead | None:
        """Return the final head, None where it has not come yet. Raises UpstreamFailure where none will come."""
        if self._parser.head is None:
            self._raise_failure()
        return self._parser.head

    def take(self) -> bytes | None:
        """Return the next bytes of the body, small pieces joined; b"" at its end; None where more must be awaited.

        What came before the connection broke is returned first; then UpstreamFailure is raised.
        """
        piece = self._parser.take()
        if piece is None:
            self._raise_failure()
            return b"" if self._parser.ended else None
        if self._reading_paused and self._parser.buffered <= _LOW_WATER:
            self._resume_reading()
        return piece

    @property
    def ready(self) -> bool:
        """Whether `take` returns or raises something at once."""
        parser = self._parser
        return parser.ended or parser.buffered > 0 or self._failure is not None or self._state is _CLOSED

    async def arrived(self, deadline: float | None = None, sink: BodySink | None = None) -> bool:
        """Wait until `take_response_head` or `take` has something new; one task waits at a time.

        False: nothing came until the deadline (the loop's time). What comes of the body meanwhile is given to `sink`; the wait
        also ends when that stops.
        """
        if self.ready:
            return True
        if self._reading_paused:
            self._resume_reading()
        if deadline is not None and deadline <= self._loop.time():
            return False
        arrival: asyncio.Future[bool] = self._loop.create_future()
        self._arrival = arrival
        self._sink, self._sink_fed_at = sink, None
        self._deadline = deadline
        if deadline is not None:
            self._timer.set(deadline, self._on_deadline)
        try:
            return await arrival
        finally:
            if self._arrival is arrival:  # A cancelled waiter ends late: the next one may already wait.
                self._arrival = self._sink = None

    def _wake(self, *, early: bool = True) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(early)

    def _on_deadline(self) -> float | None:
        """End the wait where its deadline has passed; else return the deadline, None where there is none."""
        if self._sink is not None and self._sink_fed_at is not None:
            self._deadline = self._sink.deadline(self._sink_fed_at)
        if self._arrival is None or self._deadline is None:
            return None
        if self._deadline <= self._loop.time():
            self._wake(early=False)
            return None
        return self._deadline

    def data_received(self, data: bytes) -> None:
        """Read what came (asyncio calls this). The middle of a body of known length goes to the sink without a look."""
        self.has_responded = True
        sink = self._sink
        if self._state is _BUSY:
            if self._unsent:
                self._fail_unsent()
            elif sink is not None and self._parser.skip(len(data)):
                # There is nothing to parse. After a copy of so many bytes the caches are cold, and each call costs microseconds.
                self._spend(len(data))
                if sink.take(data):
                    self._sink_fed_at = self._loop.time()
                    return
                self._sink = None
            else:
                self._read(data)
                if sink is not None and self._deliver(sink):
                    return
        elif self._state is _IDLE:
            self._state = _CLOSED
            self._drop_surplus()
        self._wake()

    def _read(self, data: bytes) -> None:
        try:
            surplus = self._parser.feed(data)
        except MalformedResponse as bad:
            self._fail("bad_upstream_answer", f"{self._name} sent {bad}.", Reason.MALFORMED)
            return
        parser = self._parser
        if surplus:
            self._drop_surplus()
        elif parser.in_body:
            self._spend(len(data) + parser.chunk_count * _CHUNK_WORK)
            if parser.buffered > _HIGH_WATER:
                self._pause_reading()

    def _drop_surplus(self) -> None:
        """Close a connection whose target sent more than one response: no request owns the surplus (RFC 9112 §6.3)."""
        if self._transport is not None:
            self._transport.abort()

    def _deliver(self, sink: BodySink) -> bool:
        """Give what came to `sink`; True: it takes more, and its task need not wake up."""
        while self._failure is None and (piece := self._parser.next()) is not None:
            if not sink.take(piece):
                self._sink = None
                return False
        if self._state is not _BUSY or not self._parser.in_body:
            return False
        self._sink_fed_at = self._loop.time()
        if self._reading_paused:
            self._queue()
        return True

    def _spend(self, work: int) -> None:
        """Count work for a body that is not complete; where that was too much, reading goes on when its turn comes."""
        if not self.fair.spend(work) or self._parser.unread:
            self._queue()

    def _queue(self) -> None:
        self._pause_reading()
        if not self._queued:
            self._queued = True
            self.fair.wait(self._resume_in_turn)

    def _resume_in_turn(self) -> None:
        """Go on where a task waits for more; else the task that takes the buffered pieces resumes reading."""
        self._queued = False
        if self._state is _BUSY:
            if self._arrival is None or self._parser.buffered > _HIGH_WATER:
                return
            if self._parser.unread:
                self.data_received(b"")
        if not self._queued:
            self._resume_reading()

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._reading_paused = True

    def _resume_reading(self) -> None:
        if self._queued:
            return  # Its turn comes.
        if self._state is _BUSY and self._parser.unread:
            self._queue()
            return
        if self._reading_paused and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._reading_paused = False
