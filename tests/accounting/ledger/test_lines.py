"""Lines of batches and jobs: each is booked once, whoever brings it; the same id with another name is another line."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import permutations
from random import Random
from threading import Thread

import pytest
import sqlalchemy as sa

from passthrough.accounting.entry import Charge, Entry, Part
from passthrough.accounting.ledger.append import append
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.ledger.schema import CHARGES, LINES
from tests.harness.entries import booked, one
from tests.harness.postgres import Postgres


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """Yield a new ledger, once in SQLite and once in PostgreSQL."""
    with closing(Ledger.open(ledger_url)) as opened:
        yield opened


def line(number: int, custom_id: str = "", pages: int = 1) -> Charge:
    """Return the charge of a batch's line."""
    return Charge("mistral-ocr-2512", pages, 0, cost_nano=pages, line=f"batch-{number}", custom_id=custom_id)


def fetched(*charges: Charge, account: str | None = "one") -> Entry:
    """Return the entry of a download."""
    return replace(booked(), charges=charges, account=account)


def rows(ledger: Ledger) -> list[tuple[object, ...]]:
    """Return what is known of lines."""
    with ledger.transaction() as connection:
        return [tuple(row) for row in connection.execute(sa.select(LINES).order_by(LINES.c.account, LINES.c.line))]


def test_ids_that_begin_anew_in_each_file_are_other_lines(ledger: Ledger) -> None:
    """Two batches with the same ids and other names are both booked; either of them again brings nothing."""
    first = fetched(*(line(number, f"monday-{number}") for number in range(3)))
    second = fetched(*(line(number, f"tuesday-{number}", 2) for number in range(3)))
    assert [first] == ledger.append([first])
    assert [second] == ledger.append([second])
    expected = (2, 9, 9)
    assert expected == one(ledger)
    for again in (first, second):
        assert [] == ledger.append([again])
        assert [()] == [entry.charges for entry in ledger.append([replace(again, id=booked().id)])]
    assert (4, 9, 9) == one(ledger)


def test_they_may_stand_in_one_file(ledger: Ledger) -> None:
    """Lines of one file and of one transaction, in one entry or in many parts: each name is booked once."""
    charges = [line(0, "a"), line(0, "b", 2), line(0, "a"), line(0, "c", 4), line(0, "b", 2)]
    whole = fetched(*charges)
    parts = [replace(fetched(charge), part=Part.OPEN, id=(booked().id)) for charge in charges]
    together = replace(parts[0], charges=tuple(charges), id=booked().id)
    found = ledger.append([whole])
    assert [replace(whole, charges=(charges[0], charges[1], charges[3]))] == found
    assert [()] * 6 == [entry.charges for entry in ledger.append([*parts, together])]
    assert [("a", 1), ("b", 2), ("c", 4)] == sorted(
        (str(row[2]), int(pages)) for row, pages in zip(rows(ledger), pages_of(ledger), strict=True)
    )


def pages_of(ledger: Ledger) -> list[int]:
    """Return the pages of all charges, by their lines."""
    with ledger.transaction() as connection:
        return [*connection.scalars(sa.select(CHARGES.c.pages).order_by(CHARGES.c.line))]


@pytest.mark.parametrize(("before", "after"), [("", "a"), ("a", ""), ("", ""), ("a", "a")])
def test_a_line_without_a_name_is_the_same_as_one_with(ledger: Ledger, before: str, after: str) -> None:
    """Only where both have a name, and not the same one, are they two lines; in one append as in two."""
    ledger.append([fetched(line(0, before)), fetched(line(0, after))])
    ledger.append([fetched(line(1, before))])
    ledger.append([fetched(line(1, after))])
    assert (4, 2, 2) == one(ledger)


def test_what_was_booked_before_lines_had_names_is_not_booked_again(ledger: Ledger) -> None:
    """In rows of schema 3 the name is null: whatever comes is the same line."""
    with ledger.transaction(writes=True) as connection:
        connection.execute(sa.insert(LINES).values(account="one", line="batch-0"))
    ledger.append([fetched(line(0, "a")), fetched(line(0, "b"))])
    assert (2, 0, 0) == one(ledger)
    assert [("one", "batch-0", None)] == rows(ledger)


def test_a_name_counts_within_its_account(ledger: Ledger) -> None:
    """Two accounts number their batches by themselves, and name them by themselves."""
    for account in ("one", "other", None):
        ledger.append([fetched(line(0, "a"), line(0, "b"), account=account)])
    assert (3, 6, 6) == one(ledger)


@pytest.mark.parametrize("length", [1, 49, 50, 51, 199, 200, 201, 2000])
def test_ids_and_names_of_any_length_are_told_apart(ledger: Ledger, length: int) -> None:
    """What is too long for an index is shortened, and stays one line for each id and name."""
    texts = ["ä" * length, "ä" * (length - 1) + "b"]
    charges = [replace(line(0), line=each, custom_id=name) for each in texts for name in texts]
    for _ in range(2):
        ledger.append([fetched(*charges)])
    assert (2, 4, 4) == one(ledger)
    assert all(len(str(text).encode()) <= 250 for row in rows(ledger) for text in row)


def test_a_name_is_no_part_of_an_id(ledger: Ledger) -> None:
    """However id and name are cut, each pair is a line of its own."""
    pairs = [("1", "23"), ("12", "3"), ("1", "2"), ("12", "4"), ("1 2", "3"), ("1", "2 3")]
    charges = [replace(line(0), line=each, custom_id=name) for each, name in pairs]
    ledger.append([fetched(*charges)])
    assert (1, len(pairs), len(pairs)) == one(ledger)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_many_lines_again_in_any_order(ledger: Ledger, order: tuple[int, ...]) -> None:
    """More lines than one query asks for, of three batches with the same ids: each is booked once."""
    files = [fetched(*(line(number, f"{file}-{number}") for number in range(700))) for file in range(3)]
    for _ in range(2):
        ledger.append([files[number] for number in order])
    assert (3, 2100, 2100) == one(ledger)


@pytest.mark.database
def test_who_waits_for_a_line_reads_its_name(postgres_url: str, postgres: Postgres) -> None:
    """A second process that brings the same id at the same moment waits for the first, and then knows whose line it is."""
    mine, theirs = fetched(line(0, "a"), line(1, "same")), fetched(line(0, "b", 2), line(1, "same"))
    found: list[Entry] = []
    with closing(Ledger.open(postgres_url)) as one_process, closing(Ledger.open(postgres_url)) as other:
        waiting = Thread(target=lambda: found.extend(other.append([theirs])))
        with one_process.transaction(writes=True) as connection:
            assert [mine] == append(connection, [mine])
            waiting.start()
            while not postgres.do("SELECT count(*) FROM pg_locks WHERE NOT granted")[0][0]:
                waiting.join(0.02)
                assert waiting.is_alive()
        waiting.join()
        assert [replace(theirs, charges=theirs.charges[:1])] == found
        assert (2, 4, 4) == one(one_process)


def test_many_processes_bring_the_same_lines_at_once(ledger_url: str) -> None:
    """Whoever comes first books a line; nothing waits for itself in a circle, and each line is charged once."""
    random = Random(7)
    files = [[line(number, f"{file}") for number in range(60)] for file in range(3)]
    brought = []
    for _ in range(4):
        lines = [each for file in files for each in file] * 2
        random.shuffle(lines)
        brought.append([fetched(*lines[at : at + 30]) for at in range(0, len(lines), 30)])

    def append_all(entries: list[Entry]) -> int:
        with closing(Ledger.open(ledger_url)) as ledger:
            return sum(len(entry.charges) for at in range(0, 12, 3) for entry in ledger.append(entries[at : at + 3]))

    with closing(Ledger.open(ledger_url)) as ledger, ThreadPoolExecutor(4) as threads:
        assert 180 == sum(threads.map(append_all, brought))
        assert (48, 180, 180) == one(ledger)
