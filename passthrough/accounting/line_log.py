"""Log lines of exchanges with batch lines: each is written once the ledger has said which of their charges were new."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from ..meter.usage import Unmetered
from .entry import Charge, Entry, Part, first_reason

WAIT_S: Final = 5.0
"""How long a line waits for the ledger."""

MAX_WAITING: Final = 10_000
"""How many lines wait; what comes beyond is written at once."""

_FIGURES: Final = ("pages", "pages_annotated", "tokens_in", "tokens_out", "tokens_cached", "cost_nano")
_OPEN: Final = Part.OPEN  # before Python 3.12 an enum's look-up is slow


@dataclass(slots=True)
class Totals:
    """The sums of one exchange's charges: sums only, for a batch file may have any number of lines."""

    pages: int | None = None
    pages_annotated: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    cost_nano: int | None = None
    cost_source: str | None = None
    unpriced: bool = False
    reason: Unmetered | None = None

    def add(self, charges: Iterable[Charge]) -> None:
        """Add charges to the sums."""
        for charge in charges:
            self.pages = _sum(self.pages, charge.pages)
            self.pages_annotated = _sum(self.pages_annotated, charge.pages_annotated)
            self.tokens_in = _sum(self.tokens_in, charge.tokens_in)
            self.tokens_out = _sum(self.tokens_out, charge.tokens_out)
            self.tokens_cached = _sum(self.tokens_cached, charge.tokens_cached)
            self.cost_nano = _sum(self.cost_nano, charge.cost_nano)
            self.cost_source = self.cost_source or charge.cost_source
            if charge.cost_nano is None:
                self.unpriced = True
                self.note(Unmetered.UNPRICED)

    def merge(self, more: Totals) -> None:
        """Add other sums."""
        for name in _FIGURES:
            setattr(self, name, _sum(getattr(self, name), getattr(more, name)))
        self.cost_source = self.cost_source or more.cost_source
        self.unpriced = self.unpriced or more.unpriced

    def note(self, reason: Unmetered | None) -> None:
        """Note why a count or a price is missing, or doubtful."""
        self.reason = first_reason(self.reason, reason)

    def logged(self, entry: Entry) -> Entry:
        """Return the closing entry with these sums in the place of its own."""
        usage = replace(
            entry.usage,
            pages=self.pages,
            pages_annotated=self.pages_annotated,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            tokens_cached=self.tokens_cached,
        )
        total = Charge() if self.unpriced else Charge(cost_nano=self.cost_nano, cost_source=self.cost_source)
        return replace(entry, usage=usage, charges=(total,))


@dataclass(slots=True)
class _Line:
    """One exchange: what was counted in it, what of that was new, and its closing entry once it has ended."""

    counted: Totals = field(default_factory=Totals)
    booked: Totals = field(default_factory=Totals)
    entry: Entry | None = None
    timer: asyncio.TimerHandle | None = None


class LineLog:
    """Holds each line until the ledger has accepted its exchange, for a few seconds at most.

    The log's sums are then what was booked: 0 where all was known before. A line whose entry the ledger or its journal cannot
    take in time has what was counted. All but `accepted` belongs to the event loop's thread.
    """

    def __init__(self, put: Callable[[Entry], None], wait_s: float | None) -> None:
        """`put` writes a line. `wait_s` is how long one waits for the ledger, None where there is no ledger."""
        self._put = put
        self._wait_s = wait_s
        self._lines: dict[str, _Line] = {}
        self._held = 0
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin: this is the loop to which `accepted` hands over."""
        self._loop = asyncio.get_running_loop()

    def begin(self, exchange_id: str) -> Totals:
        """Return the sums of an exchange whose lines pass; they are for `Totals.add`, before each part goes to the ledger."""
        return self._lines.setdefault(exchange_id, _Line()).counted

    def counted(self, exchange_id: str) -> Totals | None:
        """Return the sums of an exchange of which lines have passed, None for any other."""
        line = self._lines.get(exchange_id)
        return None if line is None else line.counted

    def forget(self, exchange_id: str) -> None:
        """Drop an exchange that will not end."""
        self._lines.pop(exchange_id, None)

    def end(self, entry: Entry, *, booked: bool) -> None:
        """Take the closing entry of an exchange, or a whole one; `booked`: it goes to the ledger, and not before this returns."""
        line = self._lines.setdefault(entry.id, _Line())
        line.entry = entry
        line.counted.add(entry.charges)
        self._held += 1
        self._is_empty.clear()
        if booked and self._wait_s is not None and self._held <= MAX_WAITING:
            line.timer = asyncio.get_running_loop().call_later(self._wait_s, self._write, entry.id)
        else:
            self._write(entry.id)

    def accepted(self, entries: Sequence[Entry]) -> None:
        """Take what was new of entries that the ledger has accepted; on the ledger's thread."""
        lines = self._lines  # only looked into: it belongs to the loop's thread, which knows an exchange before the ledger does
        if not lines:
            return
        found: dict[str, Totals] = {}
        ended = []
        for entry in entries:
            if entry.id in lines:
                found.setdefault(entry.id, Totals()).add(entry.charges)
                if entry.part is not _OPEN:
                    ended.append(entry.id)
        if found and self._loop is not None:
            with suppress(RuntimeError):  # the loop was closed
                self._loop.call_soon_threadsafe(self._note, found, ended)

    async def close(self, ledger: asyncio.Future[None], timeout_s: float) -> None:
        """Write what is held: when the ledger has said all, when it has ended, or when the time is over."""
        empty = asyncio.ensure_future(self._is_empty.wait())
        await asyncio.wait((empty, ledger), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        empty.cancel()
        for exchange_id in [known for known, line in self._lines.items() if line.entry is not None]:
            self._write(exchange_id)

    def _note(self, found: Mapping[str, Totals], ended: Iterable[str]) -> None:
        for exchange_id, totals in found.items():
            if (line := self._lines.get(exchange_id)) is not None:
                line.booked.merge(totals)
        for exchange_id in ended:
            self._write(exchange_id, booked=True)

    def _write(self, exchange_id: str, *, booked: bool = False) -> None:
        line = self._lines.pop(exchange_id, None)
        if line is None or line.entry is None:  # written before: its time was over
            return
        if line.timer is not None:
            line.timer.cancel()
        self._held -= 1
        if not self._held:
            self._is_empty.set()
        self._put((_new(line) if booked else line.counted).logged(line.entry))


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


def _new(line: _Line) -> Totals:
    """Return the sums of what was new: 0, not None, where something was counted and nothing of it was new."""
    counted, new = line.counted, line.booked
    for name in _FIGURES:
        if getattr(new, name) is None and getattr(counted, name) is not None:
            setattr(new, name, 0)
    if counted.unpriced and new.cost_nano is None:
        new.cost_nano = 0
    new.cost_source = new.cost_source or counted.cost_source
    return new
