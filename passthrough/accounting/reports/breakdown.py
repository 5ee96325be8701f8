"""Breaks a period down by what only single exchanges tell: why they were not counted, and where their prices came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from ...meter.usage import Unmetered
from ..ledger import prune
from ..ledger.daily_sums import Sums
from ..ledger.ledger import Ledger
from ..ledger.schema import CHARGES, EXCHANGES
from ..ledger.sum_queries import Period, grouped
from ..money import NANO
from ..named_labels import label_name, named_labels

Key = tuple[str | int | bool | None, ...]


@dataclass(frozen=True, slots=True)
class Reason:
    """How many requests of one group have one reason (meter.usage.Unmetered) beside their count, or instead of it.

    Those whose reason is about a price that was booked with another request are left out.
    """

    key: Key
    reason: str
    requests: int


@dataclass(frozen=True, slots=True)
class Origin:
    """What the charges of one group, model and origin cost; `cost_source`, `in_batch` and the days are those of the charges.

    `model` is the name that was priced, or as the response told it in rows that are older than that. `cost_source` None: no price
    was known. `target` is the authority that responded: hosts may have a factor on their prices.
    """

    key: Key
    model: str | None
    cost_source: str | None
    charges: int
    cost_nano: int
    first: date
    last: date
    in_batch: bool = False
    target: str | None = None

    def with_more(self, other: Origin) -> Origin:
        """Return this origin with the charges of another one."""
        return replace(
            self,
            charges=self.charges + other.charges,
            cost_nano=self.cost_nano + other.cost_nano,
            first=min(self.first, other.first),
            last=max(self.last, other.last),
        )


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The reasons and origins in a period's exchanges, those of days before `kept_from` left out: they may be deleted."""

    reasons: tuple[Reason, ...]
    origins: tuple[Origin, ...]
    kept_from: date | None


def broken_down(
    ledger: Ledger, groupings: Sequence[Sequence[str]], by: Sequence[str], since: datetime, until: datetime
) -> tuple[list[list[Sums]], Breakdown]:
    """Return the sums of a period by each grouping (sum_queries.grouped), and its breakdown, all of one snapshot.

    `by` names columns of exchanges and named labels. The bounds are whole days (UTC). Raises LedgerError.
    """
    with ledger.explained(), ledger.transaction() as connection:
        pruned = prune.pruned(connection)
        found = [grouped(connection, grouping, Period(since, until, pruned)) for grouping in groupings]
        return found, _breakdown(connection, by, since, until, pruned)


def _breakdown(connection: sa.Connection, by: Sequence[str], since: datetime, until: datetime, pruned: str) -> Breakdown:
    """None of the exchanges from before the day `pruned` that are left is taken: a day counts whole, or not at all."""
    first, behind = (when.date().isoformat() for when in (since, until))
    days = (EXCHANGES.c.day >= max(first, pruned), EXCHANGES.c.day < behind)
    kept = [EXCHANGES.c[name if label_name(name) is None else "labels"] for name in by]
    return Breakdown(
        tuple(_reasons(connection.execute(_reasons_query(kept, days)), by)),
        tuple(_origins(connection.execute(_origins_query(kept, days)), by)),
        date.fromisoformat(min(pruned, behind)) if pruned > first else None,
    )


def _reasons_query(kept: Sequence[sa.ColumnElement[Any]], days: Sequence[sa.ColumnElement[bool]]) -> sa.Select[Any]:
    """Where a reason is about a price, only exchanges with such a charge count: a batch or a job that is read again has none."""
    count, reason = sa.func.sum(EXCHANGES.c.requests), EXCHANGES.c.unmetered
    charged = sa.exists().where(CHARGES.c.exchange_id == EXCHANGES.c.id)
    unpriced, tiered = charged.where(CHARGES.c.cost_nano.is_(None)), charged.where(CHARGES.c.service_tier.is_not(None))
    booked = sa.case((reason == Unmetered.UNPRICED, unpriced), (reason == Unmetered.UNPRICED_TIER, tiered), else_=sa.true())
    return sa.select(*kept, reason, count).where(*days, reason.is_not(None), booked).group_by(*kept, EXCHANGES.c.unmetered)


def _origins_query(kept: Sequence[sa.ColumnElement[Any]], days: Sequence[sa.ColumnElement[bool]]) -> sa.Select[Any]:
    named = sa.case(
        (CHARGES.c.model.is_(None), sa.func.coalesce(EXCHANGES.c.priced_as, EXCHANGES.c.model)),
        else_=sa.func.coalesce(CHARGES.c.priced_as, CHARGES.c.model),
    )
    cost, day = CHARGES.c.cost_nano, EXCHANGES.c.day
    source = sa.case((cost.is_not(None), CHARGES.c.cost_source))
    groups = (*kept, named, source, CHARGES.c.in_batch, EXCHANGES.c.target)
    figures = (sa.func.count(), sa.func.sum(cost // NANO), sa.func.sum(cost % NANO), sa.func.min(day), sa.func.max(day))
    joined = sa.select(*groups, *figures).join_from(EXCHANGES, CHARGES, CHARGES.c.exchange_id == EXCHANGES.c.id)
    return joined.where(*days).group_by(*groups)


def _reasons(rows: Iterable[Any], by: Sequence[str]) -> Iterable[Reason]:
    found = Counter[tuple[Key, str]]()
    for *values, reason, requests in rows:
        found[_key(values, by), reason] += int(requests)
    return (Reason(key, reason, requests) for (key, reason), requests in found.items())


def _origins(rows: Iterable[Any], by: Sequence[str]) -> Iterable[Origin]:
    found: dict[tuple[Any, ...], Origin] = {}
    for *values, model, source, in_batch, target, count, dollars, nano, first, last in rows:
        key, cost = _key(values, by), int(dollars or 0) * NANO + int(nano or 0)
        days = (date.fromisoformat(first), date.fromisoformat(last))
        one = Origin(key, model, source, int(count), cost, *days, bool(in_batch), target)
        group = (key, model, source, one.in_batch, target)
        found[group] = one.with_more(found[group]) if group in found else one
    return found.values()


def _key(values: Sequence[Any], by: Sequence[str]) -> Key:
    """Return a group's key. Of rows with named labels, whose column is the whole JSON object, several may have one key."""
    return tuple(
        value if value is None or (label := label_name(name)) is None else named_labels(value).get(label)
        for name, value in zip(by, values, strict=True)
    )
