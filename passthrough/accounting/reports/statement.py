"""A month's statement: for each client, route or label what was counted, what it cost, what is in doubt, by which prices."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Final, TypeVar

from ...errors import LedgerError
from ...meter.usage import DOUBTS
from ..ledger.daily_sums import Sums
from ..ledger.ledger import Ledger
from ..named_labels import label_name
from ..pricing.price_list import BATCH
from ..pricing.prices import Price, Prices
from .breakdown import Breakdown, Origin, Reason, broken_down
from .model_names import ModelNaming, columns_of
from .report import Report, Sandbox, report_of, together, unknown_labels

KEYS: Final = ("client", "route", "deployment", "model_group", "label")
"""What statements may be made for, beside named labels."""

Name = str | int | None
"""A client's, a route's or a label's name; None: without one."""

_DAY: Final = timedelta(days=1)
_MONTH: Final = re.compile(r"(?!0000)(\d{4})-(0[1-9]|1[0-2])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Month:
    """A month, UTC."""

    year: int
    month: int

    @property
    def since(self) -> datetime:
        """Its first moment."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    @property
    def until(self) -> datetime:
        """The first moment of the next one."""
        return datetime(self.year + self.month // 12, self.month % 12 + 1, 1, tzinfo=UTC)

    @property
    def name(self) -> str:
        """Its name in English, with the year."""
        return f"{self.since:%B} {self.year}"

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"


def month_of(text: str, now: datetime) -> Month:
    """Return the month that `text` names (`2026-10`). Raises ValueError where it is none, or has not begun."""
    found = _MONTH.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"'{text}' is no month: write 2026-10.")
    month = Month(int(found[1]), int(found[2]))
    if month.since > now:
        raise ValueError(f"{month} has not begun: it is {now.astimezone(UTC):%Y-%m-%d} (UTC).")
    return month


def month_before(now: datetime) -> Month:
    """Return the last month that is over."""
    last = now.astimezone(UTC).replace(day=1) - _DAY
    return Month(last.year, last.month)


def is_key(by: str) -> bool:
    """Tell whether statements may be made for this."""
    return by in KEYS or label_name(by) is not None


def unknown_key(by: str) -> str:
    """Return the message for a key that `is_key` refuses."""
    return f"There are no statements by {by}.\nThere are: {', '.join(KEYS)}, and label.NAME for a named label."


@dataclass(frozen=True, slots=True)
class PricedBy:
    """What charges cost by one origin of prices, and the rows of the price list, as it is today, that were in force then.

    All prices of the rows were multiplied by `factor`, the host's, and for batches by the row's own.
    """

    origin: Origin
    rows: tuple[Price, ...]
    factor: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class Party:
    """The part of a statement for one client, route or label; `name` None: for requests without one.

    The sums of `models`, whose keys are the model alone, are those of `total`. `reasons` and `prices` are of the exchanges that
    are kept: `reasons_lost` requests and `cost_lost_nano` have left only daily sums.
    """

    name: Name
    total: Sums
    models: tuple[Sums, ...]
    reasons: tuple[Reason, ...]
    prices: tuple[PricedBy, ...]

    @property
    def reasons_lost(self) -> int:
        """How many of the unmetered requests have no reason any more."""
        return self.total.unmetered - sum(reason.requests for reason in self.reasons if reason.reason not in DOUBTS)

    @property
    def cost_lost_nano(self) -> int:
        """What of the cost has no origin any more."""
        return self.total.cost_nano - sum(each.origin.cost_nano for each in self.prices)


@dataclass(frozen=True, slots=True)
class Statement:
    """What was used in a month (UTC), and what it cost, by one of KEYS or a named label; made at a time, `made`.

    `total` is what usage sums up for the same period. `note` is a remark on the sandbox's traffic. Exchanges of days before
    `kept_from` are deleted, None where none of the month is. `sandbox` tells that it is of the sandbox's traffic only; `parts`
    are the statements of the real traffic and of the sandbox's where both were asked for, as far as there is any.
    """

    month: Month
    by: str
    made: datetime
    total: Sums
    parties: tuple[Party, ...]
    note: str | None = None
    kept_from: date | None = None
    sandbox: bool = False
    parts: tuple[Statement, ...] = ()

    @property
    def is_over(self) -> bool:
        """Tell whether the month is over."""
        return self.made >= self.month.until


def statement(ledger: Ledger, month: Month, by: str, prices: Prices, made: datetime, *, sandbox: Sandbox = "auto") -> Statement:
    """Return a month's statement, all of it from one snapshot of the ledger; `prices` tell the dates and sources of its prices.

    Raises LedgerError, also for an unknown key.
    """
    if not is_key(by):
        raise LedgerError(unknown_key(by))
    if (why := unknown_labels(ledger, (by,))) is not None:
        raise LedgerError(why)
    by_model, naming = (by, "model"), ModelNaming(lambda: prices)
    asked = columns_of(by_model)
    groupings = (("sandbox",), (*asked, "sandbox"))
    (totals, groups), found = broken_down(ledger, groupings, (by, "sandbox"), month.since, month.until)
    groups = [replace(row, key=(*naming.key(by_model, asked, row.key), row.key[-1])) for row in groups]
    whole = report_of(by_model, month.since, month.until, sandbox, totals, groups)
    rows = _PriceRows(prices)

    def of(report: Report) -> Statement:
        wanted = {False, True} if report.parts else {report.sandbox}
        parties = tuple(_parties(report, found, wanted, prices, rows))
        parts = tuple(map(of, report.parts))
        return Statement(month, by, made, report.total, parties, report.note, found.kept_from, report.sandbox, parts)

    return of(whole)


def _parties(report: Report, found: Breakdown, wanted: Collection[bool], prices: Prices, rows: _PriceRows) -> Iterator[Party]:
    """Yield the parties of a report by party and model; `wanted`: whether reasons and origins are of the sandbox's traffic."""
    models: dict[Name, list[Sums]] = {}
    for group in report.groups:
        models.setdefault(group.key[0], []).append(replace(group, key=group.key[1:]))
    reasons = _by_name(found.reasons, wanted)
    priced = _by_name(found.origins, wanted)
    for name, sums in models.items():
        origins = _by_factor(priced.get(name, ()), prices)
        found_rows = tuple(PricedBy(origin, rows.of(origin), factor) for factor, origin in origins)
        yield Party(name, together((name,), sums), tuple(sums), tuple(reasons.get(name, ())), found_rows)


def _by_factor(origins: Iterable[Origin], prices: Prices) -> Iterable[tuple[Fraction, Origin]]:
    """Return each origin with the factor of its hosts; those that differ only in hosts with one factor are together."""
    found: dict[tuple[object, ...], tuple[Fraction, Origin]] = {}
    for one in origins:
        factor = prices.host_factor(one.cost_source or "", one.target)
        group = (one.model, one.cost_source, one.in_batch, factor)
        found[group] = (factor, one.with_more(found[group][1]) if group in found else one)
    return found.values()


class _PriceRows:
    """The rows of the price lists by the day on which they were in force; each list and day is looked up once."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices
        self._days: dict[tuple[str, date], Mapping[str, Sequence[Price]]] = {}

    def of(self, origin: Origin) -> tuple[Price, ...]:
        """Return the rows that were in force for a model, in the list that priced it, on any day of its charges."""
        if origin.model is None or origin.cost_source is None:
            return ()
        found: dict[Price, None] = {}
        for number in range((origin.last - origin.first).days + 1):
            key = (origin.cost_source, origin.first + number * _DAY)
            if key not in self._days:
                self._days[key] = self._prices.in_force(*key)
            found |= dict.fromkeys(_applied(self._days[key].get(self._name(origin.model, key[1]), ()), origin))
        return tuple(found)

    def _name(self, model: str, day: date) -> str:
        """Return the name that is priced: older rows have only the one that came."""
        began_utc = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        return self._prices.priced_as(model, terms=None, target=None, began_utc=began_utc) or model


def _applied(rows: Iterable[Price], origin: Origin) -> Iterable[Price]:
    """Return the rows that may have priced charges: where there is one for batches, it is instead of the standard one."""
    if not origin.in_batch:
        return (row for row in rows if row.service_tier != BATCH)
    rows = tuple(rows)
    for_batches = {row.route for row in rows if row.service_tier == BATCH}
    return (row for row in rows if row.service_tier is not None or row.route not in for_batches)


_Found = TypeVar("_Found", Reason, Origin)


def _by_name(found: Iterable[_Found], wanted: Collection[bool]) -> dict[Name, list[_Found]]:
    """Return reasons or origins by the party's name; the second part of their key tells whether they are the sandbox's."""
    by_name: dict[Name, list[_Found]] = {}
    for each in found:
        if bool(each.key[1]) in wanted:
            by_name.setdefault(each.key[0], []).append(each)
    return by_name
