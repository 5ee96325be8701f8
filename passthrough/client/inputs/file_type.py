"""Tells what type of document a file is: by its content, and text by the end of its name, because text has no mark of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..documents import IMAGE_SUFFIXES, FileType, Kind
from .ole_streams import OLE_MARK, ole_streams
from .zip_type import zip_type

_HEAD_BYTES: Final = 8192
_PDF: Final = FileType("application/pdf", Kind.PDF, ".pdf")
_BMP: Final = FileType("image/bmp", Kind.IMAGE, ".bmp")
_WEBP: Final = FileType("image/webp", Kind.IMAGE, ".webp")
_AVIF: Final = FileType("image/avif", Kind.IMAGE, ".avif")
_HEIC: Final = FileType("image/heic", Kind.IMAGE, ".heic")
_GIF: Final = FileType("image/gif", Kind.IMAGE, ".gif")
_TIFF: Final = FileType("image/tiff", Kind.IMAGE, ".tiff")
_DOC: Final = FileType("application/msword", Kind.OFFICE, ".doc")
_PPT: Final = FileType("application/vnd.ms-powerpoint", Kind.OFFICE, ".ppt")
_XLS: Final = FileType("application/vnd.ms-excel", Kind.OFFICE, ".xls")

_MARKS: Final = (
    (b"\x89PNG\r\n\x1a\n", FileType("image/png", Kind.IMAGE, ".png")),
    (b"\xff\xd8\xff", FileType("image/jpeg", Kind.IMAGE, ".jpg")),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"II*\0", _TIFF),
    (b"MM\0*", _TIFF),
    (b"II+\0", _TIFF),  # BigTIFF
    (b"MM\0+", _TIFF),
    (b"{\\rtf", FileType("application/rtf", Kind.OTHER, ".rtf")),
)
"""The types that their first bytes tell."""

_BRANDS: Final = {
    **dict.fromkeys((b"avif", b"avis"), _AVIF),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), _HEIC),
}
"""What the brands of an ISO base media file mean (ISO/IEC 23008-12 §10, AVIF §6); `mif1` may be either: another brand tells."""

_STREAMS: Final = {"WordDocument": _DOC, "PowerPoint Document": _PPT, "Workbook": _XLS, "Book": _XLS}
"""The streams of the OLE files of Office 97 to 2003; what has none of them is a message, an installer, a password's envelope."""

_BMP_HEADERS: Final = frozenset({12, 40, 52, 56, 64, 108, 124})
_CONTROLS: Final = frozenset(range(32)) - frozenset(b"\t\n\x0c\r\x1b")
_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")

TEXT_TYPES: Final = {
    ".txt": FileType("text/plain", Kind.OTHER, ".txt"),
    ".md": FileType("text/markdown", Kind.OTHER, ".md"),
    ".csv": FileType("text/csv", Kind.OTHER, ".csv"),
    ".tsv": FileType("text/tab-separated-values", Kind.OTHER, ".tsv"),
    ".html": FileType("text/html", Kind.OTHER, ".html"),
    ".htm": FileType("text/html", Kind.OTHER, ".html"),
    ".xml": FileType("application/xml", Kind.OTHER, ".xml"),
    ".fb2": FileType("application/x-fictionbook+xml", Kind.OTHER, ".fb2"),
    ".opml": FileType("text/x-opml", Kind.OTHER, ".opml"),
    ".tex": FileType("application/x-tex", Kind.OTHER, ".tex"),
    ".bib": FileType("application/x-bibtex", Kind.OTHER, ".bib"),
    ".rst": FileType("text/x-rst", Kind.OTHER, ".rst"),
    ".ipynb": FileType("application/x-ipynb+json", Kind.OTHER, ".ipynb"),
}
"""The types that only the end of a name tells, where the content is text."""


DOCUMENT_SUFFIXES: Final = IMAGE_SUFFIXES | {
    *(".pdf", ".heif", ".rtf", ".epub"),
    *(".docx", ".pptx", ".xlsx", ".odt", ".ods", ".odp", ".doc", ".ppt", ".xls"),
}
"""The ends of the names of documents that their content tells: a file with such a name and another content is damaged."""


def file_type(path: Path) -> FileType | None:
    """Return the type of a file: by its content, else by the end of its name. None: no document. Raises OSError."""
    return content_type(path) or _text_type(path)


def content_type(path: Path) -> FileType | None:
    """Return the type that a file's content tells, whatever its name. None: text, or no document. Raises OSError."""
    head = _head(path)
    for mark, found in _MARKS:
        if head.startswith(mark):
            return found
    if head.startswith(b"PK\x03\x04"):
        return zip_type(path)
    if head.startswith(OLE_MARK):
        return next((_STREAMS[name] for name in ole_streams(path) if name in _STREAMS), None)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _WEBP
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return _BMP
    if head[4:8] == b"ftyp":
        return _branded(head)
    # Adobe's readers look for it in the first kilobyte; text that is about PDFs may have it there, too
    is_text_about_it = path.suffix.lower() in TEXT_TYPES and not head.startswith(b"%PDF-")
    return _PDF if b"%PDF-" in head[:1024] and not is_text_about_it else None


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _branded(head: bytes) -> FileType | None:
    """Return the type of an ISO base media file: its major brand's, else that of the first compatible one that is known."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, end, 4))]
    return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), None)


def _text_type(path: Path) -> FileType | None:
    found = TEXT_TYPES.get(path.suffix.lower())
    return found if found is not None and _is_text(_head(path)) else None


def _is_text(head: bytes) -> bool:
    """Tell whether bytes look like text of any encoding: UTF-16 has its mark, the others no control characters."""
    return bool(head) and (head.startswith(_BOMS) or not _CONTROLS.intersection(head))
