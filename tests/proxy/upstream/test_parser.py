"""One answer as it comes in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.proxy.upstream.parser import MAX_HEAD_BYTES, ResponseParser
from passthrough.proxy.upstream.response_head import MalformedResponse


@dataclass(frozen=True)
class Seen:
    """What was parsed of one response."""

    status: int | None
    body: bytes
    ended: bool
    surplus: bool = False
    persists: bool = True
    bad: str = ""


def seen(pieces: Iterable[bytes], method: str = "POST") -> Seen:
    """Return what is read of these pieces, taken as they come."""
    incoming, body, surplus, bad = ResponseParser(method), b"", False, ""
    for piece in pieces:
        try:
            surplus = incoming.feed(piece) or surplus
        except MalformedResponse as error:
            bad = str(error)
        body += b"".join(iter(incoming.next, None))
        if bad:
            break
    answer = incoming.head
    return Seen(answer and answer.status, body, incoming.ended, surplus, answer is None or answer.persists, bad)


OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS = {
    "a length": (OK + b"Content-Length: 5\r\n\r\n12345", "POST", Seen(200, b"12345", True)),
    "no bytes": (OK + b"Content-Length: 0\r\n\r\n", "POST", Seen(200, b"", True)),
    "a part": (OK + b"Content-Length: 5\r\n\r\n123", "POST", Seen(200, b"123", False)),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\n123\r\n2\r\n45\r\n0\r\n\r\n", "POST", Seen(200, b"12345", True)),
    "chunks and a trailer": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\n123\r\n0\r\nA: b\r\n\r\n",
        "POST",
        Seen(200, b"123", True),
    ),
    "until the close": (OK + b"\r\n12345", "POST", Seen(200, b"12345", False, persists=False)),
    "to HEAD": (OK + b"Content-Length: 5\r\n\r\n", "HEAD", Seen(200, b"", True)),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", "POST", Seen(204, b"", True)),
    "behind an interim one": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\n1",
        "POST",
        Seen(200, b"1", True),
    ),
    "half a head": (OK + b"Content-Le", "POST", Seen(None, b"", False)),
    "nothing": (b"", "POST", Seen(None, b"", False)),
    "more than its length": (OK + b"Content-Length: 2\r\n\r\n123", "POST", Seen(200, b"12", True, surplus=True, persists=False)),
    "more than its chunks": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\nHTTP/1.1 200 OK",
        "POST",
        Seen(200, b"1", True, surplus=True, persists=False),
    ),
    "a body to HEAD": (OK + b"Content-Length: 2\r\n\r\n12", "HEAD", Seen(200, b"", True, surplus=True, persists=False)),
    "no HTTP": (b"SSH-2.0\r\n\r\n", "POST", Seen(None, b"", False, bad="no HTTP/1.1 status line")),
    "no HTTP, not whole": (b"SSH-2.0\r\n", "POST", Seen(None, b"", False, bad="no HTTP/1.1 status line")),
    "LF alone": (
        b"HTTP/1.1 200 OK\nContent-Length: 1\n\n1",
        "POST",
        Seen(None, b"", False, bad="a header with a bare LF, a bare CR or another control character"),
    ),
    "a line that is no field, not whole": (
        OK + b"no colon\r\nA",
        "POST",
        Seen(None, b"", False, bad="a header line that is not 'name: value'"),
    ),
    "interim ones without end": (
        b"HTTP/1.1 102 Processing\r\n\r\n" * 21 + OK,
        "POST",
        Seen(None, b"", False, bad="more than 20 interim responses"),
    ),
    "two lengths": (
        OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n12",
        "POST",
        Seen(None, b"", False, bad="more than one Content-Length, or an odd one"),
    ),
    "a head without end": (
        OK + b"A: " + b"a" * MAX_HEAD_BYTES,
        "POST",
        Seen(None, b"", False, bad="a header of more than 65536 bytes"),
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_whole(name: str) -> None:
    """It is read as it is meant, when all of it comes at once."""
    sent, method, expected = ANSWERS[name]
    assert expected == seen([sent], method)


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "a head without end"])
def test_an_answer_byte_by_byte(name: str) -> None:
    """It is read the same, wherever the pieces' borders are."""
    sent, method, expected = ANSWERS[name]
    assert expected == seen([sent[at : at + 1] for at in range(len(sent))], method)


@given(st.sampled_from(sorted(ANSWERS)), st.lists(st.integers(0, 120), max_size=6))
def test_an_answer_in_pieces(name: str, borders: list[int]) -> None:
    """So it is in pieces of any size."""
    sent, method, expected = ANSWERS[name]
    cuts = [0, *sorted(min(border, len(sent)) for border in borders), len(sent)]
    assert expected == seen([sent[begin:end] for begin, end in pairwise(cuts)], method)


def begun(head: bytes = b"Content-Length: 100000") -> ResponseParser:
    """Return a response whose head has come."""
    incoming = ResponseParser("POST")
    assert not incoming.feed(OK + head + b"\r\n\r\n")
    assert incoming.in_body
    return incoming


def taken(incoming: ResponseParser) -> Iterator[bytes]:
    """Yield what is there, small pieces joined."""
    return iter(incoming.take, None)


def test_small_pieces_are_joined() -> None:
    """Up to 64 KB are taken at once, in their order; what is held is counted."""
    incoming = begun()
    pieces = [b"%d" % at * 10_000 for at in range(10)]
    for piece in pieces[:9]:
        incoming.feed(piece)
    assert 90_000 == incoming.buffered
    joined = list(taken(incoming))
    assert [60_000, 30_000] == [len(piece) for piece in joined]
    assert b"".join(pieces[:9]) == b"".join(joined)
    assert 0 == incoming.buffered


def test_what_goes_past() -> None:
    """The middle of a body of known length may go past; its end may not, nor what comes behind bytes that were not taken."""
    incoming = begun()
    assert incoming.skip(60_000)
    assert not incoming.skip(40_000)
    incoming.feed(b"a" * 10_000)
    assert not incoming.skip(10_000)
    assert b"a" * 10_000 == incoming.take()
    assert incoming.skip(29_999)
    assert not incoming.ended
    incoming.feed(b"a")
    assert incoming.ended
    assert not begun(b"Transfer-Encoding: chunked").skip(1)
    assert not begun(b"Connection: close").skip(1)


def test_a_close() -> None:
    """It ends what is delimited by it, and nothing else."""
    assert [True, False, False] == [
        begun(head).close() for head in (b"Connection: close", b"Content-Length: 5", b"Transfer-Encoding: chunked")
    ]
    assert not ResponseParser("POST").close()


def test_what_is_dropped() -> None:
    """Nothing of it can be taken, and nothing is held."""
    incoming = begun()
    incoming.feed(b"12345")
    incoming.drop()
    assert (0, None) == (incoming.buffered, incoming.take())
