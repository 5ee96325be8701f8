"""Hundreds of odd requests and answers: what crosses is exactly one plain message, or nothing does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from passthrough.exchange import Outcome
from tests.harness.proxy import street
from tests.harness.strict_peers import OK, StrictTarget, Told, speaker
from tests.harness.tables.odd_requests import CANARY, TABLE, WHY, Odd, Up
from tests.harness.tables.odd_responses import ODD_ANSWERS, Fate, OddAnswer
from tests.harness.upstream import Peer
from tests.harness.waiting import WAIT_S

pytestmark = [pytest.mark.faults, pytest.mark.wire]

NEXT = b"GET /next HTTP/1.1\r\nHost: proxy.test\r\n\r\n"
"""A plain request behind an odd one: it is answered as itself, or nobody ever sees it."""

NEXT_LINE = b"GET /next HTTP/1.1"


def whole(sent: bytes) -> list[bytes]:
    """Send in one piece."""
    return [sent]


def followed(sent: bytes) -> list[bytes]:
    """Send in one piece with the next request."""
    return [sent + NEXT]


def trickling(sent: bytes) -> list[bytes]:
    """Send byte by byte; what is very long in 200 pieces."""
    step = max(1, len(sent) // 200) if len(sent) > 2000 else 1
    return [sent[start : start + step] for start in range(0, len(sent), step)]


def _is_ours(told: Told, statuses: set[int], *, bodiless: bool) -> None:
    """An own answer: HTTP/1.1, the right status and code, the end of the connection, nothing of what was sent."""
    assert told.status in statuses, told.raw
    assert (b"HTTP/1.1", True) == (told.version, told.closes)
    assert CANARY not in told.raw
    assert b"else.test" not in told.raw
    assert [b"close"] == [value for name, value in told.fields if name == b"connection"]
    codes = [value.decode() for name, value in told.fields if name == b"x-passthrough-error"]
    assert bodiless or [json.loads(told.body)["code"]] == codes
    assert 1 == len(codes)


def _expected(case: Odd, splitting: Splitting) -> tuple[tuple[Up, ...], set[int], bool]:
    """Return what goes up, the statuses that a refusal may have (none: there is none), and whether the next request goes up."""
    if splitting is followed and case.is_last:
        return (), {400, case.refused or 400}, False  # What stands behind the last request of a connection spoils that one too.
    if splitting is not trickling and case.at_once is not None:
        return (), {case.at_once}, False
    refused = set() if case.refused is None else {case.refused}
    return case.up, refused, not (refused or case.is_last or case.upgrades)


Splitting = Callable[[bytes], list[bytes]]


@pytest.mark.parametrize("splitting", [whole, followed, trickling])
@pytest.mark.parametrize("case", TABLE, ids=str)
async def test_what_is_forwarded_is_always_one_plain_request(case: Odd, splitting: Splitting) -> None:
    """Refused with the right answer and the end of the connection, or forwarded as one plain request; never something else."""
    target = StrictTarget()
    ups, refused, goes_on = _expected(case, splitting)
    async with street(target.script) as (house, above):
        with speaker(house.port) as raw:
            async with asyncio.timeout(WAIT_S):
                sending = asyncio.create_task(raw.send(splitting(case.sent)))
                for up in ups:
                    told = await raw.answer(up.line.split()[0])
                    assert told is not None
                    assert 200 == told.status
                speaks_http2 = case.sent.startswith(b"PRI * HTTP/2.0")  # It reads no other answer: see test_wrong_protocols.
                if refused and not speaks_http2:
                    bodiless = case.sent.startswith(b"HEAD ")
                    told = await raw.answer(b"HEAD" if bodiless else b"GET")
                    assert told is not None
                    _is_ours(told, refused, bodiless=bodiless)
                elif goes_on:
                    await sending
                    await raw.send([] if splitting is followed else [NEXT])
                    told = await raw.answer()
                    assert told is not None
                    assert (200, b"ok") == (told.status, told.body)
                if not goes_on and 413 not in refused:  # Behind 413 the body is read away for a while (RFC 9112 §9.6).
                    rest = await raw.rest()
                    assert (b"\x08\x03505" in rest) if speaks_http2 else rest == b""
                await sending
        await house.quiet()
        booked = await house.booked(len(ups) + 1 if refused or goes_on else len(ups))
    expected = [(up.line, up.framing, up.body) for up in ups] + [(NEXT_LINE, "", b"")] * goes_on
    assert expected == [(request.line, request.framing, request.body) for request in target.requests]
    assert [] == target.malformed
    assert len(expected) + bool(refused) == len(booked)
    if case.kind != "chunks":  # Of a body with malformed chunks a part may have gone up, never its end.
        assert [] == target.unfinished
        assert bool(expected) == bool(above.connections)


def test_every_case_has_a_reason_a_name_of_its_own_and_the_canary() -> None:
    """The table is whole: no class without a reason, no two cases of one name, the canary wherever it can stand."""
    assert {case.kind for case in TABLE} == set(WHY)
    assert len({str(case) for case in TABLE}) == len(TABLE)
    assert all(CANARY in case.sent or case.kind in {"version", "method"} for case in TABLE)
    assert len({str(case) for case in ODD_ANSWERS}) == len(ODD_ANSWERS)
    assert len(TABLE) > 800
    assert len(ODD_ANSWERS) > 200


async def _answered(case: OddAnswer, port: int) -> Told | None:
    """Ask once and return the answer as its client reads it; None where it breaks off."""
    with speaker(port) as raw:
        await raw.send([case.method + b" / HTTP/1.1\r\nHost: proxy.test\r\n\r\n"])
        return await raw.answer(case.method)


@pytest.mark.parametrize("splitting", [whole, trickling])
@pytest.mark.parametrize("case", ODD_ANSWERS, ids=str)
async def test_an_odd_answer_is_relayed_whole_or_not_at_all(case: OddAnswer, splitting: Splitting) -> None:
    """502, a broken connection or one plain answer; and what is odd serves no other request: the next gets its own answer."""
    said = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 1:
            await peer.send(*splitting(case.sent))
            said.set()
            if case.ends:
                return
            await peer.request()
        await peer.send(OK)
        await peer.ended()

    async with street(script) as (house, above):
        async with asyncio.timeout(WAIT_S):
            told = await _answered(case, house.port)
            (exchange,) = await house.booked()
            await said.wait() if case.fate is not Fate.REFUSED else None
            follower = await _answered(OddAnswer("next", b"", Fate.PLAIN), house.port)
        connections = [received.connection for received in above.received]
    assert follower is not None
    assert (200, b"ok") == (follower.status, follower.body)
    assert [1, 1 if case.fate is Fate.PLAIN else 2] == connections
    if case.fate is Fate.BROKEN:
        assert told is None or 502 == told.status  # 502 where the client had been sent nothing yet.
        assert Outcome.UPSTREAM_FAILED is exchange.outcome
        return
    assert told is not None
    if case.fate is Fate.REFUSED:
        code = "upstream_broke" if case.ends else "bad_upstream_answer"
        assert (502, code, Outcome.UPSTREAM_FAILED) == (told.status, exchange.error, exchange.outcome)
        assert CANARY not in told.raw
    else:
        assert (case.status, case.body, Outcome.COMPLETED) == (told.status, told.body, exchange.outcome)
        assert 1 >= sum(name in {b"transfer-encoding", b"content-length"} for name, _ in told.fields)
