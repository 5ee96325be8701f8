"""The door of pdfium: opens PDFs by their path, and cuts pages out of them, one user at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from ...extras import install_command
from ...pdfium_lock import PDFIUM
from ..errors import ClientError


class UnreadablePdfError(Exception):
    """The file is no PDF that pdfium can open."""


class PasswordNeededError(Exception):
    """The file is encrypted, and opens only with a password."""


class CutError(Exception):
    """Pages could not be copied out of a PDF."""


def check_installed() -> None:
    """Raise ClientError, with the command that installs it, where pypdfium2 is missing."""
    _library()


def count_pages(path: Path) -> int:
    """Return how many pages a PDF has.

    Raises UnreadablePdfError, PasswordNeededError, OSError where the file cannot be read, ClientError without pypdfium2.
    """
    with PDFIUM, _opened(_library(), path) as pdf:
        return len(pdf)


def cut(path: Path, pages: Sequence[int], into: Path) -> int:
    """Write pages of a PDF (counted from 0, in this order) to a file of their own; return its size in bytes.

    The source is read from its file as pages need it, and closed afterwards: in memory are the parts of these pages alone. What a
    reader typed into fields is drawn into the pages, and stays visible. What belongs to the document as a whole is not copied:
    bookmarks, attachments, which layers are hidden. Raises
    what `count_pages` does, CutError, and OSError also where the file cannot be written.
    """
    library = _library()
    with PDFIUM, _opened(library, path) as pdf, closing(library.PdfDocument.new()) as part, into.open("wb") as file:
        target = _Target(file)
        try:
            _draw_fields(library.raw, pdf, pages)
            part.import_pages(pdf, list(pages))
            part.save(target)
        except library.PdfiumError as error:
            raise target.error or CutError(str(error)) from error
        if target.error is not None:
            raise target.error
        return target.size_bytes


def _draw_fields(raw: Any, pdf: Any, pages: Sequence[int]) -> None:
    """Draw the fields of forms into their pages: copies of pages have no form, without which pdfium shows no field of theirs."""
    if pdf.get_formtype() == raw.FORMTYPE_NONE:
        return
    pdf.init_forms()  # it also draws what was typed where the file only has the value
    for number in pages:
        with closing(pdf[number]) as page:
            if _has_fields(raw, page):
                raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY)


def _has_fields(raw: Any, page: Any) -> bool:
    """Tell whether a page has fields. Other annotations, links for example, are copied as they are, and lost by drawing them."""
    for number in range(raw.FPDFPage_GetAnnotCount(page)):
        annotation = raw.FPDFPage_GetAnnot(page, number)
        is_field = raw.FPDFAnnot_GetSubtype(annotation) == raw.FPDF_ANNOT_WIDGET
        raw.FPDFPage_CloseAnnot(annotation)
        if is_field:
            return True
    return False


class _Target:
    """Writes what pdfium saves: an error may not be raised through its C code, and is kept."""

    def __init__(self, file: BinaryIO) -> None:
        self.size_bytes = 0
        self.error: OSError | None = None
        self._file = file

    def write(self, content: Any) -> None:
        """Write one piece."""
        if self.error is None:
            try:
                self._file.write(content)
                self.size_bytes += len(content)
            except OSError as error:
                self.error = error


def _library() -> Any:
    try:
        import pypdfium2  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise ClientError(f"To read PDFs, pypdfium2 is needed.\n  Install it: {install_command('ocr')}") from None
    return pypdfium2


@contextmanager
def _opened(library: Any, path: Path) -> Iterator[Any]:
    path.open("rb").close()  # pdfium does not say why it could not read
    try:
        pdf = library.PdfDocument(path.absolute())  # by its path, so that it is not read into memory
    except library.PdfiumError as error:
        if error.err_code == library.raw.FPDF_ERR_PASSWORD:
            raise PasswordNeededError from None
        raise UnreadablePdfError(str(error)) from None
    with closing(pdf):
        yield pdf
