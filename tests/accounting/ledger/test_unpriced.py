"""What had no price in the periods of budgets in USD, in both databases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passthrough.accounting.budget import LeaseRequest, Period, Scope, Span, Unit, Unpriced
from passthrough.accounting.budgets.lease_client import LeaseClient
from passthrough.accounting.entry import Charge, Entry, Part
from passthrough.accounting.ledger import leases, unpriced
from passthrough.accounting.ledger.ledger import Ledger
from tests.harness.entries import booked

NOON = 1_771_761_600.0  # 2026-02-22T12:00Z
NOON_MS = int(NOON * 1000)
DAY = Period(1_771_718_400_000, 1_771_804_800_000)
TEAM = Scope("client", "invoices")
USD = Span(TEAM, Unit.USD, sandbox=False, period=DAY)
ALL = replace(USD, scope=Scope("all"))
ROUTE = replace(USD, scope=Scope("route", "/mistral"))
HOST = "api.mistral.ai"


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """Yield a new ledger."""
    with closing(Ledger.open(ledger_url)) as opened:
        yield opened


def lacking(model: str | None = "new", at: float = NOON, client: str | None = "invoices", **charge: object) -> Entry:
    """Return an entry with one charge without a price: of a page, if nothing else is given."""
    charged = Charge(model, **(charge or {"pages": 1, "pages_annotated": 0}))  # type: ignore[arg-type]
    return replace(booked(client, at=at), charges=(charged,))


def named(ledger: Ledger, *spans: Span) -> list[set[str | None]]:
    """Return the models without a price in periods."""
    with ledger.transaction() as connection:
        found = unpriced.named(connection, spans)
    return [{item.model for item in found.get(span, ())} for span in spans]


def make(ledger: Ledger, *spans: Span) -> None:
    """Make the rows of periods."""
    with ledger.transaction(alone=True) as connection:
        leases.make(connection, spans)


def items(ledger: Ledger, span: Span = USD) -> list[Unpriced]:
    """Return what had no price in a period, batches last."""
    with ledger.transaction() as connection:
        return sorted(unpriced.named(connection, [span]).get(span, ()), key=lambda item: item.in_batch)


def test_what_has_no_price_is_named_before_and_after_a_row_is_made(ledger: Ledger) -> None:
    """For the scopes of its exchange and the period in which that began; what has a price is not named."""
    ledger.append([lacking("a"), lacking("b", client="other"), lacking("c", at=NOON - 86_400), booked(at=NOON)])
    assert [set()] * 3 == named(ledger, USD, ALL, ROUTE)
    make(ledger, USD, ALL)
    assert [{"a"}, {"a", "b"}, set()] == named(ledger, USD, ALL, ROUTE)
    ledger.append([lacking("d"), lacking("e", client=None), lacking("f", at=NOON + 86_400), lacking("a"), booked(at=NOON)])
    make(ledger, USD, ROUTE)
    assert [{"a", "d"}, {"a", "b", "d", "e"}, {"a", "b", "d", "e"}] == named(ledger, USD, ALL, ROUTE)


def test_only_budgets_in_usd_need_a_price(ledger: Ledger) -> None:
    """Pages and requests are counted without one; the sandbox's traffic is apart."""
    spans = [USD, replace(USD, sandbox=True), replace(USD, unit=Unit.PAGES), replace(USD, unit=Unit.REQUESTS)]
    ledger.append([lacking("before"), replace(lacking("tried"), sandbox=True)])
    make(ledger, *spans)
    ledger.append([lacking("after")])
    assert [{"before", "after"}, {"tried"}, set(), set()] == named(ledger, *spans)


@pytest.mark.parametrize(
    ("charge", "counted"),
    [
        ({"pages": 3, "pages_annotated": 0}, "pages"),
        ({"pages": 0, "pages_annotated": 2, "tokens_in": 5, "tokens_cached": 0}, "pages_annotated tokens_in"),
        ({"tokens_in": 5, "tokens_out": 1, "tokens_cached": 4}, "tokens_cached tokens_in tokens_out"),
        ({"credits_micro": 2, "credits": "0.00000164"}, "credits_micro"),
        ({"tokens_in": 0, "tokens_out": 0}, "tokens_in tokens_out"),
    ],
)
def test_what_needs_a_price_is_named(ledger: Ledger, charge: dict[str, object], counted: str) -> None:
    """The counters that are not 0, by the charge as by its row; where all are 0, those that were found."""
    ledger.append([lacking("m", **charge)])
    make(ledger, USD)
    ledger.append([lacking("m", **charge, service_tier="priority", in_batch=True)])
    make(ledger, ALL)
    plain = Unpriced("m", HOST, "/mistral", counted)
    apart = replace(plain, service_tier="priority", in_batch=True)
    assert [plain, apart] == items(ledger) == items(ledger, ALL)


def test_lines_of_a_batch_are_named_when_they_are_booked(ledger: Ledger) -> None:
    """While the file passes; a line that was booked before is not charged again, and names nothing."""
    make(ledger, USD)
    line = Charge("batch", 1, 0, line="1", in_batch=True)
    ledger.append([replace(booked(at=NOON - 86_400), charges=(line,), account="a")])
    ledger.append([replace(booked(at=NOON, exchange_id="b"), charges=(line,), account="a", part=Part.OPEN)])
    assert [set()] == named(ledger, USD)
    ledger.append([replace(booked(at=NOON, exchange_id="b"), charges=(replace(line, line="2"),), account="a", part=Part.OPEN)])
    assert [{"batch"}] == named(ledger, USD)
    several = tuple(replace(line, model=f"m{number}", line=f"of {number}", cost_nano=number or None) for number in (0, 1, 0, 2))
    several = (*several, replace(line, model="last", line="of 5"))
    ledger.append([replace(booked(at=NOON, exchange_id="c"), charges=several, account="a")])
    assert [{"batch", "m0", "last"}] == named(ledger, USD)


def test_an_estimate_is_no_charge(ledger: Ledger) -> None:
    """A call that was given up has an estimate, or none: nothing was charged without a price."""
    make(ledger, USD)
    ledger.append([replace(booked(at=NOON), charges=(), estimated_pages=1)])
    make(ledger, ALL)
    assert [set(), set()] == named(ledger, USD, ALL)


def test_no_more_names_than_a_hundred_are_kept(ledger: Ledger) -> None:
    """Responses name the models: a provider with a new one in each keeps no ledger busy."""
    models = [f"m{number}" for number in range(unpriced.MAX_NAMED + 20)]
    ledger.append([lacking(model) for model in models[:60]])
    make(ledger, USD)
    ledger.append([lacking(model) for model in models])
    make(ledger, ALL)
    assert [unpriced.MAX_NAMED] * 2 == [len(found) for found in named(ledger, USD, ALL)]
    assert {*models[:60]} <= named(ledger, USD)[0]


def test_a_lease_brings_the_names_to_who_asks(ledger: Ledger) -> None:
    """Only where the budget refuses: others need not know."""
    client = LeaseClient(ledger, lambda: NOON)
    ledger.append([lacking("a")])
    asking, not_asking = LeaseRequest(USD, 9, 0, 1, asks_unpriced=True), LeaseRequest(replace(USD, scope=Scope("all")), 9, 0, 1)
    for _ in range(2):
        granted = client.ask([asking, not_asking])
        assert [["a"], []] == [[item.model for item in granted[request].unpriced] for request in (asking, not_asking)]
    assert {USD: frozenset(items(ledger))} == client.unpriced([USD, ROUTE])


def test_names_are_swept_with_their_period(ledger: Ledger) -> None:
    """A day after its end, as the period itself."""
    make(ledger, USD)
    ledger.append([lacking("a")])
    counts = []
    for now_ms in (DAY.ends_ms + 86_400_000, DAY.ends_ms + 86_400_001):
        with ledger.transaction(writes=True) as connection:
            leases.sweep(connection, now_ms)
        counts.append(named(ledger, USD))
    assert [[{"a"}], [set()]] == counts


HOURS = [DAY.starts_ms + hour * 3_600_000 for hour in range(-30, 80)]
PERIODS = st.lists(st.sampled_from(HOURS), min_size=2, max_size=2, unique=True).map(sorted).map(lambda ends: Period(*ends))
ENTRIES = st.builds(
    lambda at_ms, cost, client, model: booked(client, at=at_ms / 1000, cost_nano=cost, model=model),
    st.sampled_from(HOURS).flatmap(lambda hour: st.sampled_from([hour - 1000, hour, hour + 1000])),
    st.sampled_from([None, 5]),
    st.sampled_from(["invoices", "other", None]),
    st.sampled_from(["a", "b", None]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(ENTRIES, max_size=6), min_size=2, max_size=4), PERIODS)
def test_names_are_the_same_whenever_the_row_is_made(
    tmp_path_factory: pytest.TempPathFactory, batches: Sequence[list[Entry]], period: Period
) -> None:
    """Read from whole days and edges, or noted by every booking: what the charges of the period say."""
    spans = [Span(scope, Unit.USD, False, period) for scope in (TEAM, Scope("route", "/mistral"), Scope("all"))]
    with closing(Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('books')}/books.db")) as ledger:
        for number, batch in enumerate(batches):
            ledger.append(batch)
            make(ledger, *spans[number::3])
        make(ledger, *spans)
        expected = [
            {
                entry.charges[0].model
                for batch in batches
                for entry in batch
                if entry.charges[0].cost_nano is None
                and period.starts_ms <= entry.began_utc * 1000 < period.ends_ms
                and span.scope in leases.scopes_of(entry.client, entry.route)
            }
            for span in spans
        ]
        assert expected == named(ledger, *spans)
