"""The pictures of a response: their base64 is decoded into files, one block at a time, and their type is that of their bytes."""

from __future__ import annotations

import binascii
import re
import string
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_ALPHABET: Final = (string.ascii_letters + string.digits + "+/").encode()
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")  # RFC 4648 §5 has other characters for two of them
_BLANKS: Final = b" \t\r\n\v\f"
_HEAD: Final = re.compile(rb"\s*data:[^,]{0,200},", re.IGNORECASE)
_HEAD_BYTES: Final = 32

_TYPES: Final[tuple[tuple[re.Pattern[bytes], tuple[str, ...]], ...]] = tuple(
    (re.compile(pattern, re.DOTALL), tuple(ends.split()))
    for pattern, ends in (
        (rb"\xff\xd8\xff", ".jpeg .jpg"),
        (rb"\x89PNG\r\n\x1a\n", ".png"),
        (rb"GIF8[79]a", ".gif"),
        (rb"RIFF....WEBP", ".webp"),
        (rb"II\*\x00|MM\x00\*", ".tiff .tif"),
        (rb"BM", ".bmp"),
        (rb"....ftypavi[fs]", ".avif"),
        (rb"....ftyp(?:hei[cmsx]|hev[cx]|mif1|msf1)", ".heic .heif"),
        (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", ".jxl"),
        (rb"\x00\x00\x00\x0cjP  ", ".jp2"),
    )
)
OTHER: Final = (".bin",)
"""The end of the name of bytes of an unknown type: a program that opens `.jpeg` is not made to open them."""


def decode_into(path: Path, text: Iterable[bytes]) -> tuple[str, ...] | None:
    """Write what base64 says into a file, and return the ends that its name may have: the usual one first.

    The text may begin as a data URI, may have blanks in it, the characters of URLs, and lack its padding. None: it is no base64,
    or there is nothing in it; what is in the file then is of no use. Raises OSError.
    """
    head = b""
    try:
        with path.open("wb") as file:
            for block in _decoded(text):
                file.write(block)
                head = head or block[:_HEAD_BYTES]
    except ValueError:
        return None
    return ends_of(head) if head else None


def ends_of(head: bytes) -> tuple[str, ...]:
    """Return the ends of names of a picture that begins with these bytes, the usual one first."""
    return next((ends for pattern, ends in _TYPES if pattern.match(head)), OTHER)


def _decoded(text: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what base64 says. Raises ValueError where it is none."""
    rest, is_padded = b"", False
    for block in _without_head(text):
        digits = block.translate(_STANDARD, _BLANKS)
        plain = digits.rstrip(b"=")
        if plain.translate(None, _ALPHABET) or (is_padded and plain):
            raise ValueError("no base64")
        is_padded = is_padded or len(plain) < len(digits)
        rest += plain
        whole = len(rest) // 4 * 4
        if whole:
            yield binascii.a2b_base64(rest[:whole])
        rest = rest[whole:]
    if rest:
        yield binascii.a2b_base64(rest + b"==")  # more padding than needed is ignored; a single character is a ValueError


def _without_head(text: Iterable[bytes]) -> Iterator[bytes]:
    blocks = iter(text)
    first = next(blocks, b"")
    yield _HEAD.sub(b"", first, count=1) if _HEAD.match(first) else first
    yield from blocks
