"""TLS towards targets: contexts, the handshake, and the input that came before a write failed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from ...errors import Reason
from .sockets import unread_input


def client_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a client context that trusts the system's authorities, or those of a PEM file. It reads files."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def encrypt(raw: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext, name: str) -> None:
    """Perform the TLS handshake on a transport whose protocol does nothing yet, and connect `protocol` to the encrypted one.

    `name` is the name that the certificate must have. Raises what the handshake raises; the transport is closed then.
    """
    loop = asyncio.get_running_loop()
    try:
        encrypted = await loop.start_tls(raw, protocol, context, server_hostname=name)
        if encrypted is None or raw.is_closing():  # The peer closed it right after the handshake.
            raise ConnectionResetError
        _Guard(raw, encrypted)
    except BaseException:
        raw.abort()
        raise
    protocol.connection_made(encrypted)


def alert_reason(error: BaseException | None) -> Reason | None:
    """Return what the alert says with which a target has ended TLS, None where it was no alert.

    Since TLS 1.3 one that asks for a client's certificate says so, and behind the handshake. Before, it says no more than that it
    refuses.
    """
    said = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if said.endswith("ALERT_CERTIFICATE_REQUIRED"):
        return Reason.CLIENT_CERTIFICATE
    return Reason.TLS_REFUSED if "_ALERT_" in said else None


class _Guard(asyncio.BufferedProtocol):
    """Sits between a raw transport and its TLS layer; when a write has failed, it feeds the layer the input that is left.

    The layer's own bound methods serve as this one's: a read costs nothing more.
    """

    def __init__(self, raw: asyncio.Transport, encrypted: asyncio.Transport) -> None:
        layer = cast(asyncio.BufferedProtocol, raw.get_protocol())
        self._raw = raw
        self._encrypted = encrypted
        self._layer = layer
        self.get_buffer: Callable[[int], memoryview] = layer.get_buffer  # type: ignore[assignment]  # typeshed: any buffer
        self.buffer_updated = layer.buffer_updated  # type: ignore[method-assign]
        self.pause_writing = layer.pause_writing  # type: ignore[method-assign]
        self.resume_writing = layer.resume_writing  # type: ignore[method-assign]
        # Reading is paused for the change: uvloop 0.23 goes on reading for the old protocol, whatever the new one is.
        raw.pause_reading()
        raw.set_protocol(self)
        raw.resume_reading()

    def eof_received(self) -> bool | None:
        """Pass on the end, and close at once where the layer wants nothing more (asyncio calls this).

        Else the layer would seem open a while longer, and warn of every piece of an upload that is written to it meanwhile.
        """
        keeps = self._layer.eof_received()
        if not keeps:
            self._encrypted.abort()
        return keeps

    def connection_lost(self, exc: Exception | None) -> None:
        """Feed the layer the input that is left, then pass on the end (asyncio calls this)."""
        try:
            for piece in unread_input(self._raw) if exc is not None else ():
                self.get_buffer(len(piece))[: len(piece)] = piece  # The buffers of both layers are larger than that.
                self.buffer_updated(len(piece))
        finally:  # Also where the layer raises: what waits for the response must learn of the end.
            self._layer.connection_lost(exc)
            if exc is not None:
                self._encrypted.abort()  # Else it seems open until the next iteration.
