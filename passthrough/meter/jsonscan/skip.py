"""Crosses an unwanted JSON container at the speed of C: for most bytes only brackets matter."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Final

from .strings import closing, escapes, without_escapes

_QUOTE: Final = 0x22
_NARROWEST, _FIRST, _WIDEST = 32, 256, 8192  # windows, in bytes

_DROPPED: Final = bytes(set(range(256)) - set(b'"\\[]{}\1'))
_SIGNS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_ORDINARY: Final = re.compile(rb'[^"\\\[\]{}\1]*+').match

flat: Final = re.compile(rb'[^"\\\[\]{}\1]*+(?:"[^"\\]{0,64}+"[^"\\\[\]{}\1]*+){0,24}[\]}]').match
"""Match the rest of a short container without others inside, up to and with its end, from behind its opening bracket on."""


class Skip:
    """Crosses one unwanted container, from behind its opening bracket to behind its closing one.

    It looks only at strings and depth: it does not check the kinds of brackets, nor what stands between them. `depth` is 0 at the
    end. `spoilt`: an escape stands outside a string, so the document is not JSON.

    A window without the container's end is crossed at once, and the next one is wider. Once the end is in a window, each next one
    is half as wide (a binary search), until it is so narrow that brackets are crossed one by one.
    """

    __slots__ = ("_ending", "_escaped", "_in_string", "_width", "depth", "spoilt")

    def __init__(self) -> None:
        self.depth = 1
        self.spoilt = False
        self._width = _FIRST
        self._ending = False  # the container's end is within the next `_width` bytes
        self._in_string = False
        self._escaped = False  # the chunk's border is between a backslash and what it escapes

    @property
    def inside(self) -> bool:
        """Whether we are in a string, and nothing before escapes the next byte."""
        return self._in_string and not self._escaped

    def step(self, chunk: bytes, at: int) -> tuple[int, int]:
        """Do one step from `at`, before the chunk's end; return the next position, and the cost beyond a usual step."""
        if self._in_string:
            return self._string(chunk, at), 0
        if self._width <= _NARROWEST:
            return self._bracket(chunk, at), 0
        window = _Window(chunk[at : at + self._width])
        depth, lowest = window.depths(self.depth)
        cost = len(window.marks) >> 5
        self._ending = self._ending or lowest <= 0
        self._width = self._width // 2 if self._ending else min(2 * self._width, _WIDEST)
        if lowest <= 0:
            return at, cost
        self.spoilt = window.spoilt
        self.depth = depth
        self._in_string = window.in_string
        return at + window.size, cost

    def _string(self, chunk: bytes, at: int) -> int:
        """Cross a string to its end, or the chunk's."""
        begin = at + self._escaped
        end = closing(chunk, begin)
        self._in_string = end < 0
        self._escaped = end < 0 and escapes(chunk, begin, len(chunk))
        return len(chunk) if end < 0 else end + 1

    def _bracket(self, chunk: bytes, at: int) -> int:
        """Cross one bracket, or enter one string. This chunk has one: a window has shown the container's end in it."""
        ordinary = _ORDINARY(chunk, at)
        at = ordinary.end() if ordinary else at
        byte = chunk[at]
        if byte == _QUOTE:
            self._in_string = True
        elif byte in b"{[":
            self.depth += 1
        elif byte in b"}]":
            self.depth -= 1
        else:
            self.spoilt = True
        return at + 1


class _Window:
    """A piece of JSON text that begins outside a string, reduced to its brackets.

    `size` is the part that was looked at: a backslash at the end is left for the next window. `in_string`: it ends inside a
    string. `spoilt`: an escape stands outside a string, so the document is not JSON; counts up to there hold.
    """

    __slots__ = ("in_string", "marks", "size", "spoilt")

    def __init__(self, piece: bytes) -> None:
        self.size = len(piece)
        if b"\\" in piece:
            piece = without_escapes(piece)
            self.size -= piece.endswith(b"\\")
        # Two quotes that became neighbours have nothing between them, so a run of quotes can be shortened by pairs.
        marks = piece[: self.size].translate(None, _DROPPED).replace(b'""', b"")
        self.in_string = False
        if b'"' in marks:
            parts = marks.split(b'"')
            self.in_string = len(parts) % 2 == 0
            marks = b"".join(parts[::2])
        self.marks = marks.replace(b"{}", b"").replace(b"[]", b"")
        # A lone backslash is outside a string, because a window begins there.
        self.spoilt = not self.size or b"\\" in marks or b"\1" in marks

    def depths(self, depth: int) -> tuple[int, int]:
        """Return the depth at the window's end and the lowest within, given the `depth` at its begin."""
        closers = self.marks.count(b"}") + self.marks.count(b"]")
        signs = memoryview(self.marks.translate(_SIGNS, b"\\\1")).cast("b")
        if closers < depth:
            return depth + len(signs) - 2 * closers, depth - closers
        depths = tuple(accumulate(signs, initial=depth))
        return depths[-1], min(depths)
