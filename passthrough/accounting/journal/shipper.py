"""Feeds the ledger from the journal: reads entries back, appends them, tries again while the ledger refuses."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event, Lock
from typing import Final

from ...errors import EntryRefusedError, LedgerError
from ..entry import Entry, Part
from ..ledger.ledger import Ledger
from .journal import Journal
from .rejected_entries import RejectedEntries

BATCH: Final = 1000
"""About how many entries and charges go into one transaction."""

_RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_HOUSEKEEPING_S: Final = 1.0
_ADOPT_S: Final = 10.0
_EVERY_S: Final = 0.25
"""How often the ledger is fed while entries come all the time: a commit costs as much as a hundred entries."""


class Losses:
    """How many entries are in the log only; counted by any thread."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = Lock()

    def add(self, count: int) -> None:
        """Count more of them."""
        with self._lock:
            self.count += count


class Handoff:
    """Entries that the journal could not take, offered to the ledger's thread: taken there, or taken back, never both."""

    def __init__(self, hurry: Callable[[], None]) -> None:
        """`hurry` is called when there is an offer."""
        self._batch: list[Entry] | None = None
        self._lock = Lock()
        self._settled = Event()
        self._signal = hurry

    @property
    def offered(self) -> bool:
        """Tell whether entries are offered now."""
        return self._batch is not None

    def offer(self, batch: list[Entry], wait_s: float) -> bool:
        """Offer entries for a time; return whether they were taken."""
        self._settled.clear()
        with self._lock:
            self._batch = batch
        self._signal()
        self._settled.wait(wait_s)
        with self._lock:
            taken = self._batch is None
            self._batch = None
        return taken

    def take(self) -> list[Entry]:
        """Take what is offered, if anything."""
        with self._lock:
            batch, self._batch = self._batch, None
        if batch is not None:
            self._settled.set()
        return batch or []

    def hurry(self) -> None:
        """End the wait of an offer."""
        self._settled.set()


class LedgerShipper:
    """The thread that writes the ledger. All but the properties belongs to that thread."""

    def __init__(
        self,
        journal: Journal,
        ledger: Ledger,
        losses: Losses,
        refused: RejectedEntries,
        warn: Callable[[str], None],
        *,
        booked: Callable[[Sequence[Entry]], None],
        housekeeping: Callable[[], None],
    ) -> None:
        """See Writer for `booked` and `between`."""
        self.from_journal = 0  # entries of this process that are done with, by the way that they came
        self.past_journal = 0
        self.refusal: str | None = None
        self.oldest: Entry | None = None  # that waits for a ledger that refuses
        self.has_work = Event()  # there is something in the journal
        self.handoff = Handoff(self._signal)
        self._journal = journal
        self._ledger = ledger
        self._losses = losses
        self._rejected = refused
        self._warn = warn
        self._booked = booked
        self._housekeeping = housekeeping
        self._housekeeping_failed = False
        self._woken = False
        self._ending = Event()
        self._signalled = Event()
        self._deadline = float("inf")
        self._handed_over: list[Entry] = []  # what was handed over and is not in the ledger yet
        self._opened = False
        self._doubtful = False  # the last try to append may have been in vain, or not: only its answer is missing
        self._tries = 0
        self._retry_at = self._adopt_at = self._housekeeping_at = self._next_at = 0.0

    def wake(self) -> None:
        """Have `between` called at once; from any thread."""
        self._woken = True
        self._signal()

    def end(self, deadline: float) -> None:
        """Feed what this process has in the journal, and return at the deadline (monotonic) at the latest; from any thread."""
        self._deadline = deadline
        self._ending.set()
        self._signal()

    def run(self, drained: Event) -> None:
        """Feed until the end; `drained` tells that nothing comes into the journal any more."""
        while True:
            last = drained.is_set()  # before the journal is read
            try:
                done = time.monotonic() >= self._retry_at and self._ship_all()
                self._run_housekeeping()
            except Exception as defect:  # noqa: BLE001 - the loop of the books: what waits must not wait for ever
                self._note_refusal(f"The ledger could not be fed: {defect!r}. Please report this.")
                self._opened = done = False  # so that it is tried again, whether something waits or not
            if self._ending.is_set() and ((last and done) or time.monotonic() >= self._deadline):
                return
            self._pause()

    def _signal(self) -> None:
        self.has_work.set()
        self._signalled.set()

    def _pause(self) -> None:
        """Wait for something to do. What comes after a pause is fed at once, what comes all the time in gulps."""
        now = time.monotonic()
        if self._ending.is_set():
            self._retry_at = min(self._retry_at, now + _RETRY_S[0])
            time.sleep(0.01)
            return
        until = self._housekeeping_at if now >= self._retry_at else min(self._housekeeping_at, self._retry_at)
        self.has_work.wait(max(0.0, until - now))
        self.has_work.clear()
        self._signalled.wait(max(0.0, self._next_at - time.monotonic()))
        self._signalled.clear()

    def _run_housekeeping(self, *, appended: bool = False) -> None:
        now = time.monotonic()
        if appended or self._woken or now >= self._housekeeping_at:
            self._woken = False
            self._housekeeping_at = now + _HOUSEKEEPING_S
            self._rejected.look()
            self._look_at_ledger()
            try:
                self._housekeeping()
            except Exception as defect:  # noqa: BLE001 - the loop of the books: entries are fed, whatever becomes of this
                if not self._housekeeping_failed:
                    self._warn(f"What is done between two batches failed: {defect!r}. Please report this.")
                self._housekeeping_failed = True

    def _look_at_ledger(self) -> None:
        """Find out, also while nothing is to be written, whether the ledger was taken away."""
        try:
            self._ledger.look()
        except LedgerError as refused:
            self._note_refusal(str(refused))
            self._opened = False

    def _ship_all(self) -> bool:
        """Feed until nothing is left, and return True; False where the ledger refuses, or the time is over."""
        if not self._opened:  # what is wrong with the ledger is said at the start, not at the first entry
            if not self._write([], own=True):
                first = self._journal.next_batch(1)
                self.oldest = None if first is None else first.entries[0]
                return False
            self._opened = True
        while time.monotonic() < self._deadline:
            self._adopt()
            if self._handed_over:
                if not self._write(self._handed_over, own=True):
                    return False
                self.past_journal += len(self._handed_over)
                self._handed_over = []
                continue
            offered = self.handoff.offered  # before the journal is read: what stands there came first
            batch = self._journal.next_batch(BATCH, own_only=self._ending.is_set())
            if batch is not None:
                own = not batch.segment.adopted
                if not self._write(batch.entries, own=own):
                    return False
                batch.segment.note(batch)
                self.from_journal += len(batch.entries) if own else 0
            elif offered:
                self._handed_over = self.handoff.take()
            else:
                return True
        return False

    def _adopt(self) -> None:
        now = time.monotonic()
        if now >= self._adopt_at and not self._ending.is_set():
            self._adopt_at = now + _ADOPT_S
            self._journal.adopt()

    def _write(self, entries: Sequence[Entry], *, own: bool) -> bool:
        """Append entries and tell who wants to know; False where the ledger refuses."""
        try:
            accepted = self._append(entries)
        except LedgerError as refused:
            self._doubtful = True
            self.oldest = entries[0] if entries else None
            self._note_refusal(str(refused))
            return False
        if self.refusal is not None:
            self._warn(f"The ledger is written again. Entries lost: {self._losses.count}.")
        if own and self._doubtful:
            accepted = completed(entries, accepted)
        self.refusal, self.oldest, self._doubtful, self._tries = None, None, False, 0
        if accepted:
            self._booked(accepted)
        if entries:
            self._next_at = time.monotonic() + _EVERY_S
            self._run_housekeeping(appended=True)
        return True

    def _note_refusal(self, why: str) -> None:
        if self.refusal is None:
            self._warn(f"{why}\nEntries wait until it can be written.")
        self.refusal = why
        self._retry_at = time.monotonic() + _RETRY_S[min(self._tries, len(_RETRY_S) - 1)]
        self._tries += 1

    def _append(self, entries: Sequence[Entry]) -> list[Entry]:
        try:
            return self._ledger.append(entries)
        except Exception as defect:  # The loop of the books: one entry must not stop all that come after it.
            if isinstance(defect, LedgerError) and not isinstance(defect, EntryRefusedError):
                raise
            if len(entries) > 1:
                return [accepted for entry in entries for accepted in self._append([entry])]
            if not entries:
                raise
            return self._append_alone(entries[0])

    def _append_alone(self, entry: Entry) -> list[Entry]:
        """Append an entry on a new connection; where that refuses it too, and would take another, keep it beside the journal.

        A connection, or what stands between here and the database, can refuse any entry for reasons of its own: a pooler that
        mixes up its clients' statements answers in the words of an entry that is wrong.
        """
        self._ledger.reconnect()
        try:
            return self._ledger.append([entry])
        except Exception as defect:  # The loop of the books: see above.
            if isinstance(defect, LedgerError) and not isinstance(defect, EntryRefusedError):
                raise
            self._ledger.try_out()
            self._losses.add(1)
            why = str(defect).partition("\n")[0] if isinstance(defect, LedgerError) else f"{defect!r}."
            self._rejected.keep(entry, why)
            return []


def completed(entries: Sequence[Entry], accepted: Sequence[Entry]) -> list[Entry]:
    """Return what was accepted with, in their places, those that an earlier try must have brought in: they are told of once.

    Open parts are not added: where one is left out, its lines were booked before, by whatever process.
    """
    left = list(accepted)
    complete = []
    for entry in entries:
        if left and (left[0].id, left[0].part) == (entry.id, entry.part):
            complete.append(left.pop(0))
        elif entry.part is not Part.OPEN:
            complete.append(entry)
    return complete
