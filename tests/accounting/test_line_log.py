"""The log of batches and jobs: its sums are what was booked, and no line waits for a ledger that does not come."""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passthrough.accounting.access_log import AccessLog
from passthrough.accounting.entry import Charge, Entry, Part, entry
from passthrough.accounting.line_log import MAX_WAITING, LineLog, Totals
from passthrough.accounting.pricing.prices import Price
from passthrough.exchange import Exchange, RouteTerms
from passthrough.meter.usage import Unmetered, Usage
from tests.harness.bookkeeping import Books, books, keeping
from tests.harness.entries import booked, exchange
from tests.harness.waiting import until

Line = dict[str, Any]
NAMES = ("pages", "pages_annotated", "tokens_in", "tokens_out", "cost_usd", "cost_source", "unmetered")
OCR = "mistral-ocr-2512"


def pages(*numbers: int, model: str = OCR) -> tuple[Usage, ...]:
    """Return what lines of a batch used: each as many pages as its number."""
    return tuple(Usage(number, 0, model, line=f"batch-{number}", in_batch=True) for number in numbers)


def tokens(*numbers: int) -> tuple[Usage, ...]:
    """Return what lines of a batch used: tokens."""
    return tuple(
        Usage(model="small", tokens_in=number, tokens_out=10 * number, line=f"chat-{number}", in_batch=True) for number in numbers
    )


def job(number: int, model: str | None = OCR) -> Exchange:
    """Return an exchange that fetched a job's result."""
    return exchange(usage=Usage(number, 0, model, line=f"job-{number}"))


def download(open_books: Books, *parts: tuple[Usage, ...], own: Usage | None = None, flat: int | None = None) -> Exchange:
    """Let a file pass in parts, and end its exchange."""
    made = exchange(usage=own or Usage(model=OCR))
    made.terms = RouteTerms("/mistral", cost_per_request_nano=flat)
    for part in parts:
        open_books.keeper.passed(made, part)
    open_books.keeper.done(made)
    return made


async def lines_of(open_books: Books, *made: Exchange) -> list[tuple[Any, ...]]:
    """Return the figures of some exchanges' lines, once they are there."""
    await until(lambda: {each.id for each in made} <= set(open_books.lines()))
    lines = open_books.lines()
    return [tuple(lines[each.id][name] for name in NAMES) for each in made]


# ── what was booked ──


async def test_a_file_that_is_downloaded_again_has_nothing_in_its_line(tmp_path: Path, ledger_url: str) -> None:
    """Its figures are 0 and not null: they were counted, and none of them is new; the ledger has the lines once."""
    async with books(tmp_path, url=ledger_url) as open_books:
        first = download(open_books, pages(1, 2), pages(3))
        assert [(6, 0, None, None, 0.006, "prices.yaml", None)] == await lines_of(open_books, first)
        again = download(open_books, pages(1, 2), pages(3))
        assert [(0, 0, None, None, 0, "prices.yaml", None)] == await lines_of(open_books, again)
        assert (2, 6, 6_000_000) == open_books.sums()


async def test_of_a_file_that_is_known_in_part_the_rest_is_logged(tmp_path: Path) -> None:
    """Pages and tokens of the new lines, whatever part brings them; the log's sums are the ledger's."""
    small = Price("small", usd_per_million_input_tokens=Decimal(2), usd_per_million_output_tokens=Decimal(4))
    async with books(tmp_path, small) as open_books:
        found = await lines_of(
            open_books,
            download(open_books, pages(1), tokens(1)),
            download(open_books, pages(1, 2), tokens(1, 2), tokens(4)),
            download(open_books, pages(4)),
        )
        assert [(1, 0, 1, 10), (2, 0, 6, 60), (4, 0, None, None)] == [line[:4] for line in found]
        assert (3, 7) == open_books.sums()[:2]
        (row,) = open_books.ledger.sums(())[0]
        assert (7, 70) == (row.tokens_in, row.tokens_out)
        assert row.cost_nano == round(10**9 * sum(line[4] for line in found))


async def test_a_jobs_result_is_logged_once_with_its_pages(tmp_path: Path) -> None:
    """A result that is read many times is one charge: the other lines have 0."""
    async with books(tmp_path) as open_books:
        reads = [job(3) for _ in range(3)]
        for made in reads:
            open_books.keeper.done(made)
        found = await lines_of(open_books, *reads)
        assert [(0, 0), (0, 0), (3, 0.006)] == sorted((line[0], line[4]) for line in found)
        assert (3, 3, 6_000_000) == open_books.sums()


@pytest.mark.parametrize(
    ("lines", "first", "again"),
    [
        (pages(3, model="who-knows"), (3, None, None, "unpriced"), (0, 0, None, "unpriced")),
        ((*pages(3), *pages(4, model="who-knows")), (7, None, None, "unpriced"), (0, 0, "prices.yaml", "unpriced")),
        ((Usage(0, 0, OCR, line="none", in_batch=True),), (0, 0, "prices.yaml", "no_usage"), (0, 0, "prices.yaml", "no_usage")),
        ((Usage(unmetered=Unmetered.NO_USAGE, line="none"),), (None, None, None, "no_usage"), (None, None, None, "no_usage")),
    ],
)
async def test_what_has_no_price_or_no_count_is_logged_so(
    tmp_path: Path, lines: tuple[Usage, ...], first: tuple[Any, ...], again: tuple[Any, ...]
) -> None:
    """An unknown price leaves the cost null where the line is new, and 0 where it is not; what was not counted stays null."""
    async with books(tmp_path) as open_books:
        for expected in (first, again):
            ((found, _, _, _, *rest),) = await lines_of(open_books, download(open_books, lines))
            assert expected == (found, *rest)


async def test_a_price_per_request_is_logged_beside_known_lines(tmp_path: Path) -> None:
    """Each download costs the route's price; its lines are booked once, for nothing."""
    async with books(tmp_path) as open_books:
        for found in (3, 0):
            made = download(open_books, pages(3), flat=70)
            assert [(found, 0, None, None, 7e-08, "cost_per_request", None)] == await lines_of(open_books, made)


async def test_lines_that_another_process_booked_are_not_logged_again(tmp_path: Path) -> None:
    """Two processes share a ledger: whose download came first has the sums."""
    (tmp_path / "other").mkdir()
    url = f"sqlite:///{tmp_path}/books.db"
    async with books(tmp_path, url=url) as one, books(tmp_path / "other", url=url) as other:
        assert [3] == [line[0] for line in await lines_of(one, download(one, pages(3)))]
        assert [0] == [line[0] for line in await lines_of(other, download(other, pages(3)))]


NUMBERS = st.lists(st.integers(1, 6), min_size=1, max_size=4)
PARTS = st.lists(st.tuples(NUMBERS, st.sampled_from(["", "monday", "tuesday"])), min_size=1, max_size=3)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(downloads=st.lists(PARTS, min_size=1, max_size=8), jobs=st.lists(st.integers(1, 3), max_size=4))
async def test_the_logs_sums_are_the_ledgers(
    tmp_path_factory: pytest.TempPathFactory, downloads: list[list[tuple[list[int], str]]], jobs: list[int]
) -> None:
    """Whatever is downloaded and read, in whatever parts, again or under other names: both have the same pages and cost."""
    async with books(tmp_path_factory.mktemp("books")) as open_books:
        for number in jobs:
            open_books.keeper.done(job(number))
        for parts in downloads:
            download(open_books, *(tuple(replace(each, custom_id=name) for each in pages(*numbers)) for numbers, name in parts))
        await open_books.keeper.close(30)
        lines = [json.loads(line, parse_float=Decimal) for line in open_books.stream.getvalue().splitlines()]
        nano = sum((Decimal(line["cost_usd"]) * 10**9 for line in lines), Decimal())
        assert (len(jobs) + len(downloads), sum(line["pages"] for line in lines), nano) == open_books.sums()


@dataclass
class Watched:
    """An observer that keeps the order in which it is called."""

    seen: list[tuple[str, str]] = field(default_factory=list)

    def ended(self, entry: Entry) -> None:
        """Note the end."""
        self.seen.append((entry.id, "ended"))

    def booked(self, entries: Sequence[Entry]) -> None:
        """Note what is booked."""
        self.seen.extend((entry.id, f"booked {entry.part}") for entry in entries)


async def test_budgets_do_not_wait_for_the_line(tmp_path: Path) -> None:
    """The end is observed at once and once, also where the ledger says later that nothing was new."""
    watched = Watched()
    async with books(tmp_path, observers=[watched]) as open_books:
        with closing(sqlite3.connect(tmp_path / "books.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            made = job(3)
            open_books.keeper.done(made)
            await until(lambda: watched.seen == [(made.id, "ended")])
            assert {} == open_books.lines()
            other.execute("ROLLBACK")
        await lines_of(open_books, made)
        assert [(made.id, "ended"), (made.id, "booked whole")] == watched.seen


# ── what is not booked in time ──


async def test_without_a_ledger_a_line_is_written_at_once(tmp_path: Path) -> None:
    """There is nothing to wait for: each line has what was counted."""
    stream = io.StringIO()
    keeper = keeping(tmp_path, None, AccessLog(stream))
    await keeper.start()
    for _ in range(2):
        made = exchange(usage=Usage(model=OCR))
        keeper.passed(made, pages(3))
        keeper.done(made)
    await keeper.close(30)
    assert [3, 3] == [json.loads(line)["pages"] for line in stream.getvalue().splitlines()]


@pytest.mark.faults
async def test_a_line_waits_some_seconds_for_a_locked_ledger(tmp_path: Path) -> None:
    """Then it is written with what was counted; what the ledger takes later is no second line."""
    async with books(tmp_path) as open_books:
        await lines_of(open_books, download(open_books, pages(3)))
        with closing(sqlite3.connect(tmp_path / "books.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            made = download(open_books, pages(3), pages(4))
            assert [7] == [line[0] for line in await lines_of(open_books, made)]
            other.execute("ROLLBACK")
        await until(lambda: open_books.keeper.waiting == 0)
        assert (2, 7, 7_000_000) == open_books.sums()
    assert 2 == len(open_books.lines())


@pytest.mark.faults
async def test_no_line_is_lost_where_the_ledger_is_locked_at_the_end(tmp_path: Path) -> None:
    """Closing waits no longer than its time: a line that still waits is written with what was counted."""
    async with books(tmp_path) as open_books:
        with closing(sqlite3.connect(tmp_path / "books.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            made = [download(open_books, pages(3)), job(4)]
            open_books.keeper.done(made[1])
            await open_books.keeper.close(0.4)
            assert [3, 4] == [line[0] for line in await lines_of(open_books, *made)]
            other.execute("ROLLBACK")


async def test_at_the_end_lines_have_what_was_booked(tmp_path: Path) -> None:
    """Closing lets the ledger say what was new, also of what ended in the same moment."""
    async with books(tmp_path) as open_books:
        made = [download(open_books, pages(3)), job(4), job(4), download(open_books, pages(3, 5))]
        for each in made[1:3]:
            open_books.keeper.done(each)
        await open_books.keeper.close(30)
        assert [3, 4, 0, 5] == [line[0] for line in await lines_of(open_books, *made)]


async def test_an_exchange_that_cannot_be_booked_is_forgotten(tmp_path: Path) -> None:
    """What the proxy should never hand over leaves nothing that waits."""
    async with books(tmp_path) as open_books:
        made = exchange(usage=Usage(model=OCR))
        open_books.keeper.passed(made, pages(3))
        made.label = 5  # type: ignore[assignment]
        open_books.keeper.done(made)
        await until(lambda: open_books.keeper.lost == 1)
        assert [True] == [made.id in text for text in open_books.warned]


# ── the log by itself ──


def closing_entry(number: int = 3) -> Entry:
    """Return an entry whose charge has a line."""
    return replace(booked(pages=number), charges=(Charge(OCR, number, 0, cost_nano=number, line=f"job-{number}"),))


async def test_so_many_lines_wait_and_no_more() -> None:
    """Beyond ten thousand a line is written at once; those that wait are written when the ledger says so."""
    written: list[Entry] = []
    log = LineLog(written.append, 3600)
    log.start()
    entries = [replace(closing_entry(), id=str(number)) for number in range(MAX_WAITING + 2)]
    for each in entries:
        log.end(each, booked=True)
    assert entries[MAX_WAITING:] == [replace(each, charges=entries[-1].charges) for each in written]
    log.accepted([replace(each, charges=()) for each in entries[:2]])
    await until(lambda: len(written) == 4)
    assert [("0", 0), ("1", 0)] == [(each.id, each.usage.pages) for each in written[2:]]
    log.end(closing_entry(), booked=True)
    log.end(closing_entry(), booked=True)
    assert 4 == len(written)


async def test_a_line_is_written_once_when_its_time_is_over() -> None:
    """What the ledger says afterwards, and of exchanges of other processes, changes nothing."""
    written: list[Entry] = []
    log = LineLog(written.append, 3600)
    log.start()
    late = closing_entry()
    log.end(late, booked=True)
    await log.close(asyncio.get_running_loop().create_future(), 0)
    assert 1 == len(written)
    waiting = replace(closing_entry(4), part=Part.CLOSE)
    log.begin(waiting.id)
    log.end(waiting, booked=True)
    log.accepted([late, closing_entry(), replace(waiting, charges=())])
    await until(lambda: len(written) == 2)
    assert [3, 0] == [each.usage.pages for each in written]


async def test_what_does_not_reach_the_ledger_is_written_at_once() -> None:
    """A request that was not let in is in no ledger."""
    written: list[Entry] = []
    LineLog(written.append, 3600).end(closing_entry(), booked=False)
    assert [3] == [each.usage.pages for each in written]


def test_only_sums_are_kept_of_what_passes() -> None:
    """The closing entry is logged with the sums of all charges; one without a price leaves the whole without."""
    sums = Totals()
    sums.add(
        [Charge("m", 3, 1, cost_nano=5, cost_source="prices.yaml"), Charge("m", 2, tokens_in=4, tokens_cached=3, cost_nano=2)]
    )
    sums.add([Charge("m", tokens_out=7, cost_nano=1)])
    ended = entry(exchange(), Usage(model="m"), part=Part.CLOSE, doubt=sums.reason)
    logged = sums.logged(ended)
    usage = logged.usage
    assert (5, 1, 4, 7, 3) == (usage.pages, usage.pages_annotated, usage.tokens_in, usage.tokens_out, usage.tokens_cached)
    assert (8, "prices.yaml", "m", None) == (logged.cost_nano, logged.cost_source, usage.model, logged.unmetered)
    sums.add([Charge("n", 1)])
    ended = entry(exchange(), Usage(), part=Part.CLOSE, doubt=sums.reason)
    logged = sums.logged(ended)
    assert (None, None, "unpriced") == (logged.cost_nano, logged.cost_source, ended.unmetered)
    broken = entry(exchange(), Usage(unmetered=Unmetered.BROKEN), part=Part.CLOSE, doubt=sums.reason)
    assert "broken" == broken.unmetered
