"""What may be spent, by whom, in which period: values, and the calendar that they go by."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

LEASE_S: Final = 30.0
"""How long a lease counts after it was written: for so long a process that died keeps others from what it held."""


class Unit(StrEnum):
    """What is counted against a budget."""

    PAGES = "pages"  # plain and annotated ones alike
    USD = "usd"  # as nano-USD, 10⁻⁹
    REQUESTS = "requests"


class Per(StrEnum):
    """How long a period is."""

    MINUTE = "minute"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """From when on, and before when; milliseconds since the epoch."""

    starts_ms: int
    ends_ms: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """Where the periods begin: `zone` is an IANA name, `day_starts_minute` counts from midnight there.

    A week begins on `week_starts` (0 is Monday), a month on day `month_starts` (1 to 31; on its last day where it is shorter).
    """

    zone: str = "UTC"
    day_starts_minute: int = 0
    week_starts: int = 0
    month_starts: int = 1


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose budget it is: `kind` is `client`, `route` or `all`; `name` is the client's name, the route's path, or empty."""

    kind: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """What is summed up for a budget: all of one unit that a scope's exchanges of one period came to.

    An exchange belongs to the period in which it began. The sandbox's pages are summed apart: nobody pays for them.
    """

    scope: Scope
    unit: Unit
    sandbox: bool
    period: Period


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound of what may be spent in one period: `most` is pages, nano-USD or requests.

    `warn_at` is the share of it (0 to 1) at which the operator is warned, None for never.
    """

    scope: Scope
    unit: Unit
    per: Per
    most: int
    warn_at: float | None = None

    @property
    def key(self) -> tuple[Scope, Unit, Per]:
        """What it stays the same by, when a reload changes its figures."""
        return self.scope, self.unit, self.per


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration says of budgets: which there are, where their periods begin, what is done without the ledger.

    With `sandbox` they are about the sandbox's traffic, which is summed apart. `webhook` is an address that may hold a secret.
    """

    budgets: tuple[Budget, ...] = ()
    calendar: Calendar = Calendar()
    refuse_without_lease: bool = False
    webhook: str | None = None
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """What is asked of the ledger for one budget: to hold `keep`, and up to `wanted` beyond it.

    `warn_from` is the amount from which the operator is warned, None for never.
    """

    span: Span
    most: int
    keep: int
    wanted: int
    warn_from: int | None = None

    @property
    def ends(self) -> bool:
        """Whether nothing is asked for any more: the lease is given back."""
        return not (self.keep or self.wanted)


@dataclass(frozen=True, slots=True)
class LeaseGrant:
    """What the ledger answers: what is spent, what other processes hold (and how many they are), and what may be held here.

    `warns` tells that the operator is to be warned now, by this process. `lasts_s` is how long the lease counts from now on.
    """

    spent: int
    others: int
    replicas: int
    held: int
    warns: bool = False
    lasts_s: float = field(default=LEASE_S, compare=False)
