"""The ledger's tables, what is written there of an entry, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from ..meter.usage import Unmetered
from .entry import Charge, Entry
from .money import NANO

SCHEMA_VERSION: Final = 1
"""Raised with every change of the tables; kept in `meta` under `schema`."""
SCHEMA: Final = sa.MetaData()

META: Final = sa.Table(
    "meta",
    SCHEMA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

EXCHANGES: Final = sa.Table(
    "exchanges",
    SCHEMA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("began_ms", sa.BigInteger, nullable=False, index=True),  # since the epoch
    sa.Column("day", sa.Text, nullable=False),  # YYYY-MM-DD, UTC
    sa.Column("route", sa.Text),
    sa.Column("client", sa.Text),
    sa.Column("label", sa.Text),
    sa.Column("target", sa.Text),
    sa.Column("sandbox", sa.Boolean, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("model", sa.Text),  # as answered, also where nothing was charged
    sa.Column("unmetered", sa.Text),
    sa.Column("upstream_request_id", sa.Text),
    sa.Column("bytes_up", sa.BigInteger, nullable=False),
    sa.Column("bytes_down", sa.BigInteger, nullable=False),
    sa.Column("first_byte_s", sa.Float),
    sa.Column("total_s", sa.Float, nullable=False),
    sqlite_with_rowid=False,  # ids sort by time, so that the table grows at its end
)

CHARGES: Final = sa.Table(
    "charges",
    SCHEMA,
    sa.Column("exchange_id", sa.Text, sa.ForeignKey("exchanges.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("line", sa.Text, primary_key=True),  # empty, or the id of one line of a batch file
    sa.Column("model", sa.Text),
    sa.Column("pages", sa.BigInteger),
    sa.Column("pages_annotated", sa.BigInteger),
    sa.Column("doc_bytes", sa.BigInteger),
    sa.Column("tokens_in", sa.BigInteger),
    sa.Column("tokens_out", sa.BigInteger),
    sa.Column("cost_nano", sa.BigInteger),  # 10⁻⁹ USD; null: no price is known
    sa.Column("cost_source", sa.Text),
    sqlite_with_rowid=False,
)
# A batch file is downloaded more than once, each time in another exchange: its lines are booked once.
sa.Index("charges_line_once", CHARGES.c.line, unique=True, sqlite_where=CHARGES.c.line != "")

_KEYS: Final[Mapping[str, sa.ColumnElement[Any]]] = {
    "client": EXCHANGES.c.client,
    "route": EXCHANGES.c.route,
    "model": sa.func.coalesce(CHARGES.c.model, EXCHANGES.c.model),
    "day": EXCHANGES.c.day,
    "month": sa.func.substr(EXCHANGES.c.day, 1, 7),
    "label": EXCHANGES.c.label,
    "target": EXCHANGES.c.target,
    "status": EXCHANGES.c.status,
    "sandbox": EXCHANGES.c.sandbox,
}

_COPIED: Final = tuple(column.name for column in EXCHANGES.c if column.name in Entry.__slots__)

_REQUESTS: Final = sa.func.count(sa.distinct(EXCHANGES.c.id))
_UNPRICED: Final = sa.and_(CHARGES.c.exchange_id.is_not(None), CHARGES.c.cost_nano.is_(None))
_SUMMED: Final = (
    _REQUESTS,
    sa.func.sum(CHARGES.c.pages),
    sa.func.sum(CHARGES.c.pages_annotated),
    sa.func.sum(CHARGES.c.cost_nano // NANO),  # dollars and the rest apart, so that no sum of costs passes 64 bits
    sa.func.sum(CHARGES.c.cost_nano % NANO),
    sa.func.count(sa.distinct(sa.case((EXCHANGES.c.unmetered != str(Unmetered.UNPRICED), EXCHANGES.c.id)))),
    sa.func.count(sa.distinct(sa.case((_UNPRICED, EXCHANGES.c.id)))),
)

KEYS: Final = tuple(name for name in _KEYS if name != "sandbox")
"""What sums can be grouped by. Days and months are UTC."""


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of one group: `key` has one value for each of the keys asked for.

    `requests` are exchanges; `unmetered` those whose count was expected and not found, `unpriced` those with a charge
    of unknown price.
    """

    key: tuple[str | int | None, ...]
    requests: int
    pages: int
    pages_annotated: int
    cost_nano: int
    unmetered: int
    unpriced: int


def exchange_row(entry: Entry) -> dict[str, object]:
    """Return the row of `exchanges` that an entry becomes."""
    began_ms = int(entry.began_utc * 1000)
    row: dict[str, object] = {name: getattr(entry, name) for name in _COPIED}
    day = datetime.fromtimestamp(began_ms // 1000, UTC).strftime("%Y-%m-%d")
    return row | {"began_ms": began_ms, "day": day, "model": entry.usage.model}


def charge_row(entry: Entry, charge: Charge) -> dict[str, object]:
    """Return the row of `charges` that one charge of an entry becomes."""
    return {"exchange_id": entry.id, **{name: getattr(charge, name) for name in Charge.__slots__}}


def sums_query(by: Sequence[str], since: datetime | None, until: datetime | None) -> sa.Select[Any]:
    """Return the question for the sums of what began from `since` on and before `until`, by some of KEYS and `sandbox`."""
    keys = [_KEYS[name] for name in by]
    clauses: list[sa.ColumnElement[bool]] = []
    if since is not None:
        clauses.append(EXCHANGES.c.began_ms >= int(since.timestamp() * 1000))
    if until is not None:
        clauses.append(EXCHANGES.c.began_ms < int(until.timestamp() * 1000))
    return (
        sa.select(*keys, *_SUMMED)
        .select_from(EXCHANGES.outerjoin(CHARGES, CHARGES.c.exchange_id == EXCHANGES.c.id))
        .where(*clauses)
        .group_by(*keys)
        .having(_REQUESTS > 0)
        .order_by(*keys)
    )


def sums(row: Sequence[Any], keys: int) -> Sums:
    """Return one row of the answer to `sums_query`, whose first `keys` columns are the group's key."""
    requests, pages, annotated, dollars, rest, unmetered, unpriced = (value or 0 for value in row[keys:])
    return Sums(tuple(row[:keys]), requests, pages, annotated, int(dollars) * NANO + int(rest), unmetered, unpriced)
