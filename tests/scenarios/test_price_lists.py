"""By which list the program prices what it relays, from the street: hosts, `price_list`, the price map, cached tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.harness.process import Program, program
from tests.harness.upstream import answering, ok, upstream
from tests.harness.waiting import eventually

pytestmark = [pytest.mark.wire, pytest.mark.process]

CACHED = {
    "id": "1",
    "object": "chat.completion",
    "model": "mistral-large-latest",
    "choices": [],
    "usage": {
        "prompt_tokens": 1013,
        "total_tokens": 1043,
        "completion_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 1008},
    },
}
OCR = {"pages": [], "model": "mistral-ocr-9", "usage_info": {"pages_processed": 2, "doc_size_bytes": 1}}


def responding(body: dict[str, Any]) -> Any:
    """Return an upstream that answers every request with a JSON body."""
    return answering(ok(json.dumps(body).encode(), b"Content-Type: application/json"))


async def spent(running: Program, path: str, number: int) -> tuple[Any, Any, Any]:
    """Send one POST; return cost, source and reason of log line `number`."""
    async with aiohttp.ClientSession() as session, session.post(running.url + path, data=b"{}") as answer:
        assert 200 == answer.status
        await answer.read()
    line = (await running.logs(number))[-1]
    return line["cost_usd"], line["cost_source"], line["unmetered"]


async def test_cached_tokens_and_the_list_of_a_route(tmp_path: Path) -> None:
    """A call with cached tokens costs what Mistral's documentation says; on a route without a list it is unpriced."""
    async with upstream(responding(CACHED)) as raw:
        routes = (("/gateway", ""), ("/off", "meter: {price_list: none}"), ("/own", "meter: {price_list: none}, prices: [OWN]"))
        text = "pass_through_endpoints:\n" + "".join(
            f"- {{path: {path}, target: 'http://127.0.0.1:{raw.port}', include_subpath: true, {more}}}\n" for path, more in routes
        )
        own = "{model: mistral-large-2512, usd_per_million_input_tokens: 1, usd_per_million_output_tokens: 2}"
        async with program(tmp_path, text.replace("OWN", own)) as running:
            chat = "/v1/chat/completions"
            assert (0.0000979, "prices.yaml", None) == await spent(running, "/gateway" + chat, 1)
            assert (None, None, "unpriced") == await spent(running, "/off" + chat, 2)
            assert (0.001073, "routes.yaml", None) == await spent(running, "/own" + chat, 3)
            assert 0 == await running.stop()
        host = f"127.0.0.1:{raw.port}"
        expected = f"Prices: Mistral's list for /gateway/* (not a known host: {host}); no list for /off/*, /own/*."
        assert expected in "".join(running.said)


async def test_the_price_map_is_read_again(tmp_path: Path) -> None:
    """A model that no list has is priced by the map; a new map is found, and a broken one leaves the last in force."""
    price_map = tmp_path / "map.json"

    def costs(usd: str) -> str:
        row = '{"mistral/mistral-ocr-9": {"litellm_provider": "mistral", "ocr_cost_per_page": USD}}'
        return row.replace("USD", usd)

    price_map.write_text(costs("6.1e-03"))
    async with upstream(responding(OCR)) as raw:
        text = f"pass_through_endpoints: [{{path: /ocr, target: 'http://127.0.0.1:{raw.port}/ocr'}}]\nprice_map: map.json\n"
        async with program(tmp_path, text) as running:
            assert (0.0122, "price_map", None) == await spent(running, "/ocr", 1)
            price_map.write_text(costs("0.0000015"))
            number = 1

            async def cost() -> float:
                nonlocal number
                number += 1
                return float((await spent(running, "/ocr", number))[0])

            await eventually(cost, lambda found: found == 0.000003)
            price_map.write_text("{")
            async with aiohttp.ClientSession() as session:

                async def degraded() -> dict[str, str]:
                    async with session.get(f"http://127.0.0.1:{running.admin_port}/readyz") as answer:
                        return dict((await answer.json())["degraded"])

                said = await eventually(degraded, lambda found: "reload" in found)
            assert "price_map map.json: This is not JSON: line 1, column 2." in said["reload"]
            assert 0.000003 == await cost()
            assert 0 == await running.stop()
