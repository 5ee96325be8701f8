"""Opens the traffic port and the admin port, on sockets of this process or on those that its supervisor bound."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from dataclasses import replace

from ..admin.app import AdminView, app, start_listener
from ..admin.peers import WorkerPeers
from ..config.model import Listen
from ..loopback import is_loopback
from ..proxy.listener import Listener
from ..worker import WorkerContext
from .ports import start_server, start_servers


async def open_traffic(
    listener: Listener, listen: Listen, tls: ssl.SSLContext | None, worker: WorkerContext | None, stack: AsyncExitStack
) -> list[asyncio.Server]:
    """Accept client connections, until the stack is left or the servers are closed. Raises ListenError."""
    protocol = listener if tls is None else listener.encrypted(tls)
    if worker is None:
        servers = [await start_server(protocol, listen.host, listen.port)]
    else:
        servers = await start_servers(protocol, worker.traffic)
    for server in servers:
        stack.callback(server.close)
    return servers


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
