"""A month's statement: its sums are those of usage, it says what is in doubt and why, and where its prices come from."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from passthrough.accounting.entry import Charge, Entry
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.pricing.prices import Price, Prices
from passthrough.accounting.reports.html_page import to_html
from passthrough.accounting.reports.markdown import to_markdown
from passthrough.accounting.reports.report import summarize
from passthrough.accounting.reports.statement import Month, Party, Statement, month_before, month_of, statement
from passthrough.accounting.reports.statement_csv import to_csv
from passthrough.accounting.reports.statement_page import MEANING, blocks, title
from passthrough.errors import LedgerError
from passthrough.meter.usage import Unmetered
from tests.harness.entries import booked

OCTOBER = Month(2026, 10)
FIRST = OCTOBER.since.timestamp()
DAY_S = 86_400
LATER = datetime(2026, 11, 2, 7, 30, tzinfo=UTC)
PRICES = Prices(
    [
        Price("house-ocr", Decimal("1.5"), Decimal(2)),
        Price("house-ocr", Decimal("1.25"), effective_from=date(2026, 10, 11)),
        Price("house-ocr", Decimal(1), route="/own"),
    ]
)


def used(client: str | None, day: float, cost_nano: int | None, model: str = "house-ocr", **more: Any) -> Entry:
    """Return an exchange on a day of the month, from 0 on, with one charge by the operator's own list."""
    label, labels = more.pop("label", None), more.pop("labels", None)
    charge = Charge(model, **{"pages": 1, "cost_source": "routes.yaml", "priced_as": model, "cost_nano": cost_nano} | more)
    made = booked(client, at=FIRST + day * DAY_S, model=model)
    made = replace(made, charges=(charge,), label=label, labels=labels, priced_as=model)
    return replace(made, unmetered="unpriced") if cost_nano is None else made


def failed(client: str | None, day: float, reason: str, **more: Any) -> Entry:
    """Return an exchange that has no charge, for a reason."""
    return replace(booked(client, at=FIRST + day * DAY_S), charges=(), unmetered=reason, **more)


def month() -> Iterator[Entry]:
    """Yield a month with everything in it, and what stands right before and behind it."""
    red, blue = '{"team": "red", "user": "eve"}', '{"team": "blue"}'
    yield used("invoices", -0.00001, 1)
    yield used("invoices", 0, 1_500_001, label="a@b.test", labels=red)
    yield used("invoices", 20, 1_250_000_000_000_000_003, pages=1000, pages_annotated=7, labels=blue)
    yield used("invoices", 12, 12_345, "chat", pages=None, tokens_in=900, tokens_out=80, tokens_cached=100, labels=red)
    yield used("invoices", 3, 40, cost_source="x-cost", label="a@b.test")
    yield used("archive", 30.9999, 7_000_000, cost_source="cost_per_request", labels=red)
    yield used("archive", 9, None, "unheard-of", pages=3)
    yield replace(used("archive", 9, 5), unmetered="bad_cost")
    yield failed("archive", 10, "no_usage", labels=blue)
    yield failed("archive", 11, "no_usage")
    yield failed("archive", 1, "cancelled", estimated_pages=4, estimated_nano=6_000_001)
    yield used(None, 5, 2, labels='{"team": "red"}')
    refused = failed("invoices", 6, "", outcome="refused", status=429, requests=41)
    yield replace(refused, unmetered=None)
    yield used("invoices", 31, 1)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """Yield a ledger of the month, on each database."""
    with closing(Ledger.open(ledger_url)) as opened:
        opened.append(list(month()))
        yield opened


def made(ledger: Ledger, by: str = "client", **more: Any) -> Statement:
    """Return October's statement."""
    return statement(ledger, OCTOBER, by, PRICES, more.pop("made", LATER), **more)


def of(found: Statement, name: str | None) -> Party:
    """Return the part for one."""
    (party,) = (party for party in found.parties if party.name == name)
    return party


def shown(found: Statement) -> str:
    """Return the statement as Markdown, each sentence on one line."""
    return to_markdown(blocks(found)).replace("\n  ", " ")


@pytest.mark.parametrize("by", ["client", "route", "label", "label.team"])
def test_its_sums_are_those_of_usage(ledger: Ledger, by: str) -> None:
    """To the nano-dollar: all together, each part, and the models of each part; on SQLite and on PostgreSQL."""
    found = made(ledger, by)
    usage = summarize(ledger, (by,), OCTOBER.since, OCTOBER.until)
    assert 1_250_000_000_008_512_396 == found.total.cost_nano
    assert usage.total == found.total
    assert list(usage.groups) == [party.total for party in found.parties]
    for party in found.parties:
        models = [replace(model, key=()) for model in party.models]
        assert party.total.cost_nano == sum(model.cost_nano for model in models)
        assert party.total.requests == sum(model.requests for model in models)
        assert (0, 0) == (party.reasons_lost, party.cost_lost_nano)
    in_csv = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert usage.total.cost_nano == sum(int(Decimal(row["cost_usd"] or 0) * 10**9) for row in in_csv)
    assert usage.total.pages == sum(int(row["pages"] or 0) for row in in_csv)
    assert usage.total.unmetered == sum(int(row["unmetered"] or 0) for row in in_csv)
    assert usage.total.estimated_nano == sum(int(Decimal(row["estimated_usd"] or 0) * 10**9) for row in in_csv)
    assert {"2026-10"} == {row["month"] for row in in_csv}


def test_what_is_in_doubt_has_its_reason(ledger: Ledger) -> None:
    """Unmetered and unpriced requests by their reasons, estimates apart from the cost."""
    found = made(ledger)
    archive = of(found, "archive")
    reasons = {reason.reason: reason.requests for reason in archive.reasons}
    assert {"no_usage": 2, "cancelled": 1, "unpriced": 1, "bad_cost": 1} == reasons
    assert () == of(found, "invoices").reasons
    text = shown(found).partition("## client archive")[2].partition("## client")[0]
    assert "October 2026: USD 0.0070, without 1 unpriced charge" in text
    assert "| unheard-of       |        1 |     3 | unpriced |" in text
    assert "| no_usage  |        2 | the response held no count" in text
    assert "Estimated, and in no other figure: 4 pages, USD 0.006000001." in text
    assert "| unheard-of |       1 |" in text
    assert "### Booked, but in doubt\n" in text
    assert "| bad_cost |        1 | the provider's cost was no amount" in text
    assert set(Unmetered) == set(MEANING)


def test_a_batch_that_is_read_again_is_no_new_doubt(ledger: Ledger) -> None:
    """Its lines are booked once, and so is what is doubtful about their prices; a missing count is one each time."""

    def read(reason: str, *lines: tuple[str, str, int | None]) -> Entry:
        charges = tuple(
            Charge("m", 1, cost_nano=cost, line=f"{reason}-{line}", service_tier=tier or None, in_batch=True)
            for line, tier, cost in lines
        )
        return replace(booked("again", at=FIRST + DAY_S), charges=charges, unmetered=reason)

    known = [("a", "", None), ("b", "", 5)]
    for _ in range(2):
        ledger.append([read("unpriced", *known), read("unpriced_tier", ("a", "flex", 7)), failed("again", 2, "no_usage")])
    ledger.append([read("unpriced", *known, ("c", "", 6))])
    again = of(made(ledger), "again")
    assert (2, 1) == (again.total.unmetered, again.total.unpriced)
    assert {"unpriced": 1, "unpriced_tier": 1, "no_usage": 2} == {each.reason: each.requests for each in again.reasons}


def test_where_the_prices_come_from(ledger: Ledger) -> None:
    """Each list with the rows that were in force on the days of its charges, and what no list had a part in."""
    text = shown(made(ledger))
    invoices = text.partition("## client invoices")[2]
    assert (
        "* house-ocr, 2 charges, USD 1250000000.001500004: routes.yaml: USD 1.5 per 1000 pages, 2 per 1000 annotated pages;"
        " USD 1 per 1000 pages on /own; USD 1.25 per 1000 pages from 2026-10-11."
    ) in invoices
    assert "* house-ocr, 1 charge, USD 0.00000004: told by the provider in x-cost." in invoices
    assert "* chat, 1 charge, USD 0.000012345: routes.yaml." in invoices
    assert "* house-ocr, 1 charge, USD 0.007: cost_per_request of the route." in text
    assert "unheard-of, 1 charge" not in text


def test_an_origin_says_its_factors(ledger: Ledger) -> None:
    """Batches are apart with their factor, and so are charges of a host with one: a month's cost can be recalculated."""
    ocr = {"model": "mistral-ocr-4-1", "cost_source": "prices.yaml", "pages": 4}
    ledger.append(
        [
            *(used("b", 3 + n, 8_000_000, in_batch=True, **ocr) for n in range(3)),
            used("b", 4, 16_000_000, **ocr),
            replace(used("b", 4, 16_000_000, **ocr), target="mistral-gateway.test"),
            replace(used("b", 5, 17_600_000, **ocr), target="api.eu.mistral.ai"),
            replace(used("b", 6, 8_800_000, in_batch=True, **ocr), target="api.eu.mistral.ai"),
            used("b", 7, 750_000, in_batch=True),
        ]
    )
    found = made(ledger)
    text = shown(found).partition("## client b\n")[2].partition("## client")[0]
    prices = "prices.yaml: USD 4 per 1000 pages, 5 per 1000 annotated pages"
    assert f"* mistral-ocr-4-1, 3 batch charges, USD 0.024: {prices}, each × 0.5 (batch) from 2026-07-16" in text
    assert f"* mistral-ocr-4-1, 2 charges, USD 0.032: {prices} from 2026-07-16" in text
    assert f"* mistral-ocr-4-1, 1 charge, USD 0.0176: {prices}, each × 1.1 (host) from 2026-07-16" in text
    assert f"* mistral-ocr-4-1, 1 batch charge, USD 0.0088: {prices}, each × 0.5 (batch) × 1.1 (host) from" in text
    assert "* house-ocr, 1 batch charge, USD 0.00075: routes.yaml: USD 1.5 per 1000 pages, 2 per" in text
    rows = [row for row in csv.DictReader(io.StringIO(to_csv(found))) if row["client"] == "b" and row["row"] == "price"]
    assert [("0.00075", True), ("0.0088", True), ("0.0176", False), ("0.024", True), ("0.032", False)] == sorted(
        (row["amount_usd"], "× 0.5 (batch)" in row["origin"]) for row in rows
    )
    assert "× 0.5 (batch)" in to_html(title(found), blocks(found))


def test_a_row_for_batches_has_no_factor(ledger: Ledger) -> None:
    """Its prices are those of a batch already; it is not listed for what was in none."""
    rows = [Price("house-ocr", Decimal(3)), Price("house-ocr", Decimal(1), service_tier="batch")]
    ledger.append([used("b", 3, 3_000_000), used("b", 3, 1_000_000, in_batch=True)])
    text = shown(statement(ledger, OCTOBER, "client", Prices(rows), LATER)).partition("## client b\n")[2]
    assert "* house-ocr, 1 charge, USD 0.003: routes.yaml: USD 3 per 1000 pages." in text
    assert "* house-ocr, 1 batch charge, USD 0.001: routes.yaml: USD 1 per 1000 pages in tier batch." in text


def test_prices_of_a_named_label(ledger: Ledger) -> None:
    """Exchanges that have other labels beside it are together: their charges, their cost, their days."""
    priced = {each.origin.cost_source: each.origin for each in of(made(ledger, "label.team"), "red").prices if each.rows}
    origin = priced["routes.yaml"]
    assert (2, 1_500_003, date(2026, 10, 1), date(2026, 10, 6)) == (origin.charges, origin.cost_nano, origin.first, origin.last)


def test_a_part_without_doubts_or_prices(ledger: Ledger) -> None:
    """It has its figures alone."""
    ledger.append([replace(booked("quiet", at=FIRST - 40 * DAY_S), charges=())])
    text = to_markdown(blocks(statement(ledger, Month(2026, 8), "client", PRICES, LATER)))
    assert "## client quiet\n\nAugust 2026: USD 0.00\n" in text
    assert "###" not in text


def test_a_shipped_price_has_its_source(ledger: Ledger) -> None:
    """The list in the package says where its figures were found, and from which day on they hold."""
    ledger.append([used("shipped", 4, 2_000_000, "mistral-ocr-2512", cost_source="prices.yaml")])
    (priced,) = of(made(ledger), "shipped").prices
    (row,) = priced.rows
    assert ("mistral-ocr-2512", Decimal(2), date(2025, 12, 1)) == (row.model, row.usd_per_1000_pages, row.effective_from)
    assert f"from 2025-12-01 ({row.source})." in shown(made(ledger))


@pytest.mark.parametrize("by", ["deployment", "model_group"])
def test_a_statement_by_deployment(ledger: Ledger, by: str) -> None:
    """Each has a part of its own, with its figures; routes without deployments are one part."""
    own = replace(used("shipped", 4, 2_000_000, "mistral-ocr-2512", cost_source="routes.yaml"), **{by: "azure-1"})
    ledger.append([own, used("shipped", 1, 1, "mistral-ocr-2512", cost_source="prices.yaml")])
    assert (2_000_000, 1) == (of(made(ledger, by), "azure-1").total.cost_nano, of(made(ledger, by), "azure-1").total.pages)
    assert "azure-1" in shown(made(ledger, by))


def test_a_month_that_is_not_over_says_so(ledger: Ledger) -> None:
    """On top, and in each part."""
    text = shown(made(ledger, made=datetime(2026, 10, 31, 23, 59, tzinfo=UTC)))
    assert "The month is not over: these are its figures so far.\n" in text
    assert "October 2026 so far: USD" in text
    assert "so far" not in shown(made(ledger, made=OCTOBER.until))


def test_a_month_whose_exchanges_are_deleted(ledger: Ledger) -> None:
    """All sums stay; reasons and origins are those of the days that are kept, and it says how much they lack."""
    before = made(ledger)
    assert ledger.prune(date(2026, 10, 11)) > 0
    found = made(ledger)
    assert before.total == found.total
    assert [party.total for party in before.parties] == [party.total for party in found.parties]
    assert (None, date(2026, 10, 11)) == (before.kept_from, found.kept_from)
    archive = of(found, "archive")
    assert {"no_usage": 2} == {reason.reason: reason.requests for reason in archive.reasons}
    assert (before.total.unmetered - 2, 5) == (archive.reasons_lost, archive.cost_lost_nano)
    text = shown(found)
    assert "Exchanges from before 2026-10-11 are deleted. Reasons and origins" in text.replace("\n", " ")
    assert "| (not known) |" in text
    assert "* USD 0.000000005: exchanges that are deleted." in text
    assert 0 == ledger.prune(date(2026, 10, 11))
    ledger.prune(date(2026, 12, 1))
    empty = made(ledger)
    assert (before.total, date(2026, 11, 1)) == (empty.total, empty.kept_from)
    assert [] == [each for party in empty.parties for each in (*party.reasons, *party.prices)]


def test_the_sandbox_is_apart(ledger: Ledger) -> None:
    """Its traffic is left out beside real one, and the page says so; `only` and `include` take it."""
    ledger.append([replace(used("sand", 3, 11), sandbox=True), replace(failed("sand", 3, "broken"), sandbox=True)])
    found = made(ledger)
    assert "sand" not in {party.name for party in found.parties}
    assert "Without 2 requests to the sandbox.\n" in shown(found)
    only = made(ledger, sandbox="only")
    assert [("sand", 2, 11)] == [(party.name, party.total.requests, party.total.cost_nano) for party in only.parties]
    assert ["broken"] == [reason.reason for reason in only.parties[0].reasons]
    assert found.total.cost_nano + 11 == made(ledger, sandbox="include").total.cost_nano


def test_a_party_without_a_price_has_no_cost(ledger: Ledger) -> None:
    """Its part begins with that, instead of a sum of nothing."""
    ledger.append([used("new", 3, None, "unheard-of"), used("new", 4, None, "unheard-of")])
    text = shown(made(ledger)).partition("## client new\n")[2]
    assert text.startswith("\nOctober 2026: unpriced\n")


def test_csv_marks_the_sandbox(ledger: Ledger) -> None:
    """No row is of both kinds of traffic: with both, a party that has both has the rows of each, from one moment."""
    ledger.append([replace(used("archive", 3, 11), sandbox=True), replace(failed("archive", 3, "broken"), sandbox=True)])

    def rows(sandbox: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(to_csv(made(ledger, sandbox=sandbox)))))

    assert {"false"} == {row["sandbox"] for row in rows("auto")}
    assert {"true"} == {row["sandbox"] for row in rows("only")}
    assert {"model", "reason", "price"} == {row["row"] for row in rows("only")}
    assert rows("exclude") + rows("only") == rows("include")


def test_the_largest_come_first(ledger: Ledger) -> None:
    """Parties and their models, on the page; in CSV they stand by their names."""
    lines = shown(made(ledger)).splitlines()
    assert ["## client invoices", "## client archive", "## (no client)"] == [line for line in lines if line.startswith("## ")]
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert ["client", "---", "invoices", "archive", "(no client)", "total"] == [rows[0], rows[1][:3], *rows[2:6]]
    assert ["", "archive", "invoices"] == list(
        dict.fromkeys(row[1] for row in list(csv.reader(io.StringIO(to_csv(made(ledger)))))[1:])
    )


def test_an_empty_month(ledger: Ledger) -> None:
    """It is a page too, and a table without rows."""
    found = statement(ledger, Month(2025, 1), "client", PRICES, LATER)
    assert "\nJanuary 2025 had no requests.\n" in shown(found)
    assert 1 == len(to_csv(found).splitlines())


def test_names_are_text_in_every_form(ledger: Ledger) -> None:
    """A label may hold anything: no Markdown, no HTML, no formula comes of it."""
    name = '=1+1|<img src="x" onerror=alert(1)>'
    ledger.append([used("x", 3, 11, label=name)])
    found = made(ledger, "label")
    assert "\\<img" in shown(found)
    assert "<img" not in shown(found).replace("\\<img", "")
    assert "<img" not in to_html(title(found), blocks(found))
    assert f"'{name}" in {row["label"] for row in csv.DictReader(io.StringIO(to_csv(found)))}


@pytest.mark.parametrize("by", ["client", "label.team"])
def test_it_fits_a_terminal(ledger: Ledger, by: str) -> None:
    """No line of the Markdown is wider than 80 characters."""
    assert [] == [line for line in to_markdown(blocks(made(ledger, by))).splitlines() if len(line) > 80]


def test_a_label_that_nothing_has(ledger: Ledger) -> None:
    """It is an error, with those that there are: an empty page would look like an empty month."""
    with pytest.raises(LedgerError, match=r"No request has a label named nothing\.\nThere are: label.team, label.user\."):
        made(ledger, "label.nothing")


def test_older_rows_are_named_by_what_prices_them(ledger: Ledger) -> None:
    """Rows without a stored name of the price are one model with those that have it, and their price has its rows."""
    old = used("older", 4, 2_000_000, "mistral-ocr-2512-completion", cost_source="prices.yaml", priced_as=None)
    new = used("older", 4, 2_000_000, "mistral-ocr-2512", cost_source="prices.yaml")
    ledger.append([replace(old, priced_as=None), new])
    older = of(made(ledger), "older")
    assert [("mistral-ocr-2512",)] == [model.key for model in older.models]
    assert 2 == older.models[0].requests
    assert [["mistral-ocr-2512"]] * 2 == [[row.model for row in each.rows] for each in older.prices]


@pytest.mark.parametrize("by", ["model", "colour", "label.", "label.Team", "label.a b", "label.NAME", ""])
def test_an_unknown_key(ledger: Ledger, by: str) -> None:
    """It is refused, with those that there are."""
    with pytest.raises(
        LedgerError, match=r"(?s)no statements by .*client, route, deployment, model_group, label, and label.NAME"
    ):
        made(ledger, by)


@pytest.mark.fast
@pytest.mark.parametrize(
    "text", ["2026-13", "2026-00", "2026-1", "26-10", "2026/10", "october", "", "2026-10-01", "２026-10", "0000-01"]
)
def test_what_is_no_month(text: str) -> None:
    """It is refused, with an example."""
    with pytest.raises(ValueError, match=r"is no month: write 2026-10\."):
        month_of(text, LATER)


@pytest.mark.fast
def test_months() -> None:
    """They begin and end in UTC; one that has not begun is refused; the default is the last one that is over."""
    assert Month(2026, 10) == month_of(" 2026-10 ", LATER)
    assert (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)) == (Month(2026, 12).since, Month(2026, 12).until)
    assert ("2026-02", "February 2026") == (str(Month(2026, 2)), Month(2026, 2).name)
    assert Month(2026, 11) == month_of("2026-11", LATER)
    with pytest.raises(ValueError, match=r"2026-12 has not begun: it is 2026-11-02"):
        month_of("2026-12", LATER)
    assert Month(2026, 10) == month_before(LATER)
    assert Month(2025, 12) == month_before(datetime(2026, 1, 31, 23, tzinfo=UTC))
