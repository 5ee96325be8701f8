"""Single OCR calls by Mistral's SDK over three accounts behind one path: by weight, around one that is throttled, and at home."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from tests.harness.accounts import AccountUpstream, account_upstreams, of_keys
from tests.harness.document_programs import PDF
from tests.harness.process import Program, program
from tests.harness.shares import FAILURE, band
from tests.scenarios.test_sticky_targets import booked, configured, key_of, target
from tests.scenarios.test_workers import counted, told, workers

pytestmark = [pytest.mark.process, pytest.mark.faults]

WEIGHTS = {"a": 3, "b": 2, "c": 1}
CALLERS, EACH = 30, 30
DATA = "data:application/pdf;base64," + base64.b64encode(PDF).decode()
MODEL = "mistral-ocr-latest"


def inline(name: str) -> dict[str, str]:
    """Return a document in the request itself, by a name that the account sees."""
    return {"type": "document_url", "document_url": DATA, "document_name": name}


def one_host() -> AccountUpstream:
    """Return a host with the three accounts."""
    return AccountUpstream(of_keys({f"key-of-{name}": name for name in WEIGHTS}))


def endpoint(host: AccountUpstream, callers: int = CALLERS, **more: object) -> str:
    """Return a file with the three accounts, by weight, behind one path."""
    return configured(*(target(host, name, weight=weight) for name, weight in WEIGHTS.items()), callers=callers, **more)


async def read_by(running: Program, callers: int, each: int, first: str) -> Counter[int]:
    """Let callers make OCR calls with Mistral's SDK, each with a key of its own; return how often which status came."""
    statuses: Counter[int] = Counter()

    async def caller(number: int) -> None:
        async with Mistral(api_key=key_of(number), server_url=f"{running.url}/mistral") as sdk:
            for turn in range(each):
                try:
                    await sdk.ocr.process_async(model=MODEL, document=inline(f"{first}-{number}-{turn}"))
                    statuses[200] += 1
                except SDKError as refused:
                    statuses[refused.status_code] += 1

    await asyncio.gather(*(caller(number) for number in range(callers)))
    return statuses


def shares(host: AccountUpstream, first: str) -> Counter[str | None]:
    """Return how many calls of 200 each account answered in one round."""
    return Counter(step.account for step in host.steps if step.status == 200 and str(step.name).startswith(f"{first}-"))


def assert_in_band(found: Counter[str | None], weights: dict[str, int]) -> None:
    """Hold that each account's share is that of its weight, but for what a fair choice does once in a million runs."""
    draws = found.total()
    for name, weight in weights.items():
        least, most = band(draws, weight / sum(weights.values()), FAILURE / len(weights))
        assert least <= found[name] <= most, (name, found, least, most)


async def test_single_calls_are_shared_by_weight(tmp_path: Path) -> None:
    """900 calls over 3 : 2 : 1, then around one that is throttled; without `retries` only who met it first gets its 429.

    The bands fail a fair choice less than once in a million runs. No call is seen twice; the ledger has what the accounts saw.
    """
    host = one_host()
    async with account_upstreams(host), program(tmp_path, endpoint(host)) as running:
        assert {200: CALLERS * EACH} == await read_by(running, CALLERS, EACH, "fair")
        assert_in_band(shares(host, "fair"), WEIGHTS)
        host.throttled.add("b")
        statuses = await read_by(running, CALLERS, EACH, "around")
        assert 1 <= statuses[429] <= CALLERS  # those that were under way when the first 429 came
        assert {200: CALLERS * EACH - statuses[429], 429: statuses[429]} == statuses
        assert_in_band(shares(host, "around"), {"a": 3, "c": 1})
        assert 0 == await running.stop()
    seen = Counter((str(step.account), f"POST /mistral{step.path}", step.status) for step in host.steps)
    assert seen == booked(tmp_path)
    assert 2 * CALLERS * EACH == len(host.steps)


async def test_a_throttled_account_is_not_seen_where_there_are_retries(tmp_path: Path) -> None:
    """With `retries` every call gets a response of another account; afterwards the throttled one is left alone."""
    host = one_host()
    host.throttled.add("a")
    again = {"attempts": 3, "statuses": [429]}
    async with account_upstreams(host), program(tmp_path, endpoint(host, retries=again)) as running:
        assert {200: CALLERS * EACH} == await read_by(running, CALLERS, EACH, "around")
        assert_in_band(shares(host, "around"), {"b": 2, "c": 1})
        assert 1 <= len(host.seen_by("a")) <= CALLERS
        log = await running.logs(CALLERS * EACH)
    tried_twice = [line for line in log if line["attempts"] > 1]
    assert len(host.seen_by("a")) == sum(line["attempts"] - 1 for line in log)
    assert {"a: 429"} == {line["why"] for line in tried_twice}
    assert {"b", "c"} == {line["deployment"] for line in log}


async def test_a_key_keeps_its_account_across_workers_and_restarts(tmp_path: Path) -> None:
    """Two workers, stopped and started again: each client's files are at one account, whichever worker gets a request.

    What was uploaded before is read by its id after, by every worker; single OCR calls of these clients stay at home too.
    """
    callers = 24
    host = one_host()
    files: dict[int, str] = {}

    async def upload(number: int, url: str) -> None:
        async with Mistral(api_key=key_of(number), server_url=f"{url}/mistral") as sdk:
            content = {"file_name": f"{number}.pdf", "content": PDF}
            files[number] = (await sdk.files.upload_async(file=content, purpose="ocr")).id

    async def read(number: int, url: str) -> None:
        for turn in range(4):  # a client of its own each time: a new connection, so either worker may get it
            async with Mistral(api_key=key_of(number), server_url=f"{url}/mistral") as sdk:
                source = {"type": "file", "file_id": files[number]}
                pages = (await sdk.ocr.process_async(model=MODEL, document=source)).pages
                assert f" read {number}.pdf" in pages[0].markdown
                await sdk.ocr.process_async(model=MODEL, document=inline(f"inline-{number}-{turn}"))
                assert files[number] in [file.id for file in (await sdk.files.list_async()).data]

    async def all_do(what: Callable[[int, str], object], url: str) -> None:
        await asyncio.gather(*(what(number, url) for number in range(callers)))  # type: ignore[arg-type]

    async with account_upstreams(host):
        config = endpoint(host, callers)
        async with workers(tmp_path, config) as running:
            await all_do(upload, running.url)
            await all_do(read, running.url)
            await told(running, "/metrics")
            both = counted(tmp_path)
            assert 0 == await running.stop()
        assert 2 == len(both)
        assert min(both) > 0, both
        (tmp_path / "shared").unlink()
        async with workers(tmp_path, config) as running:
            await all_do(read, running.url)
            assert 0 == await running.stop()
    assert {200} == {step.status for step in host.steps}
    homes: dict[str, set[str | None]] = {}
    for step in host.steps:
        if step.name is not None:
            number = step.name.removesuffix(".pdf").removeprefix("inline-").partition("-")[0]
            homes.setdefault(number, set()).add(step.account)
    assert {1} == {len(accounts) for accounts in homes.values()}
    assert set(WEIGHTS) == set().union(*homes.values())
