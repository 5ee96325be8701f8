"""The real proxy on loopback without a process of its own, alone or with a raw upstream behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from passthrough.exchange import BOUNDLESS, Allowance, Exchange, RouteTerms
from passthrough.meter.plan import MeterPlan
from passthrough.meter.usage import Usage
from passthrough.proxy.auth import Authenticator, ClientKey
from passthrough.proxy.listener import Listener
from passthrough.proxy.relay import Relay, Rules
from passthrough.proxy.routes import Route, RouteTable, Target
from passthrough.proxy.settle import Settling
from passthrough.proxy.upstream.pool import ConnectionPool
from tests.harness.upstream import RawUpstream, Script, upstream
from tests.harness.waiting import WAIT_S


def route_to(port: int, path: bytes = b"", *, base: bytes = b"", query: bytes = b"", **settings: Any) -> Route:
    """Return a route for everything below `path` to a port of loopback."""
    target = Target(tls=False, host="127.0.0.1", port=port, base_path=base, query=query, name=f"127.0.0.1:{port}")
    terms = settings.pop("terms", RouteTerms(path.decode() or "/", settings.pop("plan", MeterPlan())))
    settings.setdefault("include_subpath", True)
    settings.setdefault("forward_headers", True)
    target = replace(target, **settings.pop("target", {}))
    return Route(path=path, targets=(target,), terms=terms, **settings)


@dataclass(slots=True)
class Road:
    """The real road, with a list where the books would be."""

    relay: Relay
    listener: Listener
    upstream: ConnectionPool
    settling: Settling
    server: asyncio.AbstractServer
    exchanges: list[Exchange] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    passed: list[tuple[str, Usage]] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server.sockets[0].getsockname()[1])

    def adopt(self, routes: Iterable[Route], clients: Iterable[ClientKey] = ()) -> None:
        """Put other rules in force."""
        self.relay.rules = Rules(RouteTable(routes), Authenticator(clients))

    async def booked(self, count: int = 1) -> list[Exchange]:
        """Wait until `count` exchanges have ended and return all of them."""
        async with asyncio.timeout(WAIT_S):
            while len(self.exchanges) < count:
                self.ended.clear()
                await self.ended.wait()
        return self.exchanges

    async def quiet(self) -> None:
        """Wait until no request is being served and no call settles."""
        async with asyncio.timeout(WAIT_S):
            while self.relay.active:
                await asyncio.wait(set(self.relay.active.values()))
            await self.settling.drained()


@asynccontextmanager
async def road(
    *routes: Route,
    clients: Iterable[ClientKey] = (),
    tls: Any = None,
    allowance: Allowance = BOUNDLESS,
    pool: ConnectionPool | None = None,
    **listening: Any,
) -> AsyncIterator[Road]:
    """Run the road on a free port of loopback."""
    pool = pool or ConnectionPool()
    await pool.prepare(target for route in routes for target in route.targets)
    exchanges: list[Exchange] = []
    ended = asyncio.Event()

    def done(exchange: Exchange) -> None:
        exchanges.append(exchange)
        ended.set()

    lines: list[tuple[str, Usage]] = []

    def passed(exchange: Exchange, usages: Iterable[Usage]) -> None:
        lines.extend((exchange.id, usage) for usage in usages)

    decoders = ThreadPoolExecutor(1)
    relay = Relay(Rules(RouteTable(routes), Authenticator(clients)), pool, done, passed, decoders, allowance=allowance)
    listener = Listener(relay, **listening)
    server = await asyncio.get_running_loop().create_server(listener if tls is None else listener.encrypted(tls), "127.0.0.1", 0)
    try:
        yield Road(relay, listener, pool, relay.settling, server, exchanges, ended, lines)
    finally:
        server.close()
        await relay.settling.cut_off()
        await listener.shutdown(1)
        pool.close()
        decoders.shutdown()


@asynccontextmanager
async def street(
    script: Script, *, clients: Iterable[ClientKey] = (), **settings: Any
) -> AsyncIterator[tuple[Road, RawUpstream]]:
    """Run a raw upstream and the road to it, with one route for every path; at the end nothing may be left over.

    What is looked for: requests still served, calls still settling, connections to the upstream, tasks.
    """
    before = asyncio.all_tasks()
    async with upstream(script) as above:
        async with road(route_to(above.port, **settings), clients=clients) as house:
            yield house, above
            await house.quiet()
        async with asyncio.timeout(WAIT_S):
            await above.left()
    left = asyncio.all_tasks() - before
    if left:
        _, left = await asyncio.wait(left, timeout=WAIT_S)
    assert left == set()
