"""What an exchange is charged: by what was counted, by the request, or by what the provider reported."""

from __future__ import annotations

from decimal import Decimal
from itertools import combinations

import pytest

from passthrough.accounting.charge import charge, doubt, line_charge, line_doubt, list_charge, rest_charge
from passthrough.accounting.entry import Charge, believable, entry, first_reason
from passthrough.accounting.pricing.prices import Price, Prices
from passthrough.exchange import Exchange, RouteTerms
from passthrough.meter.plan import JsonCounts, MeterPlan
from passthrough.meter.usage import NOTHING, Unmetered, Usage
from tests.harness.entries import exchange

PRICES = Prices()
OCR = Usage(3, 0, "mistral-ocr-2512")
LINE = Usage(3, 0, "mistral-ocr-2512", line="batch-1", in_batch=True)


def answered(
    status: int | None = 200,
    *,
    reported: int | None = None,
    per_request: int | None = None,
    admitted: bool = True,
    bad_cost: bool = False,
) -> Exchange:
    """Return an exchange that got this response, and whose header reported a cost, or none."""
    made = exchange()
    made.bad_cost = bad_cost
    made.status, made.admitted, made.reported_cost_nano = status, admitted, reported
    made.cost_header = None if reported is None else "X-AIMLAPI-USD-Spent"
    made.terms = RouteTerms("/mistral", cost_per_request_nano=per_request)
    return made


@pytest.mark.parametrize(
    ("made", "usage", "nano", "source"),
    [
        (answered(), OCR, 6_000_000, "prices.yaml"),
        (answered(), Usage(3, 0, "who-knows"), None, None),
        (answered(reported=7), OCR, 7, "x-aimlapi-usd-spent"),
        (answered(reported=7), Usage(3, 0, "who-knows"), 7, "x-aimlapi-usd-spent"),
        (answered(reported=7), Usage(unmetered=Unmetered.NO_USAGE), 7, "x-aimlapi-usd-spent"),
        (answered(reported=7, per_request=5), OCR, 7, "x-aimlapi-usd-spent"),
        (answered(reported=0), OCR, 0, "x-aimlapi-usd-spent"),
        (answered(422, reported=7), NOTHING, 7, "x-aimlapi-usd-spent"),
        (answered(per_request=5), OCR, 5, "cost_per_request"),
        (answered(per_request=5), NOTHING, 5, "cost_per_request"),
        (answered(None, per_request=5), OCR, 5, "cost_per_request"),
    ],
)
def test_what_an_exchange_costs(made: Exchange, usage: Usage, nano: int | None, source: str | None) -> None:
    """A reported cost wins over a price per request, and that over the list; counters are kept whatever it is."""
    found = charge(made, usage, PRICES)
    assert found is not None
    assert (nano, source, usage.pages, usage.model) == (found.cost_nano, found.cost_source, found.pages, found.model)


@pytest.mark.parametrize(
    ("made", "usage"),
    [
        (answered(), NOTHING),
        (answered(404), NOTHING),
        (answered(404, reported=0), NOTHING),
        (answered(None, per_request=5), NOTHING),
        (answered(500, per_request=5), Usage(unmetered=Unmetered.BROKEN)),
        (answered(admitted=False, reported=7), OCR),
    ],
)
def test_what_costs_nothing_has_no_charge(made: Exchange, usage: Usage) -> None:
    """What was refused, or was neither counted nor successful, has none; a reported 0 for a failure is none either."""
    assert charge(made, usage, PRICES) is None


@pytest.mark.parametrize(
    ("made", "usage", "expected"),
    [
        (answered(), LINE, (3_000_000, "prices.yaml")),
        (answered(reported=7), LINE, (3_000_000, "prices.yaml")),
        (answered(per_request=5), LINE, (0, "cost_per_request")),
        (answered(), Usage(3, 0, "who-knows", line="batch-1", in_batch=True), (None, None)),
        (answered(), Usage(unmetered=Unmetered.NO_USAGE, line="batch-1"), None),
        (answered(per_request=5), Usage(unmetered=Unmetered.NO_USAGE, line="batch-1"), None),
        (answered(admitted=False), LINE, None),
    ],
)
def test_what_a_line_costs(made: Exchange, usage: Usage, expected: tuple[int | None, str | None] | None) -> None:
    """A line of a batch costs half the list's price, nothing beside a price per request, and is not what a header reported."""
    found = line_charge(made, usage, PRICES)
    assert expected == (None if found is None else (found.cost_nano, found.cost_source))
    assert found is None or ("batch-1", usage.in_batch) == (found.line, found.in_batch)


@pytest.mark.parametrize(
    ("made", "nano"),
    [(answered(), None), (answered(reported=7), None), (answered(per_request=5), 5), (answered(404, per_request=5), None)],
)
def test_what_a_download_costs_beside_its_lines(made: Exchange, nano: int | None) -> None:
    """Nothing but a price per request, if it succeeded."""
    found = rest_charge(made, Usage(model="m"), PRICES)
    assert nano == (None if found is None else found.cost_nano)


@pytest.mark.parametrize("made", [answered(), answered(reported=7), answered(per_request=5)])
def test_every_charge_has_the_name_that_is_priced(made: Exchange) -> None:
    """Whatever gives the cost: an alias, a suffix and a date are one model in reports."""
    for model in ("mistral-ocr-2512", "mistral-ocr-2512-completion", "mistral/mistral-ocr-2512"):
        usage = Usage(3, 0, model, line="batch-1", in_batch=True)
        found = [charge(made, usage, PRICES), line_charge(made, usage, PRICES), rest_charge(made, usage, PRICES)]
        assert ["mistral-ocr-2512"] * 3 == [each and each.priced_as for each in found]
    assert None is (charge(answered(reported=7), NOTHING, PRICES) or LINE_CHARGE).priced_as


LINE_CHARGE = Charge("m", 1, line="batch-1", cost_nano=1, priced_as="m")
CHAT = Usage(model="chat", tokens_in=10**6, tokens_out=0)
PRIORITY = Usage(model="chat", tokens_in=10**6, tokens_out=0, service_tier="priority")
STANDARD = Price("chat", usd_per_million_input_tokens=Decimal(2), usd_per_million_output_tokens=Decimal(6))
FAST = Price("chat", usd_per_million_input_tokens=Decimal(3), usd_per_million_output_tokens=Decimal(9), service_tier="priority")


@pytest.mark.parametrize(
    ("made", "usage", "rows", "nano", "reason"),
    [
        (answered(bad_cost=True), OCR, (), 6_000_000, "bad_cost"),
        (answered(bad_cost=True), Usage(3, 0, "who-knows"), (), None, "unpriced"),
        (answered(bad_cost=True), Usage(unmetered=Unmetered.NO_USAGE), (), None, "no_usage"),
        (answered(bad_cost=True), NOTHING, (), None, "bad_cost"),
        (answered(bad_cost=True, per_request=5), OCR, (), 5, "bad_cost"),
        (answered(502, bad_cost=True), NOTHING, (), None, None),
        (answered(None, bad_cost=True), OCR, (), 6_000_000, "bad_cost"),
        (answered(bad_cost=True, admitted=False), OCR, (), None, None),
        (answered(), CHAT, (STANDARD,), 2 * 10**9, None),
        (answered(), CHAT, (STANDARD, FAST), 2 * 10**9, None),
        (answered(), PRIORITY, (STANDARD,), 2 * 10**9, "unpriced_tier"),
        (answered(), PRIORITY, (STANDARD, FAST), 3 * 10**9, None),
        (answered(), PRIORITY, (), None, "unpriced"),
        (answered(reported=7), PRIORITY, (STANDARD,), 7, None),
        (answered(per_request=5), PRIORITY, (STANDARD,), 5, None),
        (answered(bad_cost=True), PRIORITY, (STANDARD,), 2 * 10**9, "bad_cost"),
    ],
)
def test_what_is_doubtful_about_a_price(
    made: Exchange, usage: Usage, rows: tuple[Price, ...], nano: int | None, reason: str | None
) -> None:
    """A header without an amount is said, and the list applies; a tier without a row is said, and costs the standard price."""
    prices = Prices(rows)
    found = charge(made, usage, prices)
    assert nano == (None if found is None else found.cost_nano)
    charges = () if found is None else (found,)
    assert reason == entry(made, usage, charges, doubt=doubt(made, usage, found, prices)).unmetered


@pytest.mark.parametrize(
    ("usage", "rows", "nano", "reason"),
    [
        (PRIORITY, (STANDARD,), 10**9, Unmetered.UNPRICED_TIER),
        (PRIORITY, (STANDARD, FAST), 1_500_000_000, None),
        (CHAT, (STANDARD,), 10**9, None),
        (PRIORITY, (), None, None),
    ],
)
def test_what_is_doubtful_about_a_lines_price(
    usage: Usage, rows: tuple[Price, ...], nano: int | None, reason: Unmetered | None
) -> None:
    """A line's tier too, whatever a header of the download reports."""
    prices, line = Prices(rows), Usage(**{name: getattr(usage, name) for name in Usage.__slots__} | {"in_batch": True})
    for made in (answered(), answered(reported=7), answered(bad_cost=True)):
        found = line_charge(made, line, prices)
        assert (nano, reason) == (found and found.cost_nano, line_doubt(made, line, found, prices))


def test_one_reason_counts() -> None:
    """A missing count before all that is about the price, in one order, however they are put together."""
    missing = [why for why in Unmetered if why not in {*RANKED}]
    for one, other in combinations(RANKED, 2):
        assert one is first_reason(one, other) is first_reason(other, one)
    for why in missing:
        assert all(why is first_reason(why, other) is first_reason(other, why) for other in RANKED)
        assert why is first_reason(why, None) is first_reason(None, why)
    assert Unmetered.BROKEN is first_reason(Unmetered.BROKEN, Unmetered.NO_USAGE)
    assert None is first_reason(None, None)
    assert "broken" == entry(exchange(), Usage(unmetered=Unmetered.BROKEN), (Charge("m", 1),)).unmetered
    assert "unpriced" == entry(exchange(), Usage(unmetered=Unmetered.UNKNOWN_UNIT), (Charge("m", 1),)).unmetered


RANKED = (Unmetered.UNPRICED, Unmetered.UNKNOWN_UNIT, Unmetered.BAD_COST, Unmetered.UNPRICED_TIER)
"""Reasons that are about the price, the first that counts first."""


@pytest.mark.parametrize(("status", "nano"), [(199, None), (200, 5), (299, 5), (300, None), (None, None)])
def test_a_price_per_request_is_for_success(status: int | None, nano: int | None) -> None:
    """2xx is success: neither 199 nor 300, by themselves or beside lines."""
    made = answered(status, per_request=5)
    found = [charge(made, NOTHING, PRICES), rest_charge(made, NOTHING, PRICES)]
    assert [nano, nano] == [None if each is None else each.cost_nano for each in found]


def test_what_is_counted_apart_from_lines_is_priced() -> None:
    """Beside its lines an exchange may have counts of its own; without terms there is only the list. None if not admitted."""
    made = answered()
    found = rest_charge(made, OCR, PRICES)
    assert 6_000_000 == (found and found.cost_nano)
    made.terms = None
    found = [price(made, OCR, PRICES) for price in (charge, line_charge, rest_charge)]
    assert [6_000_000] * 3 == [each and each.cost_nano for each in found]
    assert None is rest_charge(answered(per_request=5, admitted=False), OCR, PRICES)


def test_what_the_list_alone_would_charge() -> None:
    """Whatever was reported; nothing on a route with a price per request, which is not the list's."""
    found = [list_charge(made, OCR, PRICES) for made in (answered(), answered(reported=7), answered(per_request=5))]
    assert [6_000_000, 6_000_000, None] == [each and each.cost_nano for each in found]


def test_a_cost_without_the_name_of_its_header_has_no_source() -> None:
    """A reported cost counts, whatever is known of where it stood."""
    made = answered(reported=7)
    made.cost_header = None
    found = charge(made, OCR, PRICES)
    assert found is not None
    assert (7, None) == (found.cost_nano, found.cost_source)


@pytest.mark.parametrize(
    ("usage", "unmetered"),
    [
        (Usage(0, 0, "m"), "no_usage"),
        (Usage(0, model="m"), "no_usage"),
        (Usage(0, 1, "m"), None),
        (Usage(0, model="m", tokens_in=1), None),
        (Usage(0, model="m", credits_micro=1), None),
        (Usage(model="m", credits_micro=0), None),
        (Usage(0, unmetered=Unmetered.BROKEN), "broken"),
        (NOTHING, None),
        (Usage(1, 2, credits_micro=-1), "no_usage"),
        (Usage(1, 2, credits_micro=10**13), "no_usage"),
    ],
)
def test_zero_pages_are_not_believed_in_silence(usage: Usage, unmetered: str | None) -> None:
    """Nothing but 0 pages is booked as 0 pages with a reason; a counter that cannot be one leaves none."""
    assert unmetered == believable(usage).unmetered
    assert usage.pages == 0 or unmetered is None or believable(usage).pages is None


def test_zero_pages_are_zero_where_the_route_says_what_counts() -> None:
    """Of shape json a 0 is a count: that of a free read, or of an empty document."""
    counted = RouteTerms("/a", MeterPlan("json", counted=JsonCounts(pages=("n",))))
    for usage in (Usage(0, model="m"), Usage(0, credits_micro=0, credits="0"), Usage(credits_micro=0, credits="0")):
        assert usage == believable(usage, counted)
    assert Unmetered.NO_USAGE is believable(Usage(0), RouteTerms("/a", MeterPlan("ocr"))).unmetered
