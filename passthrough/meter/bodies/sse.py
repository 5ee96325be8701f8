"""Reads a stream of server-sent events, each with one JSON document, and feeds their values to a shape.

The stream's grammar is that of the HTML standard (§9.2.6): lines end with CRLF, LF or CR; the `data` lines of an event belong
together, joined by line ends; an empty line ends the event.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from ..jsonscan.scanner import STEPS, Scanner
from ..usage import Unmetered, Usage, has_counts
from .document import Shape

_LINE_END: Final = re.compile(rb"[\r\n]").search
_DATA: Final = b"data:"
_BOM: Final = b"\xef\xbb\xbf"
_BLANK, _BRACKET = b" ["
_EVENT_STEPS: Final = 4
_RUN_BYTES: Final = 65536
_RUN_STEP_BITS: Final = 6  # 64 bytes of lines without data are about a step
# Lines without data. Within an event an empty line is not among them, because it ends the event.
# A group is repeated greedily, not possessively, here and in all expressions of the meter: Python 3.11.2, which is Debian 12's,
# forgets where a repetition began that fails in its middle.
_IDLE: Final = re.compile(rb"(?:(?!(?:\xef\xbb\xbf)?data:)[^\r\n]*+[\r\n])+").match
_WITHIN: Final = re.compile(rb"(?:(?!(?:\xef\xbb\xbf)?data:)[^\r\n]++(?:\r\n?|\n))+").match


class EventStream:
    """The body of a response that is a stream of events; the last one with a usage counts.

    The end of such a stream, `[DONE]`, looks like a JSON array of which nothing is wanted. A browser does not dispatch a last
    event without its empty line, but its usage is as valid as another's.

    A usage is final only once the stream has ended: at `[DONE]`, at an event that its shape knows for the last, or where the body
    came whole. A client may leave at `[DONE]`, and many do.
    """

    __slots__ = ("_after_cr", "_begun", "_data", "_done", "_head", "_scanner", "_shape", "_spoilt")

    recognised = False

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._scanner: Scanner | None = None  # of this event, from its first data on
        self._head: bytes | None = b""  # this line's first bytes, until they show its field
        self._data = False  # whether this line's field is `data`
        self._after_cr = False
        self._begun = True  # whether something of this event's data was seen
        self._done = False  # whether the last event's data is an array, as `[DONE]` is
        self._spoilt = False

    def feed(self, chunk: bytes, at: int = 0, steps: int = STEPS) -> int:
        """Read `chunk` from `at` on (pipeline.Reader)."""
        size = len(chunk)
        while at < size and steps > 0:
            if self._after_cr:
                self._after_cr = False
                if chunk[at] == 0x0A:
                    at += 1
                    continue
            end = _LINE_END(chunk, at)
            stop = size if end is None else end.start()
            if end is not None and stop - at < len(_DATA) and self._head == b"":
                # One by one, a megabyte of such lines would take half a second.
                run = (_IDLE if self._scanner is None else _WITHIN)(chunk, at, at + _RUN_BYTES)
                if run is not None:
                    steps -= 1 + ((run.end() - at) >> _RUN_STEP_BITS)
                    at = run.end()
                    self._after_cr = chunk[at - 1] == 0x0D
                    continue
            at, steps = self._line(chunk, at, stop, steps)
            if at < stop:
                return at
            if end is not None:
                self._line_end()
                self._after_cr = end[0] == b"\r"
                at += 1
                steps -= _EVENT_STEPS
        return at

    def _line(self, chunk: bytes, at: int, stop: int, steps: int) -> tuple[int, int]:
        """Read the chunk's part of one line; return the position reached, and the steps left."""
        if self._head is not None and at < stop:
            length = len(_BOM + _DATA if (self._head or chunk[at : at + 1]).startswith(_BOM[:1]) else _DATA)
            behind = min(stop, at + length - len(self._head))
            self._head += chunk[at:behind]
            at = behind
            if len(self._head) == length:
                self._begin(self._head.removeprefix(_BOM) == _DATA)
        if at == stop:
            return at, steps
        if not self._data or self._scanner is None:
            return stop, steps - 1
        if not self._begun:
            while chunk[at] == _BLANK:
                at += 1
                if at == stop:
                    return at, steps
            self._begun, self._done = True, chunk[at] == _BRACKET
        reached = self._scanner.feed(chunk[at:stop], 0, steps)
        return at + reached, self._scanner.left

    def _begin(self, data: bool) -> None:
        """Begin the rest of a line; several lines of data are one text, with line ends between."""
        self._head, self._data = None, data
        if data and self._scanner is None:
            self._scanner, self._begun = Scanner(self._shape.wanted, self._shape.take), False
        elif data and self._scanner is not None:
            self._scanner.feed(b"\n")

    def _line_end(self) -> None:
        if self._head == b"":
            self._event_end()
        self._head, self._data = b"", False

    def _event_end(self) -> None:
        if self._scanner is not None:
            self._scanner.end()
            self._spoilt = self._spoilt or not (self._scanner.whole or self._scanner.empty)
            self._scanner = None

    def end(self) -> Unmetered:
        """End the body; return the reason if there is no usage."""
        self._event_end()
        return Unmetered.NOT_JSON if self._spoilt else Unmetered.NO_USAGE

    def usage(self, otherwise: Unmetered | None) -> Usage:
        """Return the last usage; `otherwise` is the reason if there is none, and the reason beside one that is not final."""
        why = Unmetered.NO_USAGE if otherwise is None or self._done or self._shape.final else otherwise
        usage = self._shape.usage(why)
        came_whole = why is Unmetered.NO_USAGE or why is Unmetered.NOT_JSON  # as `end` says
        return usage if came_whole or not has_counts(usage) else replace(usage, unmetered=why)
