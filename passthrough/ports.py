"""Ports to listen on, with TLS where asked; why one cannot be had, and how to mend it."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Callable
from typing import Final

from .errors import PassthroughError

_ENOUGH_FILES: Final = 65536
_OTHER_FILES: Final = 64
_MENDS: Final = {
    errno.EADDRINUSE: "Is another instance running? Stop it, or choose another --port / --admin-port.",
    errno.EACCES: "Ports below 1024 are the system's: choose a higher --port / --admin-port.",
}


class ListenError(PassthroughError):
    """A port cannot be listened on; the message says which, why, and how to mend it."""


async def listening(
    protocol: Callable[[], asyncio.BaseProtocol], host: str, port: int, tls: ssl.SSLContext | None
) -> asyncio.Server:
    """Return a server on `host` and `port` (0: any free one). Raises ListenError."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(protocol, host, port, ssl=tls, backlog=1024)
    except OSError as error:
        # Not `strerror`: the loop puts the address into it once more.
        number = error.errno or 0
        why = os.strerror(number) if number in errno.errorcode else error.strerror or str(error)
        mend = _MENDS.get(number, "Check --host / --admin-host.")
        raise ListenError(f"Cannot listen on {host} port {port}: {why}.\n  {mend}") from None


def server_tls(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """Return what a server speaks TLS with, None without a certificate (PEM files). Raises ListenError."""
    if cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise ListenError(f"The TLS certificate {cert} and its key {key} cannot be used: {error}.") from None
    return context


def most_connections() -> int | None:
    """Return how many client connections this process can serve, after raising its limit of open files as far as it may.

    Each may need a second descriptor, towards its target; some are left for the ledger and the log. None where there is no limit.
    """
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return None if soft == resource.RLIM_INFINITY else max(1, (soft - _OTHER_FILES) // 2)


def url(scheme: str, server: asyncio.Server) -> str:
    """Return where a server listens, as a URL."""
    name = server.sockets[0].getsockname()
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{scheme}://{host}:{name[1]}"
