"""aiohttp's server, with our answers for the heads that its parser rejects."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from aiohttp import http_exceptions, web

from ..errors import Refusal
from .downstream.body_bypass import SharedBuffer
from .downstream.connection import ClientConnection
from .downstream.handshake import Handshake, Handshakes
from .downstream.malformed_head import Malformed
from .downstream.request_parser import MAX_FIELD_BYTES, MAX_FIELDS, MAX_LINE_BYTES, RejectedHead, refusal_of
from .downstream.response_writer import Sent
from .net.sockets import keep_alive, reset_on_close, unsent_bytes
from .net.write_batch import WriteBatch
from .relay import Relay

KEEP_ALIVE_S: Final = 75.0
"""How long a connection may wait for a request's first byte, by default."""

HEAD_S: Final = 20.0
"""How long a request's head may take from its first byte to its last (nginx gives 60 s, Apache 20)."""

LINGER_S: Final = 1.0
"""How long a client is heard behind the refusal of what is no request."""

_BODY_BYTES: Final = 32 * 1024
"""Where twice as much of a body waits to be taken, reading pauses: what one read brings is enough, until the target is open."""

_SEARCHED_AT_ONCE: Final = 1000
"""So many connections are searched for silent ones whenever one is wanted."""

_SEARCH_S: Final = 0.00001
"""For each one more, how long there is no further search."""

_log: Final = logging.getLogger("passthrough")


class Listener(web.Server):
    """The factory of client connections. `web.Server` and not `web.Application`: the raw path, and our own 100 Continue."""

    def __init__(
        self, relay: Relay, *, max_connections: int | None = None, head_s: float = HEAD_S, keep_alive_s: float = KEEP_ALIVE_S
    ) -> None:
        """`max_connections`: what comes beyond is answered 503 and closed. `head_s`: for the head of a request.

        `keep_alive_s`: how long a connection may wait for a request's first byte.
        """
        self.relay = relay
        self.max_connections = max_connections
        self.head_s = head_s
        self.buffer = SharedBuffer()
        self._options: dict[str, Any] = {
            "auto_decompress": False,  # The default inflates a gzip request under its old Content-Length.
            "access_log": None,
            "keepalive_timeout": keep_alive_s,
            "tcp_keepalive": False,  # It would be the system's, which is two hours; see `connection_made`.
            "read_bufsize": _BODY_BYTES,
            "max_line_size": MAX_LINE_BYTES,
            "max_field_size": MAX_FIELD_BYTES,
            "max_headers": MAX_FIELDS,
        }
        super().__init__(relay, handler_cancellation=True, **self._options)
        self._silent: list[_Protocol] = []
        self._searches_at = 0.0
        self.handshakes = Handshakes(self, self.admits)
        self.turn = WriteBatch(asyncio.get_running_loop())

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return _Protocol(self, loop=asyncio.get_running_loop(), **self._options)

    def encrypted(self, context: ssl.SSLContext) -> Callable[[], asyncio.BaseProtocol]:
        """Return the factory of connections that speak TLS; they count before they have shaken hands."""
        return lambda: Handshake(self.handshakes, context)

    @property
    def open(self) -> int:
        """How many connections there are, those that have not shaken hands yet among them."""
        return len(self.connections) + len(self.handshakes)

    def admits(self, newcomer: web.RequestHandler | None = None) -> bool:
        """Tell whether there is room for who has just come, after making some where needed.

        A call that settles keeps the place of its client: its provider bills it, and what is billed is never given up for more.
        """
        most = self.max_connections
        return most is None or self.open + len(self.relay.settling) <= most or self.make_room(newcomer)

    def make_room(self, newcomer: web.RequestHandler | None) -> bool:
        """For a newcomer, close the connection that has been silent for longest; False: all others have begun a request.

        Handshakes come first, their clients have asked nothing yet (None: the newcomer is one of them, the latest). Very many are
        not searched each time: a flood of connections would cost each of them a look at all.
        """
        if self.handshakes.make_room():
            return True
        now = asyncio.get_running_loop().time()
        if now >= self._searches_at:
            connections = self.connections
            self._searches_at = now + max(0, len(connections) - _SEARCHED_AT_ONCE) * _SEARCH_S
            found = [each for each in connections if each is not newcomer and isinstance(each, _Protocol) and each.is_silent]
            self._silent = sorted(found, key=lambda each: each.silent_until)[::-1]  # of equal ones the oldest is the last, too
        while self._silent:
            protocol = self._silent.pop()
            if protocol.is_silent:
                protocol.give_way()
                return True
        return False

    def close_idle(self) -> None:
        """Close the connections that wait for a request; the others close behind their answers."""
        self.handshakes.close_silent()
        for protocol in self.connections:
            if isinstance(protocol, _Protocol) and protocol.waits:
                # Not `close()`: it ends the task that would serve the next request and leaves the connection open (aiohttp 3.14).
                protocol.force_close()

    async def shutdown(self, timeout: float | None = None) -> None:
        """Close what is left, at the latest at the time-out, in seconds."""
        self.handshakes.close()
        await super().shutdown(timeout)


class _Protocol(ClientConnection):
    """One client connection."""

    __slots__ = ("_head_s", "_late", "_listener", "_relay")

    def __init__(self, listener: Listener, **options: Any) -> None:
        super().__init__(listener, listener.turn, listener.buffer, listener.relay.fair, **options)
        self._listener = listener
        self._relay = listener.relay
        self._head_s = listener.head_s
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, in the place of a silent connection where there are too many already (asyncio calls this)."""
        super().connection_made(transport)
        with suppress(OSError):  # It has ended already.
            keep_alive(transport.get_extra_info("socket"))
        if not self._listener.admits(self):
            self._break_off(Refusal("overloaded", "There are too many connections.", retry_after_s=1, closes=True))

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the deadline (asyncio calls this)."""
        self._expect_head(False)
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Close when the client has closed its side (asyncio calls this and closes), without a clean end to half an answer."""
        self.send_unsent()
        if self in self._relay.active and self.transport is not None:
            reset_on_close(self.transport)

    def _expect_head(self, expected: bool) -> None:
        """Start the deadline of a head whose first bytes are here, or end it."""
        if not expected and self._late is not None:
            self._late.cancel()
            self._late = None
        elif expected and self._late is None:
            self._late = asyncio.get_running_loop().call_later(self._head_s, self._head_is_late)

    def _head_is_late(self) -> None:
        self._late = None
        self._break_off(Refusal("slow_request", f"The head of the request took more than {self._head_s:g} s.", closes=True))

    def _break_off(self, failure: Refusal) -> None:
        """Answer without a request, and close."""
        if self.transport is not None:
            self.send(self._relay.refused(Malformed(failure)))
        self.force_close()

    def give_way(self) -> None:
        """Close at once, for another: under TLS its place would be held until it closes too, which it may take 30 s for."""
        transport = self.transport
        owed = self.request_count > 0 and unsent_bytes(transport) > 0  # TLS itself has sent tickets.
        self.force_close()
        if transport is not None and not owed:
            transport.abort()

    @property
    def is_silent(self) -> bool:
        """Whether it waits for a request of which no byte has come, and is not being closed."""
        return self.waits and self._late is None and not self.force_closed

    @property
    def silent_until(self) -> float:
        """The loop's time until which it may stay silent: the earlier, the longer it has been so already."""
        return self.keep_alive_until

    @property
    def waits(self) -> bool:
        """Whether it waits for a request: none is served or queued, and no rest of a refused body is read away.

        Closing under such a rest would reset the connection, and take our answer from the client (RFC 9112 §9.6).
        """
        return self.request_waiter is not None and not self.request_waiter.done()

    def data_received(self, data: bytes) -> None:
        """Read what came; a body whose framing breaks off in error is told so to the handler that waits for it.

        aiohttp 3.14 queues the error as the next message and leaves the reader of the body waiting for ever.
        """
        super().data_received(data)
        if self._late is not None or self.waits:
            self._expect_head(self.waits and bool(data))
        messages = self.queued_messages
        if messages and self.current_request is not None and not hasattr(messages[-1][0], "raw_headers"):
            body = self.current_request.content
            if not body.is_eof() and body.exception() is None:
                body.set_exception(web.RequestPayloadError("malformed body"))

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on reading, where it was paused, or more has come than one request.

        aiohttp 3.14 calls this with every piece that is taken of a body, and has the parser look for more each time.
        """
        if self.reading_paused or self.buffer_paused or self.queued_messages:
            super().resume_reading(resume_parser)

    async def hear_out(self) -> None:
        """Say that no more comes, and drop what the client still sends, until it ends or for a moment (RFC 9112 §9.6).

        Closing at once would reset the connection under what is on its way, and take our answer from the client.
        """
        if self.transport is not None and not self.transport.is_closing():
            self.close()  # aiohttp 3.14: what comes now is not even parsed.
            if self.transport.can_write_eof():
                self.transport.write_eof()
            await asyncio.sleep(LINGER_S)

    def log_exception(self, *args: Any, **more: Any) -> None:
        """Log what aiohttp did not expect; not a body that it reads away behind our answer and whose framing is broken."""
        if not isinstance(more.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **more)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what the parser rejected by the table of own answers, without an echo of its bytes; else break off."""
        if isinstance(exc, http_exceptions.HttpProcessingError):
            if self.transport is not None:
                self.send(self._relay.refused(exc.malformed if isinstance(exc, RejectedHead) else Malformed(refusal_of(exc))))
                return _LastWord(self)
        else:
            _log.error("A request failed inside the proxy; its connection is closed.", exc_info=exc)
            if self.transport is not None:
                self.transport.abort()
        return Sent(keeps_alive=False)


class _LastWord(Sent):
    """An answer behind which nothing of the connection is read any more, and which the client is given time to read."""

    def __init__(self, protocol: _Protocol) -> None:
        super().__init__(keeps_alive=False)
        self._protocol = protocol

    async def write_eof(self, data: bytes = b"") -> None:
        """Send nothing: the answer has been sent. Wait for the client's end."""
        await self._protocol.hear_out()
