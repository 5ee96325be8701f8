"""Tells which document a ZIP archive is: OpenDocument and EPUB say it themselves, Office's have their own folders of parts."""

from __future__ import annotations

import errno
import lzma
import zipfile
import zlib
from pathlib import Path
from typing import Final

from ..documents import FileType, Kind

_TAIL_BYTES: Final = 22 + (1 << 16)  # the end of the directory, and the longest comment behind it (APPNOTE 6.3.10 §4.3.16)
_MAX_DIRECTORY_BYTES: Final = 8_000_000  # of the archive's directory: each entry becomes an object ten times as large
_MAX_MIMETYPE_BYTES: Final = 200
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError)
_DAMAGED: Final = frozenset({None, errno.EINVAL})
"""bz2 gives no number; a damaged directory has zipfile seek before the file's begin."""
_OOXML: Final = "application/vnd.openxmlformats-officedocument"

_DECLARED: Final = {
    "application/epub+zip": FileType("application/epub+zip", Kind.OFFICE, ".epub"),
    "application/vnd.oasis.opendocument.text": FileType("application/vnd.oasis.opendocument.text", Kind.OFFICE, ".odt"),
    "application/vnd.oasis.opendocument.spreadsheet": FileType(
        "application/vnd.oasis.opendocument.spreadsheet", Kind.OFFICE, ".ods"
    ),
    "application/vnd.oasis.opendocument.presentation": FileType(
        "application/vnd.oasis.opendocument.presentation", Kind.OFFICE, ".odp"
    ),
}
"""What the member `mimetype` says (EPUB OCF 3.3 §4.3, OpenDocument 1.3 part 2 §3.3)."""

_PARTS: Final = {
    "word/document": FileType(f"{_OOXML}.wordprocessingml.document", Kind.OFFICE, ".docx"),
    "ppt/presentation": FileType(f"{_OOXML}.presentationml.presentation", Kind.OFFICE, ".pptx"),
    "xl/workbook": FileType(f"{_OOXML}.spreadsheetml.sheet", Kind.OFFICE, ".xlsx"),
}
"""How the names of the main parts begin (`word/document.xml`, some writers' `word/document2.xml`)."""


def zip_type(path: Path) -> FileType | None:
    """Return the type of an archive; None for another one, and for what is damaged. Raises OSError."""
    try:
        if _directory_bytes(path) > _MAX_DIRECTORY_BYTES:
            return None
        with zipfile.ZipFile(path) as archive:
            return _declared(archive) or _by_parts(archive)
    except _BROKEN:
        return None
    except OSError as error:
        if error.errno in _DAMAGED:
            return None
        raise


def _directory_bytes(path: Path) -> int:
    """Return how long an archive's directory says it is."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        tail = file.read(_TAIL_BYTES)
    end = tail.rfind(b"PK\x05\x06")
    return int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0


def _declared(archive: zipfile.ZipFile) -> FileType | None:
    if "mimetype" not in archive.namelist():
        return None
    with archive.open("mimetype") as member:
        return _DECLARED.get(member.read(_MAX_MIMETYPE_BYTES).decode("ascii", "replace").strip())


def _by_parts(archive: zipfile.ZipFile) -> FileType | None:
    for name in archive.namelist():
        for begin, found in _PARTS.items():
            if name.lower().replace("\\", "/").startswith(begin):
                return found
    return None
