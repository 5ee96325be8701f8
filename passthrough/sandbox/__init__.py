"""A local upstream with Mistral's API that reads real PDFs, for trying and testing without a key.

`POST /v1/ocr` (also at Azure's and Vertex's paths), `/v1/chat/completions`, `/v1/fim/completions`, `/v1/embeddings`, `/v1/files`,
`/v1/batch/jobs` and `/v1/models` behave as the providers' documentation says.
Every response carries `x-passthrough-sandbox: true`. The sandbox fetches nothing from the network and runs no model: its text is
that of the document itself, its chat an echo. It can play Azure's API or Vertex', and fail at random, so that pools can be tried.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from ..errors import PassthroughError
from ..extras import install_command
from .pace import Pace
from .provider import Api, Provider

__all__ = ["Api", "Pace", "Provider", "Running", "SandboxError", "SandboxMissing", "app", "start", "start_on"]

MAX_JSON_BYTES: Final = 100_000_000
"""A document of 50 MB is 67 MB of base64: it passes, and the API's own check of the document follows."""
MAX_FILE_BYTES: Final = 512_000_000
_EXTRA: Final = {"pypdfium2", "pypdfium2_raw", "PIL"}
_SHUTDOWN_S: Final = 2.0
MISTRAL: Final = Provider()
"""Mistral's API, which never fails."""
PACE: Final = Pace()
"""The pace at which a person can watch."""


class SandboxError(PassthroughError):
    """The sandbox cannot start; the message says why and how to fix it."""


class SandboxMissing(SandboxError):
    """The libraries of the extra `sandbox` are not installed."""

    def __init__(self, module: str) -> None:
        super().__init__(f"The sandbox needs {module}, which is not installed.\n  Run: {install_command('sandbox')}")


@dataclass(frozen=True, slots=True)
class Running:
    """A running sandbox, which listens on `host` at `port` (the given one, or a free one for 0)."""

    host: str
    port: int
    _runner: web.AppRunner

    async def close(self) -> None:
        """Stop listening, give running requests a moment to end, delete the files. Idempotent."""
        await self._runner.cleanup()


def app(
    *,
    key: str | None = None,
    max_bytes: int = MAX_JSON_BYTES,
    max_file_bytes: int = MAX_FILE_BYTES,
    clock: Callable[[], float] = time.time,
    provider: Provider = MISTRAL,
    pace: Pace = PACE,
) -> web.Application:
    """Return the sandbox as an application.

    With `key` it demands `Authorization: Bearer <key>` or `api-key: <key>`; without, it accepts any credential or none.
    `max_bytes` bounds JSON bodies, `max_file_bytes` uploaded files. `clock` (seconds since the epoch) decides when signed URLs
    expire. `provider` is played, at this `pace`. Raises SandboxMissing.
    """
    try:
        from .resources import Bounds  # noqa: PLC0415
        from .service import build  # noqa: PLC0415 (an optional extra)
    except ModuleNotFoundError as missing:
        module = (missing.name or "").partition(".")[0]
        if module not in _EXTRA:
            raise
        raise SandboxMissing(module) from missing
    return build(key=key, bounds=Bounds(max_bytes, max_file_bytes), clock=clock, provider=provider, pace=pace)


async def start(host: str, port: int, *, key: str | None = None, provider: Provider = MISTRAL) -> Running:
    """Serve a sandbox until `Running.close`; port 0 finds a free one. Raises SandboxError, also if the port is taken."""
    runner = await _new_runner(key, provider)
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as wrong:
        await runner.cleanup()
        raise SandboxError(f"{host}:{port}: {wrong.strerror or wrong}.\n  Choose another host or port.") from wrong
    return Running(host, runner.addresses[0][1], runner)


async def start_on(listening: socket.socket) -> Running:
    """Serve a sandbox on a listening socket. Raises SandboxMissing."""
    runner = await _new_runner(None, MISTRAL)
    await web.SockSite(runner, listening).start()
    host, port = listening.getsockname()
    return Running(host, port, runner)


async def _new_runner(key: str | None, provider: Provider) -> web.AppRunner:
    made = app(key=key, provider=provider)
    runner = web.AppRunner(made, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    return runner
