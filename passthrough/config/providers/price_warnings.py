"""Warns of prices that will not be found: usage is then counted, and booked without a cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ...accounting.pricing.offers import Offer, Offers
from ...accounting.pricing.prices import Price, Prices
from ...meter.usage import Usage
from ...proxy.routes import Route
from ..problems import Problems
from .apis import api_of
from .placed import Placed

_COST_HEADERS: Final = {"aiml": "x-aimlapi-usd-spent"}
"""The response fields in which providers report the cost of each call, by the names of their offers."""


class PriceWarnings:
    """What is compared with: the prices of the configuration and those that ship."""

    def __init__(self, own: Sequence[Price], mapped: Sequence[Price], prices: Prices, offers: Offers, began_utc: float) -> None:
        """`own` are the operator's rows, `mapped` those of the price map; `prices` has both, and the shipped list.

        `began_utc` is when usage is priced: prices have a first day.
        """
        self._own = own
        self._has_map = bool(mapped)
        self._prices = prices
        self._offers = offers
        self._began_utc = began_utc

    def warn(self, each: Placed, problems: Problems) -> None:
        """Warn where one target's usage will have no price: (1) a deployment's, (2) a model's that is named, (3) any."""
        route, plan = each.route, each.route.terms.plan
        if plan.shape == "none" or plan.cost_headers or route.terms.cost_per_request_nano is not None:
            return
        named = each.deployment.full_model if each.deployment is not None else plan.model
        offer = self._offers.of(route.targets[0].name, route.terms.price_list)
        if named is not None:
            if "*" not in named and not self._knows(route):
                self._warn_of_model(each, named, offer, problems)
        elif not offer.lists and route.terms.price_list is None and not self._has_own(route):
            what = f"{_named(route, offer)} bills by prices of its own, which do not ship: all is booked without a cost."
            header = _COST_HEADERS.get(offer.provider or "")
            hint = "Add 'prices', 'price_map' or 'cost_per_request'."
            problems.warn(each.at, what, hint if header is None else f"Add 'meter: {{cost_header: {header}}}'.")

    def _warn_of_model(self, each: Placed, named: str, offer: Offer, problems: Problems) -> None:
        if each.deployment is not None:
            hint = "Add 'base_model' with the model's own name to model_info, or 'ocr_cost_per_page'."
            what = f"No price is known for {named}: unless its responses name a model that has one, it is booked without a cost."
            problems.warn(each.meter_at, what, hint)
            return
        what = f"No price is known for {named} at {_named(each.route, offer)}: its use is booked without a cost."
        hint = "Write a name that 'passthrough prices' has, or add it to 'prices'."
        problems.warn((*each.meter_at, "model"), what, hint)

    def _knows(self, route: Route) -> bool:
        target = route.targets[0].name
        charges = (
            self._prices.charge(usage, terms=route.terms, target=target, began_utc=self._began_utc) for usage in _usages(route)
        )
        return any(charge is not None and charge.cost_nano is not None for charge in charges)

    def _has_own(self, route: Route) -> bool:
        return self._has_map or any(price.route in {None, route.terms.route} for price in self._own)


def _named(route: Route, offer: Offer) -> str:
    """Return whose prices are asked, as people know it."""
    api = api_of(route.targets[0].host)
    if api is not None and route.terms.price_list is None:
        return api.name
    return route.targets[0].name if offer.provider is None else offer.provider.capitalize()


def _usages(route: Route) -> Iterator[Usage]:
    """Yield one usage for each unit that a route's meter may count."""
    model = route.terms.plan.model
    yield Usage(pages=1, model=model)
    yield Usage(tokens_in=1, model=model)
    yield Usage(tokens_out=1, model=model)
    yield Usage(credits="1", credits_micro=1_000_000, model=model)
