"""Lines that are too short to be a batch's result, read many at once: one by one, each would cost a scanner.

A megabyte of them would be a second of processor time and more, and who uploads a file may say what is in it.
"""

from __future__ import annotations

import re
from typing import Final

MAX_BYTES: Final = 18
"""The shortest line that is a result is `{"id":"","error":0}`, one byte longer."""

_RUN_BYTES: Final = 2048  # so that a run is about a thousand steps at most, whatever is in it
_RUN: Final = re.compile(rb"(?:[^\n]{0,%d}\n)++" % MAX_BYTES).match
_BOMS: Final = re.compile(rb"^\xef\xbb\xbf", re.M)
# JSON's blanks go; what only `bytes.split` takes for blanks becomes a letter.
_BLANKS: Final = b" \t\r"
_LETTERS: Final = bytes.maketrans(b"\x0b\x0c", b"xx")


def run(chunk: bytes, at: int) -> bytes:
    """Return the short lines from `at` on, with their ends; a line begins there, and ends within the chunk."""
    found = _RUN(chunk, at, at + _RUN_BYTES)
    return found[0] if found else b""


def not_blank(lines: bytes) -> int:
    """Return how many of the lines are not blank, to a reader of JSON: a byte order mark before it is none of the document."""
    if b"\xef" in lines:
        lines = _BOMS.sub(b"", lines)
    return len(lines.translate(_LETTERS, _BLANKS).split())
