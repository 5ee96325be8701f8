"""The real proxy on loopback without a process of its own, alone or with a raw upstream behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from passthrough.config.models.ocr_routes import ocr_routes
from passthrough.credentials.token_sources import TokenSources
from passthrough.exchange import BOUNDLESS, Allowance, Exchange, RouteTerms
from passthrough.meter.plan import MeterPlan
from passthrough.meter.usage import Usage
from passthrough.proxy.auth import Authenticator, ClientKey
from passthrough.proxy.deployments.deployment import OCR_ROUTE, Deployment, ModelGroup, Provider, Routing
from passthrough.proxy.deployments.file_users import FileUsers
from passthrough.proxy.deployments.model_table import ModelTable
from passthrough.proxy.deployments.pool import Pool
from passthrough.proxy.listener import Listener
from passthrough.proxy.ocr.settings import OcrSettings
from passthrough.proxy.relay import Relay, Rules
from passthrough.proxy.routes import Route, RouteTable, Serves, Target, Timeouts
from passthrough.proxy.settle import Settling
from passthrough.proxy.upstream.pool import ConnectionPool
from passthrough.secret import Secret
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


_OCR_TERMS = RouteTerms(OCR_ROUTE, MeterPlan("ocr"))
OCR_ROUTES = ocr_routes(())
"""The routes that a configuration with `model_list` has."""


def deployment_to(port: int, name: str = "mistral/m", group: str = "mistral-ocr", **settings: Any) -> Deployment:
    """Return a deployment on a port of loopback; `settings` are Deployment's, and of its route `base`, `key`, `timeouts`,
    `upstream_auth` (in the place of a key)."""
    base, key = settings.pop("base", b"/v1/ocr"), settings.pop("key", "provider-key")
    provider = settings.pop("provider", Provider.MISTRAL)
    target = Target(tls=False, host="127.0.0.1", port=port, base_path=base, name=f"127.0.0.1:{port}")
    timeouts, upstream_auth = settings.pop("timeouts", Timeouts()), settings.pop("upstream_auth", None)
    headers = () if upstream_auth else ((b"Authorization", Secret(f"Bearer {key}", "KEY")),)
    route = Route(b"/v1/ocr", (target,), _OCR_TERMS, headers=headers, timeouts=timeouts, upstream_auth=upstream_auth)
    return Deployment(name, group, provider, settings.pop("model", "mistral-ocr-latest"), target, route, **settings)


def target_to(port: int, name: str, path: bytes = b"/m", **settings: Any) -> Deployment:
    """Return a target of an endpoint on a port of loopback; `settings` are Deployment's, and else `route_to`'s."""
    own = {key: settings.pop(key) for key in ("weight", "order") if key in settings}
    headers = ((b"Authorization", Secret(f"Bearer {settings.pop('key', f'key-of-{name}')}", "KEY")),)
    route = route_to(port, path, headers=headers, **settings)
    return Deployment(name, route.terms.route, None, "", route.targets[0], route, **own)


def pool_of(*deployments: Deployment, sticky: bool | None = None, routing: Routing = Routing()) -> Pool:
    """Return the endpoint that has these targets; its route is the first one's, without a target."""
    route = replace(deployments[0].route, targets=(), headers=(), serves=Serves.POOL)
    return Pool(route, ModelTable((ModelGroup(route.terms.route, deployments),), routing), sticky)


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
        self.relay.rules = Rules(RouteTable(routes), Authenticator(clients), tokens=self.relay.rules.tokens)

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
    models: ModelTable | None = None,
    pools: tuple[Pool, ...] = (),
    settings: OcrSettings | None = None,
    tokens: TokenSources | None = None,
    file_users: FileUsers | None = None,
    **listening: Any,
) -> AsyncIterator[Road]:
    """Run the road on a free port of loopback. With `models` it has the OCR routes, too, with `pools` theirs.

    It closes `tokens` at its end.
    """
    pool = pool or ConnectionPool()
    routes = (*routes, *(each.route for each in pools), *(OCR_ROUTES if models is not None else ()))
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
    rules = Rules(RouteTable(routes), Authenticator(clients), models=models, pools=pools, tokens=tokens)
    relay = Relay(rules, pool, done, passed, decoders, allowance=allowance, file_users=file_users)
    relay.ocr.adopt(settings or OcrSettings(), rules.deployments)
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
        if tokens is not None:
            tokens.close()


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
