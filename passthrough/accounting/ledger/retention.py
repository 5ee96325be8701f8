"""Deletes exchanges that are older than the retention, in small steps between appends, by a clock that can be believed."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final

from ...errors import LedgerError
from .clock import WAIT_MS, Known
from .ledger import Ledger

STEP: Final = 1000
"""How many exchanges one step deletes: more than one append brings, so that deleting keeps up with any load."""

_SOON_S: Final = 1.0
_REST_S: Final = 3600.0
_WAITING_S: Final = 300.0  # between two looks at a clock that leapt
_LOOK_S: Final = 600.0


class Retention:
    """Keeps the exchanges of the last `keep_days` days (UTC) before today. Daily sums and known batch lines stay without end.

    Nothing is deleted by a clock that leapt ahead, until it has run on for a day: see `clock`.
    """

    def __init__(
        self,
        ledger: Ledger | None,
        keep_days: int | None,
        now_utc: Callable[[], float] = time.time,
        *,
        warn: Callable[[str], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keep_days` None: everything is kept. Any thread may change it. `warn` takes messages for the operator."""
        self.keep_days = keep_days
        self._ledger = ledger
        self._now_utc = now_utc
        self._monotonic = monotonic
        self._warn = warn
        self._last_step_utc = 0.0
        self._pause_s = 0.0
        self._looked: tuple[float, float] | None = None  # at the clock: its time, and the monotonic clock's
        self._believed = self._warned = False

    def step(self) -> None:
        """Delete some exchanges that are too old, if it is time; retry a failure later. For the thread that writes the ledger."""
        now, days = self._now_utc(), self.keep_days
        if self._ledger is None or days is None or 0 <= now - self._last_step_utc < self._pause_s:
            return
        self._last_step_utc, self._pause_s = now, _SOON_S
        try:
            if not self._believes(self._ledger, now, days):
                self._pause_s = _WAITING_S
                return
            deleted = self._ledger.prune(_first_kept(now, days), STEP)
        except LedgerError:  # the next append reports what is wrong
            return
        if deleted < STEP:
            self._pause_s = _REST_S

    def _believes(self, ledger: Ledger, now: float, days: int) -> bool:
        """Tell whether the clock is believed; it is checked now and then, and when it does not agree with the monotonic clock."""
        ran_s = 0.0 if self._looked is None else self._monotonic() - self._looked[1]
        if self._looked is not None and self._believed and ran_s < _LOOK_S and abs(now - self._looked[0] - ran_s) < _LOOK_S:
            return True
        known = ledger.look_at_clock(int(now * 1000), int(ran_s * 1000))
        self._looked = (now, self._monotonic())
        self._believed = not known.leapt
        if known.leapt:
            self._warn_leapt(ledger, known, days)
        elif self._warned:
            self._warned = False
            self._warn("The clock is believed now: what is older than 'ledger_keep' is deleted from the ledger, step by step.")
        return self._believed

    def _warn_leapt(self, ledger: Ledger, known: Known, days: int) -> None:
        """Warn once that a clock is not believed, where exchanges would be deleted by it."""
        if self._warned or not ledger.has_before(_first_kept(known.seen / 1000, days)):
            return
        self._warned = True
        self._warn(
            f"The clock says {_iso(known.seen)}, and the last time that the ledger knows is {_iso(known.believed)}: "
            f"nothing is deleted from it before the clock has run on for {WAIT_MS // 3_600_000} hours.\n"
            "Set the clock, if it is wrong; nothing is to be done where the program stood still for so long."
        )


def _first_kept(now_utc: float, days: int) -> date:
    """Return the first day (UTC) that is kept; for a time beyond the calendar, the first day of all."""
    try:
        return datetime.fromtimestamp(now_utc, UTC).date() - timedelta(days=days)
    except (ValueError, OverflowError, OSError):
        return date.min


def _iso(at_ms: int) -> str:
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"{at_ms / 1000:.0f} s after 1970"
