"""The life of a request as its client and its target see it: bytes cross unchanged, and every end is one exchange."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import brotli
import pytest
import uvloop
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from passthrough.exchange import Outcome
from passthrough.meter.usage import Unmetered, Usage
from passthrough.proxy.auth import ClientKey
from passthrough.proxy.routes import LabelHeader
from tests.harness.client import asking, client, once
from tests.harness.proxy import street
from tests.harness.upstream import Peer, answering, chunk, ok
from tests.harness.waiting import until

pytestmark = pytest.mark.wire

CODINGS: dict[bytes, Callable[[bytes], bytes]] = {
    b"": bytes,
    b"gzip": lambda plain: gzip.compress(plain, mtime=0),
    b"br": lambda plain: bytes(brotli.compress(plain, quality=1)),
    b"zstd": lambda plain: zstandard.ZstdCompressor().compress(plain),
}


@dataclass(frozen=True, slots=True)
class Body:
    """A body as it is to be sent: `cuts` is the size of its pieces."""

    size: int
    seed: int = 0
    cuts: int = 65536
    chunked: bool = False
    coding: bytes = b""

    @property
    def plain(self) -> bytes:
        """Its bytes: half noise, half zeros."""
        return CODINGS[self.coding](random.Random(self.seed).randbytes(self.size // 2) + bytes(self.size - self.size // 2))

    def message(self, line: bytes, *fields: bytes) -> list[bytes]:
        """Return a message that carries it, in pieces."""
        body = self.plain
        lines = [line, *fields, *([b"Content-Encoding: " + self.coding] if self.coding else [])]
        lines.append(b"Transfer-Encoding: chunked" if self.chunked else b"Content-Length: %d" % len(body))
        pieces = [body[at : at + self.cuts] for at in range(0, len(body), self.cuts)]
        if self.chunked:
            pieces = [chunk(piece) for piece in [*pieces, b""]]
        return [b"\r\n".join(lines) + b"\r\n\r\n", *pieces]


SIZES = st.one_of(st.integers(0, 3000), st.integers(0, 400_000), st.sampled_from([65535, 65536, 65537, 262144, 2**20]))
BODIES = st.builds(
    Body,
    SIZES,
    st.integers(0, 9),
    st.sampled_from([1000, 8191, 65536, 300_000]),
    st.booleans(),
    st.sampled_from(sorted(CODINGS)),
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(BODIES, BODIES)
@example(Body(64 * 2**20), Body(64 * 2**20, chunked=True, cuts=2**20))
@example(Body(64 * 2**20, chunked=True, cuts=100_000), Body(0))
@example(Body(0), Body(0, chunked=True))
@example(Body(0, chunked=True), Body(1))
async def test_bodies_cross_byte_for_byte_in_both_directions(up: Body, down: Body) -> None:
    """Whatever their size, coding, framing and cuts: the same bytes arrive under the same framing, twice on one connection."""
    async with street(answering(*down.message(b"HTTP/1.1 200 OK"))) as (house, above), client(house.port) as raw:
        request = up.message(b"POST /v1/files?x=1 HTTP/1.1", b"Host: proxy")
        for _ in range(2 if up.size < 2**22 else 1):
            await asyncio.gather(raw.send(*request), answered := asyncio.ensure_future(raw.answer()))
            head, body = answered.result()
            assert sha256(down.plain).digest() == sha256(body).digest()
            assert down.chunked == (b"Transfer-Encoding: chunked" in head)
            assert not down.coding or b"\r\nContent-Encoding: " + down.coding + b"\r\n" in head
            received = above.received[-1]
            assert sha256(up.plain).digest() == sha256(received.body).digest()
            assert ([b"chunked"] if up.chunked else []) == received.values(b"transfer-encoding")
            assert ([] if up.chunked else [b"%d" % len(up.plain)]) == received.values(b"content-length")
            assert ([up.coding] if up.coding else []) == received.values(b"content-encoding")
        exchange = (await house.booked())[0]
        assert (Outcome.COMPLETED, 200) == (exchange.outcome, exchange.status)
        assert (len(up.plain), len(down.plain)) == (exchange.bytes_up, exchange.bytes_down)
        assert above.connections == 1


async def test_fields_keep_their_order_case_and_duplicates() -> None:
    """Requests and responses arrive as they were sent, but for what belongs to one connection."""
    sent = [b"x-Odd: 1", b"Accept: a", b"X-ODD: 2", b"accept: b", b"Cookie: c=1", b"X-Empty:", "X-Name: Žofie".encode()]
    down = [b"sEt-Cookie: a=1", b"X-B: 2", b"Set-Cookie: b=2; Path=/", b"date: now", b"X-b: 3", "X-Name: Žofie".encode()]
    async with street(answering(ok(b"{}", *down, b"Connection: x-gone", b"X-Gone: 1"))) as (house, above):
        answer = await once(house.port, asking(b"GET / HTTP/1.1", *sent, b"Connection: close, x-mine", b"X-Mine: 1"))
        lines = above.received[0].raw_head[:-4].split(b"\r\n")
        assert [b"GET / HTTP/1.1", b"Host: 127.0.0.1:%d" % above.port, *sent[:5], b"X-Empty: ", sent[6]] == lines
        assert [b"HTTP/1.1 200 OK", *down, b"Content-Length: 2", b"Connection: close", b"", b"{}"] == answer.split(b"\r\n")


@pytest.mark.parametrize(
    "target",
    [b"/v1/a%2Fb//c;d=1?q=%20a+b&q=&&x", b"/?", b"/a?b?c", b"/%C3%BC?%ff", b"/a:b@c!$&'()*+,=", b"/" + b"a" * 9000],
)
async def test_path_and_query_cross_raw(target: bytes) -> None:
    """Not one byte of path and query is decoded, encoded or normalised."""
    async with street(answering(ok()), base=b"/base") as (house, above):
        await once(house.port, asking(b"GET " + target + b" HTTP/1.1", b"Connection: close"))
        assert b"GET /base" + target + b" HTTP/1.1" == above.received[0].line


@pytest.mark.parametrize(
    ("line", "body", "answer", "told"),
    [
        (b"GET /a?b=c HTTP/1.1", None, ok(b"abc"), (200, b"abc")),
        (b"GET /a HTTP/1.1", b"a body", ok(b"abc"), (200, b"abc")),
        (b"DELETE /a HTTP/1.1", None, b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (b"DELETE /a HTTP/1.1", b"why", ok(b"gone"), (200, b"gone")),
        (b"PUT /a HTTP/1.1", b"put", ok(b"", b"Location: /b", status=b"201 Created"), (201, b"")),
        (b"PATCH /a HTTP/1.1", b"", ok(b"p"), (200, b"p")),
        (b"OPTIONS /a HTTP/1.1", None, ok(b"", b"Allow: GET"), (200, b"")),
        (b"POST /a HTTP/1.1", b"x", ok(b"", b"Location: http://other.test/", status=b"307 Temporary Redirect"), (307, b"")),
        (b"GET /a HTTP/1.1", None, ok(b"moved", b"Location: /b", status=b"301 Moved Permanently"), (301, b"moved")),
        (b"POST /v1/ocr HTTP/1.1", b"{}", ok(b'{"detail":"no"}', status=b"422 Unprocessable Entity"), (422, b'{"detail":"no"}')),
        (b"GET /a HTTP/1.1", None, ok(b"", status=b"500 "), (500, b"")),
        (b"GET /a HTTP/1.1", None, ok(b"odd", status=b"299 Caf\xc3\xa9 \xe9"), (299, b"odd")),
        (b"GET /a HTTP/1.1", None, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok(b"late"), (200, b"late")),
        (b"HEAD /a HTTP/1.1", None, b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", (200, b"")),
        (b"HEAD /a HTTP/1.1", None, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", (200, b"")),
        (b"GET /a HTTP/1.1", None, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: x\r\n\r\n", (304, b"")),
    ],
)
async def test_methods_and_statuses(line: bytes, body: bytes | None, answer: bytes, told: tuple[int, bytes]) -> None:
    """Methods and statuses cross with their fields; redirects are not followed; the connections on both sides are kept."""
    method = line.partition(b" ")[0]
    async with street(answering(answer)) as (house, above), client(house.port) as raw:
        for _ in range(2):
            await raw.send(asking(line, body=body))
            head, content = await raw.answer(method.decode())
            assert told == (int(head[9:12]), content)
            final = answer[answer.rfind(b"HTTP/1.1") :].partition(b"\r\n\r\n")[0]
            for sent in final.split(b"\r\n"):
                assert (sent in head.split(b"\r\n")) != (sent == b"Transfer-Encoding: chunked")
            assert line == above.received[-1].line
            assert body or b"" == above.received[-1].body
            assert ([] if body is None else [b"%d" % len(body)]) == above.received[-1].values(b"content-length")
        assert (2, 1) == (len(above.received), above.connections)
        assert [Outcome.COMPLETED] * 2 == [exchange.outcome for exchange in await house.booked(2)]


async def test_nothing_is_invented() -> None:
    """The target sees no field that the client did not send, and the client none that the target did not, but for Date."""
    async with street(answering(ok(b"x"))) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /a HTTP/1.1", body=b"y"))
        head, _ = await raw.answer()
        assert [b"Host", b"Content-Length"] == [name for name, _ in above.received[0].fields]
        assert re.fullmatch(rb"HTTP/1\.1 200 OK\r\nContent-Length: 1\r\nDate: [^\r\n]+ GMT\r\n\r\n", head)


async def test_multipart_crosses() -> None:
    """A form crosses with its boundary, whatever Content-Type the route would set."""
    form = b'--b0\r\nContent-Disposition: form-data; name="file"; filename="\xc3\xbc.pdf"\r\n\r\n%PDF\x00\xff\r\n--b0--\r\n'
    async with street(answering(ok())) as (house, above):
        request = asking(b"POST /f HTTP/1.1", b"Content-Type: multipart/form-data; boundary=b0", b"Connection: close", body=form)
        await once(house.port, request)
        assert form == above.received[0].body
        assert [b"multipart/form-data; boundary=b0"] == above.received[0].values(b"content-type")


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Requests that come in one packet are served one after the other, none skipped."""

    async def script(peer: Peer) -> None:
        while True:
            received = await peer.request()
            await peer.send(ok(received.line + received.body))

    async with street(script) as (house, above), client(house.port) as raw:
        lines = [b"POST /%d HTTP/1.1" % number for number in range(40)]
        await raw.send(b"".join(asking(line, body=b"b" * number) for number, line in enumerate(lines)))
        for number, line in enumerate(lines):
            assert line + b"b" * number == (await raw.answer())[1]
        assert lines == [received.line for received in above.received]
        assert 1 == above.connections


@pytest.mark.parametrize("framing", [b"chunked", b"close"])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("ends", [True, False])
async def test_events_are_flushed_one_by_one(framing: bytes, version: bytes, ends: bool) -> None:
    """The head and each event reach the client before the target sends what comes next; a stream cut short never looks whole."""
    go = [asyncio.Event() for _ in range(4)]

    async def script(peer: Peer) -> None:
        await peer.request()
        framed = chunk if framing == b"chunked" else bytes
        way = b"Transfer-Encoding: chunked" if framing == b"chunked" else b"Connection: close"
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + way + b"\r\n\r\n")
        for number in range(3):
            await go[number].wait()
            await peer.send(framed(b"data: %d\n\n" % number))
        await go[3].wait()
        if ends:
            await peer.send(framed(b""))
        else:
            peer.reset()

    async with street(script) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /sse HTTP/" + version, body=b"{}"))
        head = await raw.head()
        assert (version == b"1.1") == (b"Transfer-Encoding: chunked" in head)
        for number in range(3):
            go[number].set()
            event = b"data: %d\n\n" % number
            expected = chunk(event) if version == b"1.1" else event
            assert expected == await raw.reader.readexactly(len(expected))
        go[3].set()
        if not ends:
            assert await raw.broken()
        elif version == b"1.1":
            assert b"0\r\n\r\n" == await raw.reader.readexactly(5)
        else:
            assert b"" == await raw.rest()
        exchange = (await house.booked())[0]
        assert (Outcome.COMPLETED if ends else Outcome.UPSTREAM_FAILED) == exchange.outcome
        assert (None if ends else "upstream_broke") == exchange.error


@pytest.mark.parametrize("asked", [b"", b"Connection: keep-alive", b"Connection: close"])
@pytest.mark.parametrize("length", [True, False])
async def test_http10_clients_get_no_chunks(asked: bytes, length: bool) -> None:
    """The connection persists only where the client asked for it and the response has a length; else its end ends the body."""
    answer = ok(b"hello") if length else b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    async with street(answering(answer)) as (house, above), client(house.port) as raw:
        persists = length and asked == b"Connection: keep-alive"
        for _ in range(2 if persists else 1):
            await raw.send(b"GET / HTTP/1.0\r\n" + (asked + b"\r\n" if asked else b"") + b"\r\n")
            head, body = await raw.answer()
            assert b"hello" == body
            assert b"ransfer-" not in head
            assert (b"\r\nConnection: keep-alive\r\n" if persists else b"\r\nConnection: close\r\n") in head
        if not persists:
            assert b"" == await raw.rest()
        assert b"GET / HTTP/1.1" == above.received[0].line


async def test_connection_close_is_kept() -> None:
    """A client that asks for the end of the connection gets it, behind a whole response; the target's connection is kept."""
    async with street(answering(ok(b"x"))) as (house, above):
        for _ in range(2):
            answer = await once(house.port, asking(b"GET / HTTP/1.1", b"Connection: close"))
            assert answer.endswith(b"\r\nConnection: close\r\n\r\nx")
        assert 1 == above.connections


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"POST", b"HEAD"])
@pytest.mark.parametrize("resets", [True, False])
async def test_a_request_on_a_connection_gone_stale_is_not_sent_again(method: bytes, resets: bool) -> None:
    """A target that closes a kept connection on the next request has seen it once: 502, and no second time."""
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        line, _, _ = await peer.head()
        heads.append(line)
        await peer.send(ok())
        line, _, _ = await peer.head()
        heads.append(line)
        if resets:
            peer.reset()

    async with street(script) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"GET /first HTTP/1.1"))
        await raw.answer()
        await raw.send(asking(method + b" /second HTTP/1.1"))
        head, _ = await raw.answer(method.decode())
        assert b"HTTP/1.1 502 Bad Gateway" == head.partition(b"\r\n")[0]
        assert b"X-Passthrough-Error: upstream_broke\r\n" in head
        assert ([b"GET /first HTTP/1.1", method + b" /second HTTP/1.1"], 1) == (heads, above.connections)


async def test_a_kept_connection_that_the_target_closed_is_not_used() -> None:
    """A close that came while the connection was idle costs nothing but a new connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok())

    async with street(script) as (house, above), client(house.port) as raw:
        for _ in range(3):
            await raw.send(asking(b"POST /a HTTP/1.1", body=b"x"))
            assert b"200" == (await raw.answer())[0][9:12]
            await above.left()
        assert 3 == above.connections


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"
CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n12345"


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize(
    ("sent", "resets", "error"),
    [
        (b"", False, "upstream_broke"),
        (b"", True, "upstream_broke"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", False, "upstream_broke"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False, "upstream_broke"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", False, "bad_upstream_answer"),
        (b"HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n", False, "bad_upstream_answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n1", False, "bad_upstream_answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False, "bad_upstream_answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", False, "bad_upstream_answer"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", False, "bad_upstream_answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", False, "bad_upstream_answer"),
    ],
)
async def test_a_target_that_breaks_before_its_head_is_a_502(version: bytes, sent: bytes, resets: bool, error: str) -> None:
    """What is not one well-formed response never reaches the client; it gets ours, and its connection lives on."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        if resets:
            peer.reset()

    async with street(script) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/" + version, b"Connection: keep-alive", body=b"{}"))
        head, body = await raw.answer()
        assert b"HTTP/1.1 502 Bad Gateway" == head.partition(b"\r\n")[0]
        assert b"X-Passthrough-Error: %b\r\n" % error.encode() in head
        assert b"Connection: keep-alive\r\n" in head
        told = json.loads(body)
        assert ("error", error, 502) == (told["object"], told["code"], told["raw_status_code"])
        exchange = (await house.booked())[0]
        assert (Outcome.UPSTREAM_FAILED, error, 502) == (exchange.outcome, exchange.error, exchange.status)
        assert "broken" == (await exchange.usage_source.usage()).unmetered


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize(
    ("sent", "resets"),
    [
        (LENGTH, False),
        (LENGTH, True),
        (CHUNKED, False),
        (CHUNKED, True),
        (CHUNKED + b"0\r\n", False),
        (CHUNKED + b"zz\r\n", False),
        (CHUNKED + b"3\r\nabcdef\r\n", False),
        (CLOSE, True),
    ],
)
async def test_an_answer_cut_short_never_looks_whole(version: bytes, sent: bytes, resets: bool) -> None:
    """A target that dies or errs in the middle of its body breaks the client's connection: no last chunk, no clean end."""
    seen = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        if resets:
            await seen.wait()
            peer.reset()

    async with street(script) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/" + version, body=b"{}"))
        if resets:
            await raw.head()
            seen.set()
        assert await raw.broken()
        exchange = (await house.booked())[0]
        assert (Outcome.UPSTREAM_FAILED, 200) == (exchange.outcome, exchange.status)
        assert exchange.error in {"upstream_broke", "bad_upstream_answer"}
        assert "broken" == (await exchange.usage_source.usage()).unmetered


@pytest.mark.parametrize("surplus", [b"x", ok(b"poison")])
@pytest.mark.parametrize("apart", [True, False])
async def test_surplus_bytes_reach_nobody(surplus: bytes, apart: bool) -> None:
    """What a target sends beyond its response is not given to the next request: the connection is not used again."""

    async def script(peer: Peer) -> None:
        await peer.request()
        if apart:
            await peer.send(ok(b"mine"), surplus)
        else:
            await peer.send(ok(b"mine") + surplus)
        await peer.ended()

    async with street(script) as (house, above), client(house.port) as raw:
        for _ in range(3):
            await raw.send(asking())
            assert b"mine" == (await raw.answer())[1]
            await above.left()
        assert 3 == above.connections


async def test_a_slow_client_holds_the_target_back() -> None:
    """Nothing piles up for a client that does not read; when it has read, both connections serve the next request."""
    size = 48 * 2**20
    sent = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 2**20):
            await peer.send(bytes(2**20))
        sent.set()
        await peer.request()
        await peer.send(ok(b"second"))
        await peer.ended()

    async with street(script) as (house, above), client(house.port) as raw:
        await raw.send(asking())
        await raw.head()
        assert not sent.is_set()
        assert bytes(size) == await raw.reader.readexactly(size)
        assert sent.is_set()
        await raw.send(asking())
        assert b"second" == (await raw.answer())[1]
        assert 1 == above.connections


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (asking(b"GET /nope HTTP/1.1", b"Authorization: Bearer k"), 404, "no_route"),
        (asking(b"POST /api HTTP/1.1", b"Authorization: Bearer k", body=b"{}"), 405, "method_not_allowed"),
        (asking(b"GET /api HTTP/1.1"), 401, "invalid_key"),
        (asking(b"GET /api HTTP/1.1", b"Authorization: Bearer nope"), 401, "invalid_key"),
        (asking(b"GET /api HTTP/1.1", b"Authorization: Bearer other"), 403, "route_forbidden"),
        (asking(b"GET /api/../x HTTP/1.1"), 400, "bad_request"),
        (asking(b"CONNECT h:1 HTTP/1.1"), 501, "not_implemented"),
        (asking(b"TRACE /api HTTP/1.1"), 501, "not_implemented"),
        (asking(b"GET /api HTTP/2.0"), 505, "version_not_supported"),
        (asking(b"GET /api HTTP/1.1", b"Expect: a-miracle"), 417, "expectation_failed"),
        (b"GET /api HTTP/1.1\r\nHost:\r\n\r\n", 400, "bad_request"),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_refusals(method: bytes, request_bytes: bytes, status: int, code: str) -> None:
    """What we refuse has our shape and mark, reaches no target, is recorded once and not admitted; to HEAD it has no body."""
    keys = [ClientKey("ann", sha256(b"k").digest()), ClientKey("bob", sha256(b"other").digest(), frozenset({"/else"}))]
    if request_bytes.startswith(b"GET"):
        request_bytes = method + request_bytes[3:]
    settings = {"path": b"/api", "methods": frozenset({"GET", "HEAD"})}
    async with street(answering(ok()), clients=keys, **settings) as (house, above), client(house.port) as raw:
        await raw.send(request_bytes)
        is_head = request_bytes.startswith(b"HEAD")
        head, body = await raw.answer("HEAD" if is_head else "GET")
        assert (status, code.encode()) == (int(head[9:12]), re.findall(rb"X-Passthrough-Error: (\S+)", head)[0])
        assert b"" == body if is_head else code == json.loads(body)["code"]
        if b"Connection: close" in head:
            assert b"" == await raw.rest()
        else:
            await raw.send(asking(b"GET /api HTTP/1.1", b"Authorization: Bearer k"))
            assert b"200" == (await raw.answer())[0][9:12]
        exchange = (await house.booked())[0]
        assert (Outcome.REFUSED, code, status, False) == (exchange.outcome, exchange.error, exchange.status, exchange.admitted)
        assert all(received.line == b"GET / HTTP/1.1" for received in above.received)


async def test_the_exchange_tells_who_called_what() -> None:
    """Client, labels, target, path without query, the provider's request id, bytes and attempts are on the parcel."""
    answer = ok(b"12345", b"x-request-id: r-1", b"Mistral-Correlation-Id: c-1")
    labels = (LabelHeader(b"x-team", forward=False), LabelHeader(b"x-user", fills="user"))
    settings = {"label_headers": labels, "forward_headers": True}
    keys = [ClientKey("ann", sha256(b"k").digest())]
    async with street(answering(answer), clients=keys, **settings) as (house, above):
        fields = (b"X-Team: blue", b"X-User: eve", b"api-key: k", b"Connection: close")
        await once(house.port, asking(b"PUT /a%20b?secret=1 HTTP/1.1", *fields, body=b"123"))
        exchange = (await house.booked())[0]
        assert ("PUT", "/a%20b", "ann", "blue") == (exchange.method, exchange.path, exchange.client, exchange.label)
        assert (("user", "eve"),) == exchange.labels
        assert ("c-1", 3, 5, 1) == (exchange.upstream_request_id, exchange.bytes_up, exchange.bytes_down, exchange.attempts)
        assert (f"127.0.0.1:{above.port}", True) == (exchange.target, exchange.admitted)
        assert [] == above.received[0].values(b"x-team") + above.received[0].values(b"api-key")


async def test_a_target_that_nobody_serves_is_a_502() -> None:
    """A connect that fails is tried once more, then told."""
    async with street(answering(ok())) as (house, above), client(house.port) as raw:
        await above.close()
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", body=b"{}"))
        head, body = await raw.answer()
        assert (b"502", "upstream_unreachable") == (head[9:12], json.loads(body)["code"])
        exchange = (await house.booked())[0]
        assert (2, Outcome.UPSTREAM_FAILED) == (exchange.attempts, exchange.outcome)
        assert (await exchange.usage_source.usage()).unmetered is None


async def test_draining_closes_behind_the_answer() -> None:
    """While stopping, what is in flight gets its response whole, with Connection: close; own responses too."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.send(ok(b"late"))
        await peer.ended()

    async with street(script) as (house, _), client(house.port) as raw, client(house.port) as other:
        await raw.send(asking())
        await until(lambda: bool(house.relay.active))
        house.relay.draining = True
        go.set()
        assert b"\r\nConnection: close\r\n\r\nlate" in await raw.rest()
        await other.send(asking(b"GET /../ HTTP/1.1"))
        assert b"\r\nConnection: close\r\n\r\n" in await other.rest()


@pytest.mark.parametrize("answered", [True, False])
async def test_the_drain_deadline_cuts_off(answered: bool) -> None:
    """What the deadline ends is recorded as cut off; its client's connection breaks and the call is given up, not settled."""
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        if answered:
            await peer.send(LENGTH)
        await peer.ended()

    async with street(script) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", body=b"{}"))
        await asked.wait()
        if answered:
            await raw.head()
        house.relay.cut_off = True
        for task in list(house.relay.active.values()):
            task.cancel()
        assert await raw.broken()
        exchange = (await house.booked())[0]
        assert (Outcome.CUT_OFF, 200 if answered else None) == (exchange.outcome, exchange.status)
        assert "cancelled" == (await exchange.usage_source.usage()).unmetered


async def test_a_stream_that_is_cut_off_has_what_it_told() -> None:
    """The drain deadline ends a stream whose client is there: its tokens so far count, and are not final."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await peer.send(chunk(b'data: {"model":"m","usage":{"prompt_tokens":7}}\n\n'))
        await peer.ended()

    async with street(script, settles=True) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/chat/completions HTTP/1.1", body=b"{}"))
        await raw.reader.readuntil(b"7}}\n\n")
        house.relay.cut_off = True
        for task in list(house.relay.active.values()):
            task.cancel()
        assert await raw.broken()
        exchange = (await house.booked())[0]
        assert (Outcome.CUT_OFF, 200) == (exchange.outcome, exchange.status)
        assert Usage(model="m", tokens_in=7, unmetered=Unmetered.CANCELLED) == await exchange.usage_source.usage()


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_both_loops_carry_a_whole_day(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """asyncio's own loop and uvloop: a large echo, a cut response, a client that leaves."""

    async def script(peer: Peer) -> None:
        while True:
            received = await peer.request()
            if received.line.startswith(b"GET /cut"):
                await peer.send(CHUNKED)
                peer.reset()
                return
            await peer.send(ok(received.body))

    async def day() -> None:
        async with street(script) as (house, above):
            async with client(house.port) as raw:
                body = random.Random(1).randbytes(5_000_000)
                for _ in range(2):
                    await asyncio.gather(
                        raw.send(asking(b"POST / HTTP/1.1", body=body)), got := asyncio.ensure_future(raw.answer())
                    )
                    assert body == got.result()[1]
                assert 1 == above.connections
                await raw.send(asking(b"GET /cut HTTP/1.1"))
                with pytest.raises(asyncio.IncompleteReadError):
                    await raw.answer()
            async with client(house.port) as raw:
                await raw.send(asking(b"POST / HTTP/1.1", b"Content-Length: 10") + b"12345")
                await until(lambda: bool(house.relay.active))
                raw.reset()
            outcomes = [exchange.outcome for exchange in await house.booked(4)]
            expected = [Outcome.COMPLETED, Outcome.COMPLETED, Outcome.UPSTREAM_FAILED, Outcome.CLIENT_GONE]
            assert expected == outcomes

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(day())
