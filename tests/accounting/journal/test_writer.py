"""The way into the ledger: through the journal, past it where that cannot be written, and what becomes of what waits."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, get_ident

import pytest

from passthrough.accounting.entry import Charge, Entry, Part
from passthrough.accounting.journal.arrivals import Arrival, Arrivals
from passthrough.accounting.journal.codec import decode, encode, value_of
from passthrough.accounting.journal.journal import Journal
from passthrough.accounting.journal.rejected_entries import RejectedEntries
from passthrough.accounting.journal.shipper import completed
from passthrough.accounting.journal.writer import JournalWriter
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.background.batch_queue import BatchQueue
from tests.harness.entries import booked, one
from tests.harness.postgres import Postgres

WAIT_S = 60.0


@dataclass
class Books:
    """A writer with its ledger and journal, and what its observer got."""

    writer: JournalWriter
    ledger: Ledger
    database: Path
    journal: Path
    warned: list[str]
    booked: list[Entry] = field(default_factory=list)
    patience_s: float = WAIT_S

    def close(self, timeout_s: float) -> None:
        """End the writer; whatever it does not finish until then, it does not get another minute for at the test's end."""
        self.patience_s = timeout_s
        self.writer.close(timeout_s)

    def waits(self) -> list[Path]:
        """Return the journal's files."""
        return list(self.journal.iterdir())


@contextmanager
def books(folder: Path, housekeeping: Callable[[], None] = lambda: None, *, url: str | None = None) -> Iterator[Books]:
    """Yield a writer that is not started; it is closed at the end."""
    database, journal, warned, seen = folder / "books.db", folder / "books.journal", list[str](), list[Entry]()
    with closing(Ledger.at(url or f"sqlite:///{database}")) as ledger:
        writer = JournalWriter(ledger, journal, warned.append, booked=seen.extend, housekeeping=housekeeping)
        made = Books(writer, ledger, database, journal, warned, seen)
        yield made
        writer.close(made.patience_s)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold a ledger as another process would; there is one afterwards."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def until(claim: Callable[[], object]) -> None:
    """Wait until something holds that threads bring about."""
    deadline = time.monotonic() + WAIT_S
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_entries_get_into_the_ledger_and_out_of_the_journal(tmp_path: Path, ledger_url: str) -> None:
    """Everything is in the ledger, observed in order, and nothing stays in the journal."""
    entries = [booked(at=float(number)) for number in range(2000)]
    with books(tmp_path, url=ledger_url) as opened:
        opened.writer.start()
        for entry in entries:
            opened.writer.put(entry)
        until(lambda: opened.writer.waiting == 0)
        assert (0, 0.0, None, 0) == (opened.writer.lost, opened.writer.lag_s, opened.writer.trouble, opened.writer.journal_bytes)
        opened.close(WAIT_S)
        assert (2000, 2000, 4 * 10**9) == one(opened.ledger)
        assert (entries, [], []) == (opened.booked, opened.waits(), opened.warned)


@pytest.mark.faults
def test_what_waits_for_a_locked_ledger_waits_in_the_journal(tmp_path: Path) -> None:
    """Nothing is held in memory: entries are read back when the ledger takes them; the trouble says how many, and how old."""
    with books(tmp_path) as opened:
        with locked(opened.database):
            opened.writer.start()
            for _ in range(700):
                opened.writer.put(booked(at=time.time() - 100))
            until(lambda: opened.writer.lag_s > 99)
            until(lambda: opened.writer.journal_bytes > 700 * 200)
            until(lambda: opened.writer.trouble)
            assert "Entries that wait for it: 700; lost: 0." in str(opened.writer.trouble)
            assert [] == opened.booked
        until(lambda: opened.writer.waiting == 0)
        until(lambda: opened.writer.trouble is None)
        assert (700, 0.0, 0) == (len(opened.booked), opened.writer.lag_s, opened.writer.lost)
        assert ["wait until" in text for text in opened.warned] == [True, False]


def test_what_a_dead_process_left_is_booked_first(tmp_path: Path) -> None:
    """What stands in the journal of one that is no more is in the ledger, once, together with what comes now."""
    journal = Journal(tmp_path / "books.journal", print)
    journal.append([encode(booked(at=float(number), exchange_id=f"{number:032}")) for number in range(1200)])
    journal.close()
    with books(tmp_path) as opened:
        with closing(Ledger.open(f"sqlite:///{opened.database}")) as ledger:
            ledger.append([booked(at=0.0, exchange_id=f"{0:032}")])  # the kill came between the ledger and the journal
        opened.writer.start()
        opened.writer.put(booked())
        until(lambda: one(opened.ledger)[0] == 1201)
        until(lambda: len(opened.booked) == 1200)
        assert (0, ["they are booked from" in text for text in opened.warned]) == (opened.writer.lost, [True])
    assert [] == opened.waits()


def test_two_processes_share_a_journal(tmp_path: Path) -> None:
    """Each books what it wrote, once, and leaves the other's alone."""
    with books(tmp_path) as first, books(tmp_path) as second:
        for opened in (first, second):
            opened.writer.start()
        for number in range(500):
            (first, second)[number % 2].writer.put(booked())
        until(lambda: (first.writer.waiting, second.writer.waiting) == (0, 0))
        assert (500, 250, 250) == (one(first.ledger)[0], len(first.booked), len(second.booked))
        assert 2 >= len(first.waits())


def test_without_a_journal_entries_go_to_the_ledger(tmp_path: Path) -> None:
    """Where its folder cannot be made, that is said and shown as trouble; nothing is lost.

    Once it can, that is found out without a further entry, for a server that is not ready gets no requests, and it is used again.
    """
    with books(tmp_path) as opened:
        opened.journal.write_text("in the way")
        opened.writer.start()
        for _ in range(1500):
            opened.writer.put(booked())
        until(lambda: len(opened.booked) == 1500)  # Not by asking the ledger: its tables are made meanwhile.
        assert f"The journal {opened.journal} cannot be written: File exists." in str(opened.writer.trouble)
        opened.journal.unlink()
        until(lambda: opened.writer.trouble is None)
        opened.writer.put(booked())
        until(lambda: opened.writer.waiting == 0)
        assert (1501, 0, 1501) == (one(opened.ledger)[0], opened.writer.lost, len(opened.booked))
        assert ["cannot be written" in text for text in opened.warned] == [True, False]


@pytest.mark.faults
@pytest.mark.parametrize("mended", ["journal", "ledger"])
def test_without_either_entries_wait_in_memory(tmp_path: Path, mended: str) -> None:
    """Neither takes them: both troubles are said; whichever is mended first takes everything, in its order."""
    entries = [booked(at=float(number)) for number in range(1200)]
    with books(tmp_path) as opened:
        opened.journal.write_text("in the way")
        with locked(opened.database):
            opened.writer.start()
            for entry in entries:
                opened.writer.put(entry)
            until(lambda: opened.writer.trouble and "locked" in opened.writer.trouble and "File exists" in opened.writer.trouble)
            if mended == "journal":
                opened.journal.unlink()
                until(lambda: opened.writer.journal_bytes > 1200 * 200)
        until(lambda: opened.writer.waiting == 0)
        assert (entries, 0) == (opened.booked, opened.writer.lost)


@pytest.mark.slow
def test_more_than_may_wait_is_lost_and_said_once(tmp_path: Path) -> None:
    """What waits in memory is bounded by its charges; beyond it entries are counted as lost, with one warning for the first."""
    entry = booked()
    (charge,) = entry.charges
    batch = replace(booked(), charges=tuple(replace(charge, line=str(number)) for number in range(50_000)), part=Part.OPEN)
    with books(tmp_path) as opened:
        opened.writer.put(batch)
        for _ in range(50_003):
            opened.writer.put(entry)
        assert (50_001, 3) == (opened.writer.waiting, opened.writer.lost)
        assert [entry.id in text for text in opened.warned] == [True]
        opened.writer.start()
        until(lambda: opened.writer.waiting == 0)
        assert 3 == opened.writer.lost


def test_one_entry_that_cannot_be_written_stops_no_other(tmp_path: Path, ledger_url: str) -> None:
    """What the database's driver refuses, or has no text at all, is counted as lost, named and kept; the others are written."""
    wrong = replace(booked(), label=object())  # type: ignore[arg-type]
    large = booked(pages=2**70)
    with books(tmp_path, url=ledger_url) as opened:
        for entry in (booked(), large, wrong, booked()):
            opened.writer.put(entry)
        opened.writer.start()
        until(lambda: opened.writer.waiting == 0)
        assert (2, 2, 2) == (one(opened.ledger)[0], opened.writer.lost, len(opened.warned))
        assert wrong.id in opened.warned[0]
        assert large.id in opened.warned[1]
        (kept,) = opened.journal.glob("*.refused")
        assert str(kept) in opened.warned[0]
        assert 0o600 == kept.stat().st_mode & 0o777
        _, shown, line = kept.read_bytes().splitlines()
        assert wrong.id in str(value_of(shown))
        assert large == decode(line)


def test_what_was_refused_is_tried_again_once_it_is_renamed(tmp_path: Path) -> None:
    """The file is a segment of the journal by another name: where a newer program can write it, it is booked from there."""
    with books(tmp_path) as opened:
        refused = RejectedEntries(opened.journal, opened.warned.append)
        entry = booked(pages=7)
        refused.keep(entry, "a defect of today.")
        (kept,) = opened.journal.glob("*.refused")
        kept.rename(kept.with_suffix(".jsonl"))
        opened.writer.start()
        until(lambda: opened.booked == [entry])
        assert (1, 7) == one(opened.ledger)[:2]


@pytest.mark.parametrize("mended", [True, False])
def test_without_a_journal_a_refused_entry_is_not_thrown_away(tmp_path: Path, mended: bool) -> None:
    """It waits in memory until it can be kept beside the journal, or until the end: then it is said whole."""
    large = booked(pages=2**70)
    with books(tmp_path) as opened:
        opened.journal.write_text("in the way")
        opened.writer.start()
        opened.writer.put(large)
        until(lambda: any("It waits in memory" in text for text in opened.warned))
        assert 1 == opened.writer.lost
        if mended:
            opened.journal.unlink()
            until(lambda: list(opened.journal.glob("*.refused")))
        opened.close(WAIT_S)
        if mended:
            (kept,) = opened.journal.glob("*.refused")
            said = kept.read_bytes().splitlines()[1]
        else:
            said = opened.warned[-1].partition("keep: ")[2].encode()
        assert large == decode(said)


@pytest.mark.parametrize("spoil", ["DROP TABLE charges", "ALTER TABLE charges RENAME COLUMN pages TO sheets"])
def test_a_ledger_that_takes_nothing_costs_no_entry(tmp_path: Path, ledger_url: str, spoil: str) -> None:
    """Tables that somebody changed refuse every entry: none is given up for it, all wait."""
    with books(tmp_path, url=ledger_url) as opened:
        opened.writer.start()
        opened.writer.put(booked())
        until(lambda: opened.booked)
        with opened.ledger.transaction(writes=True) as connection:
            connection.exec_driver_sql(spoil)
        for _ in range(5):
            opened.writer.put(booked())
        until(lambda: opened.writer.trouble)
        opened.close(0.1)
        assert (0, []) == (opened.writer.lost, list(opened.journal.glob("*.refused")))
        assert "Entries that wait in the journal for the next start: 5." in opened.warned[-1]


def test_what_has_just_come_is_not_as_old_as_what_came_before_it(tmp_path: Path) -> None:
    """After a pause, too, in which everything was booked: else each first entry would pass for one that waits since then."""
    with books(tmp_path) as opened:
        opened.writer.start()
        opened.writer.put(booked(at=time.time() - 100))
        until(lambda: opened.writer.waiting == 0)
        came = time.monotonic()
        until(lambda: time.monotonic() - came > 0.3)  # no two marks are nearer
        with locked(opened.database):
            opened.writer.put(booked(at=time.time()))
            assert opened.writer.lag_s < 50


def test_a_server_that_hangs_shows_from_what_waits(own_server: Postgres, tmp_path: Path) -> None:
    """Nothing is refused, for nothing answers: the age of what waits and a message tell it before the call is given up."""
    with books(tmp_path, url=own_server.create("books")) as opened:
        opened.writer.start()
        opened.writer.put(booked())
        until(lambda: opened.booked)
        own_server.hang()
        try:
            for _ in range(3):
                opened.writer.put(booked())
            until(lambda: opened.writer.lag_s > 1)
            until(lambda: opened.writer.trouble)
            assert "The ledger has taken no entry for" in str(opened.writer.trouble)
            assert "Entries that wait for it: 3; lost: 0." in str(opened.writer.trouble)
            opened.ledger.limit_calls(0.5)
            until(lambda: "cannot be reached" in str(opened.writer.trouble))
        finally:
            own_server.go_on()
        until(lambda: opened.writer.waiting == 0)
        until(lambda: opened.writer.trouble is None)
        assert (4, 0, 0.0) == (one(opened.ledger)[0], opened.writer.lost, opened.writer.lag_s)


def test_a_ledger_that_is_emptied_under_two_processes_is_begun_anew(tmp_path: Path) -> None:
    """Each of them notices, though one has nothing to write: what comes then is there, once."""
    with books(tmp_path) as first, books(tmp_path) as second:
        for opened in (first, second):
            opened.writer.start()
            opened.writer.put(booked())
        until(lambda: (len(first.booked), len(second.booked)) == (1, 1))
        os.truncate(first.database, 0)
        first.writer.put(booked(pages=5))
        until(lambda: len(first.booked) == 2)
        until(lambda: any("or emptied" in text for text in second.warned))
        until(lambda: (first.writer.trouble, second.writer.trouble) == (None, None))
        found = [one(opened.ledger)[:2] for opened in (first, second)]
        assert found in ([(1, 5)] * 2, [(3, 7)] * 2)  # SQLite may have written back what its log held
        assert (0, 0) == (first.writer.lost, second.writer.lost)


def test_marks_of_what_came_are_few_and_tell_the_oldest() -> None:
    """Over a day they are bounded; the age that they tell is that of the oldest, but for a hundredth of it."""
    arrivals = Arrivals()
    assert arrivals.oldest(0) is None
    every = 0.05
    count = int(86_400 / every)
    for number in range(count):
        arrivals.note(number, booked(at=number * every), number * every)
    for done in (0, 1, 1000, count // 2, count - 1000, count - 1):
        oldest = arrivals.oldest(done)
        assert oldest is not None
        assert oldest.number <= done
        assert (done - oldest.number) * every <= 0.01 * 86_400 + 0.25
    later = count * every + 1
    newest = booked(at=later)
    arrivals.note(count, newest, later)
    assert Arrival(count, newest.began_utc + newest.total_s, later) == arrivals.oldest(count)


def test_a_journal_that_is_deleted_loses_nothing_while_the_process_lives(tmp_path: Path) -> None:
    """Its folder can be removed at any time: what was in it is read from the open file, and what comes makes a new one."""
    with books(tmp_path) as opened:
        with locked(opened.database):
            opened.writer.start()
            opened.writer.put(booked())
            until(lambda: opened.writer.journal_bytes > 200)
            for file in opened.waits():
                file.unlink()
            opened.journal.rmdir()
            opened.writer.put(booked())
            until(opened.journal.exists)
        until(lambda: opened.writer.waiting == 0)
        assert (2, 0) == (one(opened.ledger)[0], opened.writer.lost)


def test_a_server_that_is_killed_gets_everything_once(own_server: Postgres, tmp_path: Path) -> None:
    """While PostgreSQL is gone the journal grows, and memory does not; when it is back, each entry is there and observed once."""
    entries = [booked(at=float(number)) for number in range(3000)]
    with books(tmp_path, url=own_server.create("books")) as opened:
        opened.writer.start()
        for entry in entries[:1000]:
            opened.writer.put(entry)
        until(lambda: opened.booked)
        own_server.kill()  # most likely in the middle of an append
        for entry in entries[1000:]:
            opened.writer.put(entry)
        until(lambda: opened.writer.trouble)
        until(lambda: opened.writer.journal_bytes > 2000 * 200)
        own_server.start()
        until(lambda: opened.writer.waiting == 0)
        assert (3000, 3000, 6 * 10**9) == one(opened.ledger)
        assert (entries, 0) == (opened.booked, opened.writer.lost)


@pytest.mark.slow
def test_what_is_done_between_is_done_on_the_ledgers_thread(tmp_path: Path) -> None:
    """It is done after each batch, when it is asked for, and also while there is nothing to do; what it raises is said once."""
    calls: list[int] = []
    called = Event()

    def housekeeping() -> None:
        calls.append(get_ident())
        called.set()
        raise RuntimeError("a defect")

    with books(tmp_path, housekeeping) as opened:
        opened.writer.start()
        until(lambda: len(calls) > 2)  # by itself
        opened.writer.put(booked())
        until(lambda: opened.writer.waiting == 0)
        for _ in range(3):
            called.clear()
            opened.writer.wake()
            assert called.wait(WAIT_S)
        assert 1 == len(set(calls))
        assert get_ident() not in calls
        assert ["a defect" in text for text in opened.warned] == [True]


@pytest.mark.faults
def test_what_neither_takes_until_the_end_is_lost_and_said(tmp_path: Path) -> None:
    """A close waits no longer than its time; what is in memory only is lost then, with both reasons."""
    with books(tmp_path) as opened:
        opened.journal.write_text("in the way")
        with locked(opened.database):
            opened.writer.start()
            for _ in range(3):
                opened.writer.put(booked())
            until(lambda: opened.writer.trouble and "locked" in opened.writer.trouble and "File exists" in opened.writer.trouble)
            opened.close(0.3)
        assert 3 == opened.writer.lost
        assert "did not reach the ledger in time: 3." in opened.warned[-1]
        assert "File exists" in opened.warned[-1]


def test_what_was_never_started_is_lost(tmp_path: Path) -> None:
    """A writer that is closed before it began says what it never wrote."""
    with books(tmp_path) as opened:
        opened.writer.put(booked())
        opened.close(0.1)
        assert (1, ["did not reach the ledger in time: 1." in text for text in opened.warned]) == (opened.writer.lost, [True])
    assert not opened.journal.exists()


def test_an_entry_whose_answer_was_lost_is_told_once() -> None:
    """Where the ledger refused and then has an entry already, the refused try had written it: it is observed, in its place."""
    first, second, third = (booked() for _ in range(3))
    part = replace(booked(), part=Part.OPEN, charges=(Charge(line="1"), Charge(line="2")))
    new = replace(part, charges=(Charge(line="2"),))
    assert [first, second, third] == completed([first, second, third], [second])
    assert [first, new, second] == completed([first, part, second], [new, second])
    assert [first, second] == completed([first, part, second], [second])
    assert [] == completed([], [])


def test_a_backlog_is_bounded_by_weight() -> None:
    """With weights both bound and batch go by them; an item heavier than a batch comes alone."""
    backlog = BatchQueue[int](10, batch=4, gather_s=0, weigh=lambda item: item)
    assert [True, True, True, True, False] == [backlog.put(weight) for weight in (1, 2, 3, 9, 1)]
    assert [[1, 2, 3], [9]] == [backlog.take(), backlog.take()]
    assert backlog.put(1)
