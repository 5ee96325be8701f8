"""Scans a JSON text in UTF-8, UTF-16 or UTF-32.

Since RFC 8259 (§8.1) it must be UTF-8. But RFC 4627 (§3) allowed all three, to be distinguished by the first four bytes, and
servers still accept them: Python's json.loads decodes all three. So the meter must understand such a request too.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable
from json import detect_encoding
from typing import Final

from .paths import PathNode
from .scanner import STEPS, Emit, Scanner

_HEAD_BYTES: Final = 4
_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")
_SLICE_BYTES: Final = 4096


def is_wide(head: bytes) -> bool:
    """Tell whether a text that begins with `head` may be UTF-16 or UTF-32: JSON in UTF-8 has no NUL, and begins with ASCII."""
    return b"\0" in head[:_HEAD_BYTES]


class WideScanner:
    """A scanner of a text in any of the three encodings, which its first bytes show (pipeline.Reader)."""

    __slots__ = ("_at", "_decode", "_emit", "_head", "_scanner", "_slice", "_taken", "_wanted", "peek")

    def __init__(self, wanted: PathNode, emit: Emit) -> None:
        self._wanted = wanted
        self._emit = emit
        self._scanner = Scanner(wanted, emit)
        self.peek = self._scanner.peek
        """As Scanner.peek. A text that is not UTF-8 gets a scanner of its own; this one then stays at its start."""
        self._head: bytes | None = b""  # None: the encoding is known
        self._decode: Callable[[bytes, bool], str] | None = None  # None: it is UTF-8
        self._slice, self._at, self._taken = (
            b"",
            0,
            0,
        )  # of another encoding: a slice as UTF-8, the position in it, and the bytes it came from

    @property
    def lost(self) -> bool:
        """Whether the bytes are not JSON: nothing more will be emitted."""
        return self._scanner.lost

    @property
    def whole(self) -> bool:
        """Whether one value has ended, with nothing but blanks after it."""
        return self._scanner.whole

    @property
    def empty(self) -> bool:
        """Whether only blanks have come."""
        return self._scanner.empty

    def end(self) -> None:
        """End the document. Idempotent."""
        if self._head:  # too short to show its encoding
            self._scanner.feed(self._head)
        elif self._decode is not None:
            rest = self._decode(b"", True)
            if rest:
                self._scanner.feed(rest.encode("utf-8", "replace"))
        self._head = None
        self._scanner.end()

    def feed(self, chunk: bytes, at: int = 0, steps: int = STEPS) -> int:
        """Scan `chunk` from `at` on (pipeline.Reader)."""
        if self._head is None:
            return self._scanner.feed(chunk, at, steps) if self._decode is None else self._wide(self._decode, chunk, at, steps)
        return self._first(self._head, chunk, at, steps)

    def _first(self, before: bytes, chunk: bytes, at: int, steps: int) -> int:
        more = chunk[at : at + _HEAD_BYTES - len(before)]
        encoding = _encoding(before + more)
        if encoding is None:
            self._head = before + more
            return at + len(more)
        self._head = None
        if encoding == "utf-8":
            if before:
                self._scanner.feed(before)
            return self._scanner.feed(chunk, at, steps)
        self._decode = getincrementaldecoder(encoding)("replace").decode
        self._scanner = Scanner(self._wanted, self._emit)
        self._slice = self._decode(before, False).encode("utf-8", "replace")
        return self._wide(self._decode, chunk, at, steps)

    def _wide(self, decode: Callable[[bytes, bool], str], chunk: bytes, at: int, steps: int) -> int:
        size = len(chunk)
        while steps > 0:
            if self._at < len(self._slice):
                self._at = self._scanner.feed(self._slice, self._at, steps)
                steps = self._scanner.left
                if self._at < len(self._slice):
                    return at
            at += self._taken
            self._taken = 0
            if at == size:
                break
            piece = chunk[at : at + _SLICE_BYTES]
            self._slice, self._at, self._taken = decode(piece, False).encode("utf-8", "replace"), 0, len(piece)
            steps -= 1 + (len(piece) >> 8)
        return at


def _encoding(head: bytes) -> str | None:
    """Return the encoding of a text that begins with `head`, None if more of it is needed."""
    if len(head) < 2 or (len(head) < _HEAD_BYTES and (is_wide(head) or head[:2] in _BOMS)):
        return None
    found = detect_encoding(head) if is_wide(head) else "utf-8"
    return "utf-8" if found.startswith("utf-8") else found
