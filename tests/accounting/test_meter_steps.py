"""The steps of a request at the level `debug`: by its id, in their order, without a secret, and none at any other level."""

from __future__ import annotations

import json
import re
from pathlib import Path

import aiohttp
import pytest

from tests.harness.ports import free_port
from tests.harness.process import Program, program
from tests.harness.upstream import Peer, answering, ok, upstream

pytestmark = [pytest.mark.wire, pytest.mark.process]

KEY = "canary-key-of-invoices"
COUNTED = json.dumps({"pages": [], "model": "mistral-ocr-2512", "usage_info": {"pages_processed": 3}}).encode()


def routed(port: int, *, down: int) -> str:
    """Return a configuration: a route, and an endpoint whose first target is down."""
    url, headers = f"http://127.0.0.1:{port}", {"Authorization": "Bearer canary-key-of-provider"}
    one = {"path": "/one", "target": f"{url}?key=canary", "include_subpath": True, "headers": headers}
    targets = [{"target": f"http://127.0.0.1:{down}", "id": "down", "order": 1}, {"target": url, "id": "well", "order": 2}]
    pool = {"path": "/pool", "include_subpath": True, "targets": [{**each, "headers": headers} for each in targets]}
    clients = [{"name": "invoices", "key": KEY}]
    return json.dumps({"pass_through_endpoints": [one, pool], "client_keys": clients, "ledger": "none"})


async def post(running: Program, path: str, key: str = KEY) -> None:
    """Send one OCR request."""
    headers = {"Authorization": f"Bearer {key}", "X-Canary": "canary"}
    url = f"{running.url}{path}?token=canary"
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, json={"canary": 1}) as response:
        await response.read()


def steps_of(running: Program, id_: str) -> list[str]:
    """Return what stderr says of a request, without its id, figures as `#`."""
    lines = re.findall(rf"{id_} (.+)", "".join(running.said))
    return [re.sub(r"\d+\.\d+ s|127\.0\.0\.1:\d+", "#", line) for line in lines]


async def test_the_steps_are_said_at_debug(tmp_path: Path) -> None:
    """Head, route and client, target and connection, response, end, what the meter found; a failed try and a refusal, too."""
    down = free_port()
    async with (
        upstream(answering(ok(COUNTED))) as above,
        program(tmp_path, routed(above.port, down=down), "--log-level", "debug") as running,
    ):
        await post(running, "/one/v1/ocr")
        await running.logs(1)
        await post(running, "/one/v1/ocr")
        await running.logs(2)
        await post(running, "/pool/v1/ocr")
        await running.logs(3)
        await post(running, "/one/v1/ocr", key="wrong")
        first, second, pooled, refused = [line["id"] for line in await running.logs(4)]
        assert 0 == await running.stop()
    found = "metered: 3 pages, mistral-ocr-2512, $0.006"
    expected = [
        "POST /one/v1/ocr",
        "route /one, client invoices",
        "try 1: #, a new connection",
        "response 200 after #",
        "completed: 200, 13 bytes up, 80 down, #",
        found,
    ]
    assert expected == steps_of(running, first)
    assert "try 1: #, a kept connection" == steps_of(running, second)[2]
    assert [
        "POST /pool/v1/ocr",
        "route /pool, client invoices",
        "the try has failed: down: connection refused",
        "try 2: # (well), a kept connection",
        "response 200 after #",
        "completed (down: connection refused): 200, 2 tries, 13 bytes up, 80 down, #",
        found,
    ] == steps_of(running, pooled)
    assert ["POST /one/v1/ocr", "refused (unknown client key): 401, 0 bytes up, 0 down, #", "metered: nothing"] == steps_of(
        running, refused
    )
    assert "canary" not in "".join(running.said)


async def test_a_retry_has_a_step_and_a_long_path_is_cut(tmp_path: Path) -> None:
    """The response that was not relayed; a stranger's path of 15,000 bytes as long as in the log."""
    statuses = iter([b"429 Slow Down", b"200 OK"])

    async def busy(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(ok(status=next(statuses)))

    async with upstream(busy) as above:
        route = {"path": "/one", "target": f"http://127.0.0.1:{above.port}", "include_subpath": True, "retries": 1}
        text = json.dumps({"pass_through_endpoints": [route], "ledger": "none"})
        async with program(tmp_path, text, "--log-level", "debug") as running:
            await post(running, "/one/x")
            await running.logs(1)
            await post(running, "/" + "a" * 15_000)
            tried, stranger = await running.logs(2)
            assert 0 == await running.stop()
    assert ["try 1: #, a new connection", "try 1: 429, tried again", "try 2: #, a new connection"] == steps_of(
        running, tried["id"]
    )[2:5]
    assert f"POST {stranger['path']}" == steps_of(running, stranger["id"])[0]
    assert (2000, "…") == (len(stranger["path"]), stranger["path"][-1])


AN_IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


async def test_libraries_say_nothing_at_debug(tmp_path: Path) -> None:
    """Theirs may hold documents, addresses and tokens: here they read an image, and turn a request down."""
    async with program(tmp_path, None, "--sandbox", "--log-level", "debug") as running:
        for model, status in (("mistral-ocr-latest", 200), ("nope", 400)):
            body = {"model": model, "document": {"type": "image_url", "image_url": AN_IMAGE}}
            async with aiohttp.ClientSession() as session, session.post(f"{running.url}/mistral/v1/ocr", json=body) as response:
                assert status == response.status, await response.text()
        _, refused = await running.logs(2)
        assert 0 == await running.stop()
    assert "upstream code 1500" in steps_of(running, refused["id"])[-1]
    debugged = [line for line in "".join(running.said).splitlines() if " DEBUG " in line]
    assert [] == [line for line in debugged if not re.search(" DEBUG [0-9a-f]{32} ", line)]


async def test_nothing_is_said_otherwise(tmp_path: Path) -> None:
    """At the usual level."""
    async with upstream(answering(ok(COUNTED))) as above, program(tmp_path, routed(above.port, down=1)) as running:
        await post(running, "/one/v1/ocr")
        (line,) = await running.logs(1)
        assert 0 == await running.stop()
    assert [] == steps_of(running, line["id"])
