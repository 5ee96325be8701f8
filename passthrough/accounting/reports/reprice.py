"""Reprices past usage: what it would cost at today's prices, beside what was booked."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from ...exchange import DeploymentPrice, RouteTerms
from ...meter.usage import Usage
from ..entry import Charge
from ..ledger.queries import LedgerRow
from ..money import Number, json_object, rounded_usd, usd
from ..named_labels import label_name, named_labels
from ..pricing.offers import NamedLists
from ..pricing.prices import OVERRIDE, PER_REQUEST, PRICE_MAP, SHIPPED, Prices
from .model_names import ModelNaming
from .report import Key, flag, harmless, iso, none_first, period_text
from .table import Column, Table
from .usage_table import UNPRICED, key_columns, key_texts

_PRICED: Final = frozenset({None, SHIPPED, OVERRIDE, PRICE_MAP, PER_REQUEST})
"""The sources of costs that follow from a price. A cost that the provider reported stays as it is."""
_NAMES: Final = ("charges", "cost_usd", "today_usd", "difference_usd", "unpriced", "unpriced_today")


@dataclass(slots=True)
class Repriced:
    """Sums of a group's charges: `cost_nano` as booked, `today_nano` at today's prices; without those that have no price."""

    key: Key
    charges: int = 0
    cost_nano: int = 0
    today_nano: int = 0
    unpriced: int = 0
    unpriced_today: int = 0

    def add(self, cost_nano: int | None, today_nano: int | None) -> None:
        """Add a charge: its booked cost, and its cost today."""
        self.charges += 1
        self.cost_nano += cost_nano or 0
        self.today_nano += today_nano or 0
        self.unpriced += cost_nano is None
        self.unpriced_today += today_nano is None

    @property
    def texts(self) -> tuple[str, str, str]:
        """What it cost, costs today, and the difference, for people; a cost that is not known at all is no zero."""
        booked = UNPRICED if self.unpriced and not self.cost_nano else rounded_usd(self.cost_nano)
        today = UNPRICED if self.unpriced_today and not self.today_nano else rounded_usd(self.today_nano)
        difference = "-" if UNPRICED in {booked, today} else rounded_usd(self.today_nano - self.cost_nano)
        return booked, today, difference


@dataclass(frozen=True, slots=True)
class Repricing:
    """The repriced groups of a period, sorted by their keys, and their total.

    `parts` has the groups of the real traffic (False) and of the sandbox's (True) apart.
    """

    by: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    groups: tuple[Repriced, ...]
    total: Repriced
    parts: Mapping[bool, tuple[Repriced, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Today:
    """Today's prices: the list, routes' prices per request (10⁻⁹ USD, by path), and the time now (seconds, UTC).

    `price_lists` are the lists that routes and targets name.
    """

    prices: Prices
    per_request_nano: Mapping[str, int]
    now_utc: float
    price_lists: NamedLists = field(default_factory=NamedLists)

    def cost_nano(self, row: LedgerRow, charge: Charge) -> int | None:
        """Return what a charge would cost today, None where no price is known.

        1. A cost that the provider reported stays as it is.
        2. A route's price per request is for the exchange: its batch lines cost nothing beyond it.
        3. On every other route the price list applies; to a charge of model_list by the name that it was priced by, too.
        4. What calls of model_list cost by a price of the file stays as it is: it may be the deployment's own.
        """
        has_model = row.model_group is not None  # Targets of an endpoint have no prices of their own, and no group.
        if charge.cost_source not in _PRICED or (has_model and charge.cost_source == OVERRIDE):
            return charge.cost_nano
        flat = None if row.route is None else self.per_request_nano.get(row.route)
        if flat is not None:
            return 0 if charge.line else flat
        name = (charge.priced_as or row.priced_as) if has_model else None
        own = None if name is None else DeploymentPrice(name)
        terms = None
        if row.route is not None:
            named = self.price_lists.of(row.route, row.deployment)
            terms = RouteTerms(row.route, price_list=named, deployment_price=own)
        found = self.prices.charge(_usage(row, charge), terms=terms, target=row.target, began_utc=self.now_utc)
        return None if found is None else found.cost_nano


def _usage(row: LedgerRow, charge: Charge) -> Usage:
    return Usage(
        pages=charge.pages,
        pages_annotated=charge.pages_annotated,
        model=charge.model or row.model,
        doc_bytes=charge.doc_bytes,
        tokens_in=charge.tokens_in,
        tokens_out=charge.tokens_out,
        credits_micro=charge.credits_micro,
        line=charge.line,
        in_batch=charge.in_batch,
        tokens_cached=charge.tokens_cached,
        service_tier=charge.service_tier,
        credits=charge.credits,
    )


def reprice(
    rows: Iterable[LedgerRow],
    today: Today,
    by: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    *,
    as_told: bool = False,
) -> Repricing:
    """Return what the charges among `rows` would cost today, in one pass; `since` and `until` are the rows' period.

    Models are named by what prices them or, with `as_told`, as they came.
    """
    naming = None if as_told else ModelNaming(lambda: today.prices)
    groups: dict[Key, Repriced] = {}
    parts: dict[bool, dict[Key, Repriced]] = {}
    total = Repriced(())
    for row in rows:
        charge = row.charge
        if charge is None:
            continue
        key = tuple(_value(row, charge, name, naming) for name in by)
        would_be = today.cost_nano(row, charge)
        for sums in (
            total,
            groups.setdefault(key, Repriced(key)),
            parts.setdefault(bool(row.sandbox), {}).setdefault(key, Repriced(key)),
        ):
            sums.add(charge.cost_nano, would_be)
    by_sandbox = {sandbox: _sorted(parts[sandbox]) for sandbox in sorted(parts)}
    return Repricing(by, since, until, _sorted(groups), total, by_sandbox)


def _sorted(groups: Mapping[Key, Repriced]) -> tuple[Repriced, ...]:
    return tuple(groups[key] for key in sorted(groups, key=none_first))


def _value(row: LedgerRow, charge: Charge, name: str, naming: ModelNaming | None) -> str | int | None:
    if name == "model":
        return (charge.model or row.model) if naming is None else naming.of_charge(row, charge)
    if name in {"day", "month"}:
        day = datetime.fromtimestamp(row.began_utc, UTC).date().isoformat()
        return day if name == "day" else day[:7]
    label = label_name(name)
    if label is not None:
        return named_labels(row.labels).get(label) if row.labels else None
    value: str | int | None = getattr(row, name)
    return value


def to_json(found: Repricing) -> str:
    """Return the result as one JSON object; amounts are JSON numbers with their exact decimals."""
    groups = ", ".join(json_object((*zip(found.by, group.key, strict=True), *_cells(group))) for group in found.groups)
    return json_object(
        (
            ("since", iso(found.since)),
            ("until", iso(found.until)),
            ("groups", Number(f"[{groups}]")),
            ("total", Number(json_object(_cells(found.total)))),
        )
    )


def to_csv(found: Repricing) -> str:
    """Return the groups as CSV with a header; without keys, the total as the one row.

    The column `sandbox` tells that a row is of the sandbox's traffic. No row is of both: a group that has both is two rows.
    """
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow((*found.by, *_NAMES, "sandbox"))
    for sandbox, groups in found.parts.items() if found.by or found.parts else ((False, (found.total,)),):
        for group in groups:
            key = ("" if value is None else harmless(value) for value in group.key)
            rows.writerow((*key, *_figures(group), flag(sandbox)))
    return out.getvalue()


def to_table(found: Repricing, note: str = "") -> Table | str:
    """Return the result for a terminal, the largest groups first, or a sentence where there are no charges."""
    when = period_text(found.since, found.until)
    if not found.total.charges:
        return f"No charges {when}." + (f" ({note})" if note else "")
    groups = found.groups
    if not {"day", "month"} & {*found.by}:
        groups = tuple(sorted(groups, key=lambda group: (-group.cost_nano, -group.today_nano, -group.charges)))
    columns = key_columns(found.by, [key_texts(group.key) for group in groups])
    return Table(f"Usage {when}, and what it would cost today", (*columns, *_columns(found, groups)), note)


def _columns(found: Repricing, groups: Sequence[Repriced]) -> Iterator[Column]:
    rows = (*(groups if found.by else ()), found.total)
    doubts = {"unpriced": found.total.unpriced, "unpriced today": found.total.unpriced_today}
    texts = [(f"{row.charges:,}", *row.texts, f"{row.unpriced:,}", f"{row.unpriced_today:,}") for row in rows]
    heads = ("charges", "USD", "today", "difference", *doubts)
    for head, (*cells, total) in zip(heads, zip(*texts, strict=True), strict=True):
        if doubts.get(head) == 0:
            continue
        shown = Column(head, tuple(cells), total) if found.by else Column(head, (total,))
        yield replace(shown, whole=True, right=True, part=int(head in doubts))


def _figures(group: Repriced) -> tuple[object, ...]:
    costs = (usd(group.cost_nano), usd(group.today_nano), usd(group.today_nano - group.cost_nano))
    return (group.charges, *costs, group.unpriced, group.unpriced_today)


def _cells(group: Repriced) -> Iterable[tuple[str, object]]:
    return zip(_NAMES, _figures(group), strict=True)
