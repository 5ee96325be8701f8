"""What aiohttp's parser rejects is answered by our table, once and without an echo; idle connections end when told."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
from contextlib import suppress

import pytest
from aiohttp import http_exceptions

from passthrough.exchange import Outcome
from passthrough.proxy.downstream.request_parser import MAX_FIELD_BYTES, MAX_FIELDS, MAX_LINE_BYTES, refusal_of
from tests.harness.client import asking, client
from tests.harness.proxy import street
from tests.harness.upstream import Peer, answering, ok
from tests.harness.waiting import until

pytestmark = pytest.mark.wire

HOST = b"Host: proxy.test\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03<script>\r\n\r\n", 400, "bad_request"),
        (b"BREW /<script> HTTP/1.1\r\n" + HOST + b"\r\n", 501, "not_implemented"),
        (b"get /<script> HTTP/1.1\r\n" + HOST + b"\r\n", 501, "not_implemented"),
        (b"GET /<script>\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
        (b"GET /<script> HTTP/1.1 x\r\n" + HOST + b"\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X : <script>\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n <script>\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x00<script>\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\n<script>: x\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: <script>\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\nabc", 400, "bad_request"),
        (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET /" + b"a" * MAX_LINE_BYTES + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, "target_too_long"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * (MAX_FIELD_BYTES + 1) + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: /" + b"a" * MAX_FIELD_BYTES + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * (MAX_FIELDS + 1) + b"\r\n", 431, "headers_too_large"),
    ],
)
async def test_heads_that_are_no_request(sent: bytes, status: int, code: str) -> None:
    """One answer of ours, no byte of the request in it, then the end of the connection; one exchange; the target sees nothing."""
    async with street(answering(ok())) as (house, above), client(house.port) as raw:
        await raw.send(sent)
        head, body = await raw.answer()
        assert (status, code) == (int(head[9:12]), json.loads(body)["code"])
        assert [code.encode()] == re.findall(rb"X-Passthrough-Error: (\S+)", head)
        assert b"script" not in head + body
        assert b"\r\nConnection: close\r\n" in head
        with suppress(ConnectionResetError):  # The kernel says so where it still held bytes of the request.
            assert b"" == await raw.rest()
        assert 0 == above.connections
        exchange = (await house.booked())[0]
        assert (Outcome.REFUSED, code, status) == (exchange.outcome, exchange.error, exchange.status)
    assert 1 == len(house.exchanges)


async def test_a_refusal_reaches_a_client_that_still_sends() -> None:
    """What comes behind a head that is no request is dropped for a while: a close would take the answer away."""
    async with street(answering(ok())) as (house, _), client(house.port) as raw:
        await raw.send(b"nonsense\r\n\r\n")
        await house.booked()
        for _ in range(20):
            await raw.send(asking(b"POST / HTTP/1.1", body=bytes(1000)))
        head, _body = await raw.answer()
        assert b"HTTP/1.1 400 Bad Request" == head.splitlines()[0]
        assert b"" == await raw.rest()
    assert 1 == len(house.exchanges)


async def test_a_bad_head_behind_a_good_one() -> None:
    """The good request is answered first, then the bad one; the order of answers is the order of requests."""
    go, asked = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await go.wait()
        await peer.send(ok(b"good"))
        await peer.ended()

    async with street(script) as (house, _), client(house.port) as raw:
        await raw.send(asking())
        await asked.wait()
        await raw.send(b"nonsense\r\n\r\n")
        await until(lambda: len(house.listener.connections[0].queued_messages) == 1)
        go.set()
        assert b"good" == (await raw.answer())[1]
        assert b"HTTP/1.1 400 " in await raw.rest()
        assert [Outcome.COMPLETED, Outcome.REFUSED] == [exchange.outcome for exchange in await house.booked(2)]


async def test_an_upgrade_is_not_made_and_the_connection_goes_on() -> None:
    """Upgrade is stripped; the answer is plain, and the next request on the connection is read as one."""
    async with street(answering(ok(b"plain"))) as (house, above), client(house.port) as raw:
        upgrade = asking(b"GET /ws HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket")
        await raw.send(upgrade)
        assert b"plain" == (await raw.answer())[1]
        await raw.send(upgrade + asking(b"GET /next HTTP/1.1"))
        assert [b"plain"] * 2 == [(await raw.answer())[1] for _ in range(2)]
        assert [b"GET /ws HTTP/1.1"] * 2 + [b"GET /next HTTP/1.1"] == [received.line for received in above.received]
        assert [] == above.received[0].values(b"upgrade") + above.received[0].values(b"connection")


async def test_the_head_may_come_byte_by_byte() -> None:
    """A head and a chunked body that trickle in are one request."""
    async with street(answering(ok(b"x"))) as (house, above), client(house.port) as raw:
        request = asking(b"POST /a?b HTTP/1.1", b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n"
        for byte in range(len(request)):
            await raw.send(request[byte : byte + 1])
            await asyncio.sleep(0)
        assert b"x" == (await raw.answer())[1]
        assert (b"POST /a?b HTTP/1.1", b"abc") == (above.received[0].line, above.received[0].body)


async def test_close_idle_ends_idle_connections_and_no_others() -> None:
    """Connections that wait for a request end cleanly; one that is served gets its answer; one that was refused, too."""
    go, asked = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await go.wait()
        await peer.send(ok(b"late"))
        await peer.ended()

    async with (
        street(script, max_body_bytes=10) as (house, _),
        client(house.port) as fresh,
        client(house.port) as used,
        client(house.port) as served,
        client(house.port) as refused,
    ):
        await used.send(asking(b"GET /%2e HTTP/1.1"))
        await until(lambda: len(house.listener.connections) == 4)
        await served.send(asking())
        await asked.wait()
        await refused.send(asking(b"POST / HTTP/1.1", b"Content-Length: 1000000"), bytes(1000))
        await house.booked(2)
        house.relay.draining = True
        house.listener.close_idle()
        assert b"" == await fresh.rest()
        await refused.send(bytes(999_000))
        head, _ = await refused.answer()
        assert b"413" == head[9:12]
        assert b"" == await refused.rest()
        go.set()
        assert (await served.rest()).endswith(b"\r\nConnection: close\r\n\r\nlate")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (http_exceptions.BadStatusLine("x"), "bad_request"),
        (http_exceptions.BadHttpMessage("x"), "bad_request"),
        (http_exceptions.InvalidHeader("x"), "bad_request"),
        (http_exceptions.ContentLengthError("x"), "bad_request"),
    ],
)
def test_errors_of_the_parser_have_a_refusal(error: http_exceptions.HttpProcessingError, code: str) -> None:
    """Whatever the parser raises closes the connection with a code of the table, and nothing of its text."""
    refusal = refusal_of(error)
    assert (code, True) == (refusal.kind.code, refusal.closes)
    assert "'x'" not in refusal.message


@pytest.mark.faults
@pytest.mark.parametrize("path", [b"/v1/ocr", b"/../x"])
async def test_a_malformed_chunk_is_no_traceback(path: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever breaks a body's framing, also behind an answer that refused it, gets a closed connection and fills no log."""
    async with street(answering(ok())) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST " + path + b" HTTP/1.1", b"Transfer-Encoding: chunked") + b"5\r\ngood!\r\n")
        await until(lambda: bool(house.relay.active or house.exchanges))
        await raw.send(b"zz\r\n")
        assert b"400" == (await raw.head())[9:12]
        await raw.rest()
    assert [] == [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of options")
async def test_the_path_to_a_client_that_waits_for_minutes_is_kept_open() -> None:
    """Its connection is probed by the kernel every minute or so: NAT forgets silent ones, and OCR is silence."""
    async with street(answering(ok())) as (house, _), client(house.port) as raw:
        await raw.send(asking())
        await raw.answer()
        sock = house.listener.connections[0].transport.get_extra_info("socket")
        assert 1 == sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert 60 >= sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
