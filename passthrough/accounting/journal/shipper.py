"""Ships entries from the journal to the ledger: reads them back, appends them in batches, retries while the ledger refuses."""

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
"""How often entries are shipped while they come all the time: a commit takes as long as a hundred entries."""


class Losses:
    """Counts the entries that are lost for the ledger, and in the log only; for any thread."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = Lock()

    def add(self, count: int) -> None:
        """Count further lost entries."""
        with self._lock:
            self.count += count


class Handoff:
    """Hands entries that the journal could not take to the ledger's thread: they are taken there or taken back, never both."""

    def __init__(self, signal: Callable[[], None]) -> None:
        """`signal` is called when there is an offer."""
        self._batch: list[Entry] | None = None
        self._lock = Lock()
        self._settled = Event()
        self._signal = signal

    @property
    def offered(self) -> bool:
        """Tell whether entries are offered now."""
        return self._batch is not None

    def offer(self, batch: list[Entry], wait_s: float) -> bool:
        """Offer entries for at most `wait_s` seconds; return whether they were taken."""
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
        """Take the offered entries, if there are any."""
        with self._lock:
            batch, self._batch = self._batch, None
        if batch is not None:
            self._settled.set()
        return batch or []

    def release(self) -> None:
        """End the wait of an offer."""
        self._settled.set()


class LedgerShipper:
    """What the ledger's thread runs: all writes to the ledger. Other threads read the public attributes only."""

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
        """See JournalWriter for `booked` and `housekeeping`."""
        self.from_journal = 0  # this process's shipped entries that came through the journal
        self.past_journal = 0  # those that were handed over without it
        self.refusal: str | None = None  # why the ledger refuses now
        self.oldest: Entry | None = None  # the first entry that the ledger refuses now
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
        self._handed_over: list[Entry] = []  # not in the ledger yet
        self._opened = False
        self._doubtful = False  # the last append failed, and may have been committed all the same
        self._tries = 0
        self._retry_at = self._adopt_at = self._housekeeping_at = self._next_at = 0.0

    def wake(self) -> None:
        """Have `housekeeping` called at once; from any thread."""
        self._woken = True
        self._signal()

    def end(self, deadline: float) -> None:
        """Have `run` ship this process's journal and return, by the deadline (monotonic) at the latest; from any thread."""
        self._deadline = deadline
        self._ending.set()
        self._signal()

    def run(self, drained: Event) -> None:
        """Ship until `end`; `drained` is set when nothing comes into the journal any more."""
        while True:
            last = drained.is_set()  # before the journal is read
            try:
                done = time.monotonic() >= self._retry_at and self._ship_all()
                self._run_housekeeping()
            except Exception as defect:  # noqa: BLE001 - the accounting loop: entries must not wait without end
                self._note_refusal(f"The ledger could not be fed: {defect!r}. Please report this.")
                self._opened = done = False  # so that it is tried again, whether entries wait or not
            if self._ending.is_set() and ((last and done) or time.monotonic() >= self._deadline):
                return
            self._pause()

    def _signal(self) -> None:
        self.has_work.set()
        self._signalled.set()

    def _pause(self) -> None:
        """Wait for something to do. Entries that come after a pause are shipped at once, a steady stream in batches."""
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
            self._rejected.retry()
            self._check_ledger()
            try:
                self._housekeeping()
            except Exception as defect:  # noqa: BLE001 - the accounting loop: entries are shipped all the same
                if not self._housekeeping_failed:
                    self._warn(f"What is done between two batches failed: {defect!r}. Please report this.")
                self._housekeeping_failed = True

    def _check_ledger(self) -> None:
        """Notice that the ledger was taken away, also while nothing is to be written."""
        try:
            self._ledger.check_in_place()
        except LedgerError as refused:
            self._note_refusal(str(refused))
            self._opened = False

    def _ship_all(self) -> bool:
        """Ship until nothing is left, and return True; False where the ledger refuses, or the time is over."""
        if not self._opened:  # a problem of the ledger is reported at the start, not at the first entry
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
            offered = self.handoff.offered  # before the journal is read: its entries came first
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
        """Append entries and notify the observers; False where the ledger refuses."""
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
        except Exception as defect:  # the accounting loop: one entry must not stop all that come after it
            if isinstance(defect, LedgerError) and not isinstance(defect, EntryRefusedError):
                raise
            if len(entries) > 1:
                return [accepted for entry in entries for accepted in self._append([entry])]
            if not entries:
                raise
            return self._append_alone(entries[0])

    def _append_alone(self, entry: Entry) -> list[Entry]:
        """Append an entry on a new connection; where that refuses it too, but would take a plain one, keep it beside the journal.

        A connection, or a pooler before the database, can refuse any entry for reasons of its own: a pooler that mixes up its
        clients' statements sends the same error as for an invalid entry.
        """
        self._ledger.reconnect()
        try:
            return self._ledger.append([entry])
        except Exception as defect:  # the accounting loop: see above
            if isinstance(defect, LedgerError) and not isinstance(defect, EntryRefusedError):
                raise
            self._ledger.try_out()
            self._losses.add(1)
            why = str(defect).partition("\n")[0] if isinstance(defect, LedgerError) else f"{defect!r}."
            self._rejected.keep(entry, why)
            return []


def completed(entries: Sequence[Entry], accepted: Sequence[Entry]) -> list[Entry]:
    """Return the accepted entries, with those in their places that an earlier try must have written: observers get each once.

    Open parts are not added: where one is missing, its lines were booked before, by this process or another.
    """
    left = list(accepted)
    complete = []
    for entry in entries:
        if left and (left[0].id, left[0].part) == (entry.id, entry.part):
            complete.append(left.pop(0))
        elif entry.part is not Part.OPEN:
            complete.append(entry)
    return complete
