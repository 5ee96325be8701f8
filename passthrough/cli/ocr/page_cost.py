"""The price of pages by the price lists, for the estimates of `passthrough ocr`."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ...accounting.pricing.prices import Prices
from ...client.runs.results import PageCost
from ...config.load import load_price_map, load_prices
from ...meter.usage import Usage


def page_cost(config: str, target: str | None) -> PageCost:
    """Return the price by a configuration's lists and the shipped one. `target`: the API's authority, which may have a factor.

    The ledger of a proxy may know better: prices of its routes, costs that the provider reports. Raises ConfigError.
    """
    prices = (
        Prices(load_prices(config, os.environ), mapped=load_price_map(config, os.environ)) if Path(config).exists() else Prices()
    )

    def cost(model: str | None, pages: int, pages_annotated: int, in_batch: bool) -> int | None:
        usage = Usage(pages=pages, pages_annotated=pages_annotated, model=model, in_batch=in_batch)
        charge = prices.charge(usage, terms=None, target=target, began_utc=time.time())
        return None if charge is None else charge.cost_nano

    return cost
