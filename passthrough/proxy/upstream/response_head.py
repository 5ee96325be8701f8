"""Parses a response's head, decides how its body is framed, and decodes chunks; strict: nothing may be read in two ways."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from ..headers import Field, Fields, nominated

_MAX_LINE_BYTES: Final = 4096
_MAX_TRAILER_BYTES: Final = 16 * 1024
_MAX_EXCESS_BYTES: Final = 16 * 1024
_FREE_BYTES: Final = 16
_MAX_CHUNKS: Final = 1000

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
# Whole lines only: where not every line end begins one, there is something else in between.
_FIELDS: Final = re.compile(rb"\r\n" + _FIELD.pattern + rb"(?=\r\n|\Z)").findall
_START: Final = b"HTTP/1.1 200 "
_STARTS: Final = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}[ \r]").match
_MALFORMED: Final = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search
_IDLE_HINT: Final = re.compile(
    rb"(?:\A|[,;\s])timeout\s*=\s*\"?([0-9]{1,9})(?![0-9])", re.IGNORECASE
).search  # RFC 2068 §19.7.1.1
_BETWEEN: Final = re.compile(rb"\r\n([1-9A-Fa-f][0-9A-Fa-f]{0,7})\r\n").match
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")


class Framing(Enum):
    """How a response's body is framed (RFC 9112 §6.3)."""

    NONE = auto()
    LENGTH = auto()
    CHUNKED = auto()
    CLOSE = auto()


_NONE, _LENGTH, _CHUNKED, _CLOSE = Framing.NONE, Framing.LENGTH, Framing.CHUNKED, Framing.CLOSE  # see connection.State


@dataclass(slots=True)  # not frozen, as request_head.RequestHead
class ResponseHead:
    """The head of a final response. `reason` and field values are bytes as they came; `length` is the Content-Length, if any.

    `values` has the values of each field by its lower-case name.
    """

    status: int
    reason: bytes
    fields: Fields = field(repr=False)  # a target may echo what it was sent
    values: Mapping[bytes, Sequence[bytes]] = field(repr=False)
    framing: Framing
    length: int | None
    persists: bool

    def first(self, name: bytes) -> bytes | None:
        """Return the first value of the field `name` (lower case), None where there is none."""
        values = self.values.get(name)
        return None if values is None else values[0]


class MalformedResponse(Exception):
    """What a target sent is not one well-formed response; the text completes 'the target sent …'."""


def parse_head(head: bytes, method: str) -> ResponseHead | None:
    """Return the parsed `head` (bytes without the empty line), None for an interim response (1xx).

    Raises MalformedResponse for all that could be read in two ways: bare LF, folded lines, control bytes, several or odd lengths,
    a transfer coding other than chunked, or one in HTTP/1.0 (RFC 9112 §5, §6.3).
    """
    end = head.find(b"\r\n")
    start = _STATUS_LINE.fullmatch(head, 0, end if end >= 0 else len(head))
    if start is None:
        raise MalformedResponse("no HTTP/1.1 status line")
    status = int(start[2])
    if status == 101:
        raise MalformedResponse("101 Switching Protocols, which was not asked for")
    fields: list[Field] = []
    values: dict[bytes, list[bytes]] = {}
    found = _FIELDS(head, end) if end >= 0 else []
    if len(found) != head.count(b"\r\n"):
        raise MalformedResponse("a header line that is not 'name: value'")
    for name, spaced in found:
        lower, value = name.lower(), spaced.strip(b" \t")
        fields.append((lower, name, value))
        values.setdefault(lower, []).append(value)
    if status < 200:
        return None
    http10 = start[1] == b"0"
    framing, length = _framing(values, status, method, http10=http10)
    connection = nominated(tuple(fields)) if b"connection" in values else frozenset()
    persists = framing is not _CLOSE and b"close" not in connection and (not http10 or b"keep-alive" in connection)
    return ResponseHead(status, start[3] or b"", tuple(fields), values, framing, length, persists)


def idle_hint_s(values: Sequence[bytes]) -> float | None:
    """Return the seconds for which the target's Keep-Alive says that it keeps an idle connection, None where it says nothing."""
    found = _IDLE_HINT(b",".join(values))
    return None if found is None else float(found[1])


def check_beginning(head: bytes, checked: int) -> int:
    """Check the beginning of an unfinished head, of which `checked` bytes were checked before; return how many are now.

    Raises MalformedResponse as soon as it can never become a head, so that the client need not wait for the time-out: no status
    line; a line that ends in LF or CR alone (RFC 9112 §2.2); a control byte; a line that is no field.
    """
    if checked < len(_START) and not _STARTS(head[: len(_START)] + _START[len(head) :]):
        raise MalformedResponse("no HTTP/1.1 status line")
    if _MALFORMED(head, max(0, checked - 1)):
        raise MalformedResponse("a header with a bare LF, a bare CR or another control character")
    # The lines that were finished since then; the first one is the status line.
    begin, end = head.rfind(b"\n", 0, checked) + 1, head.rfind(b"\r\n")
    for line in head[begin:end].split(b"\r\n") if begin < end else ():
        if line and not (_FIELD if begin else _STATUS_LINE).fullmatch(line):
            raise MalformedResponse("a header line that is not 'name: value'" if begin else "no HTTP/1.1 status line")
        begin = end
    return len(head)


def _framing(values: Mapping[bytes, Sequence[bytes]], status: int, method: str, *, http10: bool) -> tuple[Framing, int | None]:
    """Return the framing and the declared length, by the numbered cases of RFC 9112 §6.3."""
    codings = values.get(b"transfer-encoding", ())
    lengths = values.get(b"content-length", ())
    if codings and (lengths or http10 or len(codings) > 1 or codings[0].lower() != b"chunked"):
        raise MalformedResponse("a Transfer-Encoding that is not plain 'chunked', or conflicts with Content-Length")
    if lengths and (len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 19):
        raise MalformedResponse("more than one Content-Length, or an odd one")
    length = int(lengths[0]) if lengths else None
    if method == "HEAD" or status in {204, 304}:
        return _NONE, length
    if codings:
        return _CHUNKED, None
    if length is not None:
        return _LENGTH, length
    return _CLOSE, None


class ChunkedDecoder:
    """Decodes the chunked transfer coding incrementally (RFC 9112 §7.1); extensions and trailers are dropped."""

    __slots__ = ("_excess", "_left", "_line", "_next", "_trailer_bytes", "count", "ended", "unread")

    def __init__(self) -> None:
        self._next = "size"  # size → data → crlf → size …, or size 0 → trailer
        self._left = 0
        self._line = b""
        self._excess = 0
        self._trailer_bytes = 0
        self.count = 0
        self.ended = False
        self.unread = b""

    def feed(self, data: bytes, keep: Callable[[bytes], None]) -> bytes:
        """Pass the body's bytes in `data` to `keep`, in one piece; return what follows the last chunk, once that has come.

        After as many chunks as take a millisecond, the rest stays in `unread` and is read before what is fed next. `count` is the
        number of chunks read. Raises MalformedResponse, after the bytes before the error were passed to `keep`.
        """
        if self.unread:
            data, self.unread = self.unread + data, b""
        pieces: list[memoryview] = []
        try:
            return self._collect(data, memoryview(data), pieces)
        finally:
            self.count = len(pieces)
            if len(pieces) == 1 and len(pieces[0]) == len(data):
                keep(data)
            elif pieces:
                keep(b"".join(pieces))

    def _collect(self, data: bytes, view: memoryview, pieces: list[memoryview]) -> bytes:
        position, size = 0, len(data)
        while position < size and not self.ended:
            if self._next == "data":
                if len(pieces) == _MAX_CHUNKS:
                    self.unread = data[position:]
                    break
                piece = view[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if self._left:
                    continue
                self._next = "crlf"
                between = _BETWEEN(data, position)  # Nearly always this is all that is between two chunks.
                if between is not None:
                    position = between.end()
                    self._left, self._next = int(between[1], 16), "data"
                continue
            end = data.find(b"\n", position)
            self._line += data[position:] if end < 0 else data[position : end + 1]
            if len(self._line) > _MAX_LINE_BYTES:
                raise MalformedResponse("an endless line between its chunks")
            if end < 0:
                return b""
            position = end + 1
            line, self._line = self._line, b""
            if not line.endswith(b"\r\n"):
                raise MalformedResponse("a bare LF between its chunks")
            self._read_line(line[:-2])
        return data[position:] if self.ended else b""

    def _read_line(self, line: bytes) -> None:
        if self._next == "crlf":
            if line:
                raise MalformedResponse("a chunk that is longer than it says")
            self._next = "size"
        elif self._next == "size":
            size = _CHUNK_SIZE.fullmatch(line)
            if size is None:
                raise MalformedResponse("an odd chunk size")
            self._left = int(size[1], 16)
            self._next = "data" if self._left else "trailer"
            # Extensions that outweigh what they belong to cost time and carry nothing (as Go's net/http, CVE-2023-39326).
            self._excess = max(0, self._excess + len(line) - _FREE_BYTES - 2 * self._left)
            if self._excess > _MAX_EXCESS_BYTES:
                raise MalformedResponse("chunk extensions without end")
        elif not line:
            self.ended = True
        else:
            self._trailer_bytes += len(line)
            if _FIELD.fullmatch(line) is None or self._trailer_bytes > _MAX_TRAILER_BYTES:
                raise MalformedResponse("an odd trailer")
