"""Decides whether this machine's clock is believable before old exchanges are deleted by it; the ledger stores what it knows.

A clock that jumps ten years ahead would make every exchange older than its retention, and delete all of them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

import sqlalchemy as sa

from .bulk_insert import upsert
from .schema import EXCHANGES, META

LEAP_MS: Final = 24 * 3_600_000
"""How far the clock may be ahead of the last believed time. After a longer standstill, too, the clock must run on first."""

WAIT_MS: Final = 24 * 3_600_000
"""How long a clock that leapt must run on before it is believed: time for the operator to see it, and to set it right."""

_STEADY_MS: Final = 600_000
_KEY: Final = "clock"


@dataclass(frozen=True, slots=True)
class Known:
    """What a ledger knows of the time: the last `believed` and the last `seen` time (milliseconds since the epoch).

    Where they differ, the clock leapt; `waited` is how many milliseconds it has run on since then.
    """

    believed: int
    seen: int
    waited: int = 0

    @property
    def leapt(self) -> bool:
        """Tell whether the last time seen is not believed."""
        return self.seen != self.believed


def looked(known: Known, now_ms: int, ran_ms: int) -> Known:
    """Return what is known after another look; `ran_ms` is how long this process ran since its last look, by the monotonic clock.

    1. A clock that is not far ahead is believed, also one that was set back. 2. One that leapt is believed when it has run on for
    long enough while a process looked at it. 3. One that leaps again meanwhile, or is set back, starts from zero; so it does
    where the clocks of two processes differ.
    """
    if now_ms - known.believed <= LEAP_MS:
        return Known(now_ms, now_ms)
    went_ms = now_ms - known.seen
    steady = -_STEADY_MS <= went_ms - ran_ms <= (_STEADY_MS if ran_ms else LEAP_MS)
    waited = known.waited + min(max(went_ms, 0), ran_ms) if known.leapt and steady else 0
    return Known(now_ms, now_ms) if waited >= WAIT_MS else Known(known.believed, now_ms, waited)


def look(connection: sa.Connection, now_ms: int, ran_ms: int) -> Known:
    """Look at the clock, and store what is known after it, in a transaction that writes."""
    text = connection.execute(sa.select(META.c.value).where(META.c.key == _KEY).with_for_update()).scalar()
    known = looked(_known(connection, text, now_ms), now_ms, ran_ms)
    value = json.dumps(asdict(known))
    insert = upsert(connection, META).values(key=_KEY, value=value)
    connection.execute(insert.on_conflict_do_update(index_elements=[META.c.key], set_={"value": value}))
    return known


def _known(connection: sa.Connection, text: str | None, now_ms: int) -> Known:
    """Return what is stored; else take the newest exchange's time as believed, and in an empty ledger the clock's."""
    try:
        return Known(**json.loads(text or ""))
    except (ValueError, TypeError):
        newest = connection.execute(sa.select(sa.func.max(EXCHANGES.c.began_ms))).scalar()
        return Known(now_ms, now_ms) if newest is None else Known(int(newest), int(newest))
