"""The price list of a day as tables: prices of pages, tokens and credits, aliases, hosts, sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from ..pricing.prices import PRICE_MAP, Price, Row
from .table import Column, Table

_PAGES: Final[Mapping[str, str]] = {"pages": "usd_per_1000_pages", "annotated": "usd_per_1000_annotated_pages"}
_TOKENS: Final[Mapping[str, str]] = {
    "in": "usd_per_million_input_tokens",
    "cached": "usd_per_million_cached_input_tokens",
    "out": "usd_per_million_output_tokens",
}
_CREDITS: Final[Mapping[str, str]] = {"credit": "usd_per_credit"}


def to_tables(rows: Sequence[Row], model: str | None = None) -> Iterator[Table | str]:
    """Yield the tables for the rows of Prices.today(); the others refer to the table of sources by number.

    With a `model`, rows whose name has this text; without, those of the price map, which are thousands, are only counted.
    """
    mapped = {row.name for row in rows if row.from_file == PRICE_MAP}
    if model is not None:
        rows = [row for row in rows if row.kind != "host" and model.lower() in row.name]
        if not rows:
            yield f"No price of today is for a model with '{model}' in its name."
    else:
        rows = [row for row in rows if row.from_file != PRICE_MAP]
    priced = [row for row in rows if row.kind == "price"]
    aliases = [row for row in rows if row.kind == "alias"]
    hosts = [row for row in rows if row.kind == "host"]
    numbers = {source: str(number) for number, source in enumerate(dict.fromkeys(map(_source, priced)), 1)}
    for title, figures in (("USD per 1000 pages", _PAGES), ("USD per million tokens", _TOKENS), ("USD per credit", _CREDITS)):
        found = [(row, row.price) for row in priced if row.price and any(_has(row.price, name) for name in figures.values())]
        if found:
            yield _prices(title, figures, found, numbers)
    if aliases:
        standing = _texts("model", (row.stands_for for row in aliases))
        yield Table("Names that stand for another model today", (_texts("name", (row.name for row in aliases)), standing))
    if hosts:
        by = _texts("times", (row.factor for row in hosts), right=True)
        offers = (_texts("host", (row.name for row in hosts)), _texts("offer", (row.stands_for for row in hosts)), by)
        yield Table("Whose prices a target's host asks, times what; your own hold as they are", offers)
    if mapped and model is None:
        yield f"The price map has prices of {len(mapped)} more models: 'passthrough prices --model NAME' shows them."
    if numbers:
        yield Table("Sources", (_texts("source", numbers.values(), right=True), _texts("where", numbers)))


def _prices(title: str, figures: Mapping[str, str], found: Sequence[tuple[Row, Price]], numbers: Mapping[str, str]) -> Table:
    factors = {price.batch_factor for _, price in found}
    heading = f"{title}; in a batch × {factors.pop():f}" if len(factors) == 1 else title
    return Table(
        heading,
        (
            _texts("model", (row.name for row, _ in found)),
            _texts("route", (price.route for _, price in found)),
            _texts("tier", (price.service_tier for _, price in found)),
            *(_texts(head, (getattr(price, name) for _, price in found), right=True) for head, name in figures.items()),
            *((_texts("in a batch", (f"× {price.batch_factor:f}" for _, price in found), right=True),) if factors else ()),
            _texts("since", (price.effective_from for _, price in found)),
            _texts("source", (numbers[_source(row)] for row, _ in found), right=True),
        ),
    )


def _has(price: Price, figure: str) -> bool:
    return getattr(price, figure) is not None


def _texts(head: str, cells: Iterable[object], *, right: bool = False) -> Column:
    return Column(head, tuple(_shown(cell) for cell in cells), whole=right, right=right)


def _shown(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return "" if value is None else str(value)


def _source(row: Row) -> str:
    found = row.price.source if row.price else ""
    return row.from_file if row.from_file == found else f"{row.from_file}: {found}"
