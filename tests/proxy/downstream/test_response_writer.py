"""The client's half: slow clients, clients that leave, broken responses, also under TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
import trustme

from passthrough.exchange import Outcome
from passthrough.proxy.routes import Timeouts
from tests.harness.client import asking, client
from tests.harness.proxy import road, route_to, street
from tests.harness.upstream import Peer, answering, chunk, ok, upstream
from tests.harness.waiting import until

pytestmark = pytest.mark.wire

CUT = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf"


@pytest.mark.faults
async def test_a_client_that_takes_nothing_is_given_up() -> None:
    """A client that does not read for longer than the idle time-out is broken off: its answer must not hold a call for ever."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(bytes(60_000_000)))
        await peer.ended()

    async with street(script, timeouts=Timeouts(idle_s=2)) as (house, _), client(house.port) as raw:
        await raw.send(asking())
        exchange = (await house.booked())[0]
        assert (Outcome.CLIENT_GONE, 200) == (exchange.outcome, exchange.status)
        assert await raw.broken()


@pytest.mark.faults
async def test_a_client_that_reads_slowly_is_not_given_up() -> None:
    """The idle time-out counts from the last byte that was taken, not over the whole of a large piece."""
    size = 12_000_000

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(bytes(size)))
        await peer.ended()

    async with street(script, timeouts=Timeouts(idle_s=3)) as (house, _), client(house.port) as raw:
        await raw.send(asking())
        await raw.head()
        for _ in range(12):
            assert bytes(size // 12) == await raw.reader.readexactly(size // 12)
            await asyncio.sleep(0.3)  # in all longer than the time-out, each far shorter
        assert Outcome.COMPLETED == (await house.booked())[0].outcome


@pytest.mark.faults
async def test_a_client_that_takes_less_than_the_buffers_hold_is_not_given_up() -> None:
    """What counts is that the client takes anything: the kernel's buffers are large, and slow to drain."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(b"x" * 30_000_000))

    async with street(script, timeouts=Timeouts(idle_s=3)) as (house, _):
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            raw.connect(("127.0.0.1", house.port))
            raw.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(raw, asking())
            for _ in range(12):
                assert await loop.sock_recv(raw, 8192)
                await asyncio.sleep(0.3)  # the slowness that is tested
            assert [] == house.exchanges
        await house.booked()
    assert Outcome.CLIENT_GONE == house.exchanges[0].outcome


@pytest.mark.parametrize("line", [b"GET / HTTP/1.0", b"GET / HTTP/1.1"])
async def test_under_tls_a_cut_answer_has_no_clean_end(line: bytes) -> None:
    """Neither a last chunk nor TLS's own end (close_notify) closes a response that broke; a whole one is closed cleanly."""
    half = asyncio.Event()
    authority = trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(served)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trusting)

    async def script(peer: Peer) -> None:
        received = await peer.request()
        if b"cut" in received.raw_head:
            await peer.send(CUT)
            await half.wait()
            peer.reset()
        else:
            await peer.send(ok(b"whole"))

    async with upstream(script) as above, road(route_to(above.port), tls=served) as house:
        for field, outcome in ((b"X: whole", Outcome.COMPLETED), (b"X: cut", Outcome.UPSTREAM_FAILED)):
            async with client(house.port, ssl=trusting, server_hostname="localhost") as raw:
                await raw.send(asking(line, field, b"Connection: close"))
                if outcome is Outcome.COMPLETED:
                    assert (await raw.rest()).endswith(b"whole")
                else:
                    assert (await raw.reader.readuntil(b"half")).endswith(b"half")
                    half.set()
                    assert await raw.broken()
            assert outcome == (await house.booked(len(house.exchanges) or 1))[-1].outcome
            await house.quiet()
        assert 2 == len(house.exchanges)


@pytest.mark.parametrize("half", [True, False])
async def test_a_client_that_leaves_while_a_connection_is_opened(half: bool) -> None:
    """Nothing was sent yet: nothing is, and the exchange ends as gone. A half-close is a leave."""

    async def script(peer: Peer) -> None:
        await peer.ended()

    settings = {"target": {"tls": True}}
    async with street(script, **settings) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", body=b"{}"))
        await until(lambda: above.connections == 1)
        if half:
            raw.writer.write_eof()
        else:
            raw.reset()
        exchange = (await house.booked())[0]
        assert (Outcome.CLIENT_GONE, None) == (exchange.outcome, exchange.status)


async def test_a_refusal_that_the_client_does_not_wait_for() -> None:
    """A client that resets while it is refused costs one exchange and nothing else."""
    async with street(answering(ok())) as (house, _):
        for _ in range(20):
            async with client(house.port) as raw:
                raw.writer.write(asking(b"GET /../ HTTP/1.1"))
                raw.reset()
        await house.quiet()
        assert len(house.exchanges) <= 20
        assert {"bad_request"} >= {exchange.error for exchange in house.exchanges}


async def test_half_an_answer_does_not_end_cleanly_for_a_client_that_closed_its_side() -> None:
    """To HTTP/1.0 the end of the connection is the end of the response: a client that half-closes is reset instead."""
    begun = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CUT)
        await begun.wait()
        await peer.ended()

    async with street(script) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"GET / HTTP/1.0"))
        await raw.head()
        assert b"half" == await raw.reader.readexactly(4)
        raw.writer.write_eof()
        begun.set()
        assert await raw.broken()
        assert Outcome.CLIENT_GONE == (await house.booked())[0].outcome


async def test_an_early_answer_without_a_length_ends_although_the_upload_does_not() -> None:
    """An HTTP/1.0 client sees the end of a chunked 413 at once, not after the linger for the rest of its upload."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Content Too Large\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"no") + chunk(b""))
        await peer.ended()

    async with street(script) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST / HTTP/1.0", b"Content-Length: 1000"))
        assert b"no" == (await raw.answer())[1]
        assert 1 == len(house.listener.connections)  # It lingers: the response's end was not that of the connection.
        assert Outcome.COMPLETED == (await house.booked())[0].outcome


async def test_an_answer_is_not_torn_by_the_break_of_the_next() -> None:
    """Two requests in a row: what a slow client has not read of the whole first response survives the break of the second."""
    first = bytes(range(256)) * 5000

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(first))
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    async with street(script) as (house, _), client(house.port) as raw:
        await raw.send(asking() + asking())
        await house.booked(2)
        assert first == (await raw.answer())[1]
        assert (await raw.rest()).endswith(b"half")
        assert [Outcome.COMPLETED, Outcome.UPSTREAM_FAILED] == [exchange.outcome for exchange in house.exchanges]
