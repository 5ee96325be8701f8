"""A body that goes on where it arrives: whole and in order, metered, and no faster than its client."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

import pytest

from passthrough.exchange import Outcome
from passthrough.proxy.routes import Timeouts
from passthrough.proxy.upstream.connection import Connection
from passthrough.proxy.upstream.response_head import Framing
from tests.harness.client import asking, client
from tests.harness.proxy import street
from tests.harness.upstream import Peer, chunk

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
PAGES = {"pages": [{"index": 0, "markdown": "x" * 3_000_000}], "model": "m", "usage_info": {"pages_processed": 7}}
BODY = json.dumps(PAGES).encode()


@dataclass(slots=True)
class Basket:
    """A sink that keeps what it takes; it stops after `most` pieces."""

    most: int
    taken: list[bytes] = field(default_factory=list)
    stopped: bool = False

    def take(self, piece: bytes) -> bool:
        """Keep a piece."""
        self.taken.append(piece)
        self.stopped = len(self.taken) >= self.most
        return not self.stopped

    def deadline(self, since: float) -> float | None:
        """Wait without end."""
        return None


async def waiting(size: int, basket: Basket) -> tuple[Connection, asyncio.Transport, asyncio.Task[bool]]:
    """A connection in the middle of a response of so many bytes, its transport, and who waits with the basket."""
    connection = Connection(asyncio.get_running_loop(), "api.test")
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: connection, *await silent())
    connection.begin("GET")
    connection.data_received(HEAD % size)
    task = asyncio.create_task(connection.arrived(sink=basket))
    await asyncio.sleep(0)
    return connection, transport, task


async def silent() -> tuple[str, int]:
    """The address of a server that says nothing, and goes with its first client."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.close()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    return host, port


async def test_a_flow_takes_pieces_where_they_arrive_until_it_stops() -> None:
    """Its task sleeps on until then; what comes afterwards waits to be taken, in order."""
    basket = Basket(2)
    connection, _, task = await waiting(10, basket)
    connection.data_received(b"abc")
    assert (basket.taken, connection.ready) == ([b"abc"], False)
    connection.data_received(b"def")
    connection.data_received(b"gh")
    assert (basket.taken, connection.take()) == ([b"abc", b"def"], b"gh")
    assert await task
    connection.data_received(b"ij")
    assert (connection.take(), connection.take()) == (b"ij", b"")
    connection.abort()


async def test_the_end_of_a_body_wakes_its_task() -> None:
    """The last piece goes where the others went, and the task learns that it was the last."""
    basket = Basket(9)
    connection, _, task = await waiting(6, basket)
    connection.data_received(b"abc")
    connection.data_received(b"def")
    assert await task
    assert (basket.taken, connection.take()) == ([b"abc", b"def"], b"")
    connection.abort()


async def test_a_long_stretch_lets_others_have_their_turn() -> None:
    """Behind the work of one iteration reading pauses until the next, while its task sleeps on."""
    basket = Basket(99)
    connection, transport, task = await waiting(2**30, basket)
    reading = []
    for _ in range(64):
        connection.data_received(bytes(2**16))
        reading.append(transport.is_reading())
        if not reading[-1]:
            await asyncio.sleep(0)
    assert ([*[True] * 31, False] * 2, True) == (reading, transport.is_reading())
    assert (64, False) == (len(basket.taken), task.done())
    connection.abort()
    assert await task


async def test_who_stops_in_a_pause_is_not_read_on_for() -> None:
    """A sink that has gone before the next turn leaves it to its successor when reading goes on."""
    basket = Basket(99)
    connection, transport, task = await waiting(2**30, basket)
    task.cancel()
    connection.data_received(bytes(2**21))
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert not transport.is_reading()
    again = asyncio.create_task(connection.arrived(sink=basket))
    await asyncio.sleep(0)
    assert transport.is_reading()
    connection.abort()
    assert await again


@pytest.mark.wire
@pytest.mark.parametrize("framing", [Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE])
@pytest.mark.parametrize("size", [1, 4096, 100_000, 3_000_000])
async def test_a_body_arrives_whole_and_metered_however_it_comes(framing: Framing, size: int) -> None:
    """Small pieces and large ones, with the head or behind it: the same bytes, and the pages are counted."""
    body = BODY if size > 1 else BODY.replace(b"x" * 3_000_000, b"x" * 300)

    async def script(peer: Peer) -> None:
        await peer.request()
        heads = {Framing.LENGTH: HEAD % len(body), Framing.CHUNKED: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"}
        await peer.send(heads.get(framing, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"))
        for at in range(0, len(body), size):
            piece = body[at : at + size]
            await peer.send(chunk(piece) if framing is Framing.CHUNKED else piece)
        if framing is Framing.CHUNKED:
            await peer.send(chunk(b""))
        if framing is not Framing.CLOSE:
            await peer.ended()

    async with street(script) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", body=b"{}"))
        assert body == (await raw.answer("POST"))[1]
        (exchange,) = await house.booked()
        assert exchange.usage_source is not None
        assert (exchange.outcome, exchange.bytes_down) == (Outcome.COMPLETED, len(body))
        assert 7 == (await exchange.usage_source.usage()).pages


@pytest.mark.wire
async def test_a_body_that_stops_coming_ends_in_time() -> None:
    """The time-out counts from the last piece, also where pieces went on without their task."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD % 100)
        for _ in range(3):
            await peer.send(b"x")
        await peer.ended()

    async with street(script, timeouts=Timeouts(idle_s=0.2)) as (house, _), client(house.port) as raw:
        await raw.send(asking())
        assert await raw.broken()
        (exchange,) = await house.booked()
        assert (exchange.error, exchange.bytes_down) == ("upstream_timeout", 3)


@pytest.mark.wire
async def test_a_client_that_leaves_is_noticed() -> None:
    """Its call is given up, or settled, as if its task had sent each piece."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD % 2**40)
        while True:
            await peer.send(bytes(2**16))

    async with street(script) as (house, _), client(house.port) as raw:
        await raw.send(asking())
        await raw.head()
        raw.reset()
        (exchange,) = await house.booked()
        assert exchange.outcome is Outcome.CLIENT_GONE
