"""Refused requests: one row a minute for each client, route and code, which counts them all; the log has each."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from passthrough.accounting.entry import Entry, entry
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.refusals import Refusals
from passthrough.accounting.reports.report import summarize
from passthrough.exchange import Outcome
from passthrough.meter.usage import NOTHING
from tests.harness.entries import booked, exchange
from tests.harness.process import command, program
from tests.harness.upstream import Peer, ok, upstream

AT = 1_795_219_200.0
"""The first second of a minute, and of a day."""

KEYS = {name: f"{name}-" + "k" * 40 for name in ("invoices", "archive")}


def refused(client: str | None = "invoices", *, at: float = AT, code: str = "rate_limited", label: str | None = "a") -> Entry:
    """Return the entry of a request that was refused before anything went to a target."""
    made = exchange(client, at=at)
    made.outcome, made.error, made.status, made.attempts, made.label = Outcome.REFUSED, code, 429, 0, label
    made.labels = (("team", label),) if label else ()
    return entry(made, NOTHING)


async def test_a_minute_of_refusals_is_one_entry() -> None:
    """For each client, route, model group and code; it is the first one's, without its labels, which another may not have had."""
    written: list[Entry] = []
    refusals = Refusals(written.append)
    taken = [
        *(refused(at=AT + second / 10, label=str(second)) for second in range(500)),
        *(refused("archive") for _ in range(3)),
        *(refused(code="budget_spent") for _ in range(2)),
        refused(at=AT + 60),
        replace(refused(), route="/other"),
        replace(refused(), sandbox=True),
        replace(refused(), model_group="ocr"),
    ]
    assert all(map(refusals.take, taken))
    assert [] == written
    refusals.flush()
    assert [500, 3, 2, 1, 1, 1, 1] == [each.requests for each in written]
    assert replace(taken[0], label=None, labels=None, requests=500) == written[0]
    refusals.flush()
    assert 7 == len(written)


async def test_what_was_gathered_is_written_when_the_minute_is_over() -> None:
    """It needs no further request."""
    written: asyncio.Queue[Entry] = asyncio.Queue()
    refusals = Refusals(written.put_nowait)
    assert refusals.take(refused(at=AT + 59.99))
    async with asyncio.timeout(20):
        assert 1 == (await written.get()).requests
        assert refusals.take(refused(at=AT + 119.99))
        assert 1 == (await written.get()).requests


async def test_other_ends_have_entries_of_their_own() -> None:
    """What went to a target, and what ended otherwise, is never gathered."""
    refusals = Refusals(lambda _: None)
    assert not refusals.take(booked())
    assert not refusals.take(replace(refused(), attempts=1))
    assert not refusals.take(replace(refused(), outcome="client_gone"))


def test_each_refused_request_is_counted_once(ledger_url: str) -> None:
    """On both databases: in sums by days and by exchanges, in the latest ones and in the export; brought twice, too."""
    many, more = replace(refused(), label=None, requests=500), replace(refused(at=AT + 60), label=None, requests=2)
    with closing(Ledger.open(ledger_url)) as ledger:
        ledger.append([many, booked(at=AT + 1)])
        ledger.append([more, many])
        for since in (None, datetime.fromtimestamp(AT - 1, UTC)):
            (by_status,) = ledger.sums(("status",), since=since, until=datetime.fromtimestamp(AT + 61, UTC))
            assert {200: (1, 0), 429: (502, 502)} == {row.key[0]: (row.requests, row.errors) for row in by_status}
        report = summarize(ledger, ("client",))
        assert (503, 1, 502) == (report.total.requests, report.total.pages, report.total.errors)
        assert [2, 1, 500] == [each.requests for each in ledger.latest(5)]
        assert 503 == sum(each.requests for each in ledger.exported())


CONFIG = """client_keys:
  - {{name: invoices, key: {invoices}, rpm: 1}}
  - {{name: archive, key: {archive}}}
label_headers: [x-team]
pass_through_endpoints:
  - {{path: /mistral, target: 'http://127.0.0.1:{port}', include_subpath: true}}
  - {{path: /small, target: 'http://127.0.0.1:{port}', include_subpath: true, max_body: 1}}
"""


@pytest.mark.wire
@pytest.mark.process
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_flood_of_refusals_is_a_few_rows(tmp_path: Path, workers: int) -> None:
    """The log has every one, with its label; the ledger counts them, and has no more rows than minutes and processes."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(ok(b"{}"))

    async with upstream(script) as above:
        config = CONFIG.format(port=above.port, **KEYS)
        async with program(tmp_path, config, "--workers", str(workers)) as running:
            counts = {200: 0, 413: 0, 429: 0}
            for _ in range(2):  # over several connections, which several workers share
                async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEYS['invoices']}"}) as session:
                    for number in range(100):
                        async with session.post(
                            running.url + "/mistral/v1/x", data=b"{}", headers={"x-team": str(number)}
                        ) as answer:
                            counts[answer.status] += 1
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEYS['archive']}"}) as session:
                for _ in range(20):
                    async with session.post(running.url + "/small/v1/x", data=b"{}") as answer:
                        counts[answer.status] += 1
            lines = await running.logs(220)
            assert 0 == await running.stop()
    assert (200, 20) == (counts[200] + counts[429], counts[413])
    assert counts[429] == sum(line["error"] == "rate_limited" and line["label"] is not None for line in lines)
    with closing(sqlite3.connect(tmp_path / "passthrough.db")) as database:
        query = "SELECT error, sum(requests), count(*) FROM exchanges WHERE outcome = 'refused' GROUP BY error ORDER BY error"
        large, limited = database.execute(query).fetchall()
        assert [] == database.execute("SELECT id FROM exchanges WHERE outcome = 'refused' AND label IS NOT NULL").fetchall()
        first = {row[0] for row in database.execute("SELECT id FROM exchanges WHERE outcome = 'refused'")}
    assert ("body_too_large", 20) == large[:2]
    assert ("rate_limited", counts[429]) == limited[:2]
    assert max(large[2], limited[2]) <= 2 * workers  # the test may pass the end of a minute
    assert first <= {line["id"] for line in lines}
    assert counts[429] > 100


@pytest.mark.process
async def test_usage_counts_what_was_refused(tmp_path: Path) -> None:
    """Table, JSON, CSV and export say of every one that it was there."""
    with closing(Ledger.open(f"sqlite:///{tmp_path}/passthrough.db")) as ledger:
        ledger.append([replace(refused(), label=None, requests=500), booked(at=AT)])
    (tmp_path / "routes.yaml").write_text("pass_through_endpoints: [{path: /mistral, target: 'http://127.0.0.1:1'}]\n")
    code, out, _ = await command(tmp_path, "usage", "--by", "status", "--format", "json")
    assert (0, [1, 500]) == (code, [group["requests"] for group in json.loads(out)["groups"]])
    code, out, _ = await command(tmp_path, "usage", "--format", "csv")
    assert ["501"] == [row["requests"] for row in csv.DictReader(io.StringIO(out))]
    code, out, err = await command(tmp_path, "usage", "--export", "x.csv")
    assert "501" in err + out
    with (tmp_path / "x.csv").open(newline="") as file:
        assert ["1", "500"] == sorted(row["requests"] for row in csv.DictReader(file))
    code, out, _ = await command(tmp_path, "usage", "--reprice", "--format", "json")
    assert (0, 1) == (code, json.loads(out)["total"]["charges"])
