"""Retention: old exchanges are deleted in small steps; their sums, and which lines were booked, stay without end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from passthrough.accounting.entry import Charge, Entry, Part
from passthrough.accounting.ledger.ledger import Ledger
from tests.harness.entries import booked, one

DAY = 86_400.0
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TODAY = date(2026, 11, 20)


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """Yield a ledger with one exchange at noon of each of six days, on both databases."""
    with closing(Ledger.open(ledger_url)) as opened:
        opened.append([booked(at=NOON.timestamp() - age * DAY, pages=10**age) for age in range(6)])
        yield opened


def left(ledger: Ledger) -> list[int]:
    """Return the pages of the exchanges that are still there, the oldest first."""
    return [row.charge.pages or 0 for row in ledger.exported() if row.charge]


def test_steps_are_bounded_and_take_the_oldest(ledger: Ledger) -> None:
    """A step deletes as many as it may, from the oldest on, and says how many; at the end it finds none."""
    before = TODAY - timedelta(days=2)
    found = []
    for _ in range(3):
        found.append((ledger.prune(before, 2), left(ledger)))
    assert [(2, [1000, 100, 10, 1]), (1, [100, 10, 1]), (0, [100, 10, 1])] == found


def test_the_day_itself_stays(ledger: Ledger) -> None:
    """Exchanges from the first moment of the day on are kept."""
    midnight = datetime(2026, 11, 18, tzinfo=UTC).timestamp()
    ledger.append([booked(at=midnight, pages=7), booked(at=midnight - 0.001, pages=8)])
    ledger.prune(date(2026, 11, 18), 100)
    assert [7, 100, 10, 1] == left(ledger)


def test_sums_stay_for_ever(ledger: Ledger) -> None:
    """The sums of everything, and of each day, are as before; a part of a day that was pruned is that whole day."""
    total, days = ledger.sums((), ("day",))
    ledger.prune(TODAY, 100)
    assert (total, days) == ledger.sums((), ("day",))
    assert [1] == left(ledger)
    afternoon = NOON + timedelta(hours=1)
    (since,) = ledger.sums((), since=afternoon - timedelta(days=2))
    (until,) = ledger.sums((), until=afternoon - timedelta(days=2, hours=3))
    (kept,) = ledger.sums((), since=afternoon)
    assert ([111], [111_100], []) == tuple([row.pages for row in rows] for rows in (since, until, kept))


def test_a_day_is_whole_while_it_is_pruned(ledger: Ledger) -> None:
    """After the first of several steps, sums do not depend on which of a day's exchanges are still there."""
    ledger.append([booked(at=NOON.timestamp() - 5 * DAY, pages=5) for _ in range(4)])
    assert 1 == ledger.prune(TODAY, 1)
    (rows,) = ledger.sums(("day",), since=NOON - timedelta(days=5) + timedelta(hours=1))
    assert [100_020, 10_000, 1000, 100, 10, 1] == [row.pages for row in rows]


def test_a_line_stays_known_when_its_exchange_is_gone(ledger: Ledger) -> None:
    """A batch file that is downloaded again after its first download was pruned costs nothing again."""
    lines = tuple(Charge("m", 2, 0, cost_nano=3, line=f"batch-{number}") for number in range(3))
    ledger.append([replace(booked(at=NOON.timestamp() - 9 * DAY), charges=lines)])
    before = one(ledger)
    while ledger.prune(TODAY, 2):
        pass
    again = replace(booked(), charges=lines)
    assert [replace(again, charges=())] == ledger.append([again])
    assert (before[0] + 1, *before[1:]) == one(ledger)


def test_what_comes_late_for_a_pruned_day_is_summed(ledger: Ledger) -> None:
    """A replica that could not write for long adds to the day's sums, and its exchange is pruned with the next step."""
    ledger.prune(TODAY, 100)
    late = booked(at=NOON.timestamp() - 3 * DAY, pages=5)
    assert [late] == ledger.append([late])
    assert 1 == ledger.prune(TODAY, 100)
    assert 111_116 == one(ledger)[1]


def test_an_end_that_comes_late_is_booked(ledger: Ledger) -> None:
    """Where an open exchange was pruned before its end came, what the end brings is added."""
    opened: Entry = replace(booked(at=NOON.timestamp() - 3 * DAY, pages=5), part=Part.OPEN)
    ledger.append([opened])
    ledger.prune(TODAY, 100)
    ledger.append([replace(opened, part=Part.CLOSE, charges=(Charge("m", 4, 0, cost_nano=1, line="batch-9"),))])
    assert 111_111 + 5 + 4 == one(ledger)[1]


def test_pruning_again_for_an_earlier_day_does_nothing(ledger: Ledger) -> None:
    """A longer retention brings nothing back, and what was pruned is still summed by whole days."""
    ledger.prune(TODAY, 100)
    assert 0 == ledger.prune(TODAY - timedelta(days=3), 100)
    (rows,) = ledger.sums((), since=NOON - timedelta(days=1) + timedelta(hours=1))
    assert [11] == [row.pages for row in rows]
