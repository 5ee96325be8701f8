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
from ..accounting.reports.report import to_csv, to_json
from ..errors import LedgerError
from .auth import of_this_machine, with_key
from .budget_status import BudgetStatus, budgets_json
from .dashboard import add_pages
from .exchanges import exchanges_json
from .exposition import CONTENT_TYPE, Source, exposition
from .health import Condition, Health
from .ledger_reads import Reads
from .listener import MAX_CONNECTIONS, AdminListener
from .peers import WorkerPeers
from .query import Unclear, answer, latest_asked, sums_asked
from .responses import guarded, json_text, refused

_SHUTDOWN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Shown:
    """What of the house is shown. The functions are called on the event loop, at every request.

    `ledger` None: there is none. `sources` are what the processes count; their families may be made lazily, in a thread.
    `digest` is the SHA-256 of the admin key that holds now, None without one. `siblings` are the other workers, of which all is
    told too; None: only this process is shown.
    """

    health: Health
    ledger: Ledger | None
    sources: Callable[[], Sequence[Source]]
    budgets: Callable[[], Sequence[BudgetStatus]]
    digest: Callable[[], bytes | None]
    peers: WorkerPeers | None = None


def app(shown: Shown, *, on_loopback: bool) -> web.Application:
    """Return the application. Bound to loopback, it answers to loopback's names only; elsewhere it asks for the admin key."""
    reads = Reads()
    application = web.Application(middlewares=[guarded, of_this_machine if on_loopback else with_key(shown.digest), _explained])
    _add_health(application.router, shown)
    _add_figures(application.router, shown)
    if shown.ledger is None:
        for path in ("/usage", "/usage.csv", "/exchanges"):
            application.router.add_get(path, _no_ledger)
    else:
        _add_ledger(application.router, shown.ledger, reads)
    add_pages(application.router)

    async def close(_: web.Application) -> None:
        reads.close()

    application.on_cleanup.append(close)
    return application


async def served(application: web.Application, stack: AsyncExitStack, most: int = MAX_CONNECTIONS) -> AdminListener:
    """Return what connections to an application are given to, at most so many at once, until the stack is left."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    assert runner.server is not None
    return AdminListener(runner.server, most)


def _add_health(router: web.UrlDispatcher, shown: Shown) -> None:
    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "version": __version__})

    async def readyz(_: web.Request) -> web.Response:
        condition = Condition.of(shown.health)
        if shown.peers is not None:
            condition = await shown.peers.condition(condition)
        said = {"status": condition.status, "degraded": condition.degraded, "version": __version__}
        return web.json_response(said, status=200 if condition.ready else 503)

    for path in ("/healthz", "/health/liveliness"):
        router.add_get(path, healthz)
    for path in ("/readyz", "/health/readiness"):
        router.add_get(path, readyz)


def _add_figures(router: web.UrlDispatcher, shown: Shown) -> None:
    one_at_a_time = asyncio.Lock()

    async def metrics(_: web.Request) -> web.Response:
        async with one_at_a_time:
            body = await asyncio.to_thread(exposition, shown.sources())
            if shown.peers is not None:
                body = await shown.peers.metrics(body)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def budgets(_: web.Request) -> web.Response:
        statuses = shown.budgets()
        if shown.peers is not None:
            statuses = await shown.peers.budgets(statuses)
        return json_text(budgets_json(statuses))

    router.add_get("/metrics", metrics)
    router.add_get("/budgets", budgets)


def _add_ledger(router: web.UrlDispatcher, ledger: Ledger, reads: Reads) -> None:
    async def usage(request: web.Request) -> web.Response:
        asked = sums_asked(list(request.query.items()), datetime.now(UTC))
        return json_text(await reads.of(lambda: to_json(answer(ledger, asked))))

    async def table(request: web.Request) -> web.Response:
        asked = sums_asked(list(request.query.items()), datetime.now(UTC))
        text = await reads.of(lambda: to_csv(answer(ledger, asked)))
        named = {"Content-Disposition": 'attachment; filename="usage.csv"'}
        return web.Response(text=text, content_type="text/csv", charset="utf-8", headers=named)

    async def exchanges(request: web.Request) -> web.Response:
        limit, only = latest_asked(list(request.query.items()))
        return json_text(await reads.of(lambda: exchanges_json(ledger.latest(limit, **only))))

    router.add_get("/usage", usage)
    router.add_get("/usage.csv", table)
    router.add_get("/exchanges", exchanges)


async def _no_ledger(_: web.Request) -> web.Response:
    return refused(404, "no_ledger", "There is no ledger to read: it is 'none'.", "Name one as 'ledger' in routes.yaml.")


@web.middleware
async def _explained(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say why a question was not answered: (1) it was not understood; (2) the ledger cannot be read now."""
    try:
        return await handler(request)
    except Unclear as unclear:
        return refused(400, "bad_question", str(unclear))
    except LedgerError as error:
        why, _, hint = str(error).partition("\n")
        return refused(503, "ledger_unreadable", why, hint)
