"""What is booked of a pool's calls, from the street: once each, at the deployment that responded, and found months later."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from passthrough.cli.main import main
from tests.harness.ocr_client import ask, request
from tests.harness.ocr_upstreams import UNAVAILABLE, Behaviour, OcrUpstream, always, ocr_upstreams
from tests.harness.waiting import until
from tests.scenarios.test_litellm_traps import INLINE, entry, post, serving

pytestmark = pytest.mark.process

LEDGER = "sqlite:///books.db"
KEY = "team-" + "k" * 40
SENT = request(json.dumps({"model": "mistral-ocr", "document": INLINE}).encode()).replace(
    b"Host: x", b"Host: localhost\r\nAuthorization: Bearer " + KEY.encode(), 1
)
BODY = {"pages": [], "model": "my-own-name", "usage_info": {"pages_processed": 3, "pages_processed_annotation": 2}}


async def test_a_call_that_was_tried_twice_is_booked_once(tmp_path: Path) -> None:
    """With the usage, target and price of the deployment that responded; `attempts` and `why` say what was tried before."""
    down = OcrUpstream(mood=always(UNAVAILABLE))
    well = OcrUpstream(mood=always(Behaviour(200, body=json.dumps(BODY).encode())))
    dear = {"id": "well", "ocr_cost_per_page": 0.5, "annotation_cost_per_page": 2}
    entries = entry(down, info={"id": "down"}, order=1), entry(well, info=dear, order=2)
    async with ocr_upstreams(down, well), serving(tmp_path, *entries, ledger=LEDGER) as running:
        assert 200 == (await post(running))[0]
        (line,) = await running.logs(1)
        assert 0 == await running.stop()
    expected = {
        "route": "/v1/ocr",
        "deployment": "well",
        "model_group": "mistral-ocr",
        "why": "down: 503",
        "attempts": 2,
        "pages": 3,
        "pages_annotated": 2,
        "cost_usd": 5.5,
        "cost_source": "routes.yaml",
        "unmetered": None,
    }
    assert expected == {name: line[name] for name in expected}
    assert (1, 1) == (len(down.calls), len(well.calls))
    with closing(sqlite3.connect(tmp_path / "books.db")) as ledger:
        joined = "exchanges LEFT JOIN charges ON exchange_id = id"
        rows = ledger.execute(f"SELECT deployment, model_group, why, attempts, pages, cost_nano FROM {joined}").fetchall()
        assert [("well", "mistral-ocr", "down: 503", 2, 3, 5_500_000_000)] == rows
        ledger.execute("DELETE FROM charges")  # as the retention does
        ledger.execute("DELETE FROM exchanges")
        ledger.commit()
    for by, group in (("deployment", "well"), ("model_group", "mistral-ocr")):
        options = ["--ledger", f"sqlite:///{tmp_path}/books.db", "--by", by, "--format", "json"]
        run = CliRunner().invoke(main, ["usage", *options])
        assert 0 == run.exit_code, run.output
        (found,) = json.loads(run.stdout)["groups"]
        assert (group, 1, 3, 5.5) == (found[by], found["requests"], found["pages"], found["cost_usd"])


async def test_a_pool_that_is_down_is_booked_without_a_charge(tmp_path: Path) -> None:
    """The last deployment that was tried stands there, with the reason; nothing was counted, and nothing is."""
    first, second = (OcrUpstream(mood=always(UNAVAILABLE)) for _ in range(2))
    entries = entry(first, info={"id": "one"}, order=1), entry(second, info={"id": "two"}, order=2)
    once = {"num_retries": 1}
    async with ocr_upstreams(first, second), serving(tmp_path, *entries, ledger=LEDGER, router_settings=once) as running:
        assert 503 == (await post(running))[0]
        (line,) = await running.logs(1)
        assert 0 == await running.stop()
    assert ("two", None, None) == (line["deployment"], line["cost_usd"], line["pages"])
    assert (2, 1, 1) == (line["attempts"], len(first.calls), len(second.calls))
    assert line["why"].endswith(": 503")
    with closing(sqlite3.connect(tmp_path / "books.db")) as ledger:
        assert [(0,)] == ledger.execute("SELECT count(*) FROM charges").fetchall()


async def test_a_first_burst_is_held_by_the_dearest_deployment(tmp_path: Path) -> None:
    """Before one is chosen, a budget in USD reserves the dearest page of all, also where only cheap ones respond."""
    go = asyncio.Event()
    cheap, dear = (OcrUpstream(mood=always(Behaviour(200, body=json.dumps(BODY).encode(), until=go))) for _ in range(2))
    entries = (
        entry(cheap, info={"id": "cheap", "ocr_cost_per_page": 0.001}, order=1),
        entry(dear, info={"id": "dear", "ocr_cost_per_page": 0.5}, order=2),
    )
    keys = [{"name": "team", "key": KEY, "budget": {"usd": 1, "per": "day"}}]
    async with ocr_upstreams(cheap, dear), serving(tmp_path, *entries, ledger=LEDGER, client_keys=keys) as running:
        callers = [asyncio.create_task(ask(running.port, SENT)) for _ in range(8)]
        await until(lambda: sum(caller.done() for caller in callers) == 6)
        go.set()
        answers = [(status, fields.get("x-passthrough-error")) for status, fields, _ in await asyncio.gather(*callers)]
    assert [(200, None)] * 2 + [(429, "budget_spent")] * 6 == sorted(answers, key=str)
    assert (2, 0) == (len(cheap.calls), len(dear.calls))


async def test_a_model_without_a_price_closes_a_budget_that_refuses_it(tmp_path: Path) -> None:
    """The refusal names the model, and no address; a price in the list's entry opens it again by a reload."""
    pages = {"pages": [], "model": "unheard-of", "usage_info": {"pages_processed": 3}}
    above = OcrUpstream(mood=always(Behaviour(200, body=json.dumps(pages).encode())))
    budget = {"usd": 1, "per": "month", "unpriced": "refuse"}
    settings = {"ledger": LEDGER, "client_keys": [{"name": "team", "key": KEY, "budget": budget}]}
    given = entry(above, info={"id": "one", "mode": "ocr"}, model="mistral/unheard-of-ocr")
    async with ocr_upstreams(above), serving(tmp_path, given, **settings) as running:
        assert 200 == (await ask(running.port, SENT))[0]
        await running.logs(1)
        status, fields, text = await ask(running.port, SENT)
        assert (429, "budget_unpriced") == (status, fields.get("x-passthrough-error"))
        assert b"unheard-of" in text
        assert b"127.0.0.1" not in text
        given["model_info"]["ocr_cost_per_page"] = 0.001
        (tmp_path / "routes.yaml").write_text(json.dumps({"model_list": [given], **settings}))
        await running.says("Reloaded")
        assert 200 == (await ask(running.port, SENT))[0]
