"""Explains what is wrong with a request's head that aiohttp's parser rejects, and reads what can be read of it.

The parser gives the kind of an error and no text that is fit for a response. The rest comes from the head's bytes: the method
and the path for the log, the fields for the client key, and the line or field at fault. The head may have come in part only.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from ...errors import Reason, Refusal
from ..headers import Fields, is_token, quoted
from ..request_head import control_byte, escaped_path, unencoded_byte, validate

_START: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) +")
_UNFINISHED_START: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{0,32}")
_VERSION: Final = re.compile(rb" ([A-Za-z]+)/([0-9])\.([0-9])\s*\Z")
"""One space, not ` +`: a line of 64 KB of spaces took 15 s."""

_MAX_LINES: Final = 300
"""How many lines of a header are read: the parser accepts 256 fields."""

_SINGLETONS: Final = (
    b"host", b"content-length", b"transfer-encoding", b"content-type", b"content-range", b"content-location", b"etag",
    b"max-forwards", b"server", b"user-agent",
)  # fmt: skip
"""The fields that aiohttp 3.14 accepts once only, the most important first."""

_SOME_METHOD: Final = re.compile(rb"[A-Z][A-Z-]{0,19}")
_PATH: Final = re.compile(rb"/|https?://|\*", re.IGNORECASE)
"""Only a target of this form is logged: other lines may be a document or a key, where a client miscounted its bytes."""

_MAX_PATH: Final = 1000
"""How much of a path is logged: a path may be refused for its length."""

_TLS_HELLO: Final = re.compile(rb"\x16\x03[\x00-\x04]")
"""The begin of a TLS record with a handshake (RFC 8446 §5.1)."""

_UNFINISHED_HELLO: Final = re.compile(rb"\x16\x03?")
_PREFACE: Final = b"PRI * HTTP/2.0\r\n"
_MAX_UNFINISHED: Final = 64
"""How many bytes may begin a request, empty lines among them, before there must be a method."""

_TLS_HERE: Final = "What came is TLS, and this port speaks plain HTTP: the URL must begin with http://."
_HTTP2_HERE: Final = "HTTP/2 without TLS (prior knowledge) is not spoken here: send HTTP/1.1."
_TLS_TWICE: Final = "What came within TLS is TLS once more: only one of the two may encrypt."
_HTTP2_IN_TLS: Final = "HTTP/2 is not spoken here, and no ALPN chose it: send HTTP/1.1."
_PLAIN_HERE: Final = "This port speaks TLS, and what came is plain HTTP: the URL must begin with https://."
_NO_START: Final = "The first line does not begin with a method and a space."
_VERSIONS: Final = "Only HTTP/1.1 and HTTP/1.0 are spoken here."


@dataclass(frozen=True, slots=True)
class Malformed:
    """A refused head: the refusal, and what of the head could be read (empty where nothing could).

    `is_http2`: it is the preface of HTTP/2, whose client reads no other response.
    """

    refusal: Refusal
    method: str = ""
    path: str = ""
    fields: Fields = field(default=(), repr=False)
    is_http2: bool = False


def is_too_short(head: bytes | bytearray) -> bool:
    """Tell whether a head is too short to show whether it begins with a method, or is TLS."""
    start = head.lstrip(b"\r\n")
    return (_UNFINISHED_START.fullmatch(start) or _UNFINISHED_HELLO.fullmatch(start)) is not None


def is_of_another_protocol(line: bytes) -> bool:
    """Tell whether a request line is RTSP's, which llhttp 9 accepts: it looks at the version number, not at the protocol."""
    version = _VERSION.search(line)
    return version is not None and version[1] == b"RTSP"


def explained(head: bytes, refusal: Refusal, *, encrypted: bool = False) -> Malformed:
    """Return what is known of a refused head. The status stays, but for a first line that is no request line (400).

    `encrypted`: it came within TLS.
    """
    line, ended, rest = head.lstrip(b"\r\n").partition(b"\n")
    line = line.removesuffix(b"\r")
    start = _START.match(line)
    if _TLS_HELLO.match(head):
        what, why = (_TLS_TWICE, Reason.TLS_TWICE) if encrypted else (_TLS_HERE, Reason.TLS_ON_PLAIN)
        return Malformed(Refusal("bad_request", what, why=why, closes=True))
    if head.startswith(_PREFACE):
        what, why = (_HTTP2_IN_TLS, Reason.HTTP2_IN_TLS) if encrypted else (_HTTP2_HERE, Reason.HTTP2)
        return Malformed(Refusal("version_not_supported", what, why=why, closes=True), "PRI", "*", is_http2=True)
    if start is None:
        is_other = refusal.kind.code in {"bad_request", "not_implemented"}
        return Malformed(Refusal("bad_request", _NO_START, closes=True) if is_other else refusal)
    method = start[1].decode("ascii")
    target = _VERSION.sub(b"", line[start.end() :]).rstrip(b" ") if ended else line[start.end() :].partition(b" ")[0]
    lines = _HeadLines(rest)
    said = refusal.message
    if is_of_another_protocol(line):
        refusal, said = Refusal("version_not_supported", _VERSIONS, closes=True), _VERSIONS
    elif refusal.kind.code == "headers_too_large" and lines.longest:
        said = f"{said.removesuffix('.')}; the longest field is {lines.longest}."
    elif refusal.kind.code == "bad_request":
        problem = unencoded_byte(target) or lines.problem or _complaint_of_validate(method, target, line, lines)
        said = problem or lines.suspect or said
    explained_refusal = Refusal(refusal.kind.code, said, closes=True)
    if refusal.kind.code == "not_implemented" and not (_SOME_METHOD.fullmatch(start[1]) and _VERSION.search(line)):
        method = ""
    path = escaped_path(target.partition(b" ")[0])[:_MAX_PATH] if method and _PATH.match(target) else ""
    return Malformed(explained_refusal, method, path, tuple(lines.fields))


def may_be_plain(head: bytes) -> bool:
    """Tell whether the first bytes on a TLS port are too few to show that they are TLS, or which plain request they begin."""
    if head.startswith(b"\x16") or len(head) > _MAX_UNFINISHED:
        return False
    return is_too_short(head) or _PREFACE.startswith(head)


def plain_on_tls(head: bytes) -> Malformed | None:
    """Return the refusal of the first bytes on a TLS port where they begin a plain request, None where they do not."""
    head = head.lstrip(b"\r\n")
    if _START.match(head) is None:
        return None
    refusal = Refusal("bad_request", _PLAIN_HERE, why=Reason.PLAIN_ON_TLS, closes=True)
    return replace(explained(head, refusal), refusal=refusal)


def _complaint_of_validate(method: str, target: bytes, line: bytes, lines: _HeadLines) -> str:
    """Return the message of the first check of `validate` that fails, an empty text where none does or the head is incomplete."""
    version = _VERSION.search(line)
    if not lines.whole or version is None:
        return ""
    try:
        validate(method, target, (int(version[2]), int(version[3])), tuple((name, value) for _, name, value in lines.fields))
    except Refusal as refusal:
        return refusal.message
    return ""


class _HeadLines:
    """The lines of a header, as far as they came and can be read; `problem` says which one cannot be read.

    `suspect` names the last field, which is at fault where the parser stopped in the middle of the header.
    """

    __slots__ = ("fields", "longest", "problem", "suspect", "whole")

    def __init__(self, header: bytes) -> None:
        self.fields: list[tuple[bytes, bytes, bytes]] = []
        self.whole = False
        self.problem = self._read(header) or self._repeated()
        self.suspect = f"The field {quoted(self.fields[-1][1])} cannot be read." if self.fields and not self.whole else ""
        longest = max(self.fields, key=lambda each: len(each[1]) + len(each[2]), default=None)
        self.longest = "" if longest is None else f"{quoted(longest[1])} ({len(longest[1]) + len(longest[2])} bytes)"

    def _read(self, header: bytes) -> str:
        *ended, last = header.split(b"\n", _MAX_LINES)
        if len(ended) == _MAX_LINES:
            last = b""
        for number, line in enumerate(ended, 2):
            if not line.endswith(b"\r"):
                return f"Line {number} of the head does not end in CR LF."
            if line == b"\r":
                self.whole = True
                return ""
            if problem := self._take(number, line[:-1], ended=True):
                return problem
        return self._take(len(ended) + 2, last.removesuffix(b"\r"), ended=False) if last else ""

    def _take(self, number: int, line: bytes, *, ended: bool) -> str:
        """Read one line; return what is wrong with it, or an empty text."""
        if line[:1] in {b" ", b"\t"}:
            whose = f", the continuation of {quoted(self.fields[-1][1])}" if self.fields else ""
            return f"Line {number} of the head is folded{whose}."
        name, colon, value = line.partition(b":")
        if not is_token(name):
            return f"Line {number} of the head has no name of a field before a colon."
        if not colon:
            return f"Line {number} of the head has no colon." if ended else ""
        self.fields.append((name.lower(), name, value.strip(b" \t")))
        return control_byte(name, self.fields[-1][2])

    def _repeated(self) -> str:
        counts = Counter(lower for lower, _, _ in self.fields)
        twice = next((lower for lower in _SINGLETONS if counts[lower] > 1), None)
        name = next((name for lower, name, _ in self.fields if lower == twice), b"")
        return "" if twice is None else f"The field {quoted(name)} is there more than once."
