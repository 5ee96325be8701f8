"""The media type of a downloaded document: the server's, and where that says nothing, by the first bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

SNIFFED_BYTES: Final = 64 * 1024
"""How many first bytes are looked at, at most: an Office file's first entries may be a thumbnail of many kilobytes."""

UNKNOWN: Final = "application/octet-stream"

_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!$&^_.+-]{0,126}/[a-z0-9][a-z0-9!$&^_.+-]{0,126}")
_SAYS_NOTHING: Final = frozenset(
    {
        UNKNOWN,
        "binary/octet-stream",  # S3 where nothing was given
        "application/binary",
        "application/download",
        "application/force-download",
        "application/x-download",
        "application/unknown",
        "unknown/unknown",
    }
)


def declared_media_type(values: Sequence[bytes]) -> str | None:
    """Return the media type that Content-Type fields say, in lower case and without parameters; None where they say nothing.

    They say nothing where there is none, or several that differ, or one that only stands for "bytes", or what is no media type.
    """
    found = {value.partition(b";")[0].strip(b" \t").lower().decode("latin-1") for value in values}
    media_type = found.pop() if len(found) == 1 else UNKNOWN
    return None if media_type in _SAYS_NOTHING or _MEDIA_TYPE.fullmatch(media_type) is None else media_type


_JUNK_BYTES: Final = 1024  # readers of PDF accept as much before its header (ISO 32000-1, Annex H.3.4.1)
_SIGNATURES: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"II[*+]\x00|MM\x00[*+]"), "image/tiff"),  # `+`: BigTIFF
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"BM.{4}\x00{4}.{4}[\x0c-\x7c]\x00\x00\x00", re.DOTALL), "image/bmp"),  # two letters would be any text's
)
_BRANDS: Final = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
    b"hevc": "image/heic",
    b"hevx": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
}
_OFFICE: Final = "application/vnd.openxmlformats-officedocument."
_ENTRIES: Final = (
    (b"word/", _OFFICE + "wordprocessingml.document"),
    (b"xl/", _OFFICE + "spreadsheetml.sheet"),
    (b"ppt/", _OFFICE + "presentationml.presentation"),
)
_ENTRY: Final = b"PK\x03\x04"
_ENTRY_HEAD_BYTES: Final = 30


def sniffed_media_type(first: bytes, *, whole: bool) -> str | None:
    """Return the media type of a document that begins with `first`; None where more bytes are needed to tell.

    `whole`: no more will come. At `SNIFFED_BYTES` it is decided in any case; what is not known is `UNKNOWN`.
    """
    whole = whole or len(first) >= SNIFFED_BYTES
    found = _by_signature(first)
    if found is None and first.startswith(_ENTRY):
        found = _by_entries(first)
    elif found is None and len(first) >= _JUNK_BYTES + 5:
        found = UNKNOWN
    return UNKNOWN if found is None and whole else found


def _by_signature(first: bytes) -> str | None:
    for signature, media_type in _SIGNATURES:
        if signature.match(first):
            return media_type
    if first[4:8] == b"ftyp" and len(first) >= 16:
        return _by_brands(first)
    # Last: an image may hold such bytes early on, and is no PDF for that.
    return "application/pdf" if first.find(b"%PDF-", 0, _JUNK_BYTES + 5) >= 0 else None


def _by_brands(first: bytes) -> str | None:
    """Return an image's type by the brands of its first box (ISO 14496-12 §4.3): the major one, else a compatible one."""
    size = min(int.from_bytes(first[:4], "big"), 256)
    if len(first) < size:
        return None
    brands = [first[8:12], *(first[at : at + 4] for at in range(16, size - 3, 4))]
    general = {b"mif1", b"msf1"}  # They say only that it is an image: a more exact brand comes first.
    exact = [_BRANDS[brand] for brand in brands if brand in _BRANDS and brand not in general]
    return exact[0] if exact else "image/heif" if general & {*brands} else UNKNOWN


def _by_entries(first: bytes) -> str | None:
    """Return the type of a document in a ZIP archive by its first entries: `mimetype` (EPUB, ODF), or a folder of parts."""
    at = 0
    while at >= 0 and len(first) >= at + _ENTRY_HEAD_BYTES:
        flags, compressed = int.from_bytes(first[at + 6 : at + 8], "little"), int.from_bytes(first[at + 18 : at + 22], "little")
        name_size = int.from_bytes(first[at + 26 : at + 28], "little")
        extra_size = int.from_bytes(first[at + 28 : at + 30], "little")
        start = at + _ENTRY_HEAD_BYTES
        name, content = first[start : start + name_size], start + name_size + extra_size
        if len(first) < start + name_size:
            return None
        for folder, media_type in _ENTRIES:
            if name.startswith(folder):
                return media_type
        if name == b"mimetype" and at == 0:
            if len(first) < content + compressed:
                return None
            said = declared_media_type([first[content : content + compressed]])
            return said or UNKNOWN
        # With flag 3 the size stands behind the entry: the next one is searched for.
        at = content + compressed if compressed or not flags & 8 else first.find(_ENTRY, content)
        if len(first) >= at + 4 and at >= 0 and first[at : at + 4] != _ENTRY:
            return UNKNOWN  # the archive's directory, or no archive
    return None
