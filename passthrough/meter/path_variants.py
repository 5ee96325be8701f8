"""The variants of a raw request path: every path that a lenient server could take it for.

Servers differ in how often they decode a path, in what they cut off its end, and in which letters they treat as equal: Starlette
1.10 serves `/ocr%0A` as `/ocr`, because `$` matches before a line end. No spelling of a path may get pages that are not counted,
or pass by a route's limits. So a path counts as each of its variants. A stricter server sends 404, which is not metered.
"""

from __future__ import annotations

import re
from typing import Final
from unicodedata import normalize
from urllib.parse import unquote_to_bytes

_ODD: Final = re.compile(rb"[^A-Za-z0-9/._~:@!$&'()*,=-]|//|/\.|\./|[/.]\Z|\.[^/.]*\Z").search
MAX_ODD_BYTES: Final = 2048
"""A longer path may have one variant only: to find all of them takes 0.4 ms for this size, and 6 ms for 16 KB."""

_MAX_DECODED: Final = 3
"""How often a path is decoded: proxies in a row may each decode it once."""

_WIDE_OCTET: Final = re.compile(rb"%u([0-9a-fA-F]{4})")
"""ECMAScript's `escape`, which ASP.NET's UrlDecode reads."""

_OVERLONG: Final = re.compile(rb"(?:[\xc0\xc1]|\xe0[\x80\x81]|\xf0\x80[\x80\x81])[\x80-\xbf]")
"""An ASCII character in more bytes than UTF-8 allows (RFC 3629 §3). Some decoders accept it."""

_BLANKS: Final = " " + "".join(
    chr(number)
    for first, last in (
        (0x00, 0x20), (0x7F, 0xA0), (0xAD, 0xAD), (0x1680, 0x1680), (0x2000, 0x200F), (0x2028, 0x202F), (0x205F, 0x206F),
        (0x3000, 0x3000), (0xFEFF, 0xFEFF), (0xDC80, 0xDCA0),
    )
    for number in range(first, last + 1)
) + "+"  # fmt: skip
"""White space and invisible characters, the last range in Latin-1; `+` is a blank where a path is decoded as a form."""

_NAME_ENDS: Final = "." + _BLANKS

_PARAMETERS: Final = re.compile(rb";[^/]*")
_SLASHES: Final = re.compile(rb"[/\\]+")
_CUTS: Final = (re.compile(rb"\Z"), re.compile(rb"[?#\x00]"), re.compile(rb"[?#\x00;]"))
"""Where a path may end: at its end, at a query or a fragment that appears once it is decoded, or at parameters (RFC 1808)."""

_EXTENSION: Final = re.compile(rb"(?<=[^/])\.[^/.]+\Z")
"""A format behind the path (`/ocr.json`): Rails and Spring MVC before 5.3 serve it as the path without it."""

_LETTERS: Final = {"ı": "i", "i̇": "i"}
"""Letters that equal ASCII without case, beyond Unicode's folding (CPython's re.IGNORECASE: U+0130, U+0131)."""


def variants(path: bytes) -> tuple[bytes, ...]:
    """Return every variant of a raw path (no query), the most decoded one first; case stays."""
    if _ODD(path) is None:
        return (path,)
    depths = [path]
    for _ in range(_MAX_DECODED):
        if (decoded := _decoded(depths[-1])) == depths[-1]:
            break
        depths.append(decoded)
    found: dict[bytes, None] = {}
    for decoded in reversed(depths):
        for cut in dict.fromkeys(cut.split(decoded, 1)[0] for cut in _CUTS):
            variant = _resolved(cut)
            found[variant] = found[_EXTENSION.sub(b"", variant)] = None
    return tuple(found)


def is_too_odd(path: bytes) -> bool:
    """Tell whether a raw path that may have several variants is too long to look for them on an anonymous request."""
    return len(path) > MAX_ODD_BYTES and _ODD(path) is not None


def folded(path: bytes) -> bytes:
    """Return a path with its case folded, to compare it without case."""
    if path.isascii():
        return path.lower()
    text = path.decode("utf-8", "surrogateescape").casefold()
    for letter, plain in _LETTERS.items():
        text = text.replace(letter, plain)
    return text.encode("utf-8", "surrogateescape")


def _decoded(path: bytes) -> bytes:
    """Return a path, its octets decoded once (RFC 3986 §2.1), full-width letters replaced by plain ones (UTR 36 §3)."""
    decoded = unquote_to_bytes(_WIDE_OCTET.sub(_wide_character, path))
    if decoded.isascii():
        return decoded
    text = _OVERLONG.sub(_shortest, decoded).decode("utf-8", "surrogateescape")
    return normalize("NFKC", text).encode("utf-8", "surrogateescape")


def _wide_character(octet: re.Match[bytes]) -> bytes:
    return chr(int(octet[1], 16)).encode("utf-8", "replace")


def _shortest(character: re.Match[bytes]) -> bytes:
    return bytes([(character[0][-2] & 1) << 6 | character[0][-1] & 0x3F])


def _resolved(path: bytes) -> bytes:
    """Return a path without parameters, doubled slashes, dot segments, and blanks around its segments.

    Dots at the end of a name are removed too, because Windows ignores them.
    """
    plain = _SLASHES.sub(b"/", _PARAMETERS.sub(b"", path)).decode("utf-8", "surrogateescape")
    segments: list[str] = []
    for segment in plain.split("/"):
        if segment == "..":
            if len(segments) > 1:
                segments.pop()
        elif segment != ".":
            segments.append(segment.strip(_BLANKS).rstrip(_NAME_ENDS))
    return "/".join(segments).encode("utf-8", "surrogateescape").rstrip(b"/")
