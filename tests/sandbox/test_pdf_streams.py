"""What a PDF's streams may inflate to: a bomb is refused as a document that cannot be read, and scans are read."""

from __future__ import annotations

import zlib

import pytest

from passthrough.sandbox.documents import ReadOptions, read
from passthrough.sandbox.errors import Rejection
from passthrough.sandbox.job_thread import JobCancelled
from passthrough.sandbox.pdf_streams import CONTENT_BYTES, is_too_large
from tests.harness.documents import pdf


def never() -> bool:
    """Tell that the caller still waits for the response."""
    return False


def packed(size: int) -> bytes:
    """Return blanks of a size, compressed."""
    packer = zlib.compressobj(9)
    block = b" " * 2**20
    return b"".join(packer.compress(block) for _ in range(size // len(block))) + packer.flush()


BIG = packed(CONTENT_BYTES + 2**21)


def document(*streams: bytes, kind: bytes = b"") -> bytes:
    """Return a PDF of one page, whose content are streams."""
    names = b" ".join(b"%d 0 R" % (4 + at) for at in range(len(streams)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]/Contents[" + names + b"]>>",
        *(b"<<%b/Filter/FlateDecode/Length %d>>stream\r\n%b\nendstream" % (kind, len(each), each) for each in streams),
    ]
    body = b"%PDF-1.4\n" + b"".join(b"%d 0 obj\n%b\nendobj\n" % (at, each) for at, each in enumerate(objects, 1))
    return body + b"trailer<</Root 1 0 R>>\n%%EOF\n"


@pytest.mark.parametrize(
    "bomb",
    [
        document(BIG),
        document(zlib.compress(BIG)),
        document(*[packed(CONTENT_BYTES)] * 9),
        document(packed(300 * 2**20), kind=b"/Subtype/Image"),
    ],
    ids=["one", "twice", "many", "picture"],
)
def test_a_bomb_is_refused(bomb: bytes) -> None:
    """As a document that cannot be read, before pdfium sees it."""
    with pytest.raises(Rejection) as caught:
        read(bomb, ReadOptions(range), never)
    assert (400, "3740") == (caught.value.status, caught.value.body["code"])


@pytest.mark.parametrize(
    "usual",
    [
        pdf(3),
        document(packed(100 * 2**20), kind=b"/Subtype/Image"),
        document(b"x\x9cbroken"),
        document(zlib.compress(b"x\x9cbroken too")),
        document(zlib.compress(b"q Q")[:-5]),
        document(b""),
    ],
    ids=["text", "scan", "broken", "broken within", "cut", "empty"],
)
def test_what_is_usual_or_broken_is_left_to_pdfium(usual: bytes) -> None:
    """A scan of 100 MB passes; damage is not for this to judge."""
    assert not is_too_large(usual, never)
    assert read(usual, ReadOptions(range), never)


def test_it_ends_where_nobody_waits() -> None:
    """Between two pieces."""
    with pytest.raises(JobCancelled):
        is_too_large(document(BIG), lambda: True)
