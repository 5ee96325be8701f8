"""What is appended: each thing once, in whatever pieces and however often it is brought, on both databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from passthrough.accounting.entry import Charge, Entry, Part
from passthrough.accounting.ledger.append import append
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.ledger.schema import CHARGES, EXCHANGES, charge_row, exchange_row
from passthrough.errors import EntryRefusedError
from passthrough.meter.usage import Usage
from tests.harness.entries import booked, one

LINE = Charge("mistral-ocr-2512", 3, 0, cost_nano=3, line="the same in all of them")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """Yield a new ledger, once in SQLite and once in PostgreSQL."""
    with closing(Ledger.open(ledger_url)) as opened:
        yield opened


def test_an_entry_is_written_once(ledger: Ledger) -> None:
    """Appending an entry again, alone or among others, changes nothing."""
    first, second = booked(pages=3), booked(pages=4)
    ledger.append([first, first])
    ledger.append([first, second])
    expected = (2, 7, 4_000_000)
    assert expected == one(ledger)


def test_a_batch_line_is_booked_once_whatever_brings_it(ledger: Ledger) -> None:
    """One exchange has many charges; a line that another exchange brings again is charged once, and that exchange counts."""
    lines = tuple(Charge("mistral-ocr-2512", 2, 0, cost_nano=2, line=f"batch-{number}") for number in range(3))
    for charges in (lines[:2], lines, lines):
        ledger.append([replace(booked(), charges=charges)])
    expected = (3, 6, 6)
    assert expected == one(ledger)


def parts_of(entry: Entry) -> tuple[Entry, Entry, Entry]:
    """Return an exchange in three parts: five lines, two, one and two of them, and at the end how it ended."""
    lines = [Charge("mistral-ocr-2512", 2, 0, cost_nano=2, line=f"batch-{number}", in_batch=True) for number in range(5)]
    opened = replace(entry, part=Part.OPEN, outcome="cut_off", charges=tuple(lines[:2]), bytes_down=10, account="one")
    end = replace(opened, part=Part.CLOSE, outcome="client_gone", unmetered="broken", bytes_down=99, total_s=2.5, why="reset")
    return opened, replace(opened, charges=(lines[2],)), replace(end, charges=tuple(lines[3:]))


def test_an_exchange_is_booked_while_it_passes(ledger: Ledger) -> None:
    """The first part makes it, each adds its lines, the last one says once how it ended."""
    parts = parts_of(booked())
    found = []
    for part in parts:
        assert [part] == ledger.append([part])
        (row,) = ledger.latest(9)
        (sums,) = ledger.sums(())
        found.append(
            (row.open, row.outcome, row.unmetered, row.why, row.bytes_down, row.charges, sums[0].pages, sums[0].unmetered)
        )
    assert [
        (True, "cut_off", None, None, 10, 2, 4, 0),
        (True, "cut_off", None, None, 10, 3, 6, 0),
        (False, "client_gone", "broken", "reset", 99, 5, 10, 1),
    ] == found
    assert (1, 10, 10) == one(ledger)


def test_an_exchange_whose_end_never_came_counts(ledger: Ledger) -> None:
    """A process that died leaves an open exchange: its lines are charged, and it is shown as cut off."""
    ledger.append(parts_of(booked())[:2])
    assert (1, 6, 6) == one(ledger)
    assert [("cut_off", True, 6)] == [(row.outcome, row.open, row.charge and row.charge.pages) for row in ledger.latest(9)]


def test_the_beginning_of_a_sequence_again_changes_nothing(ledger: Ledger) -> None:
    """Whatever stretch is brought again, alone or with what follows, only what is new is returned and counted."""
    sequence = [*parts_of(booked()), booked(pages=3), *parts_of(booked())[:1]]
    accepted: list[Entry] = []
    for done in range(len(sequence) + 1):
        accepted += ledger.append(sequence[:done])
        assert [] == ledger.append(sequence[:done])
    # The lines of the last one were booked with the first: it is there, without a charge.
    assert [*sequence[:-1], replace(sequence[-1], charges=())] == accepted
    assert (3, 13, 2_000_010) == one(ledger)


def test_all_at_once_is_the_same_as_one_by_one(ledger: Ledger) -> None:
    """Parts that come in one append, among others and doubled, are booked as if they came alone."""
    parts = parts_of(booked())
    whole = booked(pages=3)
    assert [parts[0], whole, parts[1], parts[2]] == ledger.append([parts[0], whole, parts[1], parts[2], *parts, whole])
    assert (2, 13, 2_000_010) == one(ledger)
    assert [False, False] == [row.open for row in ledger.latest(9)]


def test_what_an_append_returns_is_what_is_new(ledger: Ledger) -> None:
    """In the order given: entries without the charges that were there, and without entries that were there."""
    lines = tuple(Charge("m", 2, 0, cost_nano=2, line=f"batch-{number}") for number in range(3))
    first, second, third = (replace(booked(), charges=lines[:count]) for count in (1, 3, 2))
    assert [first] == ledger.append([first])
    again = [second, first, third]
    assert [replace(second, charges=lines[1:]), replace(third, charges=())] == ledger.append(again)
    assert [] == ledger.append(again)


def test_a_line_is_one_within_its_account(ledger: Ledger) -> None:
    """Two accounts at a provider number their batches by themselves; what is no line is charged with each exchange."""
    line = (Charge("m", 2, 0, cost_nano=2, line="batch-1"), Charge("m", 1, 0, cost_nano=1))
    ledger.append([replace(booked(), charges=line, account=account) for account in ("one", "other", "one", None)])
    assert (4, 10, 10) == one(ledger)


@pytest.mark.parametrize(
    "spoilt",
    [{"method": None}, {"charges": (Charge("m", 2**70),)}, {"bytes_up": 2**63}],
    ids=["null", "pages", "bytes"],
)
def test_an_entry_that_no_database_takes_is_told_apart(ledger: Ledger, spoilt: dict[str, Any]) -> None:
    """It will never be written, and nothing of the append is; the other entries can be, without it."""
    entry = booked()
    with pytest.raises(EntryRefusedError, match="does not take what was to be written"):
        ledger.append([entry, replace(booked(), **spoilt)])
    assert (0, 0, 0) == one(ledger)
    assert [entry] == ledger.append([entry])


@pytest.mark.parametrize("most", [999, 32_766])
@pytest.mark.parametrize("count", [1, 2, 3, 40, 41, 127, 128, 129, 700])
def test_any_number_of_entries_is_written(tmp_path: Path, count: int, most: int) -> None:
    """However many come at once, and however few values an SQLite takes with one statement, each is there once."""
    entries = [replace(booked(pages=2), charges=(booked(pages=2).charges[0], LINE)) for _ in range(count)]
    with closing(Ledger.open(f"sqlite:///{tmp_path}/many.db")) as ledger:
        for batch, new in ((entries[::3], entries[::3]), (entries, [each for at, each in enumerate(entries) if at % 3])):
            with ledger.transaction(writes=True) as connection:
                connection.connection.driver_connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, most)
                accepted = append(connection, batch)
            assert [each.id for each in new] == [each.id for each in accepted]
        assert (count, 2 * count + 3, 2_000_000 * count + 3) == one(ledger)


@pytest.mark.parametrize("most", [999, 32_766])
@pytest.mark.parametrize(("count", "kinds"), [(3, 1), (20, 4), (300, 5), (300, 16), (300, 17), (600, 200)])
def test_every_column_is_written_as_it_was(ledger: Ledger, count: int, kinds: int, most: int) -> None:
    """However many kinds of entries come at once: what each has for itself, and what it has with others, is in its row."""
    entries = [various(number, number % kinds) for number in range(count)]
    with ledger.transaction(writes=True) as connection:
        if ledger.dialect == "sqlite":
            connection.connection.driver_connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, most)
        assert entries == append(connection, entries)
        exchanges = connection.execute(sa.select(EXCHANGES).order_by(EXCHANGES.c.id)).all()
        charges = connection.execute(sa.select(CHARGES).order_by(CHARGES.c.exchange_id)).all()
    entries.sort(key=lambda entry: entry.id)
    assert [exchange_row(entry) for entry in entries] == exchanges
    assert [charge_row(entry, charge) for entry in entries for charge in entry.charges] == charges


def various(number: int, kind: int) -> Entry:
    """Return an entry that has its numbers for itself, and all else with the others of its kind."""
    alike: dict[str, Any] = {"label": f"user-{kind}" if kind % 3 else None, "sandbox": kind % 2 == 1}
    own: dict[str, Any] = {"first_byte_s": None if kind % 4 == 3 else number / 7, "total_s": number / 3}
    usage = Usage(number, 0, f"model-{kind}", tokens_in=kind if kind % 2 else None)
    charge = Charge(usage.model, number, 0, number, usage.tokens_in, None, number * 10**6, "prices.yaml", in_batch=kind % 7 == 1)
    own |= {"charges": () if number % 10 == 9 else (charge,), "upstream_request_id": f"request {number}" if number % 3 else None}
    return replace(booked(), usage=usage, unmetered="broken" if kind % 5 == 2 else None, bytes_up=number, **alike, **own)


def test_what_comes_late_is_written_too(ledger: Ledger) -> None:
    """An exchange that began before all that are there is new, once, like any other."""
    young, old = booked(at=1_700_000_000.0, pages=4), booked(at=1_600_000_000.0, pages=3)
    for batch, new in (([young], [young]), ([old], [old]), ([old, young], [])):
        assert new == ledger.append(batch)
    assert (2, 7, 4_000_000) == one(ledger)


def test_a_charge_whose_exchange_was_deleted_by_hand_is_not_charged_again(tmp_path: Path) -> None:
    """The exchange is written, and what it cost stays as it is."""
    entries = [booked(pages=3), booked(pages=4)]
    with closing(Ledger.open(f"sqlite:///{tmp_path}/books.db")) as ledger:
        ledger.append(entries)
        with closing(sqlite3.connect(tmp_path / "books.db")) as connection, connection:
            connection.execute("DELETE FROM exchanges WHERE id = ?", (entries[0].id,))
        fresh = booked(pages=5)
        assert [replace(entries[0], charges=()), fresh] == ledger.append([entries[0], fresh])
        assert (4, 12, 6_000_000) == one(ledger)
