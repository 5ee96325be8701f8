"""What `passthrough check` says of a configuration: one row for each route, and who may call."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from ..road.access import CREDENTIAL_HEADERS, MASTER
from ..road.routes import Route
from .model import Config

COLUMNS: Final = ("path", "methods", "target", "credentials", "meter", "price")
_SECRET_WORDS: Final = (b"auth", b"key", b"token", b"secret", b"cookie")


def rows(config: Config) -> tuple[tuple[str, ...], ...]:
    """Return a row of texts for each route, as COLUMNS names them. Credentials appear by the name of their variable only."""
    return tuple(_row(route) for route in config.routes)


def callers(config: Config) -> tuple[str, ...]:
    """Return who may call, in a sentence or two: the names of clients, or that no key is asked for."""
    names = [client.name for client in config.clients if client.name != MASTER]
    if not config.clients:
        where = config.listen
        return (f"No client keys: everybody who reaches port {where.port} of {where.host} may call.",)
    said = f"{len(names) or 'No'} client key{'' if len(names) == 1 else 's'}{': ' if names else ''}{', '.join(names)}"
    if len(names) < len(config.clients):
        said += "; the master key"
    keyless = ", ".join(_path(route) for route in config.routes if not route.auth)
    return (f"{said}.", f"Without a key (auth: false) everybody may call {keyless}.") if keyless else (f"{said}.",)


def _row(route: Route) -> tuple[str, ...]:
    methods = "all" if route.methods is None else ", ".join(sorted(route.methods))
    plan = route.terms.plan
    meter = plan.shape if plan.model is None else f"{plan.shape} ({plan.model})"
    targets = ", ".join(target.name for target in route.targets)
    return (_path(route), methods, targets, _credentials(route), meter, _price(route))


def _path(route: Route) -> str:
    path = route.path.decode("ascii")
    return f"{path}/*" if route.include_subpath else path


def _credentials(route: Route) -> str:
    named = [(name, value.shown) for name, value in route.headers if value.shown != "***" or _carries_secrets(name)]
    own = ["the client's own"] if route.forward_credentials else []
    return ", ".join((*own, *(f"{name.decode('ascii')}: {shown}" for name, shown in named))) or "none"


def _carries_secrets(name: bytes) -> bool:
    lower = name.lower()
    return lower in CREDENTIAL_HEADERS or any(word in lower for word in _SECRET_WORDS)


def _price(route: Route) -> str:
    nano = route.terms.cost_per_request_nano
    if nano is not None:
        return f"${(Decimal(nano).scaleb(-9)).normalize():f} per request"
    return "per page" if _expects_pages(route) else "not metered"


def _expects_pages(route: Route) -> bool:
    """Tell whether there is any request on this route whose answer carries a count."""
    path = b"/ocr" if route.include_subpath else route.path
    return route.allows("POST") and route.terms.plan.expects("POST", path)
