"""One HTTP/1.1 connection to a target: strict about what it reads, and never reused when in doubt.

Why not aiohttp's client: it sends idempotent requests again by itself, hands surplus bytes of one answer to the next request
on the connection (aio-libs/aiohttp #13656), accepts framing that can be read in two ways, drops Content-Length from a 304 and
does not notice a short body. Each of these is a rule of the road that cannot be bent from outside.

The life of a connection, as states and what ends them; what is read of an answer meanwhile is incoming.Incoming's:

    IDLE ── begin() ──▶ BUSY ── finish(), behind a whole answer ──▶ IDLE
      │                   │
      └─ any input ──▶ CLOSED ◀─ bad answer, close before its end

Waiting is separate from taking: `take_*` return what has come and never wait, `arrived()` waits and takes nothing. So a
cancelled wait loses no byte, and another task can go on where the first one stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, Protocol, cast

from ...errors import UpstreamFailure
from ..net.deadline import DeadlineTimer
from ..net.fair_queue import FairQueue
from ..net.sockets import input_probe, unread_input
from ..net.write_batch import WriteBatch
from ..net.write_gate import WriteGate
from .parser import ResponseParser
from .response_head import MalformedResponse, ResponseHead, idle_hint_s

_HIGH_WATER: Final = 256 * 1024
_LOW_WATER: Final = 64 * 1024
_UNSENT_BYTES: Final = 64 * 1024
_COPIED_BYTES: Final = 64 * 1024


_CHUNK_WORK: Final = 1024
"""What it costs to read one chunk's framing, as bytes that pass through."""


class BodySink(Protocol):
    """What takes a body where it arrives, while its task waits."""

    @property
    def stopped(self) -> bool:
        """Whether it takes nothing until its task has gone on."""
        ...

    def take(self, piece: bytes) -> bool:
        """Take a piece; False: it has stopped. Never raises."""
        ...

    def until(self, since: float) -> float | None:
        """Return the loop's time until which the next piece must have come, when the last one came at `since`."""
        ...


class State(Enum):
    """Where a connection stands between two requests."""

    IDLE = auto()
    BUSY = auto()
    CLOSED = auto()


_IDLE, _BUSY, _CLOSED = State.IDLE, State.BUSY, State.CLOSED  # before Python 3.12 an enum's look-up is dear


class Connection(asyncio.Protocol):
    """The protocol of one connection. It raises nothing but UpstreamFailure, and that only from `take_*` and `drain`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, name: str, write_batch: WriteBatch | None = None, fair: FairQueue | None = None
    ) -> None:
        """`name` is what messages call the target; `turn` sends what is written `soon`, which without one is sent at once.

        `fair` is where large bodies wait for their turn, one for the whole loop. Whoever opens it says when that was (the loop's
        time), and how long the way to the target and back took.
        """
        self._loop = loop
        self._write_batch = write_batch
        self.fair = FairQueue(loop) if fair is None else fair
        self._queued = False
        self._unsent = b""
        self._name = name
        self._transport: asyncio.Transport | None = None
        self._state = _IDLE
        self._failure: tuple[str, str] | None = None
        self._arrival: asyncio.Future[bool] | None = None
        self._until: float | None = None
        self._deadline = DeadlineTimer(loop)
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

    # ── the life of it ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this)."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods, not by its class
        self._transport.set_write_buffer_limits(_UNSENT_BYTES)  # Under TLS it would be 512 KB.

    def begin(self, method: str) -> bool:
        """Start an exchange with a request of this method; the head comes next, by `write`.

        False: the target has ended the connection, or spoken first. Nothing of a request was sent then, nor will be.
        """
        self._parser = ResponseParser(method)
        self.has_responded = False
        if self._state is _IDLE and self._transport is not None and not self._transport.is_closing():
            self._state = _BUSY
            return True
        self._fail_unsent()
        return False

    def finish(self) -> bool:
        """End an exchange whose request and answer are both complete; tell whether the connection may serve another."""
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
        self._resume_reading()  # A paused idle connection would stall the next answer, and hide a close.
        return True

    def is_reusable(self, *, probe: bool = True) -> bool:
        """Tell whether an idle connection can be used: still open, and not one byte of input that nobody asked for.

        Input that still lies in the kernel counts: it is either the target's close or somebody else's answer. Without `looks` it
        is looked for only before a request is sent, which must then be written `soon`.
        """
        transport = self._transport
        if self._state is not _IDLE or transport is None or transport.is_closing():
            return False
        if self._has_input is None:
            self._has_input = input_probe(transport)
        return not (probe and self._has_input())

    def abort(self) -> None:
        """Close the connection at once; whoever still waits for an answer is told so. Idempotent."""
        if self._failure is None:
            self._failure = ("upstream_broke", f"The connection to {self._name} was given up.")
        self._state = _CLOSED
        self._unsent = b""
        self._parser.drop()
        if self._transport is not None:
            self._transport.abort()
        self._deadline.cancel()
        self._wake()

    def eof_received(self) -> None:
        """Note that the target itself ended (asyncio calls this); under TLS only its alert does that, no cut (RFC 9112 §9.8)."""
        self._ended_cleanly = True

    def connection_lost(self, exc: Exception | None) -> None:
        """Note how the connection ended (asyncio calls this): right for a close-delimited body, wrong for all else."""
        if exc is not None and self._state is _BUSY and self._transport is not None:
            self._read_unread(self._transport)
        while self._state is _BUSY and self._parser.unread:
            self._read(b"")
        if self._state is _IDLE:
            self._state = _CLOSED
        elif self._state is _BUSY and not self._parser.ended and not (self._ended_cleanly and self._parser.close()):
            when = "before it answered" if self._parser.head is None else "in the middle of its answer"
            self._fail("upstream_broke", f"{self._name} closed the connection {when}.")
        self._transport = None
        self._deadline.cancel()
        self._write_gate.wake()
        self._wake()

    def _read_unread(self, transport: asyncio.Transport) -> None:
        """Read what came before a write failed: a target that refuses an upload answers, and closes under it."""
        if transport.get_extra_info("sslcontext") is None:  # Else the layer below has done so: see tls.
            for piece in unread_input(transport):
                self.data_received(piece)

    def _fail(self, code: str, message: str) -> None:
        if self._failure is None:
            self._failure = (code, message)
        self._state = _CLOSED
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise UpstreamFailure(*self._failure)

    # ── the request ──

    def write(self, piece: bytes, *, batched: bool = False) -> None:
        """Send bytes of the request; they are dropped where the connection has ended (the answer's side tells why).

        `soon`: with what others send at the end of the loop's turn; nothing is to follow before that.
        """
        if batched and self._write_batch is not None and not self._unsent:
            self._unsent = piece
            self._write_batch.schedule(self._send_unsent)
            return
        self._send_unsent()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(piece)

    @property
    def unsent(self) -> bytes:
        """What was to be sent soon and never will be: the target has ended the connection, or spoken, before that."""
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
        self._fail("upstream_unreachable", f"{self._name} ended the connection, or spoke, before a request was sent.")

    def write_view(self, piece: memoryview) -> bool:
        """Send bytes out of a buffer, as `write` does; False: it must stay as it is, for not all of it has left.

        A few bytes never hold a large buffer: they are copied.
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
        """Whether it holds much back of what was written, for the target is slower."""
        return self._write_gate.full

    @property
    def writable(self) -> bool:
        """Whether `drain` would neither wait nor raise."""
        return not self._write_gate.full and self._transport is not None and not self._transport.is_closing()

    async def drain(self, idle_s: float | None = None) -> None:
        """Wait until the target takes more, as long as it takes anything within `idle_s`.

        Raises UpstreamFailure: upstream_timeout, or what broke the connection when that ends without an answer.
        """
        transport = self._transport
        if transport is not None and not transport.is_closing():
            try:
                await self._write_gate.wait(transport, idle_s)
            except TimeoutError:
                why = f"{self._name} took nothing of the body for {idle_s:g} s."
                raise UpstreamFailure("upstream_timeout", why) from None
            if not transport.is_closing():
                return
        if self._parser.head is None:
            self._raise_failure()

    def pause_writing(self) -> None:
        """Note that the target is slower than we (asyncio calls this)."""
        self._write_gate.full = True

    def resume_writing(self) -> None:
        """Note that the target has caught up (asyncio calls this)."""
        self._write_gate.clear()

    # ── the answer ──

    def take_response_head(self) -> ResponseHead | None:
        """Return the final head once it has come, else None. Raises UpstreamFailure where none will come."""
        if self._parser.head is None:
            self._raise_failure()
        return self._parser.head

    def take(self) -> bytes | None:
        """Return the next bytes of the body, small ones joined; b"" at its end; None where more must be awaited.

        What had come before the connection broke is returned before UpstreamFailure is raised.
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
        """Whether `take` has something to say at once."""
        parser = self._parser
        return parser.ended or parser.buffered > 0 or self._failure is not None or self._state is _CLOSED

    async def arrived(self, until: float | None = None, sink: BodySink | None = None) -> bool:
        """Wait until `take_answer` or `take` has something new to say; one waiter at a time.

        False: it has not until this time of the loop's clock. What comes of the body meanwhile is given to `flow`: then it also
        ends where that has stopped.
        """
        if self.ready:
            return True
        if self._reading_paused:
            self._resume_reading()
        if until is not None and until <= self._loop.time():
            return False
        arrival: asyncio.Future[bool] = self._loop.create_future()
        self._arrival = arrival
        self._sink, self._sink_fed_at = sink, None
        self._until = until
        if until is not None:
            self._deadline.set(until, self._on_deadline)
        try:
            return await arrival
        finally:
            if self._arrival is arrival:  # A cancelled waiter ends late: its successor may already wait.
                self._arrival = self._sink = None

    def _wake(self, *, early: bool = True) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(early)

    def _on_deadline(self) -> float | None:
        """End the wait that has lasted too long; return until when it goes on, None where it does not."""
        if self._sink is not None and self._sink_fed_at is not None:
            self._until = self._sink.until(self._sink_fed_at)
        if self._arrival is None or self._until is None:
            return None
        if self._until <= self._loop.time():
            self._wake(early=False)
            return None
        return self._until

    def data_received(self, data: bytes) -> None:
        """Read what came (asyncio calls this)."""
        self.has_responded = True
        sink = self._sink
        if self._state is _BUSY:
            if self._unsent:
                self._fail_unsent()
            elif sink is not None and self._parser.skip(len(data)):
                # There is nothing to read. Behind what moves so many bytes the caches are cold, and each call costs microseconds.
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
            self._fail("bad_upstream_answer", f"{self._name} sent {bad}.")
            return
        parser = self._parser
        if surplus:
            self._drop_surplus()
        elif parser.in_body:
            self._spend(len(data) + parser.chunk_count * _CHUNK_WORK)
            if parser.buffered > _HIGH_WATER:
                self._pause_reading()

    def _drop_surplus(self) -> None:
        """Close a connection whose target sent more than one answer: what came belongs to nobody (RFC 9112 §6.3)."""
        if self._transport is not None:
            self._transport.abort()

    def _deliver(self, sink: BodySink) -> bool:
        """Give what came to `flow`; True: it takes more, and its task need not know."""
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
        """Count what was done for a body that has more to come; it goes on in its turn."""
        if not self.fair.spend(work) or self._parser.unread:
            self._queue()

    def _queue(self) -> None:
        self._pause_reading()
        if not self._queued:
            self._queued = True
            self.fair.wait(self._resume_in_turn)

    def _resume_in_turn(self) -> None:
        """Go on where somebody waits for more; else the task does so that takes what is held."""
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
