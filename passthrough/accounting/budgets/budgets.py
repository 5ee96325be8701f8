"""Who may spend what: asked on the road, told what was booked, and kept in step with the ledger in the background.

Three threads meet here: the event loop asks (`enter`) and tells (`ended`), the thread that feeds the ledger tells (`booked`) and
asks the ledger (`refresh`). A lock guards the figures; nobody holds it while it waits for anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from math import inf
from threading import Lock
from typing import Final

from ...background.thread_waiters import Waiters
from ...errors import LedgerError
from ...exchange import Exchange
from ..budget import LEASE_S, Budget, LeaseRequest, Per, Policy, Span, Unit
from ..entry import Entry, Part
from ..ledger import leases
from ..ledger.ledger import Ledger
from ..money import json_object
from . import messages
from .index import BudgetIndex
from .lease_client import LeaseClient
from .state import BudgetHistory, BudgetState, Verdict
from .webhook import Webhook, replaced

EVERY_S: Final = 0.5
"""How often the ledger is asked about the budgets that are in use; where somebody waits, it is asked at once."""

SURVEY_S: Final = 10.0
"""How often the ledger is asked about the others, for who looks at them."""

WAIT_S: Final = 2.0
"""How long a request waits for the ledger's answer, where its budget's lease is used up."""

_BESIDE: Final = 10  # at most a tenth of the time is spent with asking about thousands of budgets, none of which runs low
_SELDOM_S: Final = LEASE_S / 3
_PAUSES_S: Final = (0.0, 0.01, 0.03, 0.1, *[0.2] * 10)


_OVER_MS: Final = 5000
"""How long after its end a period is still asked about: until then a request may wait that began before."""


class Budgets:
    """All budgets of one process (exchange.Allowance, bookkeeper.Observer)."""

    def __init__(self, ledger: Ledger | None, warn: Callable[[str], None], wake: Callable[[], None]) -> None:
        """`ledger` None: budgets last as long as the process. `nudge` has `refresh` called at once, on the feeder's thread."""
        self._client = None if ledger is None else LeaseClient(ledger)
        self._warn = warn
        self._wake = wake
        self._lock = Lock()
        self._policy = Policy()
        self._index = BudgetIndex()
        self._active: dict[BudgetState, BudgetHistory] = {}
        self._urgent: set[BudgetState] = set()
        self._reserved: dict[str, list[tuple[BudgetHistory, BudgetState, int]]] = {}
        self._unbooked: dict[str, list[tuple[BudgetState, int]]] = {}
        self._webhook: Webhook | None = None
        self._waiters = Waiters()
        self._is_cut_off = False
        self._refresh_count = 0
        self._refreshed = self._surveyed = -inf
        self._every_s = EVERY_S

    def apply(self, policy: Policy) -> None:
        """Go by another configuration from now on; what is spent, and what is under way, counts on. For one thread at a time."""
        same = policy.calendar == self._policy.calendar and policy.sandbox == self._policy.sandbox
        kept = {history.budget.key: history for history in self._index if same}
        histories = BudgetIndex(kept.get(budget.key) or BudgetHistory(budget, policy.sandbox) for budget in policy.budgets)
        for history, budget in zip(histories, policy.budgets, strict=True):
            with self._lock:  # for one at a time: the road waits for it
                history.bound(budget)
        now = set(map(id, histories))
        with self._lock:
            self._active = {state: history for state, history in self._active.items() if id(history) in now}
            self._urgent = set(self._active)
            self._index, self._policy = histories, policy
            self._surveyed = -inf
        self._webhook = replaced(self._webhook, policy.webhook, self._warn)
        self._wake()

    # ── on the road ──

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        """Reserve what an exchange may come to in all budgets that it belongs to (exchange.Allowance)."""
        histories = self._index.of(exchange.client, None if exchange.terms is None else exchange.terms.route)
        if not histories:
            return None
        undecided = self._admit(exchange, histories)
        if undecided is None:
            return None
        if self._is_cut_off:
            self._without_ledger(exchange, histories, undecided)
            return None
        return self._wait(exchange, histories)

    async def _wait(self, exchange: Exchange, histories: list[BudgetHistory]) -> None:
        """Let the ledger be asked until the exchange is admitted, or refused. Raises Refusal."""
        loop = asyncio.get_running_loop()
        refresh_count, deadline = self._refresh_count, loop.time() + WAIT_S
        undecided: BudgetState | None = None
        for pause_s in _PAUSES_S:
            await asyncio.sleep(pause_s)
            waiter = self._waiters.join()
            self._wake()
            await self._waiters.wait(waiter, max(deadline - loop.time(), 0))
            undecided = self._admit(exchange, histories)
            if undecided is None:
                return
            if self._is_cut_off or loop.time() >= deadline:
                break
        assert undecided is not None
        if self._is_cut_off or self._refresh_count == refresh_count:
            self._is_cut_off = True
            self._without_ledger(exchange, histories, undecided)
            return
        raise messages.refusal(undecided, Verdict.RESERVED, time.time())

    def _admit(self, exchange: Exchange, histories: list[BudgetHistory], *, without_lease: bool = False) -> BudgetState | None:
        """Reserve in every budget, and return None; or in none, and return one that the ledger must be asked about.

        Raises Refusal where one is used up for certain. `unlent`: what is not leased is taken all the same.
        """
        now, at_ms = time.monotonic(), int(exchange.began_utc * 1000)
        with self._lock:
            found = [(history, self._state(history, at_ms)) for history in histories]
            undecided = self._undecided(found, now)
            if undecided is not None and not without_lease:
                return undecided
            low = self._reserve(exchange.id, found, now)
        if low:
            self._wake()
        return None

    def _undecided(self, found: list[tuple[BudgetHistory, BudgetState]], now: float) -> BudgetState | None:
        """Return one that the ledger must be asked about, None where all is free. Raises Refusal where one is used up."""
        verdicts = [state.verdict(now) for _, state in found]
        if verdicts.count(Verdict.FREE) == len(verdicts):
            return None
        for wanted in (Verdict.SPENT, Verdict.RESERVED):
            if wanted in verdicts:
                raise messages.refusal(found[verdicts.index(wanted)][1], wanted, time.time())
        undecided = None
        for (history, state), verdict in zip(found, verdicts, strict=True):
            if verdict is Verdict.ASK:
                state.ask(history.guess, now)
                self._active[state] = history
                self._urgent.add(state)
                undecided = state
        return undecided

    def _reserve(self, exchange_id: str, found: list[tuple[BudgetHistory, BudgetState]], now: float) -> bool:
        """Reserve in every budget what the exchange may come to; return whether a lease runs low with it."""
        self._reserved[exchange_id] = reserved = [(history, state, history.guess) for history, state in found]
        low = False
        for history, state, guess in reserved:
            self._active[state] = history
            if state.reserve(guess, now):
                self._urgent.add(state)
                low = True
        return low

    def _state(self, history: BudgetHistory, at_ms: int) -> BudgetState:
        state = history.at(self._policy.calendar, at_ms)
        if self._client is None and not state.until:
            state.held, state.until = state.budget.limit, inf
        return state

    def _without_ledger(self, exchange: Exchange, histories: list[BudgetHistory], undecided: BudgetState) -> None:
        """Decide without the ledger, as the configuration says. Raises Refusal."""
        if self._policy.refuse_without_lease:
            raise messages.unknown(undecided.budget)
        self._admit(exchange, histories, without_lease=True)

    # ── beside the road ──

    def ended(self, entry: Entry) -> None:
        """Replace a reservation by what the exchange came to (bookkeeper.Observer)."""
        if not self._reserved:  # the event loop's own: nobody adds to it meanwhile
            return
        with self._lock:
            reserved = self._reserved.pop(entry.id, None)
            if reserved is None:
                return
            unbooked = []
            for history, state, guess in reserved:
                amount = leases.amount_of(entry, history.budget.unit)
                if entry.estimated_pages is None and entry.estimated_nano is None:  # an estimate teaches nothing
                    history.learn(amount)
                state.settle(guess, amount)
                if amount:
                    unbooked.append((state, amount))
            if unbooked:
                self._unbooked[entry.id] = unbooked

    def reserved(self, exchange_id: str) -> tuple[int | None, int | None]:
        """Return the most that an exchange under way has reserved of pages, and of nano-USD; None where nothing."""
        largest: dict[Unit, int] = {}
        for history, _, guess in self._reserved.get(exchange_id, ()):  # the event loop's own
            largest[history.budget.unit] = max(largest.get(history.budget.unit, 0), guess)
        return largest.get(Unit.PAGES), largest.get(Unit.USD)

    def booked(self, entries: Sequence[Entry]) -> None:
        """Count what is in the ledger as spent (bookkeeper.Observer)."""
        if not self._reserved and not self._unbooked:  # nothing of these: they were told of before, by `enter` and `ended`
            return
        warned: list[BudgetState] = []
        for entry in entries:
            with self._lock:
                if entry.part is Part.OPEN:
                    for _, state, _ in self._reserved.get(entry.id, ()):
                        state.spent += leases.amount_of(entry, state.budget.unit)
                    continue
                for state, amount in self._unbooked.pop(entry.id, ()):
                    state.book(amount, leases.amount_of(entry, state.budget.unit))
                    if self._client is None and state.warns():
                        warned.append(state)
        self._say(warned)

    def refresh(self) -> None:
        """Ask the ledger about the budgets that are in use; on the thread that feeds it, which may be held up."""
        if self._client is None or not self._index:
            return
        now = time.monotonic()
        due = now - self._refreshed >= self._every_s
        with self._lock:
            chosen = list(self._active if due else self._urgent)
        try:
            for start in range(0, len(chosen), leases.MAX_SPANS):
                self._ask(self._client, chosen[start : start + leases.MAX_SPANS], now)
            if now - self._surveyed >= SURVEY_S:
                self._survey(self._client)
                self._surveyed = now
            self._client.sweep()
        except LedgerError:  # the writer says it: it cannot write either
            self._is_cut_off = True
        else:
            self._is_cut_off = False
            self._refresh_count += 1
            if due:
                self._refreshed = time.monotonic()
                self._every_s = min(max(EVERY_S, _BESIDE * (self._refreshed - now)), _SELDOM_S)
        self._waiters.wake()

    def close(self) -> None:
        """Give all leases back, if the ledger takes that; blocks."""
        if self._webhook is not None:
            self._webhook.close()
        if self._client is not None:
            self._client.close()

    @property
    def trouble(self) -> str | None:
        """Why budgets do not hold now, or stop requests that they need not; None while the ledger can be asked."""
        if not self._is_cut_off or not self._index:
            return None
        without_lease = "refused (503)" if self._policy.refuse_without_lease else "let through"
        return f"The ledger cannot be asked what is left of the budgets: a request beyond what was leased is {without_lease}."

    def state(self) -> list[tuple[Budget, int, int, float]]:
        """Return for each budget: itself, what is spent, what is reserved, and when its period ends (UTC seconds)."""
        at_ms = int(time.time() * 1000)
        found = []
        for history in self._index:
            with self._lock:  # for one at a time: the road waits for it
                each = self._state(history, at_ms)
                found.append((each.budget, each.spent + each.unbooked, each.reserved, each.span.period.ends_ms / 1000))
        return found

    # ── the ledger ──

    def _ask(self, client: LeaseClient, states: list[BudgetState], now: float) -> None:
        requests: dict[LeaseRequest, BudgetState] = {}
        for state in states:
            with self._lock:  # for one at a time: the road waits for it
                self._collect_requests(state, now, requests)
        if not requests:
            return
        granted = client.ask(list(requests))
        for request, grant in granted.items():
            with self._lock:
                requests[request].grant(grant, now)
        self._say(requests[request] for request, grant in granted.items() if grant.warns)

    def _collect_requests(self, state: BudgetState, now: float, requests: dict[LeaseRequest, BudgetState]) -> None:
        """Add what is to be asked for a tally, and for the period after it if that is near; let go of one that is not in use."""
        history, now_ms = self._active.get(state), int(time.time() * 1000)
        if history is None or state.idle(now) or state.span.period.ends_ms < now_ms - _OVER_MS:
            self._active.pop(state, None)
            self._urgent.discard(state)
            return
        for each in (state, history.ahead(self._policy.calendar, now_ms)):
            if each is not None and each.due(now):
                self._active[each] = history
                self._urgent.discard(each)
                requests[each.lease_request(now, history.guess)] = each

    def _survey(self, client: LeaseClient) -> None:
        """Look up the budgets that are not in use."""
        at_ms = int(time.time() * 1000)
        idle: dict[Span, BudgetState] = {}
        for history in self._index:
            with self._lock:  # for one at a time: the road waits for it
                state = self._state(history, at_ms)
                if state not in self._active and history.budget.per != Per.MINUTE:
                    idle[state.span] = state
        if idle:
            for span, amount in client.survey(idle).items():
                idle[span].spent = amount

    def _say(self, states: Iterable[BudgetState]) -> None:
        for state in states:
            self._warn(messages.warning(state))
            if self._webhook is not None:
                self._webhook.post(json_object(messages.posted(state).items()))
