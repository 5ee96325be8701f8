"""Plans the parts in which a document is sent: one, unless it is beyond what the API takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..documents import Document
from ..errors import FULL_DISK, DocumentError, unreadable
from ..page_ranges import PageRanges, ranges_of
from .pages import page_count
from .pdfium import CutError, PasswordNeededError, UnreadablePdfError, cut


@dataclass(frozen=True, slots=True)
class Limits:
    """What the API takes at most in one document: bytes of its file, and pages, whether they are asked for or not."""

    max_bytes: int = 50_000_000
    max_pages: int = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a document: what is sent.

    `path` is its file, None for a URL. `pages` is the request's field of that name, None: it is not sent. `taken` are the
    document's pages of which a cut part is made, in order; None: it is the document itself, whose pages count for themselves.
    """

    path: Path | None
    url: str | None
    size_bytes: int
    pages: PageRanges | None
    taken: tuple[int, ...] | None = None


def plan_parts(document: Document, wanted: PageRanges | None, limits: Limits, folder: Path) -> list[Part]:
    """Return the parts of a document, of which `wanted` pages are asked for (None: all).

    Beyond the limits, files of the wanted pages alone are cut, `part-0.pdf` and so on in `folder`: the same ones for the same
    document, pages and limits. Raises DocumentError where that cannot be done, ClientError without pypdfium2.
    """
    if document.path is None:
        return [Part(None, document.url, 0, wanted)]
    size, count = _size(document.path), page_count(document)
    chosen = _chosen(document, size, count, wanted, limits)
    if count is None or chosen is None:
        return [Part(document.path, None, size, wanted)]
    if size <= limits.max_bytes and (count <= limits.max_pages or document.is_image):
        return [Part(document.path, None, size, ranges_of(chosen) if wanted is not None else None)]
    expected = max(-(-len(chosen) // limits.max_pages), -(-size * len(chosen) // (count * limits.max_bytes)))
    return _cut(document.path, _shares(chosen, expected), limits, folder)


def pages_to_bill(document: Document, wanted: PageRanges | None, limits: Limits) -> int | None:
    """Return how many pages of a document are asked for, None where only the API can count them.

    Raises as `plan_parts` does, but for what shows only when a document is cut.
    """
    if document.path is None:
        return None
    chosen = _chosen(document, _size(document.path), page_count(document), wanted, limits)
    return None if chosen is None else len(chosen)


def _chosen(document: Document, size: int, count: int | None, wanted: PageRanges | None, limits: Limits) -> Sequence[int] | None:
    """Return the pages that are asked for, None where their number is not known. Raises DocumentError where there are none."""
    if size > limits.max_bytes and (count is None or document.is_image):
        raise DocumentError(f"It is too large: {_megabytes(size)}, and the API takes {_megabytes(limits.max_bytes)}.")
    if count is None:
        return None
    chosen = range(count) if wanted is None else wanted.of(count)
    if not chosen:
        pages = "1 page" if count == 1 else f"{count} pages"
        raise DocumentError(f"It has {pages}, counted from 0: {wanted} is beyond its end.", "Choose others with --pages.")
    return chosen


def _cut(path: Path, shares: Sequence[list[int]], limits: Limits, folder: Path) -> list[Part]:
    """Cut a file of each share of pages; where one is too large, of its halves."""
    parts: list[Part] = []
    waiting = list(reversed(shares))
    while waiting:
        pages = waiting.pop()
        part = folder / f"part-{len(parts)}.pdf"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            size = cut(path, pages, part)
        except OSError as error:
            why = f"It cannot be cut into parts: {error.strerror or error}."
            raise DocumentError(why, "Make space, or check permissions.", ends_run=error.errno in FULL_DISK) from None
        except (CutError, UnreadablePdfError, PasswordNeededError):
            raise DocumentError("It cannot be cut into parts: it is damaged.", "Repair it: qpdf in.pdf out.pdf") from None
        if size <= limits.max_bytes:
            parts.append(Part(part, None, size, None, tuple(pages)))
        elif len(pages) == 1:
            part.unlink()
            raise DocumentError(
                f"Its page {pages[0]} alone is too large: {_megabytes(size)}, and the API takes {_megabytes(limits.max_bytes)}."
            )
        else:
            waiting.extend(reversed(_shares(pages, 2)))
    return parts


def _shares(pages: Sequence[int], number: int) -> list[list[int]]:
    """Return pages in so many shares of nearly the same length, none empty."""
    number = min(number, len(pages))
    return [list(pages[len(pages) * at // number : len(pages) * (at + 1) // number]) for at in range(number)]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise unreadable(error) from None


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"
