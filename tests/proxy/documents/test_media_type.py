"""The media type of a document: what the server says, else what its first bytes are."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from passthrough.proxy.documents.media_type import SNIFFED_BYTES, UNKNOWN, declared_media_type, sniffed_media_type

pytestmark = pytest.mark.fast

DECLARED = [
    ([b"application/pdf"], "application/pdf"),
    ([b"Application/PDF; charset=binary"], "application/pdf"),
    ([b" image/svg+xml ;a=b"], "image/svg+xml"),
    ([b"text/html"], "text/html"),
    ([b"application/vnd.ms-excel.sheet.macroEnabled.12"], "application/vnd.ms-excel.sheet.macroenabled.12"),
    ([b"application/pdf", b"application/pdf;x"], "application/pdf"),
    ([], None),
    ([b""], None),
    ([b"application/octet-stream"], None),
    ([b"APPLICATION/OCTET-STREAM; x=y"], None),
    ([b"binary/octet-stream"], None),
    ([b"application/x-download"], None),
    ([b"application/force-download"], None),
    ([b"unknown/unknown"], None),
    ([b"*/*"], None),
    ([b"pdf"], None),
    ([b"application/"], None),
    ([b"/pdf"], None),
    ([b'application/pdf","a":"b'], None),
    ([b"application/pdf,x/y"], None),
    ([b"application/p df"], None),
    ([b"application/pdf\\u0022"], None),
    ([b"application/pd%66"], None),
    ([b"application/p\xc3\xa4"], None),
    ([b"a/" + b"b" * 127], "a/" + "b" * 127),
    ([b"a/" + b"b" * 128], None),
    ([b"application/pdf", b"text/html"], None),
]


@pytest.mark.parametrize(("values", "expected"), DECLARED)
def test_what_a_server_says(values: list[bytes], expected: str | None) -> None:
    """It holds where it is one media type that says something, and could break neither a data URI nor JSON."""
    assert expected == declared_media_type(values)


@given(st.binary())
def test_what_is_declared_is_safe(value: bytes) -> None:
    """Nothing ends a JSON string or the type within a data URI."""
    found = declared_media_type([value])
    assert found is None or not set(found) & set('"\\;,% #\r\n')


def pdf() -> bytes:
    """Return a PDF."""
    out = io.BytesIO()
    canvas = Canvas(out)
    canvas.drawString(100, 100, "page")
    canvas.save()
    return out.getvalue()


def image(form: str) -> bytes:
    """Return an image as Pillow writes it."""
    out = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(out, form)
    return out.getvalue()


def archive(*names: str, mimetype: str = "", stream: bool = False) -> bytes:
    """Return a ZIP archive; `stream`: as one writes it who cannot seek, with sizes behind the entries."""
    out = io.BytesIO()
    if stream:
        out.seekable = lambda: False  # type: ignore[method-assign]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as written:
        if mimetype:
            written.writestr(zipfile.ZipInfo("mimetype"), mimetype)
        for name in names:
            written.writestr(name, b"<xml/>" * 50)
    return out.getvalue()


def box(*brands: bytes, size: int | None = None) -> bytes:
    """Return the first box of an image by ISO 14496-12, and what follows."""
    body = brands[0] + bytes(4) + b"".join(brands[1:])
    return (8 + len(body) if size is None else size).to_bytes(4, "big") + b"ftyp" + body + b"\x00\x00\x01\x00meta" + bytes(80)


OFFICE = "application/vnd.openxmlformats-officedocument."
DOCX = OFFICE + "wordprocessingml.document"
HEAD = ("[Content_Types].xml", "_rels/.rels")

SNIFFED = {
    "PDF": (pdf(), "application/pdf"),
    "PDF behind a byte order mark": (b"\xef\xbb\xbf" + pdf(), "application/pdf"),
    "PDF behind a line": (b"\r\n\r\n" + pdf(), "application/pdf"),
    "PDF behind 1024 bytes": (bytes(1024) + pdf(), "application/pdf"),
    "PDF behind more": (bytes(1025) + pdf(), UNKNOWN),
    "PNG": (image("PNG"), "image/png"),
    "JPEG": (image("JPEG"), "image/jpeg"),
    "GIF": (image("GIF"), "image/gif"),
    "TIFF": (image("TIFF"), "image/tiff"),
    "TIFF, big-endian": (b"MM\x00*" + bytes(40), "image/tiff"),
    "BigTIFF": (b"II+\x00" + bytes(40), "image/tiff"),
    "WebP": (image("WEBP"), "image/webp"),
    "BMP": (image("BMP"), "image/bmp"),
    "text that begins as BMP does": (b"BMW is a maker of cars, and this is a text of more than 26 bytes", UNKNOWN),
    "WAV": (b"RIFF\x00\x00\x00\x00WAVEfmt " + bytes(40), UNKNOWN),
    "AVIF": (box(b"avif", b"mif1", b"miaf"), "image/avif"),
    "HEIC": (box(b"heic", b"mif1"), "image/heic"),
    "HEIC, general first": (box(b"mif1", b"mif1", b"heic"), "image/heic"),
    "HEIF": (box(b"mif1", b"miaf"), "image/heif"),
    "MP4": (box(b"isom", b"mp42"), UNKNOWN),
    "a box of no size": (box(b"heic", size=0), "image/heic"),
    "a box of any size": (box(b"isom", b"heic", size=2**32 - 1) + bytes(300), "image/heic"),
    "docx": (archive(*HEAD, "word/document.xml"), DOCX),
    "docx, streamed": (archive(*HEAD, "word/document.xml", stream=True), DOCX),
    "xlsx": (archive(*HEAD, "xl/workbook.xml"), OFFICE + "spreadsheetml.sheet"),
    "pptx": (archive(*HEAD, "docProps/thumbnail.jpeg", "ppt/presentation.xml"), OFFICE + "presentationml.presentation"),
    "EPUB": (archive("META-INF/container.xml", mimetype="application/epub+zip"), "application/epub+zip"),
    "ODT": (
        archive("content.xml", mimetype="application/vnd.oasis.opendocument.text"),
        "application/vnd.oasis.opendocument.text",
    ),
    "an odd mimetype": (archive("a", mimetype='x/y","z":"'), UNKNOWN),
    "another archive": (archive("a.txt", "b.txt"), UNKNOWN),
    "an archive with a name that only ends so": (archive("my/word/a.xml"), UNKNOWN),
    "an empty archive": (archive(), UNKNOWN),
    "a broken archive": (b"PK\x03\x04" + bytes(60), UNKNOWN),
    "HTML": (b"<!doctype html><title>Log in</title>", UNKNOWN),
    "one byte": (b"%", UNKNOWN),
    "nothing": (b"", UNKNOWN),
}


@pytest.mark.parametrize(("document", "expected"), SNIFFED.values(), ids=SNIFFED)
def test_what_the_first_bytes_are(document: bytes, expected: str) -> None:
    """A whole document has a type; of fewer bytes either the same type is found, or more are asked for."""
    assert expected == sniffed_media_type(document, whole=True)
    found = {sniffed_media_type(document[:size], whole=False) for size in range(len(document))}
    assert found <= {None, expected}


def test_not_much_is_read_for_it() -> None:
    """It is decided where nothing was found within the first bytes, and at once where they say it."""
    assert None is sniffed_media_type(bytes(1028), whole=False)
    assert UNKNOWN == sniffed_media_type(bytes(1029), whole=False)
    assert "application/pdf" == sniffed_media_type(b"%PDF-", whole=False)
    large = archive(*HEAD, "docProps/thumbnail.jpeg", "ppt/presentation.xml")[:30] + bytes(SNIFFED_BYTES)
    assert UNKNOWN == sniffed_media_type(large, whole=False)


@given(st.binary(max_size=200), st.sampled_from([b"", b"PK\x03\x04", b"\x00\x00\x00\x20ftyp", b"RIFF", b"BM"]))
def test_any_bytes_have_a_type(rest: bytes, begin: bytes) -> None:
    """Nothing is raised, and a longer look never contradicts a shorter one."""
    document = begin + rest
    whole = sniffed_media_type(document, whole=True)
    assert whole is not None
    assert {sniffed_media_type(document[:size], whole=False) for size in range(len(document))} <= {None, whole}
