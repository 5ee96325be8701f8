"""Calls that were paid for and not counted: estimated, held by budgets, shown apart, and never in the sums of counted calls."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from passthrough.accounting.budget import Budget, Calendar, Per, Scope, Span, Unit
from passthrough.accounting.budgets.lease_client import LeaseClient
from passthrough.accounting.entry import Charge, Entry, entry
from passthrough.accounting.estimates import Estimates, is_paid_and_unknown
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.periods import period_of
from passthrough.accounting.pricing.prices import Prices
from passthrough.accounting.reports.report import summarize, to_csv, to_json
from passthrough.accounting.reports.usage_table import to_table
from passthrough.exchange import RouteTerms
from passthrough.meter.plan import JsonCounts, MeterPlan
from passthrough.meter.usage import Unmetered, Usage
from tests.harness.client import client
from tests.harness.entries import booked, exchange
from tests.harness.process import Program, program
from tests.harness.upstream import Peer, chunk, ok, upstream
from tests.harness.waiting import eventually, until

OCR = b'{"pages": [], "model": "mistral-ocr-2512", "usage_info": {"pages_processed": 2, "doc_size_bytes": 3}}'
KEY = "estimates-" + "k" * 40
POST = f"POST /mistral/v1/ocr HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
CANCELLED = Usage(unmetered=Unmetered.CANCELLED)
AT = 1_795_219_200.5
"""A second on the 21st of November 2026."""


def unknown(at: float = AT, pages: int | None = 7, nano: int | None = 28_000_000, client: str | None = "invoices") -> Entry:
    """Return the entry of a call that was paid and is not known."""
    made = exchange(client, at=at)
    made.status = None
    return replace(entry(made, CANCELLED), estimated_pages=pages, estimated_nano=nano, outcome="client_gone")


# ── the program ──


class Provider:
    """A target that answers calls in turn: `hangs`, `breaks` in the middle, or answers."""

    def __init__(self) -> None:
        self.does = "answers"
        self.asked = 0

    async def __call__(self, peer: Peer) -> None:
        """Serve one connection."""
        while True:
            await peer.request()
            self.asked += 1
            if self.does == "hangs":
                await peer.ended()
                return
            if self.does == "breaks":
                await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(OCR[:20]))
                peer.reset()
                return
            await peer.send(ok(OCR))


def configured(port: int, budget: str) -> str:
    """Return a configuration with one client and its budget."""
    return (
        f"client_keys:\n  - {{name: invoices, key: {KEY}, budget: {budget}}}\n"
        "pass_through_endpoints:\n"
        f"  - {{path: /mistral, target: 'http://127.0.0.1:{port}', include_subpath: true, client_gone: cancel}}\n"
    )


async def post(running: Program) -> tuple[int, bytes]:
    """Ask once, and return the status and what was said."""
    key = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=key) as session, session.post(running.url + "/mistral/v1/ocr", data=b"{}") as answer:
        try:
            return answer.status, await answer.read()
        except aiohttp.ClientError:
            return answer.status, b""


async def leave(running: Program, provider: Provider) -> None:
    """Ask, and leave when the whole request has gone up."""
    asked = provider.asked
    async with client(running.port) as raw:
        await raw.send(POST)
        await until(lambda: provider.asked > asked)
        raw.reset()


async def admin(running: Program, path: str) -> str:
    """Return what the admin port says."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{running.admin_port}/{path}") as answer:
        return await answer.text()


@pytest.mark.wire
@pytest.mark.process
async def test_the_first_call_of_all_is_estimated_by_the_model_that_it_asked_for(tmp_path: Path) -> None:
    """Nothing was counted before, as behind each restart: one page at what a budget in USD reserved, the list's dearest."""
    provider = Provider()
    async with upstream(provider) as above, program(tmp_path, configured(above.port, "{usd: 0.001, per: day}")) as running:
        provider.does = "hangs"
        async with client(running.port) as raw:
            body = b'{"model": "mistral-ocr-2512", "document": {}}'
            await raw.send(POST.replace(b"Length: 2", b"Length: %d" % len(body)).replace(b"{}", body))
            await until(lambda: provider.asked == 1)
            raw.reset()
        (line,) = await running.logs(1)
        names = ("model", "unmetered", "estimated_pages", "estimated_usd", "cost_usd")
        assert ("mistral-ocr-2512", "cancelled", 1, 0.005, None) == tuple(line[name] for name in names)
        assert 429 == (await post(running))[0]
        assert 1 == provider.asked


@pytest.mark.wire
@pytest.mark.process
async def test_a_call_that_is_given_up_counts_in_the_budget_also_after_a_restart(tmp_path: Path) -> None:
    """Two pages were counted, two are estimated: the budget of four is used up, and stays so."""
    provider = Provider()
    async with upstream(provider) as above:
        config = configured(above.port, "{pages: 4, per: month}")
        async with program(tmp_path, config) as running:
            assert (200, OCR) == await post(running)
            provider.does = "hangs"
            await leave(running, provider)
            _, line = await running.logs(2)
            assert ("cancelled", None, None, 2, 0.004) == tuple(
                line[name] for name in ("unmetered", "pages", "cost_usd", "estimated_pages", "estimated_usd")
            )
            provider.does = "answers"
            refused = await post(running)
            assert (429, "budget_spent") == (refused[0], json.loads(refused[1])["code"])

            async def latest() -> dict[str, Any]:
                found: dict[str, Any] = json.loads(await admin(running, "exchanges"))
                return {each["unmetered"]: each for each in found["exchanges"]}

            found = await eventually(latest, lambda found: "cancelled" in found)
            assert (2, 0.004, None) == tuple(found["cancelled"][name] for name in ("estimated_pages", "estimated_usd", "pages"))
            assert (None, None) == tuple(found[None][name] for name in ("estimated_pages", "estimated_usd"))
            metrics = await admin(running, "metrics")
            whose = '{client="invoices",route="/mistral",sandbox="false"}'
            assert f"passthrough_estimated_pages_total{whose} 2.0" in metrics
            assert f"passthrough_estimated_cost_usd_total{whose} 0.004" in metrics
            assert 4 == json.loads(await admin(running, "budgets"))["budgets"][0]["spent"]
            assert 0 == await running.stop()
        async with program(tmp_path, config) as running:
            assert 429 == (await post(running))[0]
            assert 2 == provider.asked
            code, out, _ = await running.command("usage", "--by", "client", "--format", "json")
            assert 0 == code
            (group,) = json.loads(out)["groups"]
            assert (2, 2, 0.004) == (group["pages"], group["estimated_pages"], group["estimated_usd"])
            code, out, _ = await running.command("usage", "--export", "-", "--format", "json")
            rows = [json.loads(row) for row in out.splitlines()]
            assert [(None, None), (2, 0.004)] == [(row["estimated_pages"], row["estimated_usd"]) for row in rows][:2]


@pytest.mark.wire
@pytest.mark.process
async def test_a_call_that_breaks_or_is_cut_off_counts_too(tmp_path: Path) -> None:
    """The first answer breaks in its middle, the second is cut off by the end of the program: one page each."""
    provider = Provider()
    async with upstream(provider) as above:
        async with program(tmp_path, configured(above.port, "{pages: 100, per: month}"), "--drain-timeout", "0.1") as running:
            provider.does = "breaks"
            await post(running)
            provider.does = "hangs"
            async with client(running.port) as raw:
                await raw.send(POST)
                await until(lambda: provider.asked == 2)
                assert 0 == await running.stop()
            lines = running.log
        found = [(line["outcome"], line["unmetered"], line["estimated_pages"], line["estimated_usd"]) for line in lines]
        assert [("upstream_failed", "broken", 1, None), ("cut_off", "cancelled", 1, None)] == found
        with closing(sqlite3.connect(tmp_path / "passthrough.db")) as database:
            rows = database.execute("SELECT estimated_pages, estimated_nano FROM exchanges ORDER BY id").fetchall()
        assert [(1, None), (1, None)] == rows


@pytest.mark.wire
@pytest.mark.process
async def test_what_never_went_up_is_not_estimated(tmp_path: Path) -> None:
    """A client that leaves in the middle of its upload, a target that cannot be reached: the provider does no work for it."""
    began = asyncio.Event()

    async def reads(peer: Peer) -> None:
        await peer.head()
        began.set()
        await peer.ended()

    async with upstream(reads) as above, program(tmp_path, configured(above.port, "{pages: 9, per: day}")) as running:
        async with client(running.port) as raw:
            await raw.send(POST.replace(b"Length: 2", b"Length: 9"))
            await began.wait()  # with the connection alone, the proxy may not have noticed that it stands
            raw.reset()
        (line,) = await running.logs(1)
        assert ("cancelled", None, None) == tuple(line[name] for name in ("unmetered", "estimated_pages", "estimated_usd"))
    async with program(tmp_path, configured(1, "{pages: 9, per: day}")) as running:
        assert 502 == (await post(running))[0]
        (line,) = await running.logs(1)
        assert ("upstream_unreachable", None, None) == tuple(line[name] for name in ("error", "unmetered", "estimated_pages"))


@pytest.mark.wire
@pytest.mark.process
async def test_a_kill_forgets_no_estimate(tmp_path: Path) -> None:
    """It is in the journal as all else, and booked from there."""
    provider = Provider()
    provider.does = "hangs"
    async with upstream(provider) as above:
        async with program(tmp_path, configured(above.port, "{pages: 1, per: month}")) as running:
            await leave(running, provider)
            await running.logs(1)
            await asyncio.sleep(0.1)  # 0.05 s are promised
            running.signal(signal.SIGKILL)
            await running.ended()
        async with program(tmp_path, None) as running:

            async def spent() -> int:
                found: int = json.loads(await admin(running, "budgets"))["budgets"][0]["spent"]
                return found

            assert 1 == await eventually(spent, lambda found: found == 1)
            assert 429 == (await post(running))[0]


# ── sums and budgets ──


@pytest.mark.wire
@pytest.mark.parametrize(
    ("since", "until_"), [(None, None), ("2026-11-21", "2026-11-22"), ("2026-11-21T00:00:00", "2026-11-21T00:00:02")]
)
def test_estimates_are_summed_apart(ledger_url: str, since: str | None, until_: str | None) -> None:
    """In daily sums, and in parts of a day, on both databases: pages and costs are what was counted."""
    with closing(Ledger.open(ledger_url)) as ledger:
        ledger.append([booked(at=AT, pages=3), unknown(), unknown(nano=None), unknown(pages=None, nano=5 * 10**9)])
        period = {
            name: datetime.fromisoformat(text).replace(tzinfo=UTC)
            for name, text in (("since", since), ("until", until_))
            if text is not None
        }
        report = summarize(ledger, ("client",), period.get("since"), period.get("until"))
    total = report.total
    assert (4, 3, 2_000_000, 3) == (total.requests, total.pages, total.cost_nano, total.unmetered)
    assert (14, 5_028_000_000) == (total.estimated_pages, total.estimated_nano)
    assert (14, 5_028_000_000) == (report.groups[0].estimated_pages, report.groups[0].estimated_nano)
    shown = json.loads(to_json(report), parse_float=Decimal)
    assert (3, Decimal("0.002"), 14, Decimal("5.028")) == tuple(
        shown["total"][name] for name in ("pages", "cost_usd", "estimated_pages", "estimated_usd")
    )
    (row,) = csv.DictReader(io.StringIO(to_csv(report)))
    assert ("14", "5.028") == (row["estimated_pages"], row["estimated_usd"])
    table = to_table(report)
    assert not isinstance(table, str)
    assert {"est. pages", "est. USD"} <= {column.head for column in table.columns}


def test_without_estimates_a_report_is_as_it_was(tmp_path: Path) -> None:
    """Who reads it by its columns finds no new ones, until there is something in them."""
    with closing(Ledger.open(f"sqlite:///{tmp_path}/books.db")) as ledger:
        ledger.append([booked(at=AT)])
        report = summarize(ledger, ("client",))
    assert "estimated" not in to_json(report) + to_csv(report)
    table = to_table(report)
    assert not isinstance(table, str)
    assert not any(column.head.startswith("est") for column in table.columns)


@pytest.mark.wire
@pytest.mark.parametrize(("unit", "amount"), [(Unit.PAGES, 3 + 7), (Unit.USD, 2_000_000 + 28_000_000), (Unit.REQUESTS, 2)])
@pytest.mark.parametrize("asked_first", [False, True])
@pytest.mark.parametrize("per", [Per.MINUTE, Per.DAY, Per.MONTH])
def test_budgets_count_estimates(ledger_url: str, unit: Unit, amount: int, asked_first: bool, per: Per) -> None:
    """Whether a period's row is there when they are booked, or is made of the daily sums and exchanges later."""
    budget = Budget(Scope("client", "invoices"), unit, per, 10**12)
    period = period_of(Calendar(day_starts_minute=1), per, int(AT * 1000))
    span = Span(budget.scope, unit, False, period)
    with closing(Ledger.open(ledger_url)) as ledger:
        leasing = LeaseClient(ledger)
        if asked_first:
            assert {span: 0} == leasing.survey([span])
        ledger.append([booked(at=AT, pages=3), unknown(), unknown(client="other")])
        assert {span: amount} == leasing.survey([span])


# ── the guess ──


def learnt(*entries: Entry) -> Estimates:
    """Return estimates that have seen some calls."""
    found = Estimates()
    for each in entries:
        found.learn(each)
    return found


def guessed(
    estimates: Estimates,
    *,
    client_: str | None = "invoices",
    plan: MeterPlan | None = None,
    reserved: tuple[int | None, int | None] = (None, None),
    model: str | None = None,
    flat: int | None = None,
) -> Sequence[int | None]:
    """Return what a call of a client is taken to have come to."""
    made = exchange(client_)
    made.terms = RouteTerms("/mistral", plan or MeterPlan(), flat)
    return estimates.guess(made, replace(CANCELLED, model=model), None, Prices(), reserved)


def test_a_guess_goes_by_what_came_before() -> None:
    """The client's own calls count; before its first, those of others on the route; before any, it is a page."""
    seen = learnt(booked(pages=8, cost_nano=80), booked(pages=16, cost_nano=None))
    assert (9, 80) == guessed(seen)
    assert (9, 80) == guessed(seen, client_="new")
    assert (1, None) == guessed(Estimates())
    assert (1, 2_000_000) == guessed(Estimates(), model="mistral-ocr-2512")
    assert (1, 2_000_000) == guessed(Estimates(), plan=MeterPlan(model="mistral-ocr-2512"))
    assert (1, 5) == guessed(Estimates(), flat=5)
    assert (None, None) == guessed(Estimates(), plan=MeterPlan("chat"))


def test_a_guess_is_no_less_than_what_was_reserved() -> None:
    """What budgets hold for a call is what it may at least have come to."""
    seen = learnt(booked(pages=8, cost_nano=80))
    assert (20, 80) == guessed(seen, reserved=(20, None))
    assert (8, 500) == guessed(seen, reserved=(2, 500))


Guess = tuple[int | None, int | None]
CHAT_PATH = "/mistral/v1/chat/completions"
TOLD = Usage(model="small", tokens_in=5, tokens_out=0, unmetered=Unmetered.CANCELLED)


def spoken(cost_nano: int | None = 70) -> Entry:
    """Return the entry of a chat that was counted."""
    return replace(booked(), charges=(Charge("small", tokens_in=5, cost_nano=cost_nano, cost_source="prices.yaml"),))


@pytest.mark.parametrize(
    ("seen", "usage", "charge", "reserved", "expected"),
    [
        ([spoken()], TOLD, Charge("small", tokens_in=5, cost_nano=30, cost_source="prices.yaml"), (None, None), (None, 40)),
        ([spoken()], TOLD, Charge("small", tokens_in=5, cost_nano=90, cost_source="prices.yaml"), (None, None), (None, 0)),
        ([spoken()], TOLD, Charge("small", tokens_in=5, cost_nano=30, cost_source="prices.yaml"), (None, 100), (None, 70)),
        ([spoken()], TOLD, Charge("small", tokens_in=5), (None, None), (None, 70)),
        ([spoken()], TOLD, Charge("small", tokens_in=5, cost_nano=30, cost_source="x-cost"), (None, None), (None, None)),
        ([spoken()], TOLD, Charge("small", tokens_in=5, cost_nano=30, cost_source="cost_per_request"), (None, 9), (None, None)),
        ([], TOLD, Charge("small", tokens_in=5, cost_nano=30, cost_source="prices.yaml"), (None, None), (None, None)),
        ([], TOLD, Charge("small", tokens_in=5, cost_nano=30, cost_source="prices.yaml"), (None, 50), (None, 20)),
        ([spoken(), booked(pages=8, cost_nano=80)], CANCELLED, None, (None, None), (None, 70)),
        ([booked(pages=8, cost_nano=80)], replace(CANCELLED, pages=3), Charge("m", 3, cost_nano=30), (None, None), (5, 50)),
        ([booked(pages=8, cost_nano=80)], replace(CANCELLED, pages=9), Charge("m", 9, cost_nano=90), (None, None), (0, 0)),
    ],
)
def test_beside_what_was_told_stands_what_lacks(
    seen: list[Entry],
    usage: Usage,
    charge: Charge,
    reserved: tuple[int | None, int | None],
    expected: tuple[int | None, int | None],
) -> None:
    """The usual cost without what is charged for the part that came, never below 0; both together count nothing twice."""
    made = exchange()
    made.path = CHAT_PATH
    made.reported_cost_nano = 30 if charge is not None and charge.cost_source == "x-cost" else None
    assert expected == learnt(*seen).guess(made, usage, charge, Prices(), reserved)


@pytest.mark.parametrize(
    ("path", "seen", "expected"),
    [
        (CHAT_PATH, [booked(pages=8, cost_nano=80)], (None, None)),
        ("/mistral/v1/embeddings", [spoken()], (None, 70)),
        ("/mistral/v1/ocr", [spoken()], (1, None)),
        ("/mistral/models/m:rawPredict", [spoken()], (None, 70)),
        ("/mistral/models/m:rawPredict", [spoken(), booked(pages=8, cost_nano=80)], (8, 80)),
        ("/mistral/models/m:rawPredict", [], (1, None)),
    ],
)
def test_a_call_is_estimated_by_its_like(path: str, seen: list[Entry], expected: tuple[int | None, int | None]) -> None:
    """Its path tells a chat from a document; where one path serves both, what was counted there does."""
    made = exchange()
    made.path = path
    assert expected == learnt(*seen).guess(made, CANCELLED, None, Prices(), (None, None))


def test_calls_with_tokens_are_no_measure_of_those_with_pages() -> None:
    """One route has both: a chat costs a thousandth of a document."""
    (charge,) = booked().charges
    chat = replace(booked(), charges=(replace(charge, pages=None, pages_annotated=None, tokens_in=5, cost_nano=70),))
    credits_ = JsonCounts(credits=("credits",))
    assert (None, 70) == guessed(learnt(chat), plan=MeterPlan("chat"))
    assert (None, 70) == guessed(learnt(chat), plan=MeterPlan("json", counted=credits_))
    assert (None, None) == guessed(Estimates(), plan=MeterPlan("json", counted=credits_))
    assert (1, None) == guessed(learnt(chat), plan=MeterPlan("json", counted=JsonCounts(constant=1)))
    assert (1, None) == guessed(learnt(chat))
    assert (8, 80) == guessed(learnt(booked(pages=8, cost_nano=80), *[chat] * 20))


@pytest.mark.parametrize(
    ("usage", "changes", "expected"),
    [
        (CANCELLED, {}, True),
        (Usage(unmetered=Unmetered.BROKEN), {}, True),
        (Usage(unmetered=Unmetered.NO_USAGE), {}, False),
        (Usage(), {}, False),
        (Usage(3, unmetered=Unmetered.BROKEN), {}, True),
        (Usage(tokens_in=3, unmetered=Unmetered.CANCELLED), {}, True),
        (Usage(tokens_in=3, unmetered=Unmetered.UNKNOWN_UNIT), {}, False),
        (Usage(unmetered=Unmetered.UNKNOWN_UNIT), {}, False),
        (CANCELLED, {"went_up": False}, False),
        (CANCELLED, {"admitted": False}, False),
        (CANCELLED, {"method": "GET"}, False),
    ],
)
def test_what_is_estimated(usage: Usage, changes: dict[str, Any], expected: bool) -> None:
    """Only what was paid and is not known as a whole: it had gone up, it ended early, and it is no download."""
    made = exchange()
    made.went_up = True
    for name, value in changes.items():
        setattr(made, name, value)
    assert expected is is_paid_and_unknown(made, usage)
