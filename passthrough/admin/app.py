"""The admin port's HTTP application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from .. import __version__
from ..accounting.ledger.ledger import Ledger
from ..accounting.money import json_object
from ..accounting.pricing.prices import Prices
from ..accounting.reports.model_names import ModelNaming
from ..accounting.reports.report import Report, to_csv, to_json
from ..errors import LedgerError
from .auth import loopback_names_only, require_key
from .budget_status import BudgetStatus, budgets_json
from .dashboard import add_dashboard
from .deployment_status import DeploymentStatus, deployments_json
from .exchanges import exchanges_json
from .exposition import CONTENT_TYPE, Source, exposition
from .health import Condition, Health
from .ledger_reads import LedgerReads
from .listener import MAX_CONNECTIONS, AdminListener
from .peers import WorkerPeers
from .query import InvalidQuery, SumsQuery, parse_latest, parse_recent, parse_sums, summarized
from .recent import MAX_RECENT, recent_json
from .responses import add_security_headers, error_response, json_text

_SHUTDOWN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class AdminView:
    """What the admin port shows of an instance. The functions are called on the event loop, at every request.

    `ledger` None: there is none. `sources` are what the processes count; their families may be made lazily, in a thread.
    `digest` is the SHA-256 of the admin key in force, None without one. `prices` are those in force, which name models; by
    default those that ship. `deployments` are those of `model_list`. `peers` are the other workers, which are shown too;
    None: only this process is shown. `trial` is a title, an empty line, and a command that sends a first request; None where no
    route leads to OCR.
    """

    health: Health
    ledger: Ledger | None
    sources: Callable[[], Sequence[Source]]
    budgets: Callable[[], Sequence[BudgetStatus]]
    digest: Callable[[], bytes | None]
    prices: Callable[[], Prices] = Prices
    peers: WorkerPeers | None = None
    deployments: Callable[[], Sequence[DeploymentStatus]] = tuple
    trial: Callable[[], str | None] = lambda: None


def app(view: AdminView, *, on_loopback: bool) -> web.Application:
    """Return the application. Bound to loopback, it serves loopback's names only; elsewhere it requires the admin key."""
    reads = LedgerReads()
    application = web.Application(
        middlewares=[add_security_headers, loopback_names_only if on_loopback else require_key(view.digest), _explain_errors]
    )
    _add_health(application.router, view)
    _add_figures(application.router, view)
    if view.ledger is None:
        for path in ("/usage", "/usage.csv", "/exchanges", "/recent", "/labels"):
            application.router.add_get(path, _no_ledger)
    else:
        _add_ledger(application.router, view.ledger, reads, view.prices)
    add_dashboard(application.router)

    async def close(_: web.Application) -> None:
        reads.close()

    application.on_cleanup.append(close)
    return application


async def start_listener(
    application: web.Application, stack: AsyncExitStack, max_connections: int = MAX_CONNECTIONS
) -> AdminListener:
    """Return the factory of connections to an application, at most `max_connections` at once, until the stack is left."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    assert runner.server is not None
    return AdminListener(runner.server, max_connections)


def _add_health(router: web.UrlDispatcher, view: AdminView) -> None:
    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "version": __version__})

    async def readyz(_: web.Request) -> web.Response:
        condition = Condition.of(view.health)
        if view.peers is not None:
            condition = await view.peers.condition(condition)
        body = {"status": condition.status, "degraded": condition.degraded, "version": __version__}
        return web.json_response(body, status=200 if condition.ready else 503)

    for path in ("/healthz", "/health/liveliness"):
        router.add_get(path, healthz)
    for path in ("/readyz", "/health/readiness"):
        router.add_get(path, readyz)


def _add_figures(router: web.UrlDispatcher, view: AdminView) -> None:
    one_at_a_time = asyncio.Lock()

    async def metrics(_: web.Request) -> web.Response:
        async with one_at_a_time:
            body = await asyncio.to_thread(exposition, view.sources())
            if view.peers is not None:
                body = await view.peers.metrics(body)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def budgets(_: web.Request) -> web.Response:
        statuses = view.budgets()
        if view.peers is not None:
            statuses = await view.peers.budgets(statuses)
        return json_text(budgets_json(statuses))

    async def deployments(_: web.Request) -> web.Response:
        statuses = view.deployments()
        if view.peers is not None:
            statuses = await view.peers.deployments(statuses)
        return json_text(deployments_json(statuses))

    async def trial(_: web.Request) -> web.Response:
        title, _empty, command = (view.trial() or "").partition("\n\n")
        return web.json_response({"title": title or None, "command": command.rstrip() or None})

    router.add_get("/metrics", metrics)
    router.add_get("/budgets", budgets)
    router.add_get("/deployments", deployments)
    router.add_get("/trial", trial)


def _add_ledger(router: web.UrlDispatcher, ledger: Ledger, reads: LedgerReads, prices: Callable[[], Prices]) -> None:
    def summed(query: SumsQuery) -> Report:
        return summarized(ledger, query, ModelNaming(prices))

    async def usage(request: web.Request) -> web.Response:
        query = parse_sums(list(request.query.items()), datetime.now(UTC))
        return json_text(await reads.run(lambda: to_json(summed(query))))

    async def table(request: web.Request) -> web.Response:
        query = parse_sums(list(request.query.items()), datetime.now(UTC))
        text = await reads.run(lambda: to_csv(summed(query)))
        named = {"Content-Disposition": 'attachment; filename="usage.csv"'}
        return web.Response(text=text, content_type="text/csv", charset="utf-8", headers=named)

    async def exchanges(request: web.Request) -> web.Response:
        limit, which = parse_latest(list(request.query.items()), datetime.now(UTC))
        return json_text(await reads.run(lambda: exchanges_json(ledger.latest(limit, which=which))))

    async def recent(request: web.Request) -> web.Response:
        which = parse_recent(list(request.query.items()), datetime.now(UTC))
        return json_text(await reads.run(lambda: recent_json(ledger.latest_ends(MAX_RECENT + 1, which))))

    router.add_get("/usage", usage)
    router.add_get("/usage.csv", table)

    async def labels(_: web.Request) -> web.Response:
        return json_text(json_object((("labels", await reads.run(ledger.label_names)),)))

    router.add_get("/exchanges", exchanges)
    router.add_get("/recent", recent)
    router.add_get("/labels", labels)


async def _no_ledger(_: web.Request) -> web.Response:
    return error_response(404, "no_ledger", "There is no ledger to read: it is 'none'.", "Name one as 'ledger' in routes.yaml.")


@web.middleware
async def _explain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn errors into responses: (1) the query is wrong: 400; (2) the ledger cannot be read now: 503."""
    try:
        return await handler(request)
    except InvalidQuery as invalid:
        return error_response(400, "bad_question", str(invalid))
    except LedgerError as error:
        why, _, hint = str(error).partition("\n")
        return error_response(503, "ledger_unreadable", why, hint)
