"""Sums of any period, by any keys: from the daily sums, and from exchanges where those do not reach."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import add
from typing import Any, Final

import sqlalchemy as sa

from ..money import NANO
from ..named_labels import label_name, named_labels
from .bulk_insert import Row
from .daily_sums import Sums
from .queries import IS_ERROR, IS_UNMETERED
from .schema import CHARGES, EXCHANGES, FIGURES, LABEL_SUMS, SUM_KEYS, SUMS, TOTALS

OLDER: Final = ("older_model", "older_day", "older_route", "older_target")
"""Keys beside `priced_as`, for what is stored without it: the model as it came, and what its name on that day depends on.

They are None where there is a `priced_as`, or no model.
"""

_DAY_MS: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_FOREVER: Final = 10**8  # days


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of time, its end excluded; None: unbounded. `pruned` is the day before which only daily sums are left.

    A bound inside such a day is widened to the whole day.
    """

    since: datetime | None = None
    until: datetime | None = None
    pruned: str = ""

    def parts(self) -> tuple[tuple[str, str], list[tuple[int, int]]]:
        """Return the whole days (the first, and the one after the last), and the edges in milliseconds since the epoch."""
        since, until = (None if when is None else int(when.timestamp() * 1000) for when in (self.since, self.until))
        if since is not None and until is not None and since >= until:
            return ("", ""), []
        first, behind = -_FOREVER, _FOREVER
        edges: list[tuple[int, int]] = []
        if since is not None:
            first, rest = divmod(since, _DAY_MS)
            if rest and _text(first) >= self.pruned:
                first += 1
                edges.append((since, first * _DAY_MS))
        if until is not None:
            behind, rest = divmod(until, _DAY_MS)
            if rest and _text(behind) >= self.pruned:
                edges.append((behind * _DAY_MS, until))
            elif rest:
                behind += 1
        if first > behind:  # Both are in one day.
            assert since is not None
            assert until is not None
            edges = [(since, until)]
        return (_text(first), _text(behind)), edges

    def kept(self) -> list[sa.ColumnElement[bool]]:
        """Return the conditions for the exchanges of the period, without those of days that are pruned or may be."""
        since, until = (None if when is None else int(when.timestamp() * 1000) for when in (self.since, self.until))
        clauses = [] if since is None else [EXCHANGES.c.began_ms >= since]
        clauses += [] if until is None else [EXCHANGES.c.began_ms < until]
        return clauses + ([EXCHANGES.c.day >= self.pruned] if self.pruned else [])


def only_of_exchanges(by: Iterable[str]) -> bool:
    """Tell whether there are no daily sums by these keys: two labels are known together only for each exchange."""
    return len({key for key in by if key == "label" or label_name(key) is not None}) > 1


def grouped(connection: sa.Connection, by: Sequence[str], period: Period) -> list[Sums]:
    """Return the sums of a period by some of KEYS, `priced_as`, OLDER, `sandbox` and named labels, sorted, None first.

    1. Whole days are read from the daily sums, the period's edges from exchanges.
    2. A named label has daily sums of its own. What they lack of all is the group without that label.
    3. Where two labels are asked for, all is read from exchanges: pruned days are left out.
    """
    groups: dict[Row, list[int]] = {}
    if only_of_exchanges(by):
        _add_exchanges(connection, groups, by, sa.and_(sa.true(), *period.kept()))
        return _sorted(groups)
    days, edges = period.parts()
    place = next((place for place, key in enumerate(by) if label_name(key) is not None), None)
    table = SUMS if "label" in by else TOTALS
    for row in connection.execute(_of_days(table, by, days)):
        _add(groups, tuple(row[: len(by)]), _figures(row, by))
    if place is not None:
        for key, figures in _of_label(connection, by, days, of_all=groups):
            _add(groups, key, figures)
            _add(groups, (*key[:place], None, *key[place + 1 :]), [-figure for figure in figures])
    if edges:
        within = (EXCHANGES.c.began_ms.between(begin, end - 1) for begin, end in edges)
        _add_exchanges(connection, groups, by, sa.or_(*within))
    if place is not None:
        groups = {key: figures for key, figures in groups.items() if key[place] is not None or any(figures)}
    return _sorted(groups)


def _of_days(table: sa.Table, by: Sequence[str], days: tuple[str, str]) -> sa.Select[Any]:
    """Return the query for groups of whole days, from daily sums that know no named labels."""
    columns = [_column(table, key) if label_name(key) is None else sa.null() for key in by]
    return _summed(table, columns).where(table.c.day >= days[0], table.c.day < days[1])


def _of_label(
    connection: sa.Connection, by: Sequence[str], days: tuple[str, str], of_all: Iterable[Row]
) -> list[tuple[Row, list[int]]]:
    """Return groups of whole days by a named label. `of_all` are the groups without it.

    A ledger may have as many labels as users, and SQLite sorts what it groups by other columns than a table's first ones. So
    (1) days are summed by label first, where nothing else is asked for. (2) The sandbox's traffic is selected, not grouped by.
    """
    (name,) = filter(None, map(label_name, by))
    plain = ["label" if label_name(key) is not None else key for key in by]
    at = by.index("sandbox") if "sandbox" in by else None
    found = []
    for sandbox in sorted({key[at] for key in of_all}) if at is not None else [None]:
        rows: sa.FromClause = LABEL_SUMS
        clauses = [LABEL_SUMS.c.label_name == name, LABEL_SUMS.c.day >= days[0], LABEL_SUMS.c.day < days[1]]
        clauses += [] if sandbox is None else [LABEL_SUMS.c.sandbox == sandbox]
        if {*plain} <= {"label", "day", "month", "sandbox"}:
            first = LABEL_SUMS.c["day", "label"]
            figures = (sa.func.sum(LABEL_SUMS.c[figure]).label(figure) for figure in FIGURES)
            rows, clauses = sa.select(*first, *figures).where(*clauses).group_by(*first).subquery(), []
        columns = [sa.null() if key == "sandbox" else _column(rows, key) for key in plain]
        for row in connection.execute(_summed(rows, columns).where(*clauses)):
            key = tuple(row[: len(by)])
            found.append((key if at is None else (*key[:at], sandbox, *key[at + 1 :]), _figures(row, by)))
    return found


def _add_exchanges(
    connection: sa.Connection, groups: dict[Row, list[int]], by: Sequence[str], which: sa.ColumnElement[bool]
) -> None:
    """Add up exchanges and their charges. Named labels are read here: each database has other functions for JSON, or none."""
    names = [label_name(key) for key in by]
    for query in figure_queries():
        found = query.where(which).subquery()
        columns = [_column(found, key if name is None else "labels") for key, name in zip(by, names, strict=True)]
        for row in connection.execute(_summed(found, columns)):
            key = tuple(
                value if name is None or value is None else named_labels(value).get(name)
                for value, name in zip(row, names, strict=False)
            )
            _add(groups, key, _figures(row, by))


def _summed(rows: sa.FromClause, keys: Sequence[sa.ColumnElement[Any]]) -> sa.Select[Any]:
    """Return the query for the sums of all figures by some keys."""
    named = [key.label(f"by_{place}") for place, key in enumerate(keys)]
    by = [each for each, key in zip(named, keys, strict=True) if not isinstance(key, sa.Null)]
    return sa.select(*named, *(sa.func.sum(rows.c[name]) for name in FIGURES)).group_by(*by).having(sa.func.count() > 0)


def _column(rows: sa.FromClause, key: str) -> sa.ColumnElement[Any]:
    """Return what rows are grouped by for a key. What the daily sums store as empty, or as 0, is null."""
    if key in {"day", "sandbox"}:
        found: sa.ColumnElement[Any] = rows.c[key]
        return found
    if key == "month":
        return sa.func.substr(rows.c.day, 1, 7)
    if key in OLDER:
        is_older = sa.and_(sa.func.coalesce(rows.c.priced_as, "") == "", rows.c.model != "")
        return sa.case((is_older, sa.func.nullif(rows.c[key.removeprefix("older_")], "")))
    return sa.func.nullif(rows.c[key], 0 if key == "status" else "")


def _figures(row: Sequence[Any], by: Sequence[str]) -> list[int]:
    return [int(value or 0) for value in row[len(by) :]]


def _add(groups: dict[Row, list[int]], key: Row, figures: list[int]) -> None:
    found = groups.get(key)
    groups[key] = figures if found is None else list(map(add, found, figures))


def _sorted(groups: dict[Row, list[int]]) -> list[Sums]:
    keys = sorted(groups, key=lambda key: [(value is not None, value) for value in key])
    return [_sums(key, groups[key]) for key in keys]


def _sums(key: Row, values: Sequence[int]) -> Sums:
    figures = dict(zip(FIGURES, values, strict=True))
    cost_nano = figures.pop("dollars") * NANO + figures.pop("nano")
    figures["estimated_nano"] += figures.pop("estimated_dollars") * NANO
    return Sums(key, cost_nano=cost_nano, **figures)


def figure_queries() -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Return the queries for what exchanges, and what charges, add to the sums: columns as SUM_KEYS, `labels` and FIGURES."""
    zero, count = sa.literal(0), EXCHANGES.c.requests
    of_exchanges: dict[str, sa.ColumnElement[Any]] = {
        "requests": count,
        "unmetered": sa.case((IS_UNMETERED, count), else_=0),
        "errors": sa.case((IS_ERROR, count), else_=0),
        "estimated_pages": sa.func.coalesce(EXCHANGES.c.estimated_pages, 0),
        "estimated_dollars": sa.func.coalesce(EXCHANGES.c.estimated_nano // NANO, 0),
        "estimated_nano": sa.func.coalesce(EXCHANGES.c.estimated_nano % NANO, 0),
    }
    of_charges: dict[str, sa.ColumnElement[Any]] = {
        name: sa.func.coalesce(CHARGES.c[name], 0)
        for name in ("pages", "pages_annotated", "tokens_in", "tokens_out", "tokens_cached")
    }
    of_charges |= {
        "dollars": sa.func.coalesce(CHARGES.c.cost_nano // NANO, 0),
        "nano": sa.func.coalesce(CHARGES.c.cost_nano % NANO, 0),
        "unpriced": sa.case((CHARGES.c.cost_nano.is_(None), 1), else_=0),
    }
    charged = sa.func.coalesce(CHARGES.c.model, EXCHANGES.c.model)
    priced_as = sa.case((CHARGES.c.model.is_(None), EXCHANGES.c.priced_as), else_=CHARGES.c.priced_as)
    return (
        sa.select(
            *_keyed(EXCHANGES.c.model, EXCHANGES.c.priced_as), *(of_exchanges.get(name, zero).label(name) for name in FIGURES)
        ),
        sa.select(*_keyed(charged, priced_as), *(of_charges.get(name, zero).label(name) for name in FIGURES)).join_from(
            EXCHANGES, CHARGES, CHARGES.c.exchange_id == EXCHANGES.c.id
        ),
    )


def _keyed(model: sa.ColumnElement[Any], priced_as: sa.ColumnElement[Any]) -> Iterable[sa.ColumnElement[Any]]:
    chosen = {"model": model, "priced_as": priced_as}
    return (chosen.get(name, EXCHANGES.c[name]).label(name) for name in (*SUM_KEYS, "labels"))


def _text(day: int) -> str:
    """Return a day's text from its number since the epoch; beyond the calendar, a text that sorts before or after every day."""
    ordinal = _EPOCH + day
    if ordinal < 1:
        return ""
    return date.fromordinal(ordinal).isoformat() if ordinal <= date.max.toordinal() else "9999-99"
