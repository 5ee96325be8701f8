"""Each failure at each moment: what is sent again, and what a document's failure says."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import warnings
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from aiohttp import ClientResponse

from passthrough.client.api.calls import Call, Refused, UnknownOutcome, send
from passthrough.client.api.connection import Connection, Endpoint
from passthrough.client.api.faults import BILLED_HINT
from passthrough.client.api.request_body import FileContent, RequestBody, inline_document_body, json_body
from passthrough.client.errors import DocumentError
from tests.harness.api_calls import (
    Act,
    Api,
    api,
    closes,
    is_silent,
    resets,
    resets_early,
    responds,
    responds_early,
    says,
    sends,
)
from tests.harness.upstream import Peer, chunk

GOOD = responds(b'{"pages": []}')
MAYBE = "it may have been billed."


async def whole(response: ClientResponse) -> bytes:
    """Return the body of a response."""
    return await response.read()


def small() -> RequestBody:
    """Return a body of one piece."""
    return json_body({"model": "m"}, 5.0)


async def called(one: Api, *, is_free: bool, body: Callable[[], RequestBody] = small) -> bytes:
    """Call the API, and return the body of its response."""
    call = Call("POST", one.connection.endpoint.ocr_url, body, is_free=is_free)
    return await send(one.connection, call, whole, one.on_wait)


async def failure(sent: Awaitable[bytes]) -> DocumentError:
    """Return the failure of a call."""
    with pytest.raises(DocumentError) as caught:
        await sent
    return caught.value


CUT = b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"pages": '
CUT_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b'{"pages": ')
BAD_CHUNKS = CUT_CHUNKS + b"xyz\r\n"
BAD_GZIP = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"
PROXY = b"X-Passthrough-Error: "


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (closes, "There is no whole response: the connection was closed; "),
        (resets, "There is no whole response: "),
        (is_silent, "There is no whole response: no byte came in time; "),
        (sends(CUT), "There is no whole response: the response was cut off; "),
        (sends(CUT_CHUNKS), "There is no whole response: the response was cut off; "),
        (sends(BAD_CHUNKS), "There is no whole response: "),
        (sends(BAD_GZIP), "There is no whole response: "),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Le"), "There is no whole response: "),
        (sends(b"SSH-2.0-OpenSSH_9\r\n\r\n"), "There is no whole response: the response is not HTTP; "),
        (says(500, {"detail": "Internal"}), "The API failed (500): Internal; "),
        (says(502, {}), "The API failed (502): Bad Gateway; "),
        (says(504, {}), "The API failed (504): Gateway Timeout; "),
        (says(520, {}), "The API failed (520): no reason given; "),
        (says(408, {"message": "upstream request timeout"}), "The API failed (408): upstream request timeout; "),
        (says(502, {"message": "Broke."}, PROXY + b"upstream_broke"), "The API failed (502): Broke; "),
        (says(504, {"message": "Late."}, PROXY + b"upstream_timeout"), "The API failed (504): Late; "),
    ],
)
async def test_what_may_have_been_billed_is_not_sent_again(act: Act, why: str) -> None:
    """Once a whole request has left, its outcome is unknown: one try, and the failure says that it may have been billed."""
    async with api(act, silence_s=0.5) as one:
        error = await failure(called(one, is_free=False))
        assert (UnknownOutcome, True, True) == (type(error), error.why.startswith(why), error.why.endswith(MAYBE))
        assert (1, [], BILLED_HINT) == (one.raw.connections, one.clock.waits, error.hint)


@pytest.mark.parametrize(
    "act",
    [
        *(closes, resets, is_silent, sends(CUT), sends(CUT_CHUNKS), sends(BAD_GZIP), sends(b"SSH-2.0\r\n\r\n")),
        *(says(500, {}), says(502, {}), says(504, {}), says(429, {}), says(503, {}), responds(b"<html>", status=b"503 X")),
    ],
)
async def test_what_is_free_is_sent_again(act: Act) -> None:
    """Uploads, deletions and questions are tried up to five times, after 1, 2, 4 and 8 seconds."""
    async with api(act, act, act, act, GOOD, silence_s=0.1) as one:
        assert b'{"pages": []}' == await called(one, is_free=True)
        assert ([1.0, 2.0, 4.0, 8.0], 5) == (one.clock.waits, one.raw.connections)
        assert [1.0, 2.0, 4.0, 8.0] == [seconds for seconds, _ in one.heard]


async def test_what_is_free_fails_in_the_end() -> None:
    """After five tries the failure is that of the last one, and of no bill."""
    async with api(says(500, {"detail": "Out"})) as one:
        error = await failure(called(one, is_free=True))
        assert (5, "The API failed (500): Out.") == (one.raw.connections, error.why)
    async with api(closes) as one:
        error = await failure(called(one, is_free=True))
        assert (5, "There is no whole response: the connection was closed.") == (one.raw.connections, error.why)


@pytest.mark.parametrize(
    ("code", "why"), [("upstream_unreachable", "No way."), ("upstream_credentials", "The token could not be fetched.")]
)
async def test_what_the_proxy_did_not_send_is_sent_again_twice(code: str, why: str) -> None:
    """The provider got nothing, and bills nothing."""
    act = says(502, {"message": why, "hint": "Check DNS."}, PROXY + code.encode())
    async with api(act, act, GOOD) as one:
        assert b'{"pages": []}' == await called(one, is_free=False)
    async with api(act) as one:
        error = await failure(called(one, is_free=False))
        assert (3, [1.0, 2.0]) == (one.raw.connections, one.clock.waits)
        assert (f"The API refused it (502): {why}", "Check DNS.", True) == (error.why, error.hint, error.ends_run)


async def test_an_api_that_is_not_there_ends_the_run() -> None:
    """Three tries, and the next document is not tried: it would fail alike."""
    async with api(GOOD) as one:
        one.raw.stop()
        error = await failure(called(one, is_free=False))
        assert [(1.0, "connection refused"), (2.0, "connection refused")] == one.heard
        assert (
            f"http://127.0.0.1:{one.connection.endpoint.authority.partition(':')[2]} cannot be reached: connection refused."
            == (error.why)
        )
        assert ("passthrough serve" in error.hint, True) == (True, error.ends_run)


async def test_what_is_no_api_ends_the_run() -> None:
    """Whatever listens there and speaks no HTTP would have every document; but one bad response among good ones is the API's."""
    odd = sends(b"SSH-2.0-OpenSSH_9\r\n\r\n")
    async with api(odd) as one:
        assert (await failure(called(one, is_free=False))).ends_run
    async with api(GOOD, odd) as one:
        await called(one, is_free=False)
        assert not (await failure(called(one, is_free=False))).ends_run


async def test_a_request_that_did_not_leave_whole_is_sent_again(pdf: Path) -> None:
    """The API cannot read a document whose end it does not have, so nothing is billed: three tries."""
    content = FileContent.of(pdf, as_base64=True)
    body = partial(inline_document_body, {"model": "m"}, "document_url", "application/pdf", content, 5.0)
    async with api(resets_early, resets_early, GOOD) as one:
        assert b'{"pages": []}' == await called(one, is_free=False, body=body)
        assert 1 == len(one.raw.received)
    async with api(resets_early) as one:
        error = await failure(called(one, is_free=False, body=body))
        assert (3, False) == (one.raw.connections, error.ends_run)
        assert (True, True) == (error.why.startswith("It could not be sent"), error.why.endswith("it was not billed."))


async def test_an_api_that_takes_no_more_of_a_request_is_given_up(pdf: Path) -> None:
    """Where no byte can be sent for as long as `silence_s`, the call ends; nothing was billed."""

    async def reads_nothing(peer: Peer) -> None:
        await peer.head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    content = FileContent.of(pdf, as_base64=True)
    body = partial(inline_document_body, {"model": "m"}, "document_url", "application/pdf", content, 0.2)
    async with api(reads_nothing, silence_s=0.2) as one:
        error = await failure(called(one, is_free=False, body=body))
        assert "It could not be sent to its end: no byte came in time; it was not billed." == error.why


@pytest.mark.parametrize(
    ("act", "why", "ends_run"),
    [
        (responds_early(b'{"detail": "Unauthorized"}', status=b"401 Unauthorized"), "does not accept the key (401)", True),
        (responds_early(b'{"message": "Too large"}', status=b"413 Too Large"), "The API refused it (413): Too large.", False),
    ],
)
async def test_a_response_that_comes_before_the_request_has_left_is_read(act: Act, why: str, ends_run: bool, pdf: Path) -> None:
    """An API that refuses by the head alone is heard, though it does not want the rest."""
    content = FileContent.of(pdf, as_base64=True)
    body = partial(inline_document_body, {"model": "m"}, "document_url", "application/pdf", content, 5.0)
    async with api(act) as one:
        error = await failure(called(one, is_free=False, body=body))
        assert (True, ends_run, 1) == (why in error.why, error.ends_run, one.raw.connections)


async def test_a_response_that_began_before_the_request_had_left_may_be_billed(pdf: Path) -> None:
    """The API says 200, though it has only a part of the request, and breaks off: no one knows what it did."""

    async def says_yes(peer: Peer) -> None:
        await peer.head()
        await peer.send(CUT)
        peer.writer.write_eof()
        await peer.ended()

    content = FileContent.of(pdf, as_base64=True)
    body = partial(inline_document_body, {"model": "m"}, "document_url", "application/pdf", content, 5.0)
    async with api(says_yes) as one:
        error = await failure(called(one, is_free=False, body=body))
        assert (UnknownOutcome, True, 1) == (type(error), error.why.endswith(MAYBE), one.raw.connections)


async def test_pauses_are_waited_for() -> None:
    """429 and 503 are tried eight times, after doubled waits; Retry-After counts where it is longer."""
    async with api(says(429, {}), says(503, {}, b"Retry-After: 7"), says(429, {}, b"Retry-After: 1"), GOOD) as one:
        assert b'{"pages": []}' == await called(one, is_free=False)
        assert [1.0, 7.0, 4.0] == one.clock.waits
        assert [(1.0, "Too Many Requests"), (7.0, "Service Unavailable"), (4.0, "Too Many Requests")] == one.heard


async def test_pauses_end() -> None:
    """After eight tries the document fails; the run ends, because no call succeeded meanwhile."""
    async with api(says(429, {"message": "Rate limit exceeded"})) as one:
        error = await failure(called(one, is_free=False))
        assert (8, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]) == (one.raw.connections, one.clock.waits)
        assert "The API is asked too much (429): Rate limit exceeded." == error.why
        assert (True, Refused) == (error.ends_run, type(error))


async def test_a_pause_of_more_than_ten_minutes_is_not_waited_for() -> None:
    """An API that wants no call for an hour fails the document at once, and ends the run."""
    async with api(says(429, {}, b"Retry-After: 3600")) as one:
        error = await failure(called(one, is_free=False))
        assert ([], 1, True) == (one.clock.waits, one.raw.connections, error.ends_run)
    async with api(says(429, {}, b"Retry-After: 250")) as one:
        error = await failure(called(one, is_free=False))
        assert ([250.0, 250.0], 3) == (one.clock.waits, one.raw.connections)


async def test_a_pause_holds_for_all_workers() -> None:
    """What one worker is told, the others keep, too: none calls before it ends."""
    async with api(says(429, {}, b"Retry-After: 30"), GOOD) as one:
        results = await asyncio.gather(called(one, is_free=False), _behind(one))
        assert ([b'{"pages": []}'] * 2, 3) == (results, one.raw.connections)
        assert one.clock.now_s >= 1_800_000_030.0


async def _behind(one: Api) -> bytes:
    """Call once the other worker has been told to wait."""
    while not one.heard:  # noqa: ASYNC110  # the other worker sets no event
        await asyncio.sleep(0)
    assert one.heard
    found = await called(one, is_free=False)
    assert one.clock.now_s >= 1_800_000_030.0
    return found


@pytest.mark.parametrize(("status", "ends_run"), [(429, True), (503, False)])
async def test_a_document_that_an_api_never_takes_fails_alone(status: int, ends_run: bool) -> None:
    """After good responses a 503 that stays may be about this document; a 429 is about the caller."""
    async with api(GOOD, says(status, {})) as one:
        await called(one, is_free=False)
        assert 1 == one.connection.pauses.successes
        assert ends_run == (await failure(called(one, is_free=False))).ends_run
    async with api(says(status, {})) as one:
        assert (await failure(called(one, is_free=False))).ends_run


async def test_what_is_urgent_waits_for_no_pause_of_others() -> None:
    """Uploads are deleted at once when a run ends; where the API asks this call itself to wait, it waits."""
    async with api(GOOD, says(429, {}), GOOD) as one:
        one.connection.pauses.extend(500.0)
        call = Call("DELETE", one.connection.endpoint.url("/files/file-1"), is_urgent=True)
        await send(one.connection, call, whole, one.on_wait)
        assert [] == one.clock.waits
        await send(one.connection, call, whole, one.on_wait)
        assert [500.0] == one.clock.waits


async def test_a_run_goes_on_where_others_succeed() -> None:
    """A document that had bad luck eight times fails alone."""
    async with api(says(429, {})) as one:
        task = asyncio.ensure_future(failure(called(one, is_free=False)))
        while not one.heard:  # noqa: ASYNC110  # a wait of the call under test
            await asyncio.sleep(0)
        one.connection.pauses.successes += 1
        assert not (await task).ends_run


@pytest.mark.parametrize("code", ["budget_spent", "budget_unpriced"])
async def test_a_budget_that_is_spent_ends_the_run(code: str) -> None:
    """The proxy's message and hint are shown; it is not asked again, whatever Retry-After says."""
    said = {"message": "The budget of team-a is spent: 1.00 of 1.00 USD.", "hint": "Wait until Monday."}
    async with api(says(429, said, PROXY + code.encode(), b"Retry-After: 1")) as one:
        error = await failure(called(one, is_free=False))
        assert ("The budget of team-a is spent: 1.00 of 1.00 USD.", "Wait until Monday.") == (error.why, error.hint)
        assert (True, 1) == (error.ends_run, one.raw.connections)


async def test_a_cancelled_call_leaves_nothing_open(pdf: Path) -> None:
    """Ctrl-C while the document leaves, or while the response is awaited, closes the connection."""
    content = FileContent.of(pdf, as_base64=True)
    body = partial(inline_document_body, {"model": "m"}, "document_url", "application/pdf", content, 5.0)
    arrived = asyncio.Event()

    async def stalls(peer: Peer) -> None:
        await peer.head()
        arrived.set()
        await peer.reader.read(100_000)
        await asyncio.Event().wait()

    async def waits(peer: Peer) -> None:
        await peer.request()
        arrived.set()
        await peer.ended()

    for act in (stalls, waits):
        arrived.clear()
        before = asyncio.all_tasks()
        async with api(act) as one:
            task = asyncio.ensure_future(called(one, is_free=False, body=body))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        left = {each for each in asyncio.all_tasks() - before if "RawUpstream" not in repr(each)}
        if left:
            _, left = await asyncio.wait(left, timeout=5)
        assert set() == left


async def test_the_key_is_in_no_message() -> None:
    """An API that repeats the key is not repeated."""
    async with api(says(400, {"message": "The key client-key is wrong"})) as one:
        error = await failure(called(one, is_free=False))
        assert "The API refused it (400): The key *** is wrong." == error.why
    assert b"client-key" not in json.dumps(str(error)).encode()


def test_an_api_that_takes_nothing_more_does_not_hold_the_end(pdf: Path) -> None:
    """A call that is cancelled with bytes on the way has no connection left when the loop ends, though none of them is read."""
    content = FileContent.of(pdf, as_base64=True)
    body = partial(inline_document_body, {"model": "m"}, "document_url", "application/pdf", content, 5.0)

    accepted: list[socket.socket] = []

    async def cancelled(listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        endpoint = Endpoint.of(f"http://127.0.0.1:{listening.getsockname()[1]}", None)
        async with Connection(endpoint) as connection:
            call = Call("POST", endpoint.ocr_url, body, is_free=False)
            task = asyncio.ensure_future(send(connection, call, whole, lambda *_: None))
            accepted.append((await loop.sock_accept(listening))[0])
            await loop.sock_recv(accepted[0], 1)
            await asyncio.wait([task], timeout=0.2)  # until the system takes no more of it
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with socket.create_server(("127.0.0.1", 0)) as listening, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        listening.setblocking(False)
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(cancelled(listening))
        gc.collect()
        accepted[0].close()
    assert [] == [str(each.message) for each in warned]
