"""Inflates one member of gzip or deflate: with isal, at half the cost, where it accepts what zlib accepts; else with zlib."""

from __future__ import annotations

import zlib
from typing import Final, Protocol

try:
    from isal import isal_zlib
except ImportError:  # isal has no build for this machine
    isal_zlib = None  # type: ignore[assignment]  # to mypy it is always a module

GZIP_BITS, ZLIB_BITS, RAW_BITS = 31, 15, -15
"""The formats, as zlib's wbits."""

GZIP_MAGIC: Final = b"\x1f\x8b"

BROKEN: Final[tuple[type[Exception], ...]] = (zlib.error,) if isal_zlib is None else (zlib.error, isal_zlib.error)  # type: ignore[assignment]  # isal 1.9: its stub has an instance
"""What a member raises for malformed bytes."""

_USUAL_GZIP: Final = GZIP_MAGIC + b"\x08\x00"  # neither name, comment, extra field nor the head's own checksum follows
_USUAL_ZLIB: Final = 0x78
_DICTIONARY: Final = 0x20


class Member(Protocol):
    """One member: the interface of zlib's decompressobj."""

    @property
    def eof(self) -> bool:
        """Whether the member has ended, with its checksum."""
        ...

    @property
    def unconsumed_tail(self) -> bytes:
        """Input that is not read yet, because the output was full."""
        ...

    @property
    def unused_data(self) -> bytes:
        """Input behind the member's end."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return at most `max_length` bytes. Raises one of BROKEN."""
        ...


def member(bits: int, coded: bytes) -> Member:
    """Return a decompressor for the member that begins with `coded`: two bytes at least where `bits` is ZLIB_BITS.

    isal does not check a head's optional fields, and fails on them where they come in small pieces. It also accepts codes that
    zlib refuses; only a checksum finds those, and the raw format has none.
    """
    if isal_zlib is None or not _usual(bits, coded):
        return zlib.decompressobj(bits)
    return isal_zlib.decompressobj(bits)


def _usual(bits: int, coded: bytes) -> bool:
    if bits == GZIP_BITS:
        return coded.startswith(_USUAL_GZIP)
    return bits == ZLIB_BITS and coded[0] == _USUAL_ZLIB and not coded[1] & _DICTIONARY
