"""Exchange → usage → charges → log and ledger, in the background."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from ..exchange import Exchange, Outcome
from ..meter.usage import Unmetered, Usage
from .access_log import AccessLog
from .charge import BatchTotals, charge, line_charge, rest_charge
from .entry import Charge, Entry, Part, believable, entry
from .estimates import Estimates, is_paid_and_unknown
from .journal.writer import JournalWriter
from .ledger.ledger import Ledger
from .pricing.prices import Prices
from .refusals import Refusals

_COMPLETED: Final = Outcome.COMPLETED  # before Python 3.12 an enum's look-up is dear
_REMEMBERED: Final = 1000
_LINES_S: Final = 1.0  # for the log at the end: what nobody reads by then nobody reads, and the ledger has it


class Observer(Protocol):
    """Is told of what is booked: metrics and budgets are. What it raises is said, and stops nothing."""

    def ended(self, entry: Entry) -> None:
        """Take the entry of an exchange that has ended, refused ones too: once for each, on the event loop, before `booked`.

        Its part is WHOLE or CLOSE: what a batch file's lines came to while it passed is told to `booked` only.
        """
        ...

    def booked(self, entries: Sequence[Entry]) -> None:
        """Take admitted entries that are in the ledger now (without one: that would be), OPEN parts too; on any thread.

        Each has only the charges that were new there. All that other processes left behind when they died come too; of what
        this process made, each entry comes once, or it is lost.
        """
        ...


class Bookkeeper:
    """Books every exchange that has ended: once in the log, and once in the ledger if it was admitted.

    `done` and `passed` are what the road calls. All methods belong to the event loop's thread; what can block
    (the log's stream, the journal, the database) has threads of its own.
    """

    def __init__(
        self,
        *,
        prices: Prices,
        ledger: Ledger | None,
        journal: Path,
        lines: AccessLog,
        warn: Callable[[str], None],
        observers: Sequence[Observer] = (),
        housekeeping: Callable[[], None] = lambda: None,
        reserved: Callable[[str], tuple[int | None, int | None]] = lambda _: (None, None),
    ) -> None:
        """`ledger` None: exchanges are in the log only. `warn` takes messages for the operator, from any thread.

        `journal` is the folder for what is not in the ledger yet. `between` is called on the thread that writes the ledger (see
        Writer), never where there is none. `reserved` returns the pages and the nano-USD that budgets hold for an exchange.
        """
        self.booked = 0
        self._prices = prices
        self._lines = lines
        self._warn = warn
        self._observers = tuple(observers)
        self._writer = (
            None if ledger is None else JournalWriter(ledger, journal, warn, booked=self._tell_booked, housekeeping=housekeeping)
        )
        self._ended: deque[Exchange] = deque()
        self._reading: dict[asyncio.Task[None], Exchange] = {}
        self._passing: dict[str, BatchTotals] = {}
        self._estimates = Estimates()
        self._reserved = reserved
        self._refusals = Refusals(self._write)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._begins = False
        self._closed = False
        self._missed = 0
        self._unpriced: set[str] = set()
        self._unaccepted: set[str] = set()

    @property
    def waiting(self) -> int:
        """How many exchanges are not booked yet, or not in the ledger."""
        return len(self._ended) + len(self._reading) + (self._writer.waiting if self._writer else 0)

    @property
    def lost(self) -> int:
        """How many entries should be in the ledger and will not be."""
        return self._missed + (self._writer.lost if self._writer else 0)

    @property
    def trouble(self) -> str | None:
        """Why the ledger or its journal is behind, None when both are well."""
        return self._writer.trouble if self._writer else None

    @property
    def lag_s(self) -> float:
        """How long ago the oldest exchange ended that cannot be brought into the ledger now; 0 where all is well."""
        return self._writer.lag_s if self._writer else 0.0

    @property
    def journal_bytes(self) -> int:
        """How many bytes of the journal are not in the ledger yet."""
        return self._writer.journal_bytes if self._writer else 0

    def wake(self) -> None:
        """Have `between` called at once."""
        if self._writer is not None:
            self._writer.wake()

    def done(self, exchange: Exchange) -> None:
        """Take an exchange that has ended (exchange.Done): synchronous, never blocks, never raises."""
        if self._closed:
            self._missed += 1
            return
        self._ended.append(exchange)
        if not self._begins and self._loop is not None:  # not here: the road comes first
            self._begins = True
            self._loop.call_soon(self._begin)

    def passed(self, exchange: Exchange, usages: Sequence[Usage]) -> None:
        """Take lines of a batch file that have passed (exchange.Passed): synchronous, never blocks, never raises.

        They are booked now, as a part of an exchange that goes on; of what they come to, only the sums are kept for its end.
        """
        if not usages:
            return
        try:
            found = [believable(usage) for usage in usages]
            charges = tuple(filter(None, (line_charge(exchange, usage, self._prices) for usage in found)))
            part = entry(exchange, Usage(model=found[-1].model), charges, part=Part.OPEN)
        except Exception as defect:  # noqa: BLE001 - the loop of the books: it never raises into the road
            self._warn(f"Lines of exchange {exchange.id} cannot be booked: {defect!r}. Please report this.")
            self._missed += 1
            return
        passing = self._passing.setdefault(exchange.id, BatchTotals())
        passing.add(charges)
        passing.unmetered = passing.unmetered or next((usage.unmetered for usage in found if usage.unmetered), None)
        self._say_unpriced(charges, exchange.target)
        if charges:
            self._write(part)

    def swap(self, prices: Prices) -> None:
        """Price what is booked from now on by another list; what an exchange costs still goes by the day it began."""
        self._prices = prices
        self._unpriced.clear()

    async def start(self) -> None:
        """Begin to book, also what was done before."""
        if self._writer is not None:
            self._writer.start()
        self._loop = asyncio.get_running_loop()
        self._begin()

    async def close(self, timeout_s: float) -> None:
        """Book everything that was done: usage read, lines written, ledger written, for at most about `timeout_s` seconds.

        An answer that is not read to its end by then is booked without its pages. Says what did not reach the ledger.
        """
        if self._closed:
            return
        self._closed = True
        deadline = asyncio.get_running_loop().time() + timeout_s
        self._begin()
        if self._reading:
            # A third is kept back for the ledger.
            await asyncio.wait(tuple(self._reading), timeout=timeout_s * 2 / 3)
        for task, exchange in tuple(self._reading.items()):
            if not task.done():
                task.cancel()
                self._book(exchange, Usage(unmetered=Unmetered.CANCELLED))
        self._refusals.flush()
        left_s = max(0.1, deadline - asyncio.get_running_loop().time())
        await asyncio.gather(
            asyncio.to_thread(self._lines.close, min(left_s, _LINES_S)),
            *((asyncio.to_thread(self._writer.close, left_s),) if self._writer else ()),
        )

    def _begin(self) -> None:
        """Book what has nothing to be read, and let the rest be read, each in a task: one slow answer holds up no other."""
        self._begins = False
        while self._ended:
            exchange = self._ended.popleft()
            try:
                usage = exchange.usage_source.usage_if_ready()
            except Exception as defect:  # noqa: BLE001 - the loop of the books: an exchange is booked, whatever its meter does
                usage = self._unread(exchange, defect)
            if usage is not None:
                self._book(exchange, usage)
            else:
                task = asyncio.create_task(self._read(exchange))
                self._reading[task] = exchange
                task.add_done_callback(self._reading.pop)

    async def _read(self, exchange: Exchange) -> None:
        try:
            usage = await exchange.usage_source.usage()
        except Exception as defect:  # noqa: BLE001 - the loop of the books: an exchange is booked, whatever its meter does
            usage = self._unread(exchange, defect)
        self._book(exchange, usage)

    def _unread(self, exchange: Exchange, defect: Exception) -> Usage:
        self._warn(f"The answer of exchange {exchange.id} was not read: {defect!r}. Please report this.")
        return Usage(unmetered=Unmetered.BROKEN)

    def _book(self, exchange: Exchange, usage: Usage) -> None:
        passing = self._passing.pop(exchange.id, None) if self._passing else None
        try:
            booked = self._entry(exchange, believable(usage), passing)
        except Exception as defect:  # noqa: BLE001 - the loop of the books: the next exchange must be booked
            self._warn(f"Exchange {exchange.id} cannot be booked: {defect!r}. Please report this.")
            self._missed += 1
            return
        self._lines.put(booked if passing is None else passing.logged(booked))
        for observer in self._observers:
            try:
                observer.ended(booked)
            except Exception as defect:  # noqa: BLE001 - the loop of the books: nobody who looks on stops it
                self._warn(f"Exchange {exchange.id} was not observed: {defect!r}. Please report this.")
        if exchange.admitted and not self._refusals.take(booked):
            self._write(booked)
        self.booked += 1
        self._watch_credentials(exchange)

    def _entry(self, exchange: Exchange, usage: Usage, passing: BatchTotals | None) -> Entry:
        found = (charge if passing is None else rest_charge)(exchange, usage, self._prices)
        charges = () if found is None else (found,)
        if found is not None and found.cost_nano is None:
            self._say_unpriced(charges, exchange.target)
        if passing is None:
            booked = entry(exchange, usage, charges)
            if found is not None and usage.unmetered is None:
                self._estimates.learn(booked)
            elif usage.unmetered is not None and is_paid_and_unknown(exchange, usage):
                pages, nano = self._estimates.guess(exchange, usage, self._prices, self._reserved(exchange.id))
                return replace(booked, estimated_pages=pages, estimated_nano=None if charges else nano)
            return booked
        return entry(exchange, passing.reason(usage), charges, part=Part.CLOSE)

    def _write(self, booked: Entry) -> None:
        if self._writer is not None:
            self._writer.put(booked)
        else:
            self._tell_booked((booked,))

    def _tell_booked(self, entries: Sequence[Entry]) -> None:
        for observer in self._observers:
            try:
                observer.booked(entries)
            except Exception as defect:  # noqa: BLE001 - the loop of the books: nobody who looks on stops it
                self._warn(f"{len(entries)} booked entries were not observed: {defect!r}. Please report this.")

    def _watch_credentials(self, exchange: Exchange) -> None:
        """Say once that a route's target does not accept its credentials, and again after it did accept them."""
        if exchange.terms is None or exchange.status is None or not exchange.admitted or exchange.outcome != _COMPLETED:
            return
        route = exchange.terms.route
        if 200 <= exchange.status < 300:
            self._unaccepted.discard(route)
        elif exchange.status in {401, 403} and route not in self._unaccepted:
            self._unaccepted.add(route)
            self._warn(
                f"{exchange.target} answered {exchange.status} on route {route}: "
                "it does not accept the credentials that it gets. Check the route's headers."
            )

    def _say_unpriced(self, charges: Sequence[Charge], target: str | None) -> None:
        for model in (unpriced.model or "(not named)" for unpriced in charges if unpriced.cost_nano is None):
            if model in self._unpriced or len(self._unpriced) >= _REMEMBERED:
                continue
            self._unpriced.add(model)
            self._warn(
                f"No price is known for what model '{model}' of {target} was used for: it is counted and booked as unpriced.\n"
                "Add the model to 'prices' in routes.yaml, or name another with the route's 'meter.model'."
            )
