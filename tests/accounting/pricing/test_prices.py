"""What pages cost: every row of the list, names and aliases, hosts, the operator's own prices, and the arithmetic."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from passthrough.accounting.money import json_object, usd
from passthrough.accounting.pricing.prices import OVERRIDE, Price, Prices, shipped
from passthrough.exchange import DeploymentPrice, RouteTerms
from passthrough.meter.plan import MeterPlan
from passthrough.meter.usage import Usage

TODAY = date(2026, 11, 20)
PRICES = Prices()


def noon(day: date) -> float:
    """Return noon of a day (UTC) in seconds since the epoch."""
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()


def cost(
    usage: Usage, *, prices: Prices = PRICES, target: str | None = "api.mistral.ai", on: date = TODAY
) -> tuple[int | None, str | None] | None:
    """Return a charge's cost and where it came from."""
    charge = prices.charge(usage, terms=RouteTerms("/mistral"), target=target, began_utc=noon(on))
    return None if charge is None else (charge.cost_nano, charge.cost_source)


def test_the_list_reads_the_same_with_and_without_libyaml() -> None:
    """Which of the two parsers an installation has makes no difference to a price."""
    text = files("passthrough.accounting.pricing").joinpath("prices.yaml").read_text("utf-8")
    assert yaml.load(text, yaml.BaseLoader) == yaml.load(text, yaml.CBaseLoader)


MILLI = 10**6  # nano-dollars in a thousandth of a dollar: what one page costs at $1 per 1000

AZURE, VERTEX = "r.models.ai.azure.com", "us-central1-aiplatform.googleapis.com"


@pytest.mark.parametrize(
    ("model", "target", "plain", "annotated"),
    [
        ("mistral-ocr-2503", "api.mistral.ai", 1, None),
        ("mistral-ocr-2505", "api.mistral.ai", 1, 3),
        ("mistral-ocr-2512", "api.mistral.ai", 2, 3),
        ("mistral-ocr-3", "api.mistral.ai", 2, 3),
        ("mistral-ocr-3-0", "api.mistral.ai", 2, 3),
        ("mistral-ocr-4-0", "api.mistral.ai", 4, 5),
        ("mistral-ocr-4-1", "api.mistral.ai", 4, 5),
        ("mistral-ocr-4", "api.mistral.ai", 4, 5),
        ("mistral-ocr-latest", "api.mistral.ai", 4, 5),
        ("MISTRAL-OCR-2512", "api.mistral.ai", 2, 3),
        ("mistral-ocr-2512-completion", "api.mistral.ai", 2, 3),
        ("mistral/mistral-ocr-2512", None, 2, 3),
        ("mistral-ocr-2512", "api.eu.mistral.ai", Decimal("2.2"), Decimal("3.3")),
        ("mistral-ocr-2512", "API.US.mistral.ai:8443", Decimal("2.2"), Decimal("3.3")),
        ("mistral-ocr-2512", "api.eu.mistral.ai.example", 2, 3),
        ("azure/mistral-document-ai-2505", None, 3, 3),
        ("azure_ai/mistral-document-ai-2512", None, 3, 3),
        ("mistral-document-ai-2512", "sandbox", 3, 3),
        ("mistral-document-ai-2512", AZURE, 3, 3),
        ("mistral-ocr-2505", AZURE, 1, None),
        ("mistral-ocr-2512", "r.services.ai.azure.com", 2, None),
        ("mistral-ocr-3", "r.cognitiveservices.azure.com", 2, None),
        ("mistral-ocr-4-0", AZURE, 4, 5),
        ("mistral-ocr-2505", VERTEX, 1, None),
        ("vertex_ai/mistral-ocr-2505", None, 1, None),
        ("my-deployment", AZURE, None, None),
        ("mistral-ocr-9", "api.mistral.ai", None, None),
    ],
)
def test_every_row_prices_its_model(model: str, target: str | None, plain: object, annotated: object) -> None:
    """Each model costs what its row says, plain and annotated; what has no price is unpriced, never free."""
    for price, usage in ((plain, Usage(7, 0, model)), (annotated, Usage(0, 7, model))):
        expected = (None, None) if price is None else (int(Decimal(str(price)) * 7 * MILLI), "prices.yaml")
        assert expected == cost(usage, target=target)


@pytest.mark.parametrize(
    ("model", "unit_in", "unit_out"),
    [("mistral-small-latest", 150, 600), ("ministral-3b-latest", 100, 100), ("magistral-medium", 1500, 7500)],
)
def test_tokens_have_prices(model: str, unit_in: int, unit_out: int) -> None:
    """Chat answers cost their tokens, each kind at its own price."""
    assert (3 * unit_in + 5 * unit_out, "prices.yaml") == cost(Usage(model=model, tokens_in=3, tokens_out=5))


@pytest.mark.parametrize(
    ("on", "per_1000"), [(date(2026, 6, 22), 2), (date(2026, 6, 23), 4), (date(2026, 7, 15), 4), (date(2026, 7, 16), 4)]
)
def test_an_alias_means_what_it_meant_on_the_day(on: date, per_1000: int) -> None:
    """mistral-ocr-latest moved from OCR 3 to OCR 4: an exchange costs what the alias stood for when it began."""
    assert (per_1000 * MILLI, "prices.yaml") == cost(Usage(1, model="mistral-ocr-latest"), on=on)


OCR = Price("mistral-ocr-4-1", Decimal(9))


@pytest.mark.parametrize(
    ("overrides", "model", "target", "per_1000"),
    [
        ((OCR,), "mistral-ocr-latest", "api.mistral.ai", 9),
        ((Price("mistral-ocr-latest", Decimal(9)),), "mistral-ocr-4-1", "api.mistral.ai", 9),
        ((Price("Mistral/mistral-ocr-latest", Decimal(9)),), "mistral-ocr-4-1", "api.mistral.ai", 9),
        ((Price("mistral/mistral-ocr-4-1", Decimal(9)),), "mistral-ocr-4-0", "api.mistral.ai", 4),
        ((OCR,), "mistral-ocr-4-1", "api.eu.mistral.ai", 9),
        ((Price("azure_ai/deployed", Decimal(9)),), "deployed", AZURE, 9),
        ((Price("azure/deployed", Decimal(9)),), "deployed", "api.mistral.ai", None),
        ((Price("mistral-ocr-2512", Decimal(9)), Price("azure/mistral-ocr-2512", Decimal(8))), "mistral-ocr-2512", AZURE, 8),
        ((OCR, Price("mistral-ocr-4-1", Decimal(8), effective_from=TODAY)), "mistral-ocr-4-1", None, 8),
        ((OCR, Price("mistral-ocr-4-1", Decimal(8), effective_from=date(2026, 11, 21))), "mistral-ocr-4-1", None, 9),
        ((Price("mistral-ocr-4-1", Decimal(8), effective_from=date(2026, 11, 21)),), "mistral-ocr-4-1", None, 4),
        ((OCR, Price("mistral-ocr-4-1", Decimal(8))), "mistral-ocr-4-1", None, 8),
        ((Price("mistral-ocr-4-1", Decimal(8), effective_from=TODAY), OCR), "mistral-ocr-4-1", None, 8),
        ((Price("mistral-ocr-4-1", usd_per_1000_annotated_pages=Decimal(1)),), "mistral-ocr-4-1", None, None),
    ],
)
def test_the_operators_prices_win(overrides: tuple[Price, ...], model: str, target: str | None, per_1000: int | None) -> None:
    """The operator's row in force replaces the shipped one, by name, alias or provider, and is paid as it stands."""
    found = cost(Usage(1, model=model), prices=Prices(overrides), target=target)
    assert found is not None
    assert (None if per_1000 is None else per_1000 * MILLI) == found[0]
    assert found[1] == (None if per_1000 is None else "prices.yaml" if per_1000 == 4 else "routes.yaml")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(), None),
        (Usage(model="mistral-ocr-2512"), None),
        (Usage(0, 0, "mistral-ocr-2512"), (0, "prices.yaml")),
        (Usage(0, model="mistral-ocr-2503"), (0, "prices.yaml")),
        (Usage(0, model="who-knows"), (None, None)),
        (Usage(3), (None, None)),
        (Usage(2, 1, "mistral-ocr-2503"), (None, None)),
        (Usage(2, 1, "mistral-ocr-2512"), (7 * MILLI, "prices.yaml")),
        (Usage(2, model="mistral-ocr-2512", tokens_in=10, tokens_out=10), (4 * MILLI, "prices.yaml")),
        (Usage(model="mistral-ocr-2512", tokens_in=10), (None, None)),
        (Usage(10**12, model="mistral-ocr-2512"), (2 * 10**18, "prices.yaml")),
        (Usage(10**14, model="mistral-ocr-2512"), (None, None)),
    ],
)
def test_what_is_not_known_has_no_cost(usage: Usage, expected: tuple[int | None, str | None] | None) -> None:
    """No counter, no charge; a counter whose price is not known, or whose cost fits no column, has no cost; 0 pages cost 0."""
    assert expected == cost(usage)


@pytest.mark.parametrize(
    ("price", "usage", "expected"),
    [
        (None, Usage(4, 0, "mistral-ocr-2512", in_batch=True), 4 * MILLI),
        (None, Usage(0, 4, "mistral-ocr-2512", in_batch=True), 6 * MILLI),
        (None, Usage(model="mistral-small-latest", tokens_in=4, tokens_out=2, in_batch=True), 900),
        (Price("m", Decimal(2), batch_factor=Decimal("0.25")), Usage(4, 0, "m", in_batch=True), 2 * MILLI),
        (Price("m", Decimal(2), batch_factor=Decimal("0.25")), Usage(4, 0, "m"), 8 * MILLI),
    ],
)
def test_a_batch_costs_its_share(price: Price | None, usage: Usage, expected: int) -> None:
    """In a batch each price is multiplied by the row's factor, half by default."""
    assert (expected, "prices.yaml" if price is None else "routes.yaml") == cost(usage, prices=Prices([price] if price else []))


def test_factors_are_multiplied() -> None:
    """A batch on a regional host costs both factors' product, exactly."""
    assert (4 * MILLI * 11 // 10, "prices.yaml") == cost(
        Usage(4, 0, "mistral-ocr-2512", in_batch=True), target="api.eu.mistral.ai"
    )


CREDIT = Price("reducto", usd_per_credit=Decimal("0.015"))


@pytest.mark.parametrize(
    ("price", "usage", "expected"),
    [
        (CREDIT, Usage(model="reducto", credits_micro=1_500_000), 22_500_000),
        (CREDIT, Usage(model="reducto", credits_micro=1), 15),
        (CREDIT, Usage(model="reducto", credits_micro=0), 0),
        (CREDIT, Usage(7, 0, "reducto", credits_micro=2_000_000), 30_000_000),
        (CREDIT, Usage(model="reducto", credits_micro=2_000_000, in_batch=True), 15_000_000),
        (CREDIT, Usage(7, 0, "reducto"), None),
        (Price("reducto", Decimal(10), usd_per_credit=Decimal(1)), Usage(7, 0, "reducto", credits_micro=1_000_000), 10**9),
        (Price("reducto", Decimal(10), usd_per_credit=Decimal(1)), Usage(7, 0, "reducto"), 70 * MILLI),
        (replace(CREDIT, usd_per_credit=Decimal(1)), Usage(model="reducto", credits="0.00000164", credits_micro=2), 1640),
        (CREDIT, Usage(model="reducto", credits="1.5", credits_micro=1_500_000, in_batch=True), 11_250_000),
        (Price("reducto", Decimal(10)), Usage(7, 0, "reducto", credits_micro=1_000_000), 70 * MILLI),
        (Price("reducto", Decimal(10)), Usage(model="reducto", credits_micro=1_000_000), None),
    ],
)
def test_credits_have_a_price(price: Price, usage: Usage, expected: int | None) -> None:
    """Credits that have a price are the whole bill; without one, pages are; with neither, the cost is not known."""
    assert (expected, None if expected is None else "routes.yaml") == cost(usage, prices=Prices([price]))


@pytest.mark.parametrize(
    ("route", "model", "per_1000"),
    [
        ("/mistral", "mistral-ocr-2512", 7),
        ("/mistral", "mistral-ocr-3", 7),
        ("/mistral", "mistral-ocr-4-1", 9),
        ("/mistral", "mistral-ocr-2505", 1),
        ("/other", "mistral-ocr-2512", 8),
        (None, "mistral-ocr-2512", 8),
        ("/mistral/", "mistral-ocr-2512", 8),
    ],
)
def test_a_routes_own_prices_come_first(route: str | None, model: str, per_1000: int) -> None:
    """A row of the route goes before one for every route, and that before the shipped list; other routes do not see it."""
    prices = Prices([Price("mistral-ocr-2512", Decimal(8)), Price("mistral-ocr-2512", Decimal(7), route="/mistral"), OCR])
    terms = None if route is None else RouteTerms(route)
    charge = prices.charge(Usage(1, model=model), terms=terms, target="api.mistral.ai", began_utc=noon(TODAY))
    assert charge is not None
    assert per_1000 * MILLI == charge.cost_nano
    listed = {(row.name, row.price.route): row.price.usd_per_1000_pages for row in prices.today(TODAY) if row.price}
    assert (Decimal(7), Decimal(8)) == (listed["mistral-ocr-2512", "/mistral"], listed["mistral-ocr-2512", None])


def test_the_shipped_list_is_read_once_for_many() -> None:
    """Prices made of a list that was read before cost the same as those that read it."""
    listed = shipped()
    usages = [Usage(3, 1, price.model) for price in listed.prices]
    assert [cost(usage) for usage in usages] == [cost(usage, prices=Prices((), listed)) for usage in usages]
    assert all(price.source for price in (*listed.prices, *(host for host in listed.hosts if host.factor != 1)))


def test_many_rows_are_found_at_once() -> None:
    """Thousands of the operator's rows, of routes of their own, make no question slow, and each is the one that counts."""
    prices = Prices([Price(f"m{n % 10}", Decimal(n), route=f"/{n // 10}") for n in range(20_000)])
    for n in range(0, 20_000, 997):
        charge = prices.charge(Usage(1, model=f"m{n % 10}"), terms=RouteTerms(f"/{n // 10}"), target=None, began_utc=noon(TODAY))
        assert charge is not None
        assert n * MILLI == charge.cost_nano


@pytest.mark.parametrize("usage", [Usage(), Usage(5, model="mistral-ocr-2512"), Usage(5, model="who-knows")])
def test_a_price_per_request_replaces_all_others(usage: Usage) -> None:
    """A route with a price of its own costs that, with pages or without."""
    charge = PRICES.charge(usage, terms=RouteTerms("/x", cost_per_request_nano=42), target=None, began_utc=noon(TODAY))
    assert charge is not None
    assert (42, "cost_per_request", usage.pages) == (charge.cost_nano, charge.cost_source, charge.pages)


@given(
    pages=st.integers(0, 10**6),
    annotated=st.integers(0, 10**6),
    plain=st.decimals(0, 100, places=4),
    dear=st.decimals(0, 100, places=4),
)
def test_costs_are_exact(pages: int, annotated: int, plain: Decimal, dear: Decimal) -> None:
    """With prices of four decimals the cost is the exact sum, and its text in dollars reads back as the same number."""
    prices = Prices([Price("m", plain, dear)])
    found = cost(Usage(pages, annotated, "m"), prices=prices)
    exact = (pages * Fraction(plain) + annotated * Fraction(dear)) * MILLI
    assert (exact, "routes.yaml") == found
    assert Fraction(Decimal(str(usd(int(exact))))) * 10**9 == exact


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (48_000_000, "0.048"),
        (1, "0.000000001"),
        (10**18, "1000000000"),
        (12 * 10**9 + 5 * 10**8, "12.5"),
        (-1, "-0.000000001"),
    ],
)
def test_dollars_are_written_without_exponent(nano: int, text: str) -> None:
    """Dollars have the decimals that they need, no exponent, and stand in JSON as a number."""
    assert (text, f'{{"cost": {text}}}') == (usd(nano), json_object([("cost", usd(nano))]))


def test_the_list_of_today_says_what_applies_and_from_where() -> None:
    """The listing shows the operator's rows, the shipped ones that they do not replace, aliases with their model, and hosts."""
    rows = Prices([Price("mistral-ocr-2512", Decimal(1)), Price("later", effective_from=date(2030, 1, 1))]).today(TODAY)
    own = [row.name for row in rows if row.from_file == "routes.yaml" and row.kind == "price"]
    aliases = {row.name: (row.stands_for, row.price and row.price.usd_per_1000_pages) for row in rows if row.kind == "alias"}
    hosts = {row.name: row.factor for row in rows if row.kind == "host"}
    assert own == ["mistral-ocr-2512"]
    assert len({row.name for row in rows}) == len(rows)
    assert ("mistral-ocr-2512", Decimal(1)) == aliases["mistral-ocr-3"]
    assert ("mistral-ocr-4-1", Decimal(4)) == aliases["mistral-ocr-latest"]
    assert Decimal("1.1") == hosts["api.eu.mistral.ai"]


@pytest.mark.parametrize(
    ("model", "target", "name"),
    [
        ("mistral-ocr-latest", "api.mistral.ai", "mistral-ocr-4-1"),
        ("mistral-ocr-4-1", "api.mistral.ai", "mistral-ocr-4-1"),
        ("mistral-ocr-4", "api.eu.mistral.ai", "mistral-ocr-4-1"),
        ("Mistral-OCR-4-1-completion", "sandbox", "mistral-ocr-4-1"),
        ("mistral/mistral-ocr-latest", None, "mistral-ocr-4-1"),
        ("mistralai/mistral-ocr-4-1", None, "mistral-ocr-4-1"),
        ("azure/mistral/mistral-ocr-2512", "api.mistral.ai", "azure/mistral-ocr-2512"),
        ("azure/mistral/foo", "api.mistral.ai", "azure/foo"),
        ("mistral-ocr-3", AZURE, "azure/mistral-ocr-2512"),
        ("azure_ai/mistral-ocr-2512", None, "azure/mistral-ocr-2512"),
        ("mistral-document-ai-2512", "sandbox", "azure/mistral-document-ai-2512"),
        ("mistral/Who-Knows", "api.mistral.ai", "who-knows"),
        ("azure_ai/foo-completion", "api.mistral.ai", "azure/foo"),
        ("azure_ai/eu/foo", "api.mistral.ai", "azure/eu/foo"),
        ("mistral/azure/foo", "api.mistral.ai", "azure/foo"),
        ("foo", AZURE, "foo"),
        (None, "api.mistral.ai", None),
    ],
)
@pytest.mark.parametrize("terms", [None, RouteTerms("/mistral"), RouteTerms("/flat", cost_per_request_nano=42)])
def test_one_model_has_one_name(model: str | None, target: str | None, name: str | None, terms: RouteTerms | None) -> None:
    """A model is booked under the name of the row that prices it, else under its canonical one, however it is written."""
    assert name == PRICES.priced_as(model, terms=terms, target=target, began_utc=noon(TODAY))
    charge = PRICES.charge(Usage(1, model=model), terms=terms, target=target, began_utc=noon(TODAY))
    assert charge is not None
    assert (name, model) == (charge.priced_as, charge.model)


def test_a_name_is_that_of_its_day() -> None:
    """An alias that has moved is booked as the model that it stood for when the exchange began."""
    names = [
        PRICES.priced_as("mistral-ocr-latest", terms=None, target=None, began_utc=noon(day))
        for day in (date(2026, 6, 22), date(2026, 6, 23), date(2026, 7, 16))
    ]
    assert ["mistral-ocr-2512", "mistral-ocr-4-0", "mistral-ocr-4-1"] == names


def test_an_operators_row_for_an_alias_gives_no_name_of_its_own() -> None:
    """A row of the operator's for `mistral/mistral-ocr-latest` prices the model, which keeps its one name."""
    prices = Prices([Price("Mistral/mistral-ocr-latest", Decimal(9))])
    charge = prices.charge(Usage(1, model="mistral-ocr-4-1"), terms=None, target=None, began_utc=noon(TODAY))
    assert charge is not None
    assert (9 * MILLI, "mistral-ocr-4-1") == (charge.cost_nano, charge.priced_as)


CACHED = Price(
    "m",
    usd_per_million_input_tokens=Decimal("0.5"),
    usd_per_million_output_tokens=Decimal("1.5"),
    usd_per_million_cached_input_tokens=Decimal("0.05"),
)


@pytest.mark.parametrize(
    ("price", "usage", "expected"),
    [
        (CACHED, Usage(model="m", tokens_in=1000, tokens_out=10, tokens_cached=900), 100 * 500 + 900 * 50 + 10 * 1500),
        (CACHED, Usage(model="m", tokens_in=1000, tokens_out=10, tokens_cached=1000), 1000 * 50 + 10 * 1500),
        (CACHED, Usage(model="m", tokens_in=1000, tokens_out=10, tokens_cached=2000), 1000 * 50 + 10 * 1500),
        (CACHED, Usage(model="m", tokens_in=1000, tokens_out=10, tokens_cached=0), 1000 * 500 + 10 * 1500),
        (CACHED, Usage(model="m", tokens_in=1000, tokens_cached=900, in_batch=True), (100 * 500 + 900 * 50) // 2),
        (CACHED, Usage(model="m", tokens_out=10, tokens_cached=900), 10 * 1500),
        (replace(CACHED, usd_per_million_cached_input_tokens=None), Usage(model="m", tokens_in=1000, tokens_cached=900), 500_000),
        (replace(CACHED, usd_per_million_input_tokens=None), Usage(model="m", tokens_in=1000, tokens_cached=900), None),
        (replace(CACHED, usd_per_million_input_tokens=None), Usage(model="m", tokens_in=900, tokens_cached=900), 45_000),
        (replace(CACHED, usd_per_1000_pages=Decimal(1)), Usage(2, model="m", tokens_in=9, tokens_cached=9), 2 * MILLI + 450),
    ],
)
def test_cached_tokens_have_their_price(price: Price, usage: Usage, expected: int | None) -> None:
    """Cached tokens, never more than went in, cost their own price where the row has one, else the full one."""
    assert (expected, None if expected is None else "routes.yaml") == cost(usage, prices=Prices([price]))


@pytest.mark.parametrize(
    ("tier", "expected", "known"),
    [
        (None, 5, True),
        ("priority", 9, True),
        ("flex", 5, False),
    ],
)
def test_a_service_tier_has_its_own_row(tier: str | None, expected: int, known: bool) -> None:
    """A tier's own row prices what it served; without one the standard price applies, and the tier is not known."""
    standard = Price("mistral-small-latest", usd_per_million_input_tokens=Decimal(5))
    prices = Prices([standard, replace(standard, usd_per_million_input_tokens=Decimal(9), service_tier="priority")])
    usage = Usage(model="mistral-small-latest", tokens_in=1000, service_tier=tier)
    assert (expected * MILLI, "routes.yaml") == cost(usage, prices=prices)
    assert known == prices.knows_tier(usage, terms=RouteTerms("/mistral"), target="api.mistral.ai", began_utc=noon(TODAY))


def test_a_tier_is_known_from_its_first_day_on() -> None:
    """A tier's row counts from its day on, and in a batch too; a row for batches is no tier's."""
    row = Price("m", usd_per_million_input_tokens=Decimal(9), service_tier="priority", effective_from=TODAY)
    batch = Price("m", usd_per_million_input_tokens=Decimal(2), service_tier="batch")
    prices = Prices([row, batch, Price("m", usd_per_million_input_tokens=Decimal(5))])
    for in_batch in (False, True):
        usage = Usage(model="m", tokens_in=1, service_tier="priority", in_batch=in_batch)
        known = [
            prices.knows_tier(usage, terms=None, target=None, began_utc=noon(date.fromordinal(TODAY.toordinal() + days)))
            for days in (-1, 0)
        ]
        assert [False, True] == known
    flex = Usage(model="m", tokens_in=1000, service_tier="flex", in_batch=True)
    assert not prices.knows_tier(flex, terms=None, target=None, began_utc=noon(TODAY))
    assert (2 * MILLI, "routes.yaml") == cost(flex, prices=prices)


def test_the_listing_is_sorted() -> None:
    """The operator's rows come first, by name and route; then those that ship."""
    rows = [
        Price("b", Decimal(1), route="/2"),
        Price("b", Decimal(1), route="/1"),
        Price("a", Decimal(1)),
        Price("b", Decimal(1)),
    ]
    listed = [(row.name, row.price.route) for row in Prices(rows).today(TODAY) if row.kind == "price" and row.price]
    assert [("a", None), ("b", None), ("b", "/1"), ("b", "/2"), ("azure/cohere-parse-v5", None)] == listed[:5]


def test_a_tier_without_standard_row_and_a_price_per_request() -> None:
    """A row for another tier prices nothing else; a price per request holds for every tier; no model, no tier."""
    prices = Prices([Price("m", usd_per_million_input_tokens=Decimal(9), service_tier="priority")])
    assert (None, None) == cost(Usage(model="m", tokens_in=1000), prices=prices)
    flat, nameless = RouteTerms("/x", cost_per_request_nano=1), Usage(tokens_in=1, service_tier="flex")
    known = [prices.knows_tier(nameless, terms=terms, target=None, began_utc=noon(TODAY)) for terms in (flat, None)]
    assert [True, False] == known


FLAT, NAMED = RouteTerms("/flat", cost_per_request_nano=42), RouteTerms("/named", MeterPlan(model="mistral-ocr-2512"))


@pytest.mark.parametrize(
    ("terms", "target", "on", "nano"),
    [
        (RouteTerms("/mistral"), "api.mistral.ai", TODAY, 5 * MILLI),
        (RouteTerms("/mistral"), "api.mistral.ai", date(2026, 6, 22), 3 * MILLI),
        (RouteTerms("/mistral"), "api.eu.mistral.ai", TODAY, 5_500_000),
        (RouteTerms("/mistral"), "sandbox", TODAY, 5 * MILLI),
        (None, None, TODAY, 5 * MILLI),
        (RouteTerms("/own"), "api.mistral.ai", TODAY, 70 * MILLI),
        (FLAT, "api.mistral.ai", TODAY, 42),
        (RouteTerms("/annotated"), "api.mistral.ai", TODAY, 80 * MILLI),
        (NAMED, "api.mistral.ai", TODAY, 3 * MILLI),
        (RouteTerms("/named", MeterPlan(model="who-knows")), "api.mistral.ai", TODAY, None),
        (RouteTerms("/named", MeterPlan(model="mistral-small-latest")), "api.mistral.ai", TODAY, 5 * MILLI),
        (RouteTerms("/named", MeterPlan(model="mistral-small-latest"), price_list="none"), "api.mistral.ai", TODAY, None),
    ],
)
def test_the_dearest_page_of_a_routes_list(terms: RouteTerms | None, target: str | None, on: date, nano: int | None) -> None:
    """Before anything is known, a page costs what the dearest one of the list does on that day; the second look-up agrees."""
    annotated = Price("notes", usd_per_1000_annotated_pages=Decimal(80), route="/annotated")
    prices = Prices([Price("mine", Decimal(70), route="/own"), Price("azure/other", Decimal(99)), annotated])
    for _ in range(2):
        assert nano == prices.dearest_page(terms=terms, target=target, began_utc=noon(on))


def test_more_models_than_are_remembered_are_priced() -> None:
    """Models come from answers: any number of names is priced, without being kept."""
    prices = Prices()
    for number in range(2500):
        assert cost(Usage(1, model=f"m{number}"), prices=prices) == (None, None)
    assert cost(Usage(1, model="mistral-ocr-2512"), prices=prices) == (2 * MILLI, "prices.yaml")


def test_a_cost_that_fits_no_column_is_none() -> None:
    """2⁶³ - 1 nano-dollars can be stored; one more is no cost, rather than a wrong one."""
    prices = Prices([Price("m", usd_per_million_input_tokens=Decimal("0.001"))])
    for tokens, expected in ((2**63 - 1, 2**63 - 1), (2**63, None)):
        found = prices.charge(Usage(model="m", tokens_in=tokens), terms=None, target=None, began_utc=0.0)
        assert (expected, True) == (found and found.cost_nano, found is not None)


def test_more_days_and_targets_than_are_remembered() -> None:
    """An import of old exchanges asks about many days, and redirected targets are many: each still has its own answer."""
    prices = Prices()
    first = date(2026, 6, 1).toordinal()
    names = {
        prices.priced_as("mistral-ocr-latest", terms=None, target=None, began_utc=noon(date.fromordinal(first + number % 100)))
        for number in range(200)
    }
    assert {"mistral-ocr-2512", "mistral-ocr-4-0", "mistral-ocr-4-1"} == names
    for number in range(1100):
        assert 5 * MILLI == prices.dearest_page(terms=None, target=f"h{number}.example", began_utc=noon(TODAY))
    assert 5_500_000 == prices.dearest_page(terms=None, target="api.eu.mistral.ai", began_utc=noon(TODAY))


def test_a_tier_that_begins_later_is_not_listed_yet() -> None:
    """The listing has the standard row of today, and a tier's row from its day on."""
    later = Price("m", usd_per_million_input_tokens=Decimal(2), service_tier="priority", effective_from=date(2026, 12, 1))
    prices = Prices([Price("m", usd_per_million_input_tokens=Decimal(1)), later])

    def tiers(on: date) -> list[str | None]:
        return [row.price.service_tier for row in prices.today(on) if row.name == "m" and row.price]

    assert ([None], [None, "priority"]) == (tiers(TODAY), tiers(date(2026, 12, 1)))


def test_the_rows_in_force_are_those_of_the_day_for_each_tier() -> None:
    """Neither an older row nor one that is not in force yet; a tier's row stands beside the standard one."""
    standard = [
        Price("m", Decimal(usd), effective_from=day) for usd, day in ((1, None), (2, date(2026, 1, 1)), (3, date(2027, 1, 1)))
    ]
    fast = [
        Price("m", Decimal(8), service_tier="priority"),
        Price("m", Decimal(9), service_tier="x", effective_from=date(2027, 1, 1)),
    ]
    prices = Prices([*standard, *fast])
    for on, expected in ((date(2025, 12, 31), [1, 8]), (date(2026, 1, 1), [2, 8]), (date(2027, 1, 1), [3, 8, 9])):
        assert expected == [row.usd_per_1000_pages for row in prices.in_force(OVERRIDE, on)["m"]]


def deployed(usage: Usage, price: DeploymentPrice, price_list: str | None = "azure") -> tuple[object, ...]:
    """Return cost in nano-USD, source and priced name of a usage at a deployment."""
    terms = RouteTerms("/v1/ocr", price_list=price_list, deployment_price=price)
    charge = PRICES.charge(usage, terms=terms, target="x.services.ai.azure.com", began_utc=noon(TODAY))
    assert charge is not None
    return charge.cost_nano, charge.cost_source, charge.priced_as


@pytest.mark.parametrize(
    ("price", "plain", "annotated", "expected"),
    [
        (DeploymentPrice("azure_ai/mine", Decimal("0.004")), 2, 0, (8_000_000, OVERRIDE)),
        (DeploymentPrice("azure_ai/mine", Decimal("0.004")), 2, 3, (20_000_000, OVERRIDE)),  # annotated ones cost the same
        (DeploymentPrice("azure_ai/mine", Decimal("0.004"), Decimal("0.005")), 2, 3, (23_000_000, OVERRIDE)),
        (DeploymentPrice("azure_ai/mine", None, Decimal("0.005")), 0, 3, (15_000_000, OVERRIDE)),
        (DeploymentPrice("azure_ai/mine", None, Decimal("0.005")), 2, 3, (None, None)),  # LiteLLM books plain ones for nothing
        (DeploymentPrice("mistral/mistral-ocr-2512", None, Decimal("0.005")), 2, 3, (19_000_000, OVERRIDE)),
        (DeploymentPrice("azure_ai/mine", Decimal(0)), 2, 3, (0, OVERRIDE)),
        (DeploymentPrice("azure_ai/mine"), 2, 0, (None, None)),
        (DeploymentPrice("mistral/mistral-ocr-2512"), 2, 0, (4_000_000, "prices.yaml")),
    ],
)
@pytest.mark.parametrize("model", [None, "told"])
def test_a_deployments_own_prices_come_first(
    price: DeploymentPrice, plain: int, annotated: int, expected: tuple[int | None, str | None], model: str | None
) -> None:
    """Plain and annotated pages are counted apart, as LiteLLM does; what has no price of its own goes by the lists."""
    assert expected == deployed(Usage(plain, annotated, model), price)[:2]


def test_a_deployments_response_is_priced_by_its_model_first() -> None:
    """The response's model, else that of the deployment; the deployment's price is a page's, whatever tokens were counted."""
    of_base = DeploymentPrice("mistral/mistral-ocr-2505")
    assert (4_000_000, "prices.yaml", "mistral-ocr-2512") == deployed(Usage(2, 0, "mistral-ocr-2512"), of_base, "mistral")
    assert (2_000_000, "prices.yaml", "mistral-ocr-2505") == deployed(Usage(2, 0, "told"), of_base, "mistral")
    own = DeploymentPrice("mistral/mistral-ocr-2505", Decimal("0.01"))
    assert 20_000_000 == deployed(Usage(2, 0, "mistral-ocr-2512", tokens_in=9, tokens_out=9), own)[0]
