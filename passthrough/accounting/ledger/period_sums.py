"""Sums up what is spent in a budget's period, from what is booked in the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from ..budget import Period, Span, Unit
from ..money import NANO
from .schema import CHARGES, EXCHANGES, SUMS

MAX_AMOUNT: Final = 2**62
"""The upper bound of a sum: one beyond 64 bits would keep all later entries out of the ledger."""

_DAY_MS: Final = 86_400_000


def sums_of(connection: sa.Connection, spans: Collection[Span]) -> dict[Span, int]:
    """Return the sums of spans; those that differ only by the scope's name are summed by one query."""
    groups: dict[tuple[str, Unit, bool, Period], list[Span]] = {}
    for span in spans:
        groups.setdefault((span.scope.kind, span.unit, span.sandbox, span.period), []).append(span)
    summed: dict[Span, int] = {}
    for group in groups.values():
        totals: Counter[str] = Counter()
        for part in _parts(group):
            totals.update(
                {name or "": int(plain or 0) + int(dollars or 0) * NANO for name, plain, dollars in connection.execute(part)}
            )
        summed |= {span: min(totals[span.scope.name], MAX_AMOUNT) for span in group}
    return summed


_Figures = tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]
"""A plain figure, and one of dollars."""


def _parts(spans: Sequence[Span]) -> Iterator[sa.Select[Any]]:
    """Yield the queries for spans that differ only by name: whole days (UTC) from the daily sums, the rest by exchange."""
    unit, starts_ms, ends_ms = spans[0].unit, spans[0].period.starts_ms, spans[0].period.ends_ms
    first, last = -(-starts_ms // _DAY_MS), ends_ms // _DAY_MS
    if unit == Unit.REQUESTS or first >= last:
        yield from _of_exchanges(spans, starts_ms, ends_ms)
        return
    for edge in ((starts_ms, first * _DAY_MS), (last * _DAY_MS, ends_ms)):
        if edge[0] < edge[1]:
            yield from _of_exchanges(spans, *edge)
    days = [datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d") for day in (first, last)]
    figures: _Figures
    if unit == Unit.PAGES:
        figures = (SUMS.c.pages + SUMS.c.pages_annotated + SUMS.c.estimated_pages, sa.literal(0))
    else:
        figures = (SUMS.c.nano + SUMS.c.estimated_nano, SUMS.c.dollars + SUMS.c.estimated_dollars)
    yield _grouped(SUMS, spans, figures).where(SUMS.c.day >= days[0], SUMS.c.day < days[1])


def _of_exchanges(spans: Sequence[Span], since_ms: int, until_ms: int) -> Iterator[sa.Select[Any]]:
    """Yield the queries for the sums of exchanges' estimates or counts, and of their charges."""
    began = (EXCHANGES.c.began_ms >= since_ms, EXCHANGES.c.began_ms < until_ms)
    if spans[0].unit == Unit.REQUESTS:
        counted = _grouped(EXCHANGES, spans, (sa.literal(1), sa.literal(0)))
        yield counted.where(*began, EXCHANGES.c.attempts > 0, sa.not_(EXCHANGES.c.open))
        return
    pages = sa.func.coalesce(CHARGES.c.pages, 0) + sa.func.coalesce(CHARGES.c.pages_annotated, 0)
    of_charges: _Figures = (pages, sa.literal(0))
    of_exchanges: _Figures = (EXCHANGES.c.estimated_pages, sa.literal(0))
    if spans[0].unit != Unit.PAGES:  # dollars and the rest apart, so that no sum of costs passes 64 bits
        of_charges, of_exchanges = _money(CHARGES.c.cost_nano), _money(EXCHANGES.c.estimated_nano)
    charged: sa.Select[Any] = _grouped(EXCHANGES, spans, of_charges).join_from(
        EXCHANGES, CHARGES, CHARGES.c.exchange_id == EXCHANGES.c.id
    )
    yield charged.where(*began)
    yield _grouped(EXCHANGES, spans, of_exchanges).where(*began, of_exchanges[0].is_not(None))


def _money(nano: sa.ColumnElement[Any]) -> _Figures:
    return nano % NANO, nano // NANO


def _grouped(table: sa.Table, spans: Sequence[Span], figures: _Figures) -> sa.Select[Any]:
    """Return the query for the sums of two figures, by the name of the scope."""
    kind, sandbox = spans[0].scope.kind, spans[0].sandbox
    name: sa.ColumnElement[Any] = sa.literal("") if kind == "all" else table.c[kind]
    columns: list[sa.ColumnElement[Any]] = [name, *(sa.func.sum(figure) for figure in figures)]
    chosen: sa.Select[Any] = sa.select(*columns).where(table.c.sandbox == sandbox)
    if kind == "all":
        return chosen
    return chosen.where(name.in_(sorted({span.scope.name for span in spans}))).group_by(name)
