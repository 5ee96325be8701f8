"""The names of outputs: what a document's name becomes, which suffixes follow it, and which names are this command's own."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import PurePath
from typing import Final

SUFFIXES: Final = (".md", ".html", ".txt", ".json", ".annotation.json")
"""What follows a base in the names of the files that are made of a document."""
PICTURES: Final = "_images"
"""What follows it in the name of the folder of pictures."""
OWN_PREFIX: Final = ".passthrough-ocr"
MANIFEST: Final = f"{OWN_PREFIX}.jsonl"
WORK_PREFIX: Final = f"{OWN_PREFIX}-work-"

MAX_BASE: Final = 255 - max(len(suffix) for suffix in SUFFIXES)
"""Bytes: file systems take names of 255."""

_END: Final = re.compile(r"(?<=.)\.[A-Za-z][A-Za-z0-9]{0,9}\Z", re.DOTALL)
_FOREIGN: Final = re.compile(r'[<>:"|?*\\]')
"""What other systems take in no name: a URL's last segment may have it."""
_PICTURE: Final = re.compile(r"[^/\\\0]{1,255}", re.DOTALL)


def stem_of(name: str) -> str:
    """Return a name without its type's end: `report.pdf` is `report`, and `2201.04234` stays, whose end is no type's."""
    return _END.sub("", name)


def safe_base(name: str, *, of_url: bool = False) -> str:
    """Return a name as a base: one component of a path, valid UTF-8, without control characters, at most MAX_BASE bytes.

    1. A byte that is no UTF-8, and a control character, are written as `%E9`.
    2. What other systems do not take, and dots at the beginning, go from the names of URLs.
    3. A name that is cut ends in a part of its hash, so that two of one beginning stay apart.
    """
    text = "".join(map(_safe, name))
    if of_url:
        text = _FOREIGN.sub("_", text).lstrip(".").strip()
    encoded = text.encode()
    if len(encoded) > MAX_BASE:
        digest = short_hash(name)
        text = encoded[: MAX_BASE - len(digest) - 1].decode(errors="ignore") + f"-{digest}"
    return text or "document"


def _safe(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"%{code - 0xDC00:02X}"
    if character == "/" or unicodedata.category(character) in {"Cs", "Zl", "Zp"}:
        return "_"
    return f"%{code:02X}" if unicodedata.category(character) == "Cc" else character


def short_hash(text: str) -> str:
    """Return 8 hexadecimal digits of a text's hash."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def folded(name: str) -> str:
    """Return what is equal for two names that a file system may take for one: without case, composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_output_of(base: str, name: str) -> bool:
    """Tell whether a relative name is one that a document of this base may have: a file beside it, or a picture."""
    if "\0" in name:
        return False
    if name.startswith(base) and name[len(base) :] in SUFFIXES:
        return PurePath(name).name == name
    folder, slash, picture = name.partition("/")
    return bool(slash) and folder == base + PICTURES and _PICTURE.fullmatch(picture) is not None and picture not in {".", ".."}


def work_name(base: str) -> str:
    """Return the name of the folder in which a document of this base is worked on."""
    return WORK_PREFIX + hashlib.sha256(folded(base).encode("utf-8", "surrogatepass")).hexdigest()[:24]
