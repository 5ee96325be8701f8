"""The server of client connections: aiohttp's, with limits of ours and our responses for the heads that its parser rejects."""

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
from .downstream.handshake import LINGER_S, Handshake, Handshakes
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

_BODY_BYTES: Final = 32 * 1024
"""Reading pauses where twice as much of a body waits: what one read brings is enough until the target is connected."""

_SEARCHED_AT_ONCE: Final = 1000
"""Up to this number of connections, each eviction may search all of them for idle ones."""

_SEARCH_S: Final = 0.00001
"""Each connection more delays the next search by this."""

_log: Final = logging.getLogger("passthrough")


class Listener(web.Server):
    """The factory of client connections, and their limit.

    It is a `web.Server` and no `web.Application`, for the raw path and our own 100 Continue.
    """

    def __init__(
        self, relay: Relay, *, max_connections: int | None = None, head_s: float = HEAD_S, keep_alive_s: float = KEEP_ALIVE_S
    ) -> None:
        """`max_connections`: a connection beyond it gets 503 and is closed. `head_s`: how long a request's head may take.

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
            "tcp_keepalive": False,  # The system's default is two hours; see `connection_made`.
            "read_bufsize": _BODY_BYTES,
            "max_line_size": MAX_LINE_BYTES,
            "max_field_size": MAX_FIELD_BYTES,
            "max_headers": MAX_FIELDS,
        }
        super().__init__(relay, handler_cancellation=True, **self._options)
        self._idle: list[_Protocol] = []
        self._next_search_at = 0.0
        self.handshakes = Handshakes(self, self.admits, self.relay.refused)
        self.batch = WriteBatch(asyncio.get_running_loop())

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return _Protocol(self, loop=asyncio.get_running_loop(), **self._options)

    def encrypted(self, context: ssl.SSLContext) -> Callable[[], asyncio.BaseProtocol]:
        """Return the factory of TLS connections; they count from before their handshake."""
        return lambda: Handshake(self.handshakes, context)

    @property
    def open(self) -> int:
        """How many connections there are, those in a handshake among them."""
        return len(self.connections) + len(self.handshakes)

    def admits(self, newcomer: web.RequestHandler | None = None) -> bool:
        """Tell whether the limit allows one more connection, after evicting an idle one where it does not.

        A call that settles still counts for its client: its provider bills it, so a new connection never ends it.
        """
        limit = self.max_connections
        return limit is None or self.open + len(self.relay.settling) <= limit or self.evict_idle(newcomer)

    def evict_idle(self, newcomer: web.RequestHandler | None) -> bool:
        """For a newcomer, close the connection that has been idle for longest; False: all others have begun a request.

        Handshakes go first, because their clients have sent no request yet (None: the newcomer is the latest of them). Very many
        connections are not searched each time: in a flood, each new one would cost a look at all others.
        """
        if self.handshakes.evict_silent():
            return True
        now = asyncio.get_running_loop().time()
        if now >= self._next_search_at:
            connections = self.connections
            self._next_search_at = now + max(0, len(connections) - _SEARCHED_AT_ONCE) * _SEARCH_S
            found = [each for each in connections if each is not newcomer and isinstance(each, _Protocol) and each.is_idle]
            self._idle = sorted(found, key=lambda each: each.keep_alive_until)[::-1]  # of equal ones the oldest is the last, too
        while self._idle:
            protocol = self._idle.pop()
            if protocol.is_idle:
                protocol.evict()
                return True
        return False

    def close_idle(self) -> None:
        """Close the connections that await a request; the others close behind their responses."""
        self.handshakes.close_silent()
        for protocol in self.connections:
            if isinstance(protocol, _Protocol) and protocol.awaits_request:
                # Not `close()`: it ends the task that would serve the next request and leaves the connection open (aiohttp 3.14).
                protocol.force_close()

    async def shutdown(self, timeout: float | None = None) -> None:
        """Close what is left, at the time-out (seconds) at the latest."""
        self.handshakes.close()
        await super().shutdown(timeout)


class _Protocol(ClientConnection):
    """A client connection of a listener: it counts for the limit, and a request's head has a deadline."""

    __slots__ = ("_head_deadline", "_head_s", "_listener", "_relay")

    def __init__(self, listener: Listener, **options: Any) -> None:
        super().__init__(listener, listener.batch, listener.buffer, listener.relay.fair, **options)
        self._listener = listener
        self._relay = listener.relay
        self._head_s = listener.head_s
        self._head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, or refuse where the limit is reached and no other connection is idle (asyncio calls this)."""
        super().connection_made(transport)
        with suppress(OSError):  # The client has left already.
            keep_alive(transport.get_extra_info("socket"))
        if not self._listener.admits(self):
            self._refuse(Refusal("overloaded", "There are too many connections.", retry_after_s=1, closes=True))

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel the head's deadline (asyncio calls this)."""
        self._expect_head(False)
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """Let asyncio, which calls this, close behind the client; a response that is not whole yet ends with a reset."""
        self.send_unsent()
        if self in self._relay.active and self.transport is not None:
            reset_on_close(self.transport)

    def _expect_head(self, expected: bool) -> None:
        """Start the deadline of a head whose first bytes are here, or cancel it."""
        if not expected and self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None
        elif expected and self._head_deadline is None:
            self._head_deadline = asyncio.get_running_loop().call_later(self._head_s, self._head_timed_out)

    def _head_timed_out(self) -> None:
        self._head_deadline = None
        self._refuse(Refusal("slow_request", f"The head of the request took more than {self._head_s:g} s.", closes=True))

    def _refuse(self, failure: Refusal) -> None:
        """Send a refusal without a request, and close."""
        if self.transport is not None:
            self.send(self._relay.refused(Malformed(failure)))
        self.force_close()

    def evict(self) -> None:
        """Close at once, for another: under TLS it would count until the client closes too, which may take 30 s."""
        transport = self.transport
        owes_response = self.request_count > 0 and unsent_bytes(transport) > 0  # TLS itself has sent tickets.
        self.force_close()
        if transport is not None and not owes_response:
            transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether it awaits a request of which no byte has come, and is not being closed."""
        return self.awaits_request and self._head_deadline is None and not self.force_closed

    @property
    def awaits_request(self) -> bool:
        """Whether it waits for a request: none is served or queued, and no rest of a refused body is read away.

        Closing under such a rest would reset the connection, and take our response from the client (RFC 9112 §9.6).
        """
        return self.request_waiter is not None and not self.request_waiter.done()

    def data_received(self, data: bytes) -> None:
        """Parse what came; a body whose framing is malformed raises in the handler that reads it (asyncio calls this).

        aiohttp 3.14 queues the error as the next message, and never wakes the body's reader.
        """
        super().data_received(data)
        if self._head_deadline is not None or self.awaits_request:
            self._expect_head(self.awaits_request and bool(data))
        messages = self.queued_messages
        if messages and self.current_request is not None and not hasattr(messages[-1][0], "raw_headers"):
            body = self.current_request.content
            if not body.is_eof() and body.exception() is None:
                body.set_exception(web.RequestPayloadError("malformed body"))

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Resume reading, if it was paused or requests are queued; else do nothing.

        aiohttp 3.14 calls this with every piece that is taken of a body, and feeds its parser nothing each time.
        """
        if self.reading_paused or self.buffer_paused or self.queued_messages:
            super().resume_reading(resume_parser)

    async def linger(self) -> None:
        """Close our side, and drop what the client still sends, until it closes or for LINGER_S (RFC 9112 §9.6).

        Closing at once would reset the connection under what is still arriving, and take our response from the client.
        """
        if self.transport is not None and not self.transport.is_closing():
            self.close()  # aiohttp 3.14 does not even parse what comes now.
            if self.transport.can_write_eof():
                self.transport.write_eof()
            await asyncio.sleep(LINGER_S)

    def log_exception(self, *args: Any, **more: Any) -> None:
        """Log what aiohttp did not expect, but not a malformed body that it reads away behind our response."""
        if not isinstance(more.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **more)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Refuse what the parser rejected, without an echo of its bytes; break the connection on a defect of our own."""
        if isinstance(exc, http_exceptions.HttpProcessingError):
            if self.transport is not None:
                self.send(self._relay.refused(exc.malformed if isinstance(exc, RejectedHead) else Malformed(refusal_of(exc))))
                return _LingeringClose(self)
        else:
            _log.error("A request failed inside the proxy; its connection is closed.", exc_info=exc)
            if self.transport is not None:
                self.transport.abort()
        return Sent(keeps_alive=False)


class _LingeringClose(Sent):
    """A response that is the connection's last, and that the client gets time to read."""

    def __init__(self, protocol: _Protocol) -> None:
        super().__init__(keeps_alive=False)
        self._protocol = protocol

    async def write_eof(self, data: bytes = b"") -> None:
        """Send nothing: the response has been sent. Wait until the client closes."""
        await self._protocol.linger()
