"""Bounds what the compressed streams of a PDF inflate to, before pdfium reads it: a megabyte may hold a gigabyte."""

from __future__ import annotations

import re
import zlib
from typing import Final

from .job_thread import IsCancelled, JobCancelled

CONTENT_BYTES: Final = 32 * 2**20
"""What one stream may inflate to that is no picture: a page's drawing, a font. pdfium holds up to 25 times that."""

IMAGE_BYTES: Final = 200 * 2**20
"""What one picture may inflate to: one of 40 million pixels, in colour, has 120 MB."""

TOGETHER_BYTES: Final = 8 * 2**30
"""What all streams may inflate to, one after the other: that is time, not memory."""

_CONTENT_TOGETHER: Final = 8 * CONTENT_BYTES
_STREAM: Final = re.compile(rb"(?<!end)stream(?:\r\n|\n|\r)")
_DICTIONARY: Final = 2048  # bytes before a stream in which it may say that it is a picture
_PIECE: Final = 1 << 20


def is_too_large(document: bytes, is_cancelled: IsCancelled) -> bool:
    """Tell whether a stream of a PDF inflates to too much, or all of them do. Blocks; holds a megabyte at a time.

    Every stream that begins as zlib's do is inflated, whatever its dictionary calls it, and what comes out once more, where that
    begins so too. Not bounded: what other filters unpack (LZW, RunLength, Flate within ASCII85 or hexadecimal digits), what is
    encrypted, how many streams one page draws, and a drawing whose dictionary says that it is a picture. So a sandbox that
    strangers may call needs a bound on its memory all the same. Raises JobCancelled.
    """
    content = together = 0
    for found in _STREAM.finditer(document):
        if is_cancelled():
            raise JobCancelled
        before = document[max(0, found.start() - _DICTIONARY) : found.start()]
        is_image = b"/Image" in before[before.rfind(b"obj") + 1 :]
        size = _inflated(memoryview(document)[found.end() :], IMAGE_BYTES if is_image else CONTENT_BYTES, is_cancelled)
        content += 0 if is_image else size
        together += size
        if size > (IMAGE_BYTES if is_image else CONTENT_BYTES) or content > _CONTENT_TOGETHER or together > TOGETHER_BYTES:
            return True
    return False


def _inflated(data: memoryview, most: int, is_cancelled: IsCancelled) -> int:
    """Return to how many bytes a stream inflates, or a number above `most`; 0 where it is not zlib's, or is broken at once.

    What it inflates to may be a stream again (two filters): then the larger of both counts.
    """
    if not _begins(data):
        return 0
    outer, inner = zlib.decompressobj(), None
    size = inner_size = at = 0
    pending: memoryview | bytes = b""
    try:
        while not outer.eof and size <= most and inner_size <= most:
            if is_cancelled():
                raise JobCancelled
            if not pending:
                pending = data[at : at + _PIECE]
                at += len(pending)
                if not pending:
                    break
            piece = outer.decompress(pending, _PIECE)
            pending = outer.unconsumed_tail
            if not size and _begins(piece):
                inner = zlib.decompressobj()
            size += len(piece)
            if inner is not None:
                inner_size += _fed(inner, piece, most - inner_size)
    except zlib.error:  # pdfium shows what comes before the damage
        pass
    return max(size, inner_size)


def _fed(inner: zlib._Decompress, piece: bytes, most: int) -> int:
    """Return to how many further bytes a piece inflates, or a number above `most`."""
    size = 0
    try:
        while piece and size <= most and not inner.eof:
            size += len(inner.decompress(piece, _PIECE))
            piece = inner.unconsumed_tail
    except zlib.error:
        return size
    return size


def _begins(data: memoryview | bytes) -> bool:
    """Tell whether data begin as zlib's do (RFC 1950 §2.2)."""
    return len(data) > 1 and data[0] & 0x0F == zlib.DEFLATED and not (data[0] << 8 | data[1]) % 31
