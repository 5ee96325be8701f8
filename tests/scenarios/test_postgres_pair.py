"""A PostgreSQL server with a standby: what an asynchronous one costs when it takes over, and reports that are read from it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from passthrough.accounting.ledger.ledger import Ledger
from passthrough.errors import LedgerError
from tests.harness.budgets import ask, configured, counting, pages, standing
from tests.harness.entries import booked, one
from tests.harness.postgres import Pair
from tests.harness.process import Program, command, program
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.faults, pytest.mark.process]


async def spend(running: Program, calls: int, spent: int) -> None:
    """Call some times, and wait until the budget knows of it."""
    for _ in range(calls):
        assert 200 == (await ask(running.port)).status
    await eventually(lambda: standing(running), lambda shown: (shown[0]["spent"], shown[0]["reserved"]) == (spent, 0))


async def total(folder: Path, url: str) -> tuple[int, int]:
    """Return the requests and pages that `usage` finds."""
    code, out, err = await command(folder, "usage", "--ledger", url, "--format", "json")
    assert 0 == code, err
    found = json.loads(out)["total"]
    return found["requests"], found["pages"]


async def test_what_an_asynchronous_standby_never_got_is_lost_and_nothing_else(tmp_path: Path, pair: Pair) -> None:
    """What the primary acknowledged alone is gone with it, from the budget too; what comes after is booked and counted once."""
    async with counting(pages(2)) as raw:
        config = configured(raw.port, team="budget: {pages: 1000, per: month}", rest=f"ledger: '{pair.url}'")
        async with program(tmp_path, config) as running:
            await spend(running, 3, 6)
            await eventually(lambda: total(tmp_path, pair.standby.tcp("books")), lambda found: found == (3, 6))
            pair.standby.stop()
            pair.primary.do("ALTER SYSTEM RESET synchronous_standby_names")
            pair.primary.do("SELECT pg_reload_conf()")
            await spend(running, 4, 14)
            await eventually(lambda: total(tmp_path, pair.url), lambda found: found == (7, 14))
            pair.primary.kill()
            pair.standby.start()
            assert [200] * 2 == [(await ask(running.port)).status for _ in range(2)]  # they wait in the journal
            await running.says("Entries wait until it can be written")
            pair.promote()
            await running.says("The ledger is written again. Entries lost: 0")
            await spend(running, 1, 6 + 2 * 3)
            assert 0 == await running.stop()
        assert (6, 12) == await total(tmp_path, pair.url)


async def test_reports_are_read_from_a_standby(tmp_path: Path, pair: Pair) -> None:
    """It gives the same reports as its primary; `check` warns that it takes no entries, and serving goes on beside it."""
    standby = pair.standby.tcp("books")
    with closing(Ledger.open(pair.url)) as ledger:
        ledger.append([booked(pages=3) for _ in range(5)])
    with closing(Ledger.open(standby, read_only=True)) as ledger:
        assert 5 == one(ledger)[0]
        assert 5 == len(list(ledger.exported()))
    for arguments in (
        ("usage",),
        ("usage", "--by", "model", "--format", "csv"),
        ("usage", "--export", "-"),
        ("report", "--format", "csv"),
    ):
        primary, read = [await command(tmp_path, *arguments, "--ledger", url) for url in (pair.primary.tcp("books"), standby)]
        assert (0, primary[1].replace(f":{pair.primary.port}/", f":{pair.standby.port}/")) == read[:2], read[2]
    with closing(Ledger.at(standby)) as ledger, pytest.raises(LedgerError, match="takes no writes"):
        ledger.append([booked()])
    (tmp_path / "routes.yaml").write_text(
        f"pass_through_endpoints: [{{path: /m, target: 'http://127.0.0.1:9'}}]\nledger: '{standby}'\n"
    )
    code, _, err = await command(tmp_path, "check")
    assert (0, True) == (code, "takes no writes: it is read-only, or a standby" in err), err
