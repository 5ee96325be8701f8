"""Header fields as they came, order, case and duplicates kept; and the names that RFC 9110 gives a meaning for proxies."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

Field = tuple[bytes, bytes, bytes]
"""(name in lower case, name as it came, value without surrounding white space)."""

Fields = tuple[Field, ...]

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""The fields of one connection, which are never forwarded (RFC 9110 §7.6.1; the list of Go's ReverseProxy and of Caddy)."""


_NO_NAMES: Final[frozenset[bytes]] = frozenset()
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_FRAMING_LETTERS: Final = frozenset({b"contentlength", b"transferencoding"})
_NOT_LETTERS: Final = bytes(byte for byte in range(256) if not chr(byte).isascii() or not chr(byte).isalnum())


def imitates_framing(lower: bytes) -> bool:
    """Tell whether a name (lower case) is not Content-Length or Transfer-Encoding, but is spelt with their letters.

    `Content_Length`, `Transfer--Encoding`: some servers take them for the real ones, and then see another body than we do.
    """
    return len(lower) > 12 and lower.translate(None, _NOT_LETTERS) in _FRAMING_LETTERS and lower not in _FRAMING


_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
SHORT: Final = 40
"""Names up to this length are cached: all that are in use."""


def is_token(name: bytes) -> bool:
    """Tell whether a name is a valid field name (RFC 9110 §5.1)."""
    return _TOKEN.fullmatch(name) is not None


def quoted(name: bytes) -> str:
    """Return a name in quotes for a message: a long one is cut, one that is not a token is left out."""
    if not is_token(name):
        return "that has no proper name"
    text = name.decode("ascii")
    return f"'{text}'" if len(text) <= SHORT else f"'{text[:SHORT]}…'"


def checked_name(name: bytes) -> tuple[bytes, bool]:
    """Return a name in lower case, and whether it is a token that does not imitate framing."""
    lower = name.lower()
    return lower, is_token(name) and not imitates_framing(lower)


cached_name: Final = lru_cache(maxsize=2048)(checked_name)
"""`checked_name` with a cache, for short names: the same few come with every message."""


def fields_of(raw: tuple[tuple[bytes, bytes], ...]) -> Fields:
    """Return raw (name, value) pairs as Fields."""
    return tuple([(name.lower(), name, value) for name, value in raw])


def nominated(fields: Fields) -> frozenset[bytes]:
    """Return the names (lower case) that any Connection field nominates as hop-by-hop."""
    values = [value for lower, _, value in fields if lower == b"connection"]
    return frozenset([token.strip().lower() for value in values for token in value.split(b",")]) if values else _NO_NAMES
