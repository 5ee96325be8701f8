"""Documents over several accounts behind one path: each client stays with one, and single OCR calls go anywhere."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.harness.accounts import AccountUpstream, account_upstreams, of_keys, sequences
from tests.harness.document_programs import Program, Sequence, librechat, open_webui
from tests.harness.process import program
from tests.harness.upstream import Received

pytestmark = [pytest.mark.process, pytest.mark.faults]

CALLERS, EACH = 64, 8
STEPS = ["POST /v1/files", "GET /v1/files/url", "POST /v1/ocr", "DELETE /v1/files"]
PROGRAMS: tuple[Program, ...] = (open_webui, librechat)


def key_of(caller: int) -> str:
    """Return a caller's client key."""
    return f"client-key-{caller:02}-" + "k" * 20


def target(host: AccountUpstream, account: str, **more: Any) -> dict[str, Any]:
    """Return an entry of `targets`: an account, by its key."""
    return {"id": account, "target": host.url, "headers": {"Authorization": f"Bearer key-of-{account}"}, **more}


def configured(*targets: dict[str, Any], callers: int = CALLERS, **endpoint: Any) -> str:
    """Return a file with one endpoint and a client key for each caller."""
    whole = {"path": "/mistral", "include_subpath": True, "forward_headers": True, "targets": list(targets), **endpoint}
    keys = [{"name": f"caller-{caller:02}", "key": key_of(caller)} for caller in range(callers)]
    return json.dumps({"pass_through_endpoints": [whole], "client_keys": keys})


async def callers_read(url: str, each: int, first: str) -> dict[int, list[Sequence]]:
    """Let each caller have documents read, one after another; every other one is Open WebUI, the others are LibreChat."""
    found: dict[int, list[Sequence]] = {}

    async def caller(number: int) -> None:
        async with aiohttp.ClientSession() as session:
            read = PROGRAMS[number % 2]
            found[number] = [
                await read(session, f"{url}/mistral/v1", key_of(number), f"{first}-{number:02}-{turn}.pdf")
                for turn in range(each)
            ]

    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    return found


def booked(folder: Path) -> Counter[tuple[str, str, int]]:
    """Return how often the ledger has a deployment, a method with its path, and a status."""
    with closing(sqlite3.connect(folder / "passthrough.db")) as ledger:
        rows = ledger.execute("SELECT deployment, method || ' ' || path, status FROM exchanges").fetchall()
    return Counter((str(name), line, status) for name, line, status in rows)


async def test_a_target_that_dies_takes_only_its_own_documents_along(tmp_path: Path) -> None:
    """Open WebUI's and LibreChat's sequence, 64 callers, two accounts, one of which dies in the middle.

    A sequence that worked had all its steps at one account. Only those fail that were under way where the account died: one at
    most of each client that was at home there; its next ones are read by the other account. The ledger says the same as the
    accounts.
    """
    hosts = {name: AccountUpstream(of_keys({f"key-of-{name}": name}), name) for name in ("a", "b")}
    seen = 0

    async def die_in_the_middle(_: Received) -> None:
        nonlocal seen
        seen += 1
        if seen == CALLERS * EACH // 2:  # of about twice as many that it would see
            hosts["a"].kill()

    async with account_upstreams(*hosts.values()):
        config = configured(target(hosts["a"], "a"), target(hosts["b"], "b"))
        async with program(tmp_path, config) as running:
            before = await callers_read(running.url, 1, "before")
            homes = {number: sequences(*hosts.values())[read[0].name][0].account for number, read in before.items()}
            assert all(read[0].worked for read in before.values())
            hosts["a"].before = die_in_the_middle
            meanwhile = await callers_read(running.url, EACH, "meanwhile")
            assert 0 == await running.stop()
        asked = [(*each, number) for number, reads in {**meanwhile}.items() for read in reads for each in read.answers]
    at_home = Counter(homes.values())
    assert all(at_home[name] >= 8 for name in hosts), at_home  # of 64 fair draws fewer than 8: less than 1e-10
    seen_of = sequences(*hosts.values())
    for read in (
        *(read for reads in before.values() for read in reads),
        *(read for reads in meanwhile.values() for read in reads),
    ):
        if read.worked:
            steps = seen_of[read.name]
            assert (STEPS, 1) == ([step.kind for step in steps], len({step.account for step in steps})), read
            assert [f"{steps[0].account} read {read.name}"] == read.pages
    failed = {number: [read for read in reads if not read.worked] for number, reads in meanwhile.items()}
    assert {number for number, reads in failed.items() if reads} <= {number for number, home in homes.items() if home == "a"}
    assert all(len(reads) <= 1 for reads in failed.values()), failed
    assert any(failed.values())
    for number, reads in meanwhile.items():
        steps = [seen_of[read.name][0].account for read in reads if read.worked]
        assert steps == sorted(steps), number  # "a" up to its death, then "b"
        assert "b" == steps[-1]
    assert {"b"} == {
        step.account for number, home in homes.items() if home == "b" for read in meanwhile[number] for step in seen_of[read.name]
    }
    _assert_ledger_agrees(tmp_path, hosts)
    broken = [(step, status, code) for step, status, code, _ in asked if code]
    assert {502} == {status for _, status, _ in broken}


def _assert_ledger_agrees(folder: Path, hosts: dict[str, AccountUpstream]) -> None:
    """Hold that each response of an account is booked at its deployment; of the dead one's last responses some were lost."""
    responses = Counter(
        (str(step.account), f"{step.method} /mistral{step.path.partition('?')[0]}", step.status)
        for host in hosts.values()
        for step in host.steps
    )
    relayed = Counter({row: times for row, times in booked(folder).items() if row[2] != 502})
    assert Counter() == relayed - responses
    lost = responses - relayed
    broken = Counter({row: times for row, times in booked(folder).items() if row[2] == 502})
    assert {name for name, *_ in lost} <= {"a"}
    assert lost.total() <= broken.total()
