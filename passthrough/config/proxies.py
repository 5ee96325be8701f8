"""Warns of proxy variables in the environment (HTTPS_PROXY and the like), which are not used here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from ..loopback import is_loopback
from ..proxy.deployments.deployment import OCR_ROUTE
from ..proxy.routes import Route, Target
from .listen import ENVIRONMENT
from .problems import Problems

_NAMES: Final = {
    True: ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"),
    False: ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"),
}
"""Whether a target speaks TLS → the variables by which other programs (curl, Python's) find its proxy."""

_NO_PROXY: Final = "Deployments of model_list are reached directly only: name their hosts in NO_PROXY if that is meant."


def check_proxies(environ: Mapping[str, str], referred: Collection[str], routes: Iterable[Route], problems: Problems) -> None:
    """Warn of each variable that names a proxy for targets to which routes connect directly; its value is never shown.

    A variable that the file refers to is used as the file says. Targets in NO_PROXY, and this machine, need no proxy.
    """
    no_proxy = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    direct = [(route, target) for route in routes for target in route.targets if _is_direct(target, no_proxy)]
    for name in dict.fromkeys((*_NAMES[True], *_NAMES[False])):
        affected = [route.terms.route for route, target in direct if name in _NAMES[target.tls]]
        if affected and environ.get(name) and name not in referred:
            has_routes = any(path != OCR_ROUTE for path in affected)
            what = f"It is not used here: {_listed(affected)} directly to the target{'' if has_routes else 's'}."
            problems.warn_elsewhere(ENVIRONMENT, name, what, _hint(name, environ[name]) if has_routes else _NO_PROXY)


def _is_direct(target: Target, no_proxy: str) -> bool:
    return target.proxy is None and not is_loopback(target.host) and not _needs_no_proxy(target, no_proxy)


def _needs_no_proxy(target: Target, no_proxy: str) -> bool:
    """Tell whether NO_PROXY names a target, as curl reads it: a name and all below it, perhaps with a port; `*` is all."""
    for item in no_proxy.lower().replace(",", " ").split():
        name, _, port = item.rpartition(":") if item.count(":") == 1 else (item, "", "")
        name = name.removeprefix("*").removeprefix(".")
        if item == "*" or (port in {"", str(target.port)} and name and f".{target.host}".endswith(f".{name}")):
            return True
    return False


def _listed(routes: list[str]) -> str:
    paths = list(dict.fromkeys(routes))
    if paths == [OCR_ROUTE]:
        return "the deployments of model_list connect"
    return f"route {paths[0]} connects" if len(paths) == 1 else f"{len(paths)} routes, {paths[0]} among them, connect"


def _hint(name: str, value: str) -> str:
    if "://" in value and not value.lower().startswith("http://"):
        return "A route's 'proxy' can only be one of http://, which this is not."
    scheme = "" if "://" in value else "http://"
    return f"Write 'proxy: {scheme}os.environ/{name}' on each route that is to go through it, or name the target in NO_PROXY."
