"""The connection pool: opens connections to targets, keeps idle ones, and turns foreign errors into UpstreamFailure."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import ssl
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import aiohappyeyeballs

from ...errors import Reason, UpstreamFailure
from ...secret import Secret
from ..net.fair_queue import FairQueue
from ..net.sockets import keep_alive
from ..net.tls import alert_reason, client_context, encrypt
from ..net.write_batch import WriteBatch
from ..rewrite import proxy_authorization
from ..routes import Origin, Target
from .connection import Connection
from .own_ports import SocketName, is_same_machine, leads_back
from .resolver import AddressInfo, LookUp, Resolver

IDLE_S: Final = 15.0
"""How long an idle connection is kept: shorter than providers keep theirs (nginx 75 s, Kong 60 s, Envoy 3600 s). The side that
closes first never meets a stale connection, and a POST on a stale one cannot be sent again (RFC 9110 §9.2.2)."""

MAX_IDLE: Final = 128
"""How many idle connections are kept for one origin."""

MAX_AGE_S: Final = 300.0
"""How old a connection may become before a new one replaces it, so that changes of DNS are followed (nginx: an hour)."""

_MARGIN_S: Final = 0.1
"""How much earlier than the target's Keep-Alive hint a connection is closed, besides the round trip."""

_MAX_PROXY_HEAD_BYTES: Final = 16 * 1024

_CERTIFICATE_REASONS: Final[Mapping[int, Reason]] = MappingProxyType(
    {
        9: Reason.NOT_YET_VALID,
        10: Reason.EXPIRED,
        18: Reason.UNKNOWN_AUTHORITY,  # self-signed
        19: Reason.UNKNOWN_AUTHORITY,  # a self-signed one in the chain
        20: Reason.UNKNOWN_AUTHORITY,  # no certificate of the issuer
        21: Reason.UNKNOWN_AUTHORITY,  # no issuer of the only one sent
        62: Reason.OTHER_NAME,
        64: Reason.OTHER_NAME,  # of another address
    }
)
"""OpenSSL's X509_V_ERR codes (x509_vfy.h) → reason."""

_CONNECT_REASONS: Final[Mapping[int | None, Reason]] = MappingProxyType(
    {
        errno.ECONNREFUSED: Reason.REFUSED,
        errno.ECONNRESET: Reason.RESET,
        errno.EPIPE: Reason.RESET,
        errno.ENETUNREACH: Reason.UNREACHABLE,
        errno.EHOSTUNREACH: Reason.UNREACHABLE,
    }
)

_PROXY_REASONS: Final[Mapping[str | None, Reason]] = MappingProxyType(
    {
        Reason.NAME: Reason.PROXY_NAME,
        Reason.REFUSED: Reason.PROXY_REFUSED,
        Reason.RESET: Reason.PROXY_RESET,
        Reason.UNREACHABLE: Reason.PROXY_UNREACHABLE,
        Reason.NO_CONNECTION: Reason.PROXY_NO_CONNECTION,
        Reason.CONNECT_TIMEOUT: Reason.PROXY_TIMEOUT,
    }
)
"""A reason → the same before the HTTP proxy on the way has let a connection through."""


class _Stage(Enum):
    """What the opening of a connection waits for."""

    PROXY = auto()
    TARGET = auto()
    TLS = auto()


class _Opening:
    """How far the opening of one connection has come: a time-out does not tell."""

    __slots__ = ("stage",)

    def __init__(self, target: Target) -> None:
        self.stage = _Stage.TARGET if target.proxy is None else _Stage.PROXY

    def blamed(self, reason: Reason) -> Reason:
        """Return a reason as it is said in this stage."""
        return _PROXY_REASONS.get(reason, reason) if self.stage is _Stage.PROXY else reason


class ConnectionPool:
    """All connections of one process to all targets. Every method is called on the event loop.

    `fair` is the queue in which the large bodies of the event loop wait for their turn, in both directions.
    """

    def __init__(self, *, idle_s: float = IDLE_S, max_age_s: float = MAX_AGE_S, look_up: LookUp = socket.getaddrinfo) -> None:
        """`idle_s`: how long an idle connection is kept; `max_age_s`: how old it may become. `look_up` resolves names.

        `listening` are the names of the proxy's listening sockets: a connection to one of them is refused.
        """
        self.listening: Sequence[SocketName] = ()
        self._idle_s = idle_s
        self._max_age_s = max_age_s
        self._resolver = Resolver(look_up)
        self._loop = asyncio.get_running_loop()
        self._write_batch = WriteBatch(self._loop)
        self.fair = FairQueue(self._loop)
        self._idle: dict[Origin, deque[tuple[float, Connection]]] = {}
        self._contexts: dict[str | None, ssl.SSLContext] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    async def prepare(self, targets: Iterable[Target]) -> None:
        """Load the certificates that these targets need, on a thread: at start and at each reload."""
        wanted = {target.ca_file for target in targets if target.tls}
        self._contexts = {ca_file: await asyncio.to_thread(client_context, ca_file) for ca_file in wanted}

    def checkout_idle(self, origin: Origin, *, probe: bool = True) -> Connection | None:
        """Return the youngest idle connection that is reusable; close those that are not.

        `probe`: see Connection.is_reusable.
        """
        idle = self._idle.get(origin)
        while idle:
            until, connection = idle.pop()
            if self._loop.time() < until and connection.is_reusable(probe=probe):
                return connection
            connection.abort()
        return None

    def checkout(self, target: Target, method: str, *, probe: bool = True) -> Connection | None:
        """Return an idle connection on which an exchange of this method has begun, None where there is none."""
        connection = self.checkout_idle(target.origin, probe=probe)
        return connection if connection is not None and connection.begin(method) else None

    async def checkout_or_connect(self, target: Target, connect_s: float | None, method: str) -> Connection:
        """Return a connection on which an exchange of this method has begun: an idle one, else a new one.

        Raises UpstreamFailure, also where the target ended a new one at once, or sent something first. Nothing was sent then.
        """
        connection = self.checkout(target, method)
        if connection is None:
            connection = await self.open(target, connect_s)
            if not connection.begin(method):
                connection.take_response_head()  # It raises why.
        return connection

    async def open(self, target: Target, connect_s: float | None) -> Connection:
        """Return a new connection to `target`, its TLS handshake done.

        Raises UpstreamFailure: upstream_unreachable, upstream_timeout. Nothing of a request has been sent then.
        """
        opening = _Opening(target)
        try:
            async with asyncio.timeout(connect_s):
                return await self._connect(target, opening)
        except UpstreamFailure as failure:
            failure.why = _PROXY_REASONS.get(failure.why, failure.why) if opening.stage is _Stage.PROXY else failure.why
            raise
        except TimeoutError:  # The route's, or the kernel's (ETIMEDOUT).
            message = f"No connection to {target.name} in time."
            raise UpstreamFailure("upstream_timeout", message, why=opening.blamed(Reason.CONNECT_TIMEOUT)) from None
        except ssl.SSLCertVerificationError as error:
            raise UpstreamFailure(
                "upstream_unreachable",
                f"The certificate of {target.name} is not trusted: {error.verify_message}.",
                hint="Name the authority that signed it in 'upstream_tls: {ca_file: …}'.",
                why=_CERTIFICATE_REASONS.get(error.verify_code, Reason.CERTIFICATE),
            ) from None
        except ssl.SSLError as error:
            message = f"No TLS with {target.name}: {error.reason}."
            raise UpstreamFailure("upstream_unreachable", message, why=alert_reason(error) or Reason.NO_TLS) from None
        except OSError as error:
            # Not `strerror`: asyncio puts the address into it, which clients must not see.
            why = os.strerror(error.errno) if error.errno else type(error).__name__
            message, reason = f"No connection to {target.name}: {why}.", _CONNECT_REASONS.get(error.errno, Reason.NO_CONNECTION)
            if isinstance(error, ConnectionResetError) and error.errno is None:  # an end without a reset: see net.tls.encrypt
                message, reason = f"{target.name} closed the connection in the TLS handshake.", Reason.TLS_CLOSED
            raise UpstreamFailure("upstream_unreachable", message, why=opening.blamed(reason)) from None

    def release(self, target: Target, connection: Connection) -> None:
        """Return a connection to the pool whose exchange is complete in both directions; it is kept if it may serve another."""
        if not connection.finish():
            return
        now = self._loop.time()
        until = self._kept_until(connection, now)
        if until <= now:
            connection.abort()
            return
        idle = self._idle.get(target.origin)
        if idle is None:
            idle = self._idle[target.origin] = deque()
        idle.append((until, connection))
        if len(idle) > MAX_IDLE:
            idle.popleft()[1].abort()
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._idle_s, self._sweep)

    def close(self) -> None:
        """Close every idle connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for idle in self._idle.values():
            for _, connection in idle:
                connection.abort()
        self._idle.clear()

    def _kept_until(self, connection: Connection, now: float) -> float:
        """Return until when an idle connection may be used: by our limit, by its age, and by the target's Keep-Alive hint.

        A request must arrive before the target closes: its travel and that of the response with the hint make one round trip.
        """
        until = min(now + self._idle_s, connection.opened_at + self._max_age_s)
        hint_s = connection.idle_hint_s
        return until if hint_s is None else min(until, now + hint_s - connection.round_trip_s - _MARGIN_S)

    def _sweep(self) -> None:
        """Close the connections that were idle for too long; schedule the next sweep while any is left."""
        now = self._loop.time()
        for origin, idle in list(self._idle.items()):
            for until, connection in idle:
                if until <= now:
                    connection.abort()
            left = deque([kept for kept in idle if kept[0] > now])
            if left:
                self._idle[origin] = left
            else:
                del self._idle[origin]
        self._sweeper = self._loop.call_later(self._idle_s / 3, self._sweep) if self._idle else None

    async def _connect(self, target: Target, opening: _Opening) -> Connection:
        via = urlsplit(target.proxy.reveal()) if target.proxy is not None else None
        host, port = (via.hostname or "", via.port or 80) if via is not None else (target.host, target.port)
        addresses = await self._resolver.addresses(host, port)
        return await self.connect_at(target, addresses, opening=opening)

    async def connect_at(
        self,
        target: Target,
        addresses: Sequence[AddressInfo],
        *,
        elsewhere: bool = False,
        opening: _Opening | None = None,
    ) -> Connection:
        """Return a new connection to `target` at one of these addresses: no name is resolved again.

        `elsewhere`: a connection that stays within this machine is refused. `opening` is told how far this has come. Raises
        UpstreamFailure (proxy_loop), and what sockets and TLS raise: `open` turns that into UpstreamFailure.
        """
        began = self._loop.time()
        sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=0.25)
        try:
            keep_alive(sock)
            local, peer = sock.getsockname(), sock.getpeername()
            if leads_back(local, peer, self.listening):
                message = f"{target.name} is this proxy itself (port {peer[1]})."
                raise UpstreamFailure("proxy_loop", message, why=Reason.LOOP)
            if elsewhere and is_same_machine(local, peer):
                raise UpstreamFailure("proxy_loop", f"{target.name} is this machine itself.", why=Reason.LOOP)
            if target.proxy is not None and target.tls:
                await self._tunnel(sock, target, target.proxy)
            if opening is not None:
                opening.stage = _Stage.TLS if target.tls else _Stage.TARGET
            connection = Connection(self._loop, target.name, self._write_batch, self.fair)
            connection.opened_at = self._loop.time()
            connection.round_trip_s = connection.opened_at - began
            if target.tls:
                context = await self._context(target.ca_file)
                raw, _ = await self._loop.create_connection(asyncio.Protocol, sock=sock)
                await encrypt(raw, connection, context, target.tls_name)
            else:
                await self._loop.create_connection(lambda: connection, sock=sock)
        except BaseException:
            sock.close()
            raise
        return connection

    async def _context(self, ca_file: str | None) -> ssl.SSLContext:
        context = self._contexts.get(ca_file)
        if context is None:
            context = self._contexts[ca_file] = await asyncio.to_thread(client_context, ca_file)
        return context

    async def _tunnel(self, sock: socket.socket, target: Target, proxy: Secret) -> None:
        """Ask an HTTP proxy for a tunnel to the target (RFC 9110 §9.3.6)."""
        authority = f"[{target.host}]:{target.port}" if ":" in target.host else f"{target.host}:{target.port}"
        lines = [f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}".encode(), *proxy_authorization(proxy)]
        await self._loop.sock_sendall(sock, b"\r\n".join(lines) + b"\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            # Byte by byte: what follows the head is already the target's.
            piece = await self._loop.sock_recv(sock, 1)
            head += piece
            if not piece or len(head) > _MAX_PROXY_HEAD_BYTES:
                did = "sent a header without end" if piece else "closed the connection"
                message = f"The proxy before {target.name} {did}."
                raise UpstreamFailure("upstream_unreachable", message, why=Reason.NO_TUNNEL)
        status = re.match(rb"HTTP/1\.[01] ([1-9][0-9]{2})[ \r]", head)
        if status is None or not status[1].startswith(b"2"):
            said = "no HTTP" if status is None else status[1].decode("ascii")
            message = f"The proxy before {target.name} refused a tunnel ({said})."
            raise UpstreamFailure("upstream_unreachable", message, why=Reason.NO_TUNNEL)
