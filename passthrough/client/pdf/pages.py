"""Counts the pages of a document, where that can be known before it is sent."""

from __future__ import annotations

from typing import Final

from ..documents import Document, Kind
from ..errors import DocumentError, unreadable
from .pdfium import PasswordNeededError, UnreadablePdfError, count_pages
from .tiff import count_tiff_pages

_DECRYPT: Final = "Save it without: qpdf --password=… --decrypt in.pdf out.pdf"


def page_count(document: Document) -> int | None:
    """Return how many pages a document has; None where only the API can tell: URLs, Office, a PDF that pdfium cannot open.

    Raises DocumentError for a PDF that needs a password and for a file that cannot be read, ClientError without pypdfium2.
    """
    if document.path is None or document.type is None:
        return None
    try:
        if document.type.kind is Kind.PDF:
            return count_pages(document.path)
        if document.type.mime == "image/tiff":
            return count_tiff_pages(document.path)
    except PasswordNeededError:
        raise DocumentError("It needs a password.", _DECRYPT) from None
    except UnreadablePdfError:
        return None
    except OSError as error:
        raise unreadable(error) from None
    return 1 if document.type.kind is Kind.IMAGE else None
