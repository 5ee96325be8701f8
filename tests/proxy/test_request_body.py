"""The request's body: never whole at the target unless it was whole here, bounded, timed, and not in the response's way."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256

import psutil
import pytest

from passthrough.exchange import Outcome
from passthrough.proxy.auth import ClientKey
from passthrough.proxy.routes import Timeouts
from tests.harness.client import RawClient, asking, client
from tests.harness.proxy import street
from tests.harness.upstream import Peer, answering, chunk, ok
from tests.harness.waiting import WAIT_S, until

pytestmark = pytest.mark.wire

CHUNKED = b"Transfer-Encoding: chunked"
MARK = b"X-Passthrough-Error: "


def code_of(head: bytes) -> tuple[int, str]:
    """Return the status and our code in the head of a response of our own."""
    return int(head[9:12]), head.partition(MARK)[2].partition(b"\r\n")[0].decode()


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("framing", [b"Content-Length: 9", CHUNKED])
async def test_100_continue_comes_when_local_checks_have_passed(framing: bytes, early: bool) -> None:
    """The client is told to go on once, before it sends the body; Expect does not cross; a body that is there needs no 100."""
    body = chunk(b"some body") + chunk(b"") if framing == CHUNKED else b"some body"
    async with street(answering(ok(b"done"))) as (house, above), client(house.port) as raw:
        for _ in range(2):
            head = asking(b"POST /a HTTP/1.1", framing, b"Expect: 100-Continue")
            if early:
                await raw.send(head + body)
            else:
                await raw.send(head)
                assert b"HTTP/1.1 100 Continue\r\n\r\n" == await raw.head()
                await raw.send(body)
            head, content = await raw.answer()
            assert (b"HTTP/1.1 200 OK", b"done") == (head.partition(b"\r\n")[0], content)
        assert [b"some body"] * 2 == [received.body for received in above.received]
        assert [] == above.received[0].values(b"expect")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((b"Content-Length: 9", b"Authorization: Bearer wrong"), (401, "invalid_key")),
        ((b"Content-Length: 11", b"Authorization: Bearer k"), (413, "body_too_large")),
        ((CHUNKED, b"Authorization: Bearer wrong"), (401, "invalid_key")),
    ],
)
async def test_a_refused_expectation_gets_no_100(fields: tuple[bytes, ...], expected: tuple[int, str]) -> None:
    """Local checks come first: the refusal is the first thing that the client reads, and the target sees nothing."""
    keys = [ClientKey("ann", sha256(b"k").digest())]
    async with street(answering(ok()), clients=keys, max_body_bytes=10) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /a HTTP/1.1", b"Expect: 100-continue", *fields))
        head, _ = await raw.answer()
        assert expected == code_of(head)
        assert b"\r\nConnection: close\r\n" in head
        raw.writer.write_eof()
        assert b"" == await raw.rest()
        assert 0 == above.connections


async def test_http10_expects_nothing() -> None:
    """An HTTP/1.0 client cannot read a 100 and gets none."""
    async with street(answering(ok(b"done"))) as (house, _), client(house.port) as raw:
        await raw.send(b"POST /a HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{")
        await raw.send(b"}")
        assert (await raw.rest()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("framing", [b"Content-Length: 1001", CHUNKED])
async def test_max_body(framing: bytes, whole: bool) -> None:
    """One byte too many is a 413, declared or while streaming; at most the head and a broken body reach the target."""
    body = chunk(bytes(1001)) if framing == CHUNKED else bytes(1001)
    async with street(answering(ok()), max_body_bytes=1000) as (house, above), client(house.port) as raw:
        head = asking(b"POST /v1/ocr HTTP/1.1", framing)
        if whole:
            await raw.send(head + body + (chunk(b"") if framing == CHUNKED else b""))
        else:
            await raw.send(head, body[:500], body[500:])
        answer, content = await raw.answer()
        assert (413, "body_too_large") == code_of(answer)
        assert 413 == json.loads(content)["raw_status_code"]
        await raw.close()
        exchange = (await house.booked())[0]
        assert (Outcome.REFUSED, "body_too_large", 413) == (exchange.outcome, exchange.error, exchange.status)
    assert [] == above.received


async def test_a_body_of_exactly_max_body_passes() -> None:
    """The bound is the largest body that is let through."""
    async with street(answering(ok(b"done")), max_body_bytes=1000) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /a HTTP/1.1", body=bytes(1000)))
        await raw.answer()
        await raw.send(asking(b"POST /a HTTP/1.1", CHUNKED), chunk(bytes(999)), chunk(b"x"), chunk(b""))
        await raw.answer()
        assert [1000, 1000] == [len(received.body) for received in above.received]


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000", CHUNKED])
@pytest.mark.parametrize("sent", [0, 10, 300_000])
@pytest.mark.parametrize("resets", [True, False])
async def test_a_client_that_dies_mid_upload(framing: bytes, sent: int, resets: bool) -> None:
    """The target never sees a whole request, neither the declared length nor a last chunk."""
    begun = asyncio.Event()
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.head()
        begun.set()
        seen.append(await peer.ended())

    async with street(script) as (house, above), client(house.port) as raw:
        piece = chunk(bytes(sent)) if framing == CHUNKED and sent else bytes(sent)
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", framing), piece)
        await begun.wait()
        if resets:
            raw.reset()
        else:
            await raw.close()
        exchange = (await house.booked())[0]
        assert (Outcome.CLIENT_GONE, None) == (exchange.outcome, exchange.status)
        await above.left()
        assert len(seen[0]) < 1_000_000
        assert not seen[0].endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("bad", [b"zz\r\n", b"5\r\nabcdefg\r\n", b"-1\r\n", b"5\nabcde\n", b"ffffffffffffffffff\r\n"])
@pytest.mark.parametrize("apart", [True, False])
async def test_a_malformed_chunk_is_a_400(bad: bytes, apart: bool) -> None:
    """The target never sees a whole request; the client learns it, and its connection closes."""
    async with street(answering(ok())) as (house, above), client(house.port) as raw:
        request = asking(b"POST /v1/ocr HTTP/1.1", CHUNKED) + chunk(b"good")
        if apart:
            await raw.send(request)
            await until(lambda: above.connections > 0)
            await raw.send(bad)
        else:
            await raw.send(request + bad)
        head, _ = await raw.answer()
        assert (400, "bad_request") == code_of(head)
        await raw.close()
        exchange = (await house.booked())[0]
        assert (Outcome.REFUSED, "bad_request") == (exchange.outcome, exchange.error)
    assert [] == above.received
    assert 1 == len(house.exchanges)


async def test_a_malformed_chunk_of_a_request_that_waits_its_turn_is_a_400() -> None:
    """The second of two requests in a row errs in its body while the first is still served: told at once when its turn comes."""
    go, asked = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await go.wait()
        await peer.send(ok(b"first"))
        await peer.ended()

    async with street(script) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"GET /1 HTTP/1.1"))
        await asked.wait()
        await raw.send(asking(b"POST /2 HTTP/1.1", CHUNKED) + chunk(b"good"))
        protocol = house.listener.connections[0]
        await until(lambda: len(protocol.queued_messages) == 1)
        await raw.send(b"zz\r\n")
        await until(lambda: len(protocol.queued_messages) == 2)
        go.set()
        assert b"first" == (await raw.answer())[1]
        assert (400, "bad_request") == code_of((await raw.answer())[0])
        await raw.close()
    assert [b"GET /1 HTTP/1.1"] == [received.line for received in above.received]


async def test_chunks_with_extensions_and_trailers_cross_as_a_plain_body() -> None:
    """Extensions and trailers belong to one hop; the body is whole without them."""
    async with street(answering(ok(b"done"))) as (house, above), client(house.port) as raw:
        for _ in range(2):
            await raw.send(asking(b"POST /a HTTP/1.1", CHUNKED, b"Trailer: X-Sum"), b"4;x=y\r\nbody\r\n0\r\nX-Sum: 1\r\n\r\n")
            assert b"done" == (await raw.answer())[1]
        assert [b"body"] * 2 == [received.body for received in above.received]
        assert [] == above.received[0].values(b"trailer") + above.received[0].values(b"x-sum")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_body_that_stalls_is_a_408(version: bytes) -> None:
    """A client that sends nothing for longer than the idle time-out is told, and the target never sees a whole request."""
    async with street(answering(ok()), timeouts=Timeouts(idle_s=0.05)) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/" + version, b"Content-Length: 10"), b"12345")
        head, _ = await raw.answer()
        assert (408, "slow_request") == code_of(head)
        await raw.close()
        exchange = (await house.booked())[0]
        assert (Outcome.REFUSED, "slow_request") == (exchange.outcome, exchange.error)
    assert [] == above.received


@pytest.mark.faults
async def test_a_target_that_takes_nothing_is_a_504() -> None:
    """A target that stops reading the upload is timed out too, and it is not the client's fault."""
    done = asyncio.Event()

    async def script(peer: Peer) -> None:
        await done.wait()

    async with street(script, timeouts=Timeouts(idle_s=2)) as (house, _), client(house.port) as raw:
        sending = asyncio.create_task(raw.send(asking(b"POST /v1/ocr HTTP/1.1", b"Content-Length: 90000000"), bytes(90_000_000)))
        head, _ = await raw.answer()
        assert (504, "upstream_timeout") == code_of(head)
        sending.cancel()
        done.set()
        raw.reset()
        assert Outcome.UPSTREAM_FAILED == (await house.booked())[0].outcome


@pytest.mark.parametrize("resets", [True, False])
async def test_a_target_that_dies_mid_upload_is_a_502(resets: bool) -> None:
    """The client learns it at once, not when the client has sent everything."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(5)
        if resets:
            peer.reset()

    async with street(script) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", b"Content-Length: 10"), b"12345")
        head, _ = await raw.answer()
        assert (502, "upstream_broke") == code_of(head)
        await raw.close()
        exchange = (await house.booked())[0]
        assert (Outcome.UPSTREAM_FAILED, 502) == (exchange.outcome, exchange.status)


@pytest.mark.parametrize("status", [b"413 Content Too Large", b"401 Unauthorized", b"300 Multiple Choices"])
@pytest.mark.parametrize("closes", [True, False])
async def test_an_early_refusal_of_the_target_is_relayed_at_once(status: bytes, closes: bool) -> None:
    """It reaches the client before the upload ends; the upload stops, and neither connection is used again."""
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(ok(b"early", status=status))
        if not closes:
            await peer.ended()
        gone.set()

    async with street(script) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", CHUNKED), chunk(b"a"))
        head, body = await raw.answer()
        assert (b"HTTP/1.1 " + status, b"early") == (head.partition(b"\r\n")[0], body)
        assert b"\r\nConnection: close\r\n" in head
        async with asyncio.timeout(WAIT_S):
            await gone.wait()
        exchange = (await house.booked())[0]
        assert (Outcome.COMPLETED, None) == (exchange.outcome, exchange.error)
        raw.writer.write(chunk(b"") + asking())
        raw.writer.write_eof()
        assert b"" == await raw.rest()
        assert ([], 1) == (above.received, above.connections)


@pytest.mark.parametrize("status", [b"401 Unauthorized", b"300 Multiple Choices"])
async def test_no_more_is_sent_behind_an_early_refusal(status: bytes) -> None:
    """What the client still sends while the refusal's body comes does not reach the target."""
    others, behind = asyncio.Event(), list[bytes]()

    async def script(peer: Peer) -> None:
        line, _, _ = await peer.head()
        if line == b"GET /others HTTP/1.1":
            await peer.send(ok())
            return
        await peer.reader.readexactly(len(chunk(b"a")))
        await peer.send(b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"early"))
        await others.wait()
        await peer.send(chunk(b""))
        behind.append(await peer.ended())

    async with street(script) as (house, _), client(house.port) as raw, client(house.port) as other:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", CHUNKED), chunk(b"a"))
        assert b"HTTP/1.1 " + status in await raw.head()
        await raw.send(chunk(b"more"))
        await other.send(asking(b"GET /others HTTP/1.1"))
        await other.answer()
        others.set()
        await until(lambda: bool(behind))
        assert [b""] == behind


@pytest.mark.parametrize("framing", [b"Content-Length: 30", CHUNKED])
async def test_full_duplex(framing: bytes) -> None:
    """A target may respond while it reads: each piece of the upload gets its response before the next is sent."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 299 Fine\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            if framing == CHUNKED:
                await peer.reader.readuntil(b"\r\n")
            piece = await peer.reader.readexactly(10)
            if framing == CHUNKED:
                await peer.reader.readexactly(2)
            await peer.send(chunk(piece.upper()))
        if framing == CHUNKED:
            assert b"0\r\n\r\n" == await peer.reader.readexactly(5)
        await peer.send(chunk(b""))
        await peer.request()
        await peer.send(ok(b"again"))
        await peer.ended()

    async with street(script) as (house, above):
        async with client(house.port) as raw:
            await raw.send(asking(b"POST /a HTTP/1.1", framing))
            assert b"HTTP/1.1 299 Fine\r\n" in await raw.head()
            for letter in (b"a", b"b", b"c"):
                piece = letter * 10
                await raw.send(chunk(piece) if framing == CHUNKED else piece)
                assert chunk(piece.upper()) == await raw.reader.readexactly(len(chunk(piece)))
            if framing == CHUNKED:
                await raw.send(chunk(b""))
            assert b"0\r\n\r\n" == await raw.rest()
        assert Outcome.COMPLETED == (await house.booked())[0].outcome
        async with client(house.port) as raw:
            await raw.send(asking())
            assert b"again" == (await raw.answer())[1]
        assert 1 == above.connections


@pytest.mark.parametrize("bad", [b"zz\r\n", chunk(bytes(200))])
async def test_an_upload_that_errs_behind_an_early_answer_breaks_it(bad: bytes) -> None:
    """After the first byte of the response there is nothing to say: both connections break."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"begun"))
        assert not (await peer.ended()).endswith(b"0\r\n\r\n")

    async with street(script, max_body_bytes=100) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", CHUNKED), chunk(b"good"))
        await raw.head()
        await raw.send(bad)
        assert await raw.broken()
        exchange = (await house.booked())[0]
        assert (Outcome.REFUSED, 200) == (exchange.outcome, exchange.status)


async def test_an_early_answer_that_ends_before_the_upload_ends_the_exchange() -> None:
    """A target that has said everything ends it, though the client still sends; its connection is not used again."""
    async with street(_says_all_at_once) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /a HTTP/1.1", CHUNKED), chunk(b"a"))
        head, body = await raw.answer()
        assert (b"200", b"all") == (head[9:12], body)
        assert Outcome.COMPLETED == (await house.booked())[0].outcome
        async with asyncio.timeout(WAIT_S):
            await above.left()


async def _says_all_at_once(peer: Peer) -> None:
    await peer.head()
    await peer.send(ok(b"all"))
    assert not (await peer.ended()).endswith(b"0\r\n\r\n")


@pytest.mark.slow
async def test_memory_does_not_grow_with_the_bodies() -> None:
    """Fifty uploads of 20 MB to a target that does not read them: a few buffers each, not the bodies."""
    count, size, piece = 50, 20_000_000, bytes(100_000)
    go = asyncio.Event()
    taken: list[int] = []
    sent = 0

    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await go.wait()
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        total = 0
        while total < size + 100:
            got = await peer.reader.read(65536)
            total += len(got)
            if total >= size:
                break
        taken.append(total)
        await peer.send(ok(b"done"))
        await peer.ended()

    async def upload(raw: RawClient) -> None:
        nonlocal sent
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", b"Content-Length: %d" % size))
        for _ in range(size // len(piece)):
            await raw.send(piece)
            sent += len(piece)

    async with street(script) as (house, above):
        before = psutil.Process().memory_info().rss
        clients = [await asyncio.open_connection("127.0.0.1", house.port) for _ in range(count)]
        raws = [RawClient(reader, writer) for reader, writer in clients]
        uploads = [asyncio.create_task(upload(raw)) for raw in raws]
        last = -1
        while last != sent or above.connections < count:  # until no one can send any more
            last = sent
            await asyncio.sleep(0.2)
        assert sent < count * size
        most = psutil.Process().memory_info().rss
        go.set()
        while len(taken) < count:
            await asyncio.sleep(0.05)
            most = max(most, psutil.Process().memory_info().rss)
        await asyncio.gather(*uploads)
        assert [b"done"] * count == [(await raw.answer())[1] for raw in raws]
        assert most - before < 150_000_000
        for raw in raws:
            await raw.close()
