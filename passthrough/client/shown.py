"""Makes names of files and URLs safe to show: on one line, whatever bytes they have."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import Final

_MAX_LENGTH: Final = 300
_USER: Final = re.compile(r"^([^/]*//)[^/?#]*@")


def shown(name: str | os.PathLike[str]) -> str:
    """Return a name in printable characters, shortened in its middle.

    Other characters, and bytes that are no UTF-8, are shown as escapes (`\\n`, `\\xff`).
    """
    text = "".join(map(_printable, os.fspath(name)))
    return text if len(text) <= _MAX_LENGTH else f"{text[:140]}…{text[-140:]}"


def shown_url(url: str) -> str:
    """Return a URL as it is shown: without the user and the password that it may hold."""
    return shown(_USER.sub(r"\1", url))


def _printable(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":  # macOS writes narrow blanks into names
        return character
    if "\udc80" <= character <= "\udcff":  # a byte of a name that is no UTF-8 (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
