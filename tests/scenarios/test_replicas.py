"""Four processes and one PostgreSQL: they share a budget, and book every page once, whatever becomes of the database.

The database is one server that is killed, or two of which one is the other's standby, as Patroni keeps them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio import Task
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.harness.budgets import Answered, ask, configured, standing
from tests.harness.postgres import Pair, Postgres
from tests.harness.process import Program, command, program
from tests.harness.upstream import Peer, ok, upstream
from tests.harness.waiting import eventually, until

pytestmark = [pytest.mark.wire, pytest.mark.process]

PROCESSES = 4
CALLERS = 8
LARGEST = 12
BUDGET = 1000
BOUND = PROCESSES * CALLERS * LARGEST
"""What may be spent beyond the budget: what was under way, each request as large as any."""


@dataclass
class Street:
    """A target whose answers have 1 to LARGEST pages, some later than others, and what the callers got of them.

    Once it has sent `holds_from` pages, answers are held until `go`.
    """

    random: Random = field(default_factory=lambda: Random(7))
    sent: int = 0
    got: int = 0
    answers: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    holds_from: float = inf
    go: asyncio.Event = field(default_factory=asyncio.Event)
    most_under_way: int = 0
    under_way: int = 0

    async def answer(self, peer: Peer) -> None:
        """Answer every request."""
        while True:
            await peer.request()
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            await asyncio.sleep(self.random.choice([0, 0, 0.01, 0.05]))
            while self.sent >= self.holds_from:
                await self.go.wait()
            pages = self.random.randint(1, LARGEST)
            self.sent += pages
            self.under_way -= 1
            body = {"pages": [], "model": "mistral-ocr-2512", "usage_info": {"pages_processed": pages, "doc_size_bytes": 1}}
            await peer.send(ok(json.dumps(body).encode(), b"Content-Type: application/json"))

    async def held_from(self, pages: float) -> None:
        """Hold answers once so many pages were sent, and wait until the first one is held."""
        self.go.clear()
        self.holds_from = pages
        await until(lambda: self.sent >= pages and self.under_way > 0)

    def let_go(self) -> None:
        """Hold answers no more."""
        self.holds_from = inf
        self.go.set()

    def note(self, answer: Answered) -> None:
        """Count what a caller got."""
        if answer.status == 200:
            self.answers += 1
            self.got += answer.body["usage_info"]["pages_processed"]
        else:
            self.refusals[answer.error or ""] = self.refusals.get(answer.error or "", 0) + 1

    async def call(self, port: int) -> None:
        """Ask until the budget is used up, for certain: not only promised to requests that are under way."""
        while True:
            answer = await ask(port)
            self.note(answer)
            if answer.error == "budget_spent" and answer.fields["retry-after"] != "1":
                return
            if answer.status != 200:
                await asyncio.sleep(0.05)

    def show(self, what: str) -> None:
        """Print the figures (pytest -s)."""
        said = (
            f"{self.got} pages in {self.answers} answers of a budget of {BUDGET}: {self.got - BUDGET} beyond it, at most {BOUND}"
        )
        sys.stdout.write(f"\n{what}: {said}; at most {self.most_under_way} at once; refusals {self.refusals}\n")


@asynccontextmanager
async def processes(folder: Path, port: int, ledger_url: str, count: int = PROCESSES) -> AsyncIterator[list[Program]]:
    """Run them, each in a folder of its own, where its journal is."""
    rest = f"on_ledger_down: refuse\nledger: {ledger_url}"
    config = configured(port, team=f"budget: {{pages: {BUDGET}, per: month}}", rest=rest)
    async with AsyncExitStack() as stack:
        started = []
        for number in range(count):
            (folder / str(number)).mkdir()
            started.append(stack.enter_async_context(program(folder / str(number), config)))
        yield [await each for each in started]


async def booked(folder: Path, ledger_url: str) -> tuple[int, int]:
    """Return requests and pages, as `passthrough usage` tells them."""
    code, out, err = await command(folder, "usage", "--ledger", ledger_url, "--format", "json")
    assert 0 == code, err
    total: dict[str, Any] = json.loads(out)["total"]
    return total["requests"], total["pages"]


async def check(street: Street, running: list[Program], folder: Path, ledger_url: str) -> None:
    """See that what the callers got is what is booked and what counts as spent, within the bound; also after all have stopped."""
    assert street.sent == street.got
    assert BUDGET <= street.got < BUDGET + BOUND
    for each in running:
        (shown,) = await eventually(lambda each=each: standing(each), lambda found: found[0]["spent"] == street.got)  # type: ignore[misc]
        assert (BUDGET, 0) == (shown["limit"], shown["reserved"])
    assert [0] * len(running) == [await each.stop() for each in running]
    requests, pages = await booked(folder, ledger_url)
    ended = sum(len(each.log) for each in running)
    assert (ended, street.got) == (requests, pages)
    assert ended == street.answers + sum(street.refusals.values())


async def without_server(
    street: Street, share: float, callers: list[Task[None]], end: Callable[[], object], begin: Callable[[], object]
) -> None:
    """End the server when this share of the budget is spent, and begin it again when each caller was refused."""
    await street.held_from(share * BUDGET)  # so that what is left is not spent before the server is gone
    await asyncio.to_thread(end)
    refused = street.refusals.get("overloaded", 0) + CALLERS
    street.let_go()
    await until(lambda: street.refusals.get("overloaded", 0) > refused or all(map(Task.done, callers)))
    await asyncio.to_thread(begin)


async def test_four_processes_share_one_budget(tmp_path: Path, postgres_url: str) -> None:
    """Eight callers at each: all of the budget is spent, and no more beyond it than was under way; then all of them refuse."""
    street = Street()
    async with upstream(street.answer) as raw, processes(tmp_path, raw.port, postgres_url) as running:
        async with asyncio.timeout(240):
            await asyncio.gather(*(street.call(each.port) for each in running for _ in range(CALLERS)))
        street.show("four processes")
        await check(street, running, tmp_path, postgres_url)


async def test_a_database_that_is_killed_meanwhile_changes_no_bound(tmp_path: Path, own_server: Postgres) -> None:
    """Killed and started again, twice: what is lent is spent, the rest waits; nothing is lost, and nothing counts twice."""
    street, url = Street(), own_server.create("books")
    async with upstream(street.answer) as raw, processes(tmp_path, raw.port, url) as running:
        callers = [asyncio.create_task(street.call(each.port)) for each in running for _ in range(CALLERS)]
        for share in (0.2, 0.5):
            await without_server(street, share, callers, own_server.kill, own_server.start)
        async with asyncio.timeout(240):
            await asyncio.gather(*callers)
        street.show("killed twice")
        await check(street, running, tmp_path, url)


async def test_a_standby_that_takes_over_changes_no_bound(tmp_path: Path, pair: Pair) -> None:
    """The primary is killed, its standby promoted, the old one follows it, and is switched back to: all is booked once."""
    street, url = Street(), pair.url
    async with upstream(street.answer) as raw, processes(tmp_path, raw.port, url, 2) as running:
        callers = [asyncio.create_task(street.call(each.port)) for each in running for _ in range(CALLERS)]
        for share, end in ((0.2, pair.kill), (0.5, pair.stop)):
            await without_server(street, share, callers, end, pair.promote)
        async with asyncio.timeout(240):
            await asyncio.gather(*callers)
        street.show("switched twice")
        await check(street, running, tmp_path, url)
    await asyncio.to_thread(pair.follow)
    primary, standby = pair.primary.tcp("books"), pair.standby.tcp("books")
    assert await booked(tmp_path, primary) == await eventually(
        lambda: booked(tmp_path, standby), lambda found: found[1] == street.got
    )
