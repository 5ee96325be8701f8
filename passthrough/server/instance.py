"""One running instance: builds every part, connects traffic with accounting and the admin port, and serves until the stop."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from itertools import chain
from typing import Final

from .. import sandbox
from ..accounting.access_log import AccessLog
from ..accounting.bookkeeper import Bookkeeper
from ..accounting.budget import Policy
from ..accounting.budgets.budgets import Budgets
from ..accounting.budgets.price_probe import PriceProbe
from ..accounting.journal.folder import journal_folder
from ..accounting.ledger.ledger import Ledger
from ..accounting.ledger.retention import Retention
from ..accounting.meter_steps import MeterSteps
from ..accounting.pricing.offers import Offers
from ..accounting.pricing.prices import Prices, shipped
from ..admin.app import AdminView
from ..admin.budget_status import BudgetStatus
from ..admin.deployment_status import DeploymentStatus
from ..admin.gauges import Gauges
from ..admin.health import Health, Phase
from ..admin.metrics import Metrics
from ..config import announce
from ..config.model import Config
from ..config.reload import Sources
from ..credentials.token_sources import TokenSources
from ..loopback import is_loopback
from ..proxy.auth import Authenticator
from ..proxy.cors import Cors
from ..proxy.deployments.file_users import NAME as FILE_USERS
from ..proxy.deployments.file_users import FileUsers
from ..proxy.listener import Listener
from ..proxy.origins import PageGuard
from ..proxy.relay import Relay, Rules
from ..proxy.routes import Route, RouteTable, Target
from ..proxy.upstream.pool import ConnectionPool
from ..proxy.upstream.steps import Steps
from ..tracing.attributes import SpanConventions
from ..tracing.tracer import LogAndSpans, Tracer
from ..worker import FORCE_STOP, RELOAD, STOP, WorkerContext
from .certificate import ServerCertificate
from .deployments import deployment_statuses
from .drain import Drain
from .first_messages import reachable, started, trial
from .gc_tuning import YOUNG, freeze_heap
from .listeners import open_admin, open_traffic
from .ports import file_budget, server_tls, url
from .reload_watch import ReloadWatch
from .signals import Hangup, on_signal

CLOSE_ACCOUNTING_S: Final = 10.0
"""How long the bookkeeper may take to write what is left, after the last request."""

LAST_LEDGER_CALLS_S: Final = 2.0
"""How long a call of the ledger may take once the bookkeeper is closed."""

_log: Final = logging.getLogger("passthrough")


class Server:
    """One running instance. A reload replaces its rules, prices and budgets, never its parts."""

    def __init__(
        self, config: Config, sources: Sources, seen: bytes, access_log: AccessLog, worker: WorkerContext | None = None
    ) -> None:
        """`seen` is the snapshot of the files that was taken before `config` was read: a change in between counts as one.

        `worker` is set in a worker process: its supervisor has the ports, watches the files and logs what concerns all workers.
        None: this process is alone.
        """
        self._started_utc = time.time()
        self._config = config
        self._current = config
        self._worker = worker
        self._certificate: ServerCertificate | None = None
        self._reload = ReloadWatch(config, sources, seen, self._adopt, self._log_messages)
        self._reload.trouble = None if worker is None else worker.trouble
        self._metrics = Metrics()
        self._admin_digest = config.admin_digest
        self._sandbox: sandbox.Running | None = None
        self._sandbox_port = None if worker is None else worker.sandbox_port
        self._access_log = access_log
        self._ledger = None if config.ledger is None else Ledger.at(config.ledger, _log.warning)
        self._shipped_prices = shipped()
        prices = Prices(config.prices, self._shipped_prices, config.price_map)
        self._budgets = Budgets(
            self._ledger,
            _log.warning,
            lambda: self._bookkeeper.wake(),  # noqa: PLW0108 - it is made below
            PriceProbe(prices),
        )
        self._retention = Retention(self._ledger, config.ledger_keep_days, warn=_log.warning)
        conventions = SpanConventions("http" if config.listen.tls_cert is None else "https", Offers(self._shipped_prices))
        self._tracer = None if config.tracing is None else Tracer(config.tracing, conventions, _log.warning)
        is_debugged = _log.isEnabledFor(logging.DEBUG)  # The level does not change.
        self._bookkeeper = Bookkeeper(
            prices=prices,
            ledger=self._ledger,
            journal=journal_folder(config.ledger or "", config.journal),
            access_log=access_log if self._tracer is None else LogAndSpans(access_log, self._tracer),
            warn=_log.warning,
            observers=(self._budgets, self._metrics, *([MeterSteps(_debug)] if is_debugged else [])),
            housekeeping=self._housekeeping,
            reserved=self._budgets.reserved,
        )
        self._decoders = ThreadPoolExecutor(2, "decode")
        self._upstream = ConnectionPool(idle_s=config.listen.upstream_keep_alive_s)
        self._tokens = TokenSources(lambda message: _log.warning("%s", message))
        self._relay = Relay(
            _rules(config, self._sandbox_port, config.listen.host, self._tokens),
            self._upstream,
            self._bookkeeper.done,
            self._bookkeeper.passed,
            self._decoders,
            allowance=self._budgets,
            file_users=self._file_users(),
            steps=Steps(_debug) if is_debugged else None,
        )
        self._relay.traced = self._tracer is not None
        self.health = Health(
            {
                "ledger": lambda: self._bookkeeper.trouble,
                "budgets": lambda: self._budgets.trouble,
                "reload": lambda: self._reload.trouble,
                "credentials": lambda: self._tokens.trouble,
            }
        )
        self._drain = Drain(self._relay, self.health, config.listen)
        self._lost_before_stop = 0

    @property
    def lost_at_stop(self) -> int:
        """How many entries reached neither the ledger nor the journal by the stop; what was lost before is not among them."""
        return self._bookkeeper.lost - self._lost_before_stop

    async def run(self, *, with_sandbox: bool, reopen_log: Callable[[], None], notify_ready: Callable[[], None]) -> None:
        """Serve until a stop is ordered. Raises ListenError where a port is taken, SandboxError where its extra is missing.

        `reopen_log` opens the access log's file by its name once more; it may block, and is called in a thread. `notify_ready` is
        called once it listens, unless this is a worker: then its supervisor knows when all do.
        """
        self._handle_signals(reopen_log)
        async with self._reload.lock:
            if with_sandbox and self._worker is None:
                self._sandbox = await sandbox.start("127.0.0.1", 0)
                self._sandbox_port = self._sandbox.port
            await self._adopt(self._config)
        await self._bookkeeper.start()
        listen = self._config.listen
        files = file_budget()
        if (warning := files.warning(listen.max_connections)) is not None:
            _log.warning("%s", warning)
        listener = Listener(
            self._relay,
            max_connections=min([each for each in (listen.max_connections, files.traffic) if each is not None], default=None),
            keep_alive_s=listen.client_keep_alive_s,
        )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close)
            tls = None if self._certificate is None else self._certificate.context
            traffic = await open_traffic(listener, listen, tls, self._worker, stack)
            scheme = "http" if tls is None else "https"
            reached = url(scheme, traffic.sockets if self._worker is None else self._worker.traffic)
            admin = await open_admin(self._admin_view(listener, reachable(reached)), listen, self._worker, stack, files.admin)
            worker = self._worker
            own = [*traffic.sockets, *admin.sockets] if worker is None else [*worker.traffic, *worker.admin]
            self._upstream.listening = [each.getsockname() for each in own]
            freeze_heap(YOUNG)
            self.health.phase = Phase.READY
            if self._worker is None:
                admin_url = url("http", admin.sockets)
                self._log_messages(started(self._config, reached, admin_url, sandbox=with_sandbox))
                notify_ready()
            else:
                self._worker.say_ready()
            await self._until_stopped()
            await self._drain.run(listener, traffic)

    def _file_users(self) -> FileUsers:
        """Return which clients use files: all workers know it, and with a ledger the next start, by a file beside the journal."""
        config, worker = self._config, self._worker
        file = None if config.ledger is None else journal_folder(config.ledger, config.journal) / FILE_USERS
        return FileUsers(None if worker is None else worker.file_users, file, lambda message: _log.warning("%s", message))

    def _handle_signals(self, reopen_log: Callable[[], None]) -> None:
        """Take signals or, as a worker, the supervisor's orders. This comes first: who reads the ports may send one at once."""

        def reload() -> None:
            asyncio.get_running_loop().run_in_executor(None, reopen_log)
            self._reload.order()

        if self._worker is None:
            on_signal("SIGTERM", self._drain.begin_or_force)
            on_signal("SIGINT", self._drain.begin_or_force)
            hangup = Hangup()
            on_signal("SIGHUP", lambda: self._drain.begin_or_force() if hangup.terminal_has_gone() else reload())
            return
        # A service manager may send it to supervisor and workers alike: it does not count as a second order.
        on_signal("SIGTERM", self._drain.begin)
        orders = {RELOAD: reload, STOP: self._drain.begin, FORCE_STOP: self._drain.force}
        self._worker.follow_orders(orders, self._stop_orphaned)

    def _stop_orphaned(self) -> None:
        _log.error("The parent process has gone.")
        self._drain.begin()

    def _admin_view(self, listener: Listener, traffic: str) -> AdminView:
        """Return what the admin port shows of this instance; `traffic` is the URL that clients reach."""
        readings = {
            "in_flight": lambda: len(self._relay.active),
            "settling": lambda: len(self._relay.settling),
            "connections": lambda: listener.open,
            "ledger_waiting": lambda: self._bookkeeper.waiting,
            "ledger_lag_s": lambda: self._bookkeeper.lag_s,
            "ledger_lost": lambda: self._bookkeeper.lost,
            "journal_bytes": lambda: self._bookkeeper.journal_bytes,
            "started_utc": lambda: self._started_utc,
            "log_dropped": lambda: self._access_log.dropped,
            "spans_exported": lambda: None if self._tracer is None else self._tracer.exported,
            "spans_dropped": lambda: None if self._tracer is None else self._tracer.dropped,
        }
        gauges = Gauges(
            readings,
            self.health,
            self._reload.counts,
            self._budget_statuses,
            self._deployment_statuses,
            lambda: self._relay.ocr.documents.counts.outcomes,
            lambda: self._tokens.readings,
        )
        return AdminView(
            health=self.health,
            ledger=self._ledger,
            sources=lambda: [chain(gauges.families(), self._metrics.families())],
            budgets=self._budget_statuses,
            digest=lambda: self._admin_digest,
            prices=lambda: self._bookkeeper.prices,
            deployments=self._deployment_statuses,
            trial=lambda: trial(self._current, traffic),
        )

    def _housekeeping(self) -> None:
        """Do what is due beside writing entries; runs on the thread that writes the ledger."""
        self._budgets.refresh()
        self._retention.step()

    def _budget_statuses(self) -> list[BudgetStatus]:
        return [BudgetStatus(*state) for state in self._budgets.state()]

    def _deployment_statuses(self) -> list[DeploymentStatus]:
        deployments, now = self._relay.rules.deployments, asyncio.get_running_loop().time()
        return deployment_statuses(deployments, self._relay.ocr.balancer, time.time(), now)

    def _log_messages(self, messages: announce.Messages) -> None:
        """Log what concerns the whole program; in a worker for debugging only, because the supervisor logs it too."""
        for level, text in messages:
            _log.log(level if self._worker is None else logging.DEBUG, "%s", text)

    async def _adopt(self, config: Config) -> None:
        """Put a configuration in force: everything is made first, then swapped in. Raises ListenError, OSError."""
        tls = await asyncio.to_thread(server_tls, config.listen.tls_cert, config.listen.tls_key)
        rules = await asyncio.to_thread(_rules, config, self._sandbox_port, self._config.listen.host, self._tokens)
        await self._upstream.prepare(_targets(rules))
        policy = Policy(
            config.budgets, config.calendar, config.refuse_unlent, config.budget_webhook, sandbox=self._sandbox_port is not None
        )
        prices = await asyncio.to_thread(Prices, config.prices, self._shipped_prices, config.price_map)
        probe = PriceProbe(
            prices,
            (route.terms for route in config.routes),
            deployments=[(each.target.name, each.route.terms) for each in rules.deployments],
        )
        await asyncio.to_thread(self._budgets.apply, policy, probe)
        self._prepare_tokens(config, rules)
        self._relay.rules = rules
        self._relay.ocr.adopt(config.ocr, rules.deployments)
        self._tokens.keep(config.identities)
        self._renew_certificate(tls)
        self._retention.keep_days = config.ledger_keep_days
        self._admin_digest = config.admin_digest
        self._reload.counts.good_utc = time.time()
        self._bookkeeper.swap(prices)
        self._log_messages(announce.adopted(config, self._current))
        self._current = config

    def _prepare_tokens(self, config: Config, rules: Rules) -> None:
        """Start to fetch the tokens of a configuration that is about to come into force; the start does not wait for them.

        The rewriters are made now: a later reload may close their sources, while requests under way still go by these rules.
        """
        self._tokens.prepare(config.identities, config.identity_users)
        for route in _upstream_routes(rules):
            if route.upstream_auth is not None:
                rules.rewriter(route)

    def _renew_certificate(self, tls: ssl.SSLContext | None) -> None:
        """Show this certificate from now on; whether the port speaks TLS at all does not change after the start."""
        if tls is not None and self._certificate is not None:
            self._certificate.renew(tls)
        elif tls is not None and self.health.phase is Phase.STARTING:
            self._certificate = ServerCertificate(tls)

    async def _until_stopped(self) -> None:
        """Wait until a stop is ordered; the files are watched meanwhile, in a worker by its supervisor."""
        watch = [asyncio.create_task(self._reload.run())] if self._worker is None else []
        try:
            await self._drain.ordered.wait()
        finally:
            for task in (*watch, *self._reload.tasks):
                task.cancel()

    async def _close(self) -> None:
        """Close every part, after the last request: accounting while the ledger is still open."""
        self._upstream.close()
        self._tokens.close()
        self._lost_before_stop = self._bookkeeper.lost
        await self._bookkeeper.close(CLOSE_ACCOUNTING_S)
        if self._ledger is not None:
            self._ledger.limit_calls(LAST_LEDGER_CALLS_S)  # those of the admin port too: the process waits for their threads
            await asyncio.to_thread(self._budgets.close)
            await asyncio.to_thread(self._ledger.close)
        self._decoders.shutdown(wait=False, cancel_futures=True)
        if self._sandbox is not None:
            await self._sandbox.close()


def _debug(message: str) -> None:
    _log.debug("%s", message)


def _rules(config: Config, sandbox_port: int | None, host: str, tokens: TokenSources) -> Rules:
    """Return what the relay goes by; `host` is where the program listens, which a reload does not change."""
    routes: Iterable[Route] = (*config.routes, *config.ocr_routes)
    models, pools = config.models, config.pools
    if sandbox_port is not None:
        routes = (route.at_port(sandbox_port) for route in routes)
        models = None if models is None else models.at_port(sandbox_port)
        pools = tuple(pool.at_port(sandbox_port) for pool in pools)
    authenticator = Authenticator(config.clients, key_header=config.key_header)
    guard = PageGuard(config.cors) if is_loopback(host) and not config.allow_anonymous else None
    cors = Cors(config.cors) if config.cors else None
    return Rules(RouteTable(routes), authenticator, config.max_parallel, guard, cors, models, pools, tokens)


def _upstream_routes(rules: Rules) -> Iterator[Route]:
    """Yield all routes that have a target: endpoints with one target, and those of deployments."""
    yield from (route for route in rules.routes.routes if route.targets)
    yield from (deployment.route for deployment in rules.deployments)


def _targets(rules: Rules) -> Iterator[Target]:
    """Yield all targets that rules lead to."""
    for route in _upstream_routes(rules):
        yield from route.targets
