"""The state of one budget in one process: its lease, and how much of that is reserved or spent. Pure.

A request is let through while the sum of what is spent but not yet in the ledger, and of what is reserved for requests under
way, is less than the lease. The cost of a request is not known before its response: its reservation is a guess, from the
requests before it. So each process overspends its lease by no more than the cost of its requests that are under way.

Before the first cost was seen, a budget in USD reserves what the dearest page of the price list costs. What was used without a
price is remembered, for budgets that refuse until it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from math import ceil, inf
from typing import Final

from ..budget import Budget, Calendar, LeaseGrant, LeaseRequest, Period, Scope, Span, Unit, Unpriced
from ..entry import printable
from ..periods import period_of

IDLE_S: Final = 5.0
"""A lease is given back after this long without a request."""

AGAIN_S: Final = 2.0
"""How long until the ledger is asked again about a budget of which nothing has changed in this process."""

AHEAD_MS: Final = 3000
"""How long before the end of a period the next one's lease is taken, so that no request waits when it begins."""

MAX_NAMED: Final = 100
"""How many things without a price are remembered: responses name the models, so their number is not bounded otherwise."""

_SHARE: Final = 8
_KEPT_MS: Final = 3_600_000
_SMOOTHED: Final = 8


class Verdict(Enum):
    """A budget's verdict on one more request."""

    FREE = auto()
    SPENT = auto()  # it is used up, for certain
    UNPRICED = auto()  # something was used that has no price, and the budget refuses then
    RESERVED = auto()  # it will be used up, if the requests under way cost what is reserved for them
    ASK = auto()  # the lease is used up, or there is none yet: only the ledger knows


@dataclass(slots=True, eq=False)
class BudgetState:
    """One budget in one period: `spent` is in the ledger, `unbooked` not yet, `reserved` is a guess for requests under way.

    `held` is this process's lease, which expires at `until`: then others may take it. `others` is what other processes hold.
    `unpriced` had no price and is in the ledger, `unbooked_unpriced` not yet, as often as it was used. Times are seconds of a
    monotonic clock.
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
    urgent: bool = False  # a request waits for the ledger, or soon will
    changed: bool = True  # since the ledger was last asked
    warned: bool = False
    unpriced: frozenset[Unpriced] = frozenset()
    unbooked_unpriced: dict[Unpriced, int] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """What is neither spent, nor reserved, nor held by others, as far as this process knows."""
        return self.budget.limit - self.spent - self.unbooked - self.reserved - self.others

    def verdict(self, now: float, lacks_price: Callable[[Unpriced], bool] = lambda _: True) -> Verdict:
        """Return the verdict on one more request; the smallest one counts as one unit.

        `lacks_price` tells whether what had no price has none now.
        """
        if self.spent + self.unbooked >= self.budget.limit:
            return Verdict.SPENT
        if (self.unpriced or self.unbooked_unpriced) and self.lacking(lacks_price) is not None:
            return Verdict.UNPRICED
        if self.unbooked + self.reserved < self.held and now < self.until:
            return Verdict.FREE
        if self.spent + self.unbooked + self.reserved >= self.budget.limit:
            # What is reserved for a request is exact where requests are counted.
            return Verdict.SPENT if self.budget.unit == Unit.REQUESTS else Verdict.RESERVED
        return Verdict.ASK

    def lacking(self, lacks_price: Callable[[Unpriced], bool]) -> Unpriced | None:
        """Return what keeps the budget closed because it has no price now; None where nothing does."""
        if not self.budget.refuses_unpriced:
            return None
        return next(filter(lacks_price, (*self.unbooked_unpriced, *self.unpriced)), None)

    def reserve(self, amount: int, now: float) -> bool:
        """Reserve an amount; return whether the lease runs low with it while the ledger has more."""
        self.reserved += amount
        self.changed = True
        self.recent += amount
        self.used_at = now
        free = self.held - self.unbooked - self.reserved
        if self.urgent or 2 * free >= self.wanted or free >= self.left:
            return False
        self.urgent = True
        return True

    def ask(self, amount: int, now: float) -> None:
        """Have the ledger asked at once: a request waits that will need about this much."""
        self.recent += amount
        self.used_at = now
        self.urgent = True

    def settle(self, reserved: int, amount: int, unpriced: Iterable[Unpriced] = ()) -> None:
        """Replace a reservation, or a part of it, by the amount that is known now and on its way into the ledger.

        `unpriced` is what had no price.
        """
        self.reserved -= reserved
        self.unbooked += amount
        self.changed = True
        for item in unpriced:
            if item in self.unbooked_unpriced or len(self.unbooked_unpriced) < MAX_NAMED:
                self.unbooked_unpriced[item] = self.unbooked_unpriced.get(item, 0) + 1

    def book(self, amount: int, new: int, unpriced: Iterable[Unpriced] = ()) -> None:
        """Note that an amount is in the ledger now, of which `new` was not there before.

        `unpriced` is what `settle` was given.
        """
        self.unbooked -= amount
        self.held = max(self.held - amount, 0)
        self.spent += new
        self.changed = True
        for item in unpriced:
            times = self.unbooked_unpriced.pop(item, 0) - 1
            if times > 0:
                self.unbooked_unpriced[item] = times

    def name(self, unpriced: frozenset[Unpriced]) -> None:
        """Remember what had no price and is in the ledger now."""
        if unpriced and len(self.unpriced) < MAX_NAMED:
            self.unpriced |= unpriced

    def apply(self, budget: Budget) -> None:
        """Go by a budget's new figures from now on; reservations stay."""
        left = max(self.unbooked + self.reserved, budget.limit - self.spent)
        self.held = left if self.until == inf else min(self.held, left)
        self.warned &= (self.budget.limit, self.budget.warn_at) == (budget.limit, budget.warn_at)
        self.budget = budget
        self.changed = True

    def lease_request(self, now: float, guess: int) -> LeaseRequest:
        """Return the next request to the ledger; what it gives back is not used any more from now on.

        What it wants lasts for a few moments, and is an eighth of the budget at least. Towards the budget's end it shrinks, so
        that no process holds what another needs.
        """
        self.changed = self.urgent = False
        self.asked_at = now
        base = self.unbooked + self.reserved
        idle = now - self.used_at > IDLE_S
        if idle:
            self.wanted = 0
        else:
            wanted = max(4 * guess, 2 * self.recent, self.budget.limit // _SHARE)
            rest = (self.budget.limit - self.spent - base) // (2 * max(self.replicas, 1))
            self.wanted = max(min(wanted, rest), guess, 1)
        if self.held - base > 2 * self.wanted:
            self.held = base + self.wanted
        keep = max(self.held, base)
        more, asks_unpriced = max(base + self.wanted - keep, 0), self.budget.refuses_unpriced
        return LeaseRequest(self.span, self.budget.limit, keep, more, self._warn_from(), asks_unpriced)

    def grant(self, grant: LeaseGrant, now: float) -> None:
        """Take the ledger's grant; it covers what was reserved since it was asked, for that was within the lease before."""
        self.spent, self.others, self.replicas = grant.spent, grant.others, grant.replicas
        self.held = grant.held
        self.until = now + grant.lasts_s
        self.warned |= grant.warns
        self.recent = 0
        if self.budget.refuses_unpriced:
            self.unpriced = grant.unpriced

    def warns(self) -> bool:
        """Tell, once, that the operator is to be warned; for where there is no ledger to say so."""
        warn_from = self._warn_from()
        if warn_from is None or self.spent < warn_from:
            return False
        self.warned = True
        return True

    def idle(self, now: float) -> bool:
        """Tell whether nothing is held, reserved or unbooked, and no request came lately: the ledger need not be asked."""
        return not (self.held or self.reserved or self.unbooked or self.urgent) and now - self.used_at > IDLE_S

    def due(self, now: float) -> bool:
        """Tell whether the ledger is to be asked: something changed here, or may have changed in other processes."""
        return self.changed or self.urgent or now - self.asked_at > AGAIN_S

    def _warn_from(self) -> int | None:
        share = self.budget.warn_at
        return None if share is None or self.warned else ceil(round(share * self.budget.limit, 6))


@dataclass(slots=True, eq=False)
class BudgetHistory:
    """One budget through its periods, with the average cost of its requests.

    In USD nothing is `known` until a request had a cost: `mean` is what `suppose` says.
    """

    budget: Budget
    sandbox: bool
    mean: float = 1.0
    known: bool = field(init=False)
    states: dict[Period, BudgetState] = field(default_factory=dict)
    current: BudgetState | None = None

    def __post_init__(self) -> None:
        self.known = self.budget.unit != Unit.USD

    @property
    def guess(self) -> int:
        """What is reserved for a request: about the average of the last ones, and one unit at least."""
        return 1 if self.budget.unit == Unit.REQUESTS else max(1, round(self.mean))

    def apply(self, budget: Budget) -> None:
        """Go by a budget's new figures."""
        self.budget = budget
        for state in self.states.values():
            state.apply(budget)

    def suppose(self, amount: int | None) -> None:
        """Go by this amount until a request's cost is known; None: nothing is known of it."""
        self.mean = float(amount or 1)

    def learn(self, amount: int) -> None:
        """Add a request's amount to the average; in USD the first cost is the average."""
        if self.known:
            self.mean += (amount - self.mean) / _SMOOTHED
        elif amount:
            self.mean, self.known = float(amount), True

    def state_at(self, calendar: Calendar, at_ms: int) -> BudgetState:
        """Return the state of the period that contains a moment."""
        state = self.current
        if state is not None and state.span.period.starts_ms <= at_ms < state.span.period.ends_ms:
            return state
        period = period_of(calendar, self.budget.per, at_ms)
        found = self.states.get(period)
        if found is None:
            for old in [old for old in self.states if old.ends_ms < at_ms - _KEPT_MS]:
                del self.states[old]
            scope = Scope(self.budget.scope.kind, printable(self.budget.scope.name) or "")  # as it stands in the ledger
            span = Span(scope, self.budget.unit, self.sandbox, period)
            found = self.states[period] = BudgetState(self.budget, span)
        self.current = found
        return found

    def next_state(self, calendar: Calendar, now_ms: int) -> BudgetState | None:
        """Return the state of the next period if that is about to begin and the current one is in use, else None."""
        state = self.current
        if state is None or not state.held or state.span.period.ends_ms - now_ms > AHEAD_MS:
            return None
        following = self.state_at(calendar, state.span.period.ends_ms)
        self.current = state
        following.used_at = max(following.used_at, state.used_at)
        following.replicas = following.replicas or state.replicas
        return following
