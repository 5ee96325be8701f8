"""TLS towards targets: the contexts, the handshake, and what had come before the socket under it failed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from .sockets import unread_input


def client_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities, or those of a PEM file. It reads files."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def encrypt(raw: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext, name: str) -> None:
    """Shake hands on a transport whose protocol does nothing yet, and give `protocol` the encrypted one.

    `name` is what the certificate must hold. Raises what the handshake raises; the transport is closed then.
    """
    loop = asyncio.get_running_loop()
    try:
        encrypted = await loop.start_tls(raw, protocol, context, server_hostname=name)
        if encrypted is None or raw.is_closing():  # It ended right behind the handshake.
            raise ConnectionResetError
        _Guard(raw, encrypted)
    except BaseException:
        raw.abort()
        raise
    protocol.connection_made(encrypted)


class _Guard(asyncio.BufferedProtocol):
    """Stands between a raw transport and its TLS layer, and has the layer read what is left when a write has failed.

    The layer's own methods serve as this one's: nothing is added to a read.
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
        # In between, reading stops: uvloop 0.23 goes on as it began, whatever the new protocol wants.
        raw.pause_reading()
        raw.set_protocol(self)
        raw.resume_reading()

    def eof_received(self) -> bool | None:
        """Pass it on, and close at once where nothing is left to be read (asyncio calls this).

        The layer would call itself open a while longer, and warn of every piece of an upload that is written to it meanwhile.
        """
        keeps = self._layer.eof_received()
        if not keeps:
            self._encrypted.abort()
        return keeps

    def connection_lost(self, exc: Exception | None) -> None:
        """Have what is left decrypted, and pass it on (asyncio calls this)."""
        try:
            for piece in unread_input(self._raw) if exc is not None else ():
                self.get_buffer(len(piece))[: len(piece)] = piece  # Both layers have room for more than that.
                self.buffer_updated(len(piece))
        finally:  # Whatever the layer makes of it: who waits for the answer must be told of the end.
            self._layer.connection_lost(exc)
            if exc is not None:
                self._encrypted.abort()  # Else it calls itself open until the next iteration.
