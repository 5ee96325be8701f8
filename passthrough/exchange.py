"""What happened on the wire, once: the parcel that the road fills and the books read; it carries its route's terms."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from .meter.plan import MeterPlan
from .meter.usage import NOTHING, Usage

_STOCK: Final = 100


class Outcome(StrEnum):
    """How an exchange ended."""

    COMPLETED = "completed"  # a whole answer went to the client, whatever its status
    REFUSED = "refused"  # we said no
    UPSTREAM_FAILED = "upstream_failed"  # the target was not reached, broke, or was too slow
    CLIENT_GONE = "client_gone"  # the client left first
    CUT_OFF = "cut_off"  # the drain deadline ended it


@dataclass(frozen=True, slots=True)
class RouteTerms:
    """What the books need to know of a route: its name, how it is metered, and a price of its own.

    `cost_per_request_nano` (10⁻⁹ USD) replaces the page price where it is set. `account` names the account at the provider,
    within which a batch line's id is one; None: each target's authority is one.
    """

    route: str
    plan: MeterPlan = MeterPlan()
    cost_per_request_nano: int | None = None
    account: str | None = None


class UsageSource(Protocol):
    """The books' side of a meter: what it found, once all bytes have passed."""

    async def usage(self) -> Usage:
        """Return the usage, after whatever is still being decoded; never raises for the answer's bytes.

        Of a batch it has the last model and `unmetered`, and no counters: its lines went through `Passed`, the last of them
        before this returns.
        """
        ...

    def usage_if_ready(self) -> Usage | None:
        """Return what `usage` would, where nothing is being decoded any more; None where that must be awaited."""
        ...


class _NothingRead:
    """The reading of an exchange without a meter."""

    async def usage(self) -> Usage:
        return NOTHING

    def usage_if_ready(self) -> Usage:
        return NOTHING


NOTHING_READ: UsageSource = _NothingRead()


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and its answer. Only the relay (and what settles for it) writes here, and not after `done`.

    Times: `began_utc` is seconds since the epoch, `began` and the spans are seconds of the monotonic clock. `path` is the raw
    path as text (bytes outside ASCII escaped), without the query. `status` is what the client was sent, None if nothing.
    `bytes_up` and `bytes_down` are body bytes on the wire, without framing. `error` is a code of errors.KINDS. `admitted`
    tells that routing and access let it through: only such exchanges reach the ledger. `cost_told_nano` (10⁻⁹ USD) is what the
    answer's own header said that it cost, and `cost_header` is that header's name. `overhead_s` is the time that went by in
    here: from the request's head to the wish for a connection to the target, and from the answer's head to its first write.
    `went_up` tells that an answer with a count had begun, or that the request had gone up whole when the call was given up or
    broke: it may be paid, although what for is not known.
    """

    id: str
    began_utc: float
    began: float
    method: str
    path: str
    terms: RouteTerms | None = None
    admitted: bool = False
    client: str | None = None
    label: str | None = None
    target: str | None = None
    sandbox: bool = False
    status: int | None = None
    outcome: Outcome = Outcome.CUT_OFF  # until something is known
    error: str | None = None
    attempts: int = 0
    upstream_request_id: str | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    first_byte_s: float | None = None
    total_s: float = 0.0
    overhead_s: float | None = None
    reported_cost_nano: int | None = None
    cost_header: str | None = None
    went_up: bool = False
    usage_source: UsageSource = field(default=NOTHING_READ)

    def leaving(self) -> None:
        """Note how long it took in here until a connection to the target was wanted; the first time counts."""
        if self.overhead_s is None:
            self.overhead_s = time.monotonic() - self.began

    def answering(self) -> None:
        """Note how long it took in here from the answer's head to now, when it is about to be written."""
        self.overhead_s = (self.overhead_s or 0.0) + time.monotonic() - self.began - (self.first_byte_s or 0.0)

    def end(self) -> None:
        """Note how long it took in all; the last thing that is written."""
        self.total_s = time.monotonic() - self.began


Done = Callable[[Exchange], None]
"""Takes an exchange that has ended: synchronous, never blocks, never raises. Called exactly once for each."""


Passed = Callable[[Exchange, Sequence[Usage]], None]
"""Takes lines of a batch file that have passed, while the exchange goes on: synchronous, never blocks, never raises."""


class Allowance(Protocol):
    """Who may spend what: asked before a byte goes upstream."""

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        """Reserve what an admitted exchange may come to; None: it may go on. The awaitable is for the rare case of a wait.

        Raises Refusal (rate_limited, budget_spent), or the awaitable does. What was reserved is given back when the exchange is
        booked.
        """
        ...


class _Boundless:
    """The allowance where nothing is limited."""

    def enter(self, exchange: Exchange) -> None:
        return None


BOUNDLESS: Allowance = _Boundless()


_stock: Final[list[str]] = []  # the one thing that a module keeps: random bits that nobody has had
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_stock.clear)


def new_id(now_utc: float) -> str:
    """Return 32 hexadecimal digits that sort by time: 48 bits of milliseconds, then 80 random bits. From any thread.

    The system is asked for many exchanges' bits at once: asking it hands the interpreter over to other threads, on the road. A
    process that is forked off throws away what its parent has in stock.
    """
    while True:
        try:
            return f"{int(now_utc * 1000):012x}{_stock.pop()}"
        except IndexError:
            digits = os.urandom(10 * _STOCK).hex()
            _stock.extend([digits[at : at + 20] for at in range(0, 20 * _STOCK, 20)])


def began(method: str, path: str) -> Exchange:
    """Return a new exchange that begins now."""
    now_utc = time.time()
    return Exchange(id=new_id(now_utc), began_utc=now_utc, began=time.monotonic(), method=method, path=path)
