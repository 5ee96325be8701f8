"""How the tables of budgets name a period: its columns, and their values for a span."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import sqlalchemy as sa

from ..budget import Period, Scope, Span, Unit
from .schema import TEXT

SPAN: Final = ("scope_name", "scope_kind", "unit", "sandbox", "starts_ms", "ends_ms")
"""The columns, in the order of the primary keys."""


def span_columns() -> list[sa.Column[Any]]:
    """Return new columns, the beginning of a table's primary key."""
    return [
        sa.Column("scope_name", TEXT, primary_key=True),
        sa.Column("scope_kind", TEXT, primary_key=True),
        sa.Column("unit", TEXT, primary_key=True),
        sa.Column("sandbox", sa.Boolean, primary_key=True),
        sa.Column("starts_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("ends_ms", sa.BigInteger, primary_key=True, autoincrement=False),
    ]


def span_of(row: Any) -> Span:
    """Return the span of a row."""
    period = Period(int(row.starts_ms), int(row.ends_ms))
    return Span(Scope(row.scope_kind, row.scope_name), Unit(row.unit), bool(row.sandbox), period)


def keys_of(span: Span) -> dict[str, Any]:
    """Return the values of the columns."""
    values = (span.scope.name, span.scope.kind, str(span.unit), span.sandbox, span.period.starts_ms, span.period.ends_ms)
    return dict(zip(SPAN, values, strict=True))


def bound(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of `is_bound`."""
    return {f"of_{name}": keys[name] for name in SPAN}


def is_bound(table: sa.Table) -> list[sa.ColumnElement[bool]]:
    """Return the condition that a row is of the span that the parameters name."""
    return [table.c[name] == sa.bindparam(f"of_{name}", type_=table.c[name].type) for name in SPAN]


def is_within(table: sa.Table, spans: Collection[Span]) -> sa.ColumnElement[bool]:
    """Return a condition that all rows of some spans meet, and few others do."""
    names = sorted({span.scope.name for span in spans})
    starts = sorted({span.period.starts_ms for span in spans})
    return sa.and_(table.c.scope_name.in_(names), table.c.starts_ms.in_(starts))
