"""Warns, for each route, target and deployment, of what is valid, but will go wrong at its provider."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ...accounting.pricing.offers import Offers
from ...accounting.pricing.price_list import shipped
from ...accounting.pricing.prices import Price, Prices
from ..problems import Problems
from .credential_warnings import warn_of_credentials
from .path_warnings import warn_of_paths
from .placed import Placed
from .price_warnings import PriceWarnings

_SIGNED: Final = "aws"
"""The provider whose requests are signed: what signs them stands before it."""


def warn_of_providers(
    placed: Iterable[Placed], own: Sequence[Price], mapped: Sequence[Price], began_utc: float, problems: Problems
) -> None:
    """Warn of what will go wrong; nothing is asked anywhere. `own` and `mapped` are the operator's prices and price map's.

    `began_utc` (seconds since the epoch) is the time for which prices are looked up.
    """
    listed = shipped()
    offers = Offers(listed)
    prices = PriceWarnings(own, mapped, Prices(own, listed, mapped), offers, began_utc)
    for each in placed:
        target = each.route.targets[0]
        offer = offers.of(target.name, "none")
        warn_of_credentials(each, bills=offer.is_known and offer.provider != _SIGNED, problems=problems)
        warn_of_paths(each, problems)
        prices.warn(each, problems)
