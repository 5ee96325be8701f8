"""Requests whose token is fetched: added when they are sent, renewed once where it is rejected; without one nothing goes up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from passthrough.exchange import Outcome
from passthrough.proxy.attempts import HELD_FOR_TOKEN_BYTES
from passthrough.proxy.routes import Retries, Route, Timeouts
from tests.harness.client import RawClient, asking, client
from tests.harness.issuer import IDENTITY, Issuer
from tests.harness.proxy import Road, road, route_to
from tests.harness.upstream import Peer, RawUpstream, Received, Script, answering, chunk, ok, upstream
from tests.harness.waiting import until

pytestmark = pytest.mark.wire

DONE = ok(b'{"model":"mistral-ocr-4-1","usage_info":{"pages_processed":3}}')
REJECTED = ok(b"who are you?", status=b"401 Unauthorized")
POST = b"POST /v1/ocr HTTP/1.1"


def token_of(received: Received) -> bytes:
    """Return the one credential that a request came with."""
    (value,) = received.values(b"authorization")
    scheme, _, token = value.partition(b" ")
    assert b"Bearer" == scheme
    return token


def taking(issuer: Issuer, *numbers: int, early: bool = False) -> Script:
    """Return a script that takes the issuer's tokens of these numbers and answers 401 to others, `early`: before the body."""

    async def script(peer: Peer) -> None:
        while True:
            if early and peer.upstream.connections == 1:
                await peer.head()
                await peer.send(REJECTED)
                await peer.ended()
                return
            taken = token_of(await peer.request()) in {
                issuer.issued[each - 1].encode() for each in numbers if each <= issuer.asked
            }
            await peer.send(DONE if taken else REJECTED)

    return script


def auth_route(port: int, **settings: Any) -> Route:
    """Return a route whose token is fetched."""
    return route_to(port, upstream_auth=IDENTITY, **settings)


@asynccontextmanager
async def one(issuer: Issuer, script: Script, **settings: Any) -> AsyncIterator[tuple[Road, RawUpstream, RawClient]]:
    """Run a target, the road to it, and a client."""
    async with (
        upstream(script) as raw,
        road(auth_route(raw.port, **settings), tokens=issuer.sources()) as house,
        client(house.port) as caller,
    ):
        yield house, raw, caller


async def test_the_token_goes_up_and_no_other_credential() -> None:
    """Behind the fields of the client, whose own Authorization stays here; the body and its length are as they came."""
    issuer = Issuer()
    async with one(issuer, answering(DONE)) as (house, raw, caller):
        theirs = (b"authorization: Bearer theirs", b"X-Authorization: theirs", b"x-pass-authorization: theirs", b"X-Team: red")
        await caller.send(asking(POST, *theirs, body=b"{}"))
        head, body = await caller.answer()
        assert (b"HTTP/1.1 200 OK", DONE.partition(b"\r\n\r\n")[2]) == (head.split(b"\r\n")[0], body)
        assert [b"Host", b"X-Team", b"Content-Length", b"Authorization"] == [name for name, _ in raw.received[0].fields]
        assert (issuer.issued[0].encode(), b"{}") == (token_of(raw.received[0]), raw.received[0].body)
        assert 3 == (await (await house.booked())[0].usage_source.usage()).pages


async def test_what_is_cached_of_a_head_has_no_token() -> None:
    """An equal head, of another length too, gets the token that is in force when it is sent."""
    issuer = Issuer()
    async with one(issuer, taking(issuer, 2)) as (_, raw, caller):
        for body in (b"{}", b"{}", b"x" * 12345, b""):
            await caller.send(asking(POST, b"X-Team: red", body=body))
            assert b"200" == (await caller.answer())[0][9:12]
        assert [b"{}", b"{}", b"{}", b"x" * 12345, b""] == [received.body for received in raw.received]
        assert [issuer.issued[each].encode() for each in (0, 1, 1, 1, 1)] == [token_of(received) for received in raw.received]


@pytest.mark.parametrize(
    "body", [None, b"", b"small", b"x" * HELD_FOR_TOKEN_BYTES], ids=["none", "empty", "small", "as much as is held"]
)
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("retries", [Retries(), Retries(attempts=1)], ids=["without retries", "with retries"])
async def test_a_rejected_token_is_renewed_and_the_request_sent_again(
    body: bytes | None, chunked: bool, retries: Retries
) -> None:
    """Once, with the same bytes; the client sees the second response alone, and it is one exchange with one count."""
    issuer = Issuer()
    async with one(issuer, taking(issuer, 2), retries=retries) as (house, raw, caller):
        if body is None:
            await caller.send(asking(b"GET /v1/files HTTP/1.1"))
        elif chunked:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            await caller.send(asking(POST, b"Transfer-Encoding: chunked"), framed, b"0\r\n\r\n")
        else:
            await caller.send(asking(POST, b"Content-Length: %d" % len(body)), body)
        assert b"200" == (await caller.answer())[0][9:12]
        assert [body or b""] * 2 == [received.body for received in raw.received]
        assert [each.encode() for each in issuer.issued] == [token_of(received) for received in raw.received]
        (exchange,) = await house.booked()
        assert (2, 200, len(body or b""), Outcome.COMPLETED) == (
            exchange.attempts,
            exchange.status,
            exchange.bytes_up,
            exchange.outcome,
        )
        assert (None if body is None else 3) == (await exchange.usage_source.usage()).pages
        await until(lambda: raw.open == 1)  # The connection of the first call is closed, the other one kept.


async def test_a_rejected_token_is_not_echoed_either() -> None:
    """It may be good elsewhere: the response to the second token names none of the two."""
    issuer = Issuer()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            seen = [b"X-Seen: " + token_of(each) for each in peer.upstream.received]
            await peer.send(REJECTED if len(seen) == 1 else ok(b"{}", *seen, b"X-Other: 1"))

    async with one(issuer, script) as (_, raw, caller):
        await caller.send(asking(POST, body=b"{}"))
        head, _ = await caller.answer()
        assert (2, True, False) == (len(raw.received), b"X-Other" in head, b"X-Seen" in head)


async def test_a_provider_that_rejects_every_token_is_asked_twice_and_then_heard() -> None:
    """Its own 401 is relayed, byte for byte. The next request is sent once: another token would be rejected as well."""
    issuer = Issuer()
    async with one(issuer, answering(REJECTED)) as (house, raw, caller):
        for _ in range(2):
            await caller.send(asking(POST, body=b"{}"))
            head, body = await caller.answer()
            assert (b"HTTP/1.1 401 Unauthorized", b"who are you?") == (head.split(b"\r\n")[0], body)
            assert b"x-passthrough-error" not in head.lower()
        assert [2, 1] == [exchange.attempts for exchange in await house.booked(2)]
        assert [False, False] == [exchange.went_up for exchange in house.exchanges]
        assert (3, 2) == (len(raw.received), issuer.asked)


async def test_where_no_other_token_comes_the_rejection_is_relayed() -> None:
    """The request is not sent again with the same token."""
    issuer = Issuer()
    async with one(issuer, answering(REJECTED)) as (house, raw, caller):
        await until(lambda: bool(issuer.issued))
        issuer.refuses = "The server is away."
        await caller.send(asking(POST, body=b"{}"))
        assert b"who are you?" == (await caller.answer())[1]
        assert (1, 1) == (len(raw.received), (await house.booked())[0].attempts)


TOO_LONG = b"x" * (HELD_FOR_TOKEN_BYTES + 1)


@pytest.mark.parametrize(
    ("early", "field", "sent"),
    [
        (True, b"Content-Length: 3000000", b"x" * 1000),
        (True, b"Content-Length: 30", b"x" * 29),
        (False, b"Content-Length: %d" % len(TOO_LONG), TOO_LONG),
        (False, b"Transfer-Encoding: chunked", chunk(TOO_LONG) + chunk(b"")),
    ],
    ids=["early", "early and short", "behind the body", "behind a body in chunks"],
)
async def test_a_body_that_is_not_held_is_sent_once_and_the_next_has_a_new_token(early: bool, field: bytes, sent: bytes) -> None:
    """A target that rejects the token while a body still comes, or of a long one: its 401 is relayed at once.

    The renewal has begun, for the requests to come.
    """
    issuer = Issuer()
    async with one(issuer, taking(issuer, 2, early=early)) as (house, raw, caller):
        await until(lambda: bool(issuer.issued))
        issuer.open.clear()
        await caller.send(asking(POST, field))
        caller.writer.write(sent)
        head, body = await caller.answer()
        assert (b"401", b"who are you?") == (head[9:12], body)
        assert 1 == (await house.booked())[0].attempts
        await until(lambda: issuer.asked == 2)
        issuer.open.set()
        await until(lambda: len(issuer.issued) == 2)
        async with client(house.port) as other:
            await other.send(asking(POST, body=b"{}"))
            assert b"200" == (await other.answer())[0][9:12]
        assert issuer.issued[1].encode() == token_of(raw.received[-1])


async def test_without_a_token_nothing_is_sent() -> None:
    """Not even a connection is opened; the client learns that it is the operator's affair, and nothing of who the identity is."""
    issuer = Issuer(refuses="The key of ocr@project.test was deleted.")
    async with one(issuer, answering(DONE)) as (house, raw, caller):
        await caller.send(asking(POST, body=b"{}"))
        head, body = await caller.answer()
        assert (b"502", True) == (head[9:12], b"X-Passthrough-Error: upstream_credentials" in head)
        assert b"project.test" not in body
        (exchange,) = await house.booked()
        assert (0, 0, "upstream_credentials") == (raw.connections, exchange.attempts, exchange.error)
        assert (Outcome.UPSTREAM_FAILED, False, True) == (exchange.outcome, exchange.went_up, exchange.overhead_s is not None)


async def test_who_waits_for_a_token_at_the_start_gets_the_one_that_is_fetched() -> None:
    """Sixty-four callers, one fetch."""
    issuer = Issuer(is_open=False)
    async with one(issuer, answering(DONE)) as (house, raw, _):

        async def call() -> bytes:
            async with client(house.port) as caller:
                await caller.send(asking(POST, body=b"{}"))
                return (await caller.answer())[0][9:12]

        calls = [asyncio.create_task(call()) for _ in range(64)]
        await until(lambda: len(house.relay.active) == 64)
        assert 0 == raw.connections
        issuer.open.set()
        assert [b"200"] * 64 == await asyncio.gather(*calls)
        assert (1, {issuer.issued[0].encode()}) == (issuer.asked, {token_of(received) for received in raw.received})


async def test_a_client_that_leaves_while_it_waits_for_a_token_ends_its_own_wait() -> None:
    """Nothing was sent for it, and who waits beside it gets the token."""
    issuer = Issuer(is_open=False)
    async with one(issuer, answering(DONE)) as (house, raw, caller):
        async with client(house.port) as other:
            await other.send(asking(POST, body=b"{}"))
            await until(lambda: len(house.relay.active) == 1)
            await caller.send(asking(POST, body=b"{}"))
            await until(lambda: len(house.relay.active) == 2)
        (gone,) = await house.booked()
        assert (Outcome.CLIENT_GONE, None, 0) == (gone.outcome, gone.status, gone.attempts)
        issuer.open.set()
        assert b"200" == (await caller.answer())[0][9:12]
        assert (1, 1) == (len(raw.received), issuer.asked)


@pytest.mark.parametrize("timeouts", [Timeouts(connect_s=0.05), Timeouts(total_s=0.05)], ids=["connect", "total"])
async def test_the_wait_for_a_token_has_an_end(timeouts: Timeouts) -> None:
    """It counts in `timeouts.total`, and takes no longer than a connection may."""
    issuer = Issuer(is_open=False)
    async with one(issuer, answering(DONE), timeouts=timeouts) as (house, raw, caller):
        await caller.send(asking(POST, body=b"{}"))
        assert b"502" == (await caller.answer())[0][9:12]
        assert ("upstream_credentials", 0) == ((await house.booked())[0].error, raw.connections)
        issuer.open.set()


async def test_a_client_that_leaves_while_its_rejected_token_is_renewed() -> None:
    """The request is not sent again for it."""
    issuer = Issuer()
    async with one(issuer, answering(REJECTED)) as (house, raw, _):
        await until(lambda: bool(issuer.issued))
        issuer.open.clear()
        async with client(house.port) as caller:
            await caller.send(asking(POST, body=b"{}"))
            await until(lambda: issuer.asked == 2)
        assert Outcome.CLIENT_GONE == (await house.booked())[0].outcome
        issuer.open.set()
        await until(lambda: len(issuer.issued) == 2)
        await house.quiet()
        assert 1 == len(raw.received)


async def test_a_token_that_is_echoed_stays_here() -> None:
    """In a field, in the reason phrase, in the request's id; the one of the second try, too."""
    issuer = Issuer()

    async def script(peer: Peer) -> None:
        while True:
            token = token_of(await peer.request())
            status = b"401 " if len(peer.upstream.received) == 2 else b"200 "
            await peer.send(ok(b"{}", b"X-Echo: you sent " + token, b"X-Request-Id: " + token, status=status + token))

    async with one(issuer, script) as (house, raw, caller):
        for _ in range(2):
            await caller.send(asking(POST, body=b"{}"))
            head, _ = await caller.answer()
            assert b"HTTP/1.1 200 " == head.split(b"\r\n")[0]
            assert b"of-the-issuer" not in head
        assert [None, None] == [exchange.upstream_request_id for exchange in await house.booked(2)]
        assert [0, 0, 1] == [issuer.issued.index(token_of(received).decode()) for received in raw.received]


async def test_each_retry_has_the_token_that_is_in_force() -> None:
    """What the route sends again, it sends with a token; a rejection between two tries does not count as one."""
    issuer, statuses = Issuer(), [b"429 Busy", b"401 No", b"429 Busy", b"200 OK"]

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(ok(b"{}", status=statuses[len(peer.upstream.received) - 1]))

    async with one(issuer, script, retries=Retries(attempts=2, max_wait_s=0.0)) as (house, raw, caller):
        await caller.send(asking(POST, body=b"{}"))
        assert b"200" == (await caller.answer())[0][9:12]
        assert [0, 0, 1, 1] == [issuer.issued.index(token_of(received).decode()) for received in raw.received]
        assert 4 == (await house.booked())[0].attempts


async def test_a_reload_to_another_identity_takes_its_token() -> None:
    """On a connection whose last head is cached, too; a route without `upstream_auth` has no token at all."""
    issuer = Issuer()
    async with one(issuer, answering(DONE)) as (house, raw, caller):
        for route in (auth_route(raw.port), route_to(raw.port)):
            house.adopt([route])
            await caller.send(asking(POST, body=b"{}"))
            await caller.answer()
        assert [1, 0] == [len(received.values(b"authorization")) for received in raw.received]
