"""Leases: what is spent in budgets' periods, and what each process may still spend, in both databases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passthrough.accounting.budget import LEASE_S, LeaseGrant, LeaseRequest, Period, Scope, Span, Unit
from passthrough.accounting.budgets.lease_client import LeaseClient
from passthrough.accounting.entry import Charge, Entry, Part
from passthrough.accounting.ledger import leases
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.ledger.period_sums import MAX_AMOUNT
from passthrough.errors import LedgerError
from tests.harness.entries import booked

NOON = 1_771_761_600.0  # 2026-02-22T12:00Z
DAY = Period(1_771_718_400_000, 1_771_804_800_000)
MINUTE = Period(1_771_761_600_000, 1_771_761_660_000)
TEAM = Scope("client", "invoices")
PAGES = Span(TEAM, Unit.PAGES, sandbox=False, period=DAY)
NOW_MS = int(NOON * 1000)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """Yield a new ledger."""
    with closing(Ledger.open(ledger_url)) as opened:
        yield opened


def spent(ledger: Ledger, *spans: Span) -> list[int | None]:
    """Return what is spent in periods, None for one without a row."""
    with ledger.transaction() as connection:
        found = leases.spent(connection, spans)
    return [found.get(span) for span in spans]


def make(ledger: Ledger, *spans: Span) -> None:
    """Make rows."""
    with ledger.transaction(alone=True) as connection:
        leases.make(connection, spans)


def ask(ledger: Ledger, replica: str, *requests: LeaseRequest, now_ms: int = NOW_MS) -> list[LeaseGrant | None]:
    """Ask for leases."""
    with ledger.transaction(writes=True) as connection:
        found = leases.ask(connection, requests, replica, now_ms)
    return [found.get(request) for request in requests]


def lease_request(keep: int, wanted: int, most: int = 100, warn_from: int | None = None) -> LeaseRequest:
    """Return a request for pages."""
    return LeaseRequest(PAGES, most, keep, wanted, warn_from)


def test_a_row_begins_with_what_was_booked_and_goes_on_with_it(ledger: Ledger) -> None:
    """Whether a row was made before or after an exchange was booked, it comes to the same."""
    ledger.append([booked(at=NOON, pages=3), booked("other", at=NOON, pages=50), booked(at=NOON - 86_400, pages=70)])
    assert [None] == spent(ledger, PAGES)
    make(ledger, PAGES)
    assert [3] == spent(ledger, PAGES)
    ledger.append([booked(at=NOON, pages=4), booked("other", at=NOON, pages=50), booked(at=NOON + 86_400, pages=70)])
    make(ledger, PAGES)
    assert [7] == spent(ledger, PAGES)


def test_every_unit_and_every_scope_has_its_own_sum(ledger: Ledger) -> None:
    """Pages, nano-dollars and requests; of the client, of the route, of all; the sandbox apart."""
    spans = [
        Span(scope, unit, sandbox, DAY)
        for scope in (TEAM, Scope("route", "/mistral"), Scope("all"))
        for unit in Unit
        for sandbox in (False, True)
    ]
    entries = [
        booked(at=NOON, pages=2, cost_nano=5),
        booked("other", at=NOON, pages=10, cost_nano=None),
        booked(None, at=NOON, pages=100, cost_nano=700),
        booked(at=NOON, pages=1000, cost_nano=9000, sandbox=True),
    ]
    expected = [*[2, 1000, 5, 9000, 1, 1], *[112, 1000, 705, 9000, 3, 1] * 2]
    make(ledger, *spans[::2])
    ledger.append(entries)
    make(ledger, *spans)
    assert expected == spent(ledger, *spans)


def test_only_what_went_on_to_the_target_is_a_request(ledger: Ledger) -> None:
    """A refusal of ours is no request against a limit, or who is refused would be kept out by it; a failure is one."""
    span = Span(TEAM, Unit.REQUESTS, sandbox=False, period=MINUTE)
    make(ledger, span)
    ledger.append([replace(booked(at=NOON), attempts=0), replace(booked(at=NOON), attempts=2, status=502)])
    assert [1] == spent(ledger, span)


def lines(*names: str, part: Part, exchange_id: str) -> Entry:
    """Return a part of a batch download, with lines of ten pages."""
    charges = tuple(Charge("m", 10, 0, cost_nano=1, line=name) for name in names)
    return replace(booked(at=NOON, exchange_id=exchange_id), charges=charges, account="a", part=part)


def test_lines_of_a_batch_are_spent_once_and_the_request_at_its_end(ledger: Ledger) -> None:
    """What the ledger leaves out, because it was there, is not spent again; an exchange is one request, however many parts."""
    requests = replace(PAGES, unit=Unit.REQUESTS)
    make(ledger, PAGES, requests)
    ledger.append([lines("1", "2", part=Part.OPEN, exchange_id="a"), lines("3", part=Part.OPEN, exchange_id="a")])
    assert [30, 0] == spent(ledger, PAGES, requests)
    ledger.append([lines("4", part=Part.CLOSE, exchange_id="a"), lines("2", "4", "5", part=Part.WHOLE, exchange_id="b")])
    ledger.append([lines("4", part=Part.CLOSE, exchange_id="a")])
    assert [50, 2] == spent(ledger, PAGES, requests)


def test_no_sum_passes_64_bits(ledger: Ledger) -> None:
    """A provider that answers absurd figures keeps nothing out of the ledger: the sum stays where it is largest."""
    span = replace(PAGES, unit=Unit.USD)
    make(ledger, span)
    for _ in range(5):
        ledger.append([booked(at=NOON, cost_nano=2**61)])
    assert [MAX_AMOUNT] == spent(ledger, span)
    later = replace(span, scope=Scope("all"))
    make(ledger, later)
    assert [MAX_AMOUNT] == spent(ledger, later)


def test_leases_share_what_is_left(ledger: Ledger) -> None:
    """No process gets what is spent or held by others; what one keeps it keeps, also where nothing is left."""
    ledger.append([booked(at=NOON, pages=40)])
    assert [None] == ask(ledger, "a", lease_request(0, 30))
    make(ledger, PAGES)
    assert [LeaseGrant(40, 0, 1, 30)] == ask(ledger, "a", lease_request(0, 30))
    assert [LeaseGrant(40, 30, 2, 15)] == ask(ledger, "b", lease_request(0, 30))
    assert [LeaseGrant(40, 45, 3, 5)] == ask(ledger, "c", lease_request(0, 30))
    assert [LeaseGrant(40, 20, 3, 40)] == ask(ledger, "a", lease_request(40, 30))
    assert [LeaseGrant(40, 55, 3, 10)] == ask(ledger, "c", lease_request(10, 30))
    assert [LeaseGrant(40, 25, 3, 0)] == ask(ledger, "a", lease_request(0, 0))
    assert [LeaseGrant(40, 10, 2, 25)] == ask(ledger, "b", lease_request(15, 10))


def test_who_comes_and_finds_nothing_is_seen_by_the_others(ledger: Ledger) -> None:
    """An empty lease is a lease: others leave a part to who waits; the last unit goes to who asks first."""
    make(ledger, PAGES)
    assert [LeaseGrant(0, 0, 1, 100)] == ask(ledger, "a", lease_request(0, 100))
    assert [LeaseGrant(0, 100, 2, 0)] == ask(ledger, "b", lease_request(0, 10))
    assert [LeaseGrant(0, 0, 2, 95)] == ask(ledger, "a", lease_request(90, 10))
    assert [LeaseGrant(0, 95, 2, 2)] == ask(ledger, "b", lease_request(0, 10))
    assert [LeaseGrant(0, 2, 2, 96)] == ask(ledger, "a", lease_request(95, 1))


def test_the_lease_of_a_process_that_died_runs_out(ledger: Ledger) -> None:
    """What no process asks for any more is free again after a while; a process that asks again keeps it."""
    make(ledger, PAGES)
    later_ms = NOW_MS + int(LEASE_S * 1000)
    ask(ledger, "a", lease_request(0, 100))
    assert [LeaseGrant(0, 100, 2, 0)] == ask(ledger, "b", lease_request(0, 10), now_ms=later_ms - 1)
    ask(ledger, "a", lease_request(100, 0), now_ms=later_ms - 1)
    assert [LeaseGrant(0, 100, 2, 0)] == ask(ledger, "b", lease_request(0, 10), now_ms=later_ms)
    assert [LeaseGrant(0, 0, 1, 10)] == ask(ledger, "b", lease_request(0, 10), now_ms=2 * later_ms - NOW_MS)


def test_a_process_gives_everything_back(ledger: Ledger) -> None:
    """At its end it need not be waited for."""
    make(ledger, PAGES)
    ask(ledger, "a", lease_request(0, 100))
    with ledger.transaction(writes=True) as connection:
        leases.give_back(connection, "a")
    assert [LeaseGrant(0, 0, 1, 100)] == ask(ledger, "b", lease_request(0, 100))


def test_one_process_warns_once(ledger: Ledger) -> None:
    """Of all that ask, one is to warn, and again only where the amount from which is larger."""
    make(ledger, PAGES)
    warned = []
    for pages, warn_from, replica in (
        (49, 50, "a"),
        (1, 50, "a"),
        (0, 50, "b"),
        (30, 50, "a"),
        (0, 80, "b"),
        (0, 80, "a"),
        (0, None, "a"),
    ):
        ledger.append([booked(at=NOON, pages=pages)])
        (granted,) = ask(ledger, replica, lease_request(0, 1, warn_from=warn_from))
        assert granted is not None
        warned.append(granted.warns)
    assert [False, True, False, False, True, False, False] == warned


def test_a_warning_is_noted_for_its_own_period_alone(ledger: Ledger) -> None:
    """Periods that differ in one thing only, asked for together or one by one: each is warned of once, the others later."""
    spans = [
        PAGES,
        replace(PAGES, scope=Scope("client", "other")),
        replace(PAGES, scope=Scope("route", "invoices")),
        replace(PAGES, unit=Unit.REQUESTS),
        replace(PAGES, sandbox=True),
        replace(PAGES, period=Period(DAY.starts_ms - 1, DAY.ends_ms)),
        replace(PAGES, period=Period(DAY.starts_ms, DAY.ends_ms + 1)),
    ]
    make(ledger, *spans)
    warned = []
    for asked in (*([span] for span in spans), spans):
        granted = ask(ledger, "a", *(LeaseRequest(span, 100, 0, 1, 0) for span in asked))
        warned.append([grant is not None and grant.warns for grant in granted])
    assert [[True]] * 7 + [[False] * 7] == warned


def test_a_reload_with_a_smaller_share_warns_no_second_time(ledger: Ledger) -> None:
    """The ledger knows the largest amount of which was warned; a larger one is warned of again."""
    make(ledger, PAGES)
    ledger.append([booked(at=NOON, pages=90)])
    warned = []
    for warn_from in (80, 50, 80, 90, 50):
        (granted,) = ask(ledger, "a", lease_request(0, 1, warn_from=warn_from))
        warned.append(granted is not None and granted.warns)
    assert [True, False, False, True, False] == warned


def test_what_nobody_needs_is_swept(ledger: Ledger) -> None:
    """Periods go a day after their end, minutes sooner; what runs stays."""
    minute = Span(TEAM, Unit.REQUESTS, sandbox=False, period=MINUTE)
    make(ledger, PAGES, minute)
    counts = []
    for now_ms in (MINUTE.ends_ms, MINUTE.ends_ms + 600_001, DAY.ends_ms + 86_400_000, DAY.ends_ms + 86_400_001):
        with ledger.transaction(writes=True) as connection:
            leases.sweep(connection, now_ms)
        counts.append(spent(ledger, PAGES, minute))
    assert [[0, 0], [0, None], [0, None], [None, None]] == counts


HOURS = [DAY.starts_ms + hour * 3_600_000 for hour in range(-30, 80)]
PERIODS = st.lists(st.sampled_from(HOURS), min_size=2, max_size=2, unique=True).map(sorted).map(lambda ends: Period(*ends))
ENTRIES = st.builds(
    lambda at_ms, pages, cost, client: booked(client, at=at_ms / 1000, pages=pages, cost_nano=cost),
    st.sampled_from(HOURS).flatmap(lambda hour: st.sampled_from([hour - 1000, hour, hour + 1000])),
    st.integers(0, 9),
    st.none() | st.integers(0, 10**10),
    st.sampled_from(["invoices", "other", None]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(ENTRIES, max_size=6), min_size=2, max_size=4), PERIODS)
def test_a_row_is_right_whenever_it_is_made(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Entry]], period: Period
) -> None:
    """Summed up from whole days and edges, or added to by every booking: the same as a plain sum."""
    spans = [Span(scope, unit, False, period) for scope in (TEAM, Scope("route", "/mistral"), Scope("all")) for unit in Unit]
    with closing(Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('books')}/books.db")) as ledger:
        for number, batch in enumerate(batches):
            ledger.append(batch)
            make(ledger, *spans[number::3])
        make(ledger, *spans)
        expected = [
            sum(
                leases.amount_of(entry, span.unit)
                for batch in batches
                for entry in batch
                if period.starts_ms <= entry.began_utc * 1000 < period.ends_ms
                and span.scope in leases.scopes_of(entry.client, entry.route)
            )
            for span in spans
        ]
        assert expected == spent(ledger, *spans)


def at_once(*actions: Callable[[], None]) -> list[BaseException]:
    """Run actions in threads, all at the same time; return what they raise."""
    raised: list[BaseException] = []

    def run(action: Callable[[], None]) -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - shown to the test
            raised.append(error)

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_rows_that_are_made_while_others_book_miss_nothing(ledger_url: str) -> None:
    """Four write, two make rows, two ask: none waits for another without end, and every row has every page."""
    spans = [Span(scope, Unit.PAGES, False, period) for scope in (TEAM, Scope("all")) for period in (DAY, MINUTE)]
    ledgers = [Ledger.open(ledger_url) for _ in range(4)]

    def persist(action: Callable[[], object]) -> None:
        while True:
            try:
                action()
            except (
                LedgerError
            ) as refused:  # SQLite's lock goes to the process that asks at the right moment, for two seconds at most.
                if not any(word in str(refused) for word in ("is locked", "refused for the moment")):
                    raise
            else:
                return

    def write(ledger: Ledger) -> None:
        for _ in range(25):
            entries = [booked(at=NOON, pages=1), booked("other", at=NOON, pages=1)]
            persist(partial(ledger.append, entries))

    def look(ledger: Ledger, replica: str, wanted: list[Span]) -> None:
        for number in range(25):
            if number % 5 == 0:
                persist(partial(make, ledger, *wanted[: 1 + number // 5]))
            persist(partial(ask, ledger, replica, *(LeaseRequest(span, 10_000, 0, number) for span in wanted)))

    try:
        actions: list[Callable[[], None]] = [lambda ledger=ledger: write(ledger) for ledger in ledgers]  # type: ignore[misc]
        actions += [lambda: look(ledgers[0], "a", spans), lambda: look(ledgers[1], "b", spans[::-1])]
        assert [] == at_once(*actions)
        assert [100, 100, 200, 200] == spent(ledgers[0], *spans)
    finally:
        for ledger in ledgers:
            ledger.close()


def test_many_budgets_are_asked_about_together(ledger: Ledger) -> None:
    """Hundreds of clients in one transaction, each its own."""
    spans = [replace(PAGES, scope=Scope("client", f"client-{number}")) for number in range(500)]
    make(ledger, *spans)
    granted = ask(ledger, "a", *(LeaseRequest(span, 10, 0, number % 7 + 1) for number, span in enumerate(spans)))
    assert [number % 7 + 1 for number in range(500)] == [grant.held if grant else None for grant in granted]


def test_scopes_are_those_of_an_exchange() -> None:
    """Everything is in `all`; what no scope names belongs to none."""
    assert (Scope("all"),) == leases.scopes_of(None, None)
    assert (Scope("all"), Scope("client", "a"), Scope("route", "/b")) == leases.scopes_of("a", "/b")
    assert [] == [pair for pair in pairwise(leases.scopes_of("a", "a")) if pair[0] == pair[1]]


HOURS = 3600.0


@pytest.mark.parametrize("skew_s", [0.0, -2 * HOURS, 2 * HOURS, -40.0, 40.0])
def test_leases_go_by_the_servers_clock(postgres_url: str, skew_s: float) -> None:
    """However wrong replicas' clocks are: none takes what another holds, and all together are lent no more than there is."""
    now_ms = int(time.time() * 1000)
    span = Span(TEAM, Unit.PAGES, sandbox=False, period=Period(now_ms - 10**8, now_ms + 10**8))
    with closing(Ledger.open(postgres_url)) as ledger:
        replicas = [LeaseClient(ledger, lambda: time.time() + skew_s), LeaseClient(ledger), LeaseClient(ledger)]
        held = [0, 0, 0]
        for _ in range(4):
            for number, replica in enumerate(replicas):
                (grant,) = replica.ask([LeaseRequest(span, 100, held[number], 60)]).values()
                held[number] = grant.held
                assert (sum(held) - held[number], True) == (grant.others, sum(held) <= 100)
        ends = [int(end) for (end,) in rows(ledger, "SELECT expires_ms FROM leases")]
        assert 3 == len(ends)
        assert all(abs(end / 1000 - time.time() - LEASE_S) < LEASE_S / 2 for end in ends)


def test_a_lease_that_a_clock_ahead_has_written_ends_in_time(ledger: Ledger) -> None:
    """A process that was two hours ahead, and is dead, keeps its slice no longer than any other."""
    make(ledger, PAGES)
    ask(ledger, "ahead", lease_request(0, 60), now_ms=NOW_MS + 7_200_000)
    (grant,) = ask(ledger, "here", lease_request(0, 60))
    assert grant is not None
    assert (60, 20) == (grant.others, grant.held)
    (grant,) = ask(ledger, "here", lease_request(20, 80), now_ms=NOW_MS + int(LEASE_S * 1000) + 1)
    assert grant is not None
    assert (0, 100) == (grant.others, grant.held)


def test_a_lease_lasts_here_as_long_as_it_does_there(ledger: Ledger) -> None:
    """What was not written again, because it had time left, is not believed to last for longer than others believe."""
    make(ledger, PAGES)
    for ms, lasts_s in ((0, 30.0), (4000, 26.0), (9000, 21.0), (10_001, 30.0), (12_001, 28.0)):
        (grant,) = ask(ledger, "here", lease_request(20, 0), now_ms=NOW_MS + ms)
        assert grant is not None
        assert lasts_s == grant.lasts_s
    (grant,) = ask(ledger, "here", lease_request(20, 1), now_ms=NOW_MS + 13_000)
    assert grant is not None
    assert 30.0 == grant.lasts_s


def rows(ledger: Ledger, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with ledger.transaction() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]
