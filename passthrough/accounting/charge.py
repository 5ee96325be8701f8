"""The charge of an exchange: by what was counted, by a price per request, or by the cost that the provider reported."""

from __future__ import annotations

from ..exchange import Exchange
from ..meter.usage import Unmetered, Usage, has_counts
from .entry import Charge, charged
from .pricing.prices import PER_REQUEST, Prices


def charge(exchange: Exchange, usage: Usage, prices: Prices) -> Charge | None:
    """Return the charge of a whole exchange, None where there is none; `usage` is believable.

    1. An exchange that was not admitted costs nothing. Neither does one that was neither counted nor successful, unless the
    provider reported a cost. 2. A cost that the provider reported wins over every price. 3. A price per request is for every
    successful response. 4. Else the price list prices what was counted.
    """
    if not exchange.admitted:
        return None
    used = has_counts(usage) or _succeeded(exchange)
    reported = exchange.reported_cost_nano
    if reported is not None and (used or reported):
        return charged(usage, reported, (exchange.cost_header or "").lower() or None, priced_as(exchange, usage, prices))
    return _priced(exchange, usage, prices) if used else None


def list_charge(exchange: Exchange, usage: Usage, prices: Prices) -> Charge | None:
    """Return the charge by the price list, whatever the provider reported; None on a route with a price per request."""
    return None if _has_own_price(exchange) else _priced(exchange, usage, prices)


def line_charge(exchange: Exchange, usage: Usage, prices: Prices) -> Charge | None:
    """Return the charge of one line of a batch file, None where nothing was counted in it; `usage` is believable.

    The download's own cost (a price per request, or one that the provider reported) is not the lines': on a route with a price
    per request the lines cost nothing beyond it.
    """
    if not exchange.admitted or not has_counts(usage):
        return None
    if _has_own_price(exchange):
        return charged(usage, 0, PER_REQUEST, priced_as(exchange, usage, prices))
    return _priced(exchange, usage, prices)


def rest_charge(exchange: Exchange, usage: Usage, prices: Prices) -> Charge | None:
    """Return the charge of an exchange beside its batch lines: its price per request, or what was counted apart from them."""
    priced = _has_own_price(exchange) and _succeeded(exchange)
    if not exchange.admitted or not (priced or has_counts(usage)):
        return None
    return _priced(exchange, usage, prices)


def doubt(exchange: Exchange, usage: Usage, found: Charge | None, prices: Prices) -> Unmetered | None:
    """Return what is doubtful about the price of a charge, None if nothing is; `found` is the charge of `usage`.

    1. BAD_COST: an exchange that was counted or successful had a header for the cost without an amount. 2. UNPRICED_TIER: the
    list knows no price of its own for the usage's tier.
    """
    if exchange.bad_cost and exchange.admitted and (found is not None or _succeeded(exchange)):
        return Unmetered.BAD_COST
    return None if exchange.reported_cost_nano is not None else line_doubt(exchange, usage, found, prices)


def line_doubt(exchange: Exchange, usage: Usage, found: Charge | None, prices: Prices) -> Unmetered | None:
    """As `doubt`, of one line of a batch file: a header's cost is not the lines'."""
    if usage.service_tier is None or found is None or found.cost_nano is None:
        return None
    known = prices.knows_tier(usage, terms=exchange.terms, target=exchange.target, began_utc=exchange.began_utc)
    return None if known else Unmetered.UNPRICED_TIER


def _priced(exchange: Exchange, usage: Usage, prices: Prices) -> Charge | None:
    return prices.charge(usage, terms=exchange.terms, target=exchange.target, began_utc=exchange.began_utc)


def priced_as(exchange: Exchange, usage: Usage, prices: Prices) -> str | None:
    """Return the name by which a usage's model is priced."""
    return prices.priced_as(usage.model, terms=exchange.terms, target=exchange.target, began_utc=exchange.began_utc)


def _has_own_price(exchange: Exchange) -> bool:
    return exchange.terms is not None and exchange.terms.cost_per_request_nano is not None


def _succeeded(exchange: Exchange) -> bool:
    return exchange.status is not None and 200 <= exchange.status < 300
