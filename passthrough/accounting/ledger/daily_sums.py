"""Daily sums of exchanges: what an entry adds to them, and the query that sums up any period from them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import sqlalchemy as sa

from ...exchange import Outcome
from ...meter.usage import Unmetered
from ..entry import Charge, Entry
from ..money import NANO
from .bulk_insert import BulkInsert, Row
from .schema import CHARGES, EXCHANGES, FIGURES, SUM_KEYS, SUMS, TOTALS

KEYS: Final = ("client", "route", "model", "day", "month", "label", "target", "status")
"""The keys that sums can be grouped by. Days and months are UTC."""

Key = tuple[Any, ...]
"""The values of SUM_KEYS, None where there is none."""

_DAY_MS: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_FOREVER: Final = 10**8  # days
_UNPRICED: Final = str(Unmetered.UNPRICED)
_COMPLETED: Final = str(Outcome.COMPLETED)
_OK: Final = 200
_LABEL: Final = SUM_KEYS.index("label")
_MODEL: Final = SUM_KEYS.index("model")  # before `priced_as`
_SUMS: Final = BulkInsert(SUMS, adding=FIGURES)
_TOTALS: Final = BulkInsert(TOTALS, adding=FIGURES)


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of one group: `key` has one value for each grouping key.

    `requests` are exchanges, each counted once, under its own model; `unmetered` are those whose count was expected and not
    found, `errors` those that did not end with a whole response below 400. The others are sums of charges, each under the
    charge's model; `unpriced` is how many charges have no price. `estimated_pages` and `estimated_nano` are of calls that were
    paid for and not counted: they are in none of the other sums.
    """

    key: tuple[str | int | None, ...]
    requests: int
    pages: int
    pages_annotated: int
    cost_nano: int
    unmetered: int
    unpriced: int
    tokens_in: int = 0
    tokens_out: int = 0
    errors: int = 0
    estimated_pages: int = 0
    estimated_nano: int = 0
    tokens_cached: int = 0


class SumDeltas:
    """Accumulates in memory what entries add to the daily sums."""

    def __init__(self) -> None:
        self._rows: dict[Key, dict[str, int]] = {}

    def count(self, key: Key, entry: Entry, charges: Iterable[Charge], *, begins: bool, ends: bool) -> None:
        """Count one part of an exchange under a key: its charges and, where it `begins` or `ends`, that."""
        figures = self._figures(key)
        if begins:
            figures["requests"] += entry.requests
        if ends:
            _end(entry, figures)
        for charge in charges:
            self._charge(key, charge, figures)

    def count_whole(self, entries: Iterable[tuple[Key, Entry]]) -> None:
        """Count whole exchanges, each under its key."""
        summed: Key = ()
        for key, entry in entries:
            if key != summed:  # mostly it is the key of the entry before
                summed, figures = key, self._figures(key)
            figures["requests"] += entry.requests
            if entry.outcome != _COMPLETED or entry.unmetered is not None or entry.status != _OK:
                _end(entry, figures)
            for charge in entry.charges:
                self._charge(key, charge, figures)

    def write(self, connection: sa.Connection) -> None:
        """Add all of it to the daily sums."""
        add(connection, self._rows)

    def _charge(self, key: Key, charge: Charge, figures: dict[str, int]) -> None:
        model, priced_as = charge.model, charge.priced_as
        if model and (model != key[_MODEL] or priced_as != key[_MODEL + 1]):
            figures = self._figures((*key[:_MODEL], model, priced_as, *key[_MODEL + 2 :]))
        _add(charge, figures)

    def _figures(self, key: Key) -> dict[str, int]:
        found = self._rows.get(key)
        if found is None:
            found = self._rows[key] = dict.fromkeys(FIGURES, 0)
        return found


def _end(entry: Entry, figures: dict[str, int]) -> None:
    if entry.unmetered is not None and entry.unmetered != _UNPRICED:
        figures["unmetered"] += entry.requests
    if entry.outcome != _COMPLETED or entry.status is None or entry.status >= 400:
        figures["errors"] += entry.requests
    if entry.estimated_pages:
        figures["estimated_pages"] += entry.estimated_pages
    if entry.estimated_nano:
        dollars, nano = divmod(entry.estimated_nano, NANO)
        figures["estimated_dollars"] += dollars
        figures["estimated_nano"] += nano


def _add(charge: Charge, figures: dict[str, int]) -> None:
    if charge.pages:
        figures["pages"] += charge.pages
    if charge.pages_annotated:
        figures["pages_annotated"] += charge.pages_annotated
    if charge.tokens_in:
        figures["tokens_in"] += charge.tokens_in
    if charge.tokens_out:
        figures["tokens_out"] += charge.tokens_out
    if charge.tokens_cached:
        figures["tokens_cached"] += charge.tokens_cached
    if charge.cost_nano is None:
        figures["unpriced"] += 1
    else:
        dollars, nano = divmod(charge.cost_nano, NANO)
        figures["dollars"] += dollars
        figures["nano"] += nano


def add(connection: sa.Connection, figures: Mapping[Key, Mapping[str, int]]) -> None:
    """Add figures, by key, to the daily sums."""
    total: dict[Key, Counter[str]] = {}
    for key, added in figures.items():
        total.setdefault((*key[:_LABEL], None, *key[_LABEL + 1 :]), Counter()).update(added)
    for insert, rows in ((_SUMS, figures), (_TOTALS, total)):
        insert.write(connection, [_row(key, added) for key, added in rows.items()])


def _row(key: Key, figures: Mapping[str, int]) -> Row:
    """Return a row of daily sums. A null in the key becomes empty (a null equals nothing), or 0 as status."""
    return (*_kept(key), *(figures.get(name, 0) for name in FIGURES))


@lru_cache(1024)
def _kept(key: Key) -> Row:
    day, *texts, status, sandbox = key
    plain = (*(text or "" for text in texts), int(status or 0), bool(sandbox))
    digest = blake2b(json.dumps(plain).encode(), digest_size=16).hexdigest()
    return (day, digest, *plain)


# ── queries ──


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


def sums_query(by: Sequence[str], period: Period) -> sa.Select[Any]:
    """Return the query for the sums of a period, by some of KEYS and `sandbox`: from the daily sums, but for its edges."""
    (first, behind), edges = period.parts()
    daily = SUMS if "label" in by else TOTALS
    parts = [sa.select(*daily.c[*SUM_KEYS, *FIGURES]).where(daily.c.day >= first, daily.c.day < behind)]
    if edges:
        within = sa.or_(*(EXCHANGES.c.began_ms.between(begin, end - 1) for begin, end in edges))
        parts += [query.where(within) for query in figure_queries()]
    # Each part is summed by itself first: SQLite sorts what it sums up, and takes half as long for rows in a table's order.
    summed = sa.union_all(*(_condensed(part, by) for part in parts)).subquery()
    keys = [_by(summed, name).label(f"by_{name}") for name in by]
    return (
        sa.select(*keys, *(sa.func.sum(summed.c[name]) for name in FIGURES))
        .group_by(*keys)
        .having(sa.func.count() > 0)
        .order_by(*(key.nulls_first() for key in keys))
    )


def _condensed(part: sa.Select[Any], by: Sequence[str]) -> sa.Select[Any]:
    """Return the question for the sums of one part, by the columns that KEYS among `by` are made of."""
    columns = part.selected_columns
    kept = [columns[name] for name in dict.fromkeys("day" if name == "month" else name for name in by)]
    summed = (sa.func.sum(columns[name]).label(name) for name in FIGURES)
    return part.with_only_columns(*kept, *summed).group_by(*kept).having(sa.func.count() > 0)


def sums(row: Sequence[Any], keys: int) -> Sums:
    """Return the Sums of one row of `sums_query`, whose first `keys` columns are the group's key."""
    figures = dict(zip(FIGURES, (int(value or 0) for value in row[keys:]), strict=True))
    cost_nano = figures.pop("dollars") * NANO + figures.pop("nano")
    figures["estimated_nano"] += figures.pop("estimated_dollars") * NANO
    return Sums(tuple(row[:keys]), cost_nano=cost_nano, **figures)


def figure_queries() -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Return the queries for what exchanges, and what charges, add to the sums: columns as SUM_KEYS and FIGURES."""
    zero, count = sa.literal(0), EXCHANGES.c.requests
    unmetered = sa.and_(EXCHANGES.c.unmetered.is_not(None), EXCHANGES.c.unmetered != str(Unmetered.UNPRICED))
    whole = sa.and_(EXCHANGES.c.outcome == str(Outcome.COMPLETED), EXCHANGES.c.status < 400, EXCHANGES.c.status.is_not(None))
    of_exchanges: dict[str, sa.ColumnElement[Any]] = {
        "requests": count,
        "unmetered": sa.case((unmetered, count), else_=0),
        "errors": sa.case((sa.or_(whole, EXCHANGES.c.open), 0), else_=count),
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
    return (chosen.get(name, EXCHANGES.c[name]).label(name) for name in SUM_KEYS)


def _by(summed: sa.Subquery, name: str) -> sa.ColumnElement[Any]:
    if name == "month":
        return sa.func.substr(summed.c.day, 1, 7)
    if name in {"day", "sandbox"}:
        return summed.c[name]
    return sa.func.nullif(summed.c[name], 0 if name == "status" else "")


def _text(day: int) -> str:
    """Return a day's text from its number since the epoch; beyond the calendar, a text that sorts before or after every day."""
    ordinal = _EPOCH + day
    if ordinal < 1:
        return ""
    return date.fromordinal(ordinal).isoformat() if ordinal <= date.max.toordinal() else "9999-99"
