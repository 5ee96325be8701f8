"""History at today's prices, beside what it was booked at."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from passthrough.accounting.entry import Charge, Entry
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.pricing.offers import NamedLists
from passthrough.accounting.pricing.prices import Alias, Price, PriceList, Prices
from passthrough.accounting.reports.reprice import Repricing, Today, reprice, to_csv, to_json, to_table
from passthrough.cli.terminal import show
from tests.harness.entries import booked
from tests.harness.process import command

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
THEN = NOW - 30 * 86_400
PAGES_AT_3 = (Price("m", Decimal(3), Decimal(30), usd_per_credit=Decimal("0.5"), batch_factor=Decimal("0.5")),)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Yield a new ledger."""
    with closing(Ledger.open(f"sqlite:///{tmp_path}/passthrough.db")) as opened:
        yield opened


def charged(charge: Charge, client: str = "invoices", at: float = THEN) -> Entry:
    """Return the entry of an OCR call on the route /mistral with one charge."""
    return replace(booked(client, at=at), charges=(charge,))


@pytest.mark.parametrize(
    ("charge", "expected"),
    [
        (Charge("m", 1000, cost_nano=10**9, cost_source="prices.yaml"), 3 * 10**9),
        (Charge("m", 1000, cost_nano=10**9, cost_source="routes.yaml"), 3 * 10**9),
        (Charge("m", 0, 1000, cost_nano=None), 30 * 10**9),
        (Charge("m", 1000, cost_nano=10**9, cost_source="prices.yaml", line="a", in_batch=True), 15 * 10**8),
        (Charge("m", credits_micro=1_500_000, cost_nano=None), 75 * 10**7),
        (Charge("m", 1000, cost_nano=7, cost_source="x-aimlapi-usd-spent"), 7),
        (Charge("nobody-knows", 1000, cost_nano=7, cost_source="prices.yaml"), None),
        (Charge(None, cost_nano=9, cost_source="cost_per_request"), None),
    ],
)
def test_what_a_charge_would_cost(ledger: Ledger, charge: Charge, expected: int | None) -> None:
    """Pages, batches and credits go by today's list, what the provider reported stays, and what has no price today has none."""
    ledger.append([charged(charge)])
    total = reprice(ledger.exported(), Today(Prices(PAGES_AT_3), {}, NOW), (), None, None).total
    assert (charge.cost_nano or 0, expected or 0) == (total.cost_nano, total.today_nano)
    assert (charge.cost_nano is None, expected is None) == (total.unpriced == 1, total.unpriced_today == 1)


TOKENS_TODAY = (
    Price(
        "chat",
        usd_per_million_input_tokens=Decimal(4),
        usd_per_million_output_tokens=Decimal(8),
        usd_per_million_cached_input_tokens=Decimal(1),
    ),
    Price("chat", usd_per_million_input_tokens=Decimal(10), service_tier="priority"),
    Price("chat", usd_per_million_input_tokens=Decimal(3), effective_from=date(2026, 11, 21)),
    Price("units", usd_per_credit=Decimal(1)),
)


@pytest.mark.parametrize(
    ("charge", "target", "expected"),
    [
        (Charge("chat", tokens_in=1000, tokens_cached=900, tokens_out=10), None, 100 * 4000 + 900 * 1000 + 10 * 8000),
        (Charge("chat", tokens_in=1000, tokens_cached=900, in_batch=True, line="l"), None, (100 * 4000 + 900 * 1000) // 2),
        (Charge("chat", tokens_in=1000, service_tier="priority"), None, 10_000_000),
        (Charge("chat", tokens_in=1000, service_tier="flex"), None, 4_000_000),
        (Charge("units", credits="0.00000164", credits_micro=2), None, 1640),
        (Charge("units", credits_micro=2), None, 2000),
        (Charge("mistral-large-2512", tokens_in=1013, tokens_cached=1008, tokens_out=30), None, 97_900),
        (Charge("mistral-large-2512", tokens_in=1000, tokens_cached=1000), "api.eu.mistral.ai", 55_000),
        (Charge("mistral-large-latest", tokens_in=10), "openrouter.ai", None),
        (Charge("gpt", tokens_in=10, cost_nano=1, cost_source="price_map"), "api.openai.com", 20_000),
    ],
)
def test_what_tokens_tiers_and_credits_would_cost(
    ledger: Ledger, charge: Charge, target: str | None, expected: int | None
) -> None:
    """Cached tokens, tiers, exact credits, hosts and the price map count as they do when an exchange is booked."""
    ledger.append([replace(charged(charge), target=target or "api.mistral.ai")])
    mapped = (Price("openai/gpt", usd_per_million_input_tokens=Decimal(2), source="map.json"),)
    total = reprice(ledger.exported(), Today(Prices(TOKENS_TODAY, mapped=mapped), {}, NOW), (), None, None).total
    assert (expected or 0, int(expected is None)) == (total.today_nano, total.unpriced_today)


def test_the_list_that_a_route_names_holds_today_too(ledger: Ledger) -> None:
    """A route that names another list, or none, is repriced by that."""
    ledger.append([charged(Charge("prebuilt-layout", 1000)), charged(Charge("mistral-ocr-2512", 1000))])
    found = []
    for price_list in ("mistral", "azure", "none"):
        total = reprice(ledger.exported(), Today(Prices(), {}, NOW, NamedLists({"/mistral": price_list})), (), None, None).total
        found.append((total.today_nano // 10**9, total.unpriced_today))
    assert [(2, 1), (12, 0), (0, 2)] == found


@pytest.mark.parametrize(
    ("source", "told", "name", "expected"),
    [
        ("routes.yaml", "told", "told", 7),  # it may be the deployment's own price
        ("prices.yaml", "told", "mistral-ocr-2512", 2_000_000),  # by the deployment's model, which priced it
        ("prices.yaml", "mistral-ocr-2505", "mistral-ocr-2505", 1_000_000),
        (None, "told", "told", None),
    ],
)
def test_what_a_deployments_page_would_cost(
    ledger: Ledger, source: str | None, told: str, name: str, expected: int | None
) -> None:
    """By the name that it was priced by, where the response's model has no price."""
    charge = Charge(told, 1, 0, cost_nano=None if source is None else 7, cost_source=source, priced_as=name)
    ledger.append([replace(charged(charge), route="/v1/ocr", deployment="m-1", model_group="scan", priced_as=name)])
    total = reprice(ledger.exported(), Today(Prices(), {}, NOW), (), None, None).total
    assert (expected or 0, int(expected is None)) == (total.today_nano, total.unpriced_today)


@pytest.mark.parametrize(
    ("target", "expected"),
    [(None, (12, 0)), ("/mistral#1", (12, 0)), ("/mistral#2", (0, 2)), ("mistral", (2, 1)), ("host", (2, 1))],
)
def test_a_target_goes_by_the_list_of_its_own_meter(ledger: Ledger, target: str | None, expected: tuple[int, int]) -> None:
    """Else by its endpoint's; a meter of its own that names no list leaves it to the host. A price of the file is today's."""
    made = [
        charged(Charge(model, 1000, cost_nano=7, cost_source="routes.yaml")) for model in ("prebuilt-layout", "mistral-ocr-2512")
    ]
    ledger.append([replace(each, deployment=target) for each in made])
    lists = NamedLists({"/mistral": "azure"}, {"/mistral#2": "none", "mistral": "mistral", "host": None})
    total = reprice(ledger.exported(), Today(Prices(), {}, NOW, lists), (), None, None).total
    assert expected == (total.today_nano // 10**9, total.unpriced_today)


def test_prices_of_routes_and_requests(ledger: Ledger) -> None:
    """A route's own price comes first; its price per request is for the exchange, not for the lines that it brought."""
    lines = tuple(Charge("m", 1000, cost_nano=1, cost_source="prices.yaml", line=f"l{i}", in_batch=True) for i in range(3))
    ledger.append([charged(Charge("m", 1000, cost_nano=1, cost_source="prices.yaml"), at=THEN + 1)])
    ledger.append([replace(booked(at=THEN), charges=lines)])

    def today(*own: Price, **flat: int) -> int:
        found = Today(Prices((*PAGES_AT_3, *own)), {f"/{route}": nano for route, nano in flat.items()}, NOW)
        return reprice(ledger.exported(), found, (), None, None).total.today_nano

    assert 3 * 10**9 + 3 * 15 * 10**8 == today()
    assert 4 * 10**9 + 3 * 2 * 10**9 == today(Price("m", Decimal(4), route="/mistral"))
    assert 3 * 10**9 + 3 * 15 * 10**8 == today(Price("m", Decimal(4), route="/other"))
    assert 20_000_000 == today(mistral=20_000_000)


def found(ledger: Ledger, *by: str) -> Repricing:
    """Return three charges of two clients, one without a price then and one without a price now, repriced."""
    ledger.append(
        [
            charged(Charge("m", 1000, cost_nano=10**9, cost_source="prices.yaml"), "ann"),
            charged(Charge("m", 500, cost_nano=None), "ann"),
            charged(Charge("gone", 10, cost_nano=5 * 10**8, cost_source="prices.yaml"), "=ben", NOW),
            replace(booked("cid", at=THEN), charges=()),
        ]
    )
    return reprice(ledger.exported(), Today(Prices(PAGES_AT_3), {}, NOW), by, None, None)


def test_models_and_labels(ledger: Ledger) -> None:
    """A model has the name that is priced, stored or by its day's aliases, or the one that came; labels group charges too."""
    prices = Prices((), PriceList(PAGES_AT_3, (Alias("latest", "m"),), (), {}))
    stored = charged(Charge("M-completion", 1000, cost_nano=1, priced_as="m"))
    older = replace(charged(Charge("latest", 1000, cost_nano=1)), labels='{"team": "a"}')
    ledger.append([stored, older])

    def today(*by: str, as_told: bool = False) -> dict[object, int]:
        repriced = reprice(ledger.exported(), Today(prices, {}, NOW), by, None, None, as_told=as_told)
        return {group.key: group.today_nano for group in repriced.groups}

    assert {("m",): 6 * 10**9} == today("model")
    assert {("M-completion",): 3 * 10**9, ("latest",): 3 * 10**9} == today("model", as_told=True)
    assert {(None,): 3 * 10**9, ("a",): 3 * 10**9} == today("label.team")


def test_groups_have_both_sums_and_the_difference(ledger: Ledger) -> None:
    """Each group has what was booked and what it would be today; an exchange without a charge is in none."""
    said = json.loads(to_json(found(ledger, "client", "month")), parse_float=Decimal)
    names = ("charges", "cost_usd", "today_usd", "difference_usd", "unpriced", "unpriced_today")
    ben = {"client": "=ben", "month": "2026-11"} | dict(zip(names, (1, Decimal("0.5"), 0, Decimal("-0.5"), 0, 1), strict=True))
    ann = {"client": "ann", "month": "2026-10"} | dict(zip(names, (2, 1, Decimal("4.5"), Decimal("3.5"), 1, 0), strict=True))
    total = dict(zip(names, (3, Decimal("1.5"), Decimal("4.5"), 3, 1, 1), strict=True))
    assert {"since": None, "until": None, "groups": [ben, ann], "total": total} == said


def test_the_table_and_csv(ledger: Ledger) -> None:
    """The table has a row of sums, and CSV no formula."""
    repriced = found(ledger, "client")
    file = io.StringIO()
    show(to_table(repriced, "a note"), file=file)
    lines = [line.split() for line in file.getvalue().splitlines()]
    assert ["ann", "2", "1.00", "4.50", "3.50", "1", "0"] in lines
    assert ["=ben", "1", "0.5000", "unpriced", "-", "0", "1"] in lines
    assert ["total", "3", "1.50", "4.50", "3.00", "1", "1"] in lines
    assert ["a", "note"] == lines[-1]
    rows = list(csv.reader(io.StringIO(to_csv(repriced))))
    assert ["'=ben", "1", "0.5", "0", "-0.5", "0", "1", "false"] in rows
    assert 2 == len(to_csv(found(ledger)).splitlines())
    empty = reprice((), Today(Prices(), {}, NOW), ("client",), None, None)
    assert "No charges so far. (x)" == to_table(empty, "x")
    assert 1 == len(to_csv(empty).splitlines())
    assert "0,0,0,0,0,0,false" == to_csv(replace(empty, by=())).splitlines()[1]


def test_csv_marks_the_sandbox(ledger: Ledger) -> None:
    """A group with both kinds of traffic is two rows in CSV, and one in the table and in JSON."""
    ledger.append([booked("ann", at=THEN, pages=3, sandbox=True)])
    repriced = found(ledger, "client")
    rows = [(row["client"], row["charges"], row["sandbox"]) for row in csv.DictReader(io.StringIO(to_csv(repriced)))]
    assert [("'=ben", "1", "false"), ("ann", "2", "false"), ("ann", "1", "true")] == rows
    assert [1, 3] == [group["charges"] for group in json.loads(to_json(repriced))["groups"]]
    assert 3 == len(to_csv(found(ledger)).splitlines())  # without keys, the sum of each kind


@pytest.mark.process
async def test_the_command(tmp_path: Path, ledger: Ledger) -> None:
    """`usage --reprice` goes by the configuration's prices, per page and per request, and by those that ship."""
    ledger.append([booked("ann", at=THEN, pages=1000, cost_nano=10**9), booked("ben", at=THEN, pages=3, sandbox=True)])
    route = "pass_through_endpoints: [{path: /mistral, target: os.environ/UNSET, %s}]\n"
    (tmp_path / "map.json").write_text('{"mistral/mistral-ocr-2512": {"litellm_provider": "mistral", "ocr_cost_per_page": 9e-3}}')
    for text, today in (
        (route % "cost_per_request: 0.25", "0.25"),
        (route % "prices: [{model: mistral-ocr-2512, usd_per_1000_pages: 5}]", "5"),
        ("prices: [{model: mistral-ocr-2512, usd_per_1000_pages: 7}]\n", "7"),
        (route % "auth: true", "2"),
        (route % "meter: {price_list: none}" + "price_map: map.json\n", "9"),
    ):
        (tmp_path / "routes.yaml").write_text(text)
        code, out, err = await command(tmp_path, "usage", "--reprice", "--format", "json")
        assert (0, "") == (code, err)
        assert (1, Decimal(today)) == tuple(
            json.loads(out, parse_float=Decimal)["total"][name] for name in ("charges", "today_usd")
        )
    code, out, err = await command(tmp_path, "usage", "--reprice", "--by", "model,day")
    assert (0, "") == (code, err)
    assert "mistral-ocr-2512" in out
    assert "without 1 request to the sandbox" in out
