"""Opens the two ports, taken here or by the parent: to traffic, and to operators and the other workers."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from dataclasses import replace

from ..admin.app import Shown, app, served
from ..admin.peers import WorkerPeers
from ..config.model import Listen
from ..loopback import is_loopback
from ..proxy.listener import Listener
from ..worker import WorkerContext
from .ports import listening, serving


async def open_traffic(
    listener: Listener, listen: Listen, tls: ssl.SSLContext | None, worker: WorkerContext | None, stack: AsyncExitStack
) -> list[asyncio.Server]:
    """Let clients in, until the stack is left or the servers are closed. Raises ListenError."""
    protocol = listener if tls is None else listener.encrypted(tls)
    if worker is None:
        servers = [await listening(protocol, listen.host, listen.port)]
    else:
        servers = await serving(protocol, worker.traffic)
    for server in servers:
        stack.callback(server.close)
    return servers


async def open_admin(
    shown: Shown, listen: Listen, worker: WorkerContext | None, stack: AsyncExitStack, most: int
) -> asyncio.Server:
    """Answer operators and, as a worker, the others; until the stack is left. At most `most` connections. Raises ListenError."""
    on_loopback = is_loopback(listen.admin_host)
    if worker is None:
        alone = await served(app(shown, on_loopback=on_loopback), stack, most)
        servers = [await listening(alone, listen.admin_host, listen.admin_port)]
    else:
        inside = await served(app(shown, on_loopback=True), stack)
        whole = replace(shown, peers=await WorkerPeers.join(worker, inside, stack))
        servers = await serving(await served(app(whole, on_loopback=on_loopback), stack, most), worker.admin)
    for server in servers:
        stack.callback(server.close)
    return servers[0]
