"""Documents over several accounts behind one path: each client stays with one, and single OCR calls go anywhere."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from mistralai.client import Mistral

from tests.harness.accounts import AccountUpstream, account_upstreams, of_keys, sequences
from tests.harness.document_programs import DocumentProgram, Sequence, librechat, open_webui
from tests.harness.process import Program, command, program
from tests.harness.upstream import Received
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.faults]

CALLERS, EACH = 64, 8
STEPS = ["POST /v1/files", "GET /v1/files/url", "POST /v1/ocr", "DELETE /v1/files"]
PROGRAMS: tuple[DocumentProgram, ...] = (open_webui, librechat)


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


async def test_who_comes_back_is_home_again(tmp_path: Path) -> None:
    """While an account is away, its clients read their documents at the other one; when it is there again, at home."""
    hosts = {name: AccountUpstream(of_keys({f"key-of-{name}": name}), name) for name in ("a", "b")}
    async with account_upstreams(*hosts.values()):
        config = configured(target(hosts["a"], "a"), target(hosts["b"], "b"))
        async with program(tmp_path, config) as running:
            rounds = []
            for happens, first in ((None, "first"), (hosts["a"].kill, "away"), (hosts["a"].open, "back")):
                if happens is not None and (waited := happens()) is not None:
                    await waited
                if first == "back":
                    await eventually(lambda: _cooling(running), lambda found: not found)
                reads = await callers_read(running.url, 1, first)
                assert all(read[0].worked for read in reads.values()), first
                seen_of = sequences(*hosts.values())
                rounds.append({number: {step.account for step in seen_of[read[0].name]} for number, read in reads.items()})
            assert 0 == await running.stop()
    home, away, back = rounds
    assert {("b",)} == {tuple(accounts) for accounts in away.values()}
    assert home == back
    assert {("a",), ("b",)} == {tuple(accounts) for accounts in home.values()}


async def _cooling(running: Program) -> list[str]:
    """Return the targets that cool down, as the admin port tells."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{running.admin_port}/deployments") as answer,
    ):
        return [each["deployment"] for each in (await answer.json())["deployments"] if each["cooling"]]


async def test_a_throttled_account_keeps_its_clients(tmp_path: Path) -> None:
    """Two keys at one host: 429 of an account that has the client's files is the client's response; no other one is asked.

    `retries` change nothing about that: the same account is asked again, for a file is there and nowhere else.
    """
    host = AccountUpstream(of_keys({"key-of-a": "a", "key-of-b": "b"}), retry_after="1")
    config = configured(target(host, "a"), target(host, "b"))
    async with account_upstreams(host), program(tmp_path, config) as running:
        before = await callers_read(running.url, 1, "before")
        homes = {number: sequences(host)[read[0].name][0].account for number, read in before.items()}
        host.throttled.add("a")
        meanwhile = await callers_read(running.url, 2, "meanwhile")
        for number, reads in meanwhile.items():
            expected = [[("upload", 429, None)]] * 2 if homes[number] == "a" else [[200] * 4] * 2
            assert expected == [
                read.answers if homes[number] == "a" else [status for _, status, _ in read.answers] for read in reads
            ]
        host.throttled.clear()
        after = await callers_read(running.url, 1, "after")
        assert all(read[0].worked for read in after.values())
        assert 0 == await running.stop()
    seen_of = sequences(host)
    for number, reads in after.items():
        assert {homes[number]} == {step.account for step in seen_of[reads[0].name]}
    throttled = Counter(step.account for step in host.steps if step.status == 429)
    assert throttled == {"a": 2 * sum(home == "a" for home in homes.values())}


async def test_batches_stay_where_their_files_are(tmp_path: Path) -> None:
    """A file, a job on it, its state, the list of jobs: 24 clients with Mistral's SDK, each step on a connection of its own."""
    hosts = {name: AccountUpstream(of_keys({f"key-of-{name}": name}), name) for name in ("a", "b")}

    async def batch(number: int, url: str) -> None:
        async def ask(what: Callable[[Mistral], Awaitable[Any]]) -> Any:
            async with Mistral(api_key=key_of(number), server_url=f"{url}/mistral") as sdk:
                return await what(sdk)

        content = {"file_name": f"{number}.jsonl", "content": b'{"custom_id": "0", "body": {}}\n'}
        file = await ask(lambda sdk: sdk.files.upload_async(file=content, purpose="batch"))
        job = await ask(lambda sdk: sdk.batch.jobs.create_async(input_files=[file.id], model="m", endpoint="/v1/ocr"))
        assert "QUEUED" == (await ask(lambda sdk: sdk.batch.jobs.get_async(job_id=job.id))).status
        assert job.id in [each.id for each in (await ask(lambda sdk: sdk.batch.jobs.list_async())).data]
        async with Mistral(api_key=key_of(number), server_url=f"{url}/mistral") as sdk:
            assert content["content"] == await (await sdk.files.download_async(file_id=file.id)).aread()

    async with account_upstreams(*hosts.values()):
        config = configured(target(hosts["a"], "a"), target(hosts["b"], "b"), callers=24)
        async with program(tmp_path, config) as running:
            await asyncio.gather(*(batch(number, running.url) for number in range(24)))
            assert 0 == await running.stop()
    assert {200} == {step.status for host in hosts.values() for step in host.steps}
    assert all(host.steps for host in hosts.values())


async def test_with_sticky_false_files_are_lost(tmp_path: Path) -> None:
    """It lifts the affinity: a signed URL is asked of any account, and every other one does not have the file.

    `check` says so before: who stays with one target, and who does not.
    """
    host = AccountUpstream(of_keys({"key-of-a": "a", "key-of-b": "b"}))
    targets = target(host, "a"), target(host, "b")
    async with account_upstreams(host):
        (tmp_path / "routes.yaml").write_text(configured(*targets))
        code, said, err = await command(tmp_path, "check")
        assert (0, True) == (code, "a client key stays with one of its 2 targets; POST …/ocr goes to any" in said), said + err
        async with program(tmp_path, configured(*targets, sticky=False)) as running:
            reads = await callers_read(running.url, 2, "lost")
            code, said, err = await running.command("check")
            assert (0, True) == (code, "each request goes to any of its 2 targets" in said), said + err
            assert 0 == await running.stop()
    statuses = Counter(status for each in reads.values() for read in each for step, status, _ in read.answers if step == "url")
    assert statuses[404] >= 16  # of 128 fair draws fewer: less than 1e-17
