"""What a provider says in a header that a request cost, and how long an exchange spends in here."""

from __future__ import annotations

import asyncio

import pytest

from passthrough.meter.cost_header import reported_nano
from passthrough.meter.plan import MeterPlan
from passthrough.proxy.routes import Retries
from tests.harness.client import asking, client
from tests.harness.proxy import street
from tests.harness.upstream import Peer, answering, ok

pytestmark = pytest.mark.wire

HEADERS = MeterPlan(cost_headers=(b"x-aimlapi-usd-spent", b"x-litellm-response-cost"))


@pytest.mark.parametrize(
    ("value", "nano"),
    [
        (b"0", 0),
        (b"0.00125", 1_250_000),
        (b" 1.5 ", 1_500_000_000),
        (b"1.", 1_000_000_000),
        (b"1.2e-05", 12_000),
        (b"1E2", 100 * 10**9),
        (b"0.0000000005", 0),
        (b"0.0000000015", 2),
        (b"0.00000000050000000000000000000000001", 1),
        (b"0.1", 100_000_000),
        (b"9000000000", 9 * 10**18),
        (b"9000000000.1", None),
        (b"1e10", None),
        (b"1e999", None),
        (b"1e-999", 0),
        (b"1e9999", None),
        (b"-1", None),
        (b"-0", None),
        (b"+1", None),
        (b"$1", None),
        (b"1,5", None),
        (b"1 2", None),
        (b".5", None),
        (b"NaN", None),
        (b"inf", None),
        (b"None", None),
        (b"0x10", None),
        (b"1_000", None),
        (b"", None),
        (b"\xd9\xa1", None),
        (b"0." + b"0" * 37 + b"1", 0),
        (b"0." + b"0" * 38 + b"1", None),
        (None, None),
    ],
)
def test_a_cost_is_reported_exactly_or_not_at_all(value: bytes | None, nano: int | None) -> None:
    """Decimal dollars become whole nano-dollars, halves the even one; what is no plausible amount is ignored."""
    assert nano == reported_nano(value)


@pytest.mark.parametrize(
    ("fields", "plan", "expected"),
    [
        ((b"X-AIMLAPI-USD-Spent: 0.013",), HEADERS, (13_000_000, "x-aimlapi-usd-spent")),
        ((b"x-litellm-response-cost: 2", b"x-aimlapi-usd-spent: 1"), HEADERS, (10**9, "x-aimlapi-usd-spent")),
        ((b"x-aimlapi-usd-spent: None", b"x-litellm-response-cost: 2"), HEADERS, (2 * 10**9, "x-litellm-response-cost")),
        ((b"x-aimlapi-usd-spent: -1",), HEADERS, (None, None)),
        ((b"x-aimlapi-usd-spent: 0.013",), MeterPlan(), (None, None)),
        ((), HEADERS, (None, None)),
    ],
)
@pytest.mark.parametrize("line", [b"POST /v1/ocr HTTP/1.1", b"GET /v1/models HTTP/1.1"])
async def test_a_cost_in_a_header_is_noted(
    fields: tuple[bytes, ...], plan: MeterPlan, expected: tuple[int | None, str | None], line: bytes
) -> None:
    """The first of the route's headers with an amount counts, in metered responses and in others."""
    async with street(answering(ok(b"{}", *fields)), plan=plan) as (house, _), client(house.port) as raw:
        await raw.send(asking(line))
        await raw.answer()
        exchange = (await house.booked())[0]
        assert expected == (exchange.reported_cost_nano, exchange.cost_header)


@pytest.mark.parametrize("value", [b"-1", b"1,5", b"$0.01", b"None", b"", b"0.1, 0.2", b"1e10"])
@pytest.mark.parametrize(
    ("fields", "plan", "is_bad", "nano"),
    [
        ((b"x-aimlapi-usd-spent: %b",), HEADERS, True, None),
        ((b"x-litellm-response-cost: %b",), HEADERS, True, None),
        ((b"x-aimlapi-usd-spent: %b", b"x-litellm-response-cost: 2"), HEADERS, False, 2 * 10**9),
        ((b"x-litellm-response-cost: %b", b"x-aimlapi-usd-spent: 1"), HEADERS, False, 10**9),
        ((b"x-aimlapi-usd-spent: %b", b"x-aimlapi-usd-spent: 0"), HEADERS, False, 0),
        ((b"x-aimlapi-usd-spent: %b",), MeterPlan(), False, None),
        ((b"x-other: %b",), HEADERS, False, None),
    ],
)
async def test_a_cost_that_is_no_amount_is_noted(
    fields: tuple[bytes, ...], plan: MeterPlan, is_bad: bool, nano: int | None, value: bytes
) -> None:
    """A header that is there and holds no amount is not the same as none; another one with an amount makes up for it."""
    named = [field.replace(b"%b", value) for field in fields]
    async with street(answering(ok(b"{}", *named)), plan=plan) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1"))
        await raw.answer()
        exchange = (await house.booked())[0]
        assert (is_bad, nano) == (exchange.bad_cost, exchange.reported_cost_nano)


@pytest.mark.parametrize(
    ("last", "is_bad"), [((), False), ((b"x-aimlapi-usd-spent: 1",), False), ((b"x-aimlapi-usd-spent: ?",), True)]
)
async def test_only_the_last_response_says_what_it_cost(last: tuple[bytes, ...], is_bad: bool) -> None:
    """A response after which the request is sent again leaves no doubt behind."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(ok(b"{}", b"x-aimlapi-usd-spent: None", b"Connection: close", status=b"503 Busy"))
        peer.writer.close()

    first = True

    async def either(peer: Peer) -> None:
        nonlocal first
        is_first, first = first, False
        await (script if is_first else answering(ok(b"{}", *last)))(peer)

    retries = Retries(attempts=1, statuses=frozenset({503}))
    async with street(either, plan=HEADERS, retries=retries) as (house, above), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1"))
        await raw.answer()
        assert 2 == len(above.received)
        assert is_bad == (await house.booked())[0].bad_cost


@pytest.mark.parametrize("body", [b"", b"{}", b"x" * 300_000])
async def test_the_time_spent_in_here_is_part_of_the_whole(body: bytes) -> None:
    """It is more than nothing, and the waits for the target and for the client are not in it."""
    async with street(answering(ok(body))) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", body=b"{}"))
        assert body == (await raw.answer())[1]
        exchange = (await house.booked())[0]
        assert 0 < (exchange.overhead_s or 0) < exchange.total_s


async def test_an_exchange_that_settles_has_spent_time_in_here() -> None:
    """No client gets its response; the time until its request was sent counts."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await gone.wait()
        await peer.send(ok(b'{"usage_info":{"pages_processed":1}}'))

    async with street(script) as (house, _):
        async with client(house.port) as raw:
            await raw.send(asking(b"POST /v1/ocr HTTP/1.1", body=b"{}"))
            await asked.wait()
        gone.set()
        exchange = (await house.booked())[0]
        assert 0 < (exchange.overhead_s or 0) < exchange.total_s


async def test_a_refusal_has_no_overhead() -> None:
    """Nothing went to a target: all of its time was spent in here."""
    async with street(answering(ok()), max_body_bytes=1) as (house, _), client(house.port) as raw:
        await raw.send(asking(b"POST /v1/ocr HTTP/1.1", body=b"{}"))
        await raw.answer()
        assert (await house.booked())[0].overhead_s is None
