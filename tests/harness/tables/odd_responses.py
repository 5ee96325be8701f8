"""Odd answers of a target as bytes, and what the client gets of each.

(1) REFUSED: 502, nothing of it is relayed. (2) BROKEN: its head was relayed before its body proved to be none; the client's
connection breaks off. (3) SPOILT: the answer is whole and relayed, its connection serves no other request. (4) PLAIN: relayed,
and the connection is kept.
"""

# ruff: noqa: E501 - rows of a table are easier to compare than their pieces
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from tests.harness.tables.odd_requests import CANARY, shown


class Fate(Enum):
    """What becomes of an answer."""

    REFUSED = auto()
    BROKEN = auto()
    SPOILT = auto()
    PLAIN = auto()


@dataclass(frozen=True, slots=True)
class OddAnswer:
    """One case; `status` and `body` are what the client gets where it is whole; `ends` tells that the target closes behind it."""

    name: str
    sent: bytes
    fate: Fate
    status: int = 200
    body: bytes = b""
    method: bytes = b"POST"
    ends: bool = False

    def __str__(self) -> str:
        return f"{self.fate.name.lower()}: {self.name}"


def _head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([status, *lines, b"X-Odd: " + CANARY]) + b"\r\n\r\n"


_CL: Final = b"Content-Length: 3"
_TE: Final = b"Transfer-Encoding: chunked"
_ABC: Final = b"3\r\nabc\r\n0\r\n\r\n"
_WHOLE: Final = _head(_CL) + b"abc"

_STATUS_LINES: Final = (
    b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 2", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 0200 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1 000 OK",
    b"HTTP/1.1 -200 OK", b"HTTP/1.1 +200 OK", b"HTTP/1.1 2x0 OK", b"HTTP/1.1 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK", b"HTTP/1.1 200\tOK",
    b"HTTP/1.1 200OK", b"HTTP/1.1 2 00 OK", b"HTTP/1.1 200.0 OK", b"HTTP/1.2 200 OK", b"HTTP/1.10 200 OK", b"HTTP/1 200 OK", b"HTTP/0.9 200 OK",
    b"HTTP/2 200 OK", b"HTTP/2.0 200 OK", b"HTTP/3 200", b"http/1.1 200 OK", b"Http/1.1 200 OK", b"HTTPS/1.1 200 OK", b"ICY 200 OK", b"RTSP/1.0 200 OK",
    b"SIP/2.0 200 OK", b" HTTP/1.1 200 OK", b"\tHTTP/1.1 200 OK", b"\r\nHTTP/1.1 200 OK", b"\nHTTP/1.1 200 OK", b"\x00HTTP/1.1 200 OK", b"\xef\xbb\xbfHTTP/1.1 200 OK",
    b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 200 O\rK", b"HTTP/1.1 200 O\nK", b"HTTP/1.1 200 O\x1bK", b"HTTP/1.1 200 OK\x7f", b"HTTP/1.1 2\xb20 OK", b"HTTP/1.1 \xef\xbc\x92\xef\xbc\x90\xef\xbc\x90 OK",
    b"GET / HTTP/1.1", b"canary5e1f", b"<html>canary5e1f", b"{\"canary5e1f\": 1}", b"Content-Length: 3", b"SSH-2.0-canary5e1f", b"\x15\x03\x03\x00\x02\x02\x28canary5e1f",
    b"\x00\x00\x12\x04\x00canary5e1f", b"220 canary5e1f ESMTP", b"abcHTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r", b"", b"HTTP/1.1 101 Switching Protocols",
)  # fmt: skip

_FIELDS: Final = (
    b"A : b", b"A\t: b", b": b", b"A b: c", b"A", b"canary5e1f", b" A: b", b"A: b\r\n c", b"A: b\r\n\tc", b"A:\r\n b", b"A\x00: b", b"A: \x00", b"A: b\x00c", b"A: \x01",
    b"A: \x08", b"A: \x0b", b"A: \x0c", b"A: \x1b[2J", b"A: \x1f", b"A: \x7f", b"A: b\nC: d", b"A: b\rC: d", b"A: b\r\r\nC: d", b"\xc3\xa4: b", b"\xe4: b", b"A(: b", b"A,B: c",
    b"A/B: c", b"A;B: c", b"\"A\": b", b"A@B: c", b"[A]: b", b"<A>: b", b"A\x7f: b", b"A\r: b", b"\rA: b", b"\x0bA: b", b"Set-Cookie: a\n", b"Transfer-Encoding : chunked",
    b"Content-Length : 3", b"Transfer Encoding: chunked", b"Transfer-Encoding\x00: chunked",
)  # fmt: skip

_LENGTHS: Final = (
    b"Content-Length:", b"Content-Length: +3", b"Content-Length: -3", b"Content-Length: 3.0", b"Content-Length: 0x3", b"Content-Length: 3,3", b"Content-Length: 3, 3",
    b"Content-Length: 3 3", b"Content-Length: 3;", b"Content-Length: three", b"Content-Length: \"3\"", b"Content-Length: 3_", b"Content-Length: \xd9\xa3", b"Content-Length: 3\xa0",
    b"Content-Length: 99999999999999999999", b"Content-Length: 3\r\nContent-Length: 3", b"Content-Length: 3\r\nContent-Length: 4", b"Content-Length: 4\r\ncontent-length: 3",
    b"Content-Length: 3\r\nX: y\r\nContent-Length: 3", b"Content-Length: 0\r\nContent-Length: 3", b"Content-Length: 3\r\nContent-Length:", b"Content-Length: 3e0", b"Content-Length: ,",
)  # fmt: skip

_CODINGS: Final = (
    b"Transfer-Encoding:", b"Transfer-Encoding: gzip", b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: chunked;a=b", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: \"chunked\"", b"Transfer-Encoding: chunked,", b"Transfer-Encoding: ,chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"Transfer-Encoding: chunked\r\nTransfer-Encoding:",
    b"Transfer-Encoding: chunked\r\nContent-Length: 3", b"Content-Length: 3\r\nTransfer-Encoding: chunked", b"Content-Length: 0\r\nTransfer-Encoding: chunked",
    b"Content-Length: 3\r\nTransfer-Encoding: identity", b"Content-Length: 3\r\nTransfer-Encoding:", b"Transfer-Encoding: chun ked", b"Transfer-Encoding: \xc3\xa7hunked", b"Transfer-Encoding: cow",
)  # fmt: skip

_CHUNKS: Final = {
    "no size": b"\r\nabc\r\n0\r\n\r\n", "size is a word": b"x\r\nabc\r\n0\r\n\r\n", "0x": b"0x3\r\nabc\r\n0\r\n\r\n", "negative": b"-3\r\nabc\r\n0\r\n\r\n", "plus": b"+3\r\nabc\r\n0\r\n\r\n",
    "space before": b" 3\r\nabc\r\n0\r\n\r\n", "underscore": b"0_3\r\nabc\r\n0\r\n\r\n", "comma": b"3,3\r\nabc\r\n0\r\n\r\n", "17 digits": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "16 digits": b"1000000000000003\r\nabc\r\n0\r\n\r\n", "NUL": b"3\x00\r\nabc\r\n0\r\n\r\n", "size ends in LF": b"3\nabc\r\n0\r\n\r\n", "data ends in LF": b"3\r\nabc\n0\r\n\r\n",
    "longer than its size": b"3\r\nabcd\r\n0\r\n\r\n", "all in LF": b"3\nabc\n0\n\n", "end in LF": b"3\r\nabc\r\n0\r\n\n", "extension with LF": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "extension with NUL": b"3;a\x00\r\nabc\r\n0\r\n\r\n", "extension of 5 kB": b"3;" + b"a" * 5000 + b"\r\nabc\r\n0\r\n\r\n", "superscript": b"\xb3\r\nabc\r\n0\r\n\r\n", "colon": b"3:\r\nabc\r\n0\r\n\r\n",
    "no chunks at all": b"canary5e1f\r\n\r\n", "trailer without colon": b"3\r\nabc\r\n0\r\ncanary5e1f\r\n\r\n", "trailer with NUL": b"3\r\nabc\r\n0\r\nA: \x00\r\n\r\n",
    "folded trailer": b"3\r\nabc\r\n0\r\nA: b\r\n c\r\n\r\n", "trailer with a space in its name": b"3\r\nabc\r\n0\r\nA b: c\r\n\r\n", "trailer ends in LF": b"3\r\nabc\r\n0\r\nA: b\n\r\n",
    "extensions of 4 kB on every byte": b"1;%b\r\na\r\n" % (b"e" * 4000) * 6 + b"0\r\n\r\n", "trailers of 20 kB": b"3\r\nabc\r\n0\r\n" + (b"A: " + b"b" * 1000 + b"\r\n") * 20 + b"\r\n", "another answer instead of a chunk": b"3\r\nabc\r\n" + _WHOLE,
}  # fmt: skip

_NEVER_HEADS: Final = (
    b"SSH-2.0-OpenSSH_9.6\r\n", b"220 mail.test ESMTP\r\n", b"\x15\x03\x01\x00\x02\x02\x16", b"+OK\r\n", b"{", b"\n", b"\r\n", b"HTTP/2.0 200 OK\r\n",
    b"HTTP/1.1 20x", b"HTTP/1.1 2000", b"HTTP/1.1 200 OK\nA", b"HTTP/1.1 200 OK\r\nA\r\nB", b"HTTP/1.1 200 OK\r\nA: b\x00", b"HTTP/1.1 100 Continue\r\n\r\nno",
)  # fmt: skip
"""Beginnings that no rest can make a head of; nothing comes behind them, and the connection stays open."""

_PLAIN: Final = (
    OddAnswer("a length", _WHOLE, Fate.PLAIN, body=b"abc"),
    OddAnswer("chunks", _head(_TE) + _ABC, Fate.PLAIN, body=b"abc"),
    OddAnswer("chunks with extensions", _head(_TE) + b"3;a=b;c=\"d;e\"\r\nabc\r\n0;f\r\n\r\n", Fate.PLAIN, body=b"abc"),
    OddAnswer("chunks with trailers", _head(_TE) + b"3\r\nabc\r\n0\r\nContent-Length: 9\r\nX-Trail: canary5e1f\r\n\r\n", Fate.PLAIN, body=b"abc"),
    OddAnswer("chunks of leading zeros and upper case", _head(_TE) + b"00A\r\nabcdefghij\r\n000\r\n\r\n", Fate.PLAIN, body=b"abcdefghij"),
    OddAnswer("coding in other case", _head(b"transfer-ENCODING: \tChunked ") + _ABC, Fate.PLAIN, body=b"abc"),
    OddAnswer("length with zeros", _head(b"Content-Length: 003") + b"abc", Fate.PLAIN, body=b"abc"),
    OddAnswer("white space around a length", _head(b"Content-Length: \t3 \t") + b"abc", Fate.PLAIN, body=b"abc"),
    OddAnswer("no reason", _head(_CL, status=b"HTTP/1.1 200 ") + b"abc", Fate.PLAIN, body=b"abc"),
    OddAnswer("no reason and no space", _head(_CL, status=b"HTTP/1.1 200") + b"abc", Fate.PLAIN, body=b"abc"),
    OddAnswer("status 599", _head(_CL, status=b"HTTP/1.1 599 Odd") + b"abc", Fate.PLAIN, 599, b"abc"),
    OddAnswer("204", _head(status=b"HTTP/1.1 204 No Content"), Fate.PLAIN, 204),
    OddAnswer("304 with a length", _head(b"Content-Length: 9", status=b"HTTP/1.1 304 Not Modified"), Fate.PLAIN, 304),
    OddAnswer("HEAD with a length", _head(b"Content-Length: 9"), Fate.PLAIN, method=b"HEAD"),
    OddAnswer("HEAD with chunked", _head(_TE), Fate.PLAIN, method=b"HEAD"),
    OddAnswer("100 before it", b"HTTP/1.1 100 Continue\r\n\r\n" + _WHOLE, Fate.PLAIN, body=b"abc"),
    OddAnswer("103 twice before it", _head(status=b"HTTP/1.1 103 Early Hints") * 2 + _WHOLE, Fate.PLAIN, body=b"abc"),
    OddAnswer("20 interim ones before it", _head(status=b"HTTP/1.1 102 Processing") * 20 + _WHOLE, Fate.PLAIN, body=b"abc"),
    OddAnswer("102 with a length", _head(_CL, status=b"HTTP/1.1 102 Processing") + _WHOLE, Fate.PLAIN, body=b"abc"),
    OddAnswer("HTTP/1.0 kept alive", _head(b"Connection: keep-alive", _CL, status=b"HTTP/1.0 200 OK") + b"abc", Fate.PLAIN, body=b"abc"),
    OddAnswer("an answer as its body", _head(b"Content-Length: %d" % len(_WHOLE)) + _WHOLE, Fate.PLAIN, body=_WHOLE),
    OddAnswer("length nominated", _head(b"Connection: content-length", _CL) + b"abc", Fate.PLAIN, body=b"abc"),
)  # fmt: skip

_SPOILT: Final = (
    OddAnswer("surplus behind a length", _WHOLE + b"d", Fate.SPOILT, body=b"abc"),
    OddAnswer("CRLF behind a length", _WHOLE + b"\r\n", Fate.SPOILT, body=b"abc"),
    OddAnswer("another answer behind a length", _WHOLE + _WHOLE, Fate.SPOILT, body=b"abc"),
    OddAnswer("surplus behind length 0", _head(b"Content-Length: 0") + b"abc", Fate.SPOILT),
    OddAnswer("surplus behind chunks", _head(_TE) + _ABC + b"d", Fate.SPOILT, body=b"abc"),
    OddAnswer("another answer behind chunks", _head(_TE) + _ABC + _WHOLE, Fate.SPOILT, body=b"abc"),
    OddAnswer("a second last chunk", _head(_TE) + _ABC + b"0\r\n\r\n", Fate.SPOILT, body=b"abc"),
    OddAnswer("a body behind 204", _head(_CL, status=b"HTTP/1.1 204 No Content") + b"abc", Fate.SPOILT, 204),
    OddAnswer("a body behind 304", _head(_CL, status=b"HTTP/1.1 304 Not Modified") + b"abc", Fate.SPOILT, 304),
    OddAnswer("a body behind HEAD", _WHOLE, Fate.SPOILT, method=b"HEAD"),
    OddAnswer("chunks behind HEAD", _head(_TE) + _ABC, Fate.SPOILT, method=b"HEAD"),
    OddAnswer("100 behind it", _WHOLE + b"HTTP/1.1 100 Continue\r\n\r\n", Fate.SPOILT, body=b"abc"),
    OddAnswer("close", _head(b"Connection: close", _CL) + b"abc", Fate.SPOILT, body=b"abc"),
    OddAnswer("close among others", _head(b"Connection: a, CLOSE,b", _CL) + b"abc", Fate.SPOILT, body=b"abc"),
    OddAnswer("close and keep-alive", _head(b"Connection: keep-alive", b"Connection: close", _CL) + b"abc", Fate.SPOILT, body=b"abc"),
    OddAnswer("HTTP/1.0", _head(_CL, status=b"HTTP/1.0 200 OK") + b"abc", Fate.SPOILT, body=b"abc"),
    OddAnswer("no framing", _head() + b"abc", Fate.SPOILT, body=b"abc", ends=True),
    OddAnswer("no framing and keep-alive", _head(b"Connection: keep-alive") + b"abc", Fate.SPOILT, body=b"abc", ends=True),
    OddAnswer("look-alikes of framing", _head(b"Content_Length: 1", b"Transfer_Encoding: chunked") + b"abc", Fate.SPOILT, body=b"abc", ends=True),
    OddAnswer("it closes behind it", _WHOLE, Fate.SPOILT, body=b"abc", ends=True),
)  # fmt: skip

_BROKEN_SHORT: Final = (
    OddAnswer("shorter than its length", _head(b"Content-Length: 4") + b"abc", Fate.BROKEN, ends=True),
    OddAnswer("chunk shorter than its size", _head(_TE) + b"4\r\nabc", Fate.BROKEN, ends=True),
    OddAnswer("no last chunk", _head(_TE) + b"3\r\nabc\r\n", Fate.BROKEN, ends=True),
    OddAnswer("half a last chunk", _head(_TE) + b"3\r\nabc\r\n0\r\n", Fate.BROKEN, ends=True),
)

ODD_ANSWERS: Final = (
    *(OddAnswer(f"line {shown(line)}", _head(_CL, status=line) + b"abc", Fate.REFUSED) for line in _STATUS_LINES),
    *(OddAnswer(f"field {shown(line)}", _head(_CL, line) + b"abc", Fate.REFUSED) for line in _FIELDS),
    *(OddAnswer(f"length {shown(lines)}", _head(lines) + b"abc", Fate.REFUSED) for lines in _LENGTHS),
    *(OddAnswer(f"coding {shown(lines)}", _head(lines) + _ABC, Fate.REFUSED) for lines in _CODINGS),
    OddAnswer("coding in HTTP/1.0", _head(_TE, status=b"HTTP/1.0 200 OK") + _ABC, Fate.REFUSED),
    OddAnswer("coding in 204", _head(b"Transfer-Encoding: gzip", status=b"HTTP/1.1 204 No Content"), Fate.REFUSED),
    OddAnswer("two lengths to HEAD", _head(_CL, b"Content-Length: 4"), Fate.REFUSED, method=b"HEAD"),
    OddAnswer("all in LF", _WHOLE.replace(b"\r\n", b"\n") + b"\r\n\r\n", Fate.REFUSED),
    OddAnswer("nothing but LF", _WHOLE.replace(b"\r\n", b"\n"), Fate.REFUSED),
    OddAnswer("nothing but CR", _WHOLE.replace(b"\r\n", b"\r"), Fate.REFUSED),
    *(OddAnswer(f"never a head: {shown(line)}", line, Fate.REFUSED) for line in _NEVER_HEADS),
    OddAnswer("21 interim ones", _head(status=b"HTTP/1.1 102 Processing") * 21 + _WHOLE, Fate.REFUSED),
    OddAnswer("LF behind the line", b"HTTP/1.1 200 OK\n" + _head(_CL)[17:] + b"abc", Fate.REFUSED),
    OddAnswer("interim that is none", b"HTTP/1.1 100 Continue\r\nA b: c\r\n\r\n" + _WHOLE, Fate.REFUSED),
    OddAnswer("101 behind 100", b"HTTP/1.1 100 Continue\r\n\r\n" + _head(status=b"HTTP/1.1 101 Switching Protocols"), Fate.REFUSED),
    OddAnswer("a head of 70 kB", _head(_CL, *[b"A: " + b"b" * 1000] * 70) + b"abc", Fate.REFUSED),
    OddAnswer("a line of 70 kB", _head(_CL, status=b"HTTP/1.1 200 " + b"b" * 70_000) + b"abc", Fate.REFUSED),
    OddAnswer("nothing", b"", Fate.REFUSED, ends=True),
    OddAnswer("half a head", b"HTTP/1.1 200 OK\r\nX-Odd: canary5e1f\r\n", Fate.REFUSED, ends=True),
    OddAnswer("interim only", b"HTTP/1.1 100 Continue\r\n\r\n", Fate.REFUSED, ends=True),
    *(OddAnswer(f"chunks, {name}", _head(_TE) + body, Fate.BROKEN) for name, body in _CHUNKS.items()),
    *_BROKEN_SHORT,
    *_SPOILT,
    *_PLAIN,
)  # fmt: skip
"""Every case."""
