"""Reads documents: the text and the pictures of PDFs with pdfium, the size of images with Pillow, Office documents as XML.

Only this module imports the libraries of the extra `sandbox`. Every function blocks, and runs on the one thread of a JobThread,
because pdfium is not thread safe.
"""

from __future__ import annotations

import ctypes
import io
import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image, UnidentifiedImageError

from ..pdfium_lock import PDFIUM
from .errors import invalid_pdf, too_many_pages, unreadable
from .job_thread import IsCancelled, JobCancelled
from .office.office_document import is_office, read_office
from .pages import DPI, Box, Page, Picture, ReadOptions, clean, with_pictures
from .pdf_streams import is_too_large

_POINTS_PER_INCH: Final = 72
_MAX_PICTURE_PIXELS: Final = 40_000_000  # a larger one is listed without its bytes: decoded it needs 4 bytes for each pixel
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_NO_OCR: Final = "*(passthrough sandbox: no text is read from images)*"


def read(document: bytes, options: ReadOptions, is_cancelled: IsCancelled) -> list[Page]:
    """Return the chosen pages of a PDF, an image, a DOCX or a PPTX.

    Raises Rejection for bytes that are none of them (or encrypted, or inflate to too much), for too many pages, and whatever
    `options.choose` raises; JobCancelled between two pages, once `is_cancelled` returns True.
    """
    if is_office(document):
        return read_office(document, options, is_cancelled)
    if is_image(document):
        return _image(document, options)
    if is_too_large(document, is_cancelled):
        raise invalid_pdf()
    try:
        with PDFIUM, pypdfium2.PdfDocument(document) as opened:
            total = len(opened)
            if total > options.max_pages:
                raise too_many_pages(total, options.max_pages)
            pages: list[Page] = []
            for index in options.choose(total):
                if is_cancelled():
                    raise JobCancelled
                pages.append(_page(opened, index, options, sum(len(page.pictures) for page in pages)))
            return pages
    except pypdfium2.PdfiumError:
        raise invalid_pdf() from None


def is_image(document: bytes) -> bool:
    """Tell whether a document is read as an image, because it is nothing else."""
    # Adobe's readers look for it in the first kilobyte; so do pdfium and Mistral's users
    return b"%PDF-" not in document[:1024] and not is_office(document)


def _page(opened: Any, index: int, options: ReadOptions, before: int) -> Page:
    """Read one page; the pages before it have `before` pictures, because picture ids count through the document."""
    with closing(opened[index]) as page:
        width, height = _pixels(page.get_width()), _pixels(page.get_height())
        with closing(page.get_textpage()) as text:
            markdown = clean(text.get_text_range())
        pictures: list[Picture] = []
        for drawn, box in _drawn(page, width, height, options.picture_min_px):
            number = before + len(pictures)
            if options.picture_limit is not None and number >= options.picture_limit:
                break
            pictures.append(Picture(f"img-{number}.jpeg", box, _jpeg(drawn) if options.with_content else b""))
    return Page(index, with_pictures(markdown, pictures), width, height, tuple(pictures))


def _pixels(points: float) -> int:
    return round(points * DPI / _POINTS_PER_INCH) if math.isfinite(points) else 0


def _drawn(page: Any, width: int, height: int, min_px: int) -> Iterator[tuple[Any, Box]]:
    """Yield the page's visible image objects, each with its box."""
    for drawn in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE]):
        left, top, right, bottom = _box(page, drawn, width, height)
        if right - left >= max(min_px, 1) and bottom - top >= max(min_px, 1):
            yield drawn, (left, top, right, bottom)


def _box(page: Any, drawn: Any, width: int, height: int) -> Box:
    """Return an object's box on the page as it is shown, clipped to the page."""
    bounds = drawn.get_bounds()
    form = drawn.container
    while form is not None:  # an object inside a form has its bounds in that form's coordinates
        bounds = form.get_matrix().on_rect(*bounds)
        form = form.container
    left, bottom, right, top = bounds
    corners = []
    for x, y in ((left, bottom), (right, top)):
        across, down = ctypes.c_int(), ctypes.c_int()
        pdfium.FPDF_PageToDevice(page, 0, 0, width, height, 0, x, y, across, down)  # applies the page's rotation and crop box
        corners.append((min(max(across.value, 0), width), min(max(down.value, 0), height)))
    (x0, y0), (x1, y1) = corners
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _jpeg(drawn: Any) -> bytes:
    """Return the picture as a JPEG; no bytes if it is too large or pdfium cannot decode it."""
    try:
        across, down = drawn.get_px_size()
        if across * down > _MAX_PICTURE_PIXELS:
            return b""
        bitmap = drawn.get_bitmap(render=False)
        bitmap.warn_on_close = False  # the image below shares its memory, and is closed before the bitmap
        with closing(bitmap), bitmap.to_pil() as shown, shown.convert("RGB") as plain:
            out = io.BytesIO()
            plain.save(out, "JPEG", quality=85)
            return out.getvalue()
    except pypdfium2.PdfiumError:
        return b""


def _image(document: bytes, options: ReadOptions) -> list[Page]:
    """Return an image as a document of one page, whose only picture is the image itself."""
    Image.init()
    try:
        with Image.open(io.BytesIO(document), formats=[name for name in _FORMATS if name in Image.OPEN]) as opened:
            width, height = opened.size
            form = opened.format or "JPEG"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise unreadable("Image has too many pixels.") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):  # SyntaxError: Pillow's for a broken PNG
        raise invalid_pdf() from None
    mime = Image.MIME.get(form, "application/octet-stream")
    picture = Picture("img-0.jpeg", (0, 0, width, height), document if options.with_content else b"", mime)
    pictures = () if options.picture_limit == 0 else (picture,)
    markdown = "\n\n".join([*(f"![{one.id}]({one.id})" for one in pictures), _NO_OCR])
    page = Page(0, markdown, width, height, pictures)
    return [page for _ in options.choose(1)]
