"""The way into the ledger: a thread that writes in batches, and keeps what cannot be written yet."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import Final

from ..errors import LedgerError
from .backlog import Backlog
from .entry import Entry
from .ledger import Ledger

_WAITING: Final = 100_000
_BATCH: Final = 500
_GATHER_S: Final = 0.05
_RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Writer:
    """Takes entries from the event loop and appends them to the ledger.

    While the ledger refuses, entries wait, and are tried again until they are in. Where more than a hundred thousand wait, new
    ones are not taken: what is missing then is one stretch of time, whose beginning is said.
    """

    def __init__(self, ledger: Ledger, warn: Callable[[str], None]) -> None:
        self.lost = 0
        self._ledger = ledger
        self._warn = warn
        self._backlog: Backlog[Entry] = Backlog(_WAITING, batch=_BATCH, gather_s=_GATHER_S)
        self._in_hand = 0
        self._refusal: str | None = None
        self._overflowed = False
        self._deadline = float("inf")
        self._thread = Thread(target=self._run, name="ledger", daemon=True)

    @property
    def waiting(self) -> int:
        """How many entries are not in the ledger yet."""
        return len(self._backlog) + self._in_hand

    @property
    def trouble(self) -> str | None:
        """Why entries do not reach the ledger now, and how many wait; None when they do."""
        refusal = self._refusal
        if refusal is None:
            return None
        return f"{refusal}\nEntries that wait for it: {self.waiting}; lost: {self.lost}."

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Let an entry be written soon; never blocks, never raises."""
        if self._backlog.put(entry):
            return
        if not self._overflowed:
            self._overflowed = True
            self._warn(f"The ledger has too many entries waiting: from exchange {entry.id} on they are in the log only.")
        self.lost += 1

    def close(self, timeout_s: float) -> None:
        """Write all that waits, for at most `timeout_s` seconds; then say what is lost. Blocks: not for the event loop."""
        self._deadline = time.monotonic() + timeout_s
        self._backlog.close()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if self.waiting:
            self._warn(f"Entries that did not reach the ledger in time: {self.waiting}. {self._refusal or ''}".rstrip())
            self.lost += self.waiting

    def _run(self) -> None:
        if not self._wrote([]):  # Opens the ledger: what is wrong with it is said at the start, not at the first entry.
            return
        while batch := self._backlog.take():
            self._in_hand = len(batch)
            if not self._wrote(batch):
                return
            self._in_hand = 0

    def _wrote(self, batch: list[Entry]) -> bool:
        """Try until the batch is in the ledger, and return True; False when the time is over."""
        tries = 0
        while True:
            try:
                self._append(batch)
            except LedgerError as refused:
                if self._refusal is None:
                    self._warn(f"{refused}\nEntries wait until it can be written.")
                self._refusal = str(refused)
            else:
                if self._refusal is not None:
                    self._warn(f"The ledger is written again. Entries lost: {self.lost}.")
                self._refusal = None
                self._overflowed = False
                return True
            pause_s = _RETRY_S[min(tries, len(_RETRY_S) - 1)]
            tries += 1
            if self._backlog.pause(pause_s):
                if not self.waiting:
                    return False
                time.sleep(min(0.1, pause_s))
            if time.monotonic() >= self._deadline:
                return False

    def _append(self, batch: list[Entry]) -> None:
        try:
            self._ledger.append(batch)
        except LedgerError:
            raise
        except Exception as defect:  # noqa: BLE001 - the loop of the books: one entry must not stop all that come after it
            if len(batch) == 1:
                self._warn(f"Exchange {batch[0].id} cannot be booked: {defect!r}. Please report this.")
                self.lost += 1
                return
            for entry in batch:
                self._append([entry])
