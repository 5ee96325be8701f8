"""Clients that leave a chat: what the provider bills is booked, so that a budget holds them as it holds the others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.harness.budgets import KEY
from tests.harness.client import asking, client
from tests.harness.process import Program, program
from tests.harness.upstream import Peer, RawUpstream, chunk, ok, upstream
from tests.harness.waiting import until

pytestmark = [pytest.mark.wire, pytest.mark.process]

CALLS = 5
USAGE = {"prompt_tokens": 600, "completion_tokens": 200}
COST_USD = 0.00021
WHOLE = json.dumps({"model": "mistral-small-2603", "choices": [], "usage": USAGE}).encode()
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
WORD = chunk(b'data: {"model":"mistral-small-2603","choices":[{"delta":{"content":"a"}}]}\n\n')
TOLD = chunk(b"data: " + WHOLE + b"\n\n")
DONE = chunk(b"data: [DONE]\n\n") + chunk(b"")


def configured(port: int, *, more: str = "") -> str:
    """Return a configuration with one route, `more` keys of it, and a budget that is less than one call costs."""
    return f"""
pass_through_endpoints:
  - path: /mistral
    target: http://127.0.0.1:{port}
    include_subpath: true
    headers: {{Authorization: Bearer upstream}}
    {more}
client_keys:
  - {{name: team, key: {KEY}, budget: {{usd: 0.0001, per: day}}}}
prices:
  - {{model: mistral-small-2603, usd_per_million_input_tokens: 0.15, usd_per_million_output_tokens: 0.6}}
"""


@dataclass(slots=True)
class Provider:
    """A provider of chats: sends `first` at once, and `rest` when the client has left."""

    first: bytes
    rest: bytes
    left: asyncio.Event = field(default_factory=asyncio.Event)
    ended: int = 0

    async def script(self, peer: Peer) -> None:
        """Serve the requests of one connection; note where it ended instead of taking the rest."""
        while True:
            await peer.request()
            await peer.send(self.first)
            left, ended = asyncio.ensure_future(self.left.wait()), asyncio.ensure_future(peer.ended())
            await asyncio.wait({left, ended}, return_when=asyncio.FIRST_COMPLETED)
            left.cancel()
            if ended.done():
                self.ended += 1
                return
            ended.cancel()
            await asyncio.wait({ended})
            self.left.clear()
            await peer.send(self.rest)


@asynccontextmanager
async def serving(folder: Path, provider: Provider, **settings: str) -> AsyncIterator[tuple[Program, RawUpstream]]:
    """Run the program in front of the provider."""
    async with upstream(provider.script) as above, program(folder, configured(above.port, **settings)) as running:
        yield running, above


async def leave(running: Program, above: RawUpstream, provider: Provider) -> dict[str, Any]:
    """Ask for a chat and leave when the provider has the request; return the log's line."""
    known, lines = len(above.received), len(running.log)
    body = b'{"model":"mistral-small-2603","messages":[]}'
    fields = f"Authorization: Bearer {KEY}".encode()
    async with client(running.port) as raw:
        await raw.send(asking(b"POST /mistral/v1/chat/completions HTTP/1.1", fields, body=body))
        await until(lambda: len(above.received) > known or len(running.log) > lines)
        if provider.first and len(above.received) > known:
            await raw.head()
            await raw.reader.readuntil(b"\n\n")
        raw.reset()
    if provider.rest:
        provider.left.set()
    return (await running.logs(lines + 1))[lines]


@pytest.mark.parametrize(
    ("provider", "client_gone"),
    [
        (Provider(b"", ok(WHOLE)), ""),
        (Provider(b"", SSE + WORD + TOLD + DONE), "client_gone: settle"),
        (Provider(SSE + WORD, WORD + TOLD + DONE), "client_gone: settle"),
    ],
    ids=["a whole response", "a stream, left before its head", "a stream"],
)
async def test_a_chat_that_is_read_to_its_end_is_charged(tmp_path: Path, provider: Provider, client_gone: str) -> None:
    """The first of five costs more than the budget: it is booked, and the others are refused."""
    async with serving(tmp_path, provider, more=client_gone) as (running, above):
        lines = [await leave(running, above, provider) for _ in range(CALLS)]
        assert 1 == len(above.received)
        first = {
            name: lines[0][name] for name in ("outcome", "tokens_in", "tokens_out", "cost_usd", "unmetered", "estimated_usd")
        }
        assert first == {
            "outcome": "client_gone",
            "tokens_in": 600,
            "tokens_out": 200,
            "cost_usd": COST_USD,
            "unmetered": None,
            "estimated_usd": None,
        }
        assert ["budget_spent"] * (CALLS - 1) == [line["error"] for line in lines[1:]]


@pytest.mark.parametrize(
    ("first", "tokens", "cost_usd"), [(SSE + WORD + TOLD, (600, 200), COST_USD), (SSE + WORD, (None, None), None)]
)
async def test_a_stream_that_is_given_up_is_charged_or_estimated(
    tmp_path: Path, first: bytes, tokens: tuple[int | None, int | None], cost_usd: float | None
) -> None:
    """Its connection is closed at once; what it told is booked, and what it did not tell is estimated: the budget is used up."""
    provider = Provider(first, b"")
    async with serving(tmp_path, provider) as (running, above):
        lines = [await leave(running, above, provider) for _ in range(CALLS)]
        await until(lambda: provider.ended == 1)
        assert 1 == len(above.received)
        told = lines[0]
        assert ("client_gone", "cancelled") == (told["outcome"], told["unmetered"])
        assert (*tokens, cost_usd) == (told["tokens_in"], told["tokens_out"], told["cost_usd"])
        assert (told["cost_usd"] or 0) + (told["estimated_usd"] or 0) > 0.0001
        assert (None, ["budget_spent"] * (CALLS - 1)) == (told["estimated_pages"], [line["error"] for line in lines[1:]])


async def test_a_stream_of_another_api_is_estimated_before_its_first_event(tmp_path: Path) -> None:
    """It may be billed, although nothing in it has shown that it is JSON."""
    provider = Provider(SSE + chunk(b": working\n\n"), b"")
    meter = "meter: {shape: json, tokens_in: usage.in, tokens_out: usage.out, model: mistral-small-2603}"
    async with serving(tmp_path, provider, more=meter) as (running, above):
        lines = [await leave(running, above, provider) for _ in range(CALLS)]
        await until(lambda: provider.ended == 1)
        assert 1 == len(above.received)
        assert ("client_gone", "cancelled", None) == tuple(lines[0][name] for name in ("outcome", "unmetered", "tokens_in"))
        assert lines[0]["estimated_usd"] > 0.0001
        assert ["budget_spent"] * (CALLS - 1) == [line["error"] for line in lines[1:]]
