"""The allowance: what one budget lets through in one process, by the lease that it holds."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passthrough.accounting.budget import (
    LEASE_S,
    Budget,
    Calendar,
    LeaseGrant,
    LeaseRequest,
    Per,
    Period,
    Scope,
    Span,
    Unit,
    Unpriced,
)
from passthrough.accounting.budgets.state import AGAIN_S, AHEAD_MS, IDLE_S, MAX_NAMED, BudgetHistory, BudgetState, Verdict

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
        ({"spent": 60, "reserved": 20, "unbooked": 20, "held": 40}, Verdict.RESERVED),
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
    history.state_at(UTC, 3_600_000 + MINUTE_MS)
    assert first in history.states.values()
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


def usd(limit: int = 100, **more: bool) -> Budget:
    """Return a budget in nano-dollars."""
    return Budget(TEAM, Unit.USD, Per.DAY, limit, warn_at=0.8, **more)


def warned_at(one: BudgetState) -> int | None:
    """Return from which amount on the ledger is to have the operator warned."""
    return one.lease_request(1.0, 1).warn_from


@pytest.mark.parametrize(
    ("budget", "warn_from"),
    [
        (MONTH, None),
        (replace(MONTH, refuses_unpriced=True), None),
        (replace(MONTH, limit=200), 160),
        (replace(MONTH, limit=50), 40),
        (replace(MONTH, warn_at=0.9), 90),
        (replace(MONTH, warn_at=None), None),
    ],
)
def test_a_reload_warns_again_only_where_the_figures_are_others(budget: Budget, warn_from: int | None) -> None:
    """The same limit and share: who was warned is warned no more. Others: from the new amount on."""
    one = state(spent=80, warned=True)
    assert None is warned_at(one)
    one.apply(budget)
    assert warn_from == warned_at(one)


def test_a_reload_does_not_take_a_warning_for_given() -> None:
    """Where the operator was not warned, the same figures leave it so; without a ledger the warning comes then."""
    one = state(spent=79)
    one.apply(replace(MONTH))
    assert (80, False) == (warned_at(one), one.warns())
    one.book(0, 1)
    assert (True, False, None) == (one.warns(), one.warns(), warned_at(one))


@pytest.mark.parametrize(
    ("limit", "share", "warn_from"), [(100, 0.8, 80), (3, 0.5, 2), (1, 0.8, 1), (10**9, 0.1 + 0.2, 300_000_000), (7, 1.0, 7)]
)
def test_a_share_of_a_budget_is_warned_of_at_the_first_whole_unit(limit: int, share: float, warn_from: int) -> None:
    """Rounded up, but for what a float adds to it: 0.1 + 0.2 of a dollar are 30 cents."""
    assert warn_from == warned_at(state(replace(MONTH, limit=limit, warn_at=share)))


def test_a_grant_that_warns_is_the_last_word_until_a_reload() -> None:
    """The ledger has one process warn; what it grants later does not undo that."""
    one = state()
    for warns, warn_from in ((False, 80), (True, None), (False, None)):
        one.grant(LeaseGrant(80, 0, 1, 5, warns), 1.0)
        assert warn_from == warned_at(one)


@pytest.mark.parametrize(
    ("figures", "runs_low"),
    [
        # The lease is 20, half of what was wanted is 6; what is left of 100 is the limit of what can be asked for.
        ({"reserved": 12, "spent": 60}, False),
        ({"reserved": 13, "spent": 60}, True),
        ({"reserved": 3, "unbooked": 10, "spent": 60}, True),
        ({"reserved": 3, "unbooked": 9, "spent": 60}, False),
        ({"reserved": 13, "spent": 80}, False),
        ({"reserved": 13, "spent": 79}, True),
        ({"reserved": 3, "unbooked": 10, "spent": 80}, False),
        ({"reserved": 13, "spent": 60, "others": 20}, False),
        ({"reserved": 13, "spent": 60, "others": 19}, True),
        ({"reserved": 13, "spent": 60, "urgent": True}, False),
    ],
)
def test_near_its_end_a_budget_is_not_asked_for_what_is_not_there(figures: dict[str, int], runs_low: bool) -> None:
    """A lease that runs low is renewed early, unless it has all that is left: spent, unbooked, reserved and others' count."""
    one = state(held=20, wanted=13, **figures)
    assert runs_low == one.reserve(1, 1.0)


@pytest.mark.parametrize(
    ("figures", "guess", "keep", "wanted"),
    [
        ({}, 1, 0, 12),
        ({"reserved": 3, "unbooked": 4}, 1, 7, 12),
        ({"spent": 60, "reserved": 3, "unbooked": 4}, 1, 7, 12),
        ({"spent": 60, "reserved": 10, "unbooked": 10}, 1, 20, 10),
        ({"spent": 60, "reserved": 10, "unbooked": 10, "replicas": 2}, 1, 20, 5),
        ({"spent": 90, "reserved": 4, "unbooked": 4}, 1, 8, 1),
        ({"spent": 90, "reserved": 4, "unbooked": 4}, 3, 8, 3),
        ({"spent": 90, "reserved": 10, "unbooked": 10}, 1, 20, 1),
        ({"held": 9, "reserved": 2, "unbooked": 2}, 1, 9, 7),
        ({"held": 30, "reserved": 3, "unbooked": 3}, 1, 30, 0),
        ({"held": 31, "reserved": 3, "unbooked": 3}, 1, 18, 0),
        ({}, 5, 0, 20),
        ({"recent": 9}, 1, 0, 18),
    ],
)
def test_what_is_asked_for_beside_what_is_reserved_and_unbooked(
    figures: dict[str, int], guess: int, keep: int, wanted: int
) -> None:
    """It is kept in any case. Beyond it: for a few moments; half a process's share of what is left; one request at least."""
    one = state(used_at=1.0, **figures)
    request = one.lease_request(1.0, guess)
    assert (keep, wanted) == (request.keep, request.wanted)


def test_the_ledger_is_due_after_each_change_and_not_before() -> None:
    """Reserved, settled, booked, other figures, somebody who waits: each by itself."""
    changes: list[Callable[[BudgetState], object]] = [
        lambda one: one.reserve(1, 1.0),
        lambda one: one.settle(0, 1),
        lambda one: one.book(1, 1),
        lambda one: one.apply(replace(MONTH, limit=99)),
        lambda one: one.ask(1, 1.0),
    ]
    for change in changes:
        one = state(held=50)
        one.lease_request(1.0, 1)
        assert not one.due(1.0 + AGAIN_S)
        change(one)
        assert one.due(1.0)
        one.lease_request(1.0, 1)
        assert not one.due(1.0)


def test_each_request_keeps_a_lease_in_use() -> None:
    """Whether it was let in or waits: from then on a lease is wanted for a while."""
    for come in (BudgetState.reserve, BudgetState.ask):
        one = state(used_at=-100.0)
        come(one, 1, 7.0)
        assert [12, 0] == [one.lease_request(now, 1).wanted for now in (7.0 + IDLE_S, 7.1 + IDLE_S)]


def test_a_budget_is_let_go_only_when_nothing_hangs_on_it() -> None:
    """No lease, nothing reserved or on its way, nobody who waits, and no request for a while."""
    assert state(used_at=1.0).idle(1.1 + IDLE_S)
    for figures in ({"held": 1}, {"reserved": 1}, {"unbooked": 1}, {"urgent": True}):
        assert not state(used_at=1.0, **figures).idle(1.1 + IDLE_S)
    assert not state(used_at=1.0).idle(1.0 + IDLE_S)


def test_a_lease_covers_what_is_on_its_way_after_a_reload() -> None:
    """A smaller budget leaves what is reserved and unbooked, and else what is not spent; without a ledger all of it is held."""
    for figures, limit, held in (
        ({"held": 40, "spent": 50, "reserved": 3, "unbooked": 4}, 52, 7),
        ({"held": 40, "spent": 50, "reserved": 3, "unbooked": 4}, 70, 20),
        ({"held": 40, "spent": 50}, 200, 40),
        ({"held": 40, "spent": 50, "until": inf}, 200, 150),
    ):
        one = state(**figures)  # type: ignore[arg-type]
        one.apply(replace(MONTH, limit=limit))
        assert held == one.held


def test_a_reload_is_for_all_periods_of_a_budget() -> None:
    """For the one that a request began in, for the running one, and for those that come."""
    daily = replace(MONTH, per=Per.DAY)
    history = BudgetHistory(daily, sandbox=False)
    states = [history.state_at(UTC, at_ms) for at_ms in (86_399_999, 86_400_000)]
    history.apply(replace(daily, limit=7))
    states.append(history.state_at(UTC, 2 * 86_400_000))
    assert [7, 7, 7] == [each.budget.limit for each in states]


def test_what_is_lent_is_good_until_its_end() -> None:
    """As long as the ledger says, and not at that moment any more: others may have it then."""
    one = state()
    one.grant(LeaseGrant(0, 0, 1, 5, lasts_s=7.0), 1.0)
    assert [Verdict.FREE, Verdict.ASK] == [one.verdict(now) for now in (7.9, 8.0)]


def test_what_waited_is_wanted_once() -> None:
    """What was asked for before a grant is not asked for again."""
    one = state(used_at=1.0)
    for _ in range(20):
        one.ask(1, 1.0)
    one.grant(LeaseGrant(0, 0, 1, 0), 1.0)
    assert 12 == one.lease_request(1.0, 1).wanted


def test_the_next_period_is_shared_by_as_many_as_this_one() -> None:
    """Until its own grant says how many there are: no process takes all of it before the others have come."""
    history = BudgetHistory(Budget(TEAM, Unit.PAGES, Per.MINUTE, 100), sandbox=False)
    now = history.state_at(UTC, 5)
    now.held, now.replicas, now.used_at = 3, 4, 7.0
    wanted = []
    for replicas, used_at in ((0, 0.0), (2, 9.0)):
        following = history.next_state(UTC, MINUTE_MS - AHEAD_MS)
        assert following is not None
        if replicas:
            following.replicas, following.used_at = replicas, used_at
            assert following is history.next_state(UTC, MINUTE_MS - AHEAD_MS)
        wanted.append((following.replicas, following.used_at, following.lease_request(9.0, 1).wanted))
    assert [(4, 7.0, 12), (2, 9.0, 12)] == wanted
    now.held = 0
    assert None is history.next_state(UTC, MINUTE_MS - AHEAD_MS)


# ── costs that are not known, and what has no price ──


def test_in_usd_the_first_cost_takes_the_place_of_what_was_supposed() -> None:
    """A request without a cost teaches nothing before it, and lowers the average after it."""
    history = BudgetHistory(usd(), sandbox=False)
    assert (1, False) == (history.guess, history.known)
    guesses = []
    for supposed in (5_000_000, None, 3_000_000):
        history.suppose(supposed)
        guesses.append(history.guess)
    history.learn(0)
    assert ([5_000_000, 1, 3_000_000], 3_000_000, False) == (guesses, history.guess, history.known)
    history.learn(800)
    assert (800, True) == (history.guess, history.known)
    history.learn(0)
    assert 700 == history.guess
    assert BudgetHistory(MONTH, sandbox=False).known


NEW = Unpriced("new", "api.mistral.ai", "/mistral", "pages")
OTHER = replace(NEW, model="other")


def test_what_has_no_price_closes_a_budget_that_refuses() -> None:
    """Before it is in the ledger and after; not where it has a price by now; a budget that is used up says that first."""
    for figures in ({"unpriced": frozenset({NEW})}, {"unbooked_unpriced": {NEW: 1}}):
        one = state(usd(refuses_unpriced=True), held=9, **figures)  # type: ignore[arg-type]
        assert (Verdict.UNPRICED, Verdict.FREE) == (one.verdict(1.0), one.verdict(1.0, lambda _: False))
        assert (NEW, None) == (one.lacking(lambda _: True), one.lacking(lambda _: False))
        one.spent = 100
        assert Verdict.SPENT == one.verdict(1.0)
        allowing = state(usd(), held=9, **figures)  # type: ignore[arg-type]
        assert (Verdict.FREE, None) == (allowing.verdict(1.0), allowing.lacking(lambda _: True))


def test_what_has_no_price_is_kept_until_the_ledger_has_it() -> None:
    """As often as it was used; a charge that was booked before in another period does not stay."""
    one = state(usd(refuses_unpriced=True))
    for _ in range(2):
        one.settle(0, 0, {NEW})
    one.book(0, 0, {NEW})
    assert {NEW: 1} == one.unbooked_unpriced
    one.book(0, 0, {NEW})
    assert (Verdict.ASK, {}) == (one.verdict(1.0), one.unbooked_unpriced)
    one.settle(0, 0, {NEW})
    one.book(0, 0, {NEW})
    one.name(frozenset({NEW}))
    one.name(frozenset({OTHER}))
    assert {NEW, OTHER} == one.unpriced
    one.grant(LeaseGrant(0, 0, 1, 0, unpriced=frozenset({OTHER})), 1.0)
    assert {OTHER} == one.unpriced


def test_only_a_budget_that_refuses_asks_for_names() -> None:
    """What another grants says nothing of them: it keeps what it has seen itself."""
    refusing, allowing = (state(usd(refuses_unpriced=refuses), unpriced=frozenset({NEW})) for refuses in (True, False))  # type: ignore[arg-type]
    assert [True, False] == [one.lease_request(1.0, 1).asks_unpriced for one in (refusing, allowing)]
    for one in (refusing, allowing):
        one.grant(LeaseGrant(0, 0, 1, 0), 1.0)
    assert [set(), {NEW}] == [refusing.unpriced, allowing.unpriced]


def test_no_more_names_than_a_hundred_are_remembered() -> None:
    """Responses name the models."""
    one = state(usd())
    names = [replace(NEW, model=str(number)) for number in range(MAX_NAMED + 9)]
    for each in names:
        one.settle(0, 0, {each})
        one.name(frozenset({each}))
    assert (MAX_NAMED, MAX_NAMED) == (len(one.unbooked_unpriced), len(one.unpriced))
    for each in names:
        one.book(0, 0, {each})
    assert {} == one.unbooked_unpriced


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
