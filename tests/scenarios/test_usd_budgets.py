"""Budgets in US dollars from the street: what is reserved before a price was seen, and what has no price."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.harness.budgets import KEY, OTHER, Answered, ask, configured, standing, turn
from tests.harness.client import asking, client
from tests.harness.process import Program, program
from tests.harness.upstream import Peer, answering, ok, upstream
from tests.harness.waiting import eventually, until

pytestmark = [pytest.mark.wire, pytest.mark.process]

CALLERS = 64


def used(model: str | None, pages: int = 1, annotated: int = 0) -> bytes:
    """Return an OCR response of a model, with plain and annotated pages."""
    usage = {"pages_processed": pages, "pages_processed_annotation": annotated, "doc_size_bytes": 1}
    body: dict[str, Any] = {"pages": [], "model": model, "usage_info": usage}
    return ok(json.dumps(body).encode(), b"Content-Type: application/json")


def told(answer: Answered) -> tuple[int, str | None]:
    """Return a response's status, and its code where it is the program's own."""
    return answer.status, answer.error


async def reload(running: Program, text: str) -> None:
    """Write another configuration, and wait until it is in force."""
    before = "".join(running.said).count("Reloaded")
    (running.folder / "routes.yaml").write_text(text)
    running.signal(signal.SIGHUP)
    await running.says("(?s)" + "Reloaded.*" * (before + 1))


# ── before the first price ──


class Held:
    """A target that holds every response until it is told to go on."""

    def __init__(self, response: bytes) -> None:
        self.response = response
        self.go = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        """Serve one connection."""
        while True:
            await peer.request()
            await self.go.wait()
            await peer.send(self.response)


async def burst(target: Held, budget: str, folder: Path) -> tuple[int, list[str | None], int]:
    """Let 64 callers ask at once, before any price was seen; return what passed, the refusals' codes, and what was spent."""
    async with upstream(target) as raw, program(folder, configured(raw.port, team=f"budget: {budget}")) as running:
        callers = [asyncio.create_task(ask(running.port)) for _ in range(CALLERS)]
        await until(lambda: len(raw.received) + sum(caller.done() for caller in callers) == CALLERS)
        passed = len(raw.received)
        target.go.set()
        answers = await asyncio.gather(*callers)
        assert [200] * passed == [each.status for each in answers if each.status != 429]
        (shown,) = await eventually(lambda: standing(running), lambda found: found[0]["reserved"] == 0)
        return passed, [each.error for each in answers if each.status == 429], round(shown["spent"] * 1000)


async def test_a_first_burst_passes_no_more_pages_than_the_budget_has(tmp_path: Path) -> None:
    """Each request reserves the dearest page of the list, $0.005: of 64 at once, ten fit into $0.05."""
    passed, refused, spent = await burst(Held(used("mistral-ocr-4-1", 0, 1)), "{usd: 0.05, per: day}", tmp_path)
    assert (10, ["budget_spent"] * 54, 50) == (passed, refused, spent)


async def test_pages_are_reserved_by_the_page(tmp_path: Path) -> None:
    """A budget in pages needs no price: of 64 at once, ten of one page fit into ten."""
    async with upstream(target := Held(used("mistral-ocr-9"))) as raw:
        config = configured(raw.port, team="budget: {pages: 10, per: day}")
        async with program(tmp_path, config) as running:
            callers = [asyncio.create_task(ask(running.port)) for _ in range(CALLERS)]
            await until(lambda: len(raw.received) + sum(caller.done() for caller in callers) == CALLERS)
            assert 10 == len(raw.received)
            target.go.set()
            await asyncio.gather(*callers)


@pytest.mark.parametrize(
    ("rest", "passed"),
    [
        ("prices: [{model: mine, usd_per_1000_pages: 10}]", 5),
        ("prices: [{model: mine, usd_per_1000_pages: 2.5, usd_per_1000_annotated_pages: 25}]", 2),
    ],
)
async def test_a_dearer_page_of_the_operators_own_list_is_reserved(tmp_path: Path, rest: str, passed: int) -> None:
    """Whichever kind of page is the dearer one; after a reload by the new prices, as long as no cost is known."""
    async with upstream(target := Held(used("mistral-ocr-4-1"))) as raw:
        config = configured(raw.port, team="budget: {usd: 0.05, per: day}")
        async with program(tmp_path, config) as running:
            await reload(running, config + rest)
            callers = [asyncio.create_task(ask(running.port)) for _ in range(CALLERS)]
            await until(lambda: len(raw.received) + sum(caller.done() for caller in callers) == CALLERS)
            assert passed == len(raw.received)
            target.go.set()
            await asyncio.gather(*callers)


async def test_calls_that_are_given_up_before_the_first_price_cost_what_they_reserved(tmp_path: Path) -> None:
    """Not even the model is known: the dearest page of the list each, so that ten use $0.05 up."""
    target = Held(b"")
    async with upstream(target) as raw:
        config = configured(raw.port, team="budget: {usd: 0.05, per: day}", route="client_gone: cancel")
        async with program(tmp_path, config) as running:
            for count in range(1, 11):
                async with client(running.port) as leaving:
                    await leaving.send(asking(b"POST /ocr HTTP/1.1", f"Authorization: Bearer {KEY}".encode(), body=b"{}"))
                    await until(lambda count=count: len(raw.received) == count)  # type: ignore[misc]
                    leaving.reset()
                lines = await running.logs(count)
            assert [("cancelled", 0.005)] * 10 == [(line["unmetered"], line["estimated_usd"]) for line in lines]
            assert (429, "budget_spent") == told(await ask(running.port))
            (shown,) = await eventually(lambda: standing(running), lambda found: found[0]["reserved"] == 0)
            assert 0.05 == shown["spent"]


async def test_cached_tokens_count_at_their_own_price(tmp_path: Path) -> None:
    """A chat of 1,000,000 tokens in, 900,000 of them cached: its cost is what the log says, and what the budget has spent."""
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 900_000}}
    body = json.dumps({"object": "chat.completion", "model": "chatty", "usage": {**usage, "total_tokens": 1_000_000}}).encode()
    price = "{model: chatty, usd_per_million_input_tokens: 1, usd_per_million_cached_input_tokens: 0.1}"
    async with upstream(answering(ok(body, b"Content-Type: application/json"))) as raw:
        config = configured(raw.port, team="budget: {usd: 0.25, per: day}", rest=f"prices: [{price}]")
        config = config.replace("meter: {shape: ocr}", "meter: {shape: chat}")
        async with program(tmp_path, config) as running:
            found = [told(await turn(running)) for _ in range(3)]
            assert [(200, None), (200, None), (429, "budget_spent")] == found
            assert [0.19, 0.19] == [line["cost_usd"] for line in running.log[:2]]
            (shown,) = await standing(running)
            assert 0.38 == shown["spent"]


# ── what has no price ──

REFUSE = "budget: {usd: 1, per: month, unpriced: refuse}"
UNKNOWN = used("mistral-ocr-9")
PRICE = "prices: [{model: mistral-ocr-9, usd_per_1000_pages: 100}]"


async def test_what_has_no_price_closes_a_budget_that_refuses_until_it_has_one(tmp_path: Path) -> None:
    """The next request is refused, on every route; a restart changes nothing, a price for another model neither."""
    async with upstream(answering(UNKNOWN)) as raw:
        config = configured(raw.port, team=REFUSE)
        async with program(tmp_path, config) as running:
            assert (200, None) == told(await turn(running))
            refused = await ask(running.port, "/more")
            assert (429, "budget_unpriced") == told(refused)
            said = re.fullmatch(
                r"Client 'team' has used model 'mistral-ocr-9' on route /ocr, which has no price, "
                r"so that 1 USD per month cannot be held; the next month begins at \d{4}-\d\d-01T00:00:00Z\.",
                refused.body["message"],
            )
            assert said is not None
            assert "Ask the operator to add the model to 'prices' in routes.yaml" in refused.body["hint"]
            assert 1 <= int(refused.fields["retry-after"]) <= 31 * 86_400
            assert (200, None) == told(await ask(running.port, key=OTHER))
            (shown,) = await standing(running)
            assert f"model 'mistral-ocr-9' of 127.0.0.1:{raw.port} on route /ocr" == shown["unpriced"]
            assert 0 == await running.stop()
        async with program(tmp_path, None) as running:
            assert (429, "budget_unpriced") == told(await ask(running.port))
            await reload(running, configured(raw.port, team=REFUSE, rest=PRICE.replace("ocr-9", "ocr-8")))
            assert (429, "budget_unpriced") == told(await ask(running.port))
            await reload(running, configured(raw.port, team=REFUSE, rest=PRICE))
            assert (200, None) == told(await turn(running))
            (shown,) = await standing(running)
            assert (0.1, None) == (shown["spent"], shown["unpriced"])
        assert 3 == len(raw.received)


@pytest.mark.parametrize("text", ["budget: {usd: 1, per: month, unpriced: allow}", "budget: {usd: 1, per: month}"])
async def test_by_default_what_has_no_price_passes(tmp_path: Path, text: str) -> None:
    """It is warned of once, and booked. A budget that begins to refuse knows of it at once, one that ceases lets in again."""
    async with upstream(answering(UNKNOWN)) as raw:
        config = configured(raw.port, team=text)
        async with program(tmp_path, config) as running:
            assert [(200, None)] * 2 == [told(await turn(running)) for _ in range(2)]
            assert 1 == "".join(running.said).count("No price is known")
            await reload(running, configured(raw.port, team=REFUSE))
            assert (429, "budget_unpriced") == told(await turn(running))
            await reload(running, config)
            assert (200, None) == told(await turn(running))


async def test_a_price_that_lacks_a_part_is_missed_until_that_is_there(tmp_path: Path) -> None:
    """A model with a price for plain pages only: an annotated page has none."""
    async with upstream(answering(used("mistral-ocr-9", 0, 1))) as raw:
        config = configured(raw.port, team=REFUSE, rest=PRICE)
        async with program(tmp_path, config) as running:
            assert [(200, None), (429, "budget_unpriced")] == [told(await turn(running)) for _ in range(2)]
            await reload(running, config.replace("usd_per_1000_pages: 100", "usd_per_1000_pages: 200"))
            assert (429, "budget_unpriced") == told(await turn(running))
            await reload(running, config.replace("usd_per_1000_pages: 100", "usd_per_1000_annotated_pages: 5"))
            assert (200, None) == told(await turn(running))


@pytest.mark.parametrize("cure", ["meter: {shape: ocr, model: mistral-ocr-4-1}", "cost_per_request: 0.01"])
async def test_a_route_that_gives_the_price_cures_it_too(tmp_path: Path, cure: str) -> None:
    """A response without a model's name: the route may name one, or say what a request costs."""
    async with upstream(answering(used(None))) as raw:
        config = configured(raw.port, team=REFUSE)
        async with program(tmp_path, config) as running:
            assert [(200, None), (429, "budget_unpriced")] == [told(await turn(running)) for _ in range(2)]
            assert "has used a model without a name on route /ocr" in (await ask(running.port)).body["message"]
            shape = "" if cure.startswith("meter") else "meter: {shape: ocr}\n    "
            await reload(running, config.replace("meter: {shape: ocr}", shape + cure, 1))
            assert (200, None) == told(await turn(running))


async def test_a_budget_that_is_added_later_knows_what_had_no_price_before(tmp_path: Path) -> None:
    """Of its own scope, in its running period."""
    async with upstream(answering(UNKNOWN)) as raw, program(tmp_path, configured(raw.port)) as running:
        assert (200, None) == told(await turn(running, key=OTHER))
        await reload(running, configured(raw.port, team=REFUSE))
        assert (200, None) == told(await turn(running, "/more"))
        await reload(running, configured(raw.port, route=REFUSE))
        assert "Route /ocr has used" in (await turn(running)).body["message"]
        assert (200, None) == told(await turn(running, "/more"))
        await reload(running, configured(raw.port, rest=REFUSE.replace("month", "day")))
        assert ["This proxy has used"] * 2 == [(await turn(running, path)).body["message"][:19] for path in ("/ocr", "/more")]


async def test_while_the_ledger_is_away_a_process_knows_what_it_used(tmp_path: Path) -> None:
    """The next request is refused, and after a restart too, when the journal has reached the ledger."""
    async with upstream(answering(UNKNOWN)) as raw:
        async with program(tmp_path, configured(raw.port, team=REFUSE, rest="on_ledger_down: allow")) as running:
            assert (200, None) == told(await turn(running, key=OTHER))
            with closing(sqlite3.connect(tmp_path / "passthrough.db", isolation_level=None)) as other:
                await eventually(lambda: standing(running), lambda shown: shown[0]["reserved"] == 0)
                other.execute("BEGIN IMMEDIATE")
                assert (200, None) == told(await turn(running))
                assert [(429, "budget_unpriced")] * 3 == [told(await turn(running)) for _ in range(3)]
            assert (429, "budget_unpriced") == told(await turn(running))
            assert 0 == await running.stop()
        async with program(tmp_path, None) as running:
            assert (429, "budget_unpriced") == told(await turn(running))
        assert 2 == len(raw.received)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_what_one_process_used_closes_the_budget_of_all(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """Two processes with one ledger; the second one holds a lease already."""
    url = f"sqlite:///{tmp_path}/shared.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    responses = {"first": used("mistral-ocr-4-1"), "then": UNKNOWN}
    phase = "first"

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(responses[phase])

    async with upstream(script) as raw:
        config = configured(raw.port, team=REFUSE, rest=f"ledger: {url}")
        folders = [tmp_path / name for name in ("a", "b")]
        for folder in folders:
            folder.mkdir()
        async with program(folders[0], config) as one, program(folders[1], config) as two:
            assert [(200, None)] * 2 == [told(await turn(each)) for each in (one, two)]
            phase = "then"
            assert [(200, None), (429, "budget_unpriced")] == [told(await turn(one)) for _ in range(2)]
            phase = "first"
            await eventually(lambda: ask(two.port), lambda answer: told(answer) == (429, "budget_unpriced"))
            assert (200, None) == told(await ask(two.port, key=OTHER))


async def test_without_any_ledger_what_has_no_price_closes_a_budget_for_this_process(tmp_path: Path) -> None:
    """`ledger: none`: it is kept in memory, as what is spent."""
    async with upstream(answering(UNKNOWN)) as raw:
        config = configured(raw.port, team=REFUSE, rest="ledger: none")
        async with program(tmp_path, config) as running:
            assert [(200, None), (429, "budget_unpriced")] == [told(await turn(running)) for _ in range(2)]


async def test_pages_of_a_refusal_and_of_another_client_close_nothing(tmp_path: Path) -> None:
    """A model that is known is no reason, and what another client used neither; a budget of $0.01 is then used up."""
    async with upstream(answering(used("mistral-ocr-4-1", 1, 1))) as raw:
        config = configured(raw.port, team=REFUSE.replace("usd: 1", "usd: 0.01"))
        async with program(tmp_path, config) as running:
            found = [told(await turn(running, key=key)) for key in (KEY, OTHER, KEY, KEY)]
            assert [(200, None)] * 3 + [(429, "budget_spent")] == found


async def test_a_line_of_a_batch_without_a_price_closes_a_budget_when_it_is_booked(tmp_path: Path) -> None:
    """The download goes on, later requests are refused; a file whose lines were booked before closes nothing again."""
    body = {"model": "mistral-ocr-9", "usage_info": {"pages_processed": 1, "doc_size_bytes": 1}}
    lines = [{"id": f"line-{number}", "response": {"status_code": 200, "body": body}} for number in range(3)]
    file = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path = "/v1/files/7/content"
    async with upstream(answering(ok(file))) as raw:
        config = configured(raw.port, team=REFUSE, route="budget: {pages: 100, per: day}")
        config = config.replace("path: /ocr", f"path: {path}").replace("meter: {shape: ocr}", "meter: {shape: auto}", 1)
        config = config.replace("/v1/ocr", path, 1)

        async def fetch(running: Program, key: str) -> tuple[int, str | None]:
            before = len(running.log)
            headers = {"Authorization": f"Bearer {key}"}
            async with aiohttp.ClientSession(headers=headers) as session, session.get(running.url + path) as response:
                await response.read()
            await running.logs(before + 1)
            return response.status, response.headers.get("X-Passthrough-Error")

        async with program(tmp_path, config) as running:
            assert (200, None) == await fetch(running, OTHER)
            await eventually(lambda: standing(running), lambda shown: sum(each["spent"] for each in shown) == 3)
            assert [(200, None)] * 2 == [await fetch(running, KEY) for _ in range(2)]
        async with program(tmp_path, config + "ledger: sqlite:///second.db") as running:
            assert (200, None) == await fetch(running, KEY)
            await eventually(lambda: standing(running), lambda shown: any(each["unpriced"] for each in shown))
            assert (429, "budget_unpriced") == await fetch(running, KEY)


async def test_the_workers_of_one_program_know_it_of_each_other(tmp_path: Path) -> None:
    """Whichever of two workers a request comes to."""
    async with upstream(answering(UNKNOWN)) as raw:
        config = configured(raw.port, team=REFUSE, rest="workers: 2")
        async with program(tmp_path, config) as running:
            assert (200, None) == told(await turn(running))

            async def codes() -> set[str | None]:
                return {(await ask(running.port)).error for _ in range(8)}

            await eventually(codes, lambda found: found == {"budget_unpriced"})
            assert (200, None) == told(await ask(running.port, key=OTHER))
            (shown,) = await standing(running)
            assert shown["unpriced"].startswith("model 'mistral-ocr-9'")
