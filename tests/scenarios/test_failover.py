"""A server that is no longer the one that is written, or that answers nothing: its sessions are given up."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from passthrough.accounting.ledger.ledger import Ledger
from passthrough.errors import LedgerError
from tests.harness.budgets import ask, configured, counting, degraded, pages, standing
from tests.harness.entries import booked, one
from tests.harness.postgres import Postgres
from tests.harness.process import Program, program
from tests.harness.waiting import eventually

pytestmark = pytest.mark.faults


def test_sessions_that_may_only_read_are_given_up(postgres: Postgres, postgres_url: str) -> None:
    """Where a session takes no writes, the next append has another: after a failover, of the server that is written."""
    database = postgres_url.partition("?")[0].rpartition("/")[2]
    Ledger.open(postgres_url).close()
    postgres.do(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
    with closing(Ledger.at(postgres_url)) as ledger:
        with pytest.raises(LedgerError, match="takes no writes"):
            ledger.append([booked()])
        with pytest.raises(LedgerError, match="takes no writes"):
            ledger.append([booked()])
        assert [] == ledger.sums(())[0]  # it is still read
        postgres.do(f'ALTER DATABASE "{database}" RESET default_transaction_read_only')
        ledger.append([booked()])
        assert 1 == one(ledger)[0]


@pytest.mark.parametrize("state", ["57P01", "57P03", "08P01", "25006", "26000", "42P05", "0A000"])
def test_a_session_that_is_of_no_use_is_given_up(postgres_url: str, state: str) -> None:
    """Whatever the server or a pooler says that means it: what comes next has a new one."""

    def raised(code: str) -> int:
        with ledger.transaction(writes=True) as connection:
            pid = int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
            pids.append(pid)
            connection.exec_driver_sql(f"DO $$BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END$$")
        return pid

    pids: list[int] = []
    with closing(Ledger.open(postgres_url)) as ledger:
        for code in ("22023", state, state):
            with pytest.raises(LedgerError):
                raised(code)
        assert [True, False] == [pids[0] == pids[1], pids[1] == pids[2]]


def test_a_server_that_hangs_ends_no_call_late(own_server: Postgres) -> None:
    """Stopped in its tracks it holds every connection and answers nothing: calls end, are said, and it is written again later."""
    url = own_server.create("books")
    entries = [booked() for _ in range(3)]
    with closing(Ledger.open(url)) as ledger:
        ledger.append(entries[:1])
        ledger.limit_calls(0.5)
        own_server.hang()
        try:
            with pytest.raises(LedgerError, match=r"cannot be reached: .*(did not answer within 0\.5 s|timeout).*\n"):
                ledger.append(entries)
        finally:
            own_server.go_on()
        ledger.append(entries)
        assert 3 == one(ledger)[0]


def test_a_call_that_goes_on_is_cut_short_when_the_process_ends(postgres_url: str) -> None:
    """What is under way goes by the shorter time too."""

    def slept() -> None:
        with ledger.transaction(writes=True) as connection:
            ledger.limit_calls(0.2)
            connection.exec_driver_sql("SELECT pg_sleep(25)")

    with closing(Ledger.open(postgres_url)) as ledger, pytest.raises(LedgerError, match="did not answer within"):
        slept()


async def lag_s(running: Program) -> float:
    """Return what the metrics say of the age of the oldest entry that waits."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{running.admin_port}/metrics") as answer:
        return float((await answer.text()).partition("\npassthrough_ledger_lag_seconds ")[2].partition("\n")[0])


@pytest.mark.process
async def test_a_program_whose_ledger_hangs_says_so_and_ends(own_server: Postgres, tmp_path: Path) -> None:
    """The road goes on, /readyz and the metrics tell what waits, it ends when told to, and the next one books what is left."""
    url = own_server.create("books")
    async with counting(pages(2)) as raw:
        config = configured(raw.port, team="budget: {pages: 1000, per: month}", rest=f"ledger: '{url}'")
        async with program(tmp_path, config) as running:
            assert 200 == (await ask(running.port)).status
            await eventually(lambda: standing(running), lambda shown: shown[0]["spent"] == 2)
            own_server.hang()
            try:
                assert [200] * 3 == [(await ask(running.port)).status for _ in range(3)]
                await eventually(lambda: lag_s(running), lambda found: found > 1)
                said = await eventually(lambda: degraded(running), lambda said: "ledger" in said)
                assert re.search(r"Entries that wait for it: [34]; lost: 0\.", said["ledger"])
                assert 0 == await running.stop()
            finally:
                own_server.go_on()
            await running.says(r"Entries that wait in the journal for the next start: [34]\.")
        async with program(tmp_path, config) as running:
            await eventually(lambda: standing(running), lambda shown: shown[0]["spent"] == 8)
            assert 0.0 == await lag_s(running)
