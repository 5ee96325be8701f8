"""A head has one bound, may repeat what is harmless, and is told apart from what is none: who reads the log knows what came."""

# ruff: noqa: E501 - rows of a table are easier to compare than their pieces
from __future__ import annotations

import asyncio
import json
from hashlib import sha256

import pytest

from passthrough.errors import Refusal
from passthrough.exchange import Outcome
from passthrough.proxy.auth import ClientKey
from passthrough.proxy.downstream.malformed_head import explained
from passthrough.proxy.downstream.repeated_fields import renamed
from passthrough.proxy.downstream.request_parser import MAX_FIELD_BYTES, MAX_LINE_BYTES
from passthrough.proxy.request_head import MAX_HEAD_BYTES
from tests.harness.client import RawClient, asking, client
from tests.harness.proxy import street
from tests.harness.upstream import Peer, answering, ok
from tests.harness.waiting import until

pytestmark = pytest.mark.wire

ANN = ClientKey("ann", sha256(b"key-of-ann").digest())
KEY = b"Authorization: Bearer key-of-ann"
TWO = (b"User-Agent: one", b"X-Between: y", b"user-agent: two")
POST = b"POST /v1/ocr HTTP/1.1"


def trickled(sent: bytes) -> list[bytes]:
    """Return bytes one by one."""
    return [sent[at : at + 1] for at in range(len(sent))]


# ── fields that stand twice ──


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
@pytest.mark.parametrize("body", [None, b"", b"{}" * 50])
async def test_two_user_agents_cross_as_they_came(size: int, body: bytes | None) -> None:
    """Google's SDK sends two: aiohttp's parser refuses them, and they are of no harm. Their place, case and bytes stay."""
    async with street(answering(ok(b"a"))) as (house, above), client(house.port) as raw:
        sent = asking(POST, *TWO, body=body)
        for _ in range(2):
            await raw.send(*(sent[at : at + size] for at in range(0, len(sent), size)))
            await raw.answer()
        for received in above.received:
            names = [field for field in received.fields if field[0].lower() in {b"user-agent", b"x-between"}]
            assert [(b"User-Agent", b"one"), (b"X-Between", b"y"), (b"user-agent", b"two")] == names
            assert (body or b"") == received.body


@pytest.mark.parametrize("name", [b"User-Agent", b"Server", b"ETag", b"Max-Forwards", b"Content-Location"])
async def test_what_is_harmless_may_stand_three_times(name: bytes) -> None:
    """Nothing depends on these; names that look like the ones that stand in for them are themselves."""
    odd = b"~" + name[1:]
    async with street(answering(ok())) as (house, above), client(house.port) as raw:
        await raw.send(asking(POST, *(name + b": %d" % number for number in range(3)), odd + b": x"))
        assert b"200" == (await raw.answer())[0][9:12]
        assert ([b"0", b"1", b"2"], [b"x"]) == (above.received[0].values(name), above.received[0].values(odd))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (b"Content-Type", "The field 'Content-Type' is there more than once."),
        (b"Content-Range", "The field 'Content-Range' is there more than once."),
        (b"Host", "The field 'Host' is there more than once."),
        (b"Content-Length", "The field 'Content-Length' is there more than once."),
        (b"Transfer-Encoding", "The field 'Transfer-Encoding' is there more than once."),
    ],
)
@pytest.mark.parametrize("two", [(), TWO])
async def test_what_the_body_or_the_route_hangs_on_stands_once(name: bytes, said: str, two: tuple[bytes, ...]) -> None:
    """Two of them are two readings: 400, and it says which field, also beside two of a harmless one."""
    async with street(answering(ok())) as (house, above), client(house.port) as raw:
        await raw.send(asking(POST, *two, name + b": 1", name + b": 1"))
        head, body = await raw.answer()
        assert (b"400", said, 0) == (head[9:12], json.loads(body)["message"], above.connections)


async def test_all_signs_that_could_stand_in_are_taken() -> None:
    """A client that sends all of them beside two User-Agents is refused; no real one does."""
    fields = [bytes([sign]) + b"ser-agent: x" for sign in b"~^|`'!"]
    async with street(answering(ok())) as (house, _), client(house.port) as raw:
        await raw.send(asking(POST, *TWO, *fields))
        head, body = await raw.answer()
        assert (b"400", "The field 'User-Agent' is there more than once.") == (head[9:12], json.loads(body)["message"])


@pytest.mark.parametrize("framing", ["length", "chunked", "none"])
@pytest.mark.parametrize("size", [1, 100, 100_000])
async def test_two_user_agents_behind_another_request(framing: str, size: int) -> None:
    """Wherever the request before ended, the next one is read again from its own first byte."""
    first = {
        "length": asking(POST, body=b"x" * 5000),
        "chunked": asking(POST, b"Transfer-Encoding: chunked") + b"5\r\nabcde\r\n0\r\n\r\n",
        "none": asking(),
    }[framing]
    async with street(answering(ok(b"a"))) as (house, above), client(house.port) as raw:
        await raw.send(*(first[at : at + size] for at in range(0, len(first), size)))
        await raw.answer()
        await raw.send(asking(POST, *TWO, body=b"zz"))
        assert b"a" == (await raw.answer())[1]
        assert ([b"one", b"two"], b"zz") == (above.received[1].values(b"user-agent"), above.received[1].body)


async def test_what_stands_behind_two_user_agents_is_the_next_request() -> None:
    """All in one piece: each gets its response, in order, none is lost."""
    async with street(answering(ok(b"a"))) as (house, above), client(house.port) as raw:
        await raw.send(asking(POST, *TWO, body=b"zz") + asking(b"GET /2 HTTP/1.1") + asking(b"GET /3 HTTP/1.1"))
        assert [b"a"] * 3 == [(await raw.answer())[1] for _ in range(3)]
        assert [POST, b"GET /2 HTTP/1.1", b"GET /3 HTTP/1.1"] == [received.line for received in above.received]


async def test_names_that_differ_in_their_first_letter_keep_it() -> None:
    """One sign stands in for both: each gets back the letter that it had."""
    fields = [(b"User-Agent", b"1"), (b"user-agent", b"2"), (b"USER-AGENT", b"3"), (b"User-agent", b"4"), (b"user-agent", b"5")]
    async with street(answering(ok())) as (house, above), client(house.port) as raw:
        await raw.send(asking(POST, *(name + b": " + value for name, value in fields)))
        await raw.answer()
        assert fields == [field for field in above.received[0].fields if field[0].lower() == b"user-agent"]


@pytest.mark.parametrize("trailer", [b"X-Trailer: 1", b"Authorization: Bearer key-of-ann", b"Host: other", b"A: 1\r\nB: 2"])
@pytest.mark.parametrize("size", [1, 1000])
async def test_a_trailer_is_no_field_of_the_next_request(trailer: bytes, size: int) -> None:
    """aiohttp 3.14 gives it to whoever sends the next request on the connection: behind a proxy that is somebody else."""
    async with street(answering(ok())) as (house, above), client(house.port) as raw:
        chunked = asking(POST, b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n" + trailer + b"\r\n\r\n"
        for sent in (chunked, asking(b"GET /2 HTTP/1.1", b"X: y")):
            await raw.send(*(sent[at : at + size] for at in range(0, len(sent), size)))
            assert b"200" == (await raw.answer())[0][9:12]
        assert [b"Host", b"X"] == [name for name, _ in above.received[1].fields]


async def test_a_trailer_in_a_body_of_a_key_is_nobodys_key() -> None:
    """Without a key of its own the next request has none."""
    async with street(answering(ok()), clients=[ANN]) as (house, _), client(house.port) as raw:
        await raw.send(asking(POST, KEY, b"Transfer-Encoding: chunked") + b"0\r\n" + KEY + b"\r\n\r\n")
        assert b"200" == (await raw.answer())[0][9:12]
        await raw.send(asking(POST))
        assert b"401" == (await raw.answer())[0][9:12]


async def test_what_is_refused_behind_a_full_queue_is_answered() -> None:
    """aiohttp takes 32 requests at a time, and keeps the rest: one in it that must be refused was dropped without a word."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await go.wait()
            await peer.send(ok())

    async with street(script) as (house, above), client(house.port) as raw:
        chunked = asking(POST, b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n"
        await raw.send(asking() * 31 + chunked + asking(POST, *TWO))
        await until(lambda: bool(above.received))
        go.set()
        assert [b"200"] * 32 + [b"400"] == [(await raw.answer())[0][9:12] for _ in range(33)]
        assert b"" == await raw.rest()


async def test_a_head_is_never_read_again_from_its_middle() -> None:
    """What stands in a field's value and looks like a request with two User-Agents stays what it is: one bad head."""
    async with street(answering(ok())) as (house, above), client(house.port) as raw:
        smuggled = b"GET /smuggled HTTP/1.1\r\nUser-Agent: a\r\nUser-Agent: b\r\nHost: x\r\n\r\n"
        await raw.send(
            asking(b"POST /1 HTTP/1.1", b"Transfer-Encoding: chunked") + b"0\r\n\r\nGET /2 HTTP/1.1\r\nHost: proxy.test\r\nX: "
        )
        await raw.answer()
        await raw.send(smuggled)
        assert b"400" == (await raw.head())[9:12]
        assert [b"POST /1 HTTP/1.1"] == [received.line for received in above.received]


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b"GET http://ann:key-of-ann@proxy.test/a@b HTTP/1.1", "http://***@proxy.test/a@b"),
        (b"GET HTTP://key-of-ann@proxy.test HTTP/1.1", "HTTP://***@proxy.test"),
        (b"CONNECT ann:key-of-ann@proxy.test:443 HTTP/1.1", "***@proxy.test:443"),
        (b"GET http://proxy.test/a@b?key-of-ann@c HTTP/1.1", "http://proxy.test/a@b"),
    ],
)
@pytest.mark.parametrize("more", [(), (b"bad",)], ids=["whole", "malformed"])
async def test_a_password_in_the_target_is_not_in_the_log(line: bytes, path: str, more: tuple[bytes, ...]) -> None:
    """What stands before `@` is a user's name and password (RFC 3986 §3.2.1): a client that is configured so tells its key."""
    async with street(answering(ok())) as (house, _), client(house.port) as raw:
        await raw.send(asking(line, *more))
        head, body = await raw.answer()
        assert b"key-of-ann" not in head + body
        assert (await house.booked())[0].path in {path, ""}


# Each took up to 30 s of the one thread that serves all, for anybody, without a key: no time is asserted, the suite would hang.
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET " + b" " * 65_000, 431),
        (b"GET " + b" " * 65_000 + b"\r\n\r\n", 400),
        (b"GET " + b" " * 70_000, 431),
        (b"GET / HTTP/1.1" + b" " * 65_000 + b"x\r\n", 400),
        (b"BREW /" + b" HTTP/1.1" + b" " * 65_000 + b"x\r\n", 501),
        (b"GET / RTSP/1.0" + b" " * 65_000 + b"\r\n\r\n", 505),
    ],
)
async def test_a_first_line_of_blanks_is_judged_at_once(sent: bytes, status: int) -> None:
    """However many stand wherever: its time grows with its length, and not with the square of that."""
    async with street(answering(ok())) as (house, _):
        for _ in range(50):
            async with client(house.port) as raw:
                await raw.send(sent + b"y" * (70_000 - len(sent)))
                assert status == int((await raw.answer())[0][9:12])


def test_of_a_header_without_end_some_lines_are_looked_at() -> None:
    """More fields than the parser takes are not gone through for a message."""
    fields = b"".join(b"%d: a\r\n" % number for number in range(9000))
    assert 300 == len(explained(b"GET /a HTTP/1.1\r\n" + fields, Refusal("headers_too_large", "x", closes=True)).fields)
    head = b"GET / HTTP/1.1\r\n" + b"ETag: a\r\n" * 301
    assert (head, {}) == renamed(head)


# ── the bound ──

MANY = b"".join(b"X-%d: %b\r\n" % (number, b"a" * 30_000) for number in range(3))


async def _refused_for_its_size(raw: RawClient) -> None:
    head, body = await raw.answer()
    assert (b"431", "headers_too_large") == (head[9:12], json.loads(body)["code"])
    assert b"" == await raw.rest()


@pytest.mark.parametrize("size", [1000, 65_536, 10**6])
async def test_an_unfinished_head_is_refused_as_soon_as_it_is_too_long(size: int) -> None:
    """No key and no end: 256 fields of 32 KB were 8 MB held for each connection. At most 64 KB are, and it is said."""
    async with street(answering(ok()), clients=[ANN]) as (house, above), client(house.port) as raw:
        sent = b"GET /a?b HTTP/1.1\r\nHost: proxy.test\r\n" + KEY + b"\r\n" + MANY
        await raw.send(*(sent[at : at + size] for at in range(0, len(sent), size)))
        await _refused_for_its_size(raw)
        exchange = (await house.booked())[0]
        assert ("GET", "/a", "ann", 431) == (exchange.method, exchange.path, exchange.client, exchange.status)
        assert 0 == above.connections


async def test_an_unfinished_head_of_a_size_that_is_allowed_is_waited_for() -> None:
    """Up to the bound all is well, in whatever pieces it comes; empty lines before it count too."""
    sent = b"\r\n" * 100 + asking(POST, b"X: " + b"a" * 32_000, b"Y: " + b"a" * 30_000, *TWO)
    assert MAX_HEAD_BYTES - 4000 < len(sent) < MAX_HEAD_BYTES
    async with street(answering(ok())) as (house, _), client(house.port) as raw:
        await raw.send(*(sent[at : at + 999] for at in range(0, len(sent), 999)))
        assert b"200" == (await raw.answer())[0][9:12]


async def test_a_long_body_behind_a_head_in_one_piece_is_no_long_head() -> None:
    """What counts is the head: a body of any length may come in the same piece."""
    async with street(answering(ok())) as (house, above), client(house.port) as raw:
        await raw.send(asking(POST, *TWO, body=b"\r\n\r\n" + b"x" * 400_000))
        assert b"200" == (await raw.answer())[0][9:12]
        assert 400_004 == len(above.received[0].body)


@pytest.mark.parametrize("first", [asking(), asking(POST, b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n"])
async def test_a_head_behind_a_request_that_is_served_has_the_bound_too(first: bytes) -> None:
    """While a response is awaited for minutes, no 8 MB gather behind it; the response comes first, then the refusal."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.send(ok(b"good"))
        await peer.ended()

    async with street(script) as (house, above), client(house.port) as raw:
        await raw.send(first + b"GET /2 HTTP/1.1\r\nHost: proxy.test\r\n")
        await until(lambda: bool(above.received))
        await raw.send(*(MANY[at : at + 9999] for at in range(0, len(MANY), 9999)))
        await until(lambda: len(house.listener.connections[0].queued_messages) == 1)
        go.set()
        assert b"good" == (await raw.answer())[1]
        await _refused_for_its_size(raw)


@pytest.mark.parametrize("flood", [b"X: " + b"a" * 1000 + b"\r\n", b"0" * 1000], ids=["trailers", "a chunk's size"])
async def test_the_framing_of_a_body_has_the_bound_too(flood: bytes) -> None:
    """Trailers are held as fields are: 8 MB of them, behind a body that has gone up, were held without end."""
    async with street(answering(ok())) as (house, above), client(house.port) as raw:
        last = b"0\r\n" if flood.startswith(b"X") else b""
        await raw.send(asking(POST, b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n" + last)
        await until(lambda: bool(house.relay.active))
        for _ in range(100):
            await raw.send(flood)
        head, _ = await raw.answer()
        assert b"400" == head[9:12]
        assert Outcome.REFUSED is (await house.booked())[0].outcome
        assert [] == above.received


async def test_many_chunks_with_long_heads_are_a_body() -> None:
    """Framing that carries bytes is not counted together."""
    chunks = b"".join(b"1;%b\r\nx\r\n" % (b"a" * 3000) for _ in range(100))
    async with street(answering(ok())) as (house, above), client(house.port) as raw:
        sent = asking(POST, b"Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"
        await raw.send(*(sent[at : at + 2000] for at in range(0, len(sent), 2000)))
        assert b"200" == (await raw.answer())[0][9:12]
        assert b"x" * 100 == above.received[0].body


# ── what is told of a head that is no request ──

GET = b"GET /a/b?secret HTTP/1.1\r\n"
HOST = b"Host: proxy.test\r\n"


@pytest.mark.parametrize(
    ("sent", "method", "path", "said"),
    [
        (GET + HOST + KEY + b"\r\nX-Odd : a\r\n\r\n", "GET", "/a/b", "Line 4 of the head has no name of a field before a colon."),
        (GET + HOST + KEY + b"\r\nX-Odd: a\r\n b\r\n\r\n", "GET", "/a/b", "Line 5 of the head is folded, the continuation of 'X-Odd'."),
        (GET + HOST + KEY + b"\r\nX-Odd: a\x00b\r\n\r\n", "GET", "/a/b", "The value of the field 'X-Odd' has a control byte (0x00 at byte 2)."),
        (GET + HOST + KEY + b"\r\nX-Odd: a\nB: c\r\n\r\n", "GET", "/a/b", "Line 4 of the head does not end in CR LF."),
        (GET + HOST + KEY + b"\r\nX-Odd\r\n\r\n", "GET", "/a/b", "Line 4 of the head has no colon."),
        (GET + KEY + b"\r\n\r\n", "GET", "/a/b", "There must be exactly one well-formed Host."),
        (GET + HOST + KEY + b"\r\nContent-Length: 1x\r\n\r\n", "GET", "/a/b", "There must be at most one Content-Length, in digits."),
        (GET + HOST + KEY + b"\r\nContent-Length: x", "GET", "/a/b", "The field 'Content-Length' cannot be read."),
        (b"BREW /a?b HTTP/1.1\r\n" + HOST + KEY + b"\r\n\r\n", "BREW", "/a", "The request does not begin with a known method."),
        (b"client-key a-document\r\n" + HOST + KEY + b"\r\n\r\n", "", "", "The request does not begin with a known method."),
        (b"A-KEY-77 /a HTTP/1.1\r\n" + HOST + KEY + b"\r\n\r\n", "", "", "The request does not begin with a known method."),
        (b"GET a-document\r\n" + HOST + KEY + b"\r\n\r\n", "GET", "", "This is not one well-formed HTTP/1.1 request."),
        (b"GET /caf\xe9 HTTP/1.1\r\n" + HOST + KEY + b"\r\n\r\n", "GET", "/caf\\xe9",
         "The request target has a byte that must be percent-encoded (0xE9 at byte 5)."),
        (b"GET /a b HTTP/1.1\r\n" + HOST + KEY + b"\r\n\r\n", "GET", "/a",
         "The request target has a byte that must be percent-encoded (0x20 at byte 3)."),
        (b"GET /" + b"a" * MAX_LINE_BYTES + b" HTTP/1.1\r\n" + HOST + KEY + b"\r\n\r\n", "GET", "/" + "a" * 999,
         f"The request target is longer than {MAX_LINE_BYTES} bytes."),
        (GET + HOST + KEY + b"\r\nX-Long: " + b"a" * (MAX_FIELD_BYTES + 1) + b"\r\n\r\n", "GET", "/a/b",
         f"A header field is longer than {MAX_FIELD_BYTES} bytes; the longest field is 'X-Long' ({MAX_FIELD_BYTES + 7} bytes)."),
        (b"GET /a HTTP/2.0\r\n" + HOST + KEY + b"\r\n\r\n", "GET", "/a", "Only HTTP/1.1 and HTTP/1.0 are spoken here."),
        (b"DESCRIBE /a RTSP/1.0\r\n" + HOST + KEY + b"\r\n\r\n", "DESCRIBE", "/a", "Only HTTP/1.1 and HTTP/1.0 are spoken here."),
        (GET + HOST + KEY + b"\r\nTransfer_Encoding: a\r\n\r\n", "GET", "/a/b", "The field 'Transfer_Encoding' imitates one that frames the body."),
    ],
)  # fmt: skip
async def test_a_refused_head_says_what_and_the_log_says_who(sent: bytes, method: str, path: str, said: str) -> None:
    """The refusal names the line or the field; the exchange has method, path and client, as far as they came; no query."""
    async with street(answering(ok()), clients=[ANN]) as (house, above), client(house.port) as raw:
        await raw.send(sent)
        _, body = await raw.answer()
        assert said == json.loads(body)["message"]
        exchange = (await house.booked())[0]
        known = "ann"
        assert (method, path, known, False) == (exchange.method, exchange.path, exchange.client, exchange.admitted)
        assert 0 == above.connections


@pytest.mark.parametrize(
    "sent", [b"\x15\x03\x01\x02\r\n\r\n", b"   \r\n\r\n", b"GET\t/\tHTTP/1.1\r\n\r\n", b"A" * 33 + b" / HTTP/1.1\r\n\r\n"]
)
@pytest.mark.parametrize("pieces", [lambda sent: [sent], trickled])
async def test_what_begins_with_no_method_is_400(sent: bytes, pieces: object) -> None:
    """A first line that is no `token SP` is no request of a method that is not known: nothing of it is in the log."""
    async with street(answering(ok())) as (house, _), client(house.port) as raw:
        await raw.send(*pieces(sent))  # type: ignore[operator]
        head, body = await raw.answer()
        assert (b"400", "The first line does not begin with a method and a space.") == (head[9:12], json.loads(body)["message"])
        exchange = (await house.booked())[0]
        assert ("", "", None) == (exchange.method, exchange.path, exchange.client)


async def test_the_one_at_fault_behind_good_ones_is_told() -> None:
    """aiohttp refuses all that came in one piece; the log names the request that was wrong."""
    async with street(answering(ok())) as (house, _), client(house.port) as raw:
        bad = b"PUT /bad HTTP/1.1\r\n" + HOST + b"A : b\r\n\r\n"
        await raw.send(asking(POST, body=b"abc\r\n\r\n") + asking(b"GET /2 HTTP/1.1") + bad)
        await raw.answer()
        exchange = (await house.booked())[0]
        assert ("PUT", "/bad") == (exchange.method, exchange.path)


@pytest.mark.parametrize(
    ("clients", "sent", "code", "name"),
    [
        ([ANN], asking(b"GET /%2e HTTP/1.1", KEY), "bad_request", "ann"),
        ([ANN], asking(b"GET / HTTP/1.1", b"x-api-key: key-of-ann", b"Content_Length: 1"), "bad_request", "ann"),
        ([ANN], asking(b"GET / HTTP/1.1", b"Authorization: Bearer other"), "invalid_key", None),
        ([ClientKey("bob", sha256(b"bob").digest(), routes=frozenset({"/x"}))], asking(b"GET / HTTP/1.1", b"api-key: bob"), "route_forbidden", "bob"),
        ([ANN], asking(b"TRACE / HTTP/1.1", KEY), "not_implemented", "ann"),
    ],
)  # fmt: skip
async def test_a_refusal_is_booked_with_the_client_whose_key_came(
    clients: list[ClientKey], sent: bytes, code: str, name: str
) -> None:
    """Refused before anybody was admitted, the log still says whose program it was."""
    async with street(answering(ok()), clients=clients) as (house, _), client(house.port) as raw:
        await raw.send(sent)
        await raw.answer()
        exchange = (await house.booked())[0]
        assert (code, name) == (exchange.error, exchange.client)


# ── odds and ends ──


async def test_options_star_is_answered_here() -> None:
    """It asks what this server can do (RFC 9110 §9.3.7): 204, the methods, and the connection goes on."""
    async with street(answering(ok())) as (house, above), client(house.port) as raw:
        for _ in range(2):
            await raw.send(asking(b"OPTIONS * HTTP/1.1"))
            head, _ = await raw.answer()
            assert head.startswith(b"HTTP/1.1 204 No Content\r\n")
            assert b"\r\nAllow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n" in head
        await raw.send(asking())
        assert b"200" == (await raw.answer())[0][9:12]
        first = house.exchanges[0]
        assert ("OPTIONS", "*", 204, Outcome.COMPLETED, False) == (
            first.method,
            first.path,
            first.status,
            first.outcome,
            first.admitted,
        )
        assert 1 == len(above.received)


async def test_options_star_with_a_bad_host_or_a_body_is_judged_as_any_other() -> None:
    """What frames and routes is looked at all the same."""
    async with street(answering(ok())) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"OPTIONS * HTTP/1.1", body=b"abc") + asking())
        assert b"204" == (await raw.answer("HEAD"))[0][9:12]
        assert b"200" == (await raw.answer())[0][9:12]
        await raw.send(b"OPTIONS * HTTP/1.1\r\nHost: a b\r\n\r\n")
        assert b"400" == (await raw.answer())[0][9:12]


@pytest.mark.parametrize("value", [b"caf\xe9", bytes(range(0x80, 0x100)), b"\xc3"])
async def test_latin_1_values_cross_as_bytes_both_ways(value: bytes) -> None:
    """A file's name from an old system is the target's to read, and its response is the client's."""
    async with street(answering(ok(b"{}", b"X-Name: " + value))) as (house, above), client(house.port) as raw:
        await raw.send(asking(POST, b"X-Name: " + value, body=b"{}"))
        head, _ = await raw.answer()
        assert [value] == above.received[0].values(b"x-name")
        assert b"\r\nX-Name: " + value + b"\r\n" in head


def test_a_head_of_nothing_is_explained() -> None:
    """Whatever came, something can be said."""
    bad = Refusal("bad_request", "Bad.", closes=True)
    for head in (
        b"",
        b"\r\n",
        b"G",
        b"GET ",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA",
        b"GET / HTTP/1.1\r\n:",
    ):
        assert explained(head, bad).refusal.message
