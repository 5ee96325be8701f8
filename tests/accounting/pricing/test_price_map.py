"""LiteLLM's price map as a source of prices: its keys, its numbers, and where it stands in the order of lists."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from passthrough.accounting.pricing.price_map import BadPriceMap, read
from passthrough.accounting.pricing.prices import Price, Prices
from passthrough.exchange import RouteTerms
from passthrough.meter.usage import Usage

pytestmark = pytest.mark.fast

DAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()

MAP = b"""{
  "sample_spec": {"litellm_provider": "one of these", "input_cost_per_token": "as text", "mode": "chat"},
  "gpt-9": {"litellm_provider": "openai", "input_cost_per_token": 1e-06, "output_cost_per_token": 0.0000012345678901234,
            "cache_read_input_token_cost": 1e-07, "input_cost_per_token_priority": 2e-06, "output_cost_per_token_priority": 3E-6,
            "input_cost_per_token_above_272k_tokens": 9, "max_tokens": 1, "supports_vision": true, "tiers": [{"a": 1.5}]},
  "openai/gpt-8": {"litellm_provider": "openai", "input_cost_per_token": 4e-06, "output_cost_per_token": 6e-06,
                   "input_cost_per_token_batches": 3e-06, "output_cost_per_token_batches": 3e-06},
  "mistral/mistral-ocr-2512": {"litellm_provider": "mistral", "ocr_cost_per_page": 0.9},
  "mistral/mistral-ocr-9": {"litellm_provider": "mistral", "ocr_cost_per_page": 0.0061, "annotation_cost_per_page": 0.0071,
                            "ocr_cost_per_page_batches": 0.00305, "annotation_cost_per_page_batches": 0.00355},
  "azure_ai/Read-9": {"litellm_provider": "azure_ai", "ocr_cost_per_page": 0.011},
  "vertex_ai/mistralai/small-9@001": {"litellm_provider": "vertex_ai-mistral_models", "input_cost_per_token": 1e-07},
  "openrouter/mistralai/mistral-large-2512": {"litellm_provider": "openrouter", "input_cost_per_token": 8e-07},
  "reducto/parse-9": {"litellm_provider": "reducto", "ocr_cost_per_credit": 0.02},
  "nobody/speech": {"output_cost_per_second": 1, "input_cost_per_token": null},
  "whose": {"input_cost_per_token": 1},
  "a list": [1]
}"""
ROWS = read(MAP, "map.json")
PRICES = Prices([Price("mine", Decimal(1))], mapped=ROWS)


def cost(usage: Usage, target: str, price_list: str | None = None, prices: Prices = PRICES) -> tuple[int | None, str | None]:
    """Return a charge's cost in nano-dollars, and where it came from."""
    terms = RouteTerms("/x", price_list=price_list)
    charge = prices.charge(usage, terms=terms, target=target, began_utc=NOON)
    assert charge is not None
    return charge.cost_nano, charge.cost_source


OPENAI, ROUTER, AZURE = "api.openai.com", "openrouter.ai", "r.services.ai.azure.com"


@pytest.mark.parametrize(
    ("usage", "target", "nano"),
    [
        (Usage(model="gpt-9", tokens_in=1), OPENAI, 1000),
        (Usage(model="GPT-9", tokens_out=10**10), OPENAI, 12_345_678_901_234),
        (Usage(model="openai/gpt-9", tokens_in=10, tokens_cached=9), OPENAI, 1000 + 900),
        (Usage(model="gpt-9", tokens_in=10, service_tier="priority"), OPENAI, 20_000),
        (Usage(model="gpt-9", tokens_in=10, service_tier="flex"), OPENAI, 10_000),
        (Usage(model="gpt-9", tokens_in=10, in_batch=True), OPENAI, 5000),
        (Usage(model="gpt-8", tokens_in=4, tokens_out=4, in_batch=True), OPENAI, 4 * 3000 + 4 * 3000),
        (Usage(model="gpt-8", tokens_in=4, tokens_out=4), OPENAI, 4 * 4000 + 4 * 6000),
        (Usage(3, 2, "mistral-ocr-9"), "api.mistral.ai", 3 * 6_100_000 + 2 * 7_100_000),
        (Usage(2, model="mistral-ocr-9", in_batch=True), "api.mistral.ai", 6_100_000),
        (Usage(10, model="mistral-ocr-9"), "api.eu.mistral.ai", 67_100_000),
        (Usage(1, model="mistral/mistral-ocr-9-completion"), "gateway.internal", 6_100_000),
        (Usage(1, model="read-9"), AZURE, 11_000_000),
        (Usage(model="small-9@001", tokens_in=1), AZURE, None),
        (Usage(model="small-9@001", tokens_in=1), "us-central1-aiplatform.googleapis.com", 100),
        (Usage(model="mistralai/mistral-large-2512", tokens_in=10), ROUTER, 8000),
        (Usage(model="parse-9", credits="0.5", credits_micro=500_000), "platform.reducto.ai", 10_000_000),
        (Usage(model="openai/gpt-9", tokens_in=1), "gateway.internal", 1000),
    ],
)
def test_the_map_prices_what_no_list_has(usage: Usage, target: str, nano: int | None) -> None:
    """A model of the host's provider costs what the map says, with all decimals, in its tier and in batches."""
    assert (nano, "price_map" if nano is not None else None) == cost(usage, target)


@pytest.mark.parametrize(
    ("usage", "target", "expected"),
    [
        (Usage(1, model="mistral-ocr-2512"), "api.mistral.ai", (2_000_000, "prices.yaml")),
        (Usage(1, model="mine"), OPENAI, (1_000_000, "routes.yaml")),
        (Usage(model="gpt-9", tokens_in=1), "api.mistral.ai", (None, None)),
        (Usage(model="gpt-9", tokens_in=1), ROUTER, (None, None)),
        (Usage(model="openai/gpt-9", tokens_in=1), ROUTER, (None, None)),
        (Usage(model="openai/gpt-9", tokens_in=1), "api.mistral.ai", (None, None)),
        (Usage(model="whose", tokens_in=1), OPENAI, (None, None)),
        (Usage(model="gpt-9", credits_micro=1), OPENAI, (None, None)),
    ],
)
def test_a_row_is_for_its_provider_and_comes_last(usage: Usage, target: str, expected: tuple[int | None, str | None]) -> None:
    """The operator's prices and the list that ships come first; a provider's price holds at that provider only."""
    assert expected == cost(usage, target)


def test_a_batch_costs_half_of_the_price_that_comes_first_whatever_the_map_says_of_batches() -> None:
    """A row for batches is its own list's: it does not come before the price that an earlier list has for the model."""
    mapped = read(
        b"""{"mistral/mistral-ocr-2512": {"litellm_provider": "mistral", "ocr_cost_per_page_batches": 0.0019,
                                     "ocr_cost_per_page": 0.002},
        "mistral/own": {"litellm_provider": "mistral", "ocr_cost_per_page": 0.004, "ocr_cost_per_page_batches": 0.003}}""",
        "map.json",
    )
    prices = Prices([Price("own", Decimal(1), batch_factor=Decimal("0.4"))], mapped=mapped)
    found = [
        cost(Usage(1, model=model, in_batch=True), "api.mistral.ai", price_list, prices)
        for model, price_list in (("own", None), ("mistral-ocr-2512", None), ("mistral-ocr-2512", "none"))
    ]
    assert [(400_000, "routes.yaml"), (1_000_000, "prices.yaml"), (1_900_000, "price_map")] == found
    assert not [row for row in prices.today(DAY) if row.from_file == "price_map"]


def test_without_a_list_the_map_still_prices_the_hosts_own_models() -> None:
    """`price_list: none` takes the list that ships away, not the map; a host that is not known has no provider then."""
    ocr = Usage(1, model="mistral-ocr-9")
    assert (6_100_000, "price_map") == cost(ocr, "api.mistral.ai", "none")
    assert (None, None) == cost(ocr, "gateway.internal", "none")
    assert (900_000_000, "price_map") == cost(Usage(1, model="mistral-ocr-2512"), "api.mistral.ai", "none")


def test_the_names_of_its_models() -> None:
    """Each model is named with its provider; what has no price, or no provider, is no row."""
    assert {
        ("openai/gpt-9", None),
        ("openai/gpt-9", "priority"),
        ("openai/gpt-8", None),
        ("openai/gpt-8", "batch"),
        ("mistral/mistral-ocr-2512", None),
        ("mistral/mistral-ocr-9", None),
        ("azure/read-9", None),
        ("vertex/mistralai/small-9@001", None),
        ("openrouter/mistralai/mistral-large-2512", None),
        ("reducto/parse-9", None),
    } == {(row.model, row.service_tier) for row in ROWS}
    began = {"terms": None, "target": "api.mistral.ai", "began_utc": NOON}
    assert "mistral-ocr-9" == PRICES.priced_as("mistral/mistral-ocr-9", **began)
    assert "openai/gpt-9" == PRICES.priced_as("gpt-9", terms=None, target=OPENAI, began_utc=NOON)


def test_the_dearest_page_counts_the_map() -> None:
    """The dearest page of a provider's list may stand in the map."""
    found = [
        PRICES.dearest_page(terms=None, target=target, began_utc=NOON) for target in ("api.mistral.ai", AZURE, OPENAI, ROUTER)
    ]
    assert [7_100_000, 11_000_000, 1_000_000, 1_000_000] == found
    assert PRICES.dearest_page(terms=RouteTerms("/x", price_list="none"), target="a.example", began_utc=NOON) == 1_000_000
    assert Prices().dearest_page(terms=None, target=ROUTER, began_utc=NOON) is None
    assert Prices().dearest_page(terms=RouteTerms("/x", price_list="none"), target="api.mistral.ai", began_utc=NOON) is None


def test_the_dearest_page_may_be_of_a_model_with_a_slash() -> None:
    """What stands before the first slash of a name in the map is the provider; the rest is the model."""
    text = b'{"azure_ai/doc-intelligence/layout-9": {"litellm_provider": "azure_ai", "ocr_cost_per_page": 0.5}}'
    prices = Prices(mapped=read(text, "map.json"))
    assert 500_000_000 == prices.dearest_page(terms=None, target=AZURE, began_utc=NOON)


def test_the_listing_has_the_rows_that_apply() -> None:
    """Of the map the listing has what no other list has, each with the map as its origin."""
    rows = PRICES.today(DAY)
    mapped = [(row.name, row.price.service_tier) for row in rows if row.from_file == "price_map" and row.price]
    assert ("openai/gpt-9", "priority") in mapped
    assert ("openrouter/mistralai/mistral-large-2512", None) in mapped
    assert ("mistral/mistral-ocr-2512", None) not in mapped
    assert {"map.json"} == {row.price.source for row in rows if row.from_file == "price_map" and row.price}
    assert len(mapped) == len(ROWS) - 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "This is not JSON: line 1, column 1."),
        (b'{\n "a": {,}}', "This is not JSON: line 2, column 8."),
        (b'{"a": \xff}', "This is not JSON."),
        (b"[" * 100_000, "This is not JSON."),
        (b"[]", "This is no object of models."),
        (b"{}", "No model in it has a price."),
        (b'{"a/b": {"max_tokens": 3}}', "No model in it has a price."),
        (b'{"a/b": {"ocr_cost_per_page": -1}}', "'ocr_cost_per_page' of 'a/b' is no price."),
        (b'{"a/b": {"ocr_cost_per_page": "free"}}', "'ocr_cost_per_page' of 'a/b' is no price."),
        (b'{"a/b": {"ocr_cost_per_page": NaN}}', "'ocr_cost_per_page' of 'a/b' is no price."),
        (b'{"a/b": {"ocr_cost_per_page": true}}', "'ocr_cost_per_page' of 'a/b' is no price."),
        (b'{"a/b": {"ocr_cost_per_page": [1]}}', "'ocr_cost_per_page' of 'a/b' is no price."),
        (b'{"a/b": {"ocr_cost_per_page": 1e7}}', "'ocr_cost_per_page' of 'a/b' is no price."),
    ],
)
def test_what_is_no_price_map(text: bytes, what: str) -> None:
    """A file that is none says why, and where."""
    with pytest.raises(BadPriceMap) as caught:
        read(text, "map.json")
    assert what == str(caught.value)


@pytest.mark.parametrize("text", ["1000000", "0.1", "1e-7", "2.5E-07", "0.000000000000123", "123", "0"])
def test_numbers_keep_their_decimals(text: str) -> None:
    """A price per page is exactly a thousandth of that per 1000 pages, however it is written."""
    tree: dict[str, Any] = {"a/b": {"ocr_cost_per_page": "number"}}
    (row,) = read(json.dumps(tree).replace('"number"', text).encode(), "map.json")
    assert Decimal(text) * 1000 == row.usd_per_1000_pages
