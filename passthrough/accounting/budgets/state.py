"""What one budget still allows in here: the lease that this process holds, and what of it is promised or spent. Pure.

A request is let through while what is spent and not yet in the ledger, and what is reserved for requests under way, is less than
the lease. Nobody knows what a request comes to before its answer is there: its reservation is a guess, by what came before it.
So a budget is passed by no more than the requests that are under way come to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from math import ceil, inf
from typing import Final

from ..budget import Budget, Calendar, LeaseGrant, LeaseRequest, Period, Scope, Span, Unit
from ..entry import printable
from ..periods import period_of

IDLE_S: Final = 5.0
"""How long nothing has to come before a lease is given back."""

AGAIN_S: Final = 2.0
"""How long it takes until the ledger is asked again about a budget of which nothing has changed in here."""

AHEAD_MS: Final = 3000
"""How long before the end of a period the next one's lease is taken, so that nobody waits at the turn."""

_SHARE: Final = 8
_KEPT_MS: Final = 3_600_000
_SMOOTHED: Final = 8


class Verdict(Enum):
    """What a budget says to one more request."""

    FREE = auto()
    SPENT = auto()  # it is used up, for certain
    RESERVED = auto()  # it will be, if the requests under way come to what is reserved for them
    ASK = auto()  # the lease is used up, or there is none yet: only the ledger knows


@dataclass(slots=True, eq=False)
class BudgetState:
    """One budget in one period. `spent` is what is in the ledger, `unbooked` what is not yet, `reserved` a guess of the rest.

    Times are seconds of a monotonic clock. The lease counts until `until`: then others may take it.
    """

    budget: Budget
    span: Span
    held: int = 0
    reserved: int = 0
    unbooked: int = 0
    spent: int = 0
    others: int = 0
    replicas: int = 0
    wanted: int = 0
    until: float = 0.0
    used_at: float = 0.0
    recent: int = 0
    asked_at: float = -inf
    asked: bool = False  # somebody waits, or soon will
    changed: bool = True  # since the ledger was asked
    warned: bool = False

    @property
    def left(self) -> int:
        """What is neither spent, nor reserved, nor held by others, as far as is known here."""
        return self.budget.most - self.spent - self.unbooked - self.reserved - self.others

    def verdict(self, now: float) -> Verdict:
        """Return what the budget says to one more request; the smallest counts as one unit."""
        if self.spent + self.unbooked >= self.budget.most:
            return Verdict.SPENT
        if self.unbooked + self.reserved < self.held and now < self.until:
            return Verdict.FREE
        if self.spent + self.unbooked + self.reserved >= self.budget.most:
            # What is reserved for a request is exact where requests are counted.
            return Verdict.SPENT if self.budget.unit == Unit.REQUESTS else Verdict.RESERVED
        return Verdict.ASK

    def reserve(self, amount: int, now: float) -> bool:
        """Reserve an amount; return whether the lease runs low with it, and the ledger has more."""
        self.reserved += amount
        self.changed = True
        self.recent += amount
        self.used_at = now
        free = self.held - self.unbooked - self.reserved
        if self.asked or 2 * free >= self.wanted or free >= self.left:
            return False
        self.asked = True
        return True

    def ask(self, amount: int, now: float) -> None:
        """Have the ledger asked: somebody waits who will need about this much."""
        self.recent += amount
        self.used_at = now
        self.asked = True

    def settle(self, reserved: int, amount: int) -> None:
        """Take back a reservation, or a part of it, for what is known now and on its way into the ledger."""
        self.reserved -= reserved
        self.unbooked += amount
        self.changed = True

    def book(self, amount: int, new: int) -> None:
        """Take note that an amount is in the ledger now, of which `new` was not there before."""
        self.unbooked -= amount
        self.held = max(self.held - amount, 0)
        self.spent += new
        self.changed = True

    def bound(self, budget: Budget) -> None:
        """Go by a budget's new figures, from now on; what is under way stays."""
        left = max(self.unbooked + self.reserved, budget.most - self.spent)
        self.held = left if self.until == inf else min(self.held, left)
        self.warned &= self.budget == budget
        self.budget = budget
        self.changed = True

    def lease_request(self, now: float, guess: int) -> LeaseRequest:
        """Return what is to be asked of the ledger; what is given back is no longer used from here on.

        What is wanted is enough for a few moments, and an eighth of the budget at least; towards its end it shrinks, so that no
        process sits on what another needs.
        """
        self.changed = self.asked = False
        self.asked_at = now
        base = self.unbooked + self.reserved
        idle = now - self.used_at > IDLE_S
        if idle:
            self.wanted = 0
        else:
            wanted = max(4 * guess, 2 * self.recent, self.budget.most // _SHARE)
            rest = (self.budget.most - self.spent - base) // (2 * max(self.replicas, 1))
            self.wanted = max(min(wanted, rest), guess, 1)
        if self.held - base > 2 * self.wanted:
            self.held = base + self.wanted
        keep = max(self.held, base)
        return LeaseRequest(self.span, self.budget.most, keep, max(base + self.wanted - keep, 0), self._warn_from())

    def grant(self, grant: LeaseGrant, now: float) -> None:
        """Take what the ledger granted; it covers what was reserved since it was asked, for that was within the lease before."""
        self.spent, self.others, self.replicas = grant.spent, grant.others, grant.replicas
        self.held = grant.held
        self.until = now + grant.lasts_s
        self.warned |= grant.warns
        self.recent = 0

    def warns(self) -> bool:
        """Tell, once, that the operator is to be warned; for where no ledger does."""
        warn_from = self._warn_from()
        if warn_from is None or self.spent < warn_from:
            return False
        self.warned = True
        return True

    def idle(self, now: float) -> bool:
        """Tell whether nothing is held, reserved or on its way, and nothing came lately: the ledger need not be asked."""
        return not (self.held or self.reserved or self.unbooked or self.asked) and now - self.used_at > IDLE_S

    def due(self, now: float) -> bool:
        """Tell whether the ledger is to be asked: something changed, or others may have come meanwhile."""
        return self.changed or self.asked or now - self.asked_at > AGAIN_S

    def _warn_from(self) -> int | None:
        share = self.budget.warn_at
        return None if share is None or self.warned else ceil(round(share * self.budget.most, 6))


@dataclass(slots=True, eq=False)
class BudgetHistory:
    """One budget, through its periods: `guess` is what a request is taken to come to."""

    budget: Budget
    sandbox: bool
    mean: float = 1.0
    tallies: dict[Period, BudgetState] = field(default_factory=dict)
    current: BudgetState | None = None

    @property
    def guess(self) -> int:
        """What is reserved for a request: what the last ones came to, roughly, and one unit at least."""
        return 1 if self.budget.unit == Unit.REQUESTS else max(1, round(self.mean))

    def bound(self, budget: Budget) -> None:
        """Go by a budget's new figures."""
        self.budget = budget
        for tally in self.tallies.values():
            tally.bound(budget)

    def learn(self, amount: int) -> None:
        """Take note of what a request came to."""
        self.mean += (amount - self.mean) / _SMOOTHED

    def at(self, calendar: Calendar, at_ms: int) -> BudgetState:
        """Return the tally of the period that a moment lies in."""
        tally = self.current
        if tally is not None and tally.span.period.starts_ms <= at_ms < tally.span.period.ends_ms:
            return tally
        period = period_of(calendar, self.budget.per, at_ms)
        found = self.tallies.get(period)
        if found is None:
            for old in [old for old in self.tallies if old.ends_ms < at_ms - _KEPT_MS]:
                del self.tallies[old]
            scope = Scope(self.budget.scope.kind, printable(self.budget.scope.name) or "")  # as it stands in the ledger
            span = Span(scope, self.budget.unit, self.sandbox, period)
            found = self.tallies[period] = BudgetState(self.budget, span)
        self.current = found
        return found

    def ahead(self, calendar: Calendar, now_ms: int) -> BudgetState | None:
        """Return the tally of the period that is about to begin, if it is and the current one is in use."""
        tally = self.current
        if tally is None or not tally.held or tally.span.period.ends_ms - now_ms > AHEAD_MS:
            return None
        following = self.at(calendar, tally.span.period.ends_ms)
        self.current = tally
        following.used_at = max(following.used_at, tally.used_at)
        following.replicas = following.replicas or tally.replicas
        return following
