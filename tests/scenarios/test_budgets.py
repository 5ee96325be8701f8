"""Budgets from the street: what is used up is refused before a byte goes up, across restarts, reloads and processes."""

from __future__ import annotations

import asyncio
import http.server
import json
import re
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.harness.budgets import KEY, OTHER, ask, configured, counting, degraded, pages, standing, turn
from tests.harness.process import program
from tests.harness.upstream import Peer, upstream
from tests.harness.waiting import eventually, until

pytestmark = [pytest.mark.wire, pytest.mark.process]


async def test_what_is_used_up_is_refused_until_the_period_ends(tmp_path: Path) -> None:
    """429 in the provider's shape: who, how much, until when; nothing goes up. Others go on. A restart changes nothing."""
    async with counting(pages(4)) as raw:
        config = configured(raw.port, team="budget: {pages: 20, per: month}")
        async with program(tmp_path, config) as running:
            assert [200] * 5 == [(await turn(running)).status for _ in range(5)]
            for _ in range(3):
                refused = await turn(running, "/more")
                assert (429, "budget_spent") == (refused.status, refused.error)
            assert {"error", "budget_spent", 429} == {refused.body[name] for name in ("object", "code", "raw_status_code")}
            told = re.fullmatch(
                r"Client 'team' has used 20 pages of 20 pages per month; the next month begins at (\d{4}-\d\d)-01T00:00:00Z\.",
                refused.body["message"],
            )
            assert told is not None
            assert 1 <= int(refused.fields["retry-after"]) <= 31 * 86_400
            assert 200 == (await ask(running.port, key=OTHER)).status
            assert 6 == len(raw.received)
            assert 0 == await running.stop()
        refusals = [line["error"] for line in running.log if line["status"] == 429]
        assert ["budget_spent"] * 3 == refusals
        async with program(tmp_path, None) as running:
            assert (429, "budget_spent") == ((again := await ask(running.port)).status, again.error)
            assert 200 == (await ask(running.port, key=OTHER)).status
            assert 7 == len(raw.received)
            (shown,) = await standing(running)
            assert (20, 20, 0) == (shown["spent"], shown["limit"], shown["reserved"])


async def test_a_reload_changes_what_may_be_spent_at_once(tmp_path: Path) -> None:
    """A larger budget lets in, a smaller one does not, none at all lets everything in; what was spent stays spent."""
    async with counting(pages(10)) as raw:
        first = configured(raw.port, team="budget: {pages: 20, per: month}")
        async with program(tmp_path, first) as running:
            assert [200, 200, 429] == [(await turn(running)).status for _ in range(3)]
            for reloads, (budget, statuses) in enumerate(
                [
                    ("budget: {pages: 30, per: month}", [200, 429]),
                    ("budget: {pages: 25, per: month}", [429]),
                    ("budget: [{pages: 50, per: month}, {usd: 1000, per: day}]", [200, 200, 429]),
                    ("budget: {pages: 10000, per: month}", [200]),
                    ("", [200]),
                    ("budget: {pages: 70, per: month}", [429]),
                ],
                1,
            ):
                (tmp_path / "routes.yaml").write_text(configured(raw.port, team=budget))
                await running.says("(?s)" + "Reloaded.*" * reloads)
                assert statuses == [(await turn(running)).status for _ in statuses]


async def test_a_key_that_is_gone_takes_its_budget_with_it(tmp_path: Path) -> None:
    """The next who calls is refused for the key; the request under way ends as it would have, and the rest goes on."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await go.wait()
            await peer.send(pages(4))

    async with upstream(script) as raw:
        config = configured(raw.port, team="budget: {pages: 20, per: month}", rest="budget: {pages: 100, per: day}")
        async with program(tmp_path, config) as running:
            under_way = asyncio.create_task(ask(running.port))
            await until(lambda: len(raw.received) == 1)
            without = re.sub(r"(?s)  - name: team.*?(?=  - \{name)", "", config)
            (tmp_path / "routes.yaml").write_text(without)
            await running.says("Reloaded")
            go.set()
            assert 200 == (await under_way).status
            assert "invalid_key" == (await ask(running.port)).error
            assert 200 == (await ask(running.port, key=OTHER)).status
            await running.logs(3)
            shown = await eventually(lambda: standing(running), lambda found: found[0]["spent"] == 8)
            assert [("all", 8, 0)] == [(each["scope"], each["spent"], each["reserved"]) for each in shown]


@pytest.mark.parametrize(
    ("place", "who"),
    [
        ({"team": "rpm: 3"}, "Client 'team'"),
        ({"route": "rpm: 3"}, "Route /ocr"),
        ({"rest": "rpm: 3"}, "This proxy"),
    ],
)
async def test_requests_per_minute(tmp_path: Path, place: dict[str, str], who: str) -> None:
    """Of a client, of a route, of everything: the fourth of a minute is told when the next one begins."""
    async with counting(pages(1)) as raw, program(tmp_path, configured(raw.port, **place)) as running:
        answers = [await ask(running.port)]
        async with asyncio.timeout(180):
            while answers[-1].status == 200:
                answers.append(await ask(running.port))
        lines = await running.logs(len(answers))
        last = [line["status"] for line in lines if _minute(line) == _minute(lines[-1])]  # the minute may have turned meanwhile
        assert [200, 200, 200, 429] == last
        told = f"{who} has used 3 requests of 3 requests per minute; the next minute begins at "
        assert ("rate_limited", told) == (answers[-1].error, answers[-1].body["message"][: len(told)])
        assert 1 <= int(answers[-1].fields["retry-after"]) <= 60


def _minute(line: dict[str, Any]) -> str:
    return str(line["time"])[:16]


async def test_pages_per_minute_of_a_route_leave_the_others_alone(tmp_path: Path) -> None:
    """A route's limit is for all its clients together; another route is not concerned."""
    async with counting(pages(100)) as raw:
        config = configured(raw.port, route="pages_per_minute: 100")
        async with program(tmp_path, config) as running:

            async def both() -> list[tuple[int, str | None]]:
                return [((got := await ask(running.port, "/ocr", key)).status, got.error) for key in (KEY, OTHER)]

            # Where the minute turns between the two, they are both let in: then the next two are of one minute.
            await eventually(both, lambda found: found[-1] == (429, "rate_limited"))
            assert [200, 200] == [(await ask(running.port, "/more", key)).status for key in (KEY, OTHER)]


async def test_money_is_a_budget_for_the_whole(tmp_path: Path) -> None:
    """US dollars per day, for all clients and routes together; the answer says dollars."""
    async with counting(pages(1000)) as raw:
        price = "prices: [{model: mistral-ocr-2512, usd_per_1000_pages: 3}]"
        config = configured(raw.port, rest=f"budget: {{usd: 7.5, per: week}}\n{price}")
        async with program(tmp_path, config) as running:
            assert [200, 200, 200] == [(await turn(running, key=key)).status for key in (KEY, OTHER, KEY)]
            refused = await turn(running, "/more", OTHER)
            assert "This proxy has used 9 USD of 7.5 USD per week; the next week begins at " == refused.body["message"][:71]


async def test_the_overshoot_is_what_is_under_way(tmp_path: Path) -> None:
    """Sixteen at once, of ten pages each, whose size nobody knows before: at most sixteen are admitted beyond what fits."""
    async with counting(pages(10)) as raw:
        config = configured(raw.port, team="budget: {pages: 100, per: month}")
        async with program(tmp_path, config) as running:

            async def calls() -> None:
                refused = 0
                while refused < 3:
                    refused += (await ask(running.port)).status == 429

            await asyncio.gather(*(calls() for _ in range(16)))
            passed = len(raw.received)
            assert 10 <= passed < 10 + 16
            assert 0 == await running.stop()
    with closing(sqlite3.connect(tmp_path / "passthrough.db")) as database:
        assert [(10 * passed,)] == database.execute("SELECT spent FROM budgets").fetchall()


@dataclass
class Hook:
    """A web server that takes POSTs, and fails the first so many."""

    url: str
    failing: int = 0
    posted: list[dict[str, Any]] = field(default_factory=list)
    tries: int = 0


@contextmanager
def hook(failing: int = 0) -> Iterator[Hook]:
    """Run it."""

    class Taking(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.tries += 1
            failed = found.tries <= found.failing
            if not failed:
                found.posted.append({**json.loads(body), "type": self.headers["Content-Type"]})
            self.send_response(500 if failed else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        found = Hook(f"http://127.0.0.1:{server.server_port}/secret-path", failing)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


async def test_the_operator_is_warned_once(tmp_path: Path) -> None:
    """At the share that is configured: one line on stderr, one POST, tried again when it fails; not again after a restart."""
    async with counting(pages(10)) as raw:
        with hook(failing=1) as found:
            budget = "budget: {pages: 100, per: month, warn_at: 50%}"
            config = configured(raw.port, team=budget, rest=f"budget_webhook: {found.url}")
            async with program(tmp_path, config) as running:
                for _ in range(4):
                    await ask(running.port)
                await eventually(lambda: standing(running), lambda shown: shown[0]["spent"] == 40)
                assert 0 == found.tries
                await ask(running.port)
                told = await running.says(r"Client 'team' has used 50 pages of 100 pages per month \(50 %\), until (\S+)\.\n")
                await until(lambda: len(found.posted) == 1)
                for _ in range(3):
                    await ask(running.port)
                assert 0 == await running.stop()
            assert 1 == "".join(running.said).count("has used")
            assert "secret-path" not in "".join(running.said)
            async with program(tmp_path, None) as running:
                await ask(running.port)
                await eventually(lambda: standing(running), lambda shown: shown[0]["spent"] == 90)
            assert 0 == "".join(running.said).count("has used")
            (posted,) = found.posted
    figures = {"scope": "client", "name": "team", "unit": "pages", "per": "month", "spent": 50, "limit": 100}
    assert {**posted, **figures, "event": "budget_warning", "resets": told[1], "type": "application/json"} == posted
    assert posted["text"] in told[0]


@pytest.mark.parametrize("ledger", ["sqlite:///passthrough.db", "none"])
async def test_a_reload_warns_again_only_where_the_budget_is_another(tmp_path: Path, ledger: str) -> None:
    """The same budget: no second message. A larger one: at its own share, whether what is spent has a ledger or not."""
    async with counting(pages(10)) as raw:
        texts = [
            configured(raw.port, team=f"budget: {{pages: {limit}, per: month, warn_at: 50%}}", rest=f"ledger: {ledger}\n{more}")
            for limit, more in ((40, ""), (40, "rpm: 1000"), (80, ""))
        ]
        async with program(tmp_path, texts[0]) as running:
            said = []
            for reloads, (text, calls) in enumerate(zip(texts, (2, 1, 1), strict=True)):
                if reloads:
                    (tmp_path / "routes.yaml").write_text(text)
                    running.signal(signal.SIGHUP)
                    await running.says("(?s)" + "Reloaded.*" * reloads)
                for _ in range(calls):
                    assert 200 == (await turn(running)).status
                if reloads != 1:
                    await running.says(rf"has used {20 * (1 + reloads // 2)} pages of {40 * (1 + reloads // 2)} pages")
                said.append("".join(running.said).count("has used"))
            assert 0 == await running.stop()
        assert ([1, 1, 2], 2) == (said, "".join(running.said).count("has used"))


async def test_a_webhook_that_does_not_answer_is_said_without_its_path(tmp_path: Path) -> None:
    """The address may hold a key: it is called by its host."""
    async with counting(pages(10)) as raw:
        rest = "budget_webhook: http://127.0.0.1:1/secret-path\nbudget: {pages: 10, per: day, warn_at: 50%}"
        async with program(tmp_path, configured(raw.port, rest=rest)) as running:
            await ask(running.port)
            await running.says(r"The budget_webhook at 127\.0\.0\.1 did not take a warning: .+\.\n")
            assert "secret-path" not in "".join(running.said)


@pytest.mark.parametrize(("policy", "statuses"), [("allow", {200}), ("refuse", {503})])
async def test_without_its_ledger_a_budget_goes_by_what_it_was_lent(tmp_path: Path, policy: str, statuses: set[int]) -> None:
    """While the database is locked, what is leased is spent; then it is as configured. Afterwards everything is counted."""
    async with counting(pages(1)) as raw:
        rest = f"on_ledger_down: {policy}"
        async with program(tmp_path, configured(raw.port, team="budget: {pages: 1000, per: month}", rest=rest)) as running:
            assert 200 == (await ask(running.port)).status
            await eventually(lambda: standing(running), lambda shown: shown[0]["spent"] == 1)
            with closing(sqlite3.connect(tmp_path / "passthrough.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                before = len(raw.received)
                found = [await ask(running.port) for _ in range(3)]
                assert [200] * 3 == [answer.status for answer in found]
                async with asyncio.timeout(60):
                    while len(raw.received) < before + 200 and found[-1].status == 200:
                        found.append(await ask(running.port))
                last = {(await ask(running.port)).status for _ in range(5)}
                assert statuses == last
                both = await eventually(
                    lambda: degraded(running), lambda said: "budgets" in said and "locked" in said.get("ledger", "")
                )
                said = both["budgets"]
                assert said.endswith({"allow": "is let through.", "refuse": "is refused (503)."}[policy])
                if policy == "refuse":
                    refused = await ask(running.port)
                    assert ("overloaded", "5") == (refused.error, refused.fields["retry-after"])
                    assert (
                        "Client 'team': the ledger cannot be asked what is left of 1000 pages per month."
                        == refused.body["message"]
                    )
                    assert len(raw.received) < 300
            await running.says("The ledger is written again")
            await eventually(lambda: ask(running.port), lambda answer: answer.status == 200)
            passed = len(raw.received)
            await eventually(lambda: standing(running), lambda shown: shown[0]["spent"] == passed)
            await eventually(lambda: degraded(running), lambda said: said == {})


async def test_without_any_ledger_budgets_last_as_long_as_the_process(tmp_path: Path) -> None:
    """`ledger: none` counts in memory, and warns all the same."""
    async with counting(pages(10)) as raw:
        config = configured(raw.port, team="budget: {pages: 30, per: day, warn_at: 50%}", rest="ledger: none")
        for _ in range(2):
            async with program(tmp_path, config) as running:
                assert [200, 200, 200, 429] == [(await turn(running)).status for _ in range(4)]
                await running.says(r"has used 20 pages of 30 pages per day \(66 %\)")
        assert 6 == len(raw.received)


@pytest.mark.parametrize(
    ("place", "who"),
    [
        ({"team": "max_parallel: 2"}, "Client 'team'"),
        ({"route": "max_parallel: 2"}, "Route /ocr"),
        ({"rest": "max_parallel: 2"}, "This proxy"),
    ],
)
async def test_requests_at_once(tmp_path: Path, place: dict[str, str], who: str) -> None:
    """Of a client, of a route, of everything; the answer says which, and a slot that is given back is taken again."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await go.wait()
            await peer.send(pages(1))

    async with upstream(script) as raw, program(tmp_path, configured(raw.port, **place)) as running:
        waiting = [asyncio.create_task(ask(running.port)) for _ in range(2)]
        await until(lambda: len(raw.received) == 2)
        refused = await ask(running.port)
        assert (429, "too_many_parallel", "1") == (refused.status, refused.error, refused.fields["retry-after"])
        assert f"{who} has 2 requests under way; more are not allowed at once." == refused.body["message"]
        go.set()
        assert [200, 200] == [answer.status for answer in await asyncio.gather(*waiting)]
        assert 200 == (await ask(running.port)).status


async def test_the_sandbox_has_budgets_of_its_own(tmp_path: Path) -> None:
    """What is tried costs nothing, so it is not taken from what may be spent; but a budget can be tried."""
    async with counting(pages(10)) as raw:
        config = configured(raw.port, team="rpm: 2")
        (tmp_path / "routes.yaml").write_text(config)
        async with program(tmp_path, None, "--sandbox") as running:
            await eventually(lambda: ask(running.port), lambda answer: answer.error == "rate_limited")
            assert [] == raw.received
        async with program(tmp_path, None) as running:
            assert 200 == (await ask(running.port)).status
