"""Budgets as values: limits, their scopes and periods, the calendar, and requests and grants of leases."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

LEASE_S: Final = 30.0
"""How long a lease is valid after it was written: until then, what a dead process held stays unavailable to others."""


class Unit(StrEnum):
    """What is counted against a budget."""

    PAGES = "pages"  # plain and annotated pages together
    USD = "usd"  # as nano-USD, 10⁻⁹
    REQUESTS = "requests"


class Per(StrEnum):
    """The length of a period."""

    MINUTE = "minute"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """A stretch of time, its end excluded; milliseconds since the epoch."""

    starts_ms: int
    ends_ms: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """When periods begin: `zone` is an IANA name, `day_starts_minute` counts from midnight there.

    A week begins on `week_starts` (0 is Monday), a month on day `month_starts` (1 to 31; on its last day where it is shorter).
    """

    zone: str = "UTC"
    day_starts_minute: int = 0
    week_starts: int = 0
    month_starts: int = 1


@dataclass(frozen=True, slots=True)
class Scope:
    """What a budget applies to: `kind` is `client`, `route` or `all`; `name` is the client's name, the route's path, or empty."""

    kind: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """One sum that a budget limits: a unit, over all exchanges of a scope in one period.

    An exchange belongs to the period in which it began. The sandbox's traffic is summed apart: it costs nothing.
    """

    scope: Scope
    unit: Unit
    sandbox: bool
    period: Period


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on what a scope may spend in one period: `limit` is in pages, nano-USD or requests.

    `warn_at` is the share of the limit (0 to 1) at which the operator is warned; None: never. `refuses_unpriced`: once something
    was used that has no price, so that its cost is in no sum, requests are refused until it has one. For USD only.
    """

    scope: Scope
    unit: Unit
    per: Per
    limit: int
    warn_at: float | None = None
    refuses_unpriced: bool = False

    @property
    def key(self) -> tuple[Scope, Unit, Per]:
        """What identifies the budget when a reload changes its figures."""
        return self.scope, self.unit, self.per


@dataclass(frozen=True, slots=True)
class Policy:
    """The configuration of budgets: which there are, when their periods begin, what happens without the ledger.

    With `sandbox` they limit the sandbox's traffic, which is summed apart. `webhook` is a URL that may hold a secret.
    """

    budgets: tuple[Budget, ...] = ()
    calendar: Calendar = Calendar()
    refuse_without_lease: bool = False
    webhook: str | None = None
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Something that was used and had no price, as far as a price depends on it. The same for any number of charges.

    `counted` names the counters that needed a price, sorted, with spaces between. `target` is the authority that responded.
    """

    model: str | None
    target: str | None
    route: str | None
    counted: str
    service_tier: str | None = None
    in_batch: bool = False


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """A process's request for a lease of one budget: to hold `keep`, and up to `wanted` beyond it.

    `warn_from` is the amount from which the operator is warned; None: never. `asks_unpriced`: the grant is to name what had no
    price in the period.
    """

    span: Span
    limit: int
    keep: int
    wanted: int
    warn_from: int | None = None
    asks_unpriced: bool = False

    @property
    def ends(self) -> bool:
        """Tell whether nothing is asked for any more: the lease is given back."""
        return not (self.keep or self.wanted)


@dataclass(frozen=True, slots=True)
class LeaseGrant:
    """The ledger's reply to a LeaseRequest: `spent` so far, `others` held by other processes, and `held` by this one.

    `replicas` is how many processes hold a lease, this one included. `warns` tells that this process is to warn the operator
    now. `lasts_s` is how long the lease is valid from now on. `unpriced` is what had no price, where that was asked.
    """

    spent: int
    others: int
    replicas: int
    held: int
    warns: bool = False
    lasts_s: float = field(default=LEASE_S, compare=False)
    unpriced: frozenset[Unpriced] = frozenset()
