"""Encodes a document as base64 while it passes: pieces in, pieces out, and a length that is known before the first."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterator
from typing import Final

GROUP_BYTES = 3
"""What four characters stand for: a piece whose size is a multiple of it is encoded without a copy."""

_STEP: Final = 86_400 * GROUP_BYTES


def encoded_length(size: int) -> int:
    """Return how many characters of base64, with the padding, `size` bytes become (RFC 4648 §4)."""
    return (size + 2) // GROUP_BYTES * 4


class Base64Stream:
    """The encoder of one document: what `feed` and `end` return, joined, is the base64 of all pieces, joined.

    A piece is encoded in place, at some hundred MB/s: what is larger than the loop may wait for is taken by `steps`.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""
        """The last bytes, fewer than a group."""

    def feed(self, piece: bytes | memoryview) -> bytes:
        """Return the base64 of all whole groups so far that were not returned before."""
        if self._rest:
            piece = self._rest + piece
        surplus = len(piece) % GROUP_BYTES
        if not surplus:
            self._rest = b""
            return b2a_base64(piece, newline=False)
        self._rest = bytes(piece[-surplus:])
        return b2a_base64(memoryview(piece)[:-surplus], newline=False)

    def steps(self, piece: bytes | memoryview) -> Iterator[bytes]:
        """Yield what `feed` returns, in parts that each take less than a millisecond."""
        if len(piece) <= _STEP:
            yield self.feed(piece)
            return
        view = memoryview(piece)
        for at in range(0, len(piece), _STEP):
            yield self.feed(view[at : at + _STEP])

    def end(self) -> bytes:
        """Return the base64 of the last group, with its padding; empty where the groups are whole. The stream is then new."""
        rest, self._rest = self._rest, b""
        return b2a_base64(rest, newline=False)
