"""One process's leases of budgets, asked for and given back: the transactions that this takes."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Final
from uuid import uuid4

from ..errors import LedgerError
from . import spending
from .allowance import Grant, Plea
from .budget import Span
from .ledger import Ledger

_MADE_UNASKED: Final = 100
_SWEEP_S: Final = 600.0


class Leasing:
    """What one process holds in one ledger. All methods but `close` are for one thread; they block, and raise LedgerError."""

    def __init__(self, ledger: Ledger) -> None:
        self.replica = uuid4().hex
        self._ledger = ledger
        self._swept = float("-inf")
        self._held_any = False

    def ask(self, pleas: Sequence[Plea]) -> dict[Plea, Grant]:
        """Return what is granted; what a budget's period came to before anybody asked is summed up first."""
        now_ms = int(time.time() * 1000)
        self._held_any = True
        with self._ledger.transaction(writes=True) as connection:
            granted = spending.ask(connection, pleas, self.replica, now_ms)
        missing = [plea for plea in pleas if plea not in granted]
        if missing:
            with self._ledger.transaction(alone=True) as connection:
                spending.make(connection, [plea.span for plea in missing])
            with self._ledger.transaction(writes=True) as connection:
                granted |= spending.ask(connection, missing, self.replica, now_ms)
        return granted

    def survey(self, spans: Collection[Span]) -> dict[Span, int]:
        """Return what periods came to; where few are looked at, those that nobody asked about are summed up now."""
        with self._ledger.transaction() as connection:
            spent = spending.spent(connection, spans)
        if len(spent) < len(spans) <= _MADE_UNASKED:
            with self._ledger.transaction(alone=True) as connection:
                spending.make(connection, spans)
                spent = spending.spent(connection, spans)
        return spent

    def sweep(self) -> None:
        """Remove now and then what no process needs any more."""
        now = time.monotonic()
        if now - self._swept >= _SWEEP_S:
            with self._ledger.transaction(writes=True) as connection:
                spending.sweep(connection, int(time.time() * 1000))
            self._swept = now

    def close(self) -> None:
        """Give everything back, if the ledger takes it; else it runs out."""
        if self._held_any:
            with suppress(LedgerError), self._ledger.transaction(writes=True) as connection:
                spending.give_back(connection, self.replica)
