"""What a head comes to is the same, whatever its connection has seen before."""

from __future__ import annotations

import gc
import random
from dataclasses import dataclass
from hashlib import sha256

import pytest

from passthrough.proxy.auth import ClientKey
from passthrough.proxy.prepared import MAX_BYTES, HeadCache, PreparedRequest
from passthrough.proxy.request_head import validate
from passthrough.proxy.routes import LabelHeader, Match, Route
from passthrough.secret import Secret
from tests.harness.client import RawClient, client
from tests.harness.proxy import Road, road, route_to
from tests.harness.upstream import Peer, answering, ok, upstream
from tests.harness.waiting import until

pytestmark = pytest.mark.wire

ANN, BOB = b"key-of-ann-0123456789", b"key-of-bob-0123456789"
CLIENTS = (ClientKey("ann", sha256(ANN).digest()), ClientKey("bob", sha256(BOB).digest(), frozenset({"/bobs"})))
LINE = b"POST /m/ocr?x=1 HTTP/1.1"
HOST, KEY, TYPE, TEAM = b"Host: proxy.test", b"Authorization: Bearer " + ANN, b"Content-Type: application/json", b"X-Team: red"


def head(*fields: bytes, line: bytes = LINE, body: bytes = b"12345") -> bytes:
    """Return a request with these fields, as they are."""
    return b"\r\n".join((line, *fields)) + b"\r\n\r\n" + body


def usual(*more: bytes, line: bytes = LINE, host: bytes = HOST, key: bytes = KEY, body: bytes = b"12345") -> bytes:
    """Return a request as a program sends one after the other."""
    return head(host, key, TYPE, *more, b"Content-Length: %d" % len(body), TEAM, line=line, body=body)


PROVIDER_KEY = b"provider-key-0123456789"
ANSWER = ok(b"{}", b"X-Said: yes", b"X-Echo: " + PROVIDER_KEY)

FIRST = usual()
REQUESTS = {
    "the same": FIRST,
    "longer": usual(body=b"x" * 12345),
    "empty": usual(body=b""),
    "too long": head(HOST, KEY, TYPE, b"Content-Length: 100000", TEAM, body=b""),
    "length spelt otherwise": head(HOST, KEY, TYPE, b"Content-Length: 0005", TEAM),
    "length named otherwise": head(HOST, KEY, TYPE, b"content-length: 5", TEAM),
    "no length": head(HOST, KEY, TYPE, b"Content-Length: +5", TEAM),
    "two lengths in one": head(HOST, KEY, TYPE, b"Content-Length: 5, 5", TEAM),
    "two lengths": head(HOST, KEY, TYPE, b"Content-Length: 5", TEAM, b"Content-Length: 5"),
    "length elsewhere": head(b"Content-Length: 5", HOST, KEY, TYPE, TEAM),
    "length and chunks": head(HOST, KEY, TYPE, b"Content-Length: 5", TEAM, b"Transfer-Encoding: chunked"),
    "chunks": head(HOST, KEY, TYPE, TEAM, b"Transfer-Encoding: chunked", body=b"5\r\n12345\r\n0\r\n\r\n"),
    "no body": head(HOST, KEY, TYPE, TEAM, body=b""),
    "another body's type": head(HOST, KEY, b"Content-Type: multipart/form-data; boundary=b", b"Content-Length: 5", TEAM),
    "another key": usual(key=b"Authorization: Bearer " + BOB),
    "the key bare": usual(key=b"Authorization: " + ANN),
    "the key elsewhere": usual(key=b"x-api-key: " + ANN),
    "nobody's key": usual(key=b"Authorization: Bearer key-of-eve-0123456789"),
    "no key": head(HOST, TYPE, b"Content-Length: 5", TEAM),
    "another label": head(HOST, KEY, TYPE, b"Content-Length: 5", b"X-Team: blue"),
    "a named label": usual(b"X-Pass-Beta: 2"),
    "a field more": usual(b"X-More: 1"),
    "a field named otherwise": head(HOST, KEY, TYPE, b"Content-Length: 5", b"x-team: red"),
    "other order": head(HOST, TEAM, KEY, TYPE, b"Content-Length: 5"),
    "a control byte": usual(b"X-More: a\x01b"),
    "a name with a space": usual(b"X More: 1"),
    "another path": usual(line=b"POST /m/chat/completions?x=1 HTTP/1.1"),
    "another query": usual(line=b"POST /m/ocr?x=2 HTTP/1.1"),
    "no route": usual(line=b"POST /elsewhere HTTP/1.1"),
    "a route for bob": usual(line=b"POST /bobs/ocr HTTP/1.1"),
    "dots": usual(line=b"POST /m/../ocr HTTP/1.1"),
    "another method": usual(line=b"PUT /m/ocr?x=1 HTTP/1.1"),
    "a method that is not allowed": usual(line=b"DELETE /m/ocr?x=1 HTTP/1.1"),
    "another host": usual(host=b"Host: other.test"),
    "two hosts": usual(HOST),
    "no host": head(KEY, TYPE, b"Content-Length: 5", TEAM),
    "the last one": usual(b"Connection: close"),
    "a field nominated": usual(b"Connection: x-team"),
    "of 1.0": usual(line=b"POST /m/ocr?x=1 HTTP/1.0"),
    "of 1.0 that goes on": usual(b"Connection: keep-alive", line=b"POST /m/ocr?x=1 HTTP/1.0"),
    "peeled": usual(b"X-Pass-Beta: 1"),
    "an expectation": usual(b"Expect: 200-ok"),
}


CONTINUED = usual(b"Connection: keep-alive", line=b"POST /m/ocr?x=1 HTTP/1.0")
SEQUENCES = {
    "the length was last": (head(HOST, KEY, TYPE, TEAM, b"Content-Length: 5"), head(HOST, KEY, TYPE, TEAM, body=b"")),
    "digits where the length stood": (
        FIRST,
        head(HOST, KEY, TYPE, b"X-Number: 5", TEAM, body=b""),
        head(HOST, KEY, TYPE, b"X-Number: 6", TEAM, body=b""),
    ),
    "of 1.0": (CONTINUED, CONTINUED.replace(b": 5", b": 6") + b"6", CONTINUED),
    "too much, behind what was refused": (
        FIRST,
        usual(key=b"Authorization: x"),
        head(HOST, KEY, TYPE, b"Content-Length: 50001", TEAM),
    ),
    "chunks behind a length": (FIRST, REQUESTS["chunks"], REQUESTS["chunks"], FIRST, REQUESTS["longer"]),
}


@dataclass(frozen=True)
class Told:
    """What can be seen of one request: what the target got, what the client got, what is recorded."""

    up: tuple[bytes, bytes] | None
    down: tuple[bytes, bytes]
    booked: tuple[object, ...]


def routes(port: int) -> tuple[Route, ...]:
    """Return routes to a port that do something with most fields."""
    own = (
        (b"Authorization", Secret("Bearer " + PROVIDER_KEY.decode())),
        (b"Content-Type", Secret("application/json; charset=utf-8")),
    )
    more = {"headers": own, "max_body_bytes": 50_000, "methods": frozenset({"POST", "PUT"})}
    labels = (LabelHeader(b"x-team", forward=False), LabelHeader(b"x-pass-beta", fills="beta"))
    return (route_to(port, b"/m", base=b"/v1", query=b"q=0", label_headers=labels, **more), route_to(port, b"/bobs", **more))


async def told(house: Road, above_received: list[object], raw: RawClient, request: bytes) -> Told:
    """Send one request and return all that can be seen of it."""
    seen, booked = len(above_received), len(house.exchanges)
    await raw.send(request)
    down = await raw.answer()
    exchange = (await house.booked(booked + 1))[booked]
    got = above_received[seen:]
    assert len(got) < 2
    up = (got[0].raw_head, got[0].body) if got else None  # type: ignore[attr-defined]  # street.Received
    terms = exchange.terms
    who = (terms and terms.route, exchange.client, exchange.label, exchange.labels, exchange.target, exchange.admitted)
    how = (exchange.method, exchange.path, exchange.status, exchange.error, str(exchange.outcome), exchange.bytes_up)
    return Told(up, (_undated(down[0]), down[1]), (*who, *how))


def _undated(answer: bytes) -> bytes:
    return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.lower().startswith((b"date:", b"x-request-id:")))


def goes_on(seen: Told) -> bool:
    """Tell whether the client may send another request on the connection."""
    lower = seen.down[0].lower()
    return b"\r\nconnection: close" not in lower and b"content-length" in lower


async def alone(house: Road, received: list[object], request: bytes) -> Told:
    """Return what is seen of a request on a connection of its own."""
    async with client(house.port) as raw:
        return await told(house, received, raw, request)


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_that_follows_a_usual_one(name: str) -> None:
    """It is judged, rewritten, answered and recorded as on a connection of its own; and so is the usual one that follows it."""
    async with upstream(answering(ANSWER)) as above, road(*routes(above.port), clients=CLIENTS) as house:
        received: list[object] = above.received  # type: ignore[assignment]  # read only
        usual_one, expected = await alone(house, received, FIRST), await alone(house, received, REQUESTS[name])
        async with client(house.port) as raw:
            assert usual_one == await told(house, received, raw, FIRST)
            seen = await told(house, received, raw, REQUESTS[name])
            assert expected == seen
            if goes_on(seen):
                assert usual_one == await told(house, received, raw, FIRST)


@pytest.mark.parametrize("name", SEQUENCES)
async def test_requests_in_a_row(name: str) -> None:
    """Each is taken as it would be alone."""
    async with upstream(answering(ANSWER)) as above, road(*routes(above.port), clients=CLIENTS) as house:
        received: list[object] = above.received  # type: ignore[assignment]  # read only
        expected = [await alone(house, received, request) for request in SEQUENCES[name]]
        async with client(house.port) as raw:
            assert expected == [await told(house, received, raw, request) for request in SEQUENCES[name]]


@pytest.mark.parametrize("seed", range(12))
async def test_requests_in_any_order(seed: int) -> None:
    """Whatever went before, each is taken as it would be alone."""
    chance = random.Random(seed)
    async with upstream(answering(ANSWER)) as above, road(*routes(above.port), clients=CLIENTS) as house:
        received: list[object] = above.received  # type: ignore[assignment]  # read only
        expected = {name: await alone(house, received, request) for name, request in REQUESTS.items()}
        lasting = [name for name, seen in expected.items() if goes_on(seen)]
        assert len(lasting) > 15
        async with client(house.port) as raw:
            for _ in range(40):
                name = chance.choice(lasting)
                times = chance.choice((1, 1, 2))
                assert [expected[name]] * times == [await told(house, received, raw, REQUESTS[name]) for _ in range(times)]


async def test_a_key_that_is_taken_away() -> None:
    """From then on the same bytes on the same connection are refused, and accepted when the key is back."""
    async with upstream(answering(ok())) as above, road(*routes(above.port), clients=CLIENTS) as house:
        async with client(house.port) as raw:
            statuses = []
            for clients in (CLIENTS, CLIENTS[1:], CLIENTS):
                house.adopt(routes(above.port), clients)
                await raw.send(FIRST)
                statuses.append((await raw.answer())[0][9:12])
        assert [b"200", b"401", b"200"] == statuses


async def test_a_target_that_is_changed() -> None:
    """From then on the same bytes on the same connection go there."""
    async with (
        upstream(answering(ok(b"one"))) as one,
        upstream(answering(ok(b"two"))) as two,
        road(*routes(one.port), clients=CLIENTS) as house,
        client(house.port) as raw,
    ):
        bodies = []
        for port in (one.port, two.port, one.port):
            house.adopt(routes(port), CLIENTS)
            for _ in range(2):
                await raw.send(FIRST)
                bodies.append((await raw.answer())[1])
        assert [b"one"] * 2 + [b"two"] * 2 + [b"one"] * 2 == bodies


async def test_what_is_remembered_ends_with_its_connection() -> None:
    """Of a client that leaves in the middle of a long upload no key is left, even before garbage is collected."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok())
        await peer.ended()

    gc.collect()
    gc.disable()
    try:
        async with upstream(script) as above, road(*routes(above.port), clients=CLIENTS) as house:
            async with client(house.port) as raw:
                await raw.send(FIRST)
                await raw.answer()
                remembered = passages()
                await raw.send(head(HOST, KEY, TYPE, b"Content-Length: 40000", TEAM, body=b"x" * 30_000))
                await until(lambda: bool(house.relay.active))
            await until(lambda: not house.listener.connections)
            await house.quiet()
            assert (1, 0) == (remembered, passages())
    finally:
        gc.enable()


async def test_what_is_remembered_ends_with_its_rules() -> None:
    """Behind a reload nothing of the old configuration is held for a connection that goes on, whatever is asked on it."""
    async with upstream(answering(ok())) as above, road(*routes(above.port), clients=CLIENTS) as house, client(house.port) as raw:
        await raw.send(FIRST)
        await raw.answer()
        house.adopt(routes(above.port), CLIENTS[1:])
        await raw.send(FIRST)
        assert b"401" == (await raw.answer())[0][9:12]
        gc.collect()
        assert 0 == passages()


def passages() -> int:
    """Return how many heads are remembered."""
    return sum(isinstance(each, PreparedRequest) for each in gc.get_objects())


@dataclass
class Came:
    """A head as the parser passes it on."""

    raw_headers: tuple[tuple[bytes, bytes], ...]
    method: str = "POST"
    raw_path: str = "/ocr"
    version: tuple[int, int] = (1, 1)


def passage(came: Came, request_head: bytes) -> PreparedRequest:
    """Return what a head comes to, with another head for the target."""
    found = validate(came.method, came.raw_path.encode(), came.version, came.raw_headers)
    (route,) = (route_to(1, b""),)
    match = Match(route, b"/ocr")
    return PreparedRequest("/shown", found, match, b"/told", CLIENTS[0], "red", (("user", "eve"),), request_head, (PROVIDER_KEY,))


@pytest.mark.parametrize(
    ("field", "version"),
    [
        ((b"X-More", b"1"), (1, 1)),
        ((b"X-More", b"1"), (1, 0)),
        ((b"Connection", b"close, x-team"), (1, 1)),
        ((b"Connection", b"keep-alive"), (1, 0)),
        ((b"Expect", b"100-continue"), (1, 1)),
    ],
)
def test_a_length_that_is_set_anew(field: tuple[bytes, bytes], version: tuple[int, int]) -> None:
    """What a head comes to that differs by it alone is known without a judgement, and is what the judgement would be."""
    memory, rules = HeadCache(), object()
    five, six = (
        Came(((b"Host", b"a"), (b"content-Length", digits), field), raw_path="/ocr?x=1", version=version)
        for digits in (b"5", b"066")
    )
    memory.keep(rules, five, passage(five, b"POST / HTTP/1.1\r\nHost: b\r\ncontent-Length: 5\r\nX-Length: 5\r\n\r\n"))
    expected = passage(six, b"POST / HTTP/1.1\r\nHost: b\r\ncontent-Length: 066\r\nX-Length: 5\r\n\r\n")
    assert (expected, 66) == (memory.recall(rules, six), expected.head.length)


def test_a_large_head_is_not_held() -> None:
    """One beyond the bound is forgotten, and with it the one before."""
    small = Came(((b"Host", b"a"), (b"Cookie", b"c")))
    large = Came(((b"Host", b"a"), (b"Cookie", b"c" * MAX_BYTES)))
    memory, rules = HeadCache(), object()
    memory.keep(rules, small, passage(small, b"small"))
    assert memory.recall(rules, small) is not None
    memory.keep(rules, large, passage(large, b"large"))
    assert [None, None] == [memory.recall(rules, small), memory.recall(rules, large)]


@pytest.mark.parametrize(
    "request_head",
    [
        b"POST / HTTP/1.1\r\nHost: b\r\n\r\n",  # it stays here
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",  # it stands there twice
    ],
)
def test_a_length_that_cannot_be_set_anew(request_head: bytes) -> None:
    """Then only the same length is known, and any other is judged."""
    memory, rules = HeadCache(), object()
    five, six = (Came(((b"Host", b"a"), (b"Content-Length", digits))) for digits in (b"5", b"6"))
    memory.keep(rules, five, passage(five, request_head))
    assert memory.recall(rules, five) is not None
    assert memory.recall(rules, six) is None
