"""Reads DOCX and PPTX: the text, the pictures and the pages that they have without being laid out."""

from __future__ import annotations

import mimetypes
import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ..errors import other_archive, too_many_pages
from ..job_thread import IsCancelled
from ..pages import Page, Picture, ReadOptions, with_pictures
from .office_page import PlacedPicture, Reader
from .slides import Slides
from .word import Word
from .zip_package import Package, is_zip

_MIMES: Final = {"image/png", "image/jpeg", "image/gif", "image/bmp", "image/tiff", "image/webp"}
_KINDS: Final[Mapping[str, tuple[str, Callable[[Package, str], Reader]]]] = {
    "w:document": ("docx", Word),
    "p:presentation": ("pptx", Slides),
}
"""The kinds of documents that are read, by the first element of their main part."""


def is_office(document: bytes) -> bool:
    """Tell whether a document is an archive, as DOCX and PPTX are; other archives are refused when they are read."""
    return is_zip(document)


def office_kind(document: bytes) -> str:
    """Return `docx` or `pptx`. Raises Rejection for any other archive."""
    package = Package(document, lambda: False)
    return _kind(package, package.main_part())[0]


def read_office(document: bytes, options: ReadOptions, is_cancelled: IsCancelled) -> list[Page]:
    """Return the chosen pages: slides of a PPTX; of a DOCX what stands between its page breaks, as it was saved.

    Pictures are there only with their bytes, as Mistral has it. Raises Rejection for what cannot be read; JobCancelled between
    two pieces of it, once `is_cancelled` returns True.
    """
    package = Package(document, is_cancelled)
    main = package.main_part()
    reader = _kind(package, main)[1](package, main)
    if reader.total > options.max_pages:
        raise too_many_pages(reader.total, options.max_pages)
    pages: list[Page] = []
    for index in options.choose(reader.total):
        found = reader.page(index)
        pictures = _pictures(package, found.pictures, options, sum(len(page.pictures) for page in pages))
        pages.append(Page(index, with_pictures(found.text, pictures), *found.size, pictures))
    return pages


def _kind(package: Package, main: str) -> tuple[str, Callable[[Package, str], Reader]]:
    try:
        return _KINDS[package.root_of(main)]
    except KeyError:
        raise other_archive() from None


def _pictures(package: Package, placed: Sequence[PlacedPicture], options: ReadOptions, before: int) -> tuple[Picture, ...]:
    """Return a page's pictures; the pages before it have `before`, because picture ids count through the document."""
    pictures: list[Picture] = []
    for one in placed if options.with_content else ():
        number = before + len(pictures)
        if options.picture_limit is not None and number >= options.picture_limit:
            break
        left, top, right, bottom = one.box
        mime = mimetypes.guess_type(posixpath.basename(one.part))[0]
        if mime in _MIMES and min(right - left, bottom - top) >= max(options.picture_min_px, 1):
            pictures.append(Picture(f"img-{number}.jpeg", one.box, package.picture(one.part), mime))
    return tuple(pictures)
