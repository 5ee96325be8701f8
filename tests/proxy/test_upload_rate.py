"""An upload that trickles ends; only the time counts in which it is read."""

from __future__ import annotations

import asyncio
import json

import pytest

from passthrough.exchange import Outcome
from passthrough.proxy.upload_rate import UploadRate
from tests.harness.client import client
from tests.harness.proxy import street
from tests.harness.upstream import Peer, ok
from tests.harness.waiting import until

pytestmark = pytest.mark.wire

HEADS = {
    "length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n",
    "chunked": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX: %d\r\n\r\n",
}


async def resume(peer: Peer) -> None:
    """A target that takes all and responds."""
    await peer.request()
    await peer.send(ok())


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the rate over a part of a second instead of a minute."""
    monkeypatch.setattr("passthrough.proxy.upload_rate.WINDOW_S", 0.3)


@pytest.mark.parametrize("framing", HEADS)
@pytest.mark.parametrize("begun", [1, 300_000])
async def test_an_upload_that_trickles_ends(framing: str, begun: int) -> None:
    """A byte now and then keeps within the time-out between two pieces, and is told in the end what is wanted of it."""
    async with street(resume) as (house, _), client(house.port) as raw:

        def piece(size: int) -> bytes:
            return b"%x\r\n%b\r\n" % (size, bytes(size)) if framing == "chunked" else bytes(size)

        await raw.send(HEADS[framing] % 10**6, piece(begun))
        answer = asyncio.ensure_future(raw.answer())
        while not answer.done():
            try:
                await raw.send(piece(1))
            except ConnectionError:
                break
            await asyncio.wait({answer}, timeout=0.02)
        head, body = await answer
        assert (b"HTTP/1.1 408 Request Timeout", "slow_request") == (head.splitlines()[0], json.loads(body)["code"])
        assert "min_upload_rate" in json.loads(body)["hint"]
    assert [(Outcome.REFUSED, "slow_request")] == [(each.outcome, each.error) for each in house.exchanges]


@pytest.mark.parametrize("rate", [None, 1])
async def test_a_rate_that_is_allowed(rate: int | None) -> None:
    """Where any rate is, or so low a one, a slow body arrives."""
    async with street(resume, min_upload_rate=rate) as (house, above), client(house.port) as raw:
        await raw.send(HEADS["length"] % 40)
        for _ in range(40):
            await raw.send(b"a")
            await asyncio.sleep(0.02)
        head, _ = await raw.answer()
        assert head.startswith(b"HTTP/1.1 200")
        assert [b"a" * 40] == [request.body for request in above.received]


async def test_a_target_that_takes_nothing_is_not_the_clients_fault() -> None:
    """While it is waited for, the clock stands still."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await go.wait()
        await resume(peer)

    size = 30_000_000
    async with street(script) as (house, _), client(house.port) as raw:
        sending = asyncio.ensure_future(raw.send(HEADS["length"] % size, bytes(size)))
        await until(lambda: len(house.relay.active) == 1)
        await asyncio.sleep(1)
        go.set()
        await sending
        head, _ = await raw.answer()
        assert head.startswith(b"HTTP/1.1 200")


async def test_a_piece_that_comes_with_the_verdict_does_not_lift_it() -> None:
    """It ends the wait before the verdict can; the next wait is ended at once."""
    verdicts: list[None] = []
    rate = UploadRate(asyncio.get_running_loop(), 100, lambda: 1, lambda: verdicts.append(None))
    rate.resume()
    await until(lambda: bool(verdicts))
    rate.pause()
    assert 1 == len(verdicts)
    rate.resume()
    assert 2 == len(verdicts)
    rate.close()
