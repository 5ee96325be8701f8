"""What pages cost: every row of the list, names and aliases, hosts, the operator's own prices, and the arithmetic."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from passthrough.accounting.money import json_object, usd
from passthrough.accounting.pricing.prices import Price, Prices, shipped
from passthrough.exchange import RouteTerms
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
        ("mistral-ocr-2505", VERTEX, Decimal("0.5"), None),
        ("vertex_ai/mistral-ocr-2505", None, Decimal("0.5"), None),
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


def test_more_models_than_are_remembered_are_priced() -> None:
    """Models come from answers: any number of names is priced, without being kept."""
    prices = Prices()
    for number in range(2500):
        assert cost(Usage(1, model=f"m{number}"), prices=prices) == (None, None)
    assert cost(Usage(1, model="mistral-ocr-2512"), prices=prices) == (2 * MILLI, "prices.yaml")
