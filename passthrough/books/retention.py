"""How long exchanges are kept: what is older is deleted in small steps, beside the writing."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from ..errors import LedgerError
from .ledger import Ledger

STEP: Final = 1000
"""Exchanges that one step deletes: more than one append brings, so that deleting keeps up with any load."""

_SOON_S: Final = 1.0
_REST_S: Final = 3600.0


class Retention:
    """Keeps the exchanges of so many days (UTC) before today, and no older ones. Daily sums and known lines stay for ever."""

    def __init__(self, ledger: Ledger | None, keep_days: int | None, now_utc: Callable[[], float] = time.time) -> None:
        """`keep_days` None: everything is kept. It can be set anew, from any thread."""
        self.keep_days = keep_days
        self._ledger = ledger
        self._now_utc = now_utc
        self._stepped_utc = 0.0
        self._pause_s = 0.0

    def step(self) -> None:
        """Delete some of what is too old, if it is time; a ledger that refuses is tried again. For the thread that writes it."""
        now, days = self._now_utc(), self.keep_days
        if self._ledger is None or days is None or 0 <= now - self._stepped_utc < self._pause_s:
            return
        self._stepped_utc, self._pause_s = now, _SOON_S
        try:
            deleted = self._ledger.prune(datetime.fromtimestamp(now, UTC).date() - timedelta(days=days), STEP)
        except LedgerError:  # The next append says what is wrong with it.
            return
        if deleted < STEP:
            self._pause_s = _REST_S
