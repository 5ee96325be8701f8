"""Resolves the names of targets, on threads of their own, and serves stale addresses while DNS fails (RFC 8767).

`getaddrinfo` blocks and cannot be cancelled. On the event loop's few shared threads, one name whose resolver hangs would block
all others, and the end of the process too. Here (1) an IP address needs no look-up; (2) all tasks that wait for a name share
one look-up, and a cancelled one does not cancel it; (3) while a look-up hangs or fails, the last good addresses serve.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from ...errors import Reason, UpstreamFailure

MAX_LOOK_UPS: Final = 3
"""How many look-ups of one name, each on a thread, may run at once."""


@dataclass(frozen=True, slots=True)
class Ages:
    """How old addresses may be, in seconds since the look-up that found them.

    Up to `fresh_s` no look-up is made: the connects of a burst share one. Up to `recent_s` the addresses serve at once, while a
    look-up renews them. Later an address may have another owner, so that a look-up is awaited for `patience_s` (RFC 8767 §5
    suggests 1.8 s). Up to `last_s` they serve at all (a day or more, says the same). A look-up that takes longer than `hangs_s`
    may never end: another one is started beside it.
    """

    fresh_s: float = 10.0
    recent_s: float = 60.0
    patience_s: float = 1.0
    last_s: float = 86400.0
    hangs_s: float = 10.0


AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]
LookUp = Callable[..., list[Any]]
"""A function like `socket.getaddrinfo`."""


class _Name:
    """The state of one name. Times are the event loop's."""

    __slots__ = ("addresses", "asked_at", "failed_at", "found_at", "running", "waiter")

    def __init__(self) -> None:
        self.addresses: list[AddressInfo] = []
        self.found_at = self.asked_at = self.failed_at = float("-inf")  # end and start of the last good look-up, last failure
        self.running: list[float] = []  # when each look-up that is running began
        self.waiter: asyncio.Future[None] | None = None


class Resolver:
    """The addresses of names. Every method is called on the event loop."""

    def __init__(self, look_up: LookUp = socket.getaddrinfo, ages: Ages = Ages()) -> None:
        """`look_up` is called with a name, on threads."""
        self._loop = asyncio.get_running_loop()
        self._look_up = look_up
        self._ages = ages
        self._names: dict[str, _Name] = {}

    async def addresses(self, host: str, port: int) -> list[AddressInfo]:
        """Return the addresses of a host. Raises UpstreamFailure (upstream_unreachable) where its name is not resolved.

        It waits for a look-up to end only where no good addresses are known.
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
            # Not awaited directly: a task that is cancelled would cancel it for all.
            await asyncio.wait({name.waiter}, timeout=patience_s)
        if useful or name.addresses is not before:
            return name.addresses
        raise UpstreamFailure("upstream_unreachable", f"The name {host} cannot be resolved.", why=Reason.NAME)

    def _renew(self, host: str, name: _Name, now: float) -> None:
        """Start a look-up, unless one is running, or has just failed while older addresses serve."""
        if name.running and (now - name.running[-1] < self._ages.hangs_s or len(name.running) >= MAX_LOOK_UPS):
            return
        if name.addresses and now - name.failed_at < self._ages.fresh_s:
            return
        name.running.append(now)
        try:
            # A daemon: the end of the process does not wait for it.
            threading.Thread(target=self._ask, args=(host, name, now), name="resolve", daemon=True).start()
        except RuntimeError:  # No thread can be started.
            self._ended(name, now, [])

    def _ask(self, host: str, name: _Name, began: float) -> None:
        """Look a name up, on a thread, and pass the result to the event loop."""
        try:
            found = ip_addresses(self._look_up(host, None, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):  # UnicodeError: not a possible DNS name
            found = []
        with suppress(RuntimeError):  # The loop has been closed meanwhile.
            self._loop.call_soon_threadsafe(self._ended, name, began, found)

    def _ended(self, name: _Name, began: float, found: list[AddressInfo]) -> None:
        name.running.remove(began)
        if not found:
            name.failed_at = self._loop.time()
        elif began >= name.asked_at:  # Else a look-up that started later has already ended.
            name.addresses, name.asked_at, name.found_at = found, began, self._loop.time()
        if name.waiter is not None:
            name.waiter.set_result(None)
            name.waiter = None


def _literal(host: str) -> list[AddressInfo]:
    """Return the address where `host` is an IP address, with or without a zone; an empty list where it is a name."""
    try:
        return ip_addresses(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
    except (OSError, UnicodeError):
        if ":" in host:
            what = f"The address {host} cannot be used: this machine has no such interface."
            raise UpstreamFailure("upstream_unreachable", what, why=Reason.UNREACHABLE) from None
        return []


def ip_addresses(found: list[Any]) -> list[AddressInfo]:
    """Return the IPv4 and IPv6 ones of what a LookUp found. A zone is in the address too: uvloop 0.23 reads it there only."""
    return [
        (family, kind, proto, "", (f"{at[0]}%{at[3]}", *at[1:]) if len(at) == 4 and at[3] and "%" not in at[0] else at)
        for family, kind, proto, _, at in found
        if family in {socket.AF_INET, socket.AF_INET6}
    ]
