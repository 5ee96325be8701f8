"""The admin port's HTTP application."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from .. import __version__
from .health import Health

_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]*))(?::[0-9]+)?")


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address (without port, without brackets) is this machine's own."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def app(health: Health, *, on_loopback: bool) -> web.Application:
    """Return the application. Bound to loopback, it answers to loopback's names only.

    A page on the web that has its own name resolved to 127.0.0.1 (DNS rebinding) reaches the port but not the answers.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "version": __version__})

    async def readyz(_: web.Request) -> web.Response:
        said = {"status": health.status(), "degraded": health.degraded(), "version": __version__}
        return web.json_response(said, status=200 if health.ready else 503)

    application = web.Application(middlewares=[_of_this_machine] if on_loopback else [])
    for path in ("/healthz", "/health/liveliness"):
        application.router.add_get(path, healthz)
    for path in ("/readyz", "/health/readiness"):
        application.router.add_get(path, readyz)
    return application


@web.middleware
async def _of_this_machine(request: web.Request, handler: Handler) -> web.StreamResponse:
    host = _HOST.fullmatch(request.headers.get("Host", ""))
    if host is None or not is_loopback(host[1] or host[2]):
        return web.json_response({"status": "misdirected"}, status=421)
    return await handler(request)
