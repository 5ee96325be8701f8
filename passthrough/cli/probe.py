"""The client of /readyz: asks a running instance whether it is ready, for HEALTHCHECK and for people."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..config.environment import env_files, environment
from ..errors import ConfigError, PassthroughError

HOST: Final = "127.0.0.1"
PORT: Final = 4001
_TIMEOUT_S: Final = 5.0
_MAX_RESPONSE: Final = 1_000_000
_MENTION: Final = re.compile(rb"admin_(?:host|port)", re.IGNORECASE).search
_LOOPBACKS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


class ProbeError(PassthroughError):
    """There is no response, or it is not this program's; the message says which."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """An instance's readiness: whether requests should come, and the lines to print."""

    ready: bool
    lines: tuple[str, ...]


def admin_address(config: str, environ: Mapping[str, str], cwd: Path, warn: Callable[[str], None]) -> tuple[str, int]:
    """Return the address of the admin port of a `serve` with this configuration: from the file, a `.env`, or by default.

    A wrong file is a warning and no failure: the instance may run on the last good one, and a failed health check would end it.
    Most files do not mention the port and are not parsed: parsing would be most of the check's time.
    """
    if not any(_MENTION(_content(file)) for file in (cwd / config, *env_files(config, cwd))):
        return HOST, PORT
    from ..config.load import load_admin_address  # noqa: PLC0415 - pydantic and yaml

    try:
        return load_admin_address(config, environ, {}, cwd=cwd)
    except ConfigError as error:
        warn(str(error))
    return _by_environment(config, environ, cwd)


def _by_environment(config: str, environ: Mapping[str, str], cwd: Path) -> tuple[str, int]:
    try:
        merged = environment(config, environ, cwd)
    except ConfigError:  # The warning has been printed.
        merged = environ
    port = merged.get("PASSTHROUGH_ADMIN_PORT", "")
    return merged.get("PASSTHROUGH_ADMIN_HOST") or HOST, int(port) if port.isascii() and port.isdecimal() else PORT


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes() if file.is_file() else b""
    except (OSError, ValueError):
        return b""


def ask(host: str, port: int) -> Readiness:
    """Return the readiness that an admin port shows. Raises ProbeError."""
    where = _LOOPBACKS.get(host, host)
    connection = http.client.HTTPConnection(where, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz", headers={"Host": "localhost"})
        response = connection.getresponse()
        body = response.read(_MAX_RESPONSE)
    except (OSError, UnicodeError, http.client.HTTPException) as error:  # UnicodeError: no name that DNS could hold
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        hint = "Start it with 'passthrough serve', or name its port with --admin-port."
        raise ProbeError(f"no answer from {where} port {port}: {why}.\n  {hint}") from None
    finally:
        connection.close()
    try:
        return Readiness(response.status == http.client.OK, tuple(_lines(json.loads(body))))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):  # RecursionError: a million brackets
        raise ProbeError(f"what answers on {where} port {port} is not this program's admin port.") from None


def _lines(readiness: dict[str, Any]) -> Iterator[str]:
    """Yield the status, then each part that is degraded and why, indented."""
    yield str(readiness["status"])
    for part, why in readiness.get("degraded", {}).items():
        first, *more = why.splitlines() or [""]
        yield f"  {part}: {first}"
        yield from (f"    {line.strip()}" for line in more)
