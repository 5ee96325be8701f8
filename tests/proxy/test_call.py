"""The upstream half's clock: what is awaited how long, and what the client gets when it takes longer."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from passthrough.exchange import Outcome, new_exchange
from passthrough.meter.plan import JsonCounts, MeterPlan
from passthrough.meter.usage import Unmetered, Usage
from passthrough.proxy.call import Call, MeterFactory
from passthrough.proxy.request_body import RequestBody
from passthrough.proxy.request_head import validate
from passthrough.proxy.routes import Timeouts
from passthrough.proxy.upstream.pool import ConnectionPool
from tests.harness.client import asking, client
from tests.harness.proxy import road, route_to, street
from tests.harness.upstream import Peer, Script, answering, chunk, ok, upstream
from tests.harness.waiting import WAIT_S

pytestmark = pytest.mark.wire


def answering_once(answer: bytes) -> Script:
    """Return a script that answers one request, and closes."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)

    return script


BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"


async def test_connect_time_out() -> None:
    """A target that accepts but never finishes its handshake is a 504, after two tries; nothing of the request was sent."""
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        heard.append(await peer.ended())

    settings = {"timeouts": Timeouts(connect_s=0.05), "target": {"tls": True}}
    async with street(script, **settings) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", body=b"secret"))
        head, _ = await raw.answer()
        assert b"504" == head[9:12]
        assert b"X-Passthrough-Error: upstream_timeout\r\n" in head
        exchange = (await house.booked())[0]
        assert (Outcome.UPSTREAM_FAILED, 2) == (exchange.outcome, exchange.attempts)
        assert not any(b"secret" in each for each in heard)


@pytest.mark.parametrize("limits", [{"header_s": 0.05}, {"total_s": 1.0}])
@pytest.mark.parametrize("interim", [True, False])
async def test_no_head_in_time_is_a_504(limits: dict[str, float], interim: bool) -> None:
    """The header time-out ends a wait for the head, and so does the total one; interim responses do not prolong either."""

    async def script(peer: Peer) -> None:
        await peer.request()
        if interim:
            await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        await peer.ended()

    async with street(script, timeouts=Timeouts(**limits)) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", body=b"{}"))
        head, _ = await raw.answer()
        assert b"HTTP/1.1 504 Gateway Timeout" == head.partition(b"\r\n")[0]
        assert b"X-Passthrough-Error: upstream_timeout\r\n" in head
        exchange = (await house.booked())[0]
        assert (Outcome.UPSTREAM_FAILED, "upstream_timeout", 504) == (exchange.outcome, exchange.error, exchange.status)
        assert "broken" == (await exchange.usage_source.usage()).unmetered


@pytest.mark.slow
@pytest.mark.parametrize("limits", [{"idle_s": 0.05}, {"total_s": 1.5}])
async def test_a_body_that_stops_breaks_the_answer(limits: dict[str, float]) -> None:
    """Behind the head there is nothing honest to say: the client's connection breaks."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(BEGUN)
        await peer.ended()

    async with street(script, timeouts=Timeouts(**limits)) as (house, _), client(house.port) as raw:
        await raw.send(asking())
        assert await raw.broken()
        exchange = (await house.booked())[0]
        assert (Outcome.UPSTREAM_FAILED, "upstream_timeout", 200) == (exchange.outcome, exchange.error, exchange.status)


@pytest.mark.slow
async def test_the_total_time_bounds_a_body_that_keeps_coming() -> None:
    """A response that drips within the idle time-out is still ended by the total one."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await peer.send(chunk(b"drip"))
            await asyncio.sleep(0.01)

    async with street(script, timeouts=Timeouts(total_s=1.5)) as (house, _), client(house.port) as raw:
        await raw.send(asking())
        assert await raw.broken()
        assert "upstream_timeout" == (await house.booked())[0].error


@pytest.mark.slow
async def test_the_total_time_bounds_an_upload() -> None:
    """An upload that drips within the idle time-out is ended by the total one: 504, and the target never sees it whole."""
    async with street(answering(ok()), timeouts=Timeouts(total_s=1.5)) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", b"Transfer-Encoding: chunked"))

        async def drip() -> None:
            while True:
                await raw.send(chunk(b"drip"))
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        head, _ = await raw.answer()
        dripping.cancel()
        assert (b"504", []) == (head[9:12], above.received)
        assert "upstream_timeout" == (await house.booked())[0].error


@pytest.mark.faults
async def test_the_header_time_out_counts_from_the_last_byte_of_the_request() -> None:
    """An upload that takes longer than the header time-out is not cut off by it."""
    settings = {"timeouts": Timeouts(header_s=3)}
    async with street(answering(ok(b"done")), **settings) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", b"Content-Length: 2") + b"{")
        await asyncio.sleep(3.2)
        await raw.send(b"}")
        assert b"done" == (await raw.answer())[1]


@pytest.mark.parametrize(
    ("answer", "method", "plan", "pages", "unmetered"),
    [
        (ok(b'{"model":"m","usage_info":{"pages_processed":3}}'), b"POST", MeterPlan(), 3, None),
        (ok(b"{}"), b"POST", MeterPlan(), None, "no_usage"),
        (ok(b""), b"POST", MeterPlan(), None, "no_usage"),
        (ok(b"{}"), b"GET", MeterPlan(), None, None),
        (ok(b"{}"), b"POST", MeterPlan("none"), None, None),
        (ok(b"{}", status=b"422 No"), b"POST", MeterPlan(), None, None),
        (ok(b"xx", b"Content-Encoding: secret"), b"POST", MeterPlan(), None, "unknown_coding"),
        (b"HTTP/1.1 204 No\r\n\r\n", b"POST", MeterPlan(), None, "no_usage"),
    ],
)
async def test_the_meter_reads_what_passed(
    answer: bytes, method: bytes, plan: MeterPlan, pages: int | None, unmetered: str | None
) -> None:
    """Where a count is expected it is read off the response, else the reason is given."""
    async with street(answering(answer), plan=plan) as (house, _), client(house.port) as raw:
        await raw.send(asking(method + b" /v1/ocr HTTP/1.1", body=b"{}"))
        await raw.answer()
        usage = await (await house.booked())[0].usage_source.usage()
        assert (pages, unmetered) == (usage.pages, usage.unmetered)


@pytest.mark.parametrize(
    ("plan", "path", "body", "expected"),
    [
        (MeterPlan(), b"/v1/ocr", b"null", Usage(5)),
        (MeterPlan(), b"/v1/ocr", b'{"usage_info":{"pages_processed":2}}', Usage(2)),
        (MeterPlan(pages_header=b"x-other"), b"/v1/ocr", b"null", Usage(unmetered=Unmetered.NO_USAGE)),
        (MeterPlan("json", counted=JsonCounts(header=b"x-pages-processed")), b"/any", b"%PDF", Usage(5)),
        (MeterPlan("json", counted=JsonCounts(pages=("n",), once=("/any/{}",))), b"/any/j", b'{"n":3}', Usage(3, line="once/j")),
    ],
)
async def test_the_meter_gets_the_head_and_the_path(plan: MeterPlan, path: bytes, body: bytes, expected: Usage) -> None:
    """Pages may stand in a field of the head, whatever the case of its name; a job's id in the path, which has no query."""
    for head in (b"Content-Length: %d\r\n\r\n%b" % (len(body), body), b"Connection: close\r\n\r\n" + body):
        answer = b"HTTP/1.1 200 OK\r\nX-Pages-Processed: 5\r\n" + head
        script = answering(answer) if b"Length" in head else answering_once(answer)
        async with street(script, plan=plan) as (house, _), client(house.port) as raw:
            await raw.send(asking(b"POST " + path + b"?a=/any/x HTTP/1.1", body=b"{}"))
            await raw.answer()
            assert expected == await (await house.booked())[0].usage_source.usage()


@pytest.mark.parametrize(
    ("base", "path", "method", "pages"),
    [
        (b"/v1/ocr", b"/scan", b"POST", 3),
        (b"/v1/%6Fcr", b"/scan", b"POST", 3),
        (b"/scan", b"/v1/ocr", b"POST", 3),
        (b"", b"/v1/ocr", b"POST", 3),
        (b"", b"/scan", b"POST", None),
        (b"/v1/ocr", b"/scan", b"GET", None),
    ],
)
async def test_a_count_is_expected_where_the_targets_path_tells_it(
    base: bytes, path: bytes, method: bytes, pages: int | None
) -> None:
    """A route may have any path of its own: what it costs is decided where the request goes."""
    answer = ok(b'{"model":"m","usage_info":{"pages_processed":3}}')
    settings = {"base": base, "path": path, "include_subpath": False}
    async with upstream(answering(answer)) as above, road(route_to(above.port, **settings)) as house, client(house.port) as raw:
        await raw.send(asking(method + b" " + path + b" HTTP/1.1", body=b'{"document_annotation_format":{}}'))
        await raw.answer()
        usage = await (await house.booked())[0].usage_source.usage()
        annotated = (None, None) if pages is None else (0, pages)
        assert annotated == (usage.pages, usage.pages_annotated)


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (b'data: {"model":"m"}\n\n', Usage(model="m", unmetered=Unmetered.BROKEN)),
        (b'data: {"model":"m","usage":{"prompt_tokens":7}}\n\n', Usage(model="m", tokens_in=7, unmetered=Unmetered.BROKEN)),
        (b'data: {"model":"m","usage":{"prompt_tokens":7}}\n\ndata: [DONE]\n\n', Usage(model="m", tokens_in=7)),
    ],
)
@pytest.mark.parametrize("plan", [MeterPlan(), MeterPlan("chat")])
async def test_a_stream_that_breaks_has_what_it_told(told: bytes, usage: Usage, plan: MeterPlan) -> None:
    """The client sees its connection break; the tokens so far count, and are not final."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(told))
        peer.writer.close()

    async with street(script, plan=plan) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/chat/completions HTTP/1.1", body=b"{}"))
        assert await raw.broken()
        exchange = (await house.booked())[0]
        assert (Outcome.UPSTREAM_FAILED, True) == (exchange.outcome, exchange.went_up)
        assert usage == await exchange.usage_source.usage()


EVENTS = b'data: {"model":"m","usage":{"prompt_tokens":7}}\n\n'


@pytest.mark.parametrize(
    ("rest", "usage"),
    [
        (b"", Usage(model="m", tokens_in=7, unmetered=Unmetered.CANCELLED)),
        (chunk(b"data: [DONE]\n\n"), Usage(model="m", tokens_in=7)),
        (chunk(b""), Usage(model="m", tokens_in=7)),
        (b"zz\r\n", Usage(model="m", tokens_in=7, unmetered=Unmetered.CANCELLED)),
    ],
)
async def test_what_has_come_when_a_call_is_given_up_is_counted(rest: bytes, usage: Usage) -> None:
    """A slow client's stream may wait in here with its usage, and with its end, when the client leaves."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await peer.send(chunk(EVENTS) + rest)
        await peer.ended()

    async with upstream(script) as above:
        route, pool = route_to(above.port), ConnectionPool()
        (target,) = route.targets
        await pool.prepare([target])
        path = b"/v1/chat/completions"
        head = validate("POST", path, (1, 1), ((b"Host", b"a"), (b"Content-Length", b"0")))
        exchange = new_exchange("POST", path.decode())
        connection = await pool.checkout_or_connect(target, None, "POST")
        with ThreadPoolExecutor(1) as decoders:
            request_body = RequestBody(exchange, head, route, connection)
            call = Call(exchange, route, target, connection, request_body, MeterFactory(decoders, lambda *_: None), path)
            await request_body.send_whole(b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % path, b"", batched=False)
            await call.response_head()
            assert await connection.arrived()
            call.abort(Unmetered.CANCELLED)
            assert usage == exchange.usage_source.usage_if_ready()
            assert exchange.went_up
        pool.close()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ((b"x-request-id: a",), "a"),
        ((b"apim-request-id: z", b"X-Request-ID: a"), "a"),
        ((b"mistral-correlation-id: m", b"x-request-id: a"), "m"),
        ((b"x-request-id:",), None),
        ((b"x-request-id: " + b"l" * 500,), "l" * 200),
        ((b"x-request-id: \xff",), "\ufffd"),
    ],
)
async def test_the_providers_request_id_is_kept(fields: tuple[bytes, ...], expected: str | None) -> None:
    """The first of the known names that has a value, cut to what a log line bears."""
    async with street(answering(ok(b"{}", *fields))) as (house, _), client(house.port) as raw:
        async with asyncio.timeout(WAIT_S):
            await raw.send(asking())
            await raw.answer()
        assert expected == (await house.booked())[0].upstream_request_id
