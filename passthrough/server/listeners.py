"""Opens the traffic port and the admin port, on sockets of this process or on those that its supervisor bound."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

from ..admin.app import AdminView, app, start_listener
from ..admin.peers import WorkerPeers
from ..config.model import Listen
from ..loopback import is_loopback
from ..proxy.listener import Listener
from ..worker import WorkerContext
from .ports import BACKLOG, start_server, start_servers


class TrafficPort:
    """The servers that accept client connections."""

    def __init__(self, servers: Sequence[asyncio.Server], protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """`protocol` makes the protocol of each connection."""
        self._servers = servers
        self._protocol = protocol

    @property
    def sockets(self) -> list[socket.socket]:
        """The listening sockets; none once it is closed."""
        return [each for server in self._servers for each in server.sockets]

    def close(self) -> None:
        """Listen no more. The system resets what is connected and was not accepted yet."""
        for server in self._servers:
            server.close()

    async def close_gently(self) -> None:
        """Listen no more, but accept first what is connected already.

        Its request may be on the way, which the client, or a balancer, could not send a second time.
        """
        loop = asyncio.get_running_loop()
        # The system closes the port with the last descriptor: then nothing waits there any more.
        copies = [socket.fromfd(each.fileno(), each.family, each.type) for each in self.sockets]
        self.close()
        for connection in [each for copy in copies for each in _waiting(copy)]:
            with suppress(OSError):  # It is gone again.
                await loop.connect_accepted_socket(self._protocol, connection)


def _waiting(listening: socket.socket) -> Iterator[socket.socket]:
    """Yield the connections that wait at a socket, as many as can, and close it."""
    with listening:
        listening.setblocking(False)
        for _ in range(BACKLOG):
            try:
                connection, _address = listening.accept()
            except OSError as error:
                if error.errno == errno.ECONNABORTED:
                    continue
                return  # There are no more, or no descriptors for them.
            connection.setblocking(False)
            yield connection


async def open_traffic(
    listener: Listener, listen: Listen, tls: ssl.SSLContext | None, worker: WorkerContext | None, stack: AsyncExitStack
) -> TrafficPort:
    """Accept client connections, until the stack is left or the port is closed. Raises ListenError."""
    protocol = listener if tls is None else listener.encrypted(tls)
    if worker is None:
        servers = [await start_server(protocol, listen.host, listen.port)]
    else:
        servers = await start_servers(protocol, worker.traffic)
    port = TrafficPort(servers, protocol)
    stack.callback(port.close)
    return port


async def open_admin(
    view: AdminView, listen: Listen, worker: WorkerContext | None, stack: AsyncExitStack, max_connections: int
) -> asyncio.Server:
    """Serve operators, over at most `max_connections`, and a worker's peers, until the stack is left. Raises ListenError."""
    on_loopback = is_loopback(listen.admin_host)
    if worker is None:
        for_operators = await start_listener(app(view, on_loopback=on_loopback), stack, max_connections)
        servers = [await start_server(for_operators, listen.admin_host, listen.admin_port)]
    else:
        for_peers = await start_listener(app(view, on_loopback=True), stack)
        view = replace(view, peers=await WorkerPeers.join(worker, for_peers, stack))
        for_operators = await start_listener(app(view, on_loopback=on_loopback), stack, max_connections)
        servers = await start_servers(for_operators, worker.admin)
    for server in servers:
        stack.callback(server.close)
    return servers[0]
