"""Large bodies share each iteration of the loop: none, and no framing of one, holds up what is small."""

from __future__ import annotations

import asyncio

import pytest

from passthrough.proxy.net.fair_queue import PIECE, WORK, FairQueue
from passthrough.proxy.upstream.parser import ResponseParser
from passthrough.proxy.upstream.response_head import ChunkedDecoder
from tests.harness.client import asking, client
from tests.harness.proxy import street
from tests.harness.upstream import Peer, chunk

ONE_BYTE = b"1\r\na\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_who_waits_goes_on_in_order_as_many_as_there_is_work_for() -> None:
    """Beyond the work of an iteration all wait; each iteration lets the longest waiting go on."""
    loop = asyncio.get_running_loop()
    fair, went = FairQueue(loop), list[int]()
    assert fair.spend(WORK - 1)
    assert not fair.spend(1)
    most = WORK // PIECE
    for number in range(2 * most + 1):
        fair.wait(lambda number=number: went.append(number))  # type: ignore[misc] # mypy does not see through the default
    seen = []
    for _ in range(4):
        await asyncio.sleep(0)
        seen.append(len(went))
    assert ([most, 2 * most, 2 * most + 1, 2 * most + 1], list(range(2 * most + 1))) == (seen, went)
    assert fair.spend(1)


async def test_a_transfer_that_fails_stops_no_other() -> None:
    """Its defect is reported to the loop; the next one goes on."""
    loop = asyncio.get_running_loop()
    told, went = list[str](), loop.create_future()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    fair = FairQueue(loop)
    fair.wait(lambda: 1 // 0)  # type: ignore[arg-type,return-value]
    fair.wait(lambda: went.set_result(True))
    assert await went
    assert ["A transfer could not go on."] == told


async def test_a_turn_that_is_given_up_is_nobodys() -> None:
    """A cancelled wait is passed over, and the one behind it goes on."""
    fair = FairQueue(asyncio.get_running_loop())
    one, other = asyncio.ensure_future(fair.turn()), asyncio.ensure_future(fair.turn())
    await asyncio.sleep(0)
    one.cancel()
    await other
    assert one.cancelled()


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 5000])
def test_chunks_are_read_in_stretches(size: int) -> None:
    """Of very many chunks in one piece a thousand are read at a time; nothing is lost, and the end is the end."""
    chunks, kept = ChunkedDecoder(), list[bytes]()
    behind = chunks.feed(ONE_BYTE * size + b"0\r\n\r\nrest", kept.append)
    rounds = 1
    while chunks.unread:
        assert not chunks.ended
        assert 1000 == chunks.count
        behind = chunks.feed(b"", kept.append)
        rounds += 1
    assert (b"a" * size, b"rest", True, max(1, -(-size // 1000))) == (b"".join(kept), behind, chunks.ended, rounds)


def test_more_comes_while_chunks_are_unread() -> None:
    """What comes behind an unread stretch is read behind it."""
    incoming = ResponseParser("GET")
    assert not incoming.feed(HEAD + ONE_BYTE * 2000 + ONE_BYTE * 500)
    assert incoming.unread
    assert not incoming.feed(ONE_BYTE * 100 + b"0\r\n\r\n")
    assert not incoming.ended
    assert not incoming.feed(b"")
    assert (True, False, 2600) == (incoming.ended, incoming.unread, incoming.buffered)


@pytest.mark.wire
async def test_an_answer_in_one_byte_chunks_arrives_whole() -> None:
    """Also where the target closes behind it at once, while most of it is unread."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD + ONE_BYTE * 100_000 + b"0\r\n\r\n")

    async with street(script) as (house, _), client(house.port) as raw:
        await raw.send(asking())
        _, body = await raw.answer()
        assert b"a" * 100_000 == body
    assert [100_000] == [exchange.bytes_down for exchange in house.exchanges]


@pytest.mark.wire
async def test_a_body_in_one_byte_chunks_goes_up_whole() -> None:
    """The parser gives it in many small pieces; others have their turn between them."""
    seen = []

    async def script(peer: Peer) -> None:
        seen.append((await peer.request()).body)
        await peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with street(script) as (house, _), client(house.port) as raw:
        await raw.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(b"a") * 50_000, chunk(b""))
        head, _ = await raw.answer()
        assert head.startswith(b"HTTP/1.1 204")
    assert [b"a" * 50_000] == seen
