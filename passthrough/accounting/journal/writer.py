"""Writes entries durably: into the journal at once, and from there into the ledger in batches, on threads of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Final

from ...background.batch_queue import BatchQueue
from ..entry import Entry
from ..ledger.ledger import Ledger
from .arrivals import Arrival, Arrivals
from .codec import encode
from .journal import Journal
from .rejected_entries import RejectedEntries
from .shipper import BATCH, LedgerShipper, Losses

_MAX_WAITING: Final = 100_000
_GATHER_S: Final = 0.02
_TRY_OUT_S: Final = 0.5
_SLOW_S: Final = 5.0
"""After how long a waiting entry counts as trouble, though nothing was refused."""

_RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class JournalWriter:
    """Takes entries from the event loop, and brings them into the ledger, even after a kill.

    The thread `journal` appends entries to the journal in batches, `sync` flushes them to the disk, and `ledger` ships them into
    the ledger, however long that is away: memory does not grow with what waits. Where the journal cannot be written, entries
    wait in memory and go to the ledger from there. Beyond a hundred thousand (each charge counts) new ones are dropped: then one
    stretch of time is missing, and a warning names its first exchange.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        warn: Callable[[str], None],
        *,
        booked: Callable[[Sequence[Entry]], None] = lambda _: None,
        housekeeping: Callable[[], None] = lambda: None,
    ) -> None:
        """`booked` takes entries that the ledger has accepted (bookkeeper.Observer.booked).

        `housekeeping` is called on the thread that writes the ledger, between two batches: after each batch, when `wake` was
        called, and at least about every second, whatever the ledger does. `warn` takes messages from any thread.
        """
        self._warn = warn
        self._folder = folder
        self._losses = Losses()
        self._journal = Journal(folder, warn)
        self._rejected = RejectedEntries(folder, warn)
        self._shipper = LedgerShipper(
            self._journal, ledger, self._losses, self._rejected, warn, booked=booked, housekeeping=housekeeping
        )
        self._arrivals = Arrivals()
        self._queue: BatchQueue[Entry] = BatchQueue(_MAX_WAITING, batch=BATCH, gather_s=_GATHER_S, weigh=_weight)
        self._put = self._journaled = self._unwritten = 0
        self._unwritable: str | None = None
        self._unsynced = False
        self._overflowed = False
        self._deadline = float("inf")
        self._written, self._drained = Event(), Event()
        self._threads = [
            Thread(target=self._run_journal, name="journal", daemon=True),
            Thread(target=self._run_sync, name="sync", daemon=True),
            Thread(target=self._run_ledger, name="ledger", daemon=True),
        ]

    # ── for the event loop ──

    @property
    def waiting(self) -> int:
        """How many entries of this process are not in the ledger yet."""
        return self._put - self._unwritten - self._shipper.from_journal - self._shipper.past_journal

    @property
    def lost(self) -> int:
        """How many entries are in the log only."""
        return self._losses.count

    @property
    def journal_bytes(self) -> int:
        """How many bytes of the journal are not in the ledger yet, those of dead processes too."""
        return self._journal.left

    @property
    def lag_s(self) -> float:
        """Seconds since the end of the oldest exchange whose entry waits; 0 where none does."""
        adopted, own = self._shipper.oldest, self._oldest
        ended = [] if adopted is None else [adopted.began_utc + adopted.total_s]
        ended += [] if own is None else [own.ended_utc]
        return max((max(0.0, time.time() - ended_utc) for ended_utc in ended), default=0.0)

    @property
    def trouble(self) -> str | None:
        """Why entries do not reach the ledger or the journal now, and how many wait; None when they do."""
        refusal, unwritable = self._shipper.refusal, self._unwritable
        if refusal is None and unwritable is None:
            refusal = self._slow()
        if refusal is not None:
            refusal = f"{refusal}\nEntries that wait for it: {self.waiting}; lost: {self.lost}."
        return "\n".join(filter(None, (refusal, unwritable))) or None

    def _slow(self) -> str | None:
        """Why entries wait though nothing was refused: a call to the database may hang."""
        oldest = self._oldest
        waits_s = 0.0 if oldest is None else time.monotonic() - oldest.came
        if waits_s < _SLOW_S:
            return None
        return f"The ledger has taken no entry for {waits_s:.0f} s: its database does not answer, or is too slow."

    @property
    def _oldest(self) -> Arrival | None:
        """The arrival of about the oldest entry of this process that waits."""
        waiting = self.waiting
        return self._arrivals.oldest(self._put - waiting) if waiting else None

    def start(self) -> None:
        """Begin to write, also the journals of dead processes."""
        for thread in self._threads:
            thread.start()

    def put(self, entry: Entry) -> None:
        """Let an entry be written soon; never blocks, never raises."""
        if self._queue.put(entry):
            self._arrivals.note(self._put, entry, time.monotonic())
            self._put += 1
            return
        if not self._overflowed:
            self._overflowed = True
            self._warn(f"Too many entries wait to be written: from exchange {entry.id} on they are in the log only.")
        self._losses.add(1)

    def wake(self) -> None:
        """Have `housekeeping` called at once."""
        self._shipper.wake()

    def close(self, timeout_s: float) -> None:
        """Write all that waits, for at most `timeout_s` seconds; then warn of what is left. Blocks: not for the event loop."""
        self._deadline = time.monotonic() + timeout_s
        self._queue.close()
        self._shipper.handoff.release()
        self._shipper.end(self._deadline)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, self._deadline - time.monotonic()) + 0.1)
        self._rejected.close()
        kept = self._journaled - self._shipper.from_journal
        why = " ".join(filter(None, (self._shipper.refusal, self._unwritable)))
        if self.waiting > kept:
            self._warn(f"Entries that did not reach the ledger in time: {self.waiting - kept}. {why}".rstrip())
            self._losses.add(self.waiting - kept)
        if kept:
            self._warn(f"Entries that wait in the journal for the next start: {kept}. {why}".rstrip())

    # ── the threads ──

    def _run_ledger(self) -> None:
        self._shipper.run(self._drained)
        self._drained.wait()
        self._journal.close()  # here, for this thread may hang in the database beyond the end of `close`

    def _run_journal(self) -> None:
        while batch := self._queue.take():
            if not self._keep(batch):
                break
            if not len(self._queue):
                self._overflowed = False
            self._try_out()
        self._drained.set()
        for event in (self._written, self._shipper.has_work):
            event.set()

    def _keep(self, batch: list[Entry]) -> bool:
        """Try until entries are in the journal, or handed over to the ledger's thread without it; False when the time is over."""
        batch, lines = self._encode(batch)
        tries = 0
        while True:
            try:
                self._journal.append(lines, batch)
            except OSError as error:
                self._warn_unwritable(error)
            else:
                self._journaled += len(batch)
                self._warn_writable()
                self._written.set()
                self._shipper.has_work.set()
                return True
            pause_s = _RETRY_S[0 if self._deadline < float("inf") else min(tries, len(_RETRY_S) - 1)]
            tries += 1
            if self._shipper.handoff.offer(batch, pause_s):
                return True
            if time.monotonic() >= self._deadline:
                return False

    def _try_out(self) -> None:
        """Find out when the journal can be written again while no entry comes: a process that is not ready gets no requests."""
        while self._unwritable is not None and not len(self._queue) and not self._queue.pause(_TRY_OUT_S):
            try:
                self._journal.try_out()
            except OSError as error:
                self._warn_unwritable(error)
            else:
                self._warn_writable()

    def _encode(self, batch: list[Entry]) -> tuple[list[Entry], list[bytes]]:
        lines, entries = [], []
        for entry in batch:
            try:
                lines.append(encode(entry))
            except Exception as defect:  # noqa: BLE001 - the accounting loop: one entry must not stop all that come after it
                self._losses.add(1)
                self._rejected.keep(entry, f"{defect!r}. Please report this.")
                self._unwritten += 1
            else:
                entries.append(entry)
        return entries, lines

    def _warn_unwritable(self, error: OSError) -> None:
        why = f"The journal {self._folder} cannot be written: {error.strerror or error}."
        if self._unwritable is None:
            self._warn(f"{why}\nEntries go to the ledger without it; a kill would cost those that wait.\nMend its folder.")
        self._unwritable = why

    def _warn_writable(self) -> None:
        if self._unwritable is not None:
            self._unwritable = None
            self._warn(f"The journal {self._folder} is written again.")

    def _run_sync(self) -> None:
        while not self._drained.is_set():
            self._written.wait()
            self._written.clear()
            try:
                self._journal.sync()
            except OSError as error:
                if not self._unsynced:
                    self._warn(f"The disk of {self._folder} does not say that it keeps the journal: {error.strerror}.")
                self._unsynced = True


def _weight(entry: Entry) -> int:
    return len(entry.charges) or 1
