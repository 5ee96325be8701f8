"""Says the steps of each request, by its id, where the program logs at the level `debug`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ...exchange import Exchange
from .connection import Connection

_MAX_PATH: Final = 2000
"""How many characters of a path are said: as many as the log has."""


class Steps:
    """The steps of requests as messages: which route, which target over which connection, which response, which end.

    There is none where nobody debugs, so that it costs nothing then. A message has no query, header or body.
    """

    __slots__ = ("_say",)

    def __init__(self, say: Callable[[str], None]) -> None:
        """`say` takes the messages; it never blocks."""
        self._say = say

    def began(self, exchange: Exchange) -> None:
        """Say that a request has come."""
        path = exchange.path if len(exchange.path) <= _MAX_PATH else exchange.path[: _MAX_PATH - 1] + "…"
        self._say(f"{exchange.id} {exchange.method} {path}")

    def matched(self, exchange: Exchange) -> None:
        """Say which route a request has, and whose it is."""
        route = "no route" if exchange.terms is None else f"route {exchange.terms.route}"
        self._say(f"{exchange.id} {route}, {f'client {exchange.client}' if exchange.client else 'no client key asked for'}")

    def connected(self, exchange: Exchange, connection: Connection) -> None:
        """Say over which connection a try goes to which target."""
        which = "a kept connection" if connection.was_kept else "a new connection"
        deployment = f" ({exchange.deployment})" if exchange.deployment not in {None, exchange.target} else ""
        self._say(f"{exchange.id} try {exchange.attempts}: {exchange.target}{deployment}, {which}")

    def responded(self, exchange: Exchange, status: int) -> None:
        """Say which response is relayed."""
        self._say(f"{exchange.id} response {status} after {exchange.first_byte_s or 0.0:.3f} s")

    def repeated(self, exchange: Exchange, status: int) -> None:
        """Say after which response a request is sent again."""
        self._say(f"{exchange.id} try {exchange.attempts}: {status}, tried again")

    def failed(self, exchange: Exchange, message: str) -> None:
        """Say what failed, in the words of the response to the client."""
        self._say(f"{exchange.id} {message}")

    def ended(self, exchange: Exchange) -> None:
        """Say how a request has ended."""
        status = "no response" if exchange.status is None else exchange.status
        tries = f", {exchange.attempts} tries" if exchange.attempts > 1 else ""
        why = f" ({exchange.why or exchange.error})" if exchange.why or exchange.error else ""
        sizes = f"{exchange.bytes_up} bytes up, {exchange.bytes_down} down"
        self._say(f"{exchange.id} {exchange.outcome}{why}: {status}{tries}, {sizes}, {exchange.total_s:.3f} s")
