"""The steps of retention: what is too old goes, bit by bit, and the rest stays."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.ledger.retention import STEP, Retention
from tests.harness.entries import booked

DAY_S = 86_400.0
NOW_S = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()


class Clock:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.utc_s = NOW_S

    def __call__(self) -> float:
        """Return the time."""
        return self.utc_s


def kept(ledger: Ledger) -> int:
    """Return how many exchanges the ledger still has."""
    return sum(1 for _ in ledger.exported())


@pytest.mark.parametrize(("keep_days", "left"), [(None, 6), (5, 6), (4, 5), (1, 2), (0, 1)])
def test_whole_days_before_today_are_kept(tmp_path: Path, keep_days: int | None, left: int) -> None:
    """What began before the first of the kept days goes; None keeps everything."""
    with closing(Ledger.open(f"sqlite:///{tmp_path}/l.db")) as ledger:
        ledger.append([booked(at=NOW_S - age * DAY_S) for age in range(6)])
        Retention(ledger, keep_days, Clock()).step()
        assert left == kept(ledger)
        assert 6 == ledger.sums(())[0][0].requests


def test_a_step_is_small_and_the_next_comes_soon(tmp_path: Path) -> None:
    """Of many, a thousand go at once, the next a second later; then it rests for an hour."""
    clock = Clock()
    with closing(Ledger.open(f"sqlite:///{tmp_path}/l.db")) as ledger:
        ledger.append([booked(at=NOW_S), *(booked(at=NOW_S - 9 * DAY_S) for _ in range(STEP + 5))])
        retention = Retention(ledger, 5, clock)
        found = []
        for after_s in (0.0, 0.5, 0.6, 1.0):
            clock.utc_s += after_s
            retention.step()
            found.append(kept(ledger))
        ledger.append([booked(at=NOW_S - 9 * DAY_S)])
        for after_s in (3000.0, 1000.0):
            clock.utc_s += after_s
            retention.step()
            found.append(kept(ledger))
    assert [6, 6, 1, 1, 2, 1] == found


def test_a_clock_that_was_set_back_delays_nothing(tmp_path: Path) -> None:
    """It goes by the new time at once."""
    clock = Clock()
    with closing(Ledger.open(f"sqlite:///{tmp_path}/l.db")) as ledger:
        retention = Retention(ledger, 5, clock)
        retention.step()
        ledger.append([booked(at=NOW_S - 900 * DAY_S)])
        clock.utc_s -= 30 * DAY_S
        retention.step()
        assert 0 == kept(ledger)


def test_a_ledger_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    """It says nothing itself, and goes on when the ledger is there."""
    clock = Clock()
    path = tmp_path / "later" / "l.db"
    with closing(Ledger.at(f"sqlite:///{path}")) as ledger:
        retention = Retention(ledger, 5, clock)
        retention.step()
        path.parent.mkdir()
        ledger.append([booked(at=NOW_S), booked(at=NOW_S - 9 * DAY_S)])
        clock.utc_s += 1
        retention.step()
        assert 1 == kept(ledger)


def test_without_a_ledger_there_is_nothing_to_do() -> None:
    """`ledger: none` keeps nothing anyway."""
    Retention(None, 5, Clock()).step()
