"""The names of picture files: safe on every system, whatever a response calls its pictures, and each only once."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import Final
from urllib.parse import quote

_MAX_STEM: Final = 80
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_]+")
_END: Final = re.compile(r"\.[A-Za-z0-9]{1,5}\Z")
_RESERVED: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9]|conin|conout)\Z", re.IGNORECASE)  # on Windows: devices


class PictureNames:
    """The names of one folder, which are apart also where a file system does not tell upper from lower case."""

    __slots__ = ("_names", "_next")

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._next: dict[str, int] = {}

    def new(self, id: str, ends: tuple[str, ...]) -> str:
        """Return a new name for a picture: of its id, with the end that it came with where that is right, else the usual one."""
        found = _END.search(id)
        end = found[0] if found and found[0].lower() in ends else ends[0]
        stem = safe_stem(id)
        name = f"{stem}{end}"
        number = self._next.get(name.lower(), 2)
        while name.lower() in self._names:
            name = f"{stem}-{number}{end}"
            number += 1
        self._next[f"{stem}{end}".lower()] = number
        self._names.add(name.lower())
        return name


def safe_stem(id: str) -> str:
    """Return the stem of a file's name: ASCII letters, digits, `-` and `_`, at most 80 of them, and no device of Windows."""
    last = id[-4 * _MAX_STEM :] if "/" in id or "\\" in id else id[: 4 * _MAX_STEM]
    last = re.split(r"[/\\]", last.rstrip("/\\"))[-1]
    plain = unicodedata.normalize("NFKD", _END.sub("", last)).encode("ascii", "ignore").decode()
    stem = _UNSAFE.sub("-", plain).strip("-")[:_MAX_STEM].rstrip("-") or "image"
    return f"image-{stem}" if _RESERVED.match(stem) else stem


def link(folder: str, name: str) -> str:
    """Return the relative link to a file in a folder, of characters that neither Markdown nor HTML reads as its own."""
    return "/".join(quote(os.fsencode(part), safe="") for part in (folder, name))
