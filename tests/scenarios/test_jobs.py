"""Jobs from the street: a result that is read again is booked once, over whichever route, by whom and in which format."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.harness.process import Program, program
from tests.harness.upstream import Peer, ok, upstream

pytestmark = [pytest.mark.wire, pytest.mark.process]

KEYS = {"ada": "ada-" + "k" * 40, "bob": "bob-" + "k" * 40}
CONFIG = """client_keys: [{{name: ada, key: {ada}}}, {{name: bob, key: {bob}}}]
pass_through_endpoints:
  - path: /llama
    target: 'http://127.0.0.1:{port}'
    include_subpath: true
    meter: {{shape: json, pages: meta.pages, when: {{status: [SUCCESS, PARTIAL]}}, once: '/job/{{}}/', model: llama}}
  - path: /other
    target: 'http://127.0.0.1:{port}'
    include_subpath: true
    meter: {{shape: json, pages: meta.pages, when: {{status: [SUCCESS, PARTIAL]}}, once: [job.id, '/job/{{}}/'], model: llama}}
  - path: /elsewhere
    target: 'http://127.0.0.1:{port}'
    include_subpath: true
    meter: {{shape: json, pages: meta.pages, once: job.id, model: llama, account: another}}
  - path: /router
    target: 'http://127.0.0.1:{port}'
    include_subpath: true
    meter: {{shape: json, credits: usage.cost, tokens_in: usage.in, model: router}}
prices:
  - {{model: llama, usd_per_1000_pages: 3}}
  - {{model: router, usd_per_credit: 1}}
"""
DONE = {"status": "SUCCESS", "meta": {"pages": 12}}
ANSWERS: Mapping[str, tuple[bytes, bytes]] = {
    "/job/a/result/json": (json.dumps(DONE).encode(), b"application/json"),
    "/job/a/result/markdown": (json.dumps(DONE | {"status": "PARTIAL", "md": "# A"}).encode(), b"application/json"),
    "/job/a/result/text": (b"# A", b"text/plain"),
    "/results": (json.dumps(DONE | {"job": {"id": "a"}}).encode(), b"application/json"),
    "/job/b/result/json": (json.dumps(DONE | {"status": "PENDING"}).encode(), b"application/json"),
    "/job/e/result/json": (json.dumps(DONE).encode(), b"application/json"),
    "/job/f/result/json": (json.dumps(DONE).encode(), b"application/json"),
    "/job/c/result/json": (json.dumps(DONE).encode() + b"{}", b"application/json"),
    "/job/d/result/json": (json.dumps(DONE | {"meta": {"pages": "0"}}).encode(), b"application/json"),
    "/chat": (
        b'data: {"usage":{"in":9}}\n\ndata: {"usage":{"in":9,"cost":0.00000164}}\n\ndata: [DONE]\n\n',
        b"text/event-stream",
    ),
}


async def provider(peer: Peer) -> None:
    """Answer each path as ANSWERS says."""
    while True:
        asked = await peer.request()
        body, content_type = ANSWERS[asked.line.split()[1].decode()]
        await peer.send(ok(body, b"Content-Type: " + content_type))


async def read(started: Program, client: str, path: str, method: str = "GET") -> int:
    """Send a request as this client; return the status."""
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEYS[client]}"}) as session,
        session.request(method, started.url + path) as answer,
    ):
        await answer.read()
        return answer.status


def charges(folder: Path) -> list[tuple[Any, ...]]:
    """Return what was booked, in its order: path, client, pages, credits, cost and line."""
    with closing(sqlite3.connect(folder / "passthrough.db")) as database:
        asked = (
            "SELECT path, client, c.pages, c.credits, c.cost_nano, c.line FROM charges c JOIN exchanges e ON e.id = c.exchange_id"
            " ORDER BY e.id"
        )
        return database.execute(asked).fetchall()


async def test_a_jobs_result_is_booked_once(tmp_path: Path) -> None:
    """Read in two formats, by two clients, over two routes, and after a restart; another account has jobs of its own."""
    async with upstream(provider) as above:
        config = CONFIG.format(port=above.port, **KEYS)
        async with program(tmp_path, config) as started:
            for client, path in (
                ("ada", "/llama/job/a/result/json"),
                ("bob", "/llama/job/a/result/json"),
                ("ada", "/llama/job/a/result/markdown"),
                ("bob", "/llama/job/a/result/text"),
                ("bob", "/other/results"),
                ("bob", "/elsewhere/results"),
                ("ada", "/llama/job/b/result/json"),
                ("ada", "/llama/job/c/result/json"),
                ("ada", "/llama/job/d/result/json"),
            ):
                assert 200 == await read(started, client, path)
            first = await started.logs(9)
            assert 0 == await started.stop()
        async with program(tmp_path, None) as started:
            assert 200 == await read(started, "bob", "/other/job/a/result/json")
            second = await started.logs(1)
            assert 0 == await started.stop()
    assert [
        ("/llama/job/a/result/json", "ada", 12, None, 36_000_000, "once/a"),
        ("/elsewhere/results", "bob", 12, None, 36_000_000, "once/a"),
        ("/llama/job/d/result/json", "ada", 0, None, 0, ""),
    ] == charges(tmp_path)
    logged = sorted((line["path"], line["client"], line["pages"], line["unmetered"]) for line in (*first, *second))
    assert [
        ("/elsewhere/results", "bob", 12, None),
        ("/llama/job/a/result/json", "ada", 12, None),
        ("/llama/job/a/result/json", "bob", 0, None),
        ("/llama/job/a/result/markdown", "ada", 0, None),
        ("/llama/job/a/result/text", "bob", None, None),
        ("/llama/job/b/result/json", "ada", None, None),
        ("/llama/job/c/result/json", "ada", None, "not_json"),
        ("/llama/job/d/result/json", "ada", 0, None),
        ("/other/job/a/result/json", "bob", 0, None),
        ("/other/results", "bob", 0, None),
    ] == logged


async def test_credits_are_booked_to_the_nano_dollar(tmp_path: Path) -> None:
    """A stream's last event has the cost: $0.00000164, not $0.000002."""
    async with upstream(provider) as above, program(tmp_path, CONFIG.format(port=above.port, **KEYS)) as started:
        assert 200 == await read(started, "ada", "/router/chat", "POST")
        (line,) = await started.logs(1)
        assert 0 == await started.stop()
    assert [("/router/chat", "ada", None, "0.00000164", 1640, "")] == charges(tmp_path)
    assert (9, 1.64e-06, None) == (line["tokens_in"], line["cost_usd"], line["unmetered"])


async def test_a_budget_counts_a_jobs_result_once(tmp_path: Path) -> None:
    """It is not spent by reading; the pages of another job are what is beyond it."""
    async with upstream(provider) as above:
        config = CONFIG.format(port=above.port, **KEYS) + "budget: {pages: 30, per: day}\n"
        async with program(tmp_path, config) as started:
            for number in range(6):
                assert 200 == await read(started, "ada", "/llama/job/a/result/json")
                await started.logs(number + 1)
            assert 200 == await read(started, "ada", "/llama/job/e/result/json")
            await started.logs(7)
            assert 200 == await read(started, "ada", "/llama/job/f/result/json")
            await started.logs(8)
            assert 429 == await read(started, "bob", "/llama/job/a/result/json")
            assert 0 == await started.stop()
    assert [("once/a", 12), ("once/e", 12), ("once/f", 12)] == [(line, pages) for _, _, pages, *_, line in charges(tmp_path)]
