"""Renames repeated header fields in a request's head, for a parser that accepts each of them only once.

aiohttp 3.14 refuses a request whose singleton fields (RFC 9110 §5.5) are repeated, also where nothing depends on them.
"""

from __future__ import annotations

import re
from typing import Final

_HARMLESS: Final = frozenset({b"user-agent", b"server", b"etag", b"max-forwards", b"content-location"})
"""The fields that may be repeated although aiohttp refuses that: neither framing, routing nor the body depends on them."""

_NAME: Final = re.compile(rb"(?<=\n)([^\r\n:]+)(?=:)")
_MAX_LINES: Final = 300
"""A longer head has more fields than the parser accepts."""

_STAND_INS: Final = b"~^|`'!"


def _first_repeated(head: bytes) -> bytes | None:
    """Return the first harmless name (lower case) that is repeated in a head."""
    seen = set()
    for name in _NAME.findall(head):
        lower = name.lower()
        if lower in _HARMLESS and lower in seen:
            return bytes(lower)
        seen.add(lower)
    return None


def renamed(head: bytes) -> tuple[bytes, dict[bytes, list[bytes]]]:
    """Return a head of the same length in which no harmless field is repeated, and the real names by their stand-in.

    The real names are in their order: `User-Agent` and `user-agent` have the same stand-in.
    """
    names: dict[bytes, list[bytes]] = {}
    if head.count(b"\n") > _MAX_LINES:
        return head, names
    taken = {name.lower() for name in _NAME.findall(head)}
    while (repeated := _first_repeated(head)) is not None:
        signs = (bytes([sign]) for sign in _STAND_INS)
        free = (sign for sign in signs if sign + repeated[1:] not in taken)
        sign = next(free, None)
        if sign is None:
            break  # A client that sends all of these names is refused.

        def stand_in(found: re.Match[bytes], sign: bytes = sign, repeated: bytes = repeated) -> bytes:
            if found[0].lower() != repeated:
                return found[0]
            names.setdefault(sign + found[0][1:], []).append(found[0])
            return sign + found[0][1:]

        head = _NAME.sub(stand_in, head)
    return head, names
