"""Opens the two ports, taken here or by the parent: to traffic, and to operators and the other workers."""

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
    """Let clients in, until the stack is left or the servers are closed. Raises ListenError."""
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
    """Answer operators and, as a worker, the others; until the stack is left. At most `most` connections. Raises ListenError."""
    on_loopback = is_loopback(listen.admin_host)
    if worker is None:
        alone = await start_listener(app(view, on_loopback=on_loopback), stack, max_connections)
        servers = [await start_server(alone, listen.admin_host, listen.admin_port)]
    else:
        inside = await start_listener(app(view, on_loopback=True), stack)
        whole = replace(view, peers=await WorkerPeers.join(worker, inside, stack))
        servers = await start_servers(
            await start_listener(app(whole, on_loopback=on_loopback), stack, max_connections), worker.admin
        )
    for server in servers:
        stack.callback(server.close)
    return servers[0]
