"""Reads lines that are too short to be a batch's result, many at once: one by one, each would need a scanner of its own.

A megabyte of them would cost a second of processor time and more, and a client that uploads a file chooses its content.
"""

from __future__ import annotations

import re
from typing import Final

MAX_BYTES: Final = 18
"""The shortest line that is a result is `{"id":"","error":0}`, one byte longer."""

_RUN_BYTES: Final = 2048  # so that a run costs about a thousand steps at most, whatever it contains
_RUN: Final = re.compile(rb"(?:[^\n]{0,%d}\n)+" % MAX_BYTES).match
_BOMS: Final = re.compile(rb"^\xef\xbb\xbf", re.M)
# JSON's blanks are removed; what only `bytes.split` treats as a blank becomes a letter.
_BLANKS: Final = b" \t\r"
_LETTERS: Final = bytes.maketrans(b"\x0b\x0c", b"xx")


def run(chunk: bytes, at: int) -> bytes:
    """Return the short lines from `at` on, with their line ends; a line begins at `at`, and ends within the chunk."""
    found = _RUN(chunk, at, at + _RUN_BYTES)
    return found[0] if found else b""


def not_blank(lines: bytes) -> int:
    """Return how many of the lines are not blank to a JSON parser: a byte order mark is not part of a document."""
    if b"\xef" in lines:
        lines = _BOMS.sub(b"", lines)
    return len(lines.translate(_LETTERS, _BLANKS).split())
