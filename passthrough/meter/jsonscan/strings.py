"""Crosses JSON strings at the speed of C, and decodes short ones.

Plain functions of bytes. A position is *clean* where no backslash before it escapes what stands there.
"""

from __future__ import annotations

import json
from typing import Final

_BACKSLASH: Final = 0x5C
_STRETCH: Final = 4096
_NEAR: Final = 32


def closing(chunk: bytes, at: int) -> int:
    """Return the position of the first quote from `at` on that is not escaped, or -1; `at` is clean."""
    while True:
        end = chunk.find(b'"', at)
        if end <= at or chunk[end - 1] != _BACKSLASH or not escapes(chunk, at, end):
            return end
        # Where one quote is escaped there are more (HTML tables, annotations), so a stretch of them is crossed at once.
        at = end + 1
        stretch = without_escapes(chunk[at : at + _STRETCH])
        end = stretch.find(b'"')
        if end >= 0:
            return at + end
        at += len(stretch) - stretch.endswith(b"\\")


def escapes(chunk: bytes, begin: int, at: int) -> bool:
    """Tell whether the backslashes before `at`, if any, escape what stands there; `begin` is clean and not behind `at`."""
    near = max(begin, at - _NEAR)
    tail = chunk[near:at]
    bare = len(tail.rstrip(b"\\"))
    if not bare and near > begin:
        tail = chunk[begin:at]
        bare = len(tail.rstrip(b"\\"))
    return (len(tail) - bare) % 2 == 1


def text(spelt: bytes | bytearray) -> str | None:
    """Return the text of the bytes between a string's quotes, None if they contain a wrong escape.

    Bytes that are not UTF-8, and lone surrogates, are replaced, so that the text can be written anywhere.
    """
    decoded = spelt.decode("utf-8", "replace")
    if "\\" not in decoded:
        return decoded
    try:
        plain = json.loads(f'"{decoded}"', strict=False)
    except ValueError:
        return None
    return str(plain).encode("utf-8", "replace").decode()


def without_escapes(piece: bytes) -> bytes:
    """Return as many bytes with `\\1\\1` for every escaped quote and backslash; `piece` begins clean.

    JSON has no `\\1` outside strings, and every position stays the same. A backslash left at the end escapes what follows.
    """
    return piece.replace(b"\\\\", b"\1\1").replace(b'\\"', b"\1\1")
