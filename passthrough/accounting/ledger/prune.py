"""Deletes old exchanges in small steps; their daily sums and the known batch lines stay."""

from __future__ import annotations

from datetime import date
from typing import Final

import sqlalchemy as sa

from .bulk_insert import upsert
from .schema import CHARGES, EXCHANGES, META

_PRUNED: Final = "pruned_before"


def pruned(connection: sa.Connection) -> str:
    """Return the day before which exchanges may be deleted, so that only daily sums are complete; empty where there is none."""
    return connection.execute(sa.select(META.c.value).where(META.c.key == _PRUNED)).scalar() or ""


def has_before(connection: sa.Connection, day: date) -> bool:
    """Tell whether there are exchanges that began before a day (UTC)."""
    return connection.execute(sa.select(EXCHANGES.c.id).where(EXCHANGES.c.began_ms < _ms(day)).limit(1)).first() is not None


def prune(connection: sa.Connection, before: date, max_rows: int) -> int:
    """Delete at most `max_rows` of the oldest exchanges that began before a day (UTC), and return how many were deleted."""
    day = before.isoformat()
    old = sa.select(EXCHANGES.c.id).where(EXCHANGES.c.day < day, EXCHANGES.c.began_ms < _ms(before))
    ids = connection.execute(old.order_by(EXCHANGES.c.began_ms).limit(max_rows).with_for_update(skip_locked=True)).scalars().all()
    if ids and pruned(connection) < day:
        insert = upsert(connection, META).values(key=_PRUNED, value=day)
        connection.execute(insert.on_conflict_do_update(index_elements=[META.c.key], set_={"value": day}))
    connection.execute(sa.delete(CHARGES).where(CHARGES.c.exchange_id.in_(ids)))
    connection.execute(sa.delete(EXCHANGES).where(EXCHANGES.c.id.in_(ids)))
    return len(ids)


def _ms(day: date) -> int:
    return (day.toordinal() - date(1970, 1, 1).toordinal()) * 86_400_000
