"""What a page may cost at most, before and after a target is chosen."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from passthrough.accounting.budgets.price_probe import PriceProbe
from passthrough.accounting.pricing.prices import Price, Prices
from passthrough.exchange import DeploymentPrice, RouteTerms, new_exchange
from passthrough.meter.plan import MeterPlan

PRICES = Prices([Price("cheap", Decimal(1)), Price("dear", Decimal(500))])
CHEAP, DEAR = (RouteTerms("/pool", MeterPlan("ocr", model)) for model in ("cheap", "dear"))
UNKNOWN = RouteTerms("/pool", MeterPlan("ocr", "unheard-of"), price_list="none")


@pytest.mark.parametrize(
    ("terms", "target", "expected"),
    [
        (CHEAP, None, 500_000_000),  # the endpoint's, before a target is chosen
        (CHEAP, "a.example", 1_000_000),
        (CHEAP, "alone.example", 1_000_000),  # another endpoint of this path, with one target, for other methods
        (DEAR, "b.example", 500_000_000),
        (replace(CHEAP, deployment_price=DeploymentPrice("x", Decimal("0.007"))), "a.example", 7_000_000),
        (replace(CHEAP, route="/other"), None, 1_000_000),
        (UNKNOWN, "c.example", None),
    ],
)
def test_the_dearest_page(terms: RouteTerms, target: str | None, expected: int | None) -> None:
    """Of all targets behind the route until one is chosen, then that one's."""
    behind = [("a.example", CHEAP), ("b.example", DEAR), ("c.example", UNKNOWN)]
    probe = PriceProbe(PRICES, [CHEAP], deployments=behind)
    exchange = new_exchange("POST", "/pool")
    exchange.terms, exchange.target = terms, target
    assert expected == probe.dearest_page(exchange)


def test_nothing_has_a_price() -> None:
    """None of the targets has one."""
    exchange = new_exchange("POST", "/pool")
    exchange.terms = UNKNOWN
    assert None is PriceProbe(PRICES, deployments=[("c.example", UNKNOWN)]).dearest_page(exchange)
