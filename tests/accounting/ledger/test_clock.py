"""A clock that leaps ahead empties no ledger: nothing is deleted by it until it has run on for a day."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from passthrough.accounting.ledger.clock import LEAP_MS, WAIT_MS, Known, looked
from passthrough.accounting.ledger.ledger import Ledger
from passthrough.accounting.ledger.retention import STEP, Retention
from tests.harness.entries import booked
from tests.harness.process import program
from tests.harness.upstream import Peer, ok, upstream

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S
NOW_S = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
KEEP_DAYS = 400


class Machine:
    """A machine's clocks: the one on the wall, which may be set, and the one that only runs."""

    def __init__(self, utc_s: float = NOW_S) -> None:
        self.utc_s = utc_s
        self.monotonic_s = 1000.0
        self.said: list[str] = []

    def runs(self, span_s: float) -> None:
        """Let time pass."""
        self.utc_s += span_s
        self.monotonic_s += span_s

    def started(self, ledger: Ledger) -> Retention:
        """Return the retention of a process that starts now."""
        return Retention(ledger, KEEP_DAYS, lambda: self.utc_s, warn=self.said.append, monotonic=lambda: self.monotonic_s)

    def runs_on(self, retention: Retention, span_s: float) -> None:
        """Let time pass, with a look every second minute."""
        until_s = self.utc_s + span_s
        while self.utc_s < until_s:
            self.runs(min(120.0, until_s - self.utc_s))
            retention.step()


def kept(ledger: Ledger) -> int:
    """Return how many exchanges the ledger still has."""
    return sum(1 for _ in ledger.exported())


def filled(ledger: Ledger) -> int:
    """Book a few exchanges of the last year, and return how many."""
    entries = [booked(at=NOW_S - age * 30 * DAY_S) for age in range(12)]
    ledger.append(entries)
    return len(entries)


def test_a_clock_that_leaps_deletes_nothing_for_a_day(ledger_url: str) -> None:
    """Ten years ahead, while entries of that time are booked: it is said why nothing is deleted, once, with what to do."""
    machine = Machine()
    with closing(Ledger.open(ledger_url)) as ledger:
        all_ = filled(ledger)
        retention = machine.started(ledger)
        machine.runs_on(retention, 3600)
        machine.utc_s += 10 * YEAR_S
        ledger.append([booked(at=machine.utc_s)])
        machine.runs_on(retention, 23 * 3600)
        assert all_ + 1 == kept(ledger)
        assert 1 == len(machine.said)
        assert "The clock says 2036-11-17 " in machine.said[0]
        assert "the last time that the ledger knows is 2026-11-20 " in machine.said[0]
        assert "\nSet the clock, if it is wrong" in machine.said[0]
        machine.runs_on(retention, 3 * 3600)
        assert 1 == kept(ledger)
        assert 2 == len(machine.said)
        assert machine.said[1].startswith("The clock is believed now")


def test_a_clock_that_is_mended_in_time_has_cost_nothing(ledger_url: str) -> None:
    """Set right within the day, it is believed at once, and what is too old by it goes."""
    machine = Machine()
    with closing(Ledger.open(ledger_url)) as ledger:
        all_ = filled(ledger)
        retention = machine.started(ledger)
        retention.step()
        machine.utc_s += 10 * YEAR_S
        machine.runs_on(retention, 12 * 3600)
        machine.utc_s -= 10 * YEAR_S
        machine.runs_on(retention, 3600)
        assert all_ == kept(ledger)
        ledger.append([booked(at=NOW_S - 500 * DAY_S)])
        machine.runs_on(retention, 2 * 3600)
        assert all_ == kept(ledger)


def test_a_restart_shortens_and_forgets_no_wait(ledger_url: str) -> None:
    """A process that starts with the wrong clock, again and again, waits as long as one that stays; what it waited counts."""
    machine = Machine()
    with closing(Ledger.open(ledger_url)) as ledger:
        all_ = filled(ledger)
        machine.utc_s += 10 * YEAR_S
        ledger.append([booked(at=NOW_S + 1)])
        for _ in range(5):
            machine.runs(3600)  # it stands still for so long
            retention = machine.started(ledger)
            retention.step()
            machine.runs_on(retention, 4 * 3600)
            assert all_ + 1 == kept(ledger)
        machine.runs_on(retention, 6 * 3600)
        assert 0 == kept(ledger)


def test_replicas_whose_clocks_differ_delete_nothing(ledger_url: str) -> None:
    """As long as one has the right time, the other's is not believed, however long it runs."""
    wrong, right = Machine(NOW_S + 10 * YEAR_S), Machine()
    with closing(Ledger.open(ledger_url)) as ledger:
        all_ = filled(ledger)
        mistaken, other = wrong.started(ledger), right.started(ledger)
        for _ in range(40):
            for machine, retention in ((right, other), (wrong, mistaken)):
                machine.runs_on(retention, 3600)
        assert all_ == kept(ledger)


def test_a_program_that_stood_still_for_long_waits_a_day(ledger_url: str) -> None:
    """It cannot tell a holiday from a leap: after a day of running what is too old goes, in steps."""
    machine = Machine(NOW_S + 200 * DAY_S)
    with closing(Ledger.open(ledger_url)) as ledger:
        all_ = filled(ledger)
        retention = machine.started(ledger)
        retention.step()
        assert all_ == kept(ledger)
        machine.runs_on(retention, 25 * 3600)
        assert 7 == kept(ledger)


def test_after_the_wait_steps_are_small(tmp_path: Path) -> None:
    """A wrong clock that was never set right still deletes a thousand at a time, a step a second."""
    machine = Machine()
    with closing(Ledger.open(f"sqlite:///{tmp_path}/l.db")) as ledger:
        ledger.append([booked(at=NOW_S) for _ in range(2 * STEP + 1)])
        retention = machine.started(ledger)
        machine.utc_s += 10 * YEAR_S
        machine.runs_on(retention, 24 * 3600)
        while (left := kept(ledger)) == 2 * STEP + 1:
            machine.runs(120)
            retention.step()
        assert STEP + 1 == left
        for expected in (STEP + 1, 1, 0):
            machine.runs(0.5 if expected > STEP else 1.1)
            retention.step()
            assert expected == kept(ledger)


def test_nothing_is_said_where_nothing_would_be_deleted(tmp_path: Path) -> None:
    """After a weekend off there is nothing to mend."""
    machine = Machine(NOW_S + 3 * DAY_S)
    with closing(Ledger.open(f"sqlite:///{tmp_path}/l.db")) as ledger:
        filled(ledger)
        machine.runs_on(machine.started(ledger), 30 * 3600)
    assert [] == machine.said


@pytest.mark.parametrize("utc_s", [1e12, -1e12, 0.0])
def test_a_time_that_no_calendar_has_is_survived(tmp_path: Path, utc_s: float) -> None:
    """However wrong it is."""
    machine = Machine()
    with closing(Ledger.open(f"sqlite:///{tmp_path}/l.db")) as ledger:
        all_ = filled(ledger)
        retention = machine.started(ledger)
        retention.step()
        machine.utc_s = utc_s
        machine.runs_on(retention, 3600)
        assert all_ == kept(ledger)


def test_small_leaps_are_believed_and_large_ones_begin_anew() -> None:
    """What is known after a look, at the bounds."""
    known = Known(0, 0)
    assert Known(LEAP_MS, LEAP_MS) == looked(known, LEAP_MS, 0)
    leapt = looked(known, LEAP_MS + 1, 0)
    assert Known(0, LEAP_MS + 1, 0) == leapt
    assert Known(0, LEAP_MS + 61, 60) == (waiting := looked(leapt, LEAP_MS + 61, 60))
    assert 0 == looked(waiting, 10 * LEAP_MS, 60).waited
    assert 0 == looked(Known(0, 9 * LEAP_MS, 99), 8 * LEAP_MS, 60).waited
    done = looked(Known(0, 9 * LEAP_MS, WAIT_MS - 60), 9 * LEAP_MS + 60, 60)
    assert Known(9 * LEAP_MS + 60, 9 * LEAP_MS + 60) == done


@pytest.mark.wire
@pytest.mark.process
async def test_the_program_waits_too(tmp_path: Path) -> None:
    """It says so when it starts with a ledger whose last entries are years old, and deletes none of them."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(ok(b"{}"))

    with closing(Ledger.open(f"sqlite:///{tmp_path}/passthrough.db")) as ledger:
        ledger.append([booked(at=NOW_S - 9 * YEAR_S) for _ in range(5)])
    async with upstream(script) as above:
        route = f"{{path: /m, target: 'http://127.0.0.1:{above.port}', include_subpath: true}}"
        config = f"ledger_keep: 1d\npass_through_endpoints: [{route}]\n"
        async with program(tmp_path, config) as running:
            await running.says(r"The clock says \d{4}-.* nothing is deleted from it before the clock has run on for 24 hours\.")
            assert 0 == await running.stop()
    with closing(sqlite3.connect(tmp_path / "passthrough.db")) as database:
        assert [(5,)] == database.execute("SELECT count(*) FROM exchanges").fetchall()
