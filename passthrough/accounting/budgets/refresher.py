"""Keeps one process's leases in step with the ledger, on the thread that writes it.

It asks for the budgets that are in use about twice a second, at once for those that run low, and now and then for the others.
The event loop's thread uses the same figures: `lock` guards them, and is never held while anything waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from math import inf
from threading import Lock
from typing import Final

from ...background.thread_waiters import Waiters
from ...errors import LedgerError
from ..budget import LEASE_S, Calendar, LeaseRequest, Per, Span
from ..ledger import leases
from ..ledger.ledger import Ledger
from .index import BudgetIndex
from .lease_client import LeaseClient
from .state import BudgetHistory, BudgetState

EVERY_S: Final = 0.5
"""How often the ledger is asked about the budgets that are in use; where a request waits, it is asked at once."""

SURVEY_S: Final = 10.0
"""How often the ledger is asked about the other budgets, for the admin pages."""

_BESIDE: Final = 10  # at most a tenth of the time goes into asking about thousands of budgets, none of which runs low
_SELDOM_S: Final = LEASE_S / 3
_OVER_MS: Final = 5000
"""How long after its end a period is still asked about: until then a request may wait that began before."""


class LeaseRefresher:
    """Asks the ledger for leases, and writes what it grants into the budgets' states.

    `lock` guards `active` (the states in use), `urgent` (those to be asked about at once) and every state's figures. Requests
    that wait for the ledger join `waiters`. `is_cut_off` says that the ledger could not be asked the last time; `count` is how
    often it could be.
    """

    def __init__(self, ledger: Ledger | None, warn_of: Callable[[Iterable[BudgetState]], None]) -> None:
        """`ledger` None: there is nothing to refresh. `warn_of` warns the operator of budgets that will soon be used up."""
        self.lock = Lock()
        self.active: dict[BudgetState, BudgetHistory] = {}
        self.urgent: set[BudgetState] = set()
        self.waiters = Waiters()
        self.is_cut_off = False
        self.count = 0
        self._client = None if ledger is None else LeaseClient(ledger)
        self._warn_of = warn_of
        self._index = BudgetIndex()
        self._calendar = Calendar()
        self._refreshed = self._surveyed = -inf
        self._every_s = EVERY_S

    def apply(self, index: BudgetIndex, calendar: Calendar) -> None:
        """Go by other budgets from now on. The caller holds `lock`."""
        histories = set(map(id, index))
        for state in [state for state, history in self.active.items() if id(history) not in histories]:
            del self.active[state]
        self.urgent.clear()
        self.urgent.update(self.active)
        self._index, self._calendar = index, calendar
        self._surveyed = -inf

    def refresh(self) -> None:
        """Ask the ledger about the budgets that are in use; on the thread that writes it, which may be held up."""
        if self._client is None or not self._index:
            return
        now = time.monotonic()
        due = now - self._refreshed >= self._every_s
        with self.lock:
            chosen = list(self.active if due else self.urgent)
        try:
            for start in range(0, len(chosen), leases.MAX_SPANS):
                self._ask(self._client, chosen[start : start + leases.MAX_SPANS], now)
            if now - self._surveyed >= SURVEY_S:
                self._survey(self._client)
                self._surveyed = now
            self._client.sweep()
        except LedgerError:  # the shipper warns of it: it cannot write either
            self.is_cut_off = True
        else:
            self.is_cut_off = False
            self.count += 1
            if due:
                self._refreshed = time.monotonic()
                self._every_s = min(max(EVERY_S, _BESIDE * (self._refreshed - now)), _SELDOM_S)
        self.waiters.wake()

    def close(self) -> None:
        """Give all leases back, if the ledger takes that; blocks."""
        if self._client is not None:
            self._client.close()

    def _ask(self, client: LeaseClient, states: list[BudgetState], now: float) -> None:
        requests: dict[LeaseRequest, BudgetState] = {}
        for state in states:
            with self.lock:  # for one at a time: the event loop waits for it
                self._collect_requests(state, now, requests)
        if not requests:
            return
        granted = client.ask(list(requests))
        for request, grant in granted.items():
            with self.lock:
                requests[request].grant(grant, now)
        self._warn_of(requests[request] for request, grant in granted.items() if grant.warns)

    def _collect_requests(self, state: BudgetState, now: float, requests: dict[LeaseRequest, BudgetState]) -> None:
        """Add the requests for a state, and for the next period if that is near; let go of a state that is not in use."""
        history, now_ms = self.active.get(state), int(time.time() * 1000)
        if history is None or state.idle(now) or state.span.period.ends_ms < now_ms - _OVER_MS:
            self.active.pop(state, None)
            self.urgent.discard(state)
            return
        for each in (state, history.next_state(self._calendar, now_ms)):
            if each is not None and each.due(now):
                self.active[each] = history
                self.urgent.discard(each)
                requests[each.lease_request(now, history.guess)] = each

    def _survey(self, client: LeaseClient) -> None:
        """Look up what is spent of the budgets that are not in use."""
        at_ms = int(time.time() * 1000)
        idle: dict[Span, BudgetState] = {}
        for history in self._index:
            with self.lock:  # for one at a time: the event loop waits for it
                state = history.state_at(self._calendar, at_ms)
                if state not in self.active and history.budget.per != Per.MINUTE:
                    idle[state.span] = state
        if idle:
            for span, amount in client.survey(idle).items():
                idle[span].spent = amount
        refusing = [span for span, state in idle.items() if state.budget.refuses_unpriced]
        if refusing:
            for span, found in client.unpriced(refusing).items():
                idle[span].unpriced = found
