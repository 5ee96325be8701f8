"""Long uploads, whose rest goes past the parser: whole and in order, in whatever pieces, and ended in every way as short ones."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
import uvloop
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from passthrough.exchange import Outcome
from passthrough.meter.usage import Usage
from passthrough.proxy.downstream.body_bypass import PIECE_BYTES, WORTH_BYTES, BodyBypass, SharedBuffer
from passthrough.proxy.net.fair_queue import FairQueue
from passthrough.proxy.routes import Retries, Timeouts
from tests.harness.client import RawClient, asking, client
from tests.harness.proxy import road, route_to, street
from tests.harness.upstream import Peer, answering, ok, upstream
from tests.harness.waiting import WAIT_S, until

pytestmark = pytest.mark.wire

MB = 1_000_000
BODY = random.Random(7).randbytes(3 * MB)
MARK = b"X-Passthrough-Error: "


def code_of(head: bytes) -> tuple[int, str]:
    """Return the status and our code in an own answer's head."""
    return int(head[9:12]), head.partition(MARK)[2].partition(b"\r\n")[0].decode()


def cut(whole: bytes, seed: int) -> Iterator[bytes]:
    """Yield it in pieces of very different sizes."""
    sizes = random.Random(seed)
    at = 0
    while at < len(whole):
        size = sizes.choice((1, 100, 5000, 70_000, 300_000, 2 * MB))
        yield whole[at : at + size]
        at += size


async def echo(peer: Peer) -> None:
    """Answer each request with its own body."""
    while True:
        await peer.send(ok((await peer.request()).body))


async def conversation(raw: RawClient, bodies: list[bytes], seed: int) -> None:
    """Send requests in one stream, with nothing at their borders, and expect every body back, in order."""
    stream = b"".join(asking(b"POST /%d HTTP/1.1" % number, body=body) for number, body in enumerate(bodies))
    sending = asyncio.ensure_future(raw.send(*cut(stream, seed)))
    assert bodies == [(await raw.answer())[1] for _ in bodies]
    await sending


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_requests_in_one_stream_keep_their_borders(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """What follows a long body at once is the next request, long or short; whatever pieces it all comes in."""
    sizes = (5, 3 * MB, 0, WORTH_BYTES - 1, WORTH_BYTES + 70_000, 4 * PIECE_BYTES, 2 * MB + 1, 17)

    async def talk() -> None:
        async with street(echo) as (house, above):
            for seed in range(4):
                async with client(house.port) as raw:
                    await conversation(raw, [BODY[:size] for size in sizes], seed)
            outcomes = {exchange.outcome for exchange in await house.booked(4 * len(sizes))}
            assert ({Outcome.COMPLETED}, set(4 * sizes)) == (outcomes, {exchange.bytes_up for exchange in house.exchanges})
            assert 4 * len(sizes) == len(above.received)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(talk())


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize(("below", "above"), [(True, False), (False, True), (True, True)])
def test_under_tls(make_loop: Callable[[], asyncio.AbstractEventLoop], below: bool, above: bool, tmp_path: Path) -> None:
    """The same where the client's connection, or the target's, or both are encrypted."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(serving)
    trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))

    async def talk() -> None:
        async with upstream(echo, ssl=serving if above else None) as raw:
            target = {"tls": above, "host": "localhost" if above else "127.0.0.1", "ca_file": str(tmp_path / "ca.pem")}
            options = {"ssl": trusting, "server_hostname": "localhost"} if below else {}
            async with (
                road(route_to(raw.port, target=target), tls=serving if below else None) as house,
                client(house.port, **options) as one,
            ):
                await conversation(one, [BODY, b"", BODY[: 2 * MB]], 1)

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(talk())


async def test_what_follows_a_body_is_checked_as_ever() -> None:
    """A request that is none, behind a long body, is refused as behind a short one, and the body's own answer comes before."""
    async with street(answering(ok(b"done"))) as (house, above), client(house.port) as raw:
        sending = asyncio.ensure_future(raw.send(asking(b"POST /a HTTP/1.1", body=BODY), b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n"))
        assert b"done" == (await raw.answer())[1]
        assert (501, "not_implemented") == code_of((await raw.answer())[0])
        await sending
        assert [BODY] == [received.body for received in above.received]


async def test_an_upgrade_that_is_declined_leaves_the_connection_in_order() -> None:
    """A long body under `Upgrade` crosses, and the next request on the connection is served."""
    upgrade = (b"Connection: upgrade", b"Upgrade: websocket")
    async with street(echo) as (house, _), client(house.port) as raw:
        for fields in (upgrade, ()):
            sending = asyncio.ensure_future(raw.send(asking(b"POST /a HTTP/1.1", *fields, body=BODY)))
            assert BODY == (await raw.answer())[1]
            await sending


async def test_a_client_is_invited_to_a_long_body() -> None:
    """100 Continue comes before it, once."""
    async with street(echo) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /a HTTP/1.1", b"Expect: 100-continue", b"Content-Length: %d" % len(BODY)))
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == await raw.head()
        sending = asyncio.ensure_future(raw.send(*cut(BODY, 3)))
        assert BODY == (await raw.answer())[1]
        await sending


@pytest.mark.parametrize("resets", [True, False])
@pytest.mark.parametrize("sent", [MB, 3 * MB - 1])
async def test_a_client_that_dies_far_in_its_upload(sent: int, resets: bool) -> None:
    """The target never sees a whole body, and the exchange says who left."""
    seen = 0

    async def script(peer: Peer) -> None:
        nonlocal seen
        await peer.head()
        try:
            while piece := await peer.reader.read(1 << 16):
                seen += len(piece)
        except ConnectionError:
            pass

    async with street(script) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /a HTTP/1.1", b"Content-Length: %d" % len(BODY)), BODY[:sent])
        await until(lambda: seen == sent)
        if resets:
            raw.reset()
        else:
            await raw.close()
        exchange = (await house.booked())[0]
        assert (Outcome.CLIENT_GONE, None, sent) == (exchange.outcome, exchange.status, exchange.bytes_up)
        await above.left()
        assert sent == seen


@pytest.mark.faults
async def test_a_client_that_falls_silent_far_in_its_upload() -> None:
    """It is told so; as long as anything comes, however little, it is heard."""
    async with street(answering(ok()), timeouts=Timeouts(idle_s=1.5)) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /a HTTP/1.1", b"Content-Length: %d" % len(BODY)), BODY[:MB])
        for at in range(MB, MB + 7):
            await asyncio.sleep(0.25)  # Slower in all than the time-out, never between two pieces.
            await raw.send(BODY[at : at + 1])
        head, _ = await raw.answer()
        assert (408, "slow_request") == code_of(head)
        exchange = (await house.booked())[0]
        assert (Outcome.REFUSED, MB + 7) == (exchange.outcome, exchange.bytes_up)
    assert [] == above.received


async def test_a_refusal_far_in_an_upload_reaches_a_client_that_goes_on_sending() -> None:
    """A target that answers 413 early is believed; the rest is read away, and the connection ends in order, not with a reset."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(MB)
        await peer.send(ok(b"too large", status=b"413 Content Too Large"))
        await peer.ended()

    async with street(script) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /a HTTP/1.1", b"Content-Length: %d" % (20 * MB)), BODY[:MB])
        head, content = await raw.answer()
        assert (b"HTTP/1.1 413 Content Too Large", b"too large") == (head.partition(b"\r\n")[0], content)
        await raw.send(*(BODY[:MB] for _ in range(19)))
        assert b"" == await raw.rest()
        exchange = (await house.booked())[0]
        assert (Outcome.COMPLETED, 413) == (exchange.outcome, exchange.status)
        assert exchange.bytes_up < 20 * MB


async def test_a_target_that_takes_nothing_holds_the_client_back() -> None:
    """No more is read than buffers hold, whatever is sent; once it takes more, all of it arrives."""
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()
        await go_on.wait()
        peer.writer.transport.resume_reading()
        await echo(peer)

    size = 64 * MB
    async with street(script) as (house, above), client(house.port) as raw:
        pieces = asking(b"POST /a HTTP/1.1", b"Content-Length: %d" % size), *(bytes(MB) for _ in range(size // MB))
        sending = asyncio.ensure_future(raw.send(*pieces))
        assert set() == (await asyncio.wait({sending}, timeout=0.5))[0]
        go_on.set()
        async with asyncio.timeout(WAIT_S):
            await raw.answer()
        await sending
        assert [size] == [len(received.body) for received in above.received]


async def test_a_target_that_never_takes_more() -> None:
    """The client is told in time, with the target to blame."""

    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()
        await asyncio.Event().wait()

    async with street(script, timeouts=Timeouts(idle_s=0.3)) as (house, above), client(house.port) as raw:
        sending = asyncio.ensure_future(raw.send(asking(b"POST /a HTTP/1.1", body=bytes(64 * MB))))
        head, _ = await raw.answer()
        assert (504, "upstream_timeout") == code_of(head)
        sending.cancel()
        exchange = (await house.booked())[0]
        assert (Outcome.UPSTREAM_FAILED, True) == (exchange.outcome, exchange.bytes_up < 64 * MB)
        await above.close()


@pytest.mark.parametrize("answers", [True, False])
async def test_a_target_that_breaks_off(answers: bool) -> None:
    """Before an answer that is a 502; behind one the answer counts, and the rest of the body is taken and dropped."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(MB)
        if answers:
            await peer.send(ok(b"enough"))
        peer.reset()

    async with street(script) as (house, _), client(house.port) as raw:
        sending = asyncio.ensure_future(raw.send(asking(b"POST /a HTTP/1.1", body=BODY)))
        head, content = await raw.answer()
        if answers and head.startswith(b"HTTP/1.1 200"):  # A reset may overtake what was sent before it.
            assert b"enough" == content
        else:
            assert (502, "upstream_broke") == code_of(head)
        sending.cancel()


async def test_an_answer_that_comes_during_the_upload() -> None:
    """It is relayed meanwhile, and held back where the client does not read it; the upload goes on."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(MB)
        sending = asyncio.ensure_future(peer.send(ok(bytes(64 * MB))))
        peer.upstream.broken.append(await peer.reader.readexactly(2 * MB))
        await sending

    async with street(script) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /a HTTP/1.1", b"Content-Length: %d" % len(BODY)), BODY[: 2 * MB])
        await until(lambda: any(protocol.writing_paused for protocol in house.relay.active))
        async with asyncio.timeout(WAIT_S):
            await raw.reader.readexactly(32 * MB)
            await raw.send(BODY[2 * MB :])
            await until(lambda: above.broken != [])
            await raw.reader.readexactly(len(ok(bytes(64 * MB))) - 32 * MB)
        assert [BODY[MB:]] == above.broken
        exchange = (await house.booked())[0]
        assert (Outcome.COMPLETED, len(BODY)) == (exchange.outcome, exchange.bytes_up)


@pytest.mark.parametrize("coding", [None, b"gzip"])
async def test_a_long_upload_is_looked_at(coding: bytes | None) -> None:
    """What it asks for is found behind the document, plain or coded."""
    document = {"document_url": "data:application/pdf;base64," + BODY.hex(), "model": "no"}
    plain = json.dumps({"document": document, "bbox_annotation_format": {"type": "text"}, "model": "m"}).encode()
    body, fields = (plain, ()) if coding is None else (gzip.compress(plain, 1), (b"Content-Encoding: " + coding,))
    async with (
        street(answering(ok(b'{"usage_info":{"pages_processed":2}}'))) as (house, above),
        client(house.port) as raw,
    ):
        sending = asyncio.ensure_future(raw.send(asking(b"POST /v1/ocr HTTP/1.1", *fields, body=body)))
        await raw.answer()
        await sending
        exchange = (await house.booked())[0]
        assert Usage(pages=0, pages_annotated=2, model="m") == await exchange.usage_source.usage()
        assert body == above.received[0].body


async def test_a_body_that_is_kept_for_another_try_is_kept_whole() -> None:
    """Where a route sends again, a long body is the same the second time."""
    answers = iter((ok(status=b"503 Service Unavailable"), ok(b"done")))

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(next(answers))

    retries = Retries(attempts=1, statuses=frozenset({503}), held_bytes=4 * MB)
    async with street(script, retries=retries) as (house, above), client(house.port) as raw:
        sending = asyncio.ensure_future(raw.send(asking(b"POST /a HTTP/1.1", body=BODY)))
        assert b"done" == (await raw.answer())[1]
        await sending
        assert [BODY, BODY] == [received.body for received in above.received]


class Owner(BaseProtocol):
    """A connection whose body goes past the parser."""

    transport: asyncio.Transport

    def expect_request(self) -> None:
        """Expect nothing."""

    def eof_received(self) -> None:
        """Note nothing."""


@pytest.mark.parametrize(("stops", "expected"), [(3, [3, 8, 8]), (8, [8, 8, 8]), (9, [8, 1, 8])])
async def test_others_have_their_turn_wherever_the_target_was_slower(stops: int, expected: list[int]) -> None:
    """Behind the work of one iteration reading pauses until the next, also where the body waited for its target meanwhile."""
    loop = asyncio.get_running_loop()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    owner = Owner(loop)
    await loop.create_connection(lambda: owner, *server.sockets[0].getsockname()[:2])
    bypass = BodyBypass(owner, StreamReader(owner, 2**16, loop=loop), SharedBuffer(), FairQueue(loop), 100 * PIECE_BYTES)
    pieces, reads = 0, []

    def take(_: SharedBuffer, size: int) -> bool:
        nonlocal pieces
        pieces += 1
        return pieces != stops

    async def pour() -> None:
        await bypass.deliver(take, None)
        await bypass.deliver(take, None)

    pouring = asyncio.ensure_future(pour())
    await asyncio.sleep(0)
    for _ in range(3):
        count = 0
        while owner.transport.is_reading():
            bypass.buffer_updated(PIECE_BYTES)
            count += 1
        reads.append(count)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    pouring.cancel()
    owner.transport.abort()
    server.close()
    assert expected == reads
