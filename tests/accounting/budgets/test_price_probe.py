"""What budgets ask the prices in force: whether something has a price now, and what a page may cost at most."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from passthrough.accounting.budget import Unpriced
from passthrough.accounting.budgets.price_probe import PriceProbe
from passthrough.accounting.pricing.prices import Price, Prices
from passthrough.exchange import DeploymentPrice, RouteTerms
from passthrough.meter.plan import MeterPlan
from tests.harness.entries import exchange

NOON = 1_771_761_600.0  # 2026-02-22T12:00Z
PAGE = Unpriced("new", "api.mistral.ai", "/mistral", "pages")
ONE = Decimal(1)


def lacks(item: Unpriced, *prices: Price, terms: tuple[RouteTerms, ...] = (), now_utc: float = NOON) -> bool:
    """Return what a probe of some prices says."""
    return PriceProbe(Prices(prices), terms, lambda: now_utc).lacks_price(item)


@pytest.mark.parametrize(
    ("item", "price", "expected"),
    [
        (PAGE, Price("other", usd_per_1000_pages=ONE), True),
        (PAGE, Price("new", usd_per_1000_pages=ONE), False),
        (PAGE, Price("NEW-completion", usd_per_1000_pages=ONE), False),
        (PAGE, Price("new", usd_per_1000_annotated_pages=ONE), True),
        (PAGE, Price("new", usd_per_1000_pages=ONE, route="/mistral"), False),
        (PAGE, Price("new", usd_per_1000_pages=ONE, route="/other"), True),
        (replace(PAGE, counted="pages pages_annotated"), Price("new", usd_per_1000_pages=ONE), True),
        (replace(PAGE, counted="tokens_in tokens_out"), Price("new", usd_per_million_input_tokens=ONE), True),
        (replace(PAGE, counted="tokens_in"), Price("new", usd_per_million_input_tokens=ONE), False),
        (replace(PAGE, counted="tokens_cached tokens_in"), Price("new", usd_per_million_input_tokens=ONE), False),
        (replace(PAGE, counted="credits_micro"), Price("new", usd_per_1000_pages=ONE), True),
        (replace(PAGE, counted="credits_micro"), Price("new", usd_per_credit=ONE), False),
        (replace(PAGE, in_batch=True), Price("new", usd_per_1000_pages=ONE), False),
        (replace(PAGE, service_tier="priority"), Price("new", usd_per_1000_pages=ONE, service_tier="priority"), False),
        (PAGE, Price("new", usd_per_1000_pages=ONE, service_tier="priority"), True),
        (replace(PAGE, model=None), Price("new", usd_per_1000_pages=ONE), True),
        (replace(PAGE, target="gateway.example"), Price("new", usd_per_1000_pages=ONE), False),
        (replace(PAGE, route=None), Price("new", usd_per_1000_pages=ONE), False),
    ],
)
def test_what_was_counted_needs_each_of_its_prices(item: Unpriced, price: Price, expected: bool) -> None:
    """By the model, the route and the counters that had no price; a price of 0 is one."""
    terms = (RouteTerms("/mistral"),)
    assert expected == lacks(item, price, terms=terms)
    free = replace(price, **{name: Decimal(0) for name in price.__slots__ if getattr(price, name) == ONE})
    assert expected == lacks(item, free, terms=terms)


def test_a_route_that_is_gone_leaves_the_prices_of_all() -> None:
    """What was used on it may be used on another route: only a price of its own does not count any more."""
    assert lacks(PAGE, Price("new", usd_per_1000_pages=ONE, route="/mistral"))
    assert not lacks(PAGE, Price("new", usd_per_1000_pages=ONE))


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        (RouteTerms("/mistral"), True),
        (RouteTerms("/mistral", MeterPlan(model="mistral-ocr-2512")), False),
        (RouteTerms("/mistral", MeterPlan(model="newer")), True),
        (RouteTerms("/mistral", cost_per_request_nano=0), False),
        (RouteTerms("/other", cost_per_request_nano=5), True),
    ],
)
def test_the_route_may_give_the_price_by_now(terms: RouteTerms, expected: bool) -> None:
    """Its meter names another model, or a request has a price; of several routes of one path any may."""
    assert expected == lacks(PAGE, terms=(terms,))
    assert expected == lacks(PAGE, terms=(RouteTerms("/mistral"), terms))


def test_a_route_is_known_by_its_name_in_the_ledger() -> None:
    """Printable, as entries have it."""
    terms = RouteTerms("/a\x1b", cost_per_request_nano=5)
    assert not lacks(replace(PAGE, route="/a\\x1b"), terms=(terms,))


def test_a_price_counts_from_its_day_on() -> None:
    """Also for what was used before: what matters is whether the next request has a price."""
    price = Price("new", usd_per_1000_pages=ONE, effective_from=date(2026, 2, 23))
    now = [NOON]
    probe = PriceProbe(Prices([price]), now_utc=lambda: now[0])
    found = []
    for hours in (0, 11.9, 12, 48):
        now[0] = NOON + hours * 3600
        found.append(probe.lacks_price(PAGE))
    assert [True, True, False, False] == found


def test_many_names_are_forgotten_and_asked_for_again() -> None:
    """Responses name the models: what is remembered is bounded."""
    probe = PriceProbe(Prices([Price("m7", usd_per_1000_pages=ONE)]), now_utc=lambda: NOON)
    found = [number for number in range(3000) if not probe.lacks_price(replace(PAGE, model=f"m{number}"))]
    assert [7] == found
    assert not probe.lacks_price(replace(PAGE, model="m7"))


def test_the_dearest_page_is_that_of_the_exchanges_route() -> None:
    """By its target's list and its day; what a request costs there, if that is set; None where no page has a price."""
    made = exchange(at=1_795_219_200.0)
    probe = PriceProbe(Prices([Price("mine", usd_per_1000_pages=Decimal(7), route="/mine")]))
    found = []
    for terms in (RouteTerms("/mistral"), RouteTerms("/mine"), RouteTerms("/x", cost_per_request_nano=3)):
        made.terms = terms
        found.append(probe.dearest_page(made))
    made.terms = RouteTerms("/mistral", MeterPlan(model="unheard-of"))
    assert ([5_000_000, 7_000_000, 3], None) == (found, probe.dearest_page(made))


DEPLOYED = (
    ("api.mistral.ai", RouteTerms("/v1/ocr", price_list="mistral", deployment_price=DeploymentPrice("mistral/mistral-ocr-2512"))),
    ("a.services.ai.azure.com", RouteTerms("/v1/ocr", price_list="azure", deployment_price=DeploymentPrice("azure_ai/x", ONE))),
)
"""Two deployments, the second with a price of its own."""


@pytest.mark.parametrize(
    ("deployments", "expected"),
    [
        (DEPLOYED, 10**9),
        (DEPLOYED[:1], 3_000_000),  # the annotated page of its model
        ((("h", RouteTerms("/v1/ocr", deployment_price=DeploymentPrice("mistral/*"))),), 5_000_000),  # any model of the list
        ((("h", RouteTerms("/v1/ocr", deployment_price=DeploymentPrice("unheard-of"))),), None),
        ((*DEPLOYED[:1], ("h", RouteTerms("/v1/ocr", deployment_price=DeploymentPrice("unheard-of")))), 3_000_000),
    ],
)
def test_the_dearest_page_is_that_of_any_deployment(
    deployments: tuple[tuple[str, RouteTerms], ...], expected: int | None
) -> None:
    """Before one is chosen, it may be any of them; on other routes, and once one is chosen, they do not count."""
    made = exchange(at=1_795_219_200.0)
    probe = PriceProbe(Prices(), deployments=deployments)
    made.terms, made.target = RouteTerms("/v1/ocr"), None
    assert expected == probe.dearest_page(made)
    made.terms, made.target = RouteTerms("/mistral"), "api.mistral.ai"
    assert 5_000_000 == probe.dearest_page(made)
    made.target, made.terms = DEPLOYED[0]
    assert 3_000_000 == probe.dearest_page(made)


@pytest.mark.parametrize(
    ("target", "model", "expected"),
    [
        ("a.services.ai.azure.com", "whatever", False),  # its own price is for each page
        ("a.services.ai.azure.com", None, False),
        ("api.mistral.ai", "whatever", False),  # by the deployment's model
        ("gone.example", "whatever", True),
    ],
)
def test_a_deployment_gives_the_price(target: str, model: str | None, expected: bool) -> None:
    """What was used without a price has one by now, where the deployment at that target has."""
    probe = PriceProbe(Prices(), now_utc=lambda: NOON, deployments=DEPLOYED)
    assert expected == probe.lacks_price(Unpriced(model, target, "/v1/ocr", "pages"))
