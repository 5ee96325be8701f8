"""Slow and many: a head has a deadline, connections and a client's requests a limit; who is refused is told when to come back."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from passthrough.proxy.auth import ClientKey
from tests.harness.client import asking, client
from tests.harness.proxy import road, route_to
from tests.harness.upstream import Peer, RawUpstream, answering, ok, upstream
from tests.harness.waiting import until

pytestmark = pytest.mark.wire

KEY = b"pt-a-key-of-some-length"
TEAM = ClientKey("team", hashlib.sha256(KEY).digest(), max_parallel=2)
POST = asking(b"POST /v1/ocr HTTP/1.1", b"Content-Length: 2", b"Authorization: Bearer " + KEY) + b"{}"


@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\nHost: a\r\nX", b"\r\n"])
async def test_a_head_that_trickles_is_ended(begun: bytes) -> None:
    """A head that has begun must end in time; else it is refused, and the connection closes."""
    async with road(head_s=0.1) as house, client(house.port) as caller:
        await caller.send(begun)
        answer = await caller.rest()
        assert b"HTTP/1.1 408 Request Timeout" == answer.split(b"\r\n")[0]
        assert b"X-Passthrough-Error: slow_request" in answer
        assert ["slow_request"] == [exchange.error for exchange in await house.booked()]


@pytest.mark.faults
async def test_a_head_in_pieces_and_a_pause_between_requests_are_not_slow() -> None:
    """The deadline is for one head: it ends with the head, and the next one's begins with its first byte."""
    async with upstream(answering(ok())) as raw, road(route_to(raw.port), head_s=3) as house, client(house.port) as caller:
        for pause_s in (3.2, 0):
            for piece in (b"GET / HT", b"TP/1.1\r\nHo", b"st: a\r\n\r\n"):
                await caller.send(piece)
                await asyncio.sleep(0.05)  # within the deadline, also on a machine that stops for seconds
            assert b"200" == (await caller.answer())[0][9:12]
            await asyncio.sleep(pause_s)  # beyond it, without a byte


@asynccontextmanager
async def waiting() -> AsyncIterator[tuple[RawUpstream, asyncio.Event]]:
    """Run an upstream that responds when it is told to."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await go.wait()
            await peer.send(ok())

    async with upstream(script) as raw:
        yield raw, go


async def test_too_many_connections_are_told_to_come_back() -> None:
    """While all others are served, one beyond the limit gets a 503 with Retry-After and is closed; its slot is released."""
    async with waiting() as (raw, go), road(route_to(raw.port), max_connections=2) as house:
        async with client(house.port) as first, client(house.port) as second:
            for caller in (first, second):
                await caller.send(asking())
            await until(lambda: len(house.relay.active) == 2)
            async with client(house.port) as third:
                answer = await third.rest()
                assert b"HTTP/1.1 503 Service Unavailable" == answer.split(b"\r\n")[0]
                assert b"\r\nRetry-After: 1\r\n" in answer
                assert b"X-Passthrough-Error: overloaded" in answer
            go.set()
            for caller in (first, second):
                assert b"200" == (await caller.answer())[0][9:12]
        await until(lambda: not house.listener.connections)
        async with client(house.port) as fourth:
            await fourth.send(asking())
            assert b"200" == (await fourth.answer())[0][9:12]


async def test_a_client_has_only_so_many_requests_under_way() -> None:
    """What is too many is 429 with Retry-After, before a byte goes up; when one ends, another may come."""
    async with waiting() as (raw, go), road(route_to(raw.port), clients=[TEAM]) as house:
        async with client(house.port) as first, client(house.port) as second, client(house.port) as third:
            await first.send(POST)
            await second.send(POST)
            await until(lambda: len(raw.received) == 2)
            await third.send(POST)
            head, _ = await third.answer()
            assert b"HTTP/1.1 429 Too Many Requests" == head.split(b"\r\n")[0]
            assert b"\r\nRetry-After: 1\r\n" in head
            assert b"X-Passthrough-Error: too_many_parallel" in head
            go.set()
            assert b"200" == (await first.answer())[0][9:12]
            await third.send(POST)
            assert b"200" == (await third.answer())[0][9:12]
        refused = [exchange for exchange in await house.booked(4) if exchange.error]
        assert [("too_many_parallel", True, "team")] == [(each.error, each.admitted, each.client) for each in refused]
        assert 3 == len(raw.received)


async def test_a_call_that_settles_counts_on() -> None:
    """A client that leaves does not get its slot back before the provider has done its work."""
    async with waiting() as (raw, go), road(route_to(raw.port), clients=[TEAM]) as house:
        for _ in range(2):
            async with client(house.port) as gone:
                before = len(raw.received)
                await gone.send(POST)
                await until(lambda before=before: len(raw.received) > before)
        await until(lambda: not house.relay.active)
        async with client(house.port) as caller:
            await caller.send(POST)
            assert b"429" == (await caller.answer())[0][9:12]
            go.set()
            await house.settling.drained()
            await caller.send(POST)
            assert b"200" == (await caller.answer())[0][9:12]
