"""What the operator is told of prices and credentials: each thing once, and once more when it may have changed."""

from __future__ import annotations

from decimal import Decimal

import pytest

from passthrough.accounting.entry import Charge
from passthrough.accounting.notices import Notices
from passthrough.accounting.pricing.prices import Price, Prices
from passthrough.exchange import Exchange, RouteTerms
from passthrough.meter.usage import NOTHING, Usage
from tests.harness.entries import exchange

PRICES = Prices([Price("annotated", Decimal(2), Decimal(5))])
ANNOTATED = Usage(0, 100, "annotated")
"""It costs 0.5 USD."""


def reported(nano: int | None, route: str = "/litellm", flat: int | None = None) -> Exchange:
    """Return an exchange whose response reported a cost."""
    made = exchange()
    made.target, made.terms = "gateway:4000", RouteTerms(route, cost_per_request_nano=flat)
    made.reported_cost_nano, made.cost_header = nano, "x-litellm-response-cost"
    return made


@pytest.mark.parametrize(
    ("made", "usage", "is_said"),
    [
        (reported(500_000_000), ANNOTATED, False),
        (reported(505_000_000), ANNOTATED, False),
        (reported(505_000_001), ANNOTATED, True),
        (reported(495_000_000), ANNOTATED, False),
        (reported(494_999_999), ANNOTATED, True),
        (reported(0), ANNOTATED, True),
        (reported(None), ANNOTATED, False),
        (reported(400_000_000, flat=7), ANNOTATED, False),
        (reported(400_000_000), Usage(0, 100, "who-knows"), False),
        (reported(400_000_000), NOTHING, False),
        (reported(1), Usage(0, 0, "annotated"), True),
        (reported(0), Usage(0, 0, "annotated"), False),
    ],
)
def test_a_cost_that_is_a_hundredth_off_is_said(made: Exchange, usage: Usage, is_said: bool) -> None:
    """Only where both are known, and beyond a hundredth of the list's."""
    said: list[str] = []
    Notices(said.append).check_cost(made, usage, PRICES)
    assert is_said is bool(said)


def test_a_cost_that_disagrees_is_said_once_for_each_route_and_model() -> None:
    """It names both figures; after a reload of the prices it is said again."""
    said: list[str] = []
    notices = Notices(said.append)
    for _ in range(3):
        notices.check_cost(reported(400_000_000), ANNOTATED, PRICES)
    assert [
        "gateway:4000 reported $0.4 for a response of model 'annotated' on route /litellm; by routes.yaml it costs $0.5. "
        "What was reported is booked.\n"
        "Correct the model's row in 'prices' in routes.yaml, or remove 'cost_header' from the route's 'meter'."
    ] == said
    notices.check_cost(reported(400_000_000, "/other"), ANNOTATED, PRICES)
    notices.check_cost(reported(400_000_000), Usage(3, 0, "mistral-ocr-2512"), PRICES)
    assert 3 == len(said)
    notices.forget_prices()
    notices.check_cost(reported(400_000_000), ANNOTATED, PRICES)
    assert 4 == len(said)


def test_so_many_things_are_said_and_no_more() -> None:
    """A thousand models and a thousand pairs of route and model are remembered."""
    said: list[str] = []
    notices = Notices(said.append)
    for number in range(1100):
        notices.check_priced([Charge(f"model-{number}", 1)], "host")
        notices.check_cost(reported(1, f"/{number}"), ANNOTATED, PRICES)
    assert 2000 == len(said)


def test_a_target_that_is_a_sandbox_is_said_once() -> None:
    """Its traffic is booked apart and counts in no budget: who tries budgets with it waits in vain. '--sandbox' is meant so."""
    said: list[str] = []
    notices = Notices(said.append)
    for target in ("127.0.0.1:4010", "sandbox", "127.0.0.1:4010"):
        made = exchange()
        made.sandbox, made.target, made.status, made.terms = True, target, 200, RouteTerms("/mistral")
        notices.check_response(made)
    assert ["127.0.0.1:4010 is a sandbox of passthrough: what it counts is booked apart, and no budget counts it."] == [
        text.partition("\n")[0] for text in said
    ]


def test_a_doubled_version_is_said_once_for_each_route() -> None:
    """A base URL with /v1, for a library that puts one itself: the provider's 404 does not tell."""
    said: list[str] = []
    notices = Notices(said.append)
    for route, path, status in (
        ("/mistral", "/mistral/v1/ocr", 404),
        ("/mistral", "/mistral/v1/v1/ocr", 200),
        ("/mistral", "/mistral/v1/v1/ocr", 404),
        ("/mistral", "/mistral/v1/v1/models", 404),
        ("/other", "/other/v1/v1/ocr", 404),
    ):
        made = exchange()
        made.path, made.status, made.terms = path, status, RouteTerms(route)
        notices.check_response(made)
    assert ["/mistral", "/other"] == [text.partition(" on route ")[2].partition(":")[0] for text in said]
    assert "api.mistral.ai answered 404 on route /mistral: the path has /v1 twice." in said[0]
