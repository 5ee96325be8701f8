"""Builds the house, listens, reloads, drains: the only room that knows all rooms."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from typing import Final, TextIO

from aiohttp import web

from . import sandbox
from .admin.access import is_loopback
from .admin.app import Shown
from .admin.app import app as admin_app
from .admin.gauges import Gauges, Reloads
from .admin.health import Health, Phase
from .admin.metrics import Metrics
from .admin.standing import Standing
from .books.bookkeeper import Bookkeeper
from .books.budget import Policy
from .books.budgets import Budgets
from .books.journal import journal_folder
from .books.ledger import Ledger
from .books.lines import Format, Lines
from .books.prices import Prices, shipped
from .books.retention import Retention
from .config import Config
from .errors import ConfigError
from .memory import set_apart, undisturbed
from .ports import listening, most_connections, server_tls, url
from .reloading import Sources, check_guarded, needing_restart
from .road.access import Gate
from .road.listener import Listener
from .road.relay import Relay, Rules
from .road.routes import Route, RouteTable
from .road.upstream import Upstream
from .signals import Hangup, on_signal

LOOK_EVERY_S: Final = 1.0
"""How often the configuration's files are looked at for a change."""

SETTLED_S: Final = 0.2
"""How long a changed file must stand still before it is read: the first half of one, written in place, may be valid."""

ARRIVING_S: Final = 0.05
"""How long connections that were accepted before the stop have for the request that is on its way."""

ANONYMOUS: Final = "No client keys: everybody who reaches the port may call."

CLOSE_BOOKS_S: Final = 10.0
"""How long the books may take to write what is left, after the last request."""

_log: Final = logging.getLogger("passthrough")


class House:
    """One running instance. `config` is what it was built from; reloads replace the rules, never the house."""

    def __init__(self, config: Config, sources: Sources, seen: bytes, stdout: TextIO, log_format: Format) -> None:
        """`seen` is the snapshot of the files, taken before `config` was read of them: what changes in between is a change."""
        self._config = config
        self._sources = sources
        self._seen = seen
        self._reload_trouble: str | None = None
        self._reload_count = Reloads()
        self._metrics = Metrics()
        self._admin_digest = config.admin_digest
        self._sandbox: sandbox.Running | None = None
        self._lines = Lines(stdout, log_format)
        self._ledger = None if config.ledger is None else Ledger.at(config.ledger)
        self._listed = shipped()
        self._budgets = Budgets(self._ledger, _log.warning, lambda: self._bookkeeper.nudge())  # noqa: PLW0108 - it is made below
        self._retention = Retention(self._ledger, config.ledger_keep_days)
        self._bookkeeper = Bookkeeper(
            prices=Prices(config.prices, self._listed),
            ledger=self._ledger,
            journal=journal_folder(config.ledger or "", config.journal),
            lines=self._lines,
            warn=_log.warning,
            observers=(self._budgets, self._metrics),
            between=self._between,
        )
        self._decoders = ThreadPoolExecutor(2, "decode")
        self._upstream = Upstream()
        self._relay = Relay(
            _rules(config, None),
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
        # Before the ports are named: whoever reads them may send a signal at once.
        on_signal("SIGTERM", self.stop)
        on_signal("SIGINT", self.stop)
        hangup = Hangup()
        on_signal("SIGHUP", lambda: self.stop() if hangup.is_the_end() else self._reload_soon())
        async with self._reloading:
            if with_sandbox:
                self._sandbox = await sandbox.start("127.0.0.1", 0)
            await self._adopt(self._config)
        await self._bookkeeper.start()
        listen = self._config.listen
        listener = Listener(self._relay, max_connections=listen.max_connections or most_connections())
        admin = web.AppRunner(
            admin_app(self._shown(listener), on_loopback=is_loopback(listen.admin_host)), access_log=None, shutdown_timeout=1
        )
        servers: list[asyncio.Server] = []
        try:
            servers.append(await listening(listener, listen.host, listen.port, server_tls(listen.tls_cert, listen.tls_key)))
            await admin.setup()
            assert admin.server is not None
            servers.append(await listening(admin.server, listen.admin_host, listen.admin_port, None))
            set_apart()
            self._announce(servers)
            self.health.phase = Phase.READY
            await self._until_stopped()
            await self._drain(listener, servers[0])
        finally:
            for server in servers:
                server.close()
            await admin.cleanup()
            await self._close()

    def _shown(self, listener: Listener) -> Shown:
        """Return what the admin port shows."""
        readings = {
            "in_flight": lambda: len(self._relay.active),
            "settling": lambda: len(self._relay.settling),
            "connections": lambda: len(listener.connections),
            "ledger_waiting": lambda: self._bookkeeper.waiting,
            "ledger_lag_s": lambda: self._bookkeeper.lag_s,
            "ledger_lost": lambda: self._bookkeeper.lost,
            "journal_bytes": lambda: self._bookkeeper.journal_bytes,
            "log_dropped": lambda: self._lines.dropped,
        }
        gauges = Gauges(readings, self.health, self._reload_count, self._standings)
        return Shown(
            health=self.health,
            ledger=self._ledger,
            sources=lambda: [chain(gauges.families(), self._metrics.families())],
            budgets=self._standings,
            digest=lambda: self._admin_digest,
        )

    def _between(self) -> None:
        """Do what the books do beside writing, on the thread that writes the ledger."""
        self._budgets.refresh()
        self._retention.step()

    def _standings(self) -> list[Standing]:
        return [Standing(*state) for state in self._budgets.state()]

    def _announce(self, servers: list[asyncio.Server]) -> None:
        traffic, admin = servers
        scheme = "https" if self._config.listen.tls_cert else "http"
        _log.info("Listening on %s, admin on %s.", url(scheme, traffic), url("http", admin))
        if self._sandbox is not None:
            _log.info(
                "Sandbox: every route goes to a local imitation of Mistral's API; nothing is billed, and its key is not needed."
            )
        if self._relay.rules.gate.anonymous:
            _log.warning(ANONYMOUS)
        if self._admin_digest is None and not is_loopback(self._config.listen.admin_host):
            _log.info("The admin port is open to other machines, and there is no admin_key: it answers health only.")

    # ── reload ──

    async def _adopt(self, config: Config) -> None:
        """Put new rules in force: everything is made first, then swapped in one assignment."""
        rules = await asyncio.to_thread(_rules, config, self._sandbox)
        if rules.gate.anonymous and not self._relay.rules.gate.anonymous:
            _log.warning(ANONYMOUS)
        await self._upstream.prepare(target for route in rules.routes.routes for target in route.targets)
        policy = Policy(
            config.budgets, config.calendar, config.refuse_unlent, config.budget_webhook, sandbox=self._sandbox is not None
        )
        await asyncio.to_thread(self._budgets.apply, policy)
        self._relay.rules = rules
        self._retention.keep_days = config.ledger_keep_days
        self._admin_digest = config.admin_digest
        self._reload_count.good_utc = time.time()
        self._bookkeeper.swap(Prices(config.prices, self._listed))
        for problem in config.warnings:
            _log.warning("%s", problem)

    async def reload(self) -> None:
        """Read the configuration anew; a bad one changes nothing, is said, and shows in /readyz."""
        async with self._reloading:
            self._seen = await asyncio.to_thread(self._sources.snapshot)
            try:
                config = await asyncio.to_thread(undisturbed, self._sources.load)
                check_guarded(config, self._config.listen.host)
                await self._adopt(config)
            except (ConfigError, OSError) as error:
                self._reload_count.failed += 1
                self._reload_trouble = f"The configuration was not reloaded; the last good one is in force.\n{error}"
                _log.error("%s", self._reload_trouble)
                return
            self._reload_trouble = None
            self._reload_count.good += 1
            set_apart()
            _log.info("Reloaded %s: %d routes, %d client keys.", config.file, len(config.routes), len(config.clients))
            for name in needing_restart(self._config, config):
                _log.warning("%s: '%s' has changed; that takes a restart.", config.file, name)

    def _reload_soon(self) -> None:
        task = asyncio.create_task(self.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _watch(self) -> None:
        """Reload when the files change, by their content: an editor's rename and a ConfigMap's symlink look alike then."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            found = await asyncio.to_thread(self._sources.snapshot)
            if found == self._seen:
                continue
            await asyncio.sleep(SETTLED_S)
            if found == await asyncio.to_thread(self._sources.snapshot):
                self._reload_soon()

    # ── stop ──

    def stop(self) -> None:
        """Begin to drain; a second call hurries."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _until_stopped(self) -> None:
        watch = asyncio.create_task(self._watch())
        try:
            await self._stop.wait()
        finally:
            for task in (watch, *self._reloads):
                task.cancel()

    async def _drain(self, listener: Listener, server: asyncio.Server) -> None:
        """Take no more connections, let what is in flight end, and cut off what is left at the deadline."""
        self.health.phase = Phase.DRAINING
        self._relay.draining = True
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

    async def _quiet(self) -> None:
        """Return when no request is being served and no call settles."""
        while self._relay.active:
            await asyncio.wait(set(self._relay.active.values()), timeout=0.05)
        await self._relay.settling.drained()

    async def _close(self) -> None:
        self._upstream.close()
        await self._bookkeeper.close(CLOSE_BOOKS_S)
        if self._ledger is not None:
            await asyncio.to_thread(self._budgets.close)
            await asyncio.to_thread(self._ledger.close)
        self._decoders.shutdown(wait=False, cancel_futures=True)
        if self._sandbox is not None:
            await self._sandbox.close()


def _rules(config: Config, running: sandbox.Running | None) -> Rules:
    routes: Iterable[Route] = config.routes
    if running is not None:
        routes = (
            replace(route, targets=tuple(replace(target, port=running.port) for target in route.targets)) for route in routes
        )
    return Rules(RouteTable(routes), Gate(config.clients, key_header=config.key_header), config.max_parallel)
