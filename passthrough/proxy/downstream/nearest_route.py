"""Finds the route that a path without one may have meant: for the log, and for the response to a client with a valid key.

The work is bounded, whatever the path and however many routes there are: strangers send such paths too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from itertools import islice
from typing import Final

from ...errors import Refusal
from ..routes import Route

_MAX_PATH: Final = 1000
"""How many bytes of a path are compared."""

MAX_CLOSE: Final = 20
_MAX_BEGIN: Final = 40
"""How many routes, and how many bytes of them, are compared letter by letter: that takes 1 ms at most."""

_MAX_SHOWN: Final = 3
"""As many routes are named where none is near."""

_CUTOFF: Final = 0.7  # difflib: from 0, nothing in common, to 1
_CLEARLY: Final = 2
"""The second nearest has to be so many times as far off as the nearest: between `/team03` and `/team05` no one can choose."""


@dataclass(frozen=True, slots=True)
class NearestRoute:
    """The path of a route, as configured, and what to do to reach it."""

    route: str
    hint: str


class NearestRoutes:
    """Finds the route that a path is nearest to. What it looks up is prepared once for all routes, and never changes."""

    __slots__ = ("_ends", "_longest", "_plain", "_routes")

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes
        self._plain: dict[bytes, list[Route]] = {}
        self._ends: dict[bytes, list[Route]] = {}
        for route in routes:
            own = _plain(route.path)
            if own:
                self._plain.setdefault(own, []).append(route)
            for at, byte in enumerate(own):
                if byte == ord("/"):
                    self._ends.setdefault(own[at:], []).append(route)
        self._longest = max(map(len, self._plain), default=0)

    def nearest(self, path: bytes, told: Set[str] | None = None) -> NearestRoute | None:
        """Return the route that a raw path without one is nearest to, None where none is near. It has no bytes of the path.

        Of the routes that are named in `told`, None for all: 1. The path is a route's but for case or slashes, or below one; the
        longest counts. 2. It is the end of one route's path, and of no other's: its beginning was forgotten. 3. Its first
        segments are nearly those of a route, and clearly not so nearly those of another; that is not tried among very many.
        4. There is one only.
        """
        asked = _plain(path[:_MAX_PATH])
        end = len(asked) if len(path) <= _MAX_PATH else asked.rfind(b"/")  # The last segment may be cut.
        while end > 0:
            if end <= self._longest and (found := _among(self._plain.get(asked[:end], ()), told)):
                return _spelt(found, is_below=end < len(asked))
            end = asked.rfind(b"/", 0, min(end, self._longest + 1))
        ends = _among(self._ends.get(asked, ()), told)
        if ends and all(each.path == ends[0].path for each in ends):
            return self._whole(ends[0], told)
        few = _among(self._routes, told)
        if ends or len(few) > MAX_CLOSE:
            return None
        if (close := _close(few, asked)) is not None:
            return _below(close, "Call")
        return _below(few[0], "Put", " before the path") if len(few) == 1 else None

    def no_route(self, path: bytes, told: Set[str] | None, meant: Route | None = None) -> Refusal:
        """Return the refusal of a raw path without a route. Its client is told of the routes in `told` only, the log of all.

        `told` are names of routes, None for all. `meant`: the route whose path a lenient server would read.
        """
        nearest = self._plainly(path, None, meant)
        why = None if nearest is None else f"nearest route: {nearest.route}"
        near = nearest if told is None else self._plainly(path, told, meant)
        if near is not None and path != b"/":
            return Refusal("no_route", f"No route has this path; the nearest is {near.route}.", hint=near.hint, why=why)
        what, names = "No route has this path.", self._names(told)
        hint = f"Call one of the routes: {names}." if names else None
        if path == b"/":
            what = "This is passthrough, a reverse proxy: it serves its routes, and '/' is none of them."
        return Refusal("no_route", what, hint=hint, why=why)

    def _plainly(self, path: bytes, told: Set[str] | None, meant: Route | None) -> NearestRoute | None:
        if meant is None or not _among((meant,), told):
            return self.nearest(path, told)
        name = name_of(meant)
        return NearestRoute(name, f"Call {name} by its plain path: nothing encoded, no doubled slash, its own case.")

    def _whole(self, route: Route, told: Set[str] | None) -> NearestRoute:
        """Return a route of whose path the beginning was forgotten."""
        name = name_of(route)
        above = [each for each in _among(self._routes, told) if each.include_subpath]
        other = f", or put {name_of(above[0])} before the path" if len(above) == 1 else ""
        return NearestRoute(name, f"Call {name}: its whole path is needed{other}.")

    def _names(self, told: Set[str] | None) -> str:
        """Return the names of the first few routes."""
        names = list(dict.fromkeys(map(name_of, islice(_among(self._routes, told), MAX_CLOSE))))
        return ", ".join(names[:_MAX_SHOWN]) + (" …" if len(names) > _MAX_SHOWN else "")


def name_of(route: Route) -> str:
    """Return a route's path as it is configured."""
    return route.path.decode("ascii", "backslashreplace") or "/"


def _among(routes: Sequence[Route], told: Set[str] | None) -> Sequence[Route]:
    """Return those of the routes that are named in `told`, None for all."""
    return routes if told is None or not routes else [each for each in routes if each.terms.route in told] if told else ()


def _spelt(routes: Sequence[Route], *, is_below: bool) -> NearestRoute:
    """Return the one of the routes of a path that the path asked for would reach if it were spelt as it is."""
    route = next((each for each in routes if each.include_subpath), routes[0]) if is_below else routes[0]
    name = name_of(route)
    if is_below and not route.include_subpath:
        return NearestRoute(name, f"Only {name} itself is served: 'include_subpath: true' in its entry opens what is below.")
    return NearestRoute(name, f"Spell it {name}: case counts, and so does each slash.")


def _close(routes: Iterable[Route], asked: bytes) -> Route | None:
    """Return the route whose first segments are nearly those of a path, None where several are."""
    begins: dict[str, list[Route]] = {}
    for route in routes:
        if own := _plain(route.path):
            begins.setdefault(_begin(own, 3), []).append(route)
    for depth in (2, 3):
        wanted = _begin(asked, depth)
        close = get_close_matches(wanted, begins, 2, _CUTOFF) if len(wanted) > 1 else []
        if close and len({route.path for route in begins[close[0]]}) == 1:
            far = [1 - SequenceMatcher(None, each, wanted).ratio() for each in close]
            if len(far) == 1 or far[1] >= _CLEARLY * far[0]:
                return begins[close[0]][0]
    return None


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
