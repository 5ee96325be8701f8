"""What is said and booked of an endpoint's several targets, from the street: the one that answered is named everywhere."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.ocr_upstreams import Behaviour, OcrUpstream, always, ocr_upstreams, throttled
from tests.harness.ports import free_port
from tests.harness.process import Program, program
from tests.harness.waiting import eventually, until

pytestmark = [pytest.mark.process, pytest.mark.wire]

LEDGER = "sqlite:///books.db"
KEY = "canary-of-team-0123456789"
BODY = {"pages": [], "model": "mistral-ocr-2512", "usage_info": {"pages_processed": 3}}
WELL = always(Behaviour(200, body=json.dumps(BODY).encode()))


def target(above: OcrUpstream | int, **more: object) -> dict[str, object]:
    """Return a target with the provider's key."""
    url = f"http://127.0.0.1:{above}" if isinstance(above, int) else above.url
    return {"target": url, "headers": {"Authorization": "Bearer provider-key"}, **more}


def pooled(*targets: dict[str, object], endpoint: dict[str, object] | None = None, **settings: object) -> str:
    """Return a file with one endpoint that has these targets."""
    route = {"path": "/mistral", "include_subpath": True, "targets": targets, **(endpoint or {})}
    return json.dumps({"pass_through_endpoints": [route], "ledger": LEDGER, **settings})


async def post(running: Program, path: str = "/mistral/v1/ocr", key: str = KEY) -> tuple[int, str | None]:
    """Send one OCR request; return the status and our error's code."""
    body = {"model": "mistral-ocr-latest", "document": {"document_url": "data:application/pdf;base64,JVBERi0xLjQK"}}
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession() as session, session.post(running.url + path, json=body, headers=headers) as response:
        await response.read()
        return response.status, response.headers.get("x-passthrough-error")


async def told(running: Program, path: str) -> Any:
    """Return what the admin port says: JSON, or the samples of its metrics by name and labels."""
    url = f"http://127.0.0.1:{running.admin_port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert 200 == response.status
        if path != "/metrics":
            return await response.json()
        families = text_string_to_metric_families(await response.text())
        return {(each.name, *sorted(each.labels.items())): each.value for family in families for each in family.samples}


async def test_the_target_that_answered_is_named(tmp_path: Path) -> None:
    """In log, ledger, metrics, /deployments and reports, by its id; the one before it stands in `why`. It is in no group."""
    well, dead = OcrUpstream(mood=WELL), free_port()
    text = pooled(target(dead, id="west"), target(well, order=2, weight=2.5))
    async with ocr_upstreams(well), program(tmp_path, text) as running:
        assert (200, None) == await post(running)
        (line,) = await running.logs(1)
        expected = {
            "route": "/mistral",
            "deployment": "/mistral#2",
            "model_group": None,
            "target": f"127.0.0.1:{well.port}",
            "why": "west: connection refused",
            "attempts": 2,
            "pages": 3,
            "cost_source": "prices.yaml",
        }
        assert expected == {name: line[name] for name in expected}
        first, second = (await told(running, "/deployments"))["deployments"]
        shared = {"model_group": "/mistral", "provider": None, "in_flight": 0}
        assert shared.items() <= first.items()
        assert shared.items() <= second.items()
        assert ("west", f"127.0.0.1:{dead}", 1, 1, {"connect": 1}, "connect") == tuple(
            first[name] for name in ("deployment", "target", "order", "weight", "tries", "cooling")
        )
        assert ("/mistral#2", 2, 2.5, {"answered": 1}, None, None) == tuple(
            second[name] for name in ("deployment", "order", "weight", "tries", "cooling", "until")
        )
        found = await told(running, "/metrics")
        labels = ("deployment", "/mistral#2"), ("model_group", "/mistral")
        assert 1 == found[("passthrough_deployment_requests_total", *labels, ("outcome", "completed"), ("status", "2xx"))]
        assert 1 == found[("passthrough_deployment_tries_total", *labels, ("outcome", "answered"))]
        assert 0 == found[("passthrough_deployment_up", ("deployment", "west"), ("model_group", "/mistral"))]
        booked = await eventually(lambda: told(running, "/exchanges?deployment=/mistral%232"), lambda found: found["exchanges"])
        assert [("/mistral#2", None)] == [(each["deployment"], each["model_group"]) for each in booked["exchanges"]]
        assert 0 == await running.stop()
        for by, group in (("deployment", "/mistral#2"), ("model_group", None), ("target", f"127.0.0.1:{well.port}")):
            code, out, _ = await running.command("usage", "--by", by, "--format", "json")
            assert (0, [(group, 1, 3)]) == (
                code,
                [(each[by], each["requests"], each["pages"]) for each in json.loads(out)["groups"]],
            )
        code, out, _ = await running.command("usage", "--by", "deployment", "--reprice")
        assert (0, True) == (code, "/mistral#2" in out)
    with closing(sqlite3.connect(tmp_path / "books.db")) as ledger:
        rows = ledger.execute("SELECT deployment, model_group, why, attempts FROM exchanges").fetchall()
        assert [("/mistral#2", None, "west: connection refused", 2)] == rows


async def test_each_target_is_metered_by_its_own_meter(tmp_path: Path) -> None:
    """One by the list of its host, one by none; what the endpoint's own meter says is for the others."""
    first, second = OcrUpstream(mood=WELL), OcrUpstream(mood=WELL)
    text = pooled(target(first, meter={"price_list": "none"}), target(second, order=2), endpoint={"retries": 1})
    async with ocr_upstreams(first, second), program(tmp_path, text) as running:
        assert (200, None) == await post(running)
        first.mood = always(throttled("600"))
        assert (200, None) == await post(running)
        lines = await running.logs(2)
        assert [("/mistral#1", None, "unpriced", 1), ("/mistral#2", "prices.yaml", None, 2)] == [
            tuple(line[name] for name in ("deployment", "cost_source", "unmetered", "attempts")) for line in lines
        ]
        said = f"Prices: no list for /mistral#1; Mistral's list for /mistral#2 (not a known host: 127.0.0.1:{second.port})."
        assert said in "".join(running.said)
        assert 0 == await running.stop()
        code, out, _ = await running.command("usage", "--reprice", "--by", "deployment", "--format", "json")
        assert (0, {"/mistral#1": 1, "/mistral#2": 0}) == (
            code, {each["deployment"]: each["unpriced_today"] for each in json.loads(out)["groups"]},
        )  # fmt: skip


async def test_in_the_sandbox_each_target_is_the_sandbox(tmp_path: Path) -> None:
    """Without a key that is set: paths are kept, and the targets keep their names."""
    key = {"Authorization": "Bearer os.environ/UNSET"}
    targets = {"target": "https://api.mistral.ai", "headers": key}, {"target": "os.environ/UNSET/v2", "headers": key, "weight": 0}
    more = {"path": "/plain", "target": "https://api.mistral.ai", "include_subpath": True}
    tree = json.loads(pooled(*targets, endpoint={"headers": key}))
    tree["pass_through_endpoints"].append(more)
    async with program(tmp_path, json.dumps(tree), "--sandbox") as running:
        async with aiohttp.ClientSession() as session:
            for path in ("/mistral/v1/models", "/plain/v1/models"):
                async with session.get(running.url + path) as response:
                    assert 200 == response.status
        lines = await running.logs(2)
        assert [("/mistral#1", "sandbox", True), (None, "sandbox", True)] == [
            (line["deployment"], line["target"], line["sandbox"]) for line in lines
        ]
        assert ["sandbox", "sandbox"] == [each["target"] for each in (await told(running, "/deployments"))["deployments"]]
        assert 0 == await running.stop()


PRICES = [{"model": "cheap", "usd_per_1000_pages": 1}, {"model": "dear", "usd_per_1000_pages": 500}]


def keyed(budget: dict[str, object]) -> dict[str, object]:
    """Return the settings for one client with a budget."""
    return {"client_keys": [{"name": "team", "key": KEY, "budget": budget}], "prices": PRICES}


async def test_a_first_burst_is_held_by_the_dearest_target(tmp_path: Path) -> None:
    """Before one is chosen, a budget in USD reserves the dearest page of all, also where only cheap ones respond."""
    go = asyncio.Event()
    unnamed = json.dumps({"pages": [], "usage_info": {"pages_processed": 3}}).encode()
    cheap, dear = (OcrUpstream(mood=always(Behaviour(200, body=unnamed, until=go))) for _ in range(2))
    meters = ({"shape": "ocr", "model": model} for model in ("cheap", "dear"))
    text = pooled(
        *(
            target(above, meter=meter, order=order)
            for order, (above, meter) in enumerate(zip((cheap, dear), meters, strict=True))
        ),
        **keyed({"usd": 1, "per": "day"}),
    )
    async with ocr_upstreams(cheap, dear), program(tmp_path, text) as running:
        callers = [asyncio.create_task(post(running)) for _ in range(8)]
        await until(lambda: sum(caller.done() for caller in callers) == 6)
        go.set()
        answers = await asyncio.gather(*callers)
        assert [(200, None)] * 2 + [(429, "budget_spent")] * 6 == sorted(answers)
        assert (2, 0) == (len(cheap.calls), len(dear.calls))
        assert ["cheap", "cheap"] == [line["priced_as"] for line in await running.logs(8) if line["status"] == 200]


async def test_a_target_without_a_list_closes_a_budget_that_refuses_it(tmp_path: Path) -> None:
    """And opens it by a reload with a list; what cools down stays so, and another target is there with the next request."""
    above, limited = OcrUpstream(mood=WELL), OcrUpstream(mood=always(throttled("600")))
    settings = keyed({"usd": 1, "per": "month", "unpriced": "refuse"})

    def file(**more: object) -> str:
        return pooled(target(limited), target(above, id="open", order=2, **more), endpoint={"retries": 1}, **settings)

    async with ocr_upstreams(above, limited), program(tmp_path, file(meter={"price_list": "none"})) as running:
        assert (200, None) == await post(running)
        await running.logs(1)
        assert (429, "budget_unpriced") == await post(running)
        (tmp_path / "routes.yaml").write_text(file())
        await running.says("Reloaded")
        assert (200, None) == await post(running)
        assert (1, 2) == (len(limited.calls), len(above.calls))
        states = {each["deployment"]: each["cooling"] for each in (await told(running, "/deployments"))["deployments"]}
        assert {"/mistral#1": "429", "open": None} == states
        (tmp_path / "routes.yaml").write_text(pooled(target(above, id="other"), **settings))
        found = await eventually(lambda: told(running, "/deployments"), lambda found: len(found["deployments"]) == 1)
        assert ["other"] == [each["deployment"] for each in found["deployments"]]
        assert (200, None) == await post(running)
        assert 0 == await running.stop()


async def test_workers_show_the_targets_of_all(tmp_path: Path) -> None:
    """Their counts add up, whichever worker is asked."""
    above = OcrUpstream(mood=WELL)
    async with ocr_upstreams(above), program(tmp_path, pooled(target(above)), "--workers", "2") as running:
        assert {(200, None)} == set(await asyncio.gather(*(post(running) for _ in range(12))))
        (found,) = (await told(running, "/deployments"))["deployments"]
        assert ("/mistral#1", None, {"answered": 12}) == (found["deployment"], found["provider"], found["tries"])
        assert 0 == await running.stop()
