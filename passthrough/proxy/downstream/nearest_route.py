"""Finds the route that a path without one may have meant: for the log, and for the response to a client with a valid key.

The work is bounded, whatever the path and however many routes there are: strangers send such paths too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from ...errors import Refusal
from ..routes import Route

MAX_ROUTES: Final = 50
"""How many routes are compared."""

_MAX_PATH: Final = 200
"""How many bytes of a path are compared."""

_MAX_CLOSE: Final = 20
_MAX_BEGIN: Final = 40
"""How many routes, and how many bytes of them, are compared letter by letter: that takes 0.5 ms at most."""

_MAX_SHOWN: Final = 3
"""As many routes are named where none is near."""

_CUTOFF: Final = 0.7  # difflib: from 0, nothing in common, to 1


@dataclass(frozen=True, slots=True)
class NearestRoute:
    """The path of a route, as configured, and what to do to reach it."""

    route: str
    hint: str


def nearest_route(routes: Sequence[Route], path: bytes) -> NearestRoute | None:
    """Return the route that a raw path without one is nearest to, None where none is near. It has no bytes of the path.

    1. The path is below a route that has no `include_subpath`. 2. It is a route's path but for case or slashes. 3. It is the end
    of a route's path, or lacks the beginning of one: a route's own part was forgotten. 4. Its first segments are nearly those of
    a route. 5. There is one route only.
    """
    routes = routes[:MAX_ROUTES]
    asked = _plain(path[:_MAX_PATH])
    plain = [(route, _plain(route.path)) for route in routes]
    for route, own in plain:
        if own and asked.startswith(own + b"/") and not route.include_subpath:
            name = name_of(route)
            return NearestRoute(name, f"Only {name} itself is served: 'include_subpath: true' in its entry opens what is below.")
    for route, own in plain:
        if own and (asked == own or (route.include_subpath and asked.startswith(own + b"/"))):
            return NearestRoute(name_of(route), f"Spell it {name_of(route)}: case counts, and so does each slash.")
    for route, own in plain:
        if asked and own.endswith(asked):
            above = [name_of(each) for each in routes if each.include_subpath]
            other = f", or put {above[0]} before the path" if above else ""
            return NearestRoute(name_of(route), f"Call {name_of(route)}: its whole path is needed{other}.")
    begins = {_begin(own, 3): route for route, own in reversed(plain[:_MAX_CLOSE]) if own}
    for depth in (2, 3):
        wanted = _begin(asked, depth)
        close = get_close_matches(wanted, begins, 1, _CUTOFF) if len(wanted) > 1 else []
        if close:
            return _below(begins[close[0]], "Call")
    return _below(routes[0], "Put", " before the path") if len(routes) == 1 else None


def no_route(path: bytes, routes: Sequence[Route], told: Sequence[Route]) -> Refusal:
    """Return the refusal of a raw path without a route. Its client is told of the routes in `told` only, the log of all."""
    nearest = nearest_route(routes, path)
    near = nearest if len(told) == len(routes) else nearest_route(told, path)
    why = None if nearest is None else f"nearest route: {nearest.route}"
    if near is not None and path != b"/":
        return Refusal("no_route", f"No route has this path; the nearest is {near.route}.", hint=near.hint, why=why)
    what, hint = "No route has this path.", f"Call one of the routes: {_names(told)}." if told else None
    if path == b"/":
        what = "This is passthrough, a reverse proxy: it serves its routes, and '/' is none of them."
    return Refusal("no_route", what, hint=hint, why=why)


def name_of(route: Route) -> str:
    """Return a route's path as it is configured."""
    return route.path.decode("ascii", "backslashreplace") or "/"


def _names(routes: Sequence[Route]) -> str:
    names = list(dict.fromkeys(map(name_of, routes[:MAX_ROUTES])))
    return ", ".join(names[:_MAX_SHOWN]) + (" …" if len(names) > _MAX_SHOWN else "")


def _below(route: Route, verb: str, where: str = "") -> NearestRoute:
    name = name_of(route)
    if not route.include_subpath:
        return NearestRoute(name, f"Call {name}.")
    return NearestRoute(name, f"{verb} {name}{where}; all below it is served too.")


def _begin(path: bytes, depth: int) -> str:
    """Return the first segments of a path, where one slash is before each, as text."""
    return b"/".join(path.split(b"/", depth)[:depth])[:_MAX_BEGIN].decode("latin-1")


def _plain(path: bytes) -> bytes:
    """Return a path in lower case, without empty segments."""
    return b"".join(b"/" + segment for segment in path.lower().split(b"/") if segment)
