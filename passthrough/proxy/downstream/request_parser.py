"""Wraps aiohttp's request parser: it bounds a whole head, accepts harmless repeated fields, and explains what is rejected.

aiohttp 3.14 bounds a line, a field and their number, but not the sum: 256 fields of 32 KB each are 8 MB for one unfinished head.
It refuses repeated fields although nothing depends on them (Google's SDK sends two `User-Agent`), and gives nothing of a rejected
head that could be logged. So the bytes of a head that has not ended are kept, as long as it is known where it began.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aiohttp import StreamReader, http_exceptions

from ...aiohttp_internals import Parser, with_raw_headers
from ...errors import Refusal
from ..request_head import MAX_HEAD_BYTES
from .malformed_head import Malformed, explained, is_of_another_protocol, is_too_short
from .repeated_fields import renamed

MAX_LINE_BYTES: Final = 16 * 1024
MAX_FIELD_BYTES: Final = 32 * 1024
MAX_FIELDS: Final = 256
_MAX_PIPELINED: Final = 32
"""How many pipelined requests in one piece are searched for the one that is at fault."""

_OTHER_VERSION: Final = ("Bad status line:\n  Invalid HTTP version:", "Pause on PRI/Upgrade:")
"""How the parser's message begins (llhttp 9) for a version of another number, and for HTTP/2's preface."""

_VERSIONS: Final = "Only HTTP/1.1 and HTTP/1.0 are spoken here."
_END_OF_HEAD: Final = b"\r\n\r\n"

Fed = tuple[Any, bool, bytes]
"""What aiohttp's parser returns: messages with their bodies, whether the protocol is upgraded, and the data after an upgrade."""

_NOTHING: Final[Fed] = ((), False, b"")


class RejectedHead(http_exceptions.BadHttpMessage):
    """The error for a head that is no valid request, with all that is known of it."""

    def __init__(self, malformed: Malformed) -> None:
        super().__init__(malformed.refusal.message)
        self.malformed = malformed


class RequestParser:
    """The parser that aiohttp's server feeds. `_head` has the bytes of an unfinished head; None: within a body, or not known.

    `_rest` counts the bytes after the last head, -1 where that is not known. `_loose` counts bytes that are neither body nor
    surely a head: the framing of chunks, or what follows a body whose end was not seen. `_spent`: aiohttp 3.14 takes the last
    trailer of a chunked body for the first field of the next request, which may be another client's behind a second proxy.
    """

    __slots__ = (
        "_broken", "_chunked", "_encrypted", "_head", "_held", "_last", "_loose", "_make", "_parser", "_payload", "_repeats",
        "_rest", "_size", "_spent", "feed_eof", "message_consumed", "pause_reading", "set_upgraded",
    )  # fmt: skip

    def __init__(self, make: Callable[[], Parser], encrypted: Callable[[], bool]) -> None:
        """`make` returns a new parser of aiohttp's; `encrypted` tells of a refused head whether it came within TLS."""
        self._make = make
        self._encrypted = encrypted
        self._broken = False
        self._held = False  # The head is fed again when enough of it has come.
        self._repeats = False
        self._spent = False  # A new parser reads the next request, once this one has nothing left.
        self._head: bytes | bytearray | None = b""
        self._payload: StreamReader | None = None
        self._chunked = False
        self._last = b""
        self._rest = self._loose = self._size = 0
        self._adopt(make())

    def _adopt(self, parser: Parser) -> None:
        """Use a parser. Its own methods serve where nothing is to be added: they cost no second call."""
        self._parser = parser
        self.feed_eof = parser.feed_eof
        self.message_consumed = parser.message_consumed
        self.pause_reading = parser.pause_reading
        self.set_upgraded = parser.set_upgraded

    def feed_data(self, data: bytes) -> Fed:
        """Parse what came. Raises RejectedHead; what comes after a rejected head is dropped."""
        if self._head is None:
            return self._feed_on(data)
        if self._spent and data:
            self._spent = False
            self._adopt(self._make())
        whole: bytes | bytearray = data
        if self._head:
            assert isinstance(self._head, bytearray)
            self._head += data
            whole = self._head
        if len(whole) > MAX_HEAD_BYTES and whole.find(_END_OF_HEAD, _begin(whole), MAX_HEAD_BYTES) < 0:
            raise self._too_long(whole, data)
        if self._held:
            return self._feed_held(whole, data)
        try:
            fed: Fed = self._parser.feed_data(data)
        except http_exceptions.HttpProcessingError as error:
            return self._rejected(whole, data, error)
        if fed[0]:
            if whole is not data or not _is_one_and_whole(fed, data):
                self._note(fed, whole, data)
        elif data and whole is data:
            self._head = bytearray(data)
        return fed

    # ── after a message ──

    def _note(self, fed: Fed, whole: bytes | bytearray, data: bytes) -> None:
        """Find out what follows the messages in the data: nothing, a body, or the next head. Raises RejectedHead."""
        messages, upgrades, _ = fed
        message, payload = messages[-1]
        if message.path is None:  # A CONNECT without one: aiohttp 3.14 fails inside, and the client gets no response.
            raise self._rejection(whole, Refusal("bad_request", "There is no request target.", closes=True))
        begin = _begin(whole)
        if whole.find(b" RTSP/", begin, whole.find(b"\n", begin)) >= 0:
            self._check_protocol(whole, begin)
        self._payload, self._chunked, self._loose, self._size = payload, message.chunked, 0, payload.total_bytes
        self._rest = _length_behind(whole, begin, messages)
        self._last = data[-4:] if message.chunked else b""
        self._head = None
        self._spent = False
        if upgrades:  # aiohttp keeps the data after it, and feeds it when the upgrade was declined.
            self._head = b""
        elif payload.is_eof():
            self._find_end(payload, data)

    def _check_protocol(self, whole: bytes | bytearray, begin: int) -> None:
        line = bytes(whole[begin : whole.find(b"\n", begin)])
        if is_of_another_protocol(line):
            raise self._rejection(whole, Refusal("version_not_supported", _VERSIONS, closes=True))

    def _find_end(self, payload: StreamReader, data: bytes) -> None:
        """Find out what of `data` follows a body that ended in it."""
        behind = self._rest - payload.total_bytes if self._rest >= 0 and not self._chunked else -1
        if 0 < behind <= len(data):
            self._head = bytearray(data[-behind:])
        elif (
            not behind or data.endswith(_END_OF_HEAD) or self._last == _END_OF_HEAD
        ):  # An unfinished head never ends in an empty line.
            self._head = b""
            self._spent = self._chunked
        else:
            self._loose, self._payload = 0, None

    def _feed_on(self, data: bytes) -> Fed:
        """Parse more of a body, or what follows one whose end was not seen."""
        if self._broken:
            return _NOTHING
        payload = self._payload
        try:
            fed: Fed = self._parser.feed_data(data)
        except http_exceptions.HttpProcessingError as error:
            self._broken = True
            raise RejectedHead(Malformed(refusal_of(error))) from None
        if fed[0]:
            self._note(fed, b"", data)
        elif fed[1]:
            self._head = b""
        elif payload is None:
            self._count_loose(data)
        else:
            self._feed_body(payload, data)
        return fed

    def _feed_body(self, payload: StreamReader, data: bytes) -> None:
        if self._rest >= 0:
            self._rest += len(data)
        if self._chunked:
            self._last = data[-4:] if len(data) > 3 else (self._last + data)[-4:]
        if payload.is_eof():
            self._find_end(payload, data)
        elif self._chunked and payload.total_bytes == self._size:
            self._count_loose(data)
        else:
            self._loose, self._size = 0, payload.total_bytes

    def _count_loose(self, data: bytes) -> None:
        self._loose += len(data)
        if self._loose > MAX_HEAD_BYTES:
            self._broken = True
            why = f"The head of the request, or the framing of its body, is longer than {MAX_HEAD_BYTES} bytes."
            raise RejectedHead(Malformed(Refusal("headers_too_large", why, closes=True)))

    # ── what is rejected ──

    def _too_long(self, whole: bytes | bytearray, data: bytes) -> RejectedHead:
        """Return the error for a head that is too long; the parser may find a worse error in its begin."""
        why = f"The head of the request is longer than {MAX_HEAD_BYTES} bytes."
        refusal = Refusal("headers_too_large", why, closes=True)
        try:
            if not self._held:
                self._parser.feed_data(data[: MAX_HEAD_BYTES - (len(whole) - len(data))])
        except http_exceptions.HttpProcessingError as error:
            if not _is_of_duplicates(error):
                refusal = refusal_of(error)
        return self._rejection(whole, refusal)

    def _rejected(self, whole: bytes | bytearray, data: bytes, error: http_exceptions.HttpProcessingError) -> Fed:
        """Hold back a head that may be a valid request all the same, or that is too short to be judged."""
        if not whole:  # It was in the data that aiohttp's parser had kept behind the queued requests.
            self._broken = True
            raise RejectedHead(Malformed(refusal_of(error))) from None
        self._repeats = _is_of_duplicates(error)
        if not (self._repeats or (isinstance(error, http_exceptions.BadHttpMethod) and is_too_short(whole))):
            raise self._rejection(whole, refusal_of(error)) from None
        self._held = True
        if whole is data:
            self._head = whole = bytearray(data)
        return self._feed_held(whole, whole)

    def _feed_held(self, whole: bytes | bytearray, data: bytes | bytearray) -> Fed:
        """Feed a head that was held back to a new parser. One with repeated fields must be complete, and gets them renamed."""
        head = bytes(whole)
        if self._repeats:
            end = whole.find(_END_OF_HEAD, max(_begin(whole), len(whole) - len(data) - 3))
            if end < 0:
                return _NOTHING
            head = bytes(whole[:end])
        elif is_too_short(whole):
            return _NOTHING
        fit, names = renamed(head)
        self._held = False
        self._adopt(self._make())
        try:
            messages, upgrades, tail = self._parser.feed_data(fit + bytes(whole[len(head) :]))
        except http_exceptions.HttpProcessingError as error:
            raise self._rejection(whole, refusal_of(error)) from None
        if not messages:
            return _NOTHING
        message, payload = messages[0]
        real = {stand_in: iter(spelt) for stand_in, spelt in names.items()}
        raw = tuple((next(real[name]) if name in real else name, value) for name, value in message.raw_headers)
        fed = ([(with_raw_headers(message, raw), payload), *messages[1:]], upgrades, tail)
        self._note(fed, whole, bytes(data))
        return fed

    def _rejection(self, whole: bytes | bytearray, refusal: Refusal) -> RejectedHead:
        """Return the error for a refused head, and parse nothing more."""
        self._broken = True
        self._head = None
        self._payload = None
        return RejectedHead(explained(self._faulty(bytes(whole)), refusal, encrypted=self._encrypted()))

    def _faulty(self, whole: bytes) -> bytes:
        """Return what came, without the requests before the one that is at fault."""
        at = _begin(whole)
        for _ in range(_MAX_PIPELINED):
            end = whole.find(_END_OF_HEAD, at)
            if end < 0 or end + 4 == len(whole):
                break
            try:
                messages, _, _ = self._make().feed_data(whole[at : end + 4])
            except http_exceptions.HttpProcessingError:
                break
            if not messages or messages[0][0].chunked:
                break
            length = messages[0][0].headers.get("Content-Length", "0")
            at = end + 4 + int(length)
        return whole[at:]


def _is_one_and_whole(fed: Fed, data: bytes) -> bool:
    """Tell quickly whether what came is exactly one request, as nearly all are."""
    messages, upgrades, _ = fed
    if upgrades or len(messages) != 1:
        return False
    payload = messages[0][1]
    end = data.find(_END_OF_HEAD)
    return (
        end + 4 + payload.total_bytes == len(data)  # A chunked body is not: its framing is not counted.
        and payload.is_eof()
        and data.find(b" RTSP/", 0, end) < 0  # It may be in a field, too: then the slow check follows.
    )


def _begin(whole: bytes | bytearray) -> int:
    """Return where a request begins after empty lines, which are skipped (RFC 9112 §2.2)."""
    return 0 if whole[:1] > b"\r" else len(whole) - len(whole.lstrip(b"\r\n"))


def _length_behind(whole: bytes | bytearray, at: int, messages: Any) -> int:
    """Return how many bytes follow the head of the last of the messages, -1 where that is not known."""
    for number, (message, payload) in enumerate(messages, 1):
        end = whole.find(_END_OF_HEAD, at)
        if end < 0:
            return -1
        at = end + 4
        if number < len(messages):
            if message.chunked:
                return -1
            at += payload.total_bytes
            while bytes(whole[at : at + 1]) in {b"\r", b"\n"}:
                at += 1
    return len(whole) - at


def _is_of_duplicates(error: http_exceptions.HttpProcessingError) -> bool:
    return error.message.startswith("Duplicate '")


def refusal_of(error: http_exceptions.HttpProcessingError) -> Refusal:
    """Return the refusal for an error of aiohttp's parser, by its kind. Its text has bytes of the request and is not used."""
    if isinstance(error, RejectedHead):
        return error.malformed.refusal
    if isinstance(error, http_exceptions.LineTooLong):
        # The parser reports a long target and a long field alike; only the limit shows which it was.
        if error.args[1:2] == (MAX_LINE_BYTES,):
            return Refusal("target_too_long", f"The request target is longer than {MAX_LINE_BYTES} bytes.", closes=True)
        return Refusal("headers_too_large", f"A header field is longer than {MAX_FIELD_BYTES} bytes.", closes=True)
    if isinstance(error, http_exceptions.BadHttpMethod):
        return Refusal("not_implemented", "The request does not begin with a known method.", closes=True)
    if error.message.startswith(_OTHER_VERSION):
        return Refusal("version_not_supported", _VERSIONS, closes=True)
    if "Too many headers" in error.message:
        return Refusal("headers_too_large", f"The request has more than {MAX_FIELDS} header fields.", closes=True)
    return Refusal("bad_request", "This is not one well-formed HTTP/1.1 request.", closes=True)
