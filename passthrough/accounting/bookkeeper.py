"""Turns each ended exchange into usage, charges and one entry, and hands the entry to the log, the ledger and the observers.

All of it runs after the response, in tasks of the event loop and on other threads: no request waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from ..exchange import Exchange
from ..meter.usage import Unmetered, Usage
from .charge import charge, doubt, line_charge, line_doubt, priced_as, rest_charge
from .entry import Entry, Part, believable, entry
from .estimates import Estimates, is_paid_and_unknown
from .failure_notices import FailureNotices
from .journal.writer import JournalWriter
from .ledger.ledger import Ledger
from .line_log import WAIT_S, LineLog, Totals
from .notices import Notices
from .pricing.prices import Prices
from .refusals import Refusals

_LOG_S: Final = 1.0  # for the log at shutdown: a line that is not read by then is never read, and the ledger has it


class Observer(Protocol):
    """Receives the entries: metrics and budgets do. What an observer raises becomes a warning, and stops nothing."""

    def ended(self, entry: Entry) -> None:
        """Take the entry of an ended exchange, refused ones too: once for each, on the event loop, before `booked`.

        Its part is WHOLE or CLOSE: the charges of a batch file's lines, while the file passes, go to `booked` only.
        """
        ...

    def booked(self, entries: Sequence[Entry]) -> None:
        """Take admitted entries that the ledger has accepted (without a ledger: at once), OPEN parts too; on any thread.

        Each entry has only the charges that were new in the ledger. Entries that dead processes left in their journals come
        too. Each entry of this process comes once, or it is lost.
        """
        ...


class EntryLog(Protocol):
    """Receives each entry as it is logged: with the sums of its lines, once they are known. None of its methods raises."""

    def put(self, entry: Entry) -> None:
        """Take the entry of an ended exchange; never blocks. On the event loop."""
        ...

    def close(self, timeout_s: float) -> None:
        """Write what waits, for at most `timeout_s` seconds and a little; on any thread."""
        ...


class Bookkeeper:
    """Books every ended exchange: once in the log, and once in the ledger if it was admitted.

    The proxy calls `done` and `passed`. All methods belong to the event loop's thread; what can block (the log's stream, the
    journal, the database) has threads of its own.
    """

    def __init__(
        self,
        *,
        prices: Prices,
        ledger: Ledger | None,
        journal: Path,
        access_log: EntryLog,
        warn: Callable[[str], None],
        observers: Sequence[Observer] = (),
        housekeeping: Callable[[], None] = lambda: None,
        reserved: Callable[[str], tuple[int | None, int | None]] = lambda _: (None, None),
    ) -> None:
        """`ledger` None: exchanges are in the log only. `warn` takes messages for the operator, from any thread.

        `journal` is the folder for what is not in the ledger yet. `housekeeping` is called on the thread that writes the ledger
        (see JournalWriter); without a ledger it is never called. `reserved` returns the pages and the nano-USD that budgets
        reserve for an exchange.
        """
        self.booked = 0
        self._prices = prices
        self._access_log = access_log
        self._line_log = LineLog(access_log.put, None if ledger is None else WAIT_S)
        self._warn = warn
        self._observers = tuple(observers)
        self._writer = (
            None if ledger is None else JournalWriter(ledger, journal, warn, booked=self._note_booked, housekeeping=housekeeping)
        )
        self._ended: deque[Exchange] = deque()
        self._reading: dict[asyncio.Task[None], Exchange] = {}
        self._estimates = Estimates()
        self._reserved = reserved
        self._refusals = Refusals(self._write)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_scheduled = False
        self._closed = False
        self._missed = 0
        self._notices = Notices(warn)
        self._failures = FailureNotices(warn)

    @property
    def waiting(self) -> int:
        """How many exchanges are not booked yet, or not in the ledger yet."""
        return len(self._ended) + len(self._reading) + (self._writer.waiting if self._writer else 0)

    @property
    def lost(self) -> int:
        """How many entries should be in the ledger and never will be."""
        return self._missed + (self._writer.lost if self._writer else 0)

    @property
    def trouble(self) -> str | None:
        """Why the ledger or its journal is behind; None when both are well."""
        return self._writer.trouble if self._writer else None

    @property
    def lag_s(self) -> float:
        """Seconds since the end of the oldest exchange that the ledger cannot take now; 0 where none waits."""
        return self._writer.lag_s if self._writer else 0.0

    @property
    def journal_bytes(self) -> int:
        """How many bytes of the journal are not in the ledger yet."""
        return self._writer.journal_bytes if self._writer else 0

    def wake(self) -> None:
        """Have `housekeeping` called at once."""
        if self._writer is not None:
            self._writer.wake()

    def done(self, exchange: Exchange) -> None:
        """Take an ended exchange (exchange.Done): synchronous, never blocks, never raises."""
        if self._closed:
            self._missed += 1
            return
        self._ended.append(exchange)
        if not self._is_scheduled and self._loop is not None:  # later in the loop: the traffic comes first
            self._is_scheduled = True
            self._loop.call_soon(self._book_ended)

    def passed(self, exchange: Exchange, usages: Sequence[Usage]) -> None:
        """Take lines of a batch file that have passed (exchange.Passed): synchronous, never blocks, never raises.

        They are booked now, as an OPEN part of their exchange. Only their sums are kept in memory, for its closing log line.
        """
        if not usages:
            return
        try:
            priced = [(usage, line_charge(exchange, usage, self._prices)) for usage in map(believable, usages)]
            charges = tuple([found for _, found in priced if found is not None])
            last = Usage(model=priced[-1][0].model)
            part = entry(exchange, last, charges, part=Part.OPEN, priced_as=priced_as(exchange, last, self._prices))
        except Exception as defect:  # noqa: BLE001 - the accounting loop: it never raises into the proxy
            self._warn(f"Lines of exchange {exchange.id} cannot be booked: {defect!r}. Please report this.")
            self._missed += 1
            return
        totals = self._line_log.begin(exchange.id)
        totals.add(charges)
        for usage, found in priced:
            totals.note(usage.unmetered)
            if usage.service_tier is not None:
                totals.note(line_doubt(exchange, usage, found, self._prices))
        self._notices.check_priced(charges, exchange.target)
        if charges:
            self._write(part)

    @property
    def prices(self) -> Prices:
        """The prices in force."""
        return self._prices

    def swap(self, prices: Prices) -> None:
        """Use another price list from now on; an exchange still has the price of the day on which it began."""
        self._prices = prices
        self._notices.forget_prices()

    async def start(self) -> None:
        """Begin to book, also the exchanges that ended before."""
        self._line_log.start()
        if self._writer is not None:
            self._writer.start()
        self._loop = asyncio.get_running_loop()
        self._book_ended()

    async def close(self, timeout_s: float) -> None:
        """Book every ended exchange: read usage, write the log and the ledger, for at most about `timeout_s` seconds.

        An exchange whose usage is not read by then is booked without its pages. Warns of entries that did not reach the ledger.
        """
        if self._closed:
            return
        self._closed = True
        deadline = asyncio.get_running_loop().time() + timeout_s
        self._book_ended()
        if self._reading:
            # A third of the time is kept back for the ledger.
            await asyncio.wait(tuple(self._reading), timeout=timeout_s * 2 / 3)
        for task, exchange in tuple(self._reading.items()):
            if not task.done():
                task.cancel()
                self._book(exchange, Usage(unmetered=Unmetered.CANCELLED))
        self._refusals.flush()
        self._failures.close()
        left_s = max(0.1, deadline - asyncio.get_running_loop().time())
        writing = asyncio.ensure_future(asyncio.to_thread(self._writer.close, left_s)) if self._writer else None
        if writing is not None:  # time for the log is kept back
            await self._line_log.close(writing, max(left_s / 2, left_s - _LOG_S))
        await asyncio.to_thread(self._access_log.close, min(left_s, _LOG_S))
        if writing is not None:
            await writing

    def _book_ended(self) -> None:
        """Book the exchanges whose usage is ready; read each other one in a task, so that a slow one holds up no other."""
        self._is_scheduled = False
        while self._ended:
            exchange = self._ended.popleft()
            try:
                usage = exchange.usage_source.usage_if_ready()
            except Exception as defect:  # noqa: BLE001 - the accounting loop: an exchange is booked, whatever its meter does
                usage = self._read_failed(exchange, defect)
            if usage is not None:
                self._book(exchange, usage)
            else:
                task = asyncio.create_task(self._read(exchange))
                self._reading[task] = exchange
                task.add_done_callback(self._reading.pop)

    async def _read(self, exchange: Exchange) -> None:
        try:
            usage = await exchange.usage_source.usage()
        except Exception as defect:  # noqa: BLE001 - the accounting loop: an exchange is booked, whatever its meter does
            usage = self._read_failed(exchange, defect)
        self._book(exchange, usage)

    def _read_failed(self, exchange: Exchange, defect: Exception) -> Usage:
        self._warn(f"The response of exchange {exchange.id} was not read: {defect!r}. Please report this.")
        return Usage(unmetered=Unmetered.BROKEN)

    def _book(self, exchange: Exchange, usage: Usage) -> None:
        totals = self._line_log.counted(exchange.id)
        try:
            booked = self._entry(exchange, believable(usage, exchange.terms), totals)
        except Exception as defect:  # noqa: BLE001 - the accounting loop: the next exchange must be booked
            self._warn(f"Exchange {exchange.id} cannot be booked: {defect!r}. Please report this.")
            self._line_log.forget(exchange.id)
            self._missed += 1
            return
        if totals is None and not (booked.charges and booked.charges[0].line):
            self._access_log.put(booked)
        else:
            self._line_log.end(booked, booked=exchange.admitted)
        for observer in self._observers:
            try:
                observer.ended(booked)
            except Exception as defect:  # noqa: BLE001 - the accounting loop: no observer stops it
                self._warn(f"Exchange {exchange.id} was not observed: {defect!r}. Please report this.")
        if exchange.admitted and not self._refusals.take(booked):
            self._write(booked)
        self.booked += 1
        self._notices.check_response(exchange)
        if exchange.why is not None:
            self._failures.count(exchange)

    def _entry(self, exchange: Exchange, usage: Usage, totals: Totals | None) -> Entry:
        prices = self._prices
        found = (charge if totals is None else rest_charge)(exchange, usage, prices)
        charges = () if found is None else (found,)
        doubtful = None
        if found is not None and found.cost_nano is None:
            self._notices.check_priced(charges, exchange.target)
        if exchange.bad_cost or usage.service_tier is not None:
            doubtful = doubt(exchange, usage, found, prices)
        name = priced_as(exchange, usage, prices) if found is None else found.priced_as
        if totals is not None:
            totals.note(doubtful)
            return entry(exchange, usage, charges, part=Part.CLOSE, doubt=totals.reason, priced_as=name)
        booked = entry(exchange, usage, charges, doubt=doubtful, priced_as=name)
        if usage.unmetered is not None:
            if is_paid_and_unknown(exchange, usage):
                pages, nano = self._estimates.guess(exchange, usage, found, prices, self._reserved(exchange.id))
                return replace(booked, estimated_pages=pages, estimated_nano=nano)
        elif found is not None:
            self._estimates.learn(booked)
            if exchange.reported_cost_nano is not None:
                self._notices.check_cost(exchange, usage, prices)
        return booked

    def _write(self, booked: Entry) -> None:
        if self._writer is not None:
            self._writer.put(booked)
        else:
            self._notify_booked((booked,))

    def _note_booked(self, entries: Sequence[Entry]) -> None:
        """Take what the ledger has accepted, on its thread."""
        self._notify_booked(entries)
        self._line_log.accepted(entries)

    def _notify_booked(self, entries: Sequence[Entry]) -> None:
        for observer in self._observers:
            try:
                observer.booked(entries)
            except Exception as defect:  # noqa: BLE001 - the accounting loop: no observer stops it
                self._warn(f"{len(entries)} booked entries were not observed: {defect!r}. Please report this.")
