"""Costs that a gateway reports in a header, from the street: what is booked, what is flagged, and what the operator is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.harness.process import program
from tests.harness.upstream import Peer, ok, upstream

pytestmark = [pytest.mark.wire, pytest.mark.process]

ANNOTATED = {"pages": [], "model": "mistral-ocr-4-1", "document_annotation": "{}", "usage_info": {"pages_processed": 1}}
"""One annotated page: by the list it costs 0.005 USD."""

CHAT = {"model": "chat", "choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 0}, "service_tier": "priority"}

CONFIG = """
pass_through_endpoints:
  - path: /gateway
    target: http://127.0.0.1:{port}
    include_subpath: true
    forward_headers: true
    meter: {{cost_header: x-litellm-response-cost}}
  - path: /plain
    target: http://127.0.0.1:{port}
    include_subpath: true
    forward_headers: true
prices:
  - {{model: chat, usd_per_million_input_tokens: 2, usd_per_million_output_tokens: 6}}
  - {{model: chat, service_tier: flex, usd_per_million_input_tokens: 1, usd_per_million_output_tokens: 3}}
"""


async def answer(peer: Peer) -> None:
    """Answer with what the request's headers ask for."""
    while True:
        received = await peer.request()
        costs = [b"x-litellm-response-cost: " + value for value in received.values(b"X-Cost")]
        tiers = received.values(b"X-Tier")
        body = {**CHAT, "service_tier": tiers[0].decode()} if tiers else ANNOTATED
        await peer.send(ok(json.dumps(body).encode(), b"Content-Type: application/json", *costs))


NAMES = ("cost_usd", "cost_source", "unmetered")


async def test_what_a_header_reports_is_booked_or_flagged(tmp_path: Path) -> None:
    """An amount is booked, and said once where the list disagrees; anything else is flagged, and the list applies."""
    reported: list[tuple[str, tuple[Any, ...]]] = [
        ("0.004", (0.004, "x-litellm-response-cost", None)),
        ("0.005", (0.005, "x-litellm-response-cost", None)),
        ("0.0041", (0.0041, "x-litellm-response-cost", None)),
        *((bad, (0.005, "prices.yaml", "bad_cost")) for bad in ("-1", "1,5", "$0.01", "None", "")),
    ]
    async with upstream(answer) as above, program(tmp_path, CONFIG.format(port=above.port)) as running:
        async with aiohttp.ClientSession(running.url) as session:
            for cost, _ in reported:
                async with session.post("/gateway/v1/ocr", json={}, headers={"X-Cost": cost}) as response:
                    assert 200 == response.status
                    await response.read()
            async with session.post("/plain/v1/ocr", json={}, headers={"X-Cost": "None"}) as response:
                await response.read()
        lines = await running.logs(len(reported) + 1)
        expected = [*(figures for _, figures in reported), (0.005, "prices.yaml", None)]
        assert expected == [tuple(line[name] for name in NAMES) for line in lines]
        assert 0 == await running.stop()
        port = above.port
    said = "".join(running.said)
    disagree = f"127.0.0.1:{port} reported $0.004 for a response of model 'mistral-ocr-4-1' on route /gateway; by prices.yaml it "
    assert (1, 1) == (said.count(disagree), said.count("What was reported is booked."))
    code, out, _ = await running.command("usage", "--format", "json")
    total = json.loads(out)["total"]
    assert (0, 9, 0.0431) == (code, total["pages"] + total["pages_annotated"], total["cost_usd"])


@pytest.mark.parametrize(
    ("tier", "figures"),
    [("flex", (0.001, None)), ("priority", (0.002, "unpriced_tier")), ("default", (0.002, None))],
)
async def test_a_tier_without_a_row_is_flagged(tmp_path: Path, tier: str, figures: tuple[Any, ...]) -> None:
    """It is booked at the standard price; one with a row has that price, and needs no reason."""
    async with upstream(answer) as above, program(tmp_path, CONFIG.format(port=above.port)) as running:
        url = f"{running.url}/plain/v1/chat/completions"
        async with aiohttp.ClientSession() as session, session.post(url, json={}, headers={"X-Tier": tier}) as response:
            await response.read()
        (line,) = await running.logs(1)
        assert figures == (line["cost_usd"], line["unmetered"])
