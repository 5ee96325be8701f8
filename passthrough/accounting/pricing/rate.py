"""The exact prices of one page, token and credit, and what a usage costs at them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from ...exchange import DeploymentPrice
from ...meter.usage import Usage
from .price_list import Price

_NANO_PER_PAGE: Final = 10**6  # of one USD per 1000 pages
_NANO_PER_TOKEN: Final = 10**3  # of one USD per million tokens
_NANO_PER_CREDIT: Final = 10**9
_MICRO: Final = 10**6
_NANO_PER_DOLLAR: Final = 10**9
_MAX_PRICE: Final = 2**63 - 1  # nano-USD that fit a database's column: more than nine thousand million dollars


@dataclass(frozen=True, slots=True)
class Rate:
    """Exact prices in nano-USD for one page, token or credit; None where a price is not known.

    `source` is the list of the row that they come from, None where no row is found: then `cost` is None for every usage.
    `priced_as` is the model of that row, or the name under which the model has no row. `for_tier`: the row is for the service
    tier of the usage.
    """

    priced_as: str
    source: str | None = None
    page: Fraction | int | None = None
    annotated: Fraction | int | None = None
    token_in: Fraction | int | None = None
    token_out: Fraction | int | None = None
    token_cached: Fraction | int | None = None
    credit: Fraction | int | None = None
    for_tier: bool = False

    def cost(self, usage: Usage) -> int | None:
        """Return nano-USD, rounded half to even; None where a price that is needed is not known.

        1. Credits with a price are the whole bill: they are the provider's own units. 2. Else pages are, where they are counted;
        tokens then add only where the model has a price for them. 3. Else tokens are. Cached tokens are a part of those that
        went in: they have their own price where the row has one.
        """
        if self.source is None:
            return None
        if usage.credits_micro is not None and self.credit is not None:
            credits = Fraction(usage.credits_micro, _MICRO) if usage.credits is None else Fraction(usage.credits)
            return _bounded(credits * self.credit)
        total: Fraction | int = 0
        if usage.pages:
            if self.page is None:
                return None
            total = usage.pages * self.page
        if usage.pages_annotated:
            if self.annotated is None:
                return None
            total += usage.pages_annotated * self.annotated
        by_page = usage.pages is not None or usage.pages_annotated is not None
        if usage.tokens_in is None and usage.tokens_out is None:
            return _bounded(total) if by_page else None
        cached = 0
        if usage.tokens_cached and self.token_cached is not None:
            cached = min(usage.tokens_cached, usage.tokens_in or 0)
            total += cached * self.token_cached
        for count, price in (((usage.tokens_in or 0) - cached, self.token_in), (usage.tokens_out, self.token_out)):
            if count and price is None and not by_page:
                return None
            total += (count or 0) * (price or 0)
        return _bounded(total)

    def dearest_page(self) -> int | None:
        """Return the nano-USD of one page, plain or annotated, whichever is dearer; None where no page has a price."""
        known = [price for price in (self.page, self.annotated) if price is not None]
        return _bounded(max(known)) if known else None


def rate_of(price: Price, factor: Fraction, *, priced_as: str, source: str, for_tier: bool) -> Rate:
    """Return the rate of a row, all its prices times `factor`."""

    def nano(usd: Decimal | None, unit: int) -> Fraction | int | None:
        if usd is None:
            return None
        exact = Fraction(usd) * unit * factor
        return exact.numerator if exact.denominator == 1 else exact

    return Rate(
        priced_as,
        source,
        page=nano(price.usd_per_1000_pages, _NANO_PER_PAGE),
        annotated=nano(price.usd_per_1000_annotated_pages, _NANO_PER_PAGE),
        token_in=nano(price.usd_per_million_input_tokens, _NANO_PER_TOKEN),
        token_out=nano(price.usd_per_million_output_tokens, _NANO_PER_TOKEN),
        token_cached=nano(price.usd_per_million_cached_input_tokens, _NANO_PER_TOKEN),
        credit=nano(price.usd_per_credit, _NANO_PER_CREDIT),
        for_tier=for_tier,
    )


def with_page_prices(rate: Rate, own: DeploymentPrice, source: str) -> Rate:
    """Return a rate with a deployment's own prices for pages, whose list is `source`; unchanged where it has none.

    Annotated pages cost the price for plain ones where they have none of their own, as LiteLLM has it. Plain pages without a
    price keep the rate's; LiteLLM books them for nothing.
    """
    plain, annotated = own.usd_per_page, own.usd_per_annotated_page
    if annotated is None:
        annotated = plain
    if annotated is None:
        return rate
    page = rate.page if plain is None else Fraction(plain) * _NANO_PER_DOLLAR
    # Tokens that are counted beside pages cost nothing: the deployment's price is that of the page.
    return Rate(rate.priced_as, source, page=page, annotated=Fraction(annotated) * _NANO_PER_DOLLAR, for_tier=True)


def _bounded(nano: Fraction | int) -> int | None:
    return round(nano) if nano <= _MAX_PRICE else None
