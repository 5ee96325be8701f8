"""Sending again: only where the route says so, only what is held whole, and never in silence."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.exchange import Outcome
from passthrough.proxy.attempts import retry_delay_s
from passthrough.proxy.routes import Retries, Timeouts
from passthrough.proxy.upstream.response_head import parse_head
from tests.harness.client import asking, client
from tests.harness.ports import free_port
from tests.harness.proxy import road, route_to
from tests.harness.upstream import Peer, answering, ok, upstream
from tests.harness.waiting import WAIT_S, until

pytestmark = pytest.mark.wire

NOW = 1_800_000_000.0
BUSY = ok(b"busy", status=b"429 Too Many Requests")
DONE = ok(b'{"model":"mistral-ocr-4-1","usage_info":{"pages_processed":3}}')
SOON = Retries(attempts=2, max_wait_s=0.02)


@pytest.mark.parametrize(
    ("status", "retry_after", "tries", "expected"),
    [
        (200, None, 1, None),
        (400, None, 1, None),
        (429, None, 1, 0.5),
        (429, None, 2, 1.0),
        (503, None, 3, 2.0),
        (503, None, 4, None),
        (429, b"7", 1, 7.0),
        (429, b"0", 1, 0.0),
        (429, b"60", 1, 60.0),
        (429, b"61", 1, None),
        (429, b"999999999", 1, None),
        (429, b"1000000000", 1, None),
        (429, b"99999999999999999999", 1, None),
        (429, b"9" * 5000, 1, None),
        (429, b"00000000000007", 1, 7.0),
        (429, b"2.5", 1, 2.5),
        (429, b"60.0", 1, 60.0),
        (429, b"60.001", 1, None),
        (429, b"+7", 1, 7.0),
        (429, b"3, 61", 1, None),
        (429, b"3,5", 1, 5.0),
        (429, b"-1", 1, 0.5),
        (429, b"-9999999999", 1, 0.5),
        (429, b"", 1, 0.5),
        (429, b" \t ", 1, 0.5),
        (429, b",", 1, 0.5),
        (429, b"inf", 1, 0.5),
        (429, b"soon", 1, 0.5),
        (429, b"\xff", 1, 0.5),
    ],
)
def test_the_pause(status: int, retry_after: bytes | None, tries: int, expected: float | None) -> None:
    """The target's own word counts, within the bound; without one the wait doubles."""
    field = b"" if retry_after is None else b"\r\nRetry-After: " + retry_after
    answer = parse_head(b"HTTP/1.1 %d X%b\r\nContent-Length: 0" % (status, field), "POST")
    assert answer is not None
    assert expected == retry_delay_s(Retries(attempts=3), answer, tries, NOW, 0.0)


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        (formatdate(NOW + 5, usegmt=True).encode(), 5.0),
        (formatdate(NOW + 60, usegmt=True).encode(), 60.0),
        (formatdate(NOW + 61, usegmt=True).encode(), None),
        (formatdate(NOW - 5, usegmt=True).encode(), 0.0),
        (b"Friday, 15-Jan-27 08:00:07 GMT", 7.0),
        (b"Fri Jan 15 08:00:07 2027", 7.0),
        (b"Fri, 15 Jan 2027 08:00:07 -0000", 7.0),
        (b"Fri, 15 Jan 2027 09:00:07 +0100", 7.0),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        (b"Sat, 01 Jan 0000 00:00:00 GMT", 0.0),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", None),
        (b"Fri, 31 Dec 10000 23:59:59 GMT", None),
        (b"Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        (b"Fri, 99999999999999999999 Dec 2027 23:59:59 GMT", None),
        (b"Fri, 31 Nov 2027 25:61:61 GMT", None),
        (b"Fri, 15 Foo 2027 08:00:07 GMT", 0.5),
    ],
)
def test_the_pause_until_a_date(retry_after: bytes, expected: float | None) -> None:
    """A date is in UTC however it is spelt (RFC 9110 §5.6.7). One that no calendar has is far away, not near."""
    answer = parse_head(b"HTTP/1.1 429 X\r\nRetry-After: %b\r\nContent-Length: 0" % retry_after, "POST")
    assert answer is not None
    assert expected == retry_delay_s(Retries(attempts=3), answer, 1, NOW, 0.0)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((b"3", b"9"), 9.0),
        ((b"9", b"3"), 9.0),
        ((b"3", b"61"), None),
        ((b"3", formatdate(NOW + 500, usegmt=True).encode()), None),
        ((b"soon", b"3"), 3.0),
        ((b"soon", b""), 0.5),
    ],
)
def test_of_several_pauses_the_longest_counts(fields: tuple[bytes, ...], expected: float | None) -> None:
    """A target and its gateway may both say when: who waits longer suits both."""
    lines = b"".join(b"Retry-After: %b\r\n" % field for field in fields)
    answer = parse_head(b"HTTP/1.1 429 X\r\n%bContent-Length: 0" % lines, "POST")
    assert answer is not None
    assert expected == retry_delay_s(Retries(attempts=3), answer, 1, NOW, 0.0)


@given(st.binary(max_size=40) | st.text("0123456789 ,:+-.GMTDecJanFri", max_size=40).map(str.encode))
def test_no_retry_after_breaks_a_response(retry_after: bytes) -> None:
    """Whatever a target sends there, the wait is within the bound, or the response is relayed."""
    answer = parse_head(b"HTTP/1.1 429 X\r\nContent-Length: 0", "POST")
    assert answer is not None
    asking_to_wait = replace(answer, values={b"retry-after": [retry_after]})
    pause = retry_delay_s(Retries(attempts=3), asking_to_wait, 1, NOW, 0.0)
    assert pause is None or 0 <= pause <= 60


def test_the_pause_is_spread_and_bounded() -> None:
    """Clients that failed together do not come back together; no wait is longer than the route allows."""
    answer = parse_head(b"HTTP/1.1 503 X\r\nContent-Length: 0", "POST")
    assert answer is not None
    assert 0.25 == retry_delay_s(Retries(attempts=3), answer, 1, NOW, 1.0)
    assert 8.0 == retry_delay_s(Retries(attempts=10), answer, 9, NOW, 0.0)
    assert 3.0 == retry_delay_s(Retries(attempts=10, max_wait_s=3.0), answer, 9, NOW, 0.0)


@pytest.mark.parametrize("body", [b"", b"small", bytes(range(256)) * 3000], ids=["empty", "small", "streamed"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_busy_target_is_asked_again_with_the_same_bytes(body: bytes, chunked: bool) -> None:
    """429 is tried again where the route names it: the same body each time, one response, one exchange."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(BUSY if len(peer.upstream.received) < 3 else DONE)

    async with upstream(script) as raw, road(route_to(raw.port, retries=SOON)) as house, client(house.port) as caller:
        if chunked:
            await caller.send(asking(b"POST /v1/ocr HTTP/1.1", b"Transfer-Encoding: chunked"))
            for start in range(0, len(body), 100_000):
                piece = body[start : start + 100_000]
                await caller.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await caller.send(b"0\r\n\r\n")
        else:
            await caller.send(asking(b"POST /v1/ocr HTTP/1.1", b"Content-Length: %d" % len(body)), body)
        head, _ = await caller.answer()
        exchange = (await house.booked())[0]
        assert b"HTTP/1.1 200 OK" == head.split(b"\r\n")[0]
        assert [body] * 3 == [received.body for received in raw.received]
        assert (3, Outcome.COMPLETED, len(body), 200) == (exchange.attempts, exchange.outcome, exchange.bytes_up, exchange.status)
        assert 3 == (await exchange.usage_source.usage()).pages
        assert 1 == len(house.exchanges)


async def test_the_last_answer_is_relayed_untouched() -> None:
    """When every try is refused, the client gets the target's own last response."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(BUSY)

    async with upstream(script) as raw, road(route_to(raw.port, retries=SOON)) as house, client(house.port) as caller:
        await caller.send(asking(b"POST /v1/ocr HTTP/1.1", b"Content-Length: 2"), b"{}")
        assert b"busy" == (await caller.answer())[1]
        assert (3, 429) == ((await house.booked())[0].attempts, house.exchanges[0].status)


@pytest.mark.parametrize(
    ("retries", "size", "expected"),
    [
        (Retries(), 10, 1),
        (Retries(attempts=1, held_bytes=1000, max_wait_s=0.0), 1000, 2),
        (Retries(attempts=1, held_bytes=1000, max_wait_s=0.0), 1001, 1),
        (Retries(attempts=1, held_bytes=1000, max_wait_s=0.0, spool=True), 3_000_000, 2),
        (Retries(attempts=1, statuses=frozenset({503}), max_wait_s=0.0), 10, 1),
    ],
    ids=["off", "held", "too large", "spooled", "another status"],
)
async def test_what_is_not_held_is_sent_once(retries: Retries, size: int, expected: int) -> None:
    """Without the whole body in hand, or the route's leave, a response is relayed at once."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(BUSY)

    async with upstream(script) as raw, road(route_to(raw.port, retries=retries)) as house, client(house.port) as caller:
        await caller.send(asking(b"POST /v1/ocr HTTP/1.1", b"Content-Length: %d" % size), b"x" * size)
        assert b"busy" == (await caller.answer())[1]
        assert [b"x" * size] * expected == [received.body for received in raw.received]


async def test_a_request_that_is_not_whole_yet_is_sent_once() -> None:
    """A target that is busy before it has read the whole body: half a request is not sent again, its response is relayed."""

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(3)
        await peer.send(BUSY)
        await peer.ended()

    async with upstream(script) as raw, road(route_to(raw.port, retries=SOON)) as house, client(house.port) as caller:
        await caller.send(asking(b"POST /v1/ocr HTTP/1.1", b"Content-Length: 10"), b"abc")
        assert b"busy" == (await caller.answer())[1]
        assert (1, 1) == ((await house.booked())[0].attempts, raw.connections)


@pytest.mark.parametrize(
    ("retries", "status", "attempts"),
    [(Retries(), b"502", 1), (Retries(attempts=1), b"200", 2), (Retries(attempts=1, held_bytes=1), b"502", 1)],
    ids=["off", "held", "too large"],
)
async def test_a_stale_connection(retries: Retries, status: bytes, attempts: int) -> None:
    """A kept connection that ends before it responds: sent again on another one where the route says so and the body is held."""

    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 1:
            await peer.send(DONE)
            await peer.head()  # The second request has come; its target goes without a word.
            return
        await peer.send(DONE)

    route = {"retries": retries, "timeouts": Timeouts(header_s=WAIT_S)}
    async with upstream(script) as raw, road(route_to(raw.port, **route)) as house, client(house.port) as caller:
        for expected in (b"200", status):
            await caller.send(asking(b"POST /v1/ocr HTTP/1.1", b"Content-Length: 2"), b"{}")
            assert expected == (await caller.answer())[0][9:12]
        assert [1, attempts] == [exchange.attempts for exchange in await house.booked(2)]


async def test_more_stale_connections_than_attempts() -> None:
    """Where the kept connections end one after the other, the last attempt that the route allows decides."""
    both = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        if len(peer.upstream.received) == 2:
            both.set()
        await both.wait()
        await peer.send(DONE)
        await peer.head()  # The second request has come; its target goes without a word.

    request = asking(b"POST /v1/ocr HTTP/1.1", b"Content-Length: 2") + b"{}"
    route = {"retries": Retries(attempts=1), "timeouts": Timeouts(header_s=WAIT_S)}
    async with (
        upstream(script) as raw,
        road(route_to(raw.port, **route)) as house,
        client(house.port) as caller,
        client(house.port) as other,
    ):
        await caller.send(request)
        await other.send(request)
        assert [b"200", b"200"] == [(await each.answer())[0][9:12] for each in (caller, other)]
        await caller.send(request)
        assert b"502" == (await caller.answer())[0][9:12]
        assert ([1, 1, 2], 2) == ([exchange.attempts for exchange in await house.booked(3)], raw.connections)


async def test_a_new_connection_that_ends_is_asked_once() -> None:
    """A target that took the request on a new connection and ended may have done the work: it is not asked, or paid, twice."""

    async def script(peer: Peer) -> None:
        await peer.request()

    async with upstream(script) as raw, road(route_to(raw.port, retries=SOON)) as house, client(house.port) as caller:
        await caller.send(asking(b"POST /v1/ocr HTTP/1.1", b"Content-Length: 2"), b"{}")
        assert b"502" == (await caller.answer())[0][9:12]
        exchange = (await house.booked())[0]
        assert (1, 1, Outcome.UPSTREAM_FAILED) == (exchange.attempts, len(raw.received), exchange.outcome)


async def test_a_target_that_cannot_be_reached_is_tried_twice() -> None:
    """Nothing was sent (RFC 9110 §9.2.2), so the route need not allow it; both are in the log."""
    async with road(route_to(free_port())) as house, client(house.port) as caller:
        await caller.send(asking(b"POST /v1/ocr HTTP/1.1", b"Content-Length: 2"), b"{}")
        assert b"502" == (await caller.answer())[0][9:12]
        assert 2 == (await house.booked())[0].attempts


async def test_a_client_that_leaves_while_we_wait_ends_it() -> None:
    """No further attempt is made for a client that has left."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(b"busy", b"Retry-After: 30", status=b"429 Too Many Requests"))
        await peer.ended()

    async with upstream(script) as raw, road(route_to(raw.port, retries=Retries(attempts=1))) as house:
        async with client(house.port) as caller:
            await caller.send(asking(b"POST /v1/ocr HTTP/1.1", b"Content-Length: 2"), b"{}")
            await until(lambda: bool(raw.received))
        exchange = (await house.booked())[0]
        assert (Outcome.CLIENT_GONE, None, 1) == (exchange.outcome, exchange.status, exchange.attempts)
        assert 1 == len(raw.received)


async def test_what_was_never_sent_did_not_go_up() -> None:
    """A batched request whose time is over before its batch goes out is not booked as one that the target may have read."""
    go = asyncio.Event()

    async def waits(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.send(DONE)

    late, post = Timeouts(total_s=1e-9), b"POST %b/v1/ocr HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
    async with upstream(answering(DONE)) as raw, upstream(waits) as slow:
        fast, other = route_to(raw.port, b"/fast"), route_to(slow.port, b"/slow")
        async with road(fast, other) as house, client(house.port) as busy, client(house.port) as one:
            await one.send(post % b"/fast")
            await one.answer()  # The connection to the target is kept.
            house.adopt([route_to(raw.port, b"/fast", timeouts=late), other])
            await busy.send(post % b"/slow")
            await until(lambda: slow.connections == 1)  # With several requests under way, small ones go out in batches.
            await one.send(post % b"/fast")
            head, _ = await one.answer()
            assert head.startswith(b"HTTP/1.1 504")
            assert [(200, True), (504, False)] == [(each.status, each.went_up) for each in await house.booked(2)]
            assert 1 == len(raw.received)
            go.set()
            await busy.answer()
