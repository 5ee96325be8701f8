"""TLS handshakes of clients: counted as connections from the TCP accept on, and the first to be closed at the limit."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from .malformed_head import Malformed, may_be_plain, plain_on_tls

HANDSHAKE_S: Final = 20.0
"""How long a handshake may take, from the accept on: as long as a request's head."""

LINGER_S: Final = 1.0
"""How long a client may still send behind the refusal of a plain request."""

SLOW_S: Final = 2.0
"""A handshake that has begun but takes longer than this may be closed at the connection limit, as a silent one."""


class Handshakes:
    """The connections of one listener whose TLS handshake is not done, each kind in the order in which they came.

    asyncio's own servers call a protocol only after the handshake: until then no code of ours could count or close it.
    """

    def __init__(
        self, enter: Callable[[], asyncio.Protocol], admits: Callable[[], bool], refused: Callable[[Malformed], bytes]
    ) -> None:
        """`enter` makes the protocol of an encrypted connection; `admits` tells whether the limit allows the latest one.

        `refused` returns the response to a plain request.
        """
        self._loop = asyncio.get_running_loop()
        self.enter = enter
        self.admits = admits
        self.refused = refused
        self.silent: dict[Handshake, None] = {}
        self.begun: dict[Handshake, float] = {}

    def __len__(self) -> int:
        return len(self.silent) + len(self.begun)

    def evict_silent(self) -> bool:
        """Close the connection that has been silent for longest, else a slow one; False: there is none but the latest."""
        if len(self.silent) > 1:
            next(iter(self.silent)).abort()
            return True
        if self.begun:
            oldest, since = next(iter(self.begun.items()))
            if self._loop.time() - since > SLOW_S:
                oldest.abort()
                return True
        return False

    def close_silent(self) -> None:
        """Close the connections on which nothing has come."""
        for each in list(self.silent):
            each.abort()

    def close(self) -> None:
        """Close them all."""
        for each in [*self.silent, *self.begun]:
            each.abort()


class Handshake(asyncio.Protocol):
    """The protocol of one connection until its handshake is done.

    The TLS layer is made when the first byte of TLS comes: a silent connection costs little. So does one whose first bytes may
    still begin a plain request; it counts as silent.
    """

    def __init__(self, handshakes: Handshakes, context: ssl.SSLContext) -> None:
        self._handshakes = handshakes
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._raw: asyncio.Transport | None = None
        self._unread = b""
        self._refused = False
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, and close it where the limit is reached (asyncio calls this)."""
        self._raw = cast(asyncio.Transport, transport)  # uvloop's is one by its methods, not by its class
        self._until = self._loop.time() + HANDSHAKE_S
        self._timer = self._loop.call_at(self._until, self.abort)
        self._handshakes.silent[self] = None
        if not self._handshakes.admits():
            self.abort()  # No response can be sent before the handshake.

    def data_received(self, data: bytes) -> None:
        """Begin the handshake with the client's first bytes, or keep what comes right after it (asyncio calls this).

        asyncio's layer, not uvloop's, passes that on before the task of the handshake has resumed.
        """
        if self._refused:
            return
        self._unread += data
        if self._task is not None or self._raw is None or self._raw.is_closing():
            return
        if may_be_plain(self._unread):
            return
        if (plain := plain_on_tls(self._unread)) is not None:
            self._refuse(self._raw, plain)
            return
        self._raw.pause_reading()  # uvloop 0.23 would go on reading for the old protocol.
        self._handshakes.silent.pop(self, None)
        self._handshakes.begun[self] = self._loop.time()
        self._task = self._loop.create_task(self._shake_hands(self._raw))
        # `start_tls` schedules the layer's `connection_made` and the resuming of reads: this comes right after both.
        self._loop.call_soon(self._loop.call_soon, self._feed)

    def _refuse(self, raw: asyncio.Transport, plain: Malformed) -> None:
        """Say in plain HTTP that this port speaks TLS, and close; what the client still sends is dropped (RFC 9112 §9.6)."""
        self._unread = b""
        self._refused = True
        raw.write(self._handshakes.refused(plain))
        if raw.can_write_eof():
            raw.write_eof()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(LINGER_S, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection (asyncio calls this)."""
        self._forget()

    def abort(self) -> None:
        """Close the connection at once."""
        self._forget()
        if self._raw is not None:
            self._raw.abort()

    def _forget(self) -> None:
        self._handshakes.silent.pop(self, None)
        self._handshakes.begun.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _feed(self) -> None:
        """Feed the TLS layer what was read before the layer was there."""
        raw = self._raw
        if raw is None or raw.is_closing():
            return
        layer = cast(asyncio.BufferedProtocol, raw.get_protocol())
        piece, self._unread = self._unread, b""
        cast(memoryview, layer.get_buffer(len(piece)))[: len(piece)] = (
            piece  # The buffers of both layers hold what one read brings.
        )
        layer.buffer_updated(len(piece))

    async def _shake_hands(self, raw: asyncio.Transport) -> None:
        """Put TLS between the transport and the protocol that serves. A handshake that fails is not logged."""
        done = False
        try:
            if raw.is_closing():
                return
            left_s = max(0.001, self._until - self._loop.time())
            with suppress(OSError):
                encrypted = await self._loop.start_tls(raw, self, self._context, server_side=True, ssl_handshake_timeout=left_s)
                # uvloop also returns where the connection was closed meanwhile.
                done = encrypted is not None and not raw.is_closing()
        finally:
            self._forget()
            if not done:
                raw.abort()
        if done and encrypted is not None:
            protocol = self._handshakes.enter()
            encrypted.set_protocol(protocol)
            encrypted.pause_reading()  # Before Python 3.12 its task begins in the next iteration: no data before that.
            protocol.connection_made(encrypted)
            self._loop.call_soon(self._go_on, encrypted, protocol)

    def _go_on(self, encrypted: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        encrypted.resume_reading()  # It takes effect after this callback.
        if self._unread:
            protocol.data_received(self._unread)
