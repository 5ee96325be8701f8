"""A folder of documents as people have them: of all types and sizes, with every kind of name, some locked, empty or broken."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from PIL import Image

from tests.harness.documents import image, jpeg, pdf, png
from tests.harness.office import archive, docx, paragraph, pptx, shape

LARGE_BYTES = 40_000_000
"""The size of the large one, about."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One document: how it is made, its pages in the sandbox, and what it becomes there.

    `becomes` is the Markdown file beside it, by its path in the folder; None where it fails. `fails` is what is then said of it.
    """

    make: Callable[[], bytes]
    pages: int = 1
    becomes: str | None = None
    fails: str = ""


def padded(document: bytes, size: int) -> bytes:
    """Return a PDF of at least `size` bytes: an object that no page needs is appended, as editors append their changes."""
    root = re.search(rb"/Root (\d+ \d+ R)", document)
    start = re.search(rb"startxref\s+(\d+)\s+%%EOF\s*$", document)
    count = re.search(rb"/Size (\d+)", document)
    assert root is not None
    assert start is not None
    assert count is not None
    number = int(count[1])
    noise = Random(18).randbytes(1_000_000) * (max(size - len(document), 0) // 1_000_000 + 1)
    added = b"%d 0 obj\n<< /Length %d >>\nstream\n%b\nendstream\nendobj\n" % (number, len(noise), noise)
    at = len(document)
    table = b"xref\n%d 1\n%010d 00000 n \n" % (number, at)
    trailer = b"trailer\n<< /Size %d /Root %b /Prev %b >>\nstartxref\n%d\n%%%%EOF\n" % (
        number + 1,
        root[1],
        start[1],
        at + len(added),
    )
    return document + added + table + trailer


def scan(pages: int, *, across: int = 850, down: int = 1100, seed: int = 0) -> bytes:
    """Return a PDF whose pages are pictures without a text, as a scanner makes them: grain makes each as large as its JPEG is."""
    shown = [Image.frombytes("L", (across, down), Random(seed + page).randbytes(across * down)) for page in range(pages)]
    out = io.BytesIO()
    shown[0].save(out, "PDF", save_all=True, append_images=shown[1:], quality=60)
    return out.getvalue()


def fax(pages: int) -> bytes:
    """Return a TIFF of several pages."""
    shown = [Image.new("1", (400, 560), page % 2) for page in range(pages)]
    out = io.BytesIO()
    shown[0].save(out, "TIFF", save_all=True, append_images=shown[1:])
    return out.getvalue()


def letter(*pages: str) -> bytes:
    """Return a DOCX of these pages."""
    return docx("".join(paragraph(text, "<w:pageBreakBefore/>" if place else "") for place, text in enumerate(pages)))


def sheet() -> bytes:
    """Return an XLSX, of which only the names of its parts are right."""
    return archive({"[Content_Types].xml": "<Types/>", "xl/workbook.xml": "<workbook/>", "xl/worksheets/sheet1.xml": "<sheet/>"})


def book() -> bytes:
    """Return an EPUB, of which only the frame is right."""
    return archive({"mimetype": "application/epub+zip", "META-INF/container.xml": "<container/>"})


def _one(becomes: str, make: Callable[[], bytes], pages: int = 1) -> Kind:
    return Kind(make, pages, becomes)


_PAGE = partial(pdf, 1)
LONG = "n" * 240 + ".pdf"
"""A name that is too long with `_images` behind it: its outputs have a shorter one."""

DOCUMENTS: Mapping[str, Kind] = {
    "invoice.pdf": _one("invoice.md", partial(pdf, 3), 3),
    "scan.pdf": _one("scan.md", partial(scan, 2), 2),
    "with a picture.pdf": _one("with a picture.md", lambda: pdf(2, picture=jpeg()), 2),
    "300 pages.pdf": _one("300 pages.md", partial(pdf, 300), 300),
    "large.pdf": _one("large.md", lambda: padded(pdf(2), LARGE_BYTES), 2),
    "locked against printing.pdf": _one("locked against printing.md", lambda: pdf(1, password="")),
    "encrypted.pdf": Kind(lambda: pdf(2, password="secret"), fails="password"),
    "letter.docx": _one("letter.md", lambda: letter("Dear reader", "Yours"), 2),
    "slides.pptx": _one("slides.md", lambda: pptx(shape("One", title=True), shape("Two", title=True)), 2),
    "prices.xlsx": Kind(sheet, fails="400|PDF|invalid|read"),
    "book.epub": Kind(book, fails="400|PDF|invalid|read"),
    "fax.tif": _one("fax.md", partial(fax, 1)),
    "photo.png": _one("photo.md", png),
    "photo.large.jpg": _one("photo.large.md", lambda: image("JPEG", 3000, 2000)),
    "picture.webp": _one("picture.md", lambda: image("WEBP")),
    "moving.gif": _one("moving.md", lambda: image("GIF")),
    "drawing.bmp": _one("drawing.md", lambda: image("BMP")),
    "view.avif": _one("view.md", lambda: image("AVIF")),
    "Übersicht März.pdf": _one("Übersicht März.md", _PAGE),
    "日本語 請求書.pdf": _one("日本語 請求書.md", _PAGE),
    "two\nlines\x1b[31m.pdf": _one("two%0Alines%1B[31m.md", _PAGE),
    "report [final] (1) #2 100% a&b'c.pdf": _one("report [final] (1) #2 100% a&b'c.md", _PAGE),
    "-draft.pdf": _one("-draft.md", _PAGE),
    LONG: _one("", _PAGE),
    "UPPER.PDF": _one("UPPER.md", _PAGE),
    "a PDF without an end": _one("a PDF without an end.md", _PAGE),
    "named wrongly.png": _one("named wrongly.md", _PAGE),
    "both.pdf": _one("both.pdf.md", _PAGE),
    "both.docx": _one("both.docx.md", lambda: letter("one page")),
    "2025/report.pdf": _one("2025/report.md", partial(pdf, 2), 2),
    "2026/quarter 1/report.pdf": _one("2026/quarter 1/report.md", partial(pdf, 4), 4),
    "archive.pdf/inner.pdf": _one("archive.pdf/inner.md", _PAGE),
    "empty.pdf": Kind(bytes, fails="empty"),
    "broken.pdf": Kind(lambda: pdf(3)[:-900].replace(b"/Type /Page", b"/Type /Pige"), fails="400|PDF|invalid|read"),
}
"""Each by its path in the folder. What is sent fails in the sandbox where that reads no such type."""

OTHERS: Mapping[str, bytes] = {
    "notes.txt": b"no document, unless it is named\n",
    "program": b"\x7fELF\x02\x01\x01" + bytes(200),
    ".hidden.pdf": pdf(1),
    ".git/objects.pdf": pdf(1),
}
"""What stands in the folder beside them, and is left out."""


def write_documents(folder: Path, names: Mapping[str, Kind] = DOCUMENTS) -> None:
    """Write documents, and what is left out, into a folder."""
    contents = {name: kind.make() for name, kind in names.items()} | OTHERS
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
