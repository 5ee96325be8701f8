"""Writes a month's statement as CSV: one row for each model, and further rows that say what is in doubt, and by which prices."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Final

from ..ledger.daily_sums import Sums
from ..money import usd
from .report import flag, harmless
from .statement import Party, Statement
from .statement_page import origin_text

_SUMMED: Final = (
    *("requests", "pages", "pages_annotated", "tokens_in", "tokens_cached", "tokens_out", "cost_usd"),
    *("unmetered", "unpriced", "estimated_pages", "estimated_usd"),
)
_NOTHING: Final = ("",) * len(_SUMMED)

_Row = tuple[object, ...]


def to_csv(statement: Statement) -> str:
    """Return the statement as CSV (RFC 4180) with a header.

    `row` tells what a row is: `model` rows have the figures, and their sum is the bill. `reason` rows (`name` is why a count or a
    price is missing or in doubt)
    and `price` rows (`name` is the model, `origin` where its price comes from) repeat a part of them as `count` and `amount_usd`:
    so each column may be summed up as it is. `sandbox` tells that a row is of the sandbox's traffic; no row is of both.
    """
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(("month", statement.by, "row", "name", *_SUMMED, "count", "amount_usd", "origin", "sandbox"))
    for part in statement.parts or (statement,):
        for party in part.parties:
            for row in _rows(party):
                rows.writerow((str(part.month), _text(party.name), *row, flag(part.sandbox)))
    return out.getvalue()


def _rows(party: Party) -> Iterator[_Row]:
    for model in party.models:
        yield ("model", _text(model.key[0]), *_figures(model), "", "", "")
    for reason in sorted(party.reasons, key=lambda reason: reason.reason):
        yield ("reason", reason.reason, *_NOTHING, reason.requests, "", "")
    for each in sorted(party.prices, key=lambda each: (each.origin.model or "", each.origin.cost_source or "")):
        origin = each.origin
        if origin.cost_source is not None:
            amount = usd(origin.cost_nano)
            yield ("price", _text(origin.model), *_NOTHING, origin.charges, amount, harmless(origin_text(each)))


def _figures(sums: Sums) -> _Row:
    return (
        *(sums.requests, sums.pages, sums.pages_annotated, sums.tokens_in, sums.tokens_cached, sums.tokens_out),
        *(usd(sums.cost_nano), sums.unmetered, sums.unpriced, sums.estimated_pages, usd(sums.estimated_nano)),
    )


def _text(name: object) -> object:
    return "" if name is None else harmless(name) if isinstance(name, str) else name
