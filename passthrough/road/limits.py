"""How many requests of one client may be under way at once."""

from __future__ import annotations

from typing import Final

from ..errors import Refusal
from ..exchange import Exchange
from .access import Client

RETRY_AFTER_S: Final = 1
"""What a refused client is told to wait: nobody knows how long the others still take."""


class Slots:
    """The exchanges under way, by client; one that settles counts on, for the provider still works on it."""

    __slots__ = ("_held", "_taken")

    def __init__(self) -> None:
        self._held: dict[str, str] = {}
        self._taken: dict[str, int] = {}

    def enter(self, client: Client | None, exchange: Exchange) -> None:
        """Take a slot for an exchange until it leaves. Raises Refusal (too_many_parallel) where the client has no more."""
        if client is None or client.max_parallel is None:
            return
        taken = self._taken.get(client.name, 0)
        if taken >= client.max_parallel:
            raise Refusal(
                "too_many_parallel",
                f"Client '{client.name}' has {taken} requests under way; more are not allowed at once.",
                retry_after_s=RETRY_AFTER_S,
            )
        self._taken[client.name] = taken + 1
        self._held[exchange.id] = client.name

    def leave(self, exchange: Exchange) -> None:
        """Give back the slot of an exchange that has ended, if it has one."""
        name = self._held.pop(exchange.id, None)
        if name is None:
            return
        self._taken[name] -= 1
        if not self._taken[name]:
            del self._taken[name]
