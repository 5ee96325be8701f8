"""The bookkeeper: every exchange is booked once, whatever its meter, the log or the ledger do."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passthrough.accounting.access_log import AccessLog
from passthrough.accounting.entry import Entry
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.pricing.prices import Price, Prices
from passthrough.background.batch_queue import BatchQueue
from passthrough.exchange import Exchange, Outcome, RouteTerms
from passthrough.meter.usage import Unmetered, Usage
from tests.harness.bookkeeping import books, keeping
from tests.harness.entries import exchange


async def until(claim: Callable[[], object]) -> None:
    """Wait until something holds, for a minute at most."""
    async with asyncio.timeout(60):
        while not claim():  # noqa: ASYNC110 - what it waits for is done by threads, which set no event
            await asyncio.sleep(0.005)


OCR = Usage(3, 0, "mistral-ocr-2512", 1000)


def refused() -> Exchange:
    """Return a request that was not admitted."""
    made = exchange(None)
    made.admitted, made.status, made.terms = False, 401, None
    return made


async def test_an_exchange_is_in_the_log_and_in_the_ledger(tmp_path: Path) -> None:
    """A counted answer is priced and booked in both; a refusal is in the log only; a failure counts as a request."""
    good, bad, failed = exchange(usage=OCR), refused(), exchange(usage=Usage(unmetered=Unmetered.BROKEN))
    failed.status = 502
    async with books(tmp_path) as open_books:
        for made in (good, bad, failed):
            open_books.keeper.done(made)
        await until(lambda: open_books.keeper.booked == 3)
        await open_books.keeper.close(30)
        lines = open_books.lines()
        assert [lines[made.id]["cost_usd"] for made in (good, bad, failed)] == [0.006, None, None]
        assert [lines[made.id]["unmetered"] for made in (good, bad, failed)] == [None, None, "broken"]
        assert open_books.sums() == (2, 3, 6_000_000)
        assert (open_books.keeper.waiting, open_books.keeper.lost, open_books.keeper.trouble) == (0, 0, None)
        assert open_books.warned == []


@pytest.mark.parametrize(
    ("status", "usage", "nano", "source"),
    [
        (200, OCR, 70, "cost_per_request"),
        (201, None, 70, "cost_per_request"),
        (299, Usage(unmetered=Unmetered.NO_USAGE), 70, "cost_per_request"),
        (None, OCR, 70, "cost_per_request"),
        (404, None, None, None),
        (None, None, None, None),
    ],
)
async def test_a_price_per_request_is_for_what_succeeded(
    tmp_path: Path, status: int | None, usage: Usage | None, nano: int | None, source: str | None
) -> None:
    """Every 2xx costs the route's price, with pages or without, and so does an answer that was counted after the client left."""
    made = exchange(usage=usage)
    made.status, made.terms = status, RouteTerms("/ocr", cost_per_request_nano=70)
    async with books(tmp_path) as open_books:
        open_books.keeper.done(made)
        await open_books.keeper.close(30)
        line = open_books.lines()[made.id]
        assert (None if nano is None else Decimal(nano) / 10**9, source) == (
            None if line["cost_usd"] is None else Decimal(str(line["cost_usd"])),
            line["cost_source"],
        )
        assert open_books.sums()[2] == (nano or 0)


async def test_an_unknown_model_is_unpriced_and_said_once(tmp_path: Path) -> None:
    """Pages of an unknown model are counted without a cost; one warning names the model, until the prices are swapped."""
    async with books(tmp_path) as open_books:
        for _ in range(3):
            open_books.keeper.done(exchange(usage=Usage(5, 0, "mine\x1b[31m")))
        await until(lambda: open_books.keeper.booked == 3)
        assert len(open_books.warned) == 1
        assert "'mine\\x1b[31m'" in open_books.warned[0]
        open_books.keeper.swap(Prices([Price("mine\\x1b[31m", Decimal(3))]))
        open_books.keeper.done(exchange(usage=Usage(5, 0, "mine\x1b[31m")))
        await open_books.keeper.close(30)
        assert [line["unmetered"] for line in open_books.lines().values()].count("unpriced") == 3
        (found,) = open_books.ledger.sums(())
        assert (4, 20, 15_000_000, 3) == (found[0].requests, found[0].pages, found[0].cost_nano, found[0].unpriced)


def answered(
    status: int | None, route: str = "/mistral", outcome: Outcome = Outcome.COMPLETED, deployment: str | None = None
) -> Exchange:
    """Return an admitted exchange that ended so."""
    made = exchange()
    made.status, made.terms, made.outcome, made.deployment = status, RouteTerms(route), outcome, deployment
    return made


@pytest.mark.parametrize("status", [401, 403])
async def test_credentials_that_a_target_does_not_accept_are_said_once(tmp_path: Path, status: int) -> None:
    """One warning names target and route, until a success came in between; refusals of our own and other ends do not count."""
    said = f"api.mistral.ai answered {status} on route /mistral: it does not accept the credentials that it gets."
    ended = [
        (refused(), 0),
        (answered(status, outcome=Outcome.CLIENT_GONE), 0),
        (answered(None), 0),
        (answered(status), 1),
        (answered(status), 1),
        (answered(500), 1),
        (answered(status), 1),
        (answered(status, "/other"), 2),
        (answered(200), 2),
        (answered(status, "/other"), 2),
        (answered(status), 3),
        (answered(status, deployment="team-b"), 4),
        (answered(200), 4),  # by another of the route's targets
        (answered(status, deployment="team-b"), 4),
    ]
    async with books(tmp_path) as open_books:
        for number, (made, warnings) in enumerate(ended, 1):
            open_books.keeper.done(made)
            await until(lambda number=number: open_books.keeper.booked == number)  # type: ignore[misc]
            assert warnings == len(open_books.warned)
        assert f"{said} Check the variable that its headers name, and the account." == open_books.warned[0]
        assert "api.mistral.ai (team-b) answered" in open_books.warned[3]
        assert "on route /other" in open_books.warned[1]
        assert open_books.warned[0] == open_books.warned[2]


async def test_a_blocked_log_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A reader of the log that does not read is given up long before the time for the ledger is over."""
    reading, writing = os.pipe()
    with closing(Ledger.open(f"sqlite:///{tmp_path}/books.db")) as ledger, os.fdopen(writing, "w") as stream:
        lines = AccessLog(stream)
        keeper = keeping(tmp_path, ledger, lines)
        await keeper.start()
        for _ in range(1000):
            keeper.done(exchange(usage=OCR))
        async with asyncio.timeout(300):
            await keeper.close(3600)
        assert lines.dropped > 0
        (found,) = ledger.sums(())
        assert (1000, 0) == (found[0].requests, keeper.lost)
    os.close(reading)


async def test_an_exchange_that_cannot_be_booked_is_said(tmp_path: Path) -> None:
    """What the proxy should never hand over is counted as lost, with a warning; the next exchange is booked."""
    nonsense = exchange()
    nonsense.label = 5  # type: ignore[assignment]
    async with books(tmp_path) as open_books:
        open_books.keeper.done(nonsense)
        open_books.keeper.done(exchange(usage=OCR))
        await open_books.keeper.close(30)
        assert (open_books.keeper.booked, open_books.keeper.lost, len(open_books.warned)) == (1, 1, 1)
        assert nonsense.id in open_books.warned[0]


@dataclass
class Late:
    """A usage source that ends when its event is set."""

    found: Usage
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def usage(self) -> Usage:
        """Return what was found, once the event is set."""
        await self.release.wait()
        return self.found

    def usage_if_ready(self) -> None:
        """Say that it is not known yet."""


@dataclass
class Defective:
    """A reading that raises, against its promise."""

    at_once_too: bool

    async def usage(self) -> Usage:
        """Raise."""
        raise RuntimeError("a defect")

    def usage_if_ready(self) -> Usage | None:
        """Raise, or leave that to `usage`."""
        if self.at_once_too:
            raise RuntimeError("a defect")
        return None


async def test_a_slow_answer_holds_up_no_other(tmp_path: Path) -> None:
    """What is read later is booked later; all others are booked meanwhile."""
    slow = exchange()
    slow.usage_source = late = Late(OCR)
    async with books(tmp_path) as open_books:
        open_books.keeper.done(slow)
        open_books.keeper.done(exchange(usage=OCR))
        await until(lambda: open_books.keeper.booked == 1)
        assert open_books.keeper.waiting >= 1
        late.release.set()
        await open_books.keeper.close(30)
        assert open_books.sums() == (2, 6, 12_000_000)


async def test_an_answer_that_is_never_read_is_booked_without_pages(tmp_path: Path) -> None:
    """When the time is over, what is still being read is booked as cancelled: no exchange is lost."""
    slow = exchange()
    slow.usage_source = Late(OCR)
    async with books(tmp_path, close_s=0.2) as open_books:
        open_books.keeper.done(slow)
        await open_books.keeper.close(0.2)
        assert open_books.lines()[slow.id]["unmetered"] == "cancelled"
        assert open_books.sums() == (1, 0, 0)


async def test_a_defect_of_a_meter_stops_nothing(tmp_path: Path) -> None:
    """A reading that raises, or finds nonsense, is said; its exchange and the next ones are booked."""
    broken, worse, absurd = exchange(), exchange(), exchange(usage=Usage(-5, 0, "m"))
    broken.usage_source, worse.usage_source = Defective(False), Defective(True)
    async with books(tmp_path) as open_books:
        for made in (broken, worse, absurd, exchange(usage=OCR)):
            open_books.keeper.done(made)
        await open_books.keeper.close(30)
        lines = open_books.lines()
        found = [lines[made.id]["unmetered"] for made in (broken, worse, absurd)]
        assert ["broken", "broken", "no_usage"] == found
        assert open_books.sums() == (4, 3, 6_000_000)
        assert ["a defect" in text for text in open_books.warned] == [True, True]


async def test_what_is_done_before_the_start_is_booked_and_after_the_end_is_lost(tmp_path: Path) -> None:
    """Exchanges wait for the books to open; when they are closed, what comes is counted as lost."""
    with closing(Ledger.open(f"sqlite:///{tmp_path}/books.db")) as ledger:
        keeper = keeping(tmp_path, ledger, AccessLog(io.StringIO()))
        keeper.done(exchange(usage=OCR))
        assert keeper.waiting == 1
        await keeper.start()
        await keeper.close(30)
        await keeper.close(30)
        keeper.done(exchange(usage=OCR))
        assert (keeper.booked, keeper.lost, keeper.waiting) == (1, 1, 0)


async def test_books_that_never_opened_say_what_is_lost(tmp_path: Path) -> None:
    """Closed without a start, the log has the lines and the ledger's loss is said."""
    warned = list[str]()
    with closing(Ledger.open(f"sqlite:///{tmp_path}/books.db")) as ledger:
        keeper = keeping(tmp_path, ledger, AccessLog(io.StringIO()), warned.append)
        keeper.done(exchange())
        await keeper.close(1)
        assert (keeper.booked, keeper.lost) == (1, 1)
        assert len(warned) == 1
        assert "did not reach the ledger in time: 1." in warned[0]


async def test_without_a_ledger_the_log_is_all(tmp_path: Path) -> None:
    """`ledger: none` books in the log only, and is no trouble."""
    stream = io.StringIO()
    keeper = keeping(tmp_path, None, AccessLog(stream))
    await keeper.start()
    keeper.done(exchange(usage=OCR))
    await keeper.close(30)
    assert json.loads(stream.getvalue())["pages"] == 3
    assert (keeper.booked, keeper.waiting, keeper.lost, keeper.trouble) == (1, 0, 0, None)


@pytest.mark.faults
async def test_a_locked_ledger_is_trouble_and_gets_everything_later(tmp_path: Path) -> None:
    """While another connection holds the ledger, entries wait and the trouble says so; then all of them are written."""
    async with books(tmp_path) as open_books:
        keeper = open_books.keeper
        with closing(sqlite3.connect(tmp_path / "books.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(700):
                keeper.done(exchange(usage=OCR))
            await until(lambda: keeper.trouble)
            assert keeper.trouble is not None
            assert "is locked by another process" in keeper.trouble
            assert "Entries that wait for it: 700; lost: 0." in keeper.trouble
            other.execute("ROLLBACK")
        await until(lambda: keeper.waiting == 0)
        assert keeper.trouble is None
        assert open_books.sums() == (700, 2100, 4_200_000_000)
        assert ["wait until" in text for text in open_books.warned] == [True, False]


@pytest.mark.faults
async def test_a_ledger_that_stays_locked_is_said_at_the_end(tmp_path: Path) -> None:
    """Closing waits no longer than its time; what is not written is warned of, logged, and written by the next start."""
    async with books(tmp_path) as open_books:
        with closing(sqlite3.connect(tmp_path / "books.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            open_books.keeper.done(exchange(usage=OCR))
            await open_books.keeper.close(0.2)
            assert (open_books.keeper.lost, len(open_books.lines())) == (0, 1)
            assert "wait in the journal for the next start: 1." in open_books.warned[-1]
            other.execute("ROLLBACK")
    async with books(tmp_path) as open_books:
        await until(lambda: open_books.sums() == (1, 3, 6_000_000))
        await until(lambda: list((tmp_path / "books.journal").iterdir()) == [])


async def test_a_ledger_that_is_taken_away_gets_everything_in_a_new_file(tmp_path: Path) -> None:
    """Deleted under the running program, a new file is begun and nothing that came after is lost."""
    async with books(tmp_path) as open_books:
        (tmp_path / "books.db").unlink()
        open_books.keeper.done(exchange(usage=OCR))
        await open_books.keeper.close(30)
        assert open_books.sums() == (1, 3, 6_000_000)
        assert "was moved or deleted" in open_books.warned[0]


def test_a_backlog_gives_batches_in_order_and_ends() -> None:
    """Items come out oldest first, at most a batch at once; a closed backlog takes none and gives what is left."""
    backlog = BatchQueue[int](5, batch=2, gather_s=0)
    assert [backlog.put(number) for number in range(6)] == [True] * 5 + [False]
    backlog.close()
    assert not backlog.put(9)
    assert [backlog.take() for _ in range(4)] == [[0, 1], [2, 3], [4], []]
    assert backlog.pause(60)


@dataclass
class Watched:
    """An observer that keeps what it gets, and may then raise."""

    raises: bool = False
    ends: list[Entry] = field(default_factory=list)
    brought: list[Entry] = field(default_factory=list)

    def ended(self, entry: Entry) -> None:
        """Keep the entry."""
        self.ends.append(entry)
        if self.raises:
            raise RuntimeError("a defect")

    def booked(self, entries: Sequence[Entry]) -> None:
        """Keep the entries."""
        self.brought.extend(entries)
        if self.raises:
            raise RuntimeError("a defect")


def lines_of(first: int, last: int, model: str = "mistral-ocr-2512") -> tuple[Usage, ...]:
    """Return what lines of a batch file used, three pages each."""
    return tuple(Usage(3, 0, model, line=f"batch-{number}", in_batch=True) for number in range(first, last))


async def test_lines_are_booked_while_their_file_passes(tmp_path: Path) -> None:
    """They are in the ledger before the exchange ends; its end adds no pages, and the log has one line with the sums."""
    made = exchange()
    made.usage_source = late = Late(Usage(model="mistral-ocr-2512"))
    async with books(tmp_path) as open_books:
        open_books.keeper.passed(made, lines_of(0, 500))
        open_books.keeper.passed(made, lines_of(500, 700))
        open_books.keeper.passed(made, ())
        await until(lambda: open_books.sums() == (1, 2100, 2_100_000_000))
        assert {} == open_books.lines()
        open_books.keeper.done(made)
        late.release.set()
        await open_books.keeper.close(30)
        line = open_books.lines()[made.id]
        assert (2100, 2.1, "prices.yaml", None) == tuple(line[name] for name in ("pages", "cost_usd", "cost_source", "unmetered"))
        assert open_books.sums() == (1, 2100, 2_100_000_000)
        assert (0, []) == (open_books.keeper.lost, open_books.warned)


@pytest.mark.parametrize(
    ("usages", "own", "reason"),
    [
        (lines_of(0, 2), Usage(), None),
        (lines_of(0, 2), Usage(unmetered=Unmetered.NOT_JSON), "not_json"),
        ((*lines_of(0, 2), *lines_of(2, 3, "who-knows")), Usage(), "unpriced"),
        ((*lines_of(0, 2), Usage(0, 0, "mistral-ocr-2512", line="x", in_batch=True)), Usage(), "no_usage"),
        ((*lines_of(0, 2), Usage(-1, 0, "mistral-ocr-2512", line="x", in_batch=True)), Usage(), "no_usage"),
    ],
)
async def test_a_line_without_its_count_is_the_reason_of_the_whole(
    tmp_path: Path, usages: tuple[Usage, ...], own: Usage, reason: str | None
) -> None:
    """One line that has no pages or no price leaves the others booked, and is the exchange's reason in log and ledger."""
    made = exchange(usage=own)
    async with books(tmp_path) as open_books:
        open_books.keeper.passed(made, usages)
        open_books.keeper.done(made)
        await open_books.keeper.close(30)
        assert reason == open_books.lines()[made.id]["unmetered"]
        assert open_books.sums()[2] == 6_000_000


async def test_nonsense_among_lines_is_said(tmp_path: Path) -> None:
    """What the meter should never hand on is counted as lost and said; the exchange is booked."""
    made = exchange(usage=Usage())
    async with books(tmp_path) as open_books:
        open_books.keeper.passed(made, (Usage(3, model=5),))  # type: ignore[arg-type]
        open_books.keeper.done(made)
        await open_books.keeper.close(30)
        assert (1, 1, [True]) == (
            open_books.keeper.lost,
            open_books.sums()[0],
            [made.id in text for text in open_books.warned],
        )


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("with_ledger", [False, True])
async def test_observers_are_told_of_what_ends_and_of_what_is_booked(tmp_path: Path, with_ledger: bool, raises: bool) -> None:
    """Each end is observed once, refusals too; what is booked comes with its new charges only; a defect there stops nothing."""
    watched, warned = Watched(raises), list[str]()
    with closing(Ledger.open(f"sqlite:///{tmp_path}/books.db")) as ledger:
        keeper = keeping(
            tmp_path, ledger if with_ledger else None, AccessLog(io.StringIO()), warned.append, observers=[watched, Watched()]
        )
        await keeper.start()
        plain, batch, again = exchange(usage=OCR), exchange(usage=Usage()), exchange(usage=Usage())
        no = refused()
        keeper.done(plain)
        for made in (batch, again):
            keeper.passed(made, lines_of(0, 2))
            keeper.done(made)
        keeper.done(no)
        await keeper.close(30)
    ends = {(entry.id, entry.part): len(entry.charges) for entry in watched.ends}
    assert ends == {(plain.id, "whole"): 1, (batch.id, "close"): 0, (again.id, "close"): 0, (no.id, "whole"): 0}
    brought = [(entry.id, str(entry.part)) for entry in watched.brought for _ in entry.charges]
    twice = [] if with_ledger else [(again.id, "open")] * 2
    assert sorted(brought) == sorted([(plain.id, "whole"), *[(batch.id, "open")] * 2, *twice])
    assert {plain.id, batch.id, again.id} == {entry.id for entry in watched.brought}
    assert raises == bool(warned)
    assert all("not observed" in text for text in warned)


async def test_the_ledgers_thread_does_what_it_is_asked_for(tmp_path: Path) -> None:
    """Housekeeping between two batches runs when it is asked for; without a ledger it never does."""
    calls: list[int] = []
    with closing(Ledger.open(f"sqlite:///{tmp_path}/books.db")) as ledger:
        keeper = keeping(tmp_path, ledger, AccessLog(io.StringIO()), housekeeping=lambda: calls.append(1))
        await keeper.start()
        await until(lambda: calls)
        seen = len(calls)
        keeper.wake()
        await until(lambda: len(calls) > seen)
        assert (0, 0.0) == (keeper.journal_bytes, keeper.lag_s)
        await keeper.close(30)
    alone = keeping(tmp_path, None, AccessLog(io.StringIO()), housekeeping=lambda: calls.append(1))
    alone.wake()
    assert (0, 0.0) == (alone.journal_bytes, alone.lag_s)
    await alone.close(30)


USAGES = st.builds(
    Usage,
    st.one_of(st.none(), st.integers(0, 10**9)),
    st.one_of(st.none(), st.integers(0, 10**9)),
    st.sampled_from([None, "mistral-ocr-latest", "mistral-ocr-2503", "unknown"]),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(USAGES, max_size=30))
async def test_log_and_ledger_agree(tmp_path_factory: pytest.TempPathFactory, found: list[Usage]) -> None:
    """The ledger's sums are those of the log's lines, to the nano-dollar."""
    async with books(tmp_path_factory.mktemp("books")) as open_books:
        for usage in found:
            open_books.keeper.done(exchange(usage=usage))
        await open_books.keeper.close(30)
        lines = [json.loads(line, parse_float=Decimal) for line in open_books.stream.getvalue().splitlines()]
        pages = sum(line["pages"] or 0 for line in lines)
        nano = sum((Decimal(line["cost_usd"] or 0) * 10**9 for line in lines), Decimal())
        assert (len(found), pages, nano) == open_books.sums()
