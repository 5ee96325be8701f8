"""One connection to a target: what it takes for a response, and when it may serve another request."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.errors import UpstreamFailure
from passthrough.proxy.upstream.connection import Connection
from passthrough.proxy.upstream.parser import MAX_HEAD_BYTES
from passthrough.proxy.upstream.response_head import Framing, parse_head
from tests.harness.connections import answer_of, body_of, connected
from tests.harness.waiting import WAIT_S


@pytest.mark.parametrize("seed", range(5))
async def test_what_is_poured_out_of_one_buffer_arrives(seed: int) -> None:
    """A buffer may be filled again where that is said, however slow the target is; few bytes never hold it."""
    sizes = random.Random(seed)
    sent, came = bytearray(), bytearray()
    async with connected() as (connection, theirs):
        assert connection.begin("POST")
        buffer = bytearray(300_000)
        while len(sent) < 30_000_000:
            size = sizes.choice((1, 1000, 65_535, 65_536, 300_000))
            buffer[:size] = sizes.randbytes(size)
            sent += buffer[:size]
            if not connection.write_view(memoryview(buffer)[:size]):
                assert size >= 65_536
                buffer = bytearray(300_000)
            assert connection.writable or len(sent) > 65_536
            while not connection.writable and len(came) < len(sent):
                came += await asyncio.get_running_loop().sock_recv(theirs, 1 << 20)
        while len(came) < len(sent):
            came += await asyncio.get_running_loop().sock_recv(theirs, 1 << 20)
        assert sent == came


async def test_pouring_into_a_connection_that_has_ended() -> None:
    """What is poured is dropped, as what is written is; the buffer is free."""
    async with connected() as (connection, _):
        connection.abort()
        assert (True, False) == (connection.write_view(memoryview(bytes(100_000))), connection.writable)


async def closed(theirs: socket.socket) -> None:
    """Wait until the connection is closed from our side, whatever still comes."""
    async with asyncio.timeout(WAIT_S):
        try:
            while await asyncio.get_running_loop().sock_recv(theirs, 65536):
                pass
        except ConnectionResetError:
            pass


def feed(connection: Connection, pieces: Iterable[bytes]) -> None:
    """Let pieces arrive in just these bounds, which a socket would not keep."""
    for piece in pieces:
        connection.data_received(piece)


# ── the head ──


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK", 200, b"OK"),
        (b"HTTP/1.0 404 Not  Found\t!", 404, b"Not  Found\t!"),
        (b"HTTP/1.1 200 ", 200, b""),
        (b"HTTP/1.1 200", 200, b""),
        (b"HTTP/1.1 599 caf\xe9", 599, b"caf\xe9"),
        (b"HTTP/1.1 999 Odd", 999, b"Odd"),
    ],
)
def test_a_status_line_is_taken_as_it_came(line: bytes, status: int, reason: bytes) -> None:
    """Status and reason are the target's, even an empty reason and bytes outside ASCII."""
    answer = parse_head(line, "GET")
    assert answer
    assert (status, reason) == (answer.status, answer.reason)


def test_fields_are_taken_as_they_came() -> None:
    """Order, case and duplicates stay, only the white space around a value goes (RFC 9112 §5.1)."""
    answer = parse_head(b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nB:\r\nset-cookie:\t b \tc\xe9 \t\r\nX:y:z", "GET")
    expected = ((b"Set-Cookie", b"a"), (b"B", b""), (b"set-cookie", b"b \tc\xe9"), (b"X", b"y:z"))
    assert answer
    assert expected == tuple((name, value) for _, name, value in answer.fields)
    assert (b"a", b"", None) == (answer.first(b"set-cookie"), answer.first(b"b"), answer.first(b"else"))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1",
        b"HTTP/1.1 20",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 2x0 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 O\nK",
        b"HTTP/1.2 200 OK",
        b"HTTP/2 200 OK",
        b"http/1.1 200 OK",
        b" HTTP/1.1 200 OK",
        b"\r\nHTTP/1.1 200 OK",
        b"ICY 200 OK",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x",
        *(
            b"HTTP/1.1 200 OK\r\n" + line
            for line in (
                b"no colon",
                b": no name",
                b"A : space before the colon",
                b"A B: c",
                b" A: folded",
                b"A: b\r\n folded",
                b"A: b\r\n\tfolded",
                b"A: b\nC: d",
                b"A: b\rC: d",
                b"A: \x00",
                b"A: \x1b",
                b"A: \x7f",
                b"\xc3\xa4: b",
                b"Content-Length: 5\r\nContent-Length: 5",
                b"Content-Length: 5\r\nContent-Length: 6",
                b"Content-Length: 5, 5",
                b"Content-Length: +5",
                b"Content-Length: -5",
                b"Content-Length: 0x5",
                b"Content-Length:",
                b"Content-Length: " + b"9" * 20,
                b"Content-Length: 5\r\nTransfer-Encoding: chunked",
                b"Transfer-Encoding: gzip",
                b"Transfer-Encoding: gzip, chunked",
                b"Transfer-Encoding: chunked, chunked",
                b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                b"Transfer-Encoding: identity",
                b"Transfer-Encoding:",
            )
        ),
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
    ],
)
async def test_a_head_that_could_be_read_in_two_ways_is_no_answer(head: bytes) -> None:
    """Whatever is not exactly one well-formed response head is a bad response, and the connection closes."""
    async with connected() as (connection, theirs):
        connection.begin("GET")
        theirs.send(head + b"\r\n\r\n")
        with pytest.raises(UpstreamFailure) as caught:
            await answer_of(connection)
        assert "bad_upstream_answer" == caught.value.kind.code
        await closed(theirs)


@pytest.mark.parametrize("line", [b"A:" + b" " * 60_000 + b"\x00", b"A: b" + b" " * 60_000 + b"\x00", b"A" * 60_000])
async def test_a_head_made_to_be_read_slowly_is_refused_at_once(line: bytes) -> None:
    """White space without end is read in one pass: a target cannot hold up everybody else."""
    async with connected() as (connection, _):
        connection.begin("GET")
        feed(connection, [b"HTTP/1.1 200 OK\r\n" + line + b"\r\n\r\n"])
        with pytest.raises(UpstreamFailure):
            connection.take_response_head()


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
async def test_a_head_without_end_is_refused(end: bytes) -> None:
    """A head larger than the bound is a bad response, whether its end came or not."""
    async with connected() as (connection, _):
        connection.begin("GET")
        feed(connection, [b"HTTP/1.1 200 OK\r\n", b"A: %b" % (b"b" * MAX_HEAD_BYTES), end])
        with pytest.raises(UpstreamFailure) as caught:
            connection.take_response_head()
        assert "bad_upstream_answer" == caught.value.kind.code


NONE, LENGTH, CHUNKED, CLOSE = Framing.NONE, Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE


@pytest.mark.parametrize(
    ("method", "head", "framing", "length", "persists"),
    [
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5", LENGTH, 5, True),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0", LENGTH, 0, True),
        ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked", CHUNKED, None, True),
        ("GET", b"HTTP/1.1 200 OK", CLOSE, None, False),
        ("HEAD", b"HTTP/1.1 200 OK", NONE, None, True),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5", NONE, 5, True),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", NONE, None, True),
        ("GET", b"HTTP/1.1 204 No Content", NONE, None, True),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5", NONE, 5, True),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close", LENGTH, 5, False),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: a, CLOSE", LENGTH, 5, False),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: a\r\nConnection: close", LENGTH, 5, False),
        ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 5", LENGTH, 5, False),
        ("GET", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive", LENGTH, 5, True),
        ("GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive", CLOSE, None, False),
    ],
)
def test_how_a_body_ends(method: str, head: bytes, framing: Framing, length: int | None, persists: bool) -> None:
    """The framing follows RFC 9112 §6.3, and whether the connection lives on §9.3."""
    answer = parse_head(head, method)
    assert answer
    assert (framing, length, persists) == (answer.framing, answer.length, answer.persists)


# ── the body, in every splitting ──

BODY = b"the whole body\r\n\x00\xff"
CODED = b"4;a=b\r\nthe \r\n0000C\r\nwhole body\r\n\r\n2 ;c\r\n\x00\xff\r\n0;last\r\nTrailer: dropped\r\nX:\r\n\r\n"
CASES = {
    "length": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY), BODY),
    "chunked": ("POST", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CODED, BODY),
    "no chunks": ("POST", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
    "empty": ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    "HEAD": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", b""),
    "204": ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "304": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", b""),
    "interim": ("PUT", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", b""),
}  # fmt: skip
KINDS = pytest.mark.parametrize(("method", "wire", "body"), CASES.values(), ids=CASES)


@KINDS
async def test_an_answer_is_the_same_in_every_splitting(method: str, wire: bytes, body: bytes) -> None:
    """Whole, byte by byte, and cut in two anywhere: one body; and the connection serves one exchange after the other."""
    async with connected() as (connection, _):
        splittings = [[wire], [bytes([byte]) for byte in wire], *([wire[:cut], wire[cut:]] for cut in range(1, len(wire)))]
        for pieces in splittings:
            assert connection.is_reusable()
            connection.begin(method)
            feed(connection, pieces)
            assert body == await body_of(connection)
            assert (True, b"") == (connection.has_responded, connection.take())
            assert connection.finish()


@given(
    cuts=st.lists(st.integers(0, 200_000), max_size=6), sizes=st.lists(st.integers(1, 70_000), max_size=6), whole=st.booleans()
)
async def test_a_chunked_body_is_what_was_coded(cuts: list[int], sizes: list[int], whole: bool) -> None:
    """Chunks of any size, cut anywhere, decode to the same bytes."""
    body = b"".join(bytes([number % 251]) * size for number, size in enumerate(sizes))
    coded = b"".join(b"%x\r\n%b\r\n" % (size, bytes([number % 251]) * size) for number, size in enumerate(sizes))
    wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\n\r\n"
    bounds = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    async with connected() as (connection, _):
        connection.begin("GET")
        if whole:
            feed(connection, [wire])
        else:
            feed(connection, (wire[start:end] for start, end in pairwise(bounds) if start < end))
        assert body == await body_of(connection)
        assert connection.finish()


@KINDS
@pytest.mark.parametrize("surplus", [b"\r\n", b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"])
@pytest.mark.parametrize("late", [False, True])
async def test_what_follows_an_answer_spoils_the_connection_alone(
    method: str, wire: bytes, body: bytes, surplus: bytes, late: bool
) -> None:
    """Bytes behind a response, in the same piece or a later one, change nothing of it, but no other request meets them."""
    async with connected() as (connection, theirs):
        connection.begin(method)
        feed(connection, [wire, surplus] if late else [wire + surplus])
        assert body == await body_of(connection)
        assert not connection.finish()
        assert not connection.is_reusable()
        await closed(theirs)


@KINDS
async def test_an_answer_that_breaks_off_is_told(method: str, wire: bytes, body: bytes) -> None:
    """Wherever the target closes before the last byte, the response is broken; what came before is still given."""
    for cut in range(len(wire)):
        async with connected() as (connection, theirs):
            connection.begin(method)
            if cut:
                theirs.send(wire[:cut])
            theirs.close()
            with pytest.raises(UpstreamFailure) as caught:
                await body_of(connection)
            assert "upstream_broke" == caught.value.kind.code
            assert not connection.finish()


async def test_a_close_ends_a_body_that_is_delimited_by_it() -> None:
    """Without length and chunks the target's close is the end (RFC 9112 §6.3)."""
    async with connected() as (connection, theirs):
        connection.begin("GET")
        theirs.send(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)
        theirs.close()
        assert BODY == await body_of(connection)
        assert not connection.finish()


async def test_a_reset_does_not_end_a_body_that_is_delimited_by_close() -> None:
    """A broken connection is no end, whatever the framing."""
    async with connected() as (connection, theirs):
        connection.begin("GET")
        theirs.send(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)
        await answer_of(connection)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
        with pytest.raises(UpstreamFailure) as caught:
            await body_of(connection)
        assert "upstream_broke" == caught.value.kind.code


@pytest.mark.parametrize(
    "coded",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1 2\r\n",
        b"1_0\r\n",
        b"1,2\r\n",
        b"1\n",
        b"1\r\r\n",
        b"1;a\x00\r\n",
        b"1;a\rb\r\n",
        b"0" * 15 + b"1\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\naX\r\n",
        b"0\r\nno colon\r\n",
        b"0\r\nA : b\r\n",
        b"0\r\n folded\r\n",
        b"0\r\nA: \x00\r\n",
        b"0\r\n\n",
        b"1;" + b"a" * 5000,
        b"0\r\nA:" + b" " * 4000 + b"\x00\r\n",
        b"0\r\n" + b"A: %b\r\n" % (b"b" * 1000) * 17,
    ],
)
async def test_chunks_that_could_be_read_in_two_ways_break_the_answer(coded: bytes) -> None:
    """Odd sizes, bare LF, overlong chunks, endless lines and trailers: what was whole is given, then the response is bad."""
    wire = b"3\r\nabc\r\n" + coded
    for pieces in ([wire], [bytes([byte]) for byte in wire]):
        async with connected() as (connection, theirs):
            connection.begin("GET")
            feed(connection, [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *pieces])
            assert b"abc" == (connection.take() or b"")[:3]
            with pytest.raises(UpstreamFailure) as caught:
                await body_of(connection)
            assert "bad_upstream_answer" == caught.value.kind.code
            await closed(theirs)


async def test_interim_responses_are_not_the_answer() -> None:
    """After 100 and 103 the head is still awaited (RFC 9110 §15.2)."""
    async with connected() as (connection, theirs):
        connection.begin("GET")
        theirs.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n")
        async with asyncio.timeout(WAIT_S):
            await connection.arrived()
        assert None is connection.take_response_head()
        theirs.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert 204 == (await answer_of(connection)).status


# ── back-pressure, both ways ──


async def test_a_body_of_any_size_is_held_in_part() -> None:
    """While no one takes, reading pauses and the target waits; taking brings the rest, and the connection lives on."""
    body = bytes(range(256)) * 4096 * 16
    async with connected() as (connection, theirs):
        connection.begin("GET")
        wire = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(theirs, wire))
        await answer_of(connection)
        _, waiting = await asyncio.wait({sending}, timeout=0.2)
        assert {sending} == waiting
        assert body == await body_of(connection)
        await sending
        assert connection.finish()
        connection.begin("GET")
        theirs.send(CASES["length"][1])
        assert BODY == await body_of(connection)


async def test_small_pieces_are_joined() -> None:
    """What came in small pieces is taken in one, so that it goes down in one write."""
    async with connected() as (connection, _):
        connection.begin("POST")
        feed(connection, [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1000])
        assert b"x" * 1000 == connection.take()
        assert None is connection.take()


async def test_a_target_that_takes_nothing_holds_up_the_upload() -> None:
    """`drain` waits while the target does not read, and goes on when it does."""
    async with connected() as (connection, theirs):
        connection.begin("POST")
        await connection.drain()
        connection.write(b"x" * 2**24)
        draining = asyncio.create_task(connection.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        received = 0
        async with asyncio.timeout(WAIT_S):
            while received < 2**24:
                received += len(await asyncio.get_running_loop().sock_recv(theirs, 2**20))
            await draining


@pytest.mark.parametrize("answered", [False, True])
async def test_a_target_that_leaves_releases_the_upload(answered: bool) -> None:
    """An upload whose target is gone fails, unless the response is there: that is what the client gets to see."""
    async with connected() as (connection, theirs):
        connection.begin("POST")
        connection.write(b"x" * 2**24)
        draining = asyncio.create_task(connection.drain())
        if answered:
            theirs.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
            assert 413 == (await answer_of(connection)).status
        theirs.close()
        async with asyncio.timeout(WAIT_S):
            await draining
            if answered:
                connection.write(b"y")
                await connection.drain()
                assert b"" == connection.take()
            else:
                with pytest.raises(UpstreamFailure):
                    await connection.drain()


# ── waiting, and giving up ──


async def test_a_cancelled_wait_loses_nothing() -> None:
    """Another task goes on where a cancelled one stopped."""
    async with connected() as (connection, theirs):
        connection.begin("GET")
        first = asyncio.create_task(answer_of(connection))
        await asyncio.sleep(0)

        async def answering() -> None:
            with pytest.raises(asyncio.CancelledError):
                await first
            theirs.send(CASES["length"][1])

        sending = asyncio.create_task(answering())
        first.cancel()  # It ends late: after this task has begun to wait in its place.
        assert 200 == (await answer_of(connection)).status
        await sending
        assert BODY == await body_of(connection)


async def test_giving_up_wakes_who_waits() -> None:
    """`abort` ends a wait for the head with a failure, and says so again to whoever asks."""
    async with connected() as (connection, theirs):
        connection.begin("GET")
        waiting = asyncio.create_task(answer_of(connection))
        await asyncio.sleep(0)
        connection.abort()
        connection.abort()
        with pytest.raises(UpstreamFailure):
            await waiting
        with pytest.raises(UpstreamFailure):
            connection.take()
        await closed(theirs)


async def test_giving_up_a_whole_answer_that_is_still_being_copied_ends_the_copy() -> None:
    """When an upload fails after its early answer came whole, who copies that answer is told, and does not spin for ever."""
    async with connected() as (connection, _):
        connection.begin("POST")
        feed(connection, [CASES["length"][1]])
        connection.abort()
        with pytest.raises(UpstreamFailure):
            await body_of(connection)


async def test_a_connection_that_ended_before_its_first_request_is_no_wait() -> None:
    """A target that closes right after the handshake fails the request at once, and tells that nothing was sent."""
    async with connected() as (connection, theirs):
        theirs.close()
        async with asyncio.timeout(WAIT_S):
            await connection.arrived()
        connection.begin("POST")
        connection.write(b"POST / HTTP/1.1\r\n\r\n")
        with pytest.raises(UpstreamFailure) as caught:
            await answer_of(connection)
        assert "upstream_unreachable" == caught.value.kind.code


@pytest.mark.parametrize("unasked", [b"x", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"])
@pytest.mark.parametrize("seen_by_loop", [False, True])
async def test_an_idle_connection_with_unasked_input_is_not_fresh(unasked: bytes, seen_by_loop: bool) -> None:
    """Input that no one asked for spoils an idle connection, even while it lies in the kernel."""
    async with connected() as (connection, theirs):
        assert connection.is_reusable()
        theirs.send(unasked)
        if seen_by_loop:
            await closed(theirs)
        assert not connection.is_reusable()


async def test_a_connection_in_use_is_not_fresh() -> None:
    """Only an idle connection may be given out."""
    async with connected() as (connection, _):
        connection.begin("GET")
        assert not connection.is_reusable()
        feed(connection, [CASES["length"][1]])
        assert not connection.is_reusable()


async def test_an_unfinished_exchange_does_not_give_its_connection_back() -> None:
    """`finish` before the response's last byte closes the connection."""
    async with connected() as (connection, theirs):
        connection.begin("GET")
        feed(connection, [CASES["length"][1][:-1]])
        assert not connection.finish()
        await closed(theirs)
