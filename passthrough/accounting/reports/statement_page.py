"""Lays out a month's statement as a page: all together first, then a part for each client, route or label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from decimal import Decimal
from typing import Final, TypeVar

from ...meter.usage import DOUBTS, Unmetered
from ..ledger.daily_sums import Sums
from ..money import usd
from ..pricing.price_list import BATCH
from ..pricing.prices import OVERRIDE, PER_REQUEST, PRICE_MAP, SHIPPED, Price
from .page import Block, Bullets, Heading
from .statement import Name, Party, PricedBy, Statement
from .table import Column, Table
from .usage_table import UNPRICED, cost_text, figures, size

_Part = TypeVar("_Part")

MEANING: Final[Mapping[str, str]] = {
    Unmetered.NO_USAGE: "the response held no count",
    Unmetered.NOT_JSON: "the response was not the JSON that holds the count",
    Unmetered.UNKNOWN_CODING: "the response was compressed in an unknown way",
    Unmetered.BROKEN: "the response broke off",
    Unmetered.TOO_LARGE: "the response was too large to be read",
    Unmetered.CANCELLED: "given up: the client had left, or the program stopped",
    Unmetered.UNPRICED: "no price is known",
    Unmetered.UNPRICED_TIER: "its service tier has no price: booked at the standard one",
    Unmetered.BAD_COST: "the provider's cost was no amount: booked by the list",
    Unmetered.UNKNOWN_UNIT: "billed in a unit that is not counted here",
}
"""What each reason means, in a few words."""

_LOST: Final = "exchanges that are deleted"
_FIGURES: Final = ("requests", "pages", "annotated", "USD")
_TOKENS: Final = ("tokens in", "cached", "tokens out")
_IN_DOUBT: Final = ("unmetered", "unpriced", "est. pages", "est. USD")
_OF_TOKENS_IN: Final = "of them cached"
_ROUNDED: Final = "Costs are rounded to cents, below a dollar to four digits. The CSV is exact."
_PRICES: Final[tuple[tuple[str, Callable[[Price], Decimal | None]], ...]] = (
    ("per 1000 pages", lambda price: price.usd_per_1000_pages),
    ("per 1000 annotated pages", lambda price: price.usd_per_1000_annotated_pages),
    ("per million tokens in", lambda price: price.usd_per_million_input_tokens),
    ("per million cached tokens in", lambda price: price.usd_per_million_cached_input_tokens),
    ("per million tokens out", lambda price: price.usd_per_million_output_tokens),
    ("per credit", lambda price: price.usd_per_credit),
)


def title(statement: Statement) -> str:
    """Return the page's title."""
    return f"Usage statement, {statement.month.name}"


def blocks(statement: Statement) -> Iterator[Block]:
    """Yield the page."""
    yield Heading(title(statement), 1)
    yield f"The month of {statement.month} (UTC), by {statement.by}. Made {statement.made.astimezone(UTC):%Y-%m-%dT%H:%MZ}."
    yield from _notes(statement)
    if not statement.total.requests:
        yield f"{statement.month.name} had no requests."
        return
    yield _ROUNDED
    parties = _largest_first(statement.parties, lambda party: party.total)
    names = [_shown(party.name, statement.by) for party in parties]
    yield from _tables(statement.by, names, [party.total for party in parties], statement.total)
    yield from _doubts(statement, parties, names)
    for name, party in zip(names, parties, strict=True):
        yield Heading(name if party.name is None else f"{statement.by} {name}", 2)
        yield f"{statement.month.name}{'' if statement.is_over else ' so far'}: {_cost(party.total)}"
        sums = _largest_first(party.models, lambda model: model)
        models = [_shown(model.key[0], "model") for model in sums]
        yield from _tables("model", models, sums, party.total)
        yield from _uncounted(party)
        yield from _unpriced(party, models, sums)
        yield from _origins(party)


def _largest_first(found: Iterable[_Part], sums_of: Callable[[_Part], Sums]) -> list[_Part]:
    return sorted(found, key=lambda each: size(sums_of(each)))


def _cost(sums: Sums) -> str:
    known = cost_text(sums)
    if known == UNPRICED:
        return known
    return f"USD {known}" + (f", without {_count(sums.unpriced, 'unpriced charge')}" if sums.unpriced else "")


def _notes(statement: Statement) -> Iterator[str]:
    if not statement.is_over:
        yield "The month is not over: these are its figures so far."
    if statement.note:
        yield f"{statement.note[0].upper()}{statement.note[1:]}."
    if statement.kept_from is not None:
        what = "Reasons and origins of prices are known of later ones only; all sums are whole."
        yield f"Exchanges from before {statement.kept_from} are deleted. {what}"


def _tables(head: str, names: Sequence[str], rows: Sequence[Sums], total: Sums) -> Iterator[Table]:
    """Yield the table of pages and cost and, where there are any, that of tokens: both together would be too wide."""
    yield _table(head, names, figures(rows, total, _FIGURES))
    if total.tokens_in or total.tokens_out:
        used = [(name, row) for name, row in zip(names, rows, strict=True) if row.tokens_in or row.tokens_out]
        columns = figures([row for _, row in used], total, _TOKENS)
        named = (replace(column, head=_OF_TOKENS_IN) if column.head == "cached" else column for column in columns)
        yield _table(head, [name for name, _ in used], named)


def _doubts(statement: Statement, parties: Sequence[Party], names: Sequence[str]) -> Iterator[Block]:
    """Yield how much is in doubt, for each party that has such: its own part says why."""
    found = [(name, party.total) for name, party in zip(names, parties, strict=True) if _is_in_doubt(party.total)]
    if found:
        yield Heading("In doubt", 3)
        rows = [sums for _, sums in found]
        yield _table(statement.by, [name for name, _ in found], figures(rows, statement.total, _IN_DOUBT))
        yield (
            "Unmetered requests have no count, unpriced charges have no cost. Estimates are of calls that may be billed and whose"
            " count is unknown: they are in no other figure."
        )


def _is_in_doubt(sums: Sums) -> bool:
    return bool(sums.unmetered or sums.unpriced or sums.estimated_pages or sums.estimated_nano)


def _uncounted(party: Party) -> Iterator[Block]:
    """Yield why requests have no count, and the estimates."""
    rows = [
        (reason.reason, reason.requests, MEANING.get(reason.reason, ""))
        for reason in party.reasons
        if reason.reason not in DOUBTS
    ]
    if party.reasons_lost:
        rows.append(("(not known)", party.reasons_lost, _LOST))
    if rows:
        yield Heading("Unmetered", 3)
        yield _reasons(rows)
    total = party.total
    if total.estimated_pages or total.estimated_nano:
        estimated = f"{_count(total.estimated_pages, 'page')}, USD {usd(total.estimated_nano)}"
        yield f"Estimated, and in no other figure: {estimated}."


def _reasons(rows: Iterable[tuple[str, int, str]]) -> Table:
    reasons, counts, meanings = zip(*sorted(rows, key=lambda row: (-row[1], row[0])), strict=True)
    counted = Column("requests", tuple(f"{count:,}" for count in counts), f"{sum(counts):,}", right=True)
    return Table("", (Column("reason", reasons, "total"), counted, Column("meaning", meanings)))


def _unpriced(party: Party, models: Sequence[str], rows: Sequence[Sums]) -> Iterator[Block]:
    """Yield the models without a price, and why other costs are in doubt."""
    if party.total.unpriced:
        found = [(name, f"{sums.unpriced:,}") for name, sums in zip(models, rows, strict=True) if sums.unpriced]
        names, counts = zip(*found, strict=True)
        yield Heading("Unpriced", 3)
        yield "No price is known for these models: their charges have no cost."
        yield Table("", (Column("model", names, "total"), Column("charges", counts, f"{party.total.unpriced:,}", right=True)))
    doubts = [reason for reason in party.reasons if reason.reason in DOUBTS and reason.reason != Unmetered.UNPRICED]
    if doubts:
        yield Heading("Booked, but in doubt", 3)
        yield _reasons((reason.reason, reason.requests, MEANING[reason.reason]) for reason in doubts)


def _origins(party: Party) -> Iterator[Block]:
    """Yield where the prices came from, the dearest first."""
    priced = sorted(
        (each for each in party.prices if each.origin.cost_source is not None),
        key=lambda each: (-each.origin.cost_nano, each.origin.model or "", each.origin.cost_source or ""),
    )
    items = [_origin(each) for each in priced]
    if party.cost_lost_nano:
        items.append(f"USD {usd(party.cost_lost_nano)}: {_LOST}.")
    if items:
        yield Heading("Where the prices come from", 3)
        yield Bullets(tuple(items))


def _origin(each: PricedBy) -> str:
    origin = each.origin
    charges = _count(origin.charges, "batch charge" if origin.in_batch else "charge")
    what = f"{_shown(origin.model, 'model')}, {charges}, USD {usd(origin.cost_nano)}"
    return f"{what}: {origin_text(each)}."


def origin_text(each: PricedBy) -> str:
    """Return where a price came from: its list, and the rows of that list with their days and sources where they are known."""
    source = each.origin.cost_source or ""
    if source == PER_REQUEST:
        return f"{source} of the route"
    if source not in {SHIPPED, OVERRIDE, PRICE_MAP} and not each.rows:
        return f"told by the provider in {source}"
    return f"{source}: {'; '.join(_row(row, each) for row in each.rows)}" if each.rows else source


def _row(price: Price, each: PricedBy) -> str:
    known = [f"{amount:f} {unit}" for unit, of in _PRICES if (amount := of(price)) is not None]
    figures = f"{', '.join(known)}{_factors(price, each, ', each' if len(known) > 1 else '')}"
    tier = f" in tier {price.service_tier}" if price.service_tier else ""
    route = f" on {price.route}" if price.route else ""
    since = f" from {price.effective_from}" if price.effective_from else ""
    source = f" ({price.source})" if price.source != OVERRIDE else ""
    return f"USD {figures}{tier}{route}{since}{source}"


def _factors(price: Price, each: PricedBy, of_each: str) -> str:
    """Return by what the prices of a row were multiplied, empty where by nothing."""
    in_batch = each.origin.in_batch and price.service_tier != BATCH
    batch = f" × {price.batch_factor:f} (batch)" if in_batch and price.batch_factor != 1 else ""
    host = Decimal(each.factor.numerator) / each.factor.denominator
    return (of_each if batch or host != 1 else "") + batch + (f" × {host:f} (host)" if host != 1 else "")


# ── tables ──


def _table(head: str, names: Iterable[str], columns: Iterable[Column]) -> Table:
    return Table("", (Column(head, tuple(names), "total"), *columns))


def _shown(name: Name, kind: str) -> str:
    return f"(no {kind})" if name is None else str(name)


def _count(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"
