"""Listening sockets, their TLS context, and how many connections the limit of open files allows."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import PassthroughError

BACKLOG: Final = 1024
"""How many connections the system holds until they are accepted, on each socket."""

_MAX_FILES: Final = 65536
_OTHER_FILES: Final = 40
"""What the ledger, its journal, the log, the sockets that listen and the event loop have open; 24 at rest."""

ADMIN_FILES: Final = 64
"""The most descriptors that are kept back for the admin port; never more than an eighth of all."""

FEW_CONNECTIONS: Final = 100
"""Where fewer connections than this can be served at once, a warning is logged at start."""

_ALL: Final = "::"
_HINTS: Final = {
    errno.EADDRINUSE: "Is another instance running? Stop it, or choose another --port / --admin-port.",
    errno.EACCES: "Ports below 1024 are the system's: choose a higher --port / --admin-port.",
}


class ListenError(PassthroughError):
    """A port cannot be listened on; the message says which and why, and gives a hint."""


async def start_server(protocol: Callable[[], asyncio.BaseProtocol], host: str, port: int) -> asyncio.Server:
    """Return a server on `host` and `port` (0: any free one), on both families where the host is `::`. Raises ListenError."""
    loop = asyncio.get_running_loop()
    try:
        if host == _ALL:  # asyncio and uvloop would let IPv6 in only.
            return await loop.create_server(
                protocol, sock=_bind_socket(socket.AF_INET6, (host, port), shares=False), backlog=BACKLOG
            )
        return await loop.create_server(protocol, host, port, backlog=BACKLOG)
    except OSError as error:
        raise _listen_error(host, port, error) from None


async def start_servers(protocol: Callable[[], asyncio.BaseProtocol], sockets: Sequence[socket.socket]) -> list[asyncio.Server]:
    """Return servers on sockets that are bound already."""
    loop = asyncio.get_running_loop()
    return [await loop.create_server(protocol, sock=each, backlog=BACKLOG) for each in sockets]


def bind_sockets(host: str, port: int, count: int = 1) -> list[tuple[socket.socket, ...]]:
    """Return `count` sets of sockets that listen on `host` and `port` (0: any free one), for as many processes.

    Each set has a socket of its own for every address, among which Linux spreads the connections evenly; elsewhere all sets are
    the same sockets. Raises ListenError.
    """
    # A socket that several processes accept from gives most connections to the one that wakes first.
    parts = count if sys.platform == "linux" else 1
    found: list[list[socket.socket]] = []
    try:
        for family, _, _, _, address in dict.fromkeys(
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        ):
            # SO_REUSEPORT would also let a second instance in: the first socket, which does without, is refused then.
            first = _bind_socket(family, address, shares=False)
            if parts == 1:
                found.append([first])
                continue
            chosen = first.getsockname()
            first.close()
            found.append([_bind_socket(family, chosen, shares=True) for _ in range(parts)])
    except OSError as error:
        for each in (each for group in found for each in group):
            each.close()
        raise _listen_error(host, port, error) from None
    return [tuple(group[number % parts] for group in found) for number in range(count)]


def _bind_socket(family: int, address: tuple[object, ...], *, shares: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # `::` is every address of the machine, IPv4's too (RFC 3493 §5.3); two sockets could not share a free port.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != _ALL)
        made.bind(address)
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def _listen_error(host: str, port: int, error: OSError) -> ListenError:
    # Not `strerror`: the loop puts the address into it once more.
    number = error.errno or 0
    why = os.strerror(number) if number in errno.errorcode else error.strerror or str(error)
    hint = _HINTS.get(number, "Check --host / --admin-host.")
    return ListenError(f"Cannot listen on {host} port {port}: {why}.\n  {hint}")


def server_tls(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """Return a server's TLS context out of two PEM files, None without a certificate. Raises ListenError."""
    if cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password="")  # Without one given, OpenSSL would ask for it on the terminal.
    except (OSError, ssl.SSLError) as error:
        raise ListenError(f"The TLS certificate {cert} and its key {key} cannot be used: {error}.") from None
    return context


@dataclass(frozen=True, slots=True)
class FileBudget:
    """How many connections this process can serve at once.

    `files` is the limit of open files; None, as for `traffic`: there is no limit.
    """

    files: int | None
    traffic: int | None
    admin: int

    def warning(self, wanted: int | None) -> str | None:
        """Return the warning that is due where `max_connections` is `wanted`, None where it fits."""
        if self.traffic is None or self.traffic >= (FEW_CONNECTIONS if wanted is None else wanted):
            return None
        instead = "" if wanted is None else f", not the {wanted} of 'max_connections'"
        return (
            f"This process may open {self.files} files: it serves {self.traffic} connections at once{instead}.\n"
            "  Raise its limit: ulimit -n 65536, LimitNOFILE= in systemd, or --ulimit nofile=65536 for a container."
        )


def file_budget() -> FileBudget:
    """Raise this process's limit of open files as far as it may, and return what it can serve then.

    Each client connection may need a second descriptor, for its target; some are kept back for the ledger, the log and the admin
    port. Raises ListenError where nothing is left for traffic.
    """
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return FileBudget(None, None, ADMIN_FILES)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY:
        return FileBudget(None, None, ADMIN_FILES)
    admin = min(ADMIN_FILES, soft // 8)
    traffic = (soft - _OTHER_FILES - admin) // 2
    if traffic < 1:
        raise ListenError(
            f"This process may open {soft} files only, and needs {_OTHER_FILES} before it serves anybody.\n"
            "  Raise its limit: ulimit -n 65536, LimitNOFILE= in systemd, or --ulimit nofile=65536 for a container."
        )
    return FileBudget(soft, traffic, admin)


def url(scheme: str, sockets: Sequence[socket.socket]) -> str:
    """Return the URL of a server that listens on these sockets."""
    name = sockets[0].getsockname()
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{scheme}://{host}:{name[1]}"
