"""Runs the commands that serve: reads the configuration, starts the workers or the event loop, and sets up logging."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ..accounting.access_log import AccessLog, Format
from ..aiohttp_internals import unsupported
from ..config import bookable
from ..config.environment import contents, environment, snapshot
from ..config.load import load
from ..config.model import Config
from ..config.reload import Sources
from ..errors import ConfigError, PassthroughError
from ..sandbox import Api, Provider, start, start_on
from ..worker import FORCE_STOP, SANDBOX, STOP, WorkerContext
from .gc_tuning import without_gc
from .instance import Server
from .log_file import LogFile, check_apart, problem
from .service_manager import notify_ready
from .signals import on_signal
from .stderr_log import DirectHandler, StderrHandler
from .supervisor import Supervisor, check_lost


class InstallationError(PassthroughError):
    """This installation cannot serve; the message says why and gives a hint."""


def serve(config: str, flags: Mapping[str, object], *, sandbox: bool) -> None:
    """Serve until a signal stops it.

    Raises ConfigError, ListenError, SandboxError where the sandbox's extra is missing, and LostEntriesError where entries reached
    neither the ledger nor the journal at the stop.
    """
    cwd = Path.cwd()
    environ = partial(environment, config, os.environ, cwd)
    sources = Sources(
        load=lambda: load(config, environ(), cwd=cwd, sandbox=sandbox, listen=flags),
        snapshot=lambda: snapshot(config, cwd),
        contents=contents,
    )
    seen = sources.snapshot()
    loaded = without_gc(sources.load)
    _check_aiohttp()
    # What is wrong with the ledger alone is said by the thread that writes it, as soon as it serves.
    journal = [found for found in bookable.ledger_problems(loaded) if found.key == "journal"]
    loaded = replace(loaded, warnings=(*loaded.warnings, *journal))
    path = loaded.listen.log_file
    try:
        if path is not None:
            check_apart(path, loaded)
        log_file = None if path is None else LogFile(path)
    except OSError as error:
        raise ConfigError([problem(path or "", error, config, flags, environ())]) from None
    with nullcontext() if log_file is None else closing(log_file):
        _serve(loaded, sources, seen, log_file, sandbox=sandbox)


def _serve(loaded: Config, sources: Sources, seen: bytes, log_file: LogFile | None, *, sandbox: bool) -> None:
    """Serve in this process, or in several workers: those return from here, too."""
    reopen_log = log_file.reopen if log_file is not None else lambda: None
    notify = partial(notify_ready, os.environ.get("NOTIFY_SOCKET"))
    worker = None
    if loaded.listen.workers > 1:
        if not hasattr(os, "fork"):
            raise InstallationError(
                "Several workers are not served on this system.\n  Leave 'workers' at 1, or start more instances."
            )
        _configure_logging(loaded.listen.log_level, DirectHandler(sys.stderr))
        supervisor = Supervisor(loaded, sources, seen, sandbox=sandbox, reopen_log=reopen_log, notify_ready=notify)
        worker = supervisor.run()
        if worker is None:
            return
        loaded = supervisor.config
    if worker is not None and worker.number == SANDBOX:
        if log_file is not None:
            log_file.close()
        with logging_to_stderr(loaded.listen.log_level, "sandbox"):
            _run(_serve_sandbox(worker))
        return

    lost = 0

    async def run() -> None:
        nonlocal lost
        access_log = _access_log(loaded.listen.log_format, log_file, worker)
        server = Server(loaded, sources, seen, access_log, worker)
        await server.run(with_sandbox=sandbox, reopen_log=reopen_log, notify_ready=notify)
        lost = server.lost_at_stop

    with logging_to_stderr(loaded.listen.log_level, f"worker {worker.number}" if worker else ""):
        _run(run())
    if lost and worker is not None:
        worker.note_lost(lost)  # the supervisor says how many all workers lost, as the last that is said
        sys.exit(1)
    check_lost(lost)


def _access_log(log_format: str, file: LogFile | None, worker: WorkerContext | None) -> AccessLog:
    stream = sys.stdout if file is None else file.stream
    form: Format = "text" if log_format == "text" or (log_format == "auto" and stream.isatty()) else "json"
    return AccessLog(stream, form, None if worker is None else worker.folder / "log.lock")


async def _serve_sandbox(worker: WorkerContext) -> None:
    """Serve the sandbox that several workers share, until the supervisor orders the stop or ends."""
    stopped = asyncio.Event()
    on_signal("SIGTERM", stopped.set)
    worker.follow_orders({STOP: stopped.set, FORCE_STOP: stopped.set}, stopped.set)
    assert worker.sandbox is not None
    running = await start_on(worker.sandbox)
    worker.say_ready()
    await stopped.wait()
    await running.close()


def _check_aiohttp() -> None:
    """Raise InstallationError where the program does not run on the aiohttp that is installed."""
    if why := unsupported():
        raise InstallationError(why)


_NAMES = {Api.MISTRAL: "Mistral's", Api.AZURE: "Azure's", Api.VERTEX: "Vertex'"}


def run_sandbox(host: str, port: int, key: str | None, provider: Provider) -> None:
    """Run the sandbox alone until a signal stops it."""

    async def run() -> None:
        stopped = asyncio.Event()
        on_signal("SIGTERM", stopped.set)
        on_signal("SIGINT", stopped.set)
        running = await start(host, port, key=key, provider=provider)
        with suppress(OSError):  # A stderr that takes nothing is no reason not to serve.
            api = _NAMES[provider.api]
            url = f"http://{host}:{running.port}"
            asks = "a key is taken, or none" if key is None else "it asks for the key of --key"
            print(f"Sandbox of {api} API on {url}; nothing is billed.", file=sys.stderr)  # noqa: T201 - a command's output
            print(f"In routes.yaml it is target: {url}; {asks}.", file=sys.stderr)  # noqa: T201
        await stopped.wait()
        await running.close()

    with logging_to_stderr("info"):
        _run(run())


def _run(main: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop  # Not on Windows.
    except ImportError:
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


@contextmanager
def logging_to_stderr(level: str, speaker: str = "") -> Iterator[None]:
    """Send the program's own messages to stderr, from `level` on; stdout is for the access log alone."""
    messages = StderrHandler(sys.stderr, speaker)
    _configure_logging(level, messages)
    try:
        yield
    finally:
        messages.close()  # What is written to stderr itself after it comes last.


def _is_free_of_request_bytes(record: logging.LogRecord) -> bool:
    """Tell whether a record may be logged: aiohttp's of bytes that its parser refused may not, for keys may be in them."""
    what = record.exc_info[0] if record.exc_info else None
    return what is None or what.__module__ != "aiohttp.http_exceptions"


def _configure_logging(level: str, handler: logging.Handler) -> None:
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # What libraries say for their own debugging may hold a document, an address or a token: Pillow, urllib3, azure-identity.
    logging.getLogger().setLevel(max(logging.INFO, logging.getLogger().level))
    logging.getLogger("passthrough").setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(max(logging.WARNING, logging.getLogger().level))
    logging.getLogger("aiohttp.server").addFilter(_is_free_of_request_bytes)
