"""Enforces budgets: reserves for each request before it goes upstream, and settles by what it was charged.

Two threads meet here. The event loop admits a request (`enter`) and settles it (`ended`); the thread that writes the ledger
counts what is booked (`booked`) and renews the leases (`refresh`). The refresher's lock guards the figures; it is never held
while anything waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from math import inf
from typing import Final

from ...exchange import Exchange
from ..budget import Budget, Policy, Unit, Unpriced
from ..entry import Entry, Part
from ..ledger import leases, unpriced
from ..ledger.ledger import Ledger
from ..money import json_object
from . import messages
from .index import BudgetIndex
from .price_probe import PriceProbe
from .refresher import LeaseRefresher
from .state import BudgetHistory, BudgetState, Verdict
from .webhook import Webhook, replaced

WAIT_S: Final = 2.0
"""How long a request waits for the ledger, where its budget's lease is used up."""

_NONE: Final[frozenset[Unpriced]] = frozenset()
_PAUSES_S: Final = (0.0, 0.01, 0.03, 0.1, *[0.2] * 10)


class Budgets:
    """All budgets of one process (exchange.Allowance, bookkeeper.Observer)."""

    def __init__(self, ledger: Ledger | None, warn: Callable[[str], None], wake: Callable[[], None], probe: PriceProbe) -> None:
        """`ledger` None: budgets last as long as the process. `wake` has `refresh` called at once, on the ledger's thread."""
        self._has_ledger = ledger is not None
        self._warn = warn
        self._wake = wake
        self._refresher = LeaseRefresher(ledger, self._warn_of)
        self._lock, self._active, self._urgent = self._refresher.lock, self._refresher.active, self._refresher.urgent
        self._policy = Policy()
        self._index = BudgetIndex()
        self._probe = probe
        self._reserved: dict[str, list[tuple[BudgetHistory, BudgetState, int]]] = {}
        self._unbooked: dict[str, list[tuple[BudgetState, int, frozenset[Unpriced]]]] = {}
        self._webhook: Webhook | None = None

    def apply(self, policy: Policy, probe: PriceProbe) -> None:
        """Go by another configuration from now on; what is spent and reserved counts on. For one thread at a time."""
        same = policy.calendar == self._policy.calendar and policy.sandbox == self._policy.sandbox
        kept = {history.budget.key: history for history in self._index if same}
        histories = BudgetIndex(kept.get(budget.key) or BudgetHistory(budget, policy.sandbox) for budget in policy.budgets)
        for history, budget in zip(histories, policy.budgets, strict=True):
            with self._lock:  # for one at a time: the event loop waits for it
                history.apply(budget)
        with self._lock:
            self._refresher.apply(histories, policy.calendar)
            self._index, self._policy, self._probe = histories, policy, probe
        self._webhook = replaced(self._webhook, policy.webhook, self._warn)
        self._wake()

    # ── before a request goes upstream ──

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        """Reserve what an exchange is expected to cost, in each of its budgets (exchange.Allowance)."""
        histories = self._index.of(exchange.client, None if exchange.terms is None else exchange.terms.route)
        if not histories:
            return None
        undecided = self._admit(exchange, histories)
        if undecided is None:
            return None
        if self._refresher.is_cut_off:
            self._without_ledger(exchange, histories, undecided)
            return None
        return self._wait(exchange, histories)

    async def _wait(self, exchange: Exchange, histories: list[BudgetHistory]) -> None:
        """Have the ledger asked until the exchange is admitted or refused. Raises Refusal."""
        loop, refresher = asyncio.get_running_loop(), self._refresher
        count, deadline = refresher.count, loop.time() + WAIT_S
        undecided: BudgetState | None = None
        for pause_s in _PAUSES_S:
            await asyncio.sleep(pause_s)
            waiter = refresher.waiters.join()
            self._wake()
            await refresher.waiters.wait(waiter, max(deadline - loop.time(), 0))
            undecided = self._admit(exchange, histories)
            if undecided is None:
                return
            if refresher.is_cut_off or loop.time() >= deadline:
                break
        assert undecided is not None
        if refresher.is_cut_off or refresher.count == count:
            refresher.is_cut_off = True
            self._without_ledger(exchange, histories, undecided)
            return
        raise messages.refusal(undecided, Verdict.RESERVED, time.time())

    def _admit(self, exchange: Exchange, histories: list[BudgetHistory], *, without_lease: bool = False) -> BudgetState | None:
        """Reserve in every budget and return None; or reserve in none, and return one that the ledger must be asked about.

        Raises Refusal where a budget is used up for certain. `without_lease`: reserve also beyond what is leased.
        """
        now, at_ms = time.monotonic(), int(exchange.began_utc * 1000)
        with self._lock:
            for history in histories:
                if not history.known:
                    history.suppose(self._probe.dearest_page(exchange))
            found = [(history, self._state(history, at_ms)) for history in histories]
            undecided = self._undecided(found, now)
            if undecided is not None and not without_lease:
                return undecided
            low = self._reserve(exchange.id, found, now)
        if low:
            self._wake()
        return None

    def _undecided(self, found: list[tuple[BudgetHistory, BudgetState]], now: float) -> BudgetState | None:
        """Return a state that the ledger must be asked about, None where all are free. Raises Refusal where one is used up."""
        lacks_price = self._probe.lacks_price
        verdicts = [state.verdict(now, lacks_price) for _, state in found]
        if verdicts.count(Verdict.FREE) == len(verdicts):
            return None
        for wanted in (Verdict.SPENT, Verdict.UNPRICED, Verdict.RESERVED):
            if wanted in verdicts:
                state = found[verdicts.index(wanted)][1]
                lacking = state.lacking(lacks_price) if wanted is Verdict.UNPRICED else None
                if lacking is not None:
                    raise messages.refusal_unpriced(state, lacking, time.time())
                raise messages.refusal(state, wanted, time.time())
        undecided = None
        for (history, state), verdict in zip(found, verdicts, strict=True):
            if verdict is Verdict.ASK:
                state.ask(history.guess, now)
                self._active[state] = history
                self._urgent.add(state)
                undecided = state
        return undecided

    def _reserve(self, exchange_id: str, found: list[tuple[BudgetHistory, BudgetState]], now: float) -> bool:
        """Reserve in every budget what the exchange is expected to cost; return whether a lease runs low with it."""
        self._reserved[exchange_id] = reserved = [(history, state, history.guess) for history, state in found]
        low = False
        for history, state, guess in reserved:
            self._active[state] = history
            if state.reserve(guess, now):
                self._urgent.add(state)
                low = True
        return low

    def _state(self, history: BudgetHistory, at_ms: int) -> BudgetState:
        state = history.state_at(self._policy.calendar, at_ms)
        if not self._has_ledger and not state.until:
            state.held, state.until = state.budget.limit, inf
        return state

    def _without_ledger(self, exchange: Exchange, histories: list[BudgetHistory], undecided: BudgetState) -> None:
        """Decide without the ledger, as the configuration says. Raises Refusal."""
        if self._policy.refuse_without_lease:
            raise messages.refusal_without_ledger(undecided.budget)
        self._admit(exchange, histories, without_lease=True)

    # ── when it has ended ──

    def ended(self, entry: Entry) -> None:
        """Replace a reservation by what the exchange was charged (bookkeeper.Observer)."""
        if not self._reserved:  # the event loop's own: no other thread adds to it meanwhile
            return
        with self._lock:
            reserved = self._reserved.pop(entry.id, None)
            if reserved is None:
                return
            unbooked = []
            found = unpriced.of(entry)
            for history, state, guess in reserved:
                amount = leases.amount_of(entry, history.budget.unit)
                lacking = found if found and history.budget.unit == Unit.USD else _NONE
                # What an estimate says, or what has no price, teaches nothing.
                if not lacking and entry.estimated_pages is None and entry.estimated_nano is None:
                    history.learn(amount)
                state.settle(guess, amount, lacking)
                if amount or lacking:
                    unbooked.append((state, amount, lacking))
            if unbooked:
                self._unbooked[entry.id] = unbooked

    def reserved(self, exchange_id: str) -> tuple[int | None, int | None]:
        """Return the largest reservations of an exchange under way, in pages and in nano-USD; None where it has none.

        One nano-dollar is what is reserved where nothing is known of the cost: that is no figure.
        """
        largest: dict[Unit, int] = {}
        for history, _, guess in self._reserved.get(exchange_id, ()):  # the event loop's own
            largest[history.budget.unit] = max(largest.get(history.budget.unit, 0), guess)
        nano = largest.get(Unit.USD)
        return largest.get(Unit.PAGES), None if nano == 1 else nano

    def booked(self, entries: Sequence[Entry]) -> None:
        """Count what is in the ledger as spent (bookkeeper.Observer)."""
        if not self._reserved and not self._unbooked:  # none of these: `enter` and `ended` would have added them before
            return
        warned: list[BudgetState] = []
        for entry in entries:
            found = unpriced.of(entry)
            with self._lock:
                if entry.part is Part.OPEN:
                    for _, state, _ in self._reserved.get(entry.id, ()):
                        state.spent += leases.amount_of(entry, state.budget.unit)
                        if found:
                            _name(state, found)
                    continue
                for state, amount, lacking in self._unbooked.pop(entry.id, ()):
                    state.book(amount, leases.amount_of(entry, state.budget.unit), lacking)
                    if found:
                        _name(state, found)
                    if not self._has_ledger and state.warns():
                        warned.append(state)
        self._warn_of(warned)

    # ── leases ──

    def refresh(self) -> None:
        """Bring the leases up to date; on the thread that writes the ledger, which may be held up."""
        self._refresher.refresh()

    def close(self) -> None:
        """Give all leases back, if the ledger takes that; blocks."""
        if self._webhook is not None:
            self._webhook.close()
        self._refresher.close()

    @property
    def trouble(self) -> str | None:
        """Why budgets are not enforced now, or stop requests without need; None while the ledger can be asked."""
        if not self._refresher.is_cut_off or not self._index:
            return None
        outcome = "refused (503)" if self._policy.refuse_without_lease else "let through"
        return f"The ledger cannot be asked what is left of the budgets: a request beyond what was leased is {outcome}."

    def state(self) -> list[tuple[Budget, int, int, float, str | None]]:
        """Return for each budget: itself, what is spent and reserved, when its period ends (UTC seconds), and what closes it.

        That is the name of what has no price, None where the budget refuses for nothing of the kind.
        """
        at_ms = int(time.time() * 1000)
        found = []
        for history in self._index:
            with self._lock:  # for one at a time: the event loop waits for it
                each = self._state(history, at_ms)
                lacking = each.lacking(self._probe.lacks_price)
                closed = None if lacking is None else messages.named(lacking)
                found.append((each.budget, each.spent + each.unbooked, each.reserved, each.span.period.ends_ms / 1000, closed))
        return found

    def _warn_of(self, states: Iterable[BudgetState]) -> None:
        for state in states:
            self._warn(messages.warning(state))
            if self._webhook is not None:
                self._webhook.post(json_object(messages.webhook_body(state).items()))


def _name(state: BudgetState, found: frozenset[Unpriced]) -> None:
    """Note what is new in the ledger and had no price, where the budget needs one."""
    if state.budget.unit == Unit.USD:
        state.name(found)
