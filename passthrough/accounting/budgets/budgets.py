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
        self._leasing = None if ledger is None else LeaseClient(ledger)
        self._warn = warn
        self._wake = wake
        self._lock = Lock()
        self._policy = Policy()
        self._purses = BudgetIndex()
        self._active: dict[BudgetState, BudgetHistory] = {}
        self._asked: set[BudgetState] = set()
        self._reserved: dict[str, list[tuple[BudgetHistory, BudgetState, int]]] = {}
        self._unbooked: dict[str, list[tuple[BudgetState, int]]] = {}
        self._webhook: Webhook | None = None
        self._waiters = Waiters()
        self._unanswered = False
        self._answers = 0
        self._refreshed = self._surveyed = -inf
        self._every_s = EVERY_S

    def apply(self, policy: Policy) -> None:
        """Go by another configuration from now on; what is spent, and what is under way, counts on. For one thread at a time."""
        same = policy.calendar == self._policy.calendar and policy.sandbox == self._policy.sandbox
        kept = {purse.budget.key: purse for purse in self._purses if same}
        purses = BudgetIndex(kept.get(budget.key) or BudgetHistory(budget, policy.sandbox) for budget in policy.budgets)
        for purse, budget in zip(purses, policy.budgets, strict=True):
            with self._lock:  # for one at a time: the road waits for it
                purse.bound(budget)
        now = set(map(id, purses))
        with self._lock:
            self._active = {tally: purse for tally, purse in self._active.items() if id(purse) in now}
            self._asked = set(self._active)
            self._purses, self._policy = purses, policy
            self._surveyed = -inf
        self._webhook = replaced(self._webhook, policy.webhook, self._warn)
        self._wake()

    # ── on the road ──

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        """Reserve what an exchange may come to in all budgets that it belongs to (exchange.Allowance)."""
        purses = self._purses.of(exchange.client, None if exchange.terms is None else exchange.terms.route)
        if not purses:
            return None
        asking = self._admit(exchange, purses)
        if asking is None:
            return None
        if self._unanswered:
            self._without_ledger(exchange, purses, asking)
            return None
        return self._wait(exchange, purses)

    async def _wait(self, exchange: Exchange, purses: list[BudgetHistory]) -> None:
        """Let the ledger be asked until the exchange is admitted, or refused. Raises Refusal."""
        loop = asyncio.get_running_loop()
        answers, deadline = self._answers, loop.time() + WAIT_S
        asking: BudgetState | None = None
        for pause_s in _PAUSES_S:
            await asyncio.sleep(pause_s)
            waiter = self._waiters.join()
            self._wake()
            await self._waiters.wait(waiter, max(deadline - loop.time(), 0))
            asking = self._admit(exchange, purses)
            if asking is None:
                return
            if self._unanswered or loop.time() >= deadline:
                break
        assert asking is not None
        if self._unanswered or self._answers == answers:
            self._unanswered = True
            self._without_ledger(exchange, purses, asking)
            return
        raise messages.refusal(asking, Verdict.RESERVED, time.time())

    def _admit(self, exchange: Exchange, purses: list[BudgetHistory], *, unlent: bool = False) -> BudgetState | None:
        """Reserve in every budget, and return None; or in none, and return one that the ledger must be asked about.

        Raises Refusal where one is used up for certain. `unlent`: what is not leased is taken all the same.
        """
        now, at_ms = time.monotonic(), int(exchange.began_utc * 1000)
        with self._lock:
            found = [(purse, self._tally(purse, at_ms)) for purse in purses]
            asking = self._asking(found, now)
            if asking is not None and not unlent:
                return asking
            low = self._reserve(exchange.id, found, now)
        if low:
            self._wake()
        return None

    def _asking(self, found: list[tuple[BudgetHistory, BudgetState]], now: float) -> BudgetState | None:
        """Return one that the ledger must be asked about, None where all is free. Raises Refusal where one is used up."""
        verdicts = [tally.verdict(now) for _, tally in found]
        if verdicts.count(Verdict.FREE) == len(verdicts):
            return None
        for wanted in (Verdict.SPENT, Verdict.RESERVED):
            if wanted in verdicts:
                raise messages.refusal(found[verdicts.index(wanted)][1], wanted, time.time())
        asking = None
        for (purse, tally), verdict in zip(found, verdicts, strict=True):
            if verdict is Verdict.ASK:
                tally.ask(purse.guess, now)
                self._active[tally] = purse
                self._asked.add(tally)
                asking = tally
        return asking

    def _reserve(self, exchange_id: str, found: list[tuple[BudgetHistory, BudgetState]], now: float) -> bool:
        """Reserve in every budget what the exchange may come to; return whether a lease runs low with it."""
        self._reserved[exchange_id] = reserved = [(purse, tally, purse.guess) for purse, tally in found]
        low = False
        for purse, tally, guess in reserved:
            self._active[tally] = purse
            if tally.reserve(guess, now):
                self._asked.add(tally)
                low = True
        return low

    def _tally(self, purse: BudgetHistory, at_ms: int) -> BudgetState:
        tally = purse.at(self._policy.calendar, at_ms)
        if self._leasing is None and not tally.until:
            tally.held, tally.until = tally.budget.most, inf
        return tally

    def _without_ledger(self, exchange: Exchange, purses: list[BudgetHistory], asking: BudgetState) -> None:
        """Decide without the ledger, as the configuration says. Raises Refusal."""
        if self._policy.refuse_without_lease:
            raise messages.unknown(asking.budget)
        self._admit(exchange, purses, unlent=True)

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
            for purse, tally, guess in reserved:
                amount = leases.amount_of(entry, purse.budget.unit)
                if entry.estimated_pages is None and entry.estimated_nano is None:  # an estimate teaches nothing
                    purse.learn(amount)
                tally.settle(guess, amount)
                if amount:
                    unbooked.append((tally, amount))
            if unbooked:
                self._unbooked[entry.id] = unbooked

    def reserved(self, exchange_id: str) -> tuple[int | None, int | None]:
        """Return the most that an exchange under way has reserved of pages, and of nano-USD; None where nothing."""
        most: dict[Unit, int] = {}
        for purse, _, guess in self._reserved.get(exchange_id, ()):  # the event loop's own
            most[purse.budget.unit] = max(most.get(purse.budget.unit, 0), guess)
        return most.get(Unit.PAGES), most.get(Unit.USD)

    def booked(self, entries: Sequence[Entry]) -> None:
        """Count what is in the ledger as spent (bookkeeper.Observer)."""
        if not self._reserved and not self._unbooked:  # nothing of these: they were told of before, by `enter` and `ended`
            return
        warned: list[BudgetState] = []
        for entry in entries:
            with self._lock:
                if entry.part is Part.OPEN:
                    for _, tally, _ in self._reserved.get(entry.id, ()):
                        tally.spent += leases.amount_of(entry, tally.budget.unit)
                    continue
                for tally, amount in self._unbooked.pop(entry.id, ()):
                    tally.book(amount, leases.amount_of(entry, tally.budget.unit))
                    if self._leasing is None and tally.warns():
                        warned.append(tally)
        self._say(warned)

    def refresh(self) -> None:
        """Ask the ledger about the budgets that are in use; on the thread that feeds it, which may be held up."""
        if self._leasing is None or not self._purses:
            return
        now = time.monotonic()
        due = now - self._refreshed >= self._every_s
        with self._lock:
            chosen = list(self._active if due else self._asked)
        try:
            for start in range(0, len(chosen), leases.MANY):
                self._ask(self._leasing, chosen[start : start + leases.MANY], now)
            if now - self._surveyed >= SURVEY_S:
                self._survey(self._leasing)
                self._surveyed = now
            self._leasing.sweep()
        except LedgerError:  # the writer says it: it cannot write either
            self._unanswered = True
        else:
            self._unanswered = False
            self._answers += 1
            if due:
                self._refreshed = time.monotonic()
                self._every_s = min(max(EVERY_S, _BESIDE * (self._refreshed - now)), _SELDOM_S)
        self._waiters.wake()

    def close(self) -> None:
        """Give all leases back, if the ledger takes that; blocks."""
        if self._webhook is not None:
            self._webhook.close()
        if self._leasing is not None:
            self._leasing.close()

    @property
    def trouble(self) -> str | None:
        """Why budgets do not hold now, or stop requests that they need not; None while the ledger can be asked."""
        if not self._unanswered or not self._purses:
            return None
        unlent = "refused (503)" if self._policy.refuse_without_lease else "let through"
        return f"The ledger cannot be asked what is left of the budgets: a request beyond what was leased is {unlent}."

    def state(self) -> list[tuple[Budget, int, int, float]]:
        """Return for each budget: itself, what is spent, what is reserved, and when its period ends (UTC seconds)."""
        at_ms = int(time.time() * 1000)
        found = []
        for purse in self._purses:
            with self._lock:  # for one at a time: the road waits for it
                each = self._tally(purse, at_ms)
                found.append((each.budget, each.spent + each.unbooked, each.reserved, each.span.period.ends_ms / 1000))
        return found

    # ── the ledger ──

    def _ask(self, leasing: LeaseClient, tallies: list[BudgetState], now: float) -> None:
        requests: dict[LeaseRequest, BudgetState] = {}
        for tally in tallies:
            with self._lock:  # for one at a time: the road waits for it
                self._plead(tally, now, requests)
        if not requests:
            return
        granted = leasing.ask(list(requests))
        for request, grant in granted.items():
            with self._lock:
                requests[request].grant(grant, now)
        self._say(requests[request] for request, grant in granted.items() if grant.warns)

    def _plead(self, tally: BudgetState, now: float, requests: dict[LeaseRequest, BudgetState]) -> None:
        """Add what is to be asked for a tally, and for the period after it if that is near; let go of one that is not in use."""
        purse, now_ms = self._active.get(tally), int(time.time() * 1000)
        if purse is None or tally.idle(now) or tally.span.period.ends_ms < now_ms - _OVER_MS:
            self._active.pop(tally, None)
            self._asked.discard(tally)
            return
        for each in (tally, purse.ahead(self._policy.calendar, now_ms)):
            if each is not None and each.due(now):
                self._active[each] = purse
                self._asked.discard(each)
                requests[each.lease_request(now, purse.guess)] = each

    def _survey(self, leasing: LeaseClient) -> None:
        """Look up the budgets that are not in use."""
        at_ms = int(time.time() * 1000)
        idle: dict[Span, BudgetState] = {}
        for purse in self._purses:
            with self._lock:  # for one at a time: the road waits for it
                tally = self._tally(purse, at_ms)
                if tally not in self._active and purse.budget.per != Per.MINUTE:
                    idle[tally.span] = tally
        if idle:
            for span, amount in leasing.survey(idle).items():
                idle[span].spent = amount

    def _say(self, tallies: Iterable[BudgetState]) -> None:
        for tally in tallies:
            self._warn(messages.warning(tally))
            if self._webhook is not None:
                self._webhook.post(json_object(messages.posted(tally).items()))
