"""The table of what was used without a price, by the periods of budgets in USD; a budget with `unpriced: refuse` reads it.

It is filled in the transaction that books a charge without a price, for every running period, whatever the budget's
configuration says: so processes with different configurations agree, and a budget may begin to refuse at any time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa

from ..budget import Period, Span, Unit, Unpriced
from ..entry import Charge, Entry
from ..money import json_text
from .bulk_insert import upsert
from .schema import CHARGES, EXCHANGES, SCHEMA, SUMS, TEXT
from .span_rows import SPAN, is_within, keys_of, span_columns, span_of

MAX_NAMED: Final = 100
"""How many are named for one period, at most: responses name the models, so their number is not bounded otherwise."""

_DAY_MS: Final = 86_400_000
_COUNTERS: Final = ("credits_micro", "pages", "pages_annotated", "tokens_cached", "tokens_in", "tokens_out")

BUDGET_UNPRICED: Final = sa.Table(
    "budget_unpriced",
    SCHEMA,
    *span_columns(),
    sa.Column("key", TEXT, primary_key=True),  # a digest of the rest: its texts are too long for an index
    sa.Column("model", TEXT),
    sa.Column("target", TEXT),
    sa.Column("route", TEXT),
    sa.Column("counted", TEXT, nullable=False),
    sa.Column("service_tier", TEXT),
    sa.Column("in_batch", sa.Boolean, nullable=False),
    sqlite_with_rowid=False,
)

_VALUES: Final = ("model", "target", "route", "counted", "service_tier", "in_batch")


def of(entry: Entry) -> frozenset[Unpriced]:
    """Return what an entry was charged for without a price. Nearly always nothing: then it takes a fraction of a microsecond."""
    found = None
    for charge in entry.charges:
        if charge.cost_nano is None:
            found = found or set()
            found.add(_unpriced(entry, charge))
    return frozenset(found) if found else _NONE


def note(connection: sa.Connection, lacking: Mapping[Span, Collection[Unpriced]]) -> None:
    """Write what had no price in some periods, in a transaction that has locked their rows of `budgets`, or that is alone."""
    wanted = {span: dict(zip(map(_key, found), found, strict=True)) for span, found in lacking.items() if found}
    if not wanted:
        return
    known: dict[Span, set[str]] = {}
    columns = [BUDGET_UNPRICED.c[name] for name in (*SPAN, "key")]
    for row in connection.execute(sa.select(*columns).where(is_within(BUDGET_UNPRICED, wanted))):
        known.setdefault(span_of(row), set()).add(row.key)
    rows = []
    for span, found in wanted.items():
        there = known.get(span, set())
        new = (key for key in sorted(found) if key not in there)
        for key in islice(new, max(MAX_NAMED - len(there), 0)):
            values = {name: getattr(found[key], name) for name in _VALUES}
            rows.append(keys_of(span) | {"key": key} | values)
    if rows:
        connection.execute(upsert(connection, BUDGET_UNPRICED).on_conflict_do_nothing(), rows)


def named(connection: sa.Connection, spans: Collection[Span]) -> dict[Span, frozenset[Unpriced]]:
    """Return what had no price in periods so far; those in which everything had one are left out."""
    if not spans:
        return {}
    found: dict[Span, list[Unpriced]] = {}
    for row in connection.execute(sa.select(BUDGET_UNPRICED).where(is_within(BUDGET_UNPRICED, spans))):
        item = Unpriced(row.model, row.target, row.route, row.counted, row.service_tier, bool(row.in_batch))
        found.setdefault(span_of(row), []).append(item)
    return {span: frozenset(found[span]) for span in spans if span in found}


def booked(connection: sa.Connection, spans: Collection[Span]) -> dict[Span, set[Unpriced]]:
    """Return what had no price by the charges that are booked; spans that differ only by the scope's name are read together."""
    groups: dict[tuple[str, bool, Period], list[Span]] = {}
    for span in spans:
        if span.unit == Unit.USD:
            groups.setdefault((span.scope.kind, span.sandbox, span.period), []).append(span)
    found: dict[Span, set[Unpriced]] = {}
    for group in groups.values():
        named_so = {span.scope.name: span for span in group}
        for window in _windows(connection, group):
            for row in connection.execute(_query(group, window)):
                found.setdefault(named_so[row.scope], set()).add(_of_row(row))
    return found


def sweep(connection: sa.Connection, before_ms: int) -> None:
    """Delete what belongs to periods that ended before a time."""
    connection.execute(sa.delete(BUDGET_UNPRICED).where(BUDGET_UNPRICED.c.ends_ms < before_ms))


_NONE: Final[frozenset[Unpriced]] = frozenset()


def _unpriced(entry: Entry, charge: Charge) -> Unpriced:
    counts = {name: getattr(charge, name) for name in _COUNTERS}
    return Unpriced(charge.model, entry.target, entry.route, _counted(counts), charge.service_tier, charge.in_batch)


def _counted(counts: Mapping[str, int | None]) -> str:
    """Return the names of the counters that are not 0; where all are, of those that were found."""
    found = [name for name, count in counts.items() if count] or [name for name, count in counts.items() if count is not None]
    return " ".join(found)


def _key(item: Unpriced) -> str:
    return sha256(json_text([getattr(item, name) for name in _VALUES]).encode()).hexdigest()[:32]


# ── out of the charges ──


def _windows(connection: sa.Connection, spans: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """Yield the parts of a period in which a charge may have had no price: whole days (UTC) by the daily sums, and its edges."""
    period = spans[0].period
    first, last = -(-period.starts_ms // _DAY_MS), period.ends_ms // _DAY_MS
    if first >= last:
        yield period.starts_ms, period.ends_ms
        return
    yield from (edge for edge in ((period.starts_ms, first * _DAY_MS), (last * _DAY_MS, period.ends_ms)) if edge[0] < edge[1])
    names = {datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d"): day for day in range(first, last)}
    asked = sa.select(SUMS.c.day).distinct().where(SUMS.c.day >= min(names), SUMS.c.day <= max(names), SUMS.c.unpriced > 0)
    for (name,) in connection.execute(asked.where(*_is_of(SUMS, spans))):
        yield names[name] * _DAY_MS, (names[name] + 1) * _DAY_MS


def _query(spans: Sequence[Span], window: tuple[int, int]) -> sa.Select[Any]:
    kind = spans[0].scope.kind
    scope: sa.ColumnElement[Any] = sa.literal("") if kind == "all" else EXCHANGES.c[kind]
    values = (CHARGES.c.model, EXCHANGES.c.target, EXCHANGES.c.route, CHARGES.c.service_tier, CHARGES.c.in_batch)
    signs = [sa.case((CHARGES.c[name] > 0, 1), (CHARGES.c[name] == 0, 0)).label(name) for name in _COUNTERS]
    return (
        sa.select(scope.label("scope"), *values, *signs)
        .distinct()
        .join_from(EXCHANGES, CHARGES, CHARGES.c.exchange_id == EXCHANGES.c.id)
        .where(EXCHANGES.c.began_ms >= window[0], EXCHANGES.c.began_ms < window[1], CHARGES.c.cost_nano.is_(None))
        .where(*_is_of(EXCHANGES, spans))
    )


def _is_of(table: sa.Table, spans: Sequence[Span]) -> Iterator[sa.ColumnElement[bool]]:
    """Yield the conditions that rows belong to the scopes of spans that differ only by the scope's name."""
    yield table.c.sandbox == spans[0].sandbox
    if spans[0].scope.kind != "all":
        yield table.c[spans[0].scope.kind].in_(sorted({span.scope.name for span in spans}))


def _of_row(row: Any) -> Unpriced:
    counts = {name: getattr(row, name) for name in _COUNTERS}
    return Unpriced(row.model, row.target, row.route, _counted(counts), row.service_tier, bool(row.in_batch))
