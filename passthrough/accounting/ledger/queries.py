"""Reads exchanges and their charges from the ledger: which are selected, the queries, and the rows that they return."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from ...exchange import Outcome
from ...meter.usage import DOUBTS
from ..entry import Charge
from ..money import NANO
from ..named_labels import label_name
from .schema import CHARGES, EXCHANGES, LABEL_SUMS

_CHARGE: Final = tuple(name for name in Charge.__slots__ if name in CHARGES.c)
_SUMMED: Final = ("pages", "pages_annotated", "doc_bytes", "tokens_in", "tokens_out", "tokens_cached", "credits_micro")
_ALIKE: Final = ("model", "cost_source", "service_tier", "priced_as")


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """An exchange as the ledger stores it; the fields are entry.Entry's.

    `charge` is one of its charges, or the sum of all of them (`charges` is their number): then `cost_nano` and `cost_source` are
    None where one has no price, and `line` is empty. It is None where there is no charge. `model` is the exchange's own. `open`:
    its end is not written, or not yet.
    """

    id: str
    began_utc: float
    route: str | None
    client: str | None
    label: str | None
    target: str | None
    sandbox: bool
    method: str
    path: str
    status: int | None
    outcome: str
    error: str | None
    attempts: int
    model: str | None
    unmetered: str | None
    upstream_request_id: str | None
    bytes_up: int
    bytes_down: int
    first_byte_s: float | None
    total_s: float
    overhead_s: float | None
    account: str | None
    open: bool
    estimated_pages: int | None
    estimated_nano: int | None
    requests: int
    labels: str | None
    priced_as: str | None
    deployment: str | None = None
    model_group: str | None = None
    why: str | None = None
    charge: Charge | None = None
    charges: int = 0


_EXCHANGE: Final = tuple(name for name in LedgerRow.__slots__ if name in EXCHANGES.c)


class ExchangeEnd(NamedTuple):
    """How an exchange ended; the fields are entry.Entry's, `began_ms` is since the epoch. Ten thousand are read at once."""

    began_ms: int
    target: str | None
    deployment: str | None
    status: int | None
    outcome: str
    error: str | None
    total_s: float
    requests: int


_END: Final = ExchangeEnd._fields


ANY: Final = "any"
NONE: Final = "none"

IS_UNMETERED: Final = sa.and_(EXCHANGES.c.unmetered.is_not(None), EXCHANGES.c.unmetered.not_in(sorted(map(str, DOUBTS))))
"""The condition that an exchange counts as unmetered in sums: reasons that are about the price alone do not."""

IS_ERROR: Final = sa.and_(
    sa.not_(EXCHANGES.c.open),
    sa.or_(EXCHANGES.c.outcome != str(Outcome.COMPLETED), EXCHANGES.c.status.is_(None), EXCHANGES.c.status >= 400),
)
"""The condition that an exchange counts as an error in sums: it did not end with a whole response below 400."""

_IS_UNPRICED: Final = sa.and_(
    # Such an exchange has a reason, once its end is written: so the charges of few exchanges are looked up.
    sa.or_(EXCHANGES.c.unmetered.is_not(None), EXCHANGES.c.open),
    sa.exists().where(CHARGES.c.exchange_id == EXCHANGES.c.id, CHARGES.c.cost_nano.is_(None)),
)


@dataclass(frozen=True, slots=True)
class Selection:
    """The exchanges that began at or after `since` and before `until`, and that have all that is asked for; None: not asked.

    `values` are by column or named label; None selects those that have none. A model is the exchange's own, by the name that
    came or by the one that is priced. `unmetered` is `any` (those that sums count as unmetered), `none` (those without a reason)
    or a reason. `unpriced`: a charge has no price. `errors`: those that sums count as errors.
    """

    since: datetime | None = None
    until: datetime | None = None
    values: Mapping[str, str | int | None] = field(default_factory=dict)
    unmetered: str | None = None
    unpriced: bool | None = None
    errors: bool | None = None
    sandbox: bool | None = None

    def mapped(self, stored: Callable[[str], str]) -> Selection:
        """Return the selection with each text among its values as `stored` returns it."""
        return replace(
            self, values={name: stored(value) if isinstance(value, str) else value for name, value in self.values.items()}
        )

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """Yield the conditions, all of which must hold."""
        # By the id, which begins with the same milliseconds: rows are read in its order, and none beyond the period.
        if self.since is not None:
            yield EXCHANGES.c.id >= _first_id(self.since)
        if self.until is not None:
            yield EXCHANGES.c.id < _first_id(self.until)
        for name, value in self.values.items():
            yield _has(name, value)
        if self.unmetered == ANY:
            yield IS_UNMETERED
        elif self.unmetered is not None:
            yield EXCHANGES.c.unmetered == (None if self.unmetered == NONE else self.unmetered)
        for wanted, condition in (
            (self.unpriced, _IS_UNPRICED),
            (self.errors, IS_ERROR),
            (self.sandbox, EXCHANGES.c.sandbox),
        ):
            if wanted is not None:
                yield condition if wanted else sa.not_(condition)


ALL: Final = Selection()
"""All exchanges."""


def exported_query(since: datetime | None, until: datetime | None) -> sa.Select[Any]:
    """Return the query for every charge of a period with its exchange, the oldest first; an exchange without one once."""
    clauses: list[sa.ColumnElement[bool]] = []
    if since is not None:
        clauses.append(EXCHANGES.c.began_ms >= int(since.timestamp() * 1000))
    if until is not None:
        clauses.append(EXCHANGES.c.began_ms < int(until.timestamp() * 1000))
    of_charge = [CHARGES.c[name].label(f"charge_{name}") for name in _CHARGE]
    of_charge.append(sa.literal(0).label("dollars"))
    one = sa.case((CHARGES.c.exchange_id.is_(None), 0), else_=1).label("charges")
    return (
        sa.select(EXCHANGES.c.began_ms, *EXCHANGES.c[_EXCHANGE], one, *of_charge)
        .select_from(EXCHANGES.outerjoin(CHARGES, CHARGES.c.exchange_id == EXCHANGES.c.id))
        .where(*clauses)
        .order_by(EXCHANGES.c.id, CHARGES.c.line)
    )


def latest_query(limit: int, before: str | None, selection: Selection) -> sa.Select[Any]:
    """Return the query for the latest exchanges of a selection with the sums of their charges, the newest first."""
    clauses = list(selection.conditions())
    if before is not None:
        clauses.append(EXCHANGES.c.id < before)
    found = sa.select(EXCHANGES).where(*clauses).order_by(EXCHANGES.c.id.desc()).limit(limit).subquery()
    count = sa.func.count(CHARGES.c.exchange_id)
    priced = sa.func.count(CHARGES.c.cost_nano)
    sums: dict[str, sa.ColumnElement[Any]] = {name: sa.func.sum(CHARGES.c[name]) for name in _SUMMED}
    sums |= {name: sa.func.min(CHARGES.c[name]) for name in _ALIKE}
    sums |= {
        "cost_nano": sa.case((count == priced, sa.func.sum(CHARGES.c.cost_nano % NANO))),
        "cost_source": sa.case((count == priced, sums["cost_source"])),
        "credits": sa.case((count == 1, sa.func.min(CHARGES.c.credits))),
        "line": sa.literal(""),
        "in_batch": sa.func.max(sa.case((CHARGES.c.in_batch, 1), else_=0)),
    }
    of_charges = [sums[name].label(f"charge_{name}") for name in _CHARGE]
    of_charges.append(sa.func.sum(CHARGES.c.cost_nano // NANO).label("dollars"))  # apart: a sum of costs may pass 64 bits
    return (
        sa.select(found.c.began_ms, *found.c[_EXCHANGE], count.label("charges"), *of_charges)
        .select_from(found.outerjoin(CHARGES, CHARGES.c.exchange_id == found.c.id))
        .group_by(*found.c)
        .order_by(found.c.id.desc())
    )


def ends_query(limit: int, selection: Selection) -> sa.Select[Any]:
    """Return the query for how the latest exchanges of a selection ended, the newest first; those that go on are not in it."""
    return (
        sa.select(*EXCHANGES.c[_END])
        .where(sa.not_(EXCHANGES.c.open), *selection.conditions())
        .order_by(EXCHANGES.c.id.desc())
        .limit(limit)
    )


def _first_id(when: datetime) -> str:
    """Return what sorts before every id from this moment on, and behind all earlier ones: see exchange.new_id."""
    return f"{max(0, int(when.timestamp() * 1000)):012x}"


def _has(key: str, value: str | int | None) -> sa.ColumnElement[bool]:
    name = label_name(key)
    if name is not None:
        assert not isinstance(value, int)
        return _is_labelled(name, value)
    found = EXCHANGES.c[key] == value  # SQLAlchemy: `== None` is IS NULL
    return sa.or_(found, EXCHANGES.c.priced_as == value) if key == "model" and value is not None else found


def _is_labelled(name: str, value: str | None) -> sa.ColumnElement[bool]:
    """Return the condition that stored labels have this value under a name; None: that they have none.

    The text is searched: within a value quotation marks are escaped, so that nothing in it looks like a name. So it is the same
    on all databases, whatever their encoding and their functions for JSON.
    """
    column = EXCHANGES.c.labels
    if value is None:
        return sa.or_(column.is_(None), sa.func.replace(column, f"{json.dumps(name)}: ", "") == column)
    return sa.func.replace(column, f"{json.dumps(name)}: {json.dumps(value)}", "") != column


def label_names(connection: sa.Connection) -> list[str]:
    """Return the names of all named labels, sorted: each is found behind the one before, without a scan of their many sums."""
    names: list[str] = []
    while True:
        after = LABEL_SUMS.c.label_name > (names[-1] if names else "")
        found = connection.execute(sa.select(sa.func.min(LABEL_SUMS.c.label_name)).where(after)).scalar()
        if found is None:
            return names
        names.append(found)


def ledger_row(row: sa.RowMapping) -> LedgerRow:
    """Return the LedgerRow of one row of these queries."""
    charge = None
    if row["charges"]:
        values = {name: row[f"charge_{name}"] for name in _CHARGE}
        values |= {name: int(values[name]) for name in (*_SUMMED, "cost_nano") if values[name] is not None}
        if values["cost_nano"] is not None:
            values["cost_nano"] += int(row["dollars"]) * NANO
        charge = Charge(**(values | {"in_batch": bool(values["in_batch"])}))
    exchange = {name: row[name] for name in _EXCHANGE}
    return LedgerRow(began_utc=row["began_ms"] / 1000, **exchange, charge=charge, charges=row["charges"])
