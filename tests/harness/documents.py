"""Real PDFs and images for tests, made on the spot and the same every time."""

from __future__ import annotations

import io

from PIL import Image
from reportlab.lib.pagesizes import letter
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas


def words_of(page: int) -> str:
    """Return the text that `pdf` writes on a page (counted from 0)."""
    return f"This is page {page} of a document for tests."


def pdf(pages: int, words: str | None = None, *, picture: bytes | None = None, password: str | None = None) -> bytes:
    """Return a PDF of `pages` letter pages (1700 × 2200 pixels at 200 dpi).

    Each page carries `words` (which may hold `{page}`), or `words_of(page)`; `picture` (bytes of an image) is drawn on
    each of them, 144 × 72 points, its lower left corner one inch from the page's. `password` encrypts the document; an
    empty one locks nothing but printing and copying.
    """
    out = io.BytesIO()
    encryption = StandardEncryption(password, ownerPassword=f"owner of {password}") if password is not None else None
    canvas = Canvas(out, pagesize=letter, invariant=1, encrypt=encryption)
    for page in range(pages):
        canvas.drawString(72, 720, words_of(page) if words is None else words.format(page=page))
        if picture is not None:
            canvas.drawImage(ImageReader(io.BytesIO(picture)), 72, 72, width=144, height=72)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def image(form: str = "PNG", width: int = 200, height: int = 100) -> bytes:
    """Return an image in one of Pillow's formats (`PNG`, `JPEG`, `WEBP`, `GIF` …): a gradient, no two columns alike."""
    row = bytes(value for x in range(width) for value in (x % 256, 255 - x % 256, 128))
    out = io.BytesIO()
    Image.frombytes("RGB", (width, height), row * height).save(out, form)
    return out.getvalue()


def png(width: int = 200, height: int = 100) -> bytes:
    """Return a PNG of this size in pixels."""
    return image("PNG", width, height)


def jpeg(width: int = 200, height: int = 100) -> bytes:
    """Return a JPEG of this size in pixels."""
    return image("JPEG", width, height)
