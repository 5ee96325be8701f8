"""What budgets' periods came to, summed up from what was booked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from .budget import Period, Span, Unit
from .money import NANO
from .schema import CHARGES, EXCHANGES, SUMS

LARGEST: Final = 2**62
"""No sum grows beyond it: what passes 64 bits would keep all that comes after it out of the ledger."""

_DAY_MS: Final = 86_400_000


def sums_of(connection: sa.Connection, spans: Collection[Span]) -> dict[Span, int]:
    """Sum up what was booked of periods: those that differ by the scope's name only in one go."""
    alike: dict[tuple[str, Unit, bool, Period], list[Span]] = {}
    for span in spans:
        alike.setdefault((span.scope.kind, span.unit, span.sandbox, span.period), []).append(span)
    summed: dict[Span, int] = {}
    for group in alike.values():
        totals: Counter[str] = Counter()
        for part in _parts(group):
            totals.update(
                {name or "": int(plain or 0) + int(dollars or 0) * NANO for name, plain, dollars in connection.execute(part)}
            )
        summed |= {span: min(totals[span.scope.name], LARGEST) for span in group}
    return summed


def _parts(spans: Sequence[Span]) -> Iterator[sa.Select[Any]]:
    """Yield what is asked for the sums of spans that are alike: whole days (UTC) by their daily sums, the rest by exchange."""
    unit, starts_ms, ends_ms = spans[0].unit, spans[0].period.starts_ms, spans[0].period.ends_ms
    first, last = -(-starts_ms // _DAY_MS), ends_ms // _DAY_MS
    if unit == Unit.REQUESTS or first >= last:
        yield _of_exchanges(spans, starts_ms, ends_ms)
        return
    for edge in ((starts_ms, first * _DAY_MS), (last * _DAY_MS, ends_ms)):
        if edge[0] < edge[1]:
            yield _of_exchanges(spans, *edge)
    days = [datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d") for day in (first, last)]
    figures = (SUMS.c.pages + SUMS.c.pages_annotated, sa.literal(0)) if unit == Unit.PAGES else (SUMS.c.nano, SUMS.c.dollars)
    yield _grouped(SUMS, spans, figures).where(SUMS.c.day >= days[0], SUMS.c.day < days[1])


def _of_exchanges(spans: Sequence[Span], since_ms: int, until_ms: int) -> sa.Select[Any]:
    began = (EXCHANGES.c.began_ms >= since_ms, EXCHANGES.c.began_ms < until_ms)
    if spans[0].unit == Unit.REQUESTS:
        counted = _grouped(EXCHANGES, spans, (sa.literal(1), sa.literal(0)))
        return counted.where(*began, EXCHANGES.c.attempts > 0, sa.not_(EXCHANGES.c.open))
    pages = sa.func.coalesce(CHARGES.c.pages, 0) + sa.func.coalesce(CHARGES.c.pages_annotated, 0)
    # Dollars and the rest apart: no sum of costs passes 64 bits so.
    money = (CHARGES.c.cost_nano % NANO, CHARGES.c.cost_nano // NANO)
    charged = _grouped(EXCHANGES, spans, (pages, sa.literal(0)) if spans[0].unit == Unit.PAGES else money)
    joined: sa.Select[Any] = charged.join_from(EXCHANGES, CHARGES, CHARGES.c.exchange_id == EXCHANGES.c.id)
    return joined.where(*began)


def _grouped(
    table: sa.Table, spans: Sequence[Span], figures: tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]
) -> sa.Select[Any]:
    """Return the question for the sums of two figures, by the name of the scope."""
    kind, sandbox = spans[0].scope.kind, spans[0].sandbox
    name: sa.ColumnElement[Any] = sa.literal("") if kind == "all" else table.c[kind]
    columns: list[sa.ColumnElement[Any]] = [name, *(sa.func.sum(figure) for figure in figures)]
    chosen: sa.Select[Any] = sa.select(*columns).where(table.c.sandbox == sandbox)
    if kind == "all":
        return chosen
    return chosen.where(name.in_(sorted({span.scope.name for span in spans}))).group_by(name)
