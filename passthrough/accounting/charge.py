"""What an exchange is charged: for what was counted, for the request, or what the provider told that it cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..exchange import Exchange
from ..meter.usage import Unmetered, Usage
from .entry import Charge, Entry, charged, counted
from .pricing.prices import PER_REQUEST, Prices


def charge(exchange: Exchange, usage: Usage, prices: Prices) -> Charge | None:
    """Return what an exchange costs as a whole, None where that is nothing; `usage` is believable.

    1. What was not admitted costs nothing, and neither does what was neither counted nor successful, unless a cost was told.
    2. A cost that the provider told wins over every price. 3. A price per request is for whatever was answered with success.
    4. Else the prices say what was counted costs.
    """
    if not exchange.admitted:
        return None
    used = counted(usage) or _succeeded(exchange)
    told = exchange.reported_cost_nano
    if told is not None and (used or told):
        return charged(usage, told, (exchange.cost_header or "").lower() or None)
    if not used:
        return None
    return prices.charge(usage, terms=exchange.terms, target=exchange.target, began_utc=exchange.began_utc)


def line_charge(exchange: Exchange, usage: Usage, prices: Prices) -> Charge | None:
    """Return what one line of a batch file costs, None where nothing was counted in it; `usage` is believable.

    The download's own price, by the request or told by the provider, is not the lines': on a route with a price per request they
    cost nothing beyond it.
    """
    if not exchange.admitted or not counted(usage):
        return None
    if exchange.terms is not None and exchange.terms.cost_per_request_nano is not None:
        return charged(usage, 0, PER_REQUEST)
    return prices.charge(usage, terms=exchange.terms, target=exchange.target, began_utc=exchange.began_utc)


def rest_charge(exchange: Exchange, usage: Usage, prices: Prices) -> Charge | None:
    """Return what an exchange costs beside its lines: its price per request, or what was counted apart from them."""
    priced = exchange.terms is not None and exchange.terms.cost_per_request_nano is not None and _succeeded(exchange)
    if not exchange.admitted or not (priced or counted(usage)):
        return None
    return prices.charge(usage, terms=exchange.terms, target=exchange.target, began_utc=exchange.began_utc)


@dataclass(slots=True)
class BatchTotals:
    """What the lines of one exchange came to so far: sums only, for a file may have any number of them."""

    pages: int | None = None
    pages_annotated: int | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_nano: int | None = None
    cost_source: str | None = None
    unpriced: bool = False
    unmetered: Unmetered | None = None

    def add(self, charges: Iterable[Charge]) -> None:
        """Add charges."""
        for charge in charges:
            self.pages = _sum(self.pages, charge.pages)
            self.pages_annotated = _sum(self.pages_annotated, charge.pages_annotated)
            self.tokens_in = _sum(self.tokens_in, charge.tokens_in)
            self.tokens_out = _sum(self.tokens_out, charge.tokens_out)
            self.cost_nano = _sum(self.cost_nano, charge.cost_nano)
            self.cost_source = self.cost_source or charge.cost_source
            self.unpriced = self.unpriced or charge.cost_nano is None

    def reason(self, usage: Usage) -> Usage:
        """Return the exchange's own usage with a reason, where a line had one and it has none."""
        why = usage.unmetered or (Unmetered.UNPRICED if self.unpriced else self.unmetered)
        return usage if why is usage.unmetered else replace(usage, unmetered=why)

    def logged(self, entry: Entry) -> Entry:
        """Return the closing entry as it is logged: with the sums of all its charges."""
        self.add(entry.charges)
        usage = replace(
            entry.usage,
            pages=self.pages,
            pages_annotated=self.pages_annotated,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
        )
        bill = Charge() if self.unpriced else Charge(cost_nano=self.cost_nano, cost_source=self.cost_source)
        return replace(entry, usage=usage, charges=(bill,))


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one + (other or 0)


def _succeeded(exchange: Exchange) -> bool:
    return exchange.status is not None and 200 <= exchange.status < 300
