"""Reads a body with one JSON document in each line (JSONL), and feeds all their values to one shape."""

from __future__ import annotations

import re
from typing import Final

from ..jsonscan.scanner import STEPS, Scanner
from ..usage import Unmetered, Usage
from .document import Shape

_LINE_STEPS: Final = 10  # the cost of a line apart from its bytes, in the scanner's steps
_BLANKS: Final = re.compile(rb"[ \t\r\n]*+").match


class JsonLines:
    """The body of a response with a document in each line; lines end with LF or CRLF, blank ones are ignored."""

    __slots__ = ("_is_broken", "_scanner", "_shape")

    recognised = False
    """Whether the body shows that it should have a count."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._scanner: Scanner | None = None  # of this line, once it has begun
        self._is_broken = False  # a line was not JSON

    def feed(self, chunk: bytes, at: int = 0, steps: int = STEPS) -> int:
        """Read `chunk` from `at` on (pipeline.Reader)."""
        size = len(chunk)
        while at < size and steps > 0:
            if self._scanner is None:
                blank = _BLANKS(chunk, at)
                at = blank.end() if blank else at
                if at == size:
                    return at
                self._scanner = Scanner(self._shape.wanted, self._shape.take)
            # JSON strings contain no line end, so a line's text ends here, whatever the scanner's state is.
            end = chunk.find(b"\n", at)
            stop = size if end < 0 else end
            if at < stop:
                reached = self._scanner.feed(chunk if stop - at == size else chunk[at:stop], 0, steps)
                steps = self._scanner.left
                at += reached
                if at < stop:
                    return at
            if end >= 0:
                steps -= _LINE_STEPS
                self._line_end()
                at += 1
        return at

    def _line_end(self) -> None:
        if self._scanner is not None:
            self._scanner.end()
            self._is_broken = self._is_broken or not (self._scanner.whole or self._scanner.empty)
            self._scanner = None

    def end(self) -> Unmetered:
        """End the body; return the reason why some lines have no usage, or all."""
        self._line_end()
        return Unmetered.NOT_JSON if self._is_broken else Unmetered.NO_USAGE

    def usage(self, otherwise: Unmetered | None) -> Usage:
        """Return the usage of all lines; `otherwise` is the reason if there is none."""
        return self._shape.usage(otherwise or Unmetered.NO_USAGE)
