"""Asks the prices in force on behalf of budgets: whether something has a price now, and what a page may cost at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from ...exchange import Exchange, RouteTerms
from ...meter.usage import Usage
from ..budget import Unpriced
from ..entry import printable
from ..pricing.prices import Prices

_DAY_S: Final = 86_400
_MAX_REMEMBERED: Final = 1024


class PriceProbe:
    """The prices and routes of one configuration; for the event loop's thread."""

    def __init__(
        self,
        prices: Prices,
        terms: Iterable[RouteTerms] = (),
        now_utc: Callable[[], float] = time.time,
        deployments: Iterable[tuple[str, RouteTerms]] = (),
    ) -> None:
        """`terms` are those of all routes; several may have one path.

        `deployments` are the targets and terms of what a request may be sent to that has no target yet: the entries of
        model_list, the targets of pools.
        """
        self._prices = prices
        self._now_utc = now_utc
        self._terms: dict[str | None, list[RouteTerms]] = {}
        for each in terms:
            self._terms.setdefault(printable(each.route), []).append(each)
        self._deployed: dict[str | None, list[tuple[str, RouteTerms]]] = {}
        for target, each in deployments:
            self._deployed.setdefault(printable(each.route), []).append((target, each))
        self._known: dict[tuple[Unpriced, int], bool] = {}

    def lacks_price(self, item: Unpriced) -> bool:
        """Tell whether a request of today that uses the same has no price, by the routes and prices in force."""
        now = self._now_utc()
        key = (item, int(now // _DAY_S))
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            deployed = [terms for target, terms in self._deployed.get(item.route, ()) if printable(target) == item.target]
            routes: Iterable[RouteTerms | None] = deployed or self._terms.get(item.route) or (None,)
            found = self._known[key] = not any(self._has_price(item, terms, now) for terms in routes)
        return found

    def dearest_page(self, exchange: Exchange) -> int | None:
        """Return the nano-USD of the dearest page that an exchange which begins may be charged; None: no page has a price.

        Before a target is chosen it is the dearest one of all deployments behind the route.
        """
        terms, began_utc = exchange.terms, exchange.began_utc
        deployed = None if terms is None or exchange.target is not None else self._deployed.get(terms.route)
        if deployed is None:
            return self._prices.dearest_page(terms=terms, target=exchange.target, began_utc=began_utc)
        pages = (self._prices.dearest_page(terms=each, target=target, began_utc=began_utc) for target, each in deployed)
        return max((page for page in pages if page is not None), default=None)

    def _has_price(self, item: Unpriced, terms: RouteTerms | None, now_utc: float) -> bool:
        """Tell whether one of each of what was counted has a price; the route may name another model by now."""
        counts = dict.fromkeys(item.counted.split(), 1)
        model = (terms and terms.plan.model) or item.model
        usage = Usage(**counts, model=model, service_tier=item.service_tier, in_batch=item.in_batch)  # type: ignore[arg-type]
        charge = self._prices.charge(usage, terms=terms, target=item.target, began_utc=now_utc)
        return charge is not None and charge.cost_nano is not None
