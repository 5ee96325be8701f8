"""The examples of `passthrough check`: for each route one call, as a client makes it, and where it goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..config.model import Config, Listen
from ..config.providers.example import example
from ..proxy.deployments.deployment import OCR_ROUTE
from ..proxy.routes import Route
from .terminal import fold

_HERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to
_INDENT: Final = "  "
_SHORT: Final = 80


def route_examples(config: Config, width: int | None = None) -> Iterator[str]:
    """Yield an example for each route, and for each group of model_list: of several targets the first is shown.

    Each is one line, `POST http://… → https://…`, or the target on a line of its own where that is longer than `width` cells
    (None: a usual terminal's). Only lines that are too long by themselves are folded, in paths, and only to a `width` that is
    given.
    """
    pools = {id(pool.route): pool for pool in config.pools}
    base = base_url(config.listen)
    for route in config.routes:
        pool = pools.get(id(route))
        first = route if pool is None else pool.deployments[0].route
        found = example(first)
        others = 0 if pool is None else len(pool.deployments) - 1
        yield from _lines(f"{found.method} {base}{found.path}", _url(first), others, width)
    if config.models is not None:
        for name in dict.fromkeys(each.group for each in config.models.deployments):
            alike = [each.route for each in config.models.deployments if each.group == name]
            yield from _lines(f"POST {base}{OCR_ROUTE} ({name})", _url(alike[0]), len(alike) - 1, width)


def base_url(listen: Listen) -> str:
    """Return the URL of the traffic port as a client on this machine writes it; a port that the system chooses is PORT."""
    host = _HERE.get(listen.host, listen.host)
    host = f"[{host}]" if ":" in host else host
    scheme, usual = ("http", 80) if listen.tls_cert is None else ("https", 443)
    return f"{scheme}://{host}" + ("" if listen.port == usual else f":{listen.port or 'PORT'}")


def _url(route: Route) -> str:
    return "the sandbox" if route.targets[0].name == "sandbox" else example(route).url


def _lines(call: str, url: str, others: int, width: int | None) -> Iterator[str]:
    more = f", or to {others} other{'s' if others > 1 else ''}" if others else ""
    line = f"{call} → {url}{more}"
    if len(line) <= (width or _SHORT):
        yield line
        return
    for part in (call, f"{_INDENT}→ {url}{more}"):
        yield from [part] if width is None else fold(part, width)
