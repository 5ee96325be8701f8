"""A terminal that lines are written to: its width, its colours, and how lines are broken to fit it."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TextIO

Colour = Literal["plain", "red", "green", "yellow", "cyan", "dim"]

_CODES: Final[Mapping[str, str]] = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2"}
_COMMAND: Final = re.compile(r"'passthrough [^']+'|\S+ -m pip install \S+")
_TIE: Final = "\0"  # for a space that is no place to break a line
_WIDTH: Final = 80  # columns of a terminal that does not say
_MIN_WIDTH: Final = 40  # columns; in fewer, lines are left to the terminal


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a line that is not broken where it fits into one."""

    text: str
    colour: Colour = "plain"


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal by its file descriptor. `has_colours`: it shows them, and its user wants them (no-color.org)."""

    descriptor: int
    has_colours: bool

    @classmethod
    def of(cls, stream: TextIO, environ: Mapping[str, str] = os.environ) -> Terminal | None:
        """Return the terminal that a stream writes to; None where it is a file, a pipe, or nothing."""
        try:
            descriptor = stream.fileno()
            if not os.isatty(descriptor):
                return None
        except (OSError, ValueError):  # in memory, or closed
            return None
        return cls(descriptor, not environ.get("NO_COLOR") and environ.get("TERM", "") not in {"", "dumb"})

    @property
    def width(self) -> int:
        """How many columns a line has now: a window can be resized."""
        try:
            columns = os.get_terminal_size(self.descriptor).columns
        except OSError:
            return _WIDTH
        return max(columns, _MIN_WIDTH) if columns else _WIDTH

    def coloured(self, text: str, colour: Colour) -> str:
        """Return a text in a colour, where colours are shown."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.has_colours and colour in _CODES else text

    def wrapped(self, text: str) -> str:
        """Return a text whose lines are broken between words, so that they fit; commands and longer words stay whole."""
        return wrapped(text, self.width)

    def joined(self, parts: Iterable[Part], indent: int) -> str:
        """Return parts with two spaces between them, on as many lines as they need; further lines are indented by `indent`."""
        width, lines, used = self.width, [""], 0
        for part in parts:
            for number, piece in enumerate(_pieces(part.text, width - indent)):
                if used and (number or used + 2 + len(piece) > width):
                    lines.append(" " * indent)
                    used = indent
                elif used:
                    lines[-1] += "  "
                    used += 2
                lines[-1] += self.coloured(piece, part.colour)
                used += len(piece)
        return "\n".join(lines)


def wrapped(text: str, width: int) -> str:
    """Return a text whose lines have at most `width` columns; what a line goes on with is indented.

    Commands and words that are longer stay whole, to be copied.
    """
    return "\n".join(line if len(line) <= width else _broken(line, width) for line in text.split("\n"))


def _broken(line: str, width: int) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    tied = _COMMAND.sub(lambda found: found[0].replace(" ", _TIE), line)
    pieces = textwrap.wrap(tied, width, subsequent_indent=f"{indent}  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(pieces).replace(_TIE, " ")


def _pieces(text: str, width: int) -> Sequence[str]:
    """Return a text in pieces of at most `width` characters: one, but for what is longer than a line."""
    return [text[start : start + width] for start in range(0, len(text), width)] if len(text) > width else [text]
