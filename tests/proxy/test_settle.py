"""What becomes of a call whose client has left: read to its end for its pages, or given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from passthrough.exchange import Exchange, Outcome
from passthrough.meter.plan import MeterPlan
from passthrough.meter.usage import Unmetered, Usage
from passthrough.proxy.routes import Timeouts
from tests.harness.client import asking, client
from tests.harness.proxy import Road, road, route_to, street
from tests.harness.upstream import Peer, chunk, ok, upstream
from tests.harness.waiting import WAIT_S, until

pytestmark = pytest.mark.wire

COUNTED = b'{"model":"mistral-ocr-2512","pages":[],"usage_info":{"pages_processed":3,"doc_size_bytes":9}}'
OCR = asking(b"POST /v1/ocr HTTP/1.1", body=b"{}")


@dataclass(slots=True)
class Provider:
    """A target that responds when it is told to: `first`, then, after `go`, the rest; `ends` has what it read last of each."""

    first: bytes = b""
    rest: bytes = ok(COUNTED)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    ends: list[bytes] = field(default_factory=list)

    async def script(self, peer: Peer) -> None:
        """Serve one request after the other."""
        while True:
            await peer.request()
            self.asked += 1
            await peer.send(self.first)
            waiting, ended = asyncio.ensure_future(self.go.wait()), asyncio.ensure_future(peer.reader.read(1))
            try:
                await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    self.ends.append(ended.result())
                    return
            except ConnectionError:
                self.ends.append(b"")
                return
            finally:
                waiting.cancel()
                ended.cancel()
                await asyncio.wait({waiting, ended})
            await peer.send(self.rest)


def chat(path: bytes = b"/v1/chat/completions", body: bytes = b'{"model":"asked"}') -> bytes:
    """A request for tokens."""
    return asking(b"POST %b HTTP/1.1" % path, body=body)


@asynccontextmanager
async def left(provider: Provider, *, resets: bool = True, request: bytes = OCR, **settings: object) -> AsyncIterator[Road]:
    """Run a proxy on which a client has asked and left: before the head, or behind it where the provider sends one."""
    async with street(provider.script, **settings) as (house, _):
        async with client(house.port) as raw:
            await raw.send(request)
            await until(lambda: provider.asked == 1)
            if provider.first:
                await raw.head()
            if resets:
                raw.reset()
        yield house


async def the_only(house: Road) -> Exchange:
    """Return the exchange, once nothing is left to do, and see that it is the only one."""
    (exchange,) = await house.booked()
    await house.quiet()
    assert 1 == len(house.exchanges)
    return exchange


BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(COUNTED) + COUNTED[:10]
STREAMED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(COUNTED[:10])


@pytest.mark.parametrize("resets", [True, False])
@pytest.mark.parametrize(
    ("first", "rest", "status"),
    [
        (b"", ok(COUNTED), None),
        (BEGUN, COUNTED[10:], 200),
        (STREAMED, chunk(COUNTED[10:]) + chunk(b""), 200),
    ],
)
async def test_an_ocr_call_is_read_to_its_end_for_its_pages(first: bytes, rest: bytes, status: int | None, resets: bool) -> None:
    """A client that leaves before or behind the head is gone, but what the provider bills is known; the connection is kept."""
    provider = Provider(first, rest)
    async with left(provider, resets=resets) as house:
        await until(lambda: not house.relay.active)
        assert [] == house.exchanges
        provider.go.set()
        exchange = await the_only(house)
        assert (Outcome.CLIENT_GONE, None, status) == (exchange.outcome, exchange.error, exchange.status)
        assert (3, "mistral-ocr-2512") == ((usage := await exchange.usage_source.usage()).pages, usage.model)
        async with client(house.port) as raw:
            await raw.send(OCR)
            await raw.answer()
        assert 2 == provider.asked
        assert [] == provider.ends


@pytest.mark.parametrize("first", [b"", BEGUN])
@pytest.mark.parametrize(
    ("line", "settings", "unmetered"),
    [
        (b"POST /v1/ocr HTTP/1.1", {"settles": False}, "cancelled"),
        (b"POST /v1/files HTTP/1.1", {}, None),
        (b"POST /v1/ocr HTTP/1.1", {"plan": MeterPlan("none")}, None),
    ],
)
async def test_other_calls_are_given_up(first: bytes, line: bytes, settings: dict[str, object], unmetered: str | None) -> None:
    """Where the route does not settle, or no count is expected, the target sees the connection end at once."""
    provider = Provider(first)
    async with left(provider, request=asking(line, body=b"{}"), **settings) as house:
        exchange = await the_only(house)
        assert Outcome.CLIENT_GONE == exchange.outcome
        assert unmetered == (await exchange.usage_source.usage()).unmetered
        await until(lambda: provider.ends == [b""])


async def test_a_route_can_settle_what_has_no_count() -> None:
    """`client_gone: settle` holds for any call of the route."""
    provider = Provider()
    async with left(provider, request=asking(b"PUT /v1/x HTTP/1.1", body=b"{}"), settles=True) as house:
        await until(lambda: not house.relay.active)
        provider.go.set()
        exchange = await the_only(house)
        assert (Outcome.CLIENT_GONE, len(COUNTED)) == (exchange.outcome, exchange.bytes_down + len(COUNTED))


@pytest.mark.parametrize(
    ("first", "rest", "limits", "error"),
    [
        (b"", b"garbage\r\n\r\n", {}, "bad_upstream_answer"),
        (STREAMED, b"zz\r\n", {}, "bad_upstream_answer"),
        (b"", b"", {"header_s": 0.05}, "upstream_timeout"),
        (BEGUN, b"", {"idle_s": 0.05}, "upstream_timeout"),
        (BEGUN, b"", {"total_s": 0.2}, "upstream_timeout"),
    ],
)
async def test_settling_keeps_the_routes_time_outs(first: bytes, rest: bytes, limits: dict[str, float], error: str) -> None:
    """A target that breaks or is too slow while its call settles ends it: the client is gone, the count is broken."""
    provider = Provider(first, rest)
    async with left(provider, timeouts=Timeouts(**limits)) as house:
        if rest:
            await until(lambda: not house.relay.active)
            provider.go.set()
        exchange = await the_only(house)
        assert (Outcome.CLIENT_GONE, error, True) == (exchange.outcome, exchange.error, exchange.went_up)
        assert "broken" == (await exchange.usage_source.usage()).unmetered


@pytest.mark.parametrize("first", [b"", BEGUN])
@pytest.mark.parametrize("at_once", [True, False])
async def test_the_drain_deadline_cuts_settling_off(first: bytes, at_once: bool) -> None:
    """What still settles then is recorded once, as cut off; even one that had no time to begin."""
    provider = Provider(first)
    async with left(provider) as house:
        if at_once:
            tasks = house.settling._tasks
            while not tasks and not house.exchanges:  # noqa: ASYNC110  # not a moment longer: the task must not have run
                await asyncio.sleep(0)
        else:
            await until(lambda: not house.relay.active)
        async with asyncio.timeout(WAIT_S):
            await house.settling.cut_off()
        exchange = await the_only(house)
        assert (Outcome.CUT_OFF, True) == (exchange.outcome, exchange.went_up)
        assert "cancelled" == (await exchange.usage_source.usage()).unmetered
        await until(lambda: provider.ends == [b""])


TOKENS = b'{"model":"m","usage":{"prompt_tokens":16,"completion_tokens":34}}'
REPORTED = Usage(model="m", tokens_in=16, tokens_out=34)
PATHS = (
    b"/v1/chat/completions",
    b"/v1/embeddings",
    b"/v1/conversations/c-1",
    b"/v1/responses",
    b"/v1/publishers/mistralai/models/mistral-small-2503:streamRawPredict",
    b"/v1/publishers/mistralai/models/mistral-small-2503:rawPredict",
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("first", "rest"),
    [
        (b"", ok(TOKENS)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(TOKENS), TOKENS),
        (b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(TOKENS[:9]), chunk(TOKENS[9:]) + chunk(b"")),
    ],
)
async def test_a_chat_is_read_to_its_end_for_its_tokens(path: bytes, first: bytes, rest: bytes) -> None:
    """What is no stream costs nothing more to read on, and the provider bills it: its tokens are counted, as pages are."""
    provider = Provider(first, rest)
    async with left(provider, request=chat(path)) as house:
        await until(lambda: not house.relay.active)
        assert ([], 1) == (house.exchanges, len(house.settling))
        provider.go.set()
        exchange = await the_only(house)
        assert (Outcome.CLIENT_GONE, True) == (exchange.outcome, exchange.went_up)
        assert REPORTED == await exchange.usage_source.usage()
        assert [] == provider.ends


def event(document: bytes) -> bytes:
    """Return an event in a chunk of its own."""
    return chunk(b"data: %b\n\n" % document)


SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
WORD = event(b'{"choices":[{"delta":{"content":"a"}}]}')
LAST = event(b'{"choices":[],' + TOKENS[1:])
DONE = event(b"[DONE]")
CANCELLED = Unmetered.CANCELLED


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("first", "usage"),
    [
        (SSE, Usage(model="asked", unmetered=CANCELLED)),
        (SSE + WORD, Usage(model="asked", unmetered=CANCELLED)),
        (SSE + LAST + WORD, replace(REPORTED, unmetered=CANCELLED)),
        (SSE + WORD + LAST + DONE, REPORTED),
    ],
)
async def test_a_stream_is_given_up_at_once(path: bytes, first: bytes, usage: Usage) -> None:
    """The target sees the connection end, so that it stops generating. What was told until then is counted, and not final."""
    provider = Provider(first, LAST + DONE + chunk(b""))
    async with left(provider, request=chat(path)) as house:
        exchange = await the_only(house)
        await until(lambda: provider.ends == [b""])
        assert (Outcome.CLIENT_GONE, 200, True) == (exchange.outcome, exchange.status, exchange.went_up)
        assert usage == await exchange.usage_source.usage()


async def test_a_request_for_a_stream_is_given_up_before_its_head() -> None:
    """A chat that asks for a stream would get one: nothing of it is awaited."""
    for body in (b'{"model":"asked","stream":true}', b'{"stream" : true,"x":"%b","model":"asked"}' % (b"x" * 100_000)):
        provider = Provider(b"", SSE + LAST)
        async with left(provider, request=chat(body=body)) as house:
            exchange = await the_only(house)
            await until(lambda provider=provider: provider.ends == [b""])
            assert (Outcome.CLIENT_GONE, None, True) == (exchange.outcome, exchange.status, exchange.went_up)
            assert Usage(model="asked", unmetered=CANCELLED) == await exchange.usage_source.usage()


@pytest.mark.parametrize("body", [b'{"model":"asked"}', b'{"model":"asked","stream":false}', b"stream"])
async def test_a_response_that_turns_out_to_be_a_stream_is_given_up_then(body: bytes) -> None:
    """What comes is known with the head: until then the call settles."""
    asked, go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await go.wait()
        await peer.send(SSE + WORD)
        await peer.ended()
        ended.set()

    async with street(script) as (house, _):
        async with client(house.port) as raw:
            await raw.send(chat(body=body))
            await asked.wait()
            raw.reset()
        await until(lambda: not house.relay.active)
        assert ([], 1) == (house.exchanges, len(house.settling))
        go.set()
        exchange = await the_only(house)
        async with asyncio.timeout(WAIT_S):
            await ended.wait()
        assert (Outcome.CLIENT_GONE, None, True) == (exchange.outcome, exchange.error, exchange.went_up)
        assert CANCELLED == (await exchange.usage_source.usage()).unmetered


@pytest.mark.parametrize("line", [b"POST /v1/ocr HTTP/1.1", b"POST /m:rawPredict HTTP/1.1"])
async def test_pages_are_counted_whatever_stream_their_request_asks_for(line: bytes) -> None:
    """OCR never streams: a client that asks for it and leaves has its pages counted."""
    provider = Provider()
    async with left(provider, request=asking(line, body=b'{"stream":true}')) as house:
        await until(lambda: not house.relay.active)
        provider.go.set()
        assert 3 == (await (await the_only(house)).usage_source.usage()).pages


@pytest.mark.parametrize("body", [b"{}", b'{"stream":true}'])
@pytest.mark.parametrize(
    ("first", "rest"), [(b"", SSE + WORD + LAST + DONE), (SSE + WORD, WORD + LAST + DONE), (SSE + LAST, DONE)]
)
async def test_a_route_can_settle_streams(first: bytes, rest: bytes, body: bytes) -> None:
    """`client_gone: settle` reads a stream to its end, too, whether its head has come or not."""
    provider = Provider(first, rest + chunk(b""))
    async with left(provider, request=chat(body=body), settles=True) as house:
        await until(lambda: not house.relay.active)
        assert ([], []) == (house.exchanges, provider.ends)
        provider.go.set()
        exchange = await the_only(house)
        assert (Outcome.CLIENT_GONE, []) == (exchange.outcome, provider.ends)
        assert REPORTED == await exchange.usage_source.usage()


@pytest.mark.parametrize("first", [b"", SSE + WORD, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"])
async def test_a_route_can_give_up_every_chat(first: bytes) -> None:
    """`client_gone: cancel` gives up at once what is no stream, too."""
    provider = Provider(first)
    async with left(provider, request=chat(), settles=False) as house:
        exchange = await the_only(house)
        await until(lambda: provider.ends == [b""])
        assert Usage(model="asked", unmetered=CANCELLED) == await exchange.usage_source.usage()
        assert exchange.went_up


@pytest.mark.parametrize(
    ("first", "rest", "limits", "usage"),
    [
        (SSE + WORD, b"zz\r\n", {}, Usage(model="asked", unmetered=Unmetered.BROKEN)),
        (SSE + LAST, b"zz\r\n", {}, replace(REPORTED, unmetered=Unmetered.BROKEN)),
        (SSE + LAST, b"", {"idle_s": 0.05}, replace(REPORTED, unmetered=Unmetered.BROKEN)),
        (SSE + LAST, b"", {"total_s": 0.2}, replace(REPORTED, unmetered=Unmetered.BROKEN)),
        (SSE + LAST + DONE, b"zz\r\n", {}, REPORTED),
    ],
)
async def test_a_stream_that_breaks_while_it_settles_has_what_it_said(
    first: bytes, rest: bytes, limits: dict[str, float], usage: Usage
) -> None:
    """A target that fails in the middle of a stream: its tokens so far count, and are not final."""
    provider = Provider(first, rest)
    async with left(provider, request=chat(), settles=True, timeouts=Timeouts(**limits)) as house:
        if rest:
            await until(lambda: not house.relay.active)
            provider.go.set()
        exchange = await the_only(house)
        assert usage == await exchange.usage_source.usage()


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("first", "usage"),
    [
        (b"", Usage(model="asked", unmetered=CANCELLED)),
        (SSE + WORD, Usage(model="asked", unmetered=CANCELLED)),
        (SSE + LAST, replace(REPORTED, unmetered=CANCELLED)),
        (SSE + LAST + DONE, REPORTED),
    ],
)
async def test_the_drain_deadline_cuts_a_settling_stream_off(first: bytes, usage: Usage, at_once: bool) -> None:
    """Once, with what it said so far."""
    provider = Provider(first)
    async with left(provider, request=chat(), settles=True) as house:
        if at_once:
            while not house.settling._tasks and not house.exchanges:  # noqa: ASYNC110  # the task must not have run
                await asyncio.sleep(0)
        else:
            await until(lambda: not house.relay.active)
        async with asyncio.timeout(WAIT_S):
            await house.settling.cut_off()
        exchange = await the_only(house)
        assert (Outcome.CUT_OFF, True) == (exchange.outcome, exchange.went_up)
        assert usage == await exchange.usage_source.usage()


@pytest.mark.parametrize(
    ("status", "unmetered"), [(b"204 No Content", "no_usage"), (b"429 Slow Down", None), (b"500 Oops", None)]
)
async def test_a_settled_chat_without_a_body_ends_once(status: bytes, unmetered: str | None) -> None:
    """What has no body has no tokens; a failure costs nothing, and says nothing."""
    provider = Provider(b"", b"HTTP/1.1 %b\r\n%b\r\n" % (status, b"" if status[:3] == b"204" else b"Content-Length: 0\r\n"))
    async with left(provider, request=chat()) as house:
        await until(lambda: not house.relay.active)
        provider.go.set()
        exchange = await the_only(house)
        assert unmetered == (await exchange.usage_source.usage()).unmetered


@pytest.mark.parametrize("path", [b"/v1/audio/transcriptions", b"/v1/audio/speech", b"/v1/libraries/l/documents"])
@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", SSE + WORD])
async def test_what_is_billed_in_another_unit_is_given_up_and_flagged(path: bytes, first: bytes) -> None:
    """There is no count to be read: the target sees the connection end, and what it bills is not silent."""
    provider = Provider(first)
    async with left(provider, request=chat(path)) as house:
        exchange = await the_only(house)
        await until(lambda: provider.ends == [b""])
        assert Usage(model="asked", unmetered=Unmetered.UNKNOWN_UNIT) == await exchange.usage_source.usage()


@pytest.mark.parametrize("settles", [None, True])
@pytest.mark.parametrize("line", [b"POST /v1/ocr HTTP/1.1", b"POST /v1/chat/completions HTTP/1.1"])
async def test_a_call_whose_request_is_not_whole_is_given_up(line: bytes, settles: bool | None) -> None:
    """The provider works on no such request, and bills none: the connection ends at once, and nothing went up."""
    ends: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(15)
        ends.append(await peer.ended())

    async with street(script, settles=settles) as (house, above):
        async with client(house.port) as raw:
            await raw.send(asking(line, b"Content-Length: 99") + b'{"model":"asked"')
            await until(lambda: above.connections == 1)
            raw.reset()
        exchange = await the_only(house)
        await until(lambda: len(ends) == 1)
        assert (Outcome.CLIENT_GONE, None, False) == (exchange.outcome, exchange.error, exchange.went_up)
        assert Unmetered.CANCELLED == (await exchange.usage_source.usage()).unmetered


@pytest.mark.parametrize("settles", [True, False])
@pytest.mark.parametrize("size", [100_000, 1_000_000])
async def test_a_call_is_paid_whose_whole_upload_went_up_while_others_had_their_turn(size: int, settles: bool) -> None:
    """The last byte is with the target, which works on it and bills it, though the upload itself waits behind many others."""
    provider = Provider()
    async with street(provider.script, settles=settles) as (house, above):
        async with client(house.port) as raw:
            await raw.send(asking(b"POST /v1/ocr HTTP/1.1", b"Content-Length: %d" % size))
            await until(lambda: above.connections == 1)
            for _ in range(20_000):
                house.relay.fair.wait(lambda: None)
            await raw.send(bytes(size))
            await until(lambda: provider.asked == 1)
            raw.reset()
            await until(lambda: not house.relay.active)
        if settles:
            assert ([], 1) == (house.exchanges, len(house.settling))
            provider.go.set()
        exchange = await the_only(house)
        assert (Outcome.CLIENT_GONE, True, size) == (exchange.outcome, exchange.went_up, exchange.bytes_up)
        assert (3 if settles else None) == (await exchange.usage_source.usage()).pages


async def leaves(house: Road, provider: Provider) -> None:
    """Ask as a client that leaves when its whole request has gone up."""
    async with client(house.port) as raw:
        known = provider.asked
        await raw.send(OCR)
        await until(lambda: provider.asked > known)
        raw.reset()
    await until(lambda: not house.relay.active)


async def test_all_that_leave_are_settled() -> None:
    """However many: the provider works on each of them, and bills it."""
    provider, many = Provider(), 300
    async with street(provider.script) as (house, _):
        for _ in range(many):
            await leaves(house, provider)
        assert ([], many) == (house.exchanges, len(house.settling))
        provider.go.set()
        settled = await house.booked(many)
        assert [3] * many == [(await each.usage_source.usage()).pages for each in settled]
        assert {Outcome.CLIENT_GONE} == {each.outcome for each in settled}
        assert many == len({each.id for each in house.exchanges})


async def test_calls_that_settle_count_as_connections() -> None:
    """They keep their clients' places: new clients are refused, with when to come again, until one has settled."""
    provider, most = Provider(), 3
    async with upstream(provider.script) as above, road(route_to(above.port), max_connections=most) as house:
        for number in range(most):
            await leaves(house, provider)
            await until(lambda number=number: number + 1 == len(house.settling))
            await until(lambda: not house.listener.connections)
        async with client(house.port) as raw:
            head, body = await raw.answer()
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 1" in head
            assert b'"overloaded"' in body
        assert (most, ["overloaded"]) == (len(house.settling), [each.error for each in house.exchanges])
        provider.go.set()
        settled = (await house.booked(most + 1))[1:]
        assert [3] * most == [(await each.usage_source.usage()).pages for each in settled]
        async with client(house.port) as raw:
            await raw.send(OCR)
            await raw.answer()


async def test_a_client_that_leaves_a_large_answer_unread_is_settled() -> None:
    """The client stops reading in the middle and leaves: the pages, which stand last, are read all the same."""
    size = 20_000_000
    body = b'{"pages":["' + b"x" * size + b'"],"model":"m","usage_info":{"pages_processed":7}}'

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(body))
        await peer.ended()

    async with street(script) as (house, _):
        async with client(house.port) as raw:
            await raw.send(OCR)
            await raw.head()
            await raw.reader.readexactly(1000)
            raw.reset()
        exchange = await the_only(house)
        assert (Outcome.CLIENT_GONE, 7) == (exchange.outcome, (await exchange.usage_source.usage()).pages)
        assert exchange.bytes_down < len(body)
