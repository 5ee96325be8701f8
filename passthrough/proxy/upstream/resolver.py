"""Resolves the names of targets, each on threads of its own, and remembers the last good addresses.

`getaddrinfo` blocks and cannot be cancelled. On the event loop's few shared threads one name whose resolver hangs would keep
all others waiting, and the end of the process too. Here (1) an IP address needs no look-up; (2) all who wait for a name share
one look-up, and leaving does not cancel it; (3) while a look-up hangs or fails, the last good addresses serve (RFC 8767).
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from ...errors import UpstreamFailure

MAX_LOOK_UPS: Final = 3
"""How many look-ups of one name, each on a thread, there may be at once."""


@dataclass(frozen=True, slots=True)
class Ages:
    """How old addresses may be, in seconds since the look-up that found them.

    `fresh_s`: no further look-up is made: targets move, and every connect of a burst need not ask. `recent_s`: they serve at
    once, while a look-up renews them; later an address may be another's, so that for `patience_s` a look-up is waited for (RFC
    8767 §5 suggests 1.8 s). `last_s`: they serve at all (a day or more, says the same). A look-up that takes longer than
    `hangs_s` may hang for ever: another one is begun beside it.
    """

    fresh_s: float = 10.0
    recent_s: float = 60.0
    patience_s: float = 1.0
    last_s: float = 86400.0
    hangs_s: float = 10.0


AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]
LookUp = Callable[..., list[Any]]
"""What `socket.getaddrinfo` is."""


class _Name:
    """What is known of one name. Times are the event loop's."""

    __slots__ = ("addresses", "asked_at", "failed_at", "found_at", "running", "waiter")

    def __init__(self) -> None:
        self.addresses: list[AddressInfo] = []
        self.found_at = self.asked_at = self.failed_at = float("-inf")  # the last good answer, its question, the last failure
        self.running: list[float] = []  # when each look-up began that has not ended
        self.waiter: asyncio.Future[None] | None = None


class Resolver:
    """The addresses of names. Every method is called on the event loop."""

    def __init__(self, look_up: LookUp = socket.getaddrinfo, ages: Ages = Ages()) -> None:
        """`look_up` is called on threads, with a name."""
        self._loop = asyncio.get_running_loop()
        self._look_up = look_up
        self._ages = ages
        self._names: dict[str, _Name] = {}

    async def addresses(self, host: str, port: int) -> list[AddressInfo]:
        """Return where a host can be reached. Raises UpstreamFailure (upstream_unreachable) where its name is not resolved.

        It waits for a look-up, for as long as that takes, only where no good addresses are known.
        """
        found = _literal(host)
        if not found:
            found = await self._named(host)
        return [(family, kind, proto, "", (at[0], port, *at[2:])) for family, kind, proto, _, at in found]

    async def _named(self, host: str) -> list[AddressInfo]:
        name = self._names.get(host)
        if name is None:
            name = self._names[host] = _Name()
        now, ages = self._loop.time(), self._ages
        age = now - name.found_at
        if age < ages.fresh_s:
            return name.addresses
        self._renew(host, name, now)
        if age < ages.recent_s:
            return name.addresses
        before, useful = name.addresses, age < ages.last_s
        patience_s = name.running[0] + ages.patience_s - now if useful and name.running else None
        if name.running and (patience_s is None or patience_s > 0):
            if name.waiter is None:
                name.waiter = self._loop.create_future()
            # Not awaited itself: a waiter that is cancelled would cancel it for all.
            await asyncio.wait({name.waiter}, timeout=patience_s)
        if useful or name.addresses is not before:
            return name.addresses
        raise UpstreamFailure("upstream_unreachable", f"The name {host} cannot be resolved.")

    def _renew(self, host: str, name: _Name, now: float) -> None:
        """Begin a look-up, unless one is under way, or has just failed while older addresses serve."""
        if name.running and (now - name.running[-1] < self._ages.hangs_s or len(name.running) >= MAX_LOOK_UPS):
            return
        if name.addresses and now - name.failed_at < self._ages.fresh_s:
            return
        name.running.append(now)
        try:
            # A daemon: the end of the process does not wait for it.
            threading.Thread(target=self._ask, args=(host, name, now), name="resolve", daemon=True).start()
        except RuntimeError:  # There is no thread to be had.
            self._ended(name, now, [])

    def _ask(self, host: str, name: _Name, began: float) -> None:
        """Look a name up, on a thread, and tell the loop."""
        try:
            found = _plain(self._look_up(host, None, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):  # UnicodeError: no name that DNS could hold
            found = []
        with suppress(RuntimeError):  # The loop has been closed meanwhile.
            self._loop.call_soon_threadsafe(self._ended, name, began, found)

    def _ended(self, name: _Name, began: float, found: list[AddressInfo]) -> None:
        name.running.remove(began)
        if not found:
            name.failed_at = self._loop.time()
        elif began >= name.asked_at:  # Else a later question has been answered already.
            name.addresses, name.asked_at, name.found_at = found, began, self._loop.time()
        if name.waiter is not None:
            name.waiter.set_result(None)
            name.waiter = None


def _literal(host: str) -> list[AddressInfo]:
    """Return the address that `host` is itself, with or without a zone; nothing where it is a name."""
    try:
        return _plain(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
    except (OSError, UnicodeError):
        if ":" in host:
            what = f"The address {host} cannot be used: this machine has no such interface."
            raise UpstreamFailure("upstream_unreachable", what) from None
        return []


def _plain(found: list[Any]) -> list[AddressInfo]:
    """Return addresses of IPv4 and IPv6. A zone stands in the address too, as a number: uvloop 0.23 reads it there only."""
    return [
        (family, kind, proto, "", (f"{at[0]}%{at[3]}", *at[1:]) if len(at) == 4 and at[3] and "%" not in at[0] else at)
        for family, kind, proto, _, at in found
        if family in {socket.AF_INET, socket.AF_INET6}
    ]
