"""By whose list a route is priced: its own choice, its target's host, or Mistral's."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from passthrough.accounting.pricing.offers import NO_LIST
from passthrough.accounting.pricing.price_list import RESELLERS
from passthrough.accounting.pricing.prices import Price, Prices
from passthrough.config.schema import schema
from passthrough.exchange import RouteTerms
from passthrough.meter.usage import Usage

pytestmark = pytest.mark.fast

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
MILLI = 10**6
PAGE = Usage(1, model="mistral-ocr-2512")
AZURE, EU, ROUTER, GATEWAY = "r.services.ai.azure.com", "api.eu.mistral.ai", "openrouter.ai", "gateway.internal:8443"


def cost(usage: Usage, target: str | None, price_list: str | None, *own: Price) -> int | None:
    """Return what a usage costs on a route, in nano-dollars."""
    charge = Prices(own).charge(usage, terms=RouteTerms("/x", price_list=price_list), target=target, began_utc=NOON)
    assert charge is not None
    return charge.cost_nano


@pytest.mark.parametrize(
    ("target", "price_list", "nano"),
    [
        (GATEWAY, None, 2 * MILLI),
        (None, None, 2 * MILLI),
        ("127.0.0.1:4010", None, 2 * MILLI),
        ("[::1]:4010", None, 2 * MILLI),
        ("api.mistral.ai:443", None, 2 * MILLI),
        (EU, None, 2_200_000),
        (GATEWAY, "mistral", 2 * MILLI),
        (GATEWAY, "azure", 2 * MILLI),
        (GATEWAY, "none", None),
        ("api.mistral.ai", "none", None),
        (EU, "mistral", 2_200_000),
        (EU, "azure", 2 * MILLI),
        (EU, "none", None),
        (ROUTER, "mistral", 2 * MILLI),
        (ROUTER, "none", None),
    ],
)
def test_a_page_by_the_list_of_a_route(target: str | None, price_list: str | None, nano: int | None) -> None:
    """A host that is not known is Mistral's; `none` prices nothing; a host's factor is on its own list."""
    assert nano == cost(PAGE, target, price_list)


def test_the_lists_that_a_route_may_name() -> None:
    """The configuration's words are the providers of Mistral's models, and none."""
    (words,) = [each["enum"] for each in schema()["$defs"]["MeterPart"]["properties"]["price_list"]["anyOf"] if "enum" in each]
    assert RESELLERS | {NO_LIST} == set(words)


@pytest.mark.parametrize(
    "host",
    [
        "api.aimlapi.com",
        "openrouter.ai",
        "api.openai.com",
        "generativelanguage.googleapis.com",
        "api.anthropic.com",
        "api.cohere.com",
        "platform.reducto.ai",
        "api.cloud.llamaindex.ai",
        "www.datalab.to",
        "api.mathpix.com",
        "api.va.landing.ai",
        "platform.unstructuredapp.io",
        "api.nutrient.io",
        "api.mindee.net",
        "textract.eu-west-1.amazonaws.com",
        "eu-documentai.googleapis.com",
    ],
)
@pytest.mark.parametrize("model", ["mistral-ocr-2512", "mistralai/mistral-ocr-2512", "mistral/mistral-ocr-latest"])
def test_hosts_that_bill_otherwise_go_by_no_list(host: str, model: str) -> None:
    """A page that another provider bills is unpriced, whatever its model is called, until the operator gives a price."""
    assert cost(Usage(1, model=model), host, None) is None
    assert 7 * MILLI == cost(
        Usage(1, model=model), host, None, Price("mistral-ocr-2512", Decimal(7)), Price("mistral-ocr-latest", Decimal(7))
    )
    assert 8 * MILLI == cost(Usage(1, model=model), host, None, Price(model, Decimal(8), route="/x"))


@pytest.mark.parametrize("target", [GATEWAY, "api.mistral.ai", AZURE, None])
def test_a_prefix_says_whose_offer_it_is(target: str | None) -> None:
    """A model that is named with its provider costs what that provider asks, at any host of Mistral's models."""
    medium = Usage(model="vertex_ai/mistral-medium-3", tokens_in=1000)
    assert 400_000 == cost(medium, target, None)
    assert 10 * MILLI == cost(Usage(1, model="azure/prebuilt-layout"), target, None)
    assert cost(medium, ROUTER, None) is None
    assert cost(Usage(1, model="azure/prebuilt-layout"), "api.cohere.com", None) is None


def test_other_providers_have_their_own_rows() -> None:
    """Cohere's and Reducto's hosts go by the rows of these providers alone, and by none where the route says so."""
    parsed = Usage(1, model="parse-v5.0")
    assert [1_500_000, None, None] == [
        cost(parsed, "api.cohere.com", None), cost(parsed, "api.cohere.com", "none"), cost(parsed, "platform.reducto.ai", None)
    ]  # fmt: skip
    assert 30 * MILLI == cost(Usage(model="parse-v3", credits_micro=2 * 10**6), "platform.reducto.ai", None)


def test_an_operators_row_of_mistrals_holds_without_a_list() -> None:
    """On a route without a list, whose target is no known host, a row may be named with Mistral's prefix."""
    assert 7 * MILLI == cost(PAGE, GATEWAY, "none", Price("mistral/mistral-ocr-2512", Decimal(7)))


def test_a_list_that_a_route_names_has_its_own_rows() -> None:
    """`azure` and `vertex` put a gateway on that cloud's rows, where Mistral's fill what is missing."""
    layout, medium = Usage(1, model="prebuilt-layout"), Usage(model="mistral-medium-3", tokens_in=1000)
    assert (10 * MILLI, None) == (cost(layout, GATEWAY, "azure"), cost(layout, GATEWAY, None))
    assert (400_000, 1_500_000) == (cost(medium, GATEWAY, "vertex"), cost(medium, GATEWAY, None))
    assert 2 * MILLI == cost(PAGE, GATEWAY, "vertex")


@pytest.mark.parametrize(
    ("target", "price_list", "nano"),
    [
        (GATEWAY, None, 5 * MILLI),
        (GATEWAY, "azure", 10 * MILLI),
        (ROUTER, None, None),
        (EU, "none", None),
        (AZURE, None, 10 * MILLI),
    ],
)
def test_the_dearest_page_is_of_the_routes_list(target: str, price_list: str | None, nano: int | None) -> None:
    """What is reserved before a price is seen goes by the same list; by none, nothing is."""
    assert nano == Prices().dearest_page(terms=RouteTerms("/x", price_list=price_list), target=target, began_utc=NOON)


def test_a_provider_without_a_list_keeps_its_models_name() -> None:
    """What has no price is named in lower case, without the prefix of Mistral's."""
    terms = RouteTerms("/x")
    names = [
        Prices().priced_as(model, terms=terms, target=ROUTER, began_utc=NOON)
        for model in ("mistralai/Mistral-Large-9", "openai/gpt-9", "Qwen/qwen-ocr")
    ]
    assert ["mistral-large-9", "openai/gpt-9", "qwen/qwen-ocr"] == names
