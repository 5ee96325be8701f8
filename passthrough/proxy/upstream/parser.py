"""Parses one response incrementally: its head, its body in pieces, its end. It does no input or output (sans-IO).

It is strict: framing that can be read in two ways is malformed, and bytes after the end spoil the connection.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Final

from .response_head import ChunkedDecoder, Framing, MalformedResponse, ResponseHead, check_beginning, parse_head

MAX_HEAD_BYTES: Final = 64 * 1024

MAX_INTERIM: Final = 20
"""How many interim responses (1xx) may come before the final one: they take time and carry nothing."""

_JOINED_BYTES: Final = 64 * 1024


class ResponseParser:
    """The parser of the response to one request. `head` is the final head once it has come; `ended`: the body is complete.

    `buffered` is how many bytes of the body have come and were not taken yet.
    """

    __slots__ = ("_checked", "_chunks", "_interim", "_left", "_method", "_pieces", "_raw", "buffered", "ended", "head")

    def __init__(self, method: str) -> None:
        self.head: ResponseHead | None = None
        self.ended = False
        self.buffered = 0
        self._method = method
        self._raw = b""
        self._checked = 0  # how many bytes of `_raw` are known to begin a head
        self._interim = 0
        self._left = 0  # of a body of known length
        self._chunks: ChunkedDecoder | None = None
        self._pieces: deque[bytes] = deque()

    @property
    def unread(self) -> bool:
        """Whether `feed` has left data to be read later, for it has too many chunks: `feed` it again, more or nothing."""
        return self._chunks is not None and bool(self._chunks.unread)

    @property
    def chunk_count(self) -> int:
        """How many chunks the last `feed` has read."""
        return 0 if self._chunks is None else self._chunks.count

    @property
    def in_body(self) -> bool:
        """Whether a body is being read: the head has come, the end has not."""
        return self.head is not None and not self.ended

    def feed(self, data: bytes) -> bool:
        """Read what came; True: there is surplus after the response's end. Raises MalformedResponse; then feed it no more."""
        if self.head is None:
            data = self._raw + data if self._raw else data
            position = self._read_heads(data)
            if self.head is None:
                return False
            data, self._raw = data[position:], b""
            self._begin(self.head)
        if not data and not self.unread:
            return False
        if self.ended:
            return self._surplus()
        return self._read(data, self.head)

    def _read_heads(self, data: bytes) -> int:
        """Read heads up to the final one, and return where it ends; an unfinished head is kept."""
        position = 0
        while self.head is None:
            end = data.find(b"\r\n\r\n", position + self._checked - 3 if self._checked > 3 else position)
            if end - position > MAX_HEAD_BYTES or (end < 0 and len(data) - position > MAX_HEAD_BYTES):
                raise MalformedResponse(f"a header of more than {MAX_HEAD_BYTES} bytes")
            if end < 0:
                self._raw = data[position:] if position else data
                self._checked = check_beginning(self._raw, self._checked)
                break
            self.head = parse_head(data[position:end], self._method)
            position, self._checked = end + 4, 0
            if self.head is None:  # An interim response, which is not relayed (RFC 9110 §15.2).
                self._interim += 1
                if self._interim > MAX_INTERIM:
                    raise MalformedResponse(f"more than {MAX_INTERIM} interim responses")
        return position

    def _begin(self, response: ResponseHead) -> None:
        self._left = response.length or 0
        self.ended = response.framing is Framing.NONE or (response.framing is Framing.LENGTH and self._left == 0)
        if response.framing is Framing.CHUNKED:
            self._chunks = ChunkedDecoder()

    def _read(self, data: bytes, response: ResponseHead) -> bool:
        """Read bytes of the body; return what `feed` returns."""
        if self._chunks is not None:
            surplus = self._chunks.feed(data, self._keep)
            self.ended = self._chunks.ended
            return self.ended and bool(surplus) and self._surplus()
        if response.framing is Framing.CLOSE:
            self._keep(data)
            return False
        left = self._left
        if len(data) < left:
            self._left -= len(data)
            self._keep(data)
            return False
        self._keep(data[:left])
        self.ended = True
        self._left = 0
        return len(data) > left and self._surplus()

    def _surplus(self) -> bool:
        """Note that the connection cannot be reused; the response itself is complete."""
        if self.head is not None:
            self.head = replace(self.head, persists=False)
        return True

    def close(self) -> bool:
        """End a body that the target's close delimits; False: this response is not delimited so (RFC 9112 §6.3)."""
        if self.head is not None and self.head.framing is Framing.CLOSE:
            self.ended = True
        return self.ended

    def skip(self, size: int) -> bool:
        """Count bytes that bypass the parser: the middle of a body of known length, with nothing buffered. False: feed them."""
        if size < self._left and not self._pieces:
            self._left -= size
            return True
        return False

    def _keep(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self.buffered += len(piece)

    def next(self) -> bytes | None:
        """Take the next piece of the body as it came, None where there is none."""
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        self.buffered -= len(piece)
        return piece

    def take(self) -> bytes | None:
        """Take the next piece of the body, small ones joined; None where there is none."""
        piece, pieces = self.next(), self._pieces
        if piece is not None and pieces and len(piece) + len(pieces[0]) <= _JOINED_BYTES:
            joined, size = [piece], len(piece)
            while pieces and size + len(pieces[0]) <= _JOINED_BYTES:
                size += len(pieces[0])
                joined.append(pieces.popleft())
            self.buffered -= size - len(piece)
            piece = b"".join(joined)
        return piece

    def drop(self) -> None:
        """Drop the buffered pieces."""
        self._pieces.clear()
        self._chunks = None
        self.buffered = 0
