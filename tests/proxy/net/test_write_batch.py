"""Small writes of one event loop iteration, sent together."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from passthrough.errors import UpstreamFailure
from passthrough.exchange import Exchange, Outcome
from passthrough.meter.plan import MeterPlan
from passthrough.meter.usage import Usage
from passthrough.proxy.net.write_batch import WriteBatch
from passthrough.proxy.routes import Retries
from passthrough.proxy.upstream.connection import Connection
from tests.harness.client import asking, client
from tests.harness.proxy import road, route_to
from tests.harness.upstream import Peer, ok, upstream
from tests.harness.waiting import until

UNASKED = ok(b"late", b"Connection: close", status=b"408 Request Timeout")


async def test_what_is_due_is_sent_at_the_end_of_the_turn_in_its_order() -> None:
    """Nothing is sent where it is due; all of it has gone, in order, before whatever was to happen behind it."""
    loop = asyncio.get_running_loop()
    turn, sent = WriteBatch(loop), list[str]()
    for name in "abc":
        turn.schedule(lambda name=name: sent.append(name))  # type: ignore[misc] # mypy does not see through the default
    at_once = list(sent)
    behind = loop.create_future()
    loop.call_soon(lambda: behind.set_result(list(sent)))
    assert ([], ["a", "b", "c"]) == (at_once, await behind)


async def test_what_falls_due_while_others_are_sent_has_a_turn_of_its_own() -> None:
    """A send may make another one due: it goes out too."""
    loop = asyncio.get_running_loop()
    turn, gone = WriteBatch(loop), loop.create_future()
    turn.schedule(lambda: turn.schedule(lambda: gone.set_result("gone")))
    assert "gone" == await asyncio.wait_for(gone, 20)


async def test_a_send_that_fails_keeps_no_other_back() -> None:
    """The defect is reported to the loop's handler; what stands behind it is sent."""
    loop = asyncio.get_running_loop()
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    turn, gone = WriteBatch(loop), loop.create_future()

    def fail() -> None:
        raise OSError("odd")

    turn.schedule(fail)
    turn.schedule(lambda: gone.set_result("gone"))
    assert "gone" == await asyncio.wait_for(gone, 20)
    assert ["odd"] == [str(context["exception"]) for context in told]


def end(peer: Peer, words: bytes = b"") -> None:
    """Send bytes and end the connection at once, past the loop's transport."""
    with socket.socket(fileno=os.dup(peer.writer.get_extra_info("socket").fileno())) as past:
        past.sendall(words)
        past.shutdown(socket.SHUT_WR)


@dataclass(slots=True)
class Moment:
    """An allowance that has something happen when a request to `/second` is about to be sent, and before it is.

    `at_once`: before its connection is chosen, and where the loop has not seen it yet; else behind that.
    """

    happens: list[Callable[[], None]] = field(default_factory=list)
    at_once: bool = False

    def enter(self, exchange: Exchange) -> None:
        """Let all go on."""
        if exchange.path == "/second" and self.at_once:
            self.happens.pop()()
        elif exchange.path == "/second":
            asyncio.get_running_loop().call_soon(self.happens.pop())


@pytest.mark.wire
@pytest.mark.parametrize("retries", [Retries(), Retries(attempts=1, held_bytes=0, spool=True)], ids=["once", "spooled"])
@pytest.mark.parametrize("spoken", [b"", UNASKED, b"x"])
async def test_a_request_that_waits_for_the_turns_end_is_not_lost_with_its_connection(spoken: bytes, retries: Retries) -> None:
    """A target that closes the kept connection, or speaks, before the request is sent: it goes to another one, unbilled, once."""
    moment = Moment()

    async def script(peer: Peer) -> None:
        def speak() -> None:
            end(peer, spoken)

        while (await peer.request()).line != b"GET /others HTTP/1.1":
            await peer.send(ok(b"%d" % peer.number))
            moment.happens.append(speak)
        await peer.ended()

    async with (
        upstream(script) as above,
        road(route_to(above.port, retries=retries), allowance=moment) as house,
        client(house.port) as other,
        client(house.port) as raw,
    ):
        await other.send(asking(b"GET /others HTTP/1.1"))
        await until(lambda: len(above.received) == 1)
        await raw.send(asking(b"POST /first HTTP/1.1", body=b"1"))
        assert b"2" == (await raw.answer())[1]
        await raw.send(asking(b"POST /second HTTP/1.1", body=b"2"))
        head, body = await raw.answer()
        assert (b"200", b"3") == (head[9:12], body)
        assert [b"", b"1", b"2"] == [received.body for received in above.received]
        assert [(Outcome.COMPLETED, 1)] * 2 == [(each.outcome, each.attempts) for each in await house.booked(2)]


@pytest.mark.wire
@pytest.mark.parametrize("settles", [False, True])
async def test_a_client_that_leaves_ends_its_request_on_the_other_connection(settles: bool) -> None:
    """A call that went to another connection ends as any does: it is given up at once, or read to its end for its pages."""
    moment, left, ended = Moment(), asyncio.Event(), list[bytes]()

    async def script(peer: Peer) -> None:
        while (request := await peer.request()).line == b"POST /first HTTP/1.1":
            await peer.send(ok(b"1"))
            moment.happens.append(lambda: end(peer))
        if settles and request.body == b"2":
            await left.wait()
            await peer.send(ok(b'{"usage_info": {"pages_processed": 3}}'))
        await peer.ended()
        ended.append(request.body)

    plan = MeterPlan("ocr" if settles else "none")
    async with (
        upstream(script) as above,
        road(route_to(above.port, plan=plan), allowance=moment) as house,
        client(house.port) as other,
    ):
        await other.send(asking(b"GET /others HTTP/1.1"))
        await until(lambda: len(above.received) == 1)
        async with client(house.port) as raw:
            await raw.send(asking(b"POST /first HTTP/1.1", body=b"1"))
            await raw.answer()
            await raw.send(asking(b"POST /second HTTP/1.1", body=b"2"))
            await until(lambda: len(above.received) == 3)
        await until(lambda: len(house.relay.active) == 1)
        left.set()
        second = (await house.booked(2))[1]
        assert (Outcome.CLIENT_GONE, 1) == (second.outcome, second.attempts)
        if settles:
            assert 3 == (await second.usage_source.usage()).pages
        else:
            await until(lambda: ended == [b"2"])


@pytest.mark.wire
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("spoken", [b"", UNASKED, b"x"])
async def test_a_connection_that_has_ended_unseen_gets_no_request(spoken: bytes, others: bool, streamed: bool) -> None:
    """The target's close, or its words, are noticed before a request leaves in whatever way: it is sent on another, once."""
    moment = Moment(at_once=True)

    async def script(peer: Peer) -> None:
        while (await peer.request()).line != b"GET /others HTTP/1.1":
            await peer.send(ok(b"%d" % peer.number))
            moment.happens.append(lambda: end(peer, spoken))
        await peer.ended()

    async with (
        upstream(script) as above,
        road(route_to(above.port), allowance=moment) as house,
        client(house.port) as other,
        client(house.port) as raw,
    ):
        if others:
            await other.send(asking(b"GET /others HTTP/1.1"))
            await until(lambda: len(above.received) == 1)
        await raw.send(asking(b"POST /first HTTP/1.1", body=b"1"))
        number = int((await raw.answer())[1])
        request = asking(b"POST /second HTTP/1.1", body=b"22")
        if streamed:
            await raw.send(request[:-1])
            await until(lambda: not moment.happens)
        await raw.send(request[-1:] if streamed else request)
        head, body = await raw.answer()
        assert (b"200", number + 1) == (head[9:12], int(body))
        assert [b"", b"1", b"22"][not others :] == [received.body for received in above.received]
        assert [(Outcome.COMPLETED, 1)] * 2 == [(each.outcome, each.attempts) for each in await house.booked(2)]


@pytest.mark.wire
async def test_a_request_that_waits_and_finds_no_other_connection() -> None:
    """The client learns that the target cannot be reached, and nothing is counted: nothing was sent."""
    moment = Moment()

    async def script(peer: Peer) -> None:
        def leave() -> None:
            end(peer)
            gone.stop()

        while (await peer.request()).line != b"GET /others HTTP/1.1":
            await peer.send(ok())
            moment.happens.append(leave)
        await peer.ended()

    async with (
        upstream(script) as above,
        upstream(script) as gone,
        road(route_to(above.port, b"/others", base=b"/others"), route_to(gone.port), allowance=moment) as house,
        client(house.port) as other,
        client(house.port) as raw,
    ):
        await other.send(asking(b"GET /others HTTP/1.1"))
        await until(lambda: len(above.received) == 1)
        await raw.send(asking(b"POST /first HTTP/1.1", body=b"1"))
        await raw.answer()
        await raw.send(asking(b"POST /second HTTP/1.1", body=b"2"))
        head, _ = await raw.answer()
        assert (b"502", True) == (head[9:12], b"X-Passthrough-Error: upstream_unreachable\r\n" in head)
        second = (await house.booked(2))[1]
        assert (Outcome.UPSTREAM_FAILED, Usage()) == (second.outcome, await second.usage_source.usage())


async def test_an_answer_to_what_has_not_been_sent_is_nobodys() -> None:
    """What a target says on its own is not taken for the response to the request that waits for the end of the iteration."""
    loop = asyncio.get_running_loop()
    turn = WriteBatch(loop)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    _, connection = await loop.create_connection(
        lambda: Connection(loop, "api.test", turn), "127.0.0.1", server.sockets[0].getsockname()[1]
    )
    connection.begin("POST")
    connection.write(b"request", batched=True)
    before = connection.unsent
    connection.data_received(UNASKED)
    assert (b"", b"request") == (before, connection.unsent)
    with pytest.raises(UpstreamFailure, match="before a request was sent"):
        connection.take_response_head()
    connection.abort()
    server.close()
    assert b"" == connection.unsent
