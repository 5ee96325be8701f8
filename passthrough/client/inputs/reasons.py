"""Says why a file that was named, or whose name ends like a document's, is none."""

from __future__ import annotations

import stat
from pathlib import Path

from ..errors import DocumentError, unreadable
from .file_type import DOCUMENT_SUFFIXES, TEXT_TYPES
from .ole_streams import ole_streams

_TYPES = "It has to be a PDF, an image, an Office document or text; the end of its name tells text (.csv, .md, .html …)."
_SPECIAL = (
    (stat.S_ISFIFO, "pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


def not_read(error: OSError) -> DocumentError:
    """Return the failure of a file or a folder that is missing, or cannot be read."""
    if isinstance(error, FileNotFoundError):
        return DocumentError("It does not exist.", "Check the name, and the folder in which this command runs.")
    return unreadable(error)


def not_a_file(mode: int) -> DocumentError:
    """Return the failure of what is neither a file nor a folder, by its mode (`st_mode`)."""
    what = next((name for is_one, name in _SPECIAL if is_one(mode)), "special file")
    return DocumentError(f"It is a {what}, not a file.", "Send its content to stdin, and name it `-`.")


def no_document(path: Path) -> DocumentError:
    """Return the failure of a file that is of no known type. Raises OSError."""
    suffix = path.suffix.lower()
    if path.stat().st_size == 0:
        return DocumentError("It is empty.")
    if "EncryptedPackage" in ole_streams(path):  # [MS-OFFCRYPTO] §2.3: the envelope of Office's passwords
        return DocumentError("It needs a password.", "Save it without one in Office.")
    if suffix in DOCUMENT_SUFFIXES:
        return DocumentError(f"It is damaged, or no {suffix} file: its content is of no known type.", _TYPES)
    if suffix in TEXT_TYPES:
        return DocumentError("It is no text, as the end of its name says.", _TYPES)
    return DocumentError("It is no type of document that is known.", _TYPES)
