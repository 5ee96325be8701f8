"""Builds the house, listens, reloads, drains: the only room that knows all rooms."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from itertools import chain
from typing import Final

from .. import sandbox
from ..accounting.access_log import AccessLog
from ..accounting.bookkeeper import Bookkeeper
from ..accounting.budget import Policy
from ..accounting.budgets.budgets import Budgets
from ..accounting.journal.journal import journal_folder
from ..accounting.ledger.ledger import Ledger
from ..accounting.ledger.retention import Retention
from ..accounting.pricing.prices import Prices, shipped
from ..admin.app import AdminView
from ..admin.budget_status import BudgetStatus
from ..admin.gauges import Gauges, Reloads
from ..admin.health import Health, Phase
from ..admin.metrics import Metrics
from ..config import announce
from ..config.model import Config
from ..config.reload import LOOK_EVERY_S, SETTLED_S, Sources, WatchedFiles, check_guarded
from ..errors import ConfigError
from ..loopback import is_loopback
from ..proxy.auth import Authenticator
from ..proxy.cors import Cors
from ..proxy.listener import Listener
from ..proxy.origins import PageGuard
from ..proxy.relay import Relay, Rules
from ..proxy.routes import Route, RouteTable
from ..proxy.upstream.pool import ConnectionPool
from ..worker import FORCE_STOP, RELOAD, STOP, WorkerContext
from .certificate import ServerCertificate
from .gc_tuning import YOUNG, freeze_heap, without_gc
from .listeners import open_admin, open_traffic
from .ports import ListenError, file_budget, server_tls, url
from .signals import Hangup, on_signal

ARRIVING_S: Final = 0.05
"""How long connections that were accepted before the stop have for the request that is on its way."""

CLOSE_ACCOUNTING_S: Final = 10.0
"""How long the books may take to write what is left, after the last request."""

LAST_LEDGER_CALLS_S: Final = 2.0
"""How long a call of the ledger may take once the books are closed."""

_log: Final = logging.getLogger("passthrough")


class Server:
    """One running instance. `config` is what it was built from; reloads replace the rules, never the house."""

    def __init__(
        self, config: Config, sources: Sources, seen: bytes, lines: AccessLog, worker: WorkerContext | None = None
    ) -> None:
        """`seen` is the snapshot of the files, taken before `config` was read of them: what changes in between is a change.

        `seat` is this worker's among several, whose parent has the ports, watches the files and says what concerns all; None:
        this process is alone.
        """
        self._config = config
        self._current = config
        self._worker = worker
        self._sources = sources
        self._files = WatchedFiles(sources, seen, config)
        self._certificate: ServerCertificate | None = None
        self._reload_trouble = None if worker is None else worker.trouble
        self._reload_count = Reloads()
        self._metrics = Metrics()
        self._admin_digest = config.admin_digest
        self._sandbox: sandbox.Running | None = None
        self._sandbox_port = None if worker is None else worker.sandbox_port
        self._lines = lines
        self._ledger = None if config.ledger is None else Ledger.at(config.ledger, _log.warning)
        self._listed = shipped()
        self._budgets = Budgets(self._ledger, _log.warning, lambda: self._bookkeeper.wake())  # noqa: PLW0108 - it is made below
        self._retention = Retention(self._ledger, config.ledger_keep_days, warn=_log.warning)
        self._bookkeeper = Bookkeeper(
            prices=Prices(config.prices, self._listed),
            ledger=self._ledger,
            journal=journal_folder(config.ledger or "", config.journal),
            lines=self._lines,
            warn=_log.warning,
            observers=(self._budgets, self._metrics),
            housekeeping=self._housekeeping,
            reserved=self._budgets.reserved,
        )
        self._decoders = ThreadPoolExecutor(2, "decode")
        self._upstream = ConnectionPool(idle_s=config.listen.upstream_keep_alive_s)
        self._relay = Relay(
            _rules(config, self._sandbox_port, config.listen.host),
            self._upstream,
            self._bookkeeper.done,
            self._bookkeeper.passed,
            self._decoders,
            allowance=self._budgets,
        )
        self.health = Health(
            {
                "ledger": lambda: self._bookkeeper.trouble,
                "budgets": lambda: self._budgets.trouble,
                "reload": lambda: self._reload_trouble,
            }
        )
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[None]] = set()

    async def run(self, *, with_sandbox: bool) -> None:
        """Serve until told to stop. Raises ListenError where a port is taken, SandboxError where its extra is missing."""
        self._mind_signals()
        async with self._reloading:
            if with_sandbox and self._worker is None:
                self._sandbox = await sandbox.start("127.0.0.1", 0)
                self._sandbox_port = self._sandbox.port
            await self._adopt(self._config)
        await self._bookkeeper.start()
        listen = self._config.listen
        room_ = file_budget()
        if (few := room_.warning(listen.max_connections)) is not None:
            _log.warning("%s", few)
        listener = Listener(
            self._relay,
            max_connections=min([each for each in (listen.max_connections, room_.traffic) if each is not None], default=None),
            keep_alive_s=listen.client_keep_alive_s,
        )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close)
            tls = None if self._certificate is None else self._certificate.context
            traffic = await open_traffic(listener, listen, tls, self._worker, stack)
            admin = await open_admin(self._shown(listener), listen, self._worker, stack, room_.admin)
            worker = self._worker
            own = [*traffic[0].sockets, *admin.sockets] if worker is None else [*worker.traffic, *worker.admin]
            self._upstream.own = [each.getsockname() for each in own]
            freeze_heap(YOUNG)
            self.health.phase = Phase.READY
            if self._worker is None:
                scheme = "https" if listen.tls_cert else "http"
                urls = url(scheme, traffic[0].sockets), url("http", admin.sockets)
                self._say(announce.started(self._config, *urls, sandbox=with_sandbox))
            else:
                self._worker.say_ready()
            await self._until_stopped()
            await self._drain(listener, traffic)

    def _mind_signals(self) -> None:
        """Take signals or, as a worker, the parent's orders; before the ports are named, whose reader may send one at once."""
        if self._worker is None:
            on_signal("SIGTERM", self.stop)
            on_signal("SIGINT", self.stop)
            hangup = Hangup()
            on_signal("SIGHUP", lambda: self.stop() if hangup.terminal_has_gone() else self._reload_soon())
            return
        # A service manager may send it to parent and workers alike: it does not count as a second order.
        on_signal("SIGTERM", self._stop.set)
        self._worker.obey({RELOAD: self._reload_soon, STOP: self._stop.set, FORCE_STOP: self._hurry.set}, self._orphaned)

    def _orphaned(self) -> None:
        _log.error("The parent process has gone.")
        self._stop.set()

    def _shown(self, listener: Listener) -> AdminView:
        """Return what the admin port shows."""
        readings = {
            "in_flight": lambda: len(self._relay.active),
            "settling": lambda: len(self._relay.settling),
            "connections": lambda: listener.open,
            "ledger_waiting": lambda: self._bookkeeper.waiting,
            "ledger_lag_s": lambda: self._bookkeeper.lag_s,
            "ledger_lost": lambda: self._bookkeeper.lost,
            "journal_bytes": lambda: self._bookkeeper.journal_bytes,
            "log_dropped": lambda: self._lines.dropped,
        }
        gauges = Gauges(readings, self.health, self._reload_count, self._statuses)
        return AdminView(
            health=self.health,
            ledger=self._ledger,
            sources=lambda: [chain(gauges.families(), self._metrics.families())],
            budgets=self._statuses,
            digest=lambda: self._admin_digest,
        )

    def _housekeeping(self) -> None:
        """Do what the books do beside writing, on the thread that writes the ledger."""
        self._budgets.refresh()
        self._retention.step()

    def _statuses(self) -> list[BudgetStatus]:
        return [BudgetStatus(*state) for state in self._budgets.state()]

    def _say(self, said: announce.Messages) -> None:
        """Say what concerns the whole, unless the parent does."""
        for level, text in said:
            _log.log(level if self._worker is None else logging.DEBUG, "%s", text)

    # ── reload ──

    async def _adopt(self, config: Config) -> None:
        """Put new rules in force: everything is made first, then swapped in one assignment. Raises ListenError, OSError."""
        tls = await asyncio.to_thread(server_tls, config.listen.tls_cert, config.listen.tls_key)
        rules = await asyncio.to_thread(_rules, config, self._sandbox_port, self._config.listen.host)
        await self._upstream.prepare(target for route in rules.routes.routes for target in route.targets)
        policy = Policy(
            config.budgets, config.calendar, config.refuse_unlent, config.budget_webhook, sandbox=self._sandbox_port is not None
        )
        await asyncio.to_thread(self._budgets.apply, policy)
        self._relay.rules = rules
        self._show_certificate(tls)
        self._retention.keep_days = config.ledger_keep_days
        self._admin_digest = config.admin_digest
        self._reload_count.good_utc = time.time()
        self._bookkeeper.swap(Prices(config.prices, self._listed))
        self._say(announce.adopted(config, self._current))
        self._current = config

    def _show_certificate(self, tls: ssl.SSLContext | None) -> None:
        """Show a certificate from now on; whether the port speaks TLS at all is not changed after the start."""
        if tls is not None and self._certificate is not None:
            self._certificate.renew(tls)
        elif tls is not None and self.health.phase is Phase.STARTING:
            self._certificate = ServerCertificate(tls)

    async def reload(self) -> None:
        """Read the configuration anew; a bad one changes nothing, is said, and shows in /readyz."""
        async with self._reloading:
            await asyncio.to_thread(self._files.note)
            try:
                config = await asyncio.to_thread(without_gc, self._sources.load)
                check_guarded(config, self._config.listen.host)
                await asyncio.to_thread(self._files.follow, config)
                await self._adopt(config)
            except (ConfigError, ListenError, OSError) as error:
                self._reload_count.failed += 1
                self._reload_trouble = announce.not_reloaded(error)
                self._say(iter([(logging.ERROR, self._reload_trouble)]))
                return
            self._reload_trouble = None
            self._reload_count.good += 1
            freeze_heap()
            self._say(announce.reloaded(config, self._config))

    def _reload_soon(self) -> None:
        task = asyncio.create_task(self.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _watch(self) -> None:
        """Reload when the files change, by their content: an editor's rename and a ConfigMap's symlink look alike then."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            found = await asyncio.to_thread(self._files.look)
            if found == self._files.noted:
                continue
            await asyncio.sleep(SETTLED_S)
            if found == await asyncio.to_thread(self._files.look):
                self._reload_soon()

    # ── stop ──

    def stop(self) -> None:
        """Begin to drain; a second call hurries."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _until_stopped(self) -> None:
        watch = [asyncio.create_task(self._watch())] if self._worker is None else []
        try:
            await self._stop.wait()
        finally:
            for task in (*watch, *self._reloads):
                task.cancel()

    async def _drain(self, listener: Listener, traffic: list[asyncio.Server]) -> None:
        """Take no more connections, let what is in flight end, and cut off what is left at the deadline."""
        self.health.phase = Phase.DRAINING
        await self._serve_on()
        self._relay.draining = True
        for server in traffic:
            server.close()
        await asyncio.sleep(ARRIVING_S)
        listener.close_idle()
        drain_s = self._config.listen.drain_timeout_s
        _log.info("Stopping: %d requests in flight, at most %g s for them.", len(self._relay.active), drain_s)
        ended = asyncio.ensure_future(self._quiet())
        hurried = asyncio.ensure_future(self._hurry.wait())
        await asyncio.wait({ended, hurried}, timeout=drain_s, return_when=asyncio.FIRST_COMPLETED)
        for waiting in (ended, hurried):
            waiting.cancel()
        self._relay.cut_off = True
        cut = list(self._relay.active.values())
        for task in cut:
            task.cancel()
        if cut:
            _log.warning("%d requests were cut off.", len(cut))
            await asyncio.wait(cut, timeout=5)
        await self._relay.settling.cut_off()
        await listener.shutdown(1)

    async def _serve_on(self) -> None:
        """Serve on for `drain_delay`: balancers send requests here until they have heard that this instance is not ready."""
        delay_s = self._config.listen.drain_delay_s
        if delay_s and not self._hurry.is_set():
            _log.info("Not ready any more: serving on for %g s.", delay_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), delay_s)

    async def _quiet(self) -> None:
        """Return when no request is being served and no call settles."""
        while self._relay.active:
            await asyncio.wait(set(self._relay.active.values()), timeout=0.05)
        await self._relay.settling.drained()

    async def _close(self) -> None:
        self._upstream.close()
        await self._bookkeeper.close(CLOSE_ACCOUNTING_S)
        if self._ledger is not None:
            self._ledger.hurry(LAST_LEDGER_CALLS_S)  # those of the admin port too: the process waits for their threads
            await asyncio.to_thread(self._budgets.close)
            await asyncio.to_thread(self._ledger.close)
        self._decoders.shutdown(wait=False, cancel_futures=True)
        if self._sandbox is not None:
            await self._sandbox.close()


def _rules(config: Config, sandbox_port: int | None, host: str) -> Rules:
    """Return what requests are judged by; `host` is where the program listens, which a reload does not change."""
    routes: Iterable[Route] = config.routes
    if sandbox_port is not None:
        routes = (
            replace(route, targets=tuple(replace(target, port=sandbox_port) for target in route.targets)) for route in routes
        )
    authenticator = Authenticator(config.clients, key_header=config.key_header)
    guard = PageGuard(config.cors) if is_loopback(host) and not config.allow_anonymous else None
    return Rules(RouteTable(routes), authenticator, config.max_parallel, guard, Cors(config.cors) if config.cors else None)
