"""Limits how many requests are served at once: of one client key, on one route, and in all (`max_parallel`)."""

from __future__ import annotations

from typing import Final

from ..errors import Refusal
from ..exchange import Exchange
from .auth import ClientKey
from .routes import Route

RETRY_AFTER_S: Final = 1
"""The Retry-After of a refusal. It is a guess: how long the other requests take is unknown."""


class ConcurrencyLimits:
    """Counts the active exchanges by client key, by route and in all. A settling call counts: the provider still works on it."""

    __slots__ = ("_in_use", "_slots")

    def __init__(self) -> None:
        self._slots: dict[str, tuple[tuple[str, str], ...]] = {}
        self._in_use: dict[tuple[str, str], int] = {}

    def enter(self, client: ClientKey | None, route: Route, max_in_all: int | None, exchange: Exchange) -> None:
        """Take a slot for an exchange under each limit that applies, until it leaves.

        Raises Refusal (too_many_parallel), and takes none, where a limit is reached: first the client key's, then the route's,
        then the limit for all.
        """
        wanted = []
        if client is not None and client.max_parallel is not None:
            wanted.append(("client", client.name, client.max_parallel))
        if route.max_parallel is not None:
            wanted.append(("route", route.terms.route, route.max_parallel))
        if max_in_all is not None:
            wanted.append(("all", "", max_in_all))
        if not wanted:
            return
        for kind, name, maximum in wanted:
            if (in_use := self._in_use.get((kind, name), 0)) >= maximum:
                raise Refusal("too_many_parallel", _message(kind, name, in_use), retry_after_s=RETRY_AFTER_S)
        for kind, name, _ in wanted:
            self._in_use[kind, name] = self._in_use.get((kind, name), 0) + 1
        self._slots[exchange.id] = tuple([(kind, name) for kind, name, _ in wanted])

    def leave(self, exchange: Exchange) -> None:
        """Release the slots of an exchange that has ended, if it has any."""
        for slot in self._slots.pop(exchange.id, ()):
            self._in_use[slot] -= 1
            if not self._in_use[slot]:
                del self._in_use[slot]


def _message(kind: str, name: str, in_use: int) -> str:
    who = {"client": f"Client '{name}'", "route": f"Route {name}", "all": "This proxy"}[kind]
    return f"{who} has {in_use} {'request' if in_use == 1 else 'requests'} under way; more are not allowed at once."
