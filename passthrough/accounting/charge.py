"""The charge of an exchange: by what was counted, by a price per request, or by the cost that the provider reported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..exchange import Exchange
from ..meter.usage import Unmetered, Usage
from .entry import Charge, Entry, charged, counted
from .pricing.prices import PER_REQUEST, Prices


def charge(exchange: Exchange, usage: Usage, prices: Prices) -> Charge | None:
    """Return the charge of a whole exchange, None where there is none; `usage` is believable.

    1. An exchange that was not admitted costs nothing. Neither does one that was neither counted nor successful, unless the
    provider reported a cost. 2. A cost that the provider reported wins over every price. 3. A price per request is for every
    successful response. 4. Else the price list prices what was counted.
    """
    if not exchange.admitted:
        return None
    used = counted(usage) or _succeeded(exchange)
    reported = exchange.reported_cost_nano
    if reported is not None and (used or reported):
        return charged(usage, reported, (exchange.cost_header or "").lower() or None)
    if not used:
        return None
    return prices.charge(usage, terms=exchange.terms, target=exchange.target, began_utc=exchange.began_utc)


def line_charge(exchange: Exchange, usage: Usage, prices: Prices) -> Charge | None:
    """Return the charge of one line of a batch file, None where nothing was counted in it; `usage` is believable.

    The download's own cost (a price per request, or one that the provider reported) is not the lines': on a route with a price
    per request the lines cost nothing beyond it.
    """
    if not exchange.admitted or not counted(usage):
        return None
    if exchange.terms is not None and exchange.terms.cost_per_request_nano is not None:
        return charged(usage, 0, PER_REQUEST)
    return prices.charge(usage, terms=exchange.terms, target=exchange.target, began_utc=exchange.began_utc)


def rest_charge(exchange: Exchange, usage: Usage, prices: Prices) -> Charge | None:
    """Return the charge of an exchange beside its batch lines: its price per request, or what was counted apart from them."""
    priced = exchange.terms is not None and exchange.terms.cost_per_request_nano is not None and _succeeded(exchange)
    if not exchange.admitted or not (priced or counted(usage)):
        return None
    return prices.charge(usage, terms=exchange.terms, target=exchange.target, began_utc=exchange.began_utc)


@dataclass(slots=True)
class BatchTotals:
    """The running sums of one exchange's batch lines: sums only, for a file may have any number of lines."""

    pages: int | None = None
    pages_annotated: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_nano: int | None = None
    cost_source: str | None = None
    unpriced: bool = False
    unmetered: Unmetered | None = None

    def add(self, charges: Iterable[Charge]) -> None:
        """Add charges to the sums."""
        for charge in charges:
            self.pages = _sum(self.pages, charge.pages)
            self.pages_annotated = _sum(self.pages_annotated, charge.pages_annotated)
            self.tokens_in = _sum(self.tokens_in, charge.tokens_in)
            self.tokens_out = _sum(self.tokens_out, charge.tokens_out)
            self.cost_nano = _sum(self.cost_nano, charge.cost_nano)
            self.cost_source = self.cost_source or charge.cost_source
            self.unpriced = self.unpriced or charge.cost_nano is None

    def reason(self, usage: Usage) -> Usage:
        """Return the exchange's own usage; where it has no `unmetered` reason, with that of its lines."""
        why = usage.unmetered or (Unmetered.UNPRICED if self.unpriced else self.unmetered)
        return usage if why is usage.unmetered else replace(usage, unmetered=why)

    def logged(self, entry: Entry) -> Entry:
        """Return the closing entry for the log: with the sums of all the exchange's charges."""
        self.add(entry.charges)
        usage = replace(
            entry.usage,
            pages=self.pages,
            pages_annotated=self.pages_annotated,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
        )
        total = Charge() if self.unpriced else Charge(cost_nano=self.cost_nano, cost_source=self.cost_source)
        return replace(entry, usage=usage, charges=(total,))


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


def _succeeded(exchange: Exchange) -> bool:
    return exchange.status is not None and 200 <= exchange.status < 300
