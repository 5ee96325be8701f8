"""The allowance: what one budget lets through in one process, by the lease that it holds."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passthrough.accounting.budget import LEASE_S, Budget, Calendar, LeaseGrant, LeaseRequest, Per, Period, Scope, Span, Unit
from passthrough.accounting.budgets.state import AGAIN_S, AHEAD_MS, IDLE_S, BudgetHistory, BudgetState, Verdict

TEAM = Scope("client", "team")
MONTH = Budget(TEAM, Unit.PAGES, Per.MONTH, 100, warn_at=0.8)
UTC = Calendar()
MINUTE_MS = 60_000


def state(budget: Budget = MONTH, **figures: float) -> BudgetState:
    """Return a state with a lease that counts."""
    span = Span(budget.scope, budget.unit, False, Period(0, MINUTE_MS))
    return BudgetState(budget, span, **{"until": LEASE_S, **figures})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ({}, Verdict.ASK),
        ({"held": 1}, Verdict.FREE),
        ({"held": 9, "reserved": 5, "unbooked": 3}, Verdict.FREE),
        ({"held": 9, "reserved": 5, "unbooked": 4}, Verdict.ASK),
        ({"held": 9, "until": 0.0}, Verdict.ASK),
        ({"spent": 100}, Verdict.SPENT),
        ({"spent": 60, "unbooked": 40, "held": 50}, Verdict.SPENT),
        ({"unbooked": 100, "until": 0.0}, Verdict.SPENT),
        ({"spent": 60, "reserved": 40, "held": 40}, Verdict.RESERVED),
        ({"spent": 60, "reserved": 39, "held": 39}, Verdict.ASK),
        ({"spent": 60, "others": 40}, Verdict.ASK),
    ],
)
def test_a_budget_says_what_it_knows(figures: dict[str, float], verdict: Verdict) -> None:
    """Free within the lease; spent where that is certain; reserved where requests under way will use it up; else ask."""
    assert verdict == state(**figures).verdict(1.0)


def test_requests_are_counted_when_they_come() -> None:
    """What is reserved for a request is exact there: a request that comes when all are under way learns when the minute ends."""
    rpm = Budget(TEAM, Unit.REQUESTS, Per.MINUTE, 3)
    assert Verdict.SPENT == state(rpm, spent=1, reserved=2, held=2).verdict(1.0)
    assert Verdict.FREE == state(rpm, spent=1, reserved=1, held=2).verdict(1.0)


def test_a_budget_of_nothing_lets_nothing_through() -> None:
    """Zero pages is a budget too."""
    assert Verdict.SPENT == state(Budget(TEAM, Unit.PAGES, Per.DAY, 0), held=5).verdict(1.0)


def test_a_reservation_becomes_what_it_came_to_and_then_spent() -> None:
    """In flight, ended, booked: the lease covers it all the way, and shrinks when it is spent."""
    one = state(held=10)
    one.reserve(3, 1.0)
    assert (10, 3, 0, 0) == (one.held, one.reserved, one.unbooked, one.spent)
    one.settle(3, 7)
    assert (10, 0, 7, 0) == (one.held, one.reserved, one.unbooked, one.spent)
    one.book(7, 5)  # two of the seven had been in the ledger before
    assert (3, 0, 0, 5) == (one.held, one.reserved, one.unbooked, one.spent)
    one.reserve(1, 1.0)
    one.settle(1, 50)
    one.book(50, 50)
    assert (0, 0, 0, 55) == (one.held, one.reserved, one.unbooked, one.spent)


def test_the_ledger_is_asked_before_the_lease_is_used_up() -> None:
    """When half of what was wanted is left, and the ledger has more: once, until it has answered."""
    one = state()
    request = one.lease_request(1.0, 1)
    assert LeaseRequest(one.span, 100, 0, 12, 80) == request
    one.grant(LeaseGrant(0, 0, 1, 12), 1.0)
    assert [False] * 6 + [True, False] == [one.reserve(1, 1.0) for _ in range(8)]
    assert LeaseRequest(one.span, 100, 12, 12, 80) == one.lease_request(1.0, 1)


def test_who_waits_is_heard() -> None:
    """Where somebody waits the budget is asked about, and enough is wanted for all of them."""
    one = state(used_at=-100.0)
    for _ in range(20):
        one.ask(1, 1.0)
    assert one.due(1.0)
    assert 40 == one.lease_request(1.0, 1).wanted


def test_an_idle_lease_is_given_back() -> None:
    """After a while without a request everything that is not promised goes back, and then the ledger is left alone."""
    one = state(held=40, reserved=2, used_at=1.0, asked_at=1.0)
    assert LeaseRequest(one.span, 100, 14, 0, 80) == one.lease_request(1.0 + IDLE_S, 1)
    later = 1.1 + IDLE_S
    assert LeaseRequest(one.span, 100, 2, 0, 80) == one.lease_request(later, 1)
    one.settle(2, 0)
    one.grant(LeaseGrant(0, 0, 1, 2), later)
    assert (LeaseRequest(one.span, 100, 0, 0, 80), True) == (request := one.lease_request(later, 1), request.ends)
    assert not one.due(later)
    assert one.idle(later)


def test_towards_its_end_a_budget_is_taken_in_small_pieces() -> None:
    """The less is left the less a process sits on; at the end one unit, and never more than what a request may need."""
    wanted = []
    for spent in (0, 50, 80, 90, 96, 99):
        one = state(spent=spent, replicas=2, used_at=1.0)
        wanted.append(one.lease_request(1.0, 1).wanted)
    assert [12, 12, 5, 2, 1, 1] == wanted


def test_what_is_too_much_is_given_back_at_once() -> None:
    """A process that needs less than it holds lets the others have it, and does not use it meanwhile."""
    one = state(held=90, reserved=5, used_at=1.0, replicas=2)
    request = one.lease_request(1.0, 1)
    assert (17, 0, 17) == (request.keep, request.wanted, one.held)


def test_the_ledger_is_asked_again_now_and_then() -> None:
    """Where nothing changed here others may have come: every few moments, and at once when something happens."""
    one = state(held=5)
    one.lease_request(1.0, 1)
    assert not one.due(1.0 + AGAIN_S)
    assert one.due(1.1 + AGAIN_S)
    one.lease_request(5.0, 1)
    one.settle(0, 1)
    assert one.due(5.0)


def test_a_larger_budget_counts_at_once_and_a_smaller_one_too() -> None:
    """What is spent stays; what is leased beyond a smaller budget is used no more."""
    one = state(spent=100, held=0)
    assert Verdict.SPENT == one.verdict(1.0)
    one.apply(Budget(TEAM, Unit.PAGES, Per.MONTH, 200))
    assert Verdict.ASK == one.verdict(1.0)
    one.grant(LeaseGrant(100, 0, 1, 25), 1.0)
    one.reserve(3, 1.0)
    one.apply(Budget(TEAM, Unit.PAGES, Per.MONTH, 101))
    assert (3, Verdict.RESERVED) == (one.held, one.verdict(1.0))


def test_what_a_request_may_come_to_is_learnt() -> None:
    """The guess follows what requests cost, is one unit at least, and exactly one where requests are counted."""
    history = BudgetHistory(MONTH, sandbox=False)
    guesses = [history.guess]
    for amount in [40] * 30 + [0] * 60:
        history.learn(amount)
        guesses.append(history.guess)
    assert (1, 39, 1) == (guesses[0], guesses[30], guesses[-1])
    counted = BudgetHistory(Budget(TEAM, Unit.REQUESTS, Per.MINUTE, 9), sandbox=False)
    counted.learn(50)
    assert 1 == counted.guess


def test_every_period_has_its_own_tally() -> None:
    """The next one begins with nothing; the last one is kept for what is still under way, for a while."""
    history = BudgetHistory(Budget(TEAM, Unit.PAGES, Per.MINUTE, 9), sandbox=False)
    first = history.state_at(UTC, 0)
    first.reserve(3, 1.0)
    assert first is history.state_at(UTC, MINUTE_MS - 1)
    second = history.state_at(UTC, MINUTE_MS)
    assert (first.span.period.ends_ms, 0) == (second.span.period.starts_ms, second.reserved)
    assert first is history.state_at(UTC, 5)
    history.state_at(UTC, 3_600_000 + 2 * MINUTE_MS)
    assert first not in history.states.values()


def test_the_next_period_is_leased_before_it_begins() -> None:
    """Shortly before the next period, if the budget is in use; so no request waits when it begins."""
    history = BudgetHistory(Budget(TEAM, Unit.PAGES, Per.MINUTE, 9), sandbox=False)
    now = history.state_at(UTC, 5)
    assert None is history.next_state(UTC, MINUTE_MS - 1)
    now.held, now.used_at = 3, 7.0
    assert None is history.next_state(UTC, MINUTE_MS - AHEAD_MS - 1)
    following = history.next_state(UTC, MINUTE_MS - AHEAD_MS)
    assert following is not None
    assert (Period(MINUTE_MS, 2 * MINUTE_MS), 7.0, now) == (following.span.period, following.used_at, history.current)


# ── many processes ──


@dataclass
class Shared:
    """What the ledger does, in one number and a dict."""

    spent: int = 0
    leases: dict[int, int] = field(default_factory=dict)

    def ask(self, name: int, request: LeaseRequest) -> LeaseGrant:
        """Grant as leases.ask does."""
        others = [held for other, held in self.leases.items() if other != name]
        left = request.limit - self.spent - sum(others) - request.keep
        more = max(min(request.wanted, max(left // (len(others) + 1), 1), left), 0)
        self.leases[name] = request.keep + more
        return LeaseGrant(self.spent, sum(others), len(others) + 1, request.keep + more)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 120), st.integers(1, 12), st.integers(1, 12))
def test_no_budget_is_passed_by_more_than_what_is_under_way(
    seed: int, processes: int, most: int, largest: int, parallel: int
) -> None:
    """In any order of events: each process passes its lease by the requests that are under way there at once, and no more.

    A lease counts on while another process passes its own: so the overshoots of all processes add up. And nothing is left over:
    at the end the budget is used up, by any process that still asks.
    """
    chance = random.Random(seed)
    shared = Shared()
    histories = [BudgetHistory(Budget(TEAM, Unit.PAGES, Per.MONTH, most), sandbox=False) for _ in range(processes)]
    states = [history.state_at(UTC, 0) for history in histories]
    flying: list[tuple[int, int]] = []
    ended: list[tuple[int, int]] = []
    peaks = [0] * processes
    now = 0.0

    def refresh(name: int) -> None:
        request = states[name].lease_request(now, histories[name].guess)
        states[name].grant(shared.ask(name, request), now)

    def come(name: int) -> None:
        verdict = states[name].verdict(now)
        if verdict == Verdict.FREE and len(flying) < parallel:
            states[name].reserve(guess := histories[name].guess, now)
            flying.append((name, guess))
            peaks[name] = max(peaks[name], sum(other == name for other, _ in flying))
        elif verdict == Verdict.ASK:
            states[name].ask(histories[name].guess, now)

    def end() -> None:
        name, guess = flying.pop(chance.randrange(len(flying)))
        amount = chance.randint(0, largest)
        histories[name].learn(amount)
        states[name].settle(guess, amount)
        ended.append((name, amount))

    def book() -> None:
        name, amount = ended.pop(0)
        shared.spent += amount
        states[name].book(amount, amount)
        if chance.random() < 0.9:
            refresh(name)

    for _ in range(300):
        now += chance.random() / 10
        step, name = chance.random(), chance.randrange(processes)
        if step < 0.4:
            come(name)
        elif step < 0.55 and flying:
            end()
        elif step < 0.7 and ended:
            book()
        elif step < 0.95:
            refresh(name)
        else:
            now += chance.random() * IDLE_S
        assert shared.spent + sum(amount for _, amount in ended) <= most + sum(peaks) * largest
    for _ in range(3 * most + 1000):
        now += 0.1
        come(chance.randrange(processes))
        while flying:
            end()
        while ended:
            book()
        for name in range(processes):
            refresh(name)
    assert most <= shared.spent <= most + sum(peaks) * largest
