"""A response on disk, read without its pictures: their base64 stays in the file, and the JSON has references in their place.

A document of 300 scanned pages has a response of 100 MB, all of it pictures but for a few hundred KB.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from ..errors import DocumentError

NO_PAGES: Final = "The response is no OCR response: it has no list of pages."
_BLOCK: Final = 1 << 18
_PICTURE: Final = re.compile(rb'"image_base64"[ \t\r\n]{0,64}:[ \t\r\n]{0,64}"')
_MAX_PICTURE: Final = 160  # bytes of the longest match: as much of a block is looked at again with the next one
_QUOTE: Final = re.compile(rb'\\.|"', re.DOTALL)
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class ResponseFile:
    """The JSON object of a response, and the file in which the text of its pictures is.

    `mark` begins every reference in `tree`. It is random, so that no text of a response can pass for one.
    """

    path: Path
    mark: str
    tree: dict[str, Any]

    def text_of(self, value: str) -> Iterator[bytes]:
        """Yield the text behind a value of `tree`, in blocks: what it refers to, else the value itself."""
        if not value.startswith(self.mark):
            yield value.encode("utf-8", "replace")
            return
        spelt = self.spelt(value)
        if value.endswith("\\"):
            yield str(json.loads(b'"%b"' % b"".join(spelt), strict=False)).encode("utf-8", "replace")
        else:
            yield from spelt

    def spelt(self, reference: str) -> Iterator[bytes]:
        """Yield what a reference stands for as it is spelt in the file: JSON, without the quotation marks."""
        start, end, _ = reference.removeprefix(self.mark).split(":")
        with self.path.open("rb") as file:
            at = file.seek(int(start))
            while at < int(end) and (block := file.read(min(_BLOCK, int(end) - at))):
                at += len(block)
                yield block


def read_response(path: Path) -> ResponseFile:
    """Return the response in a file. Raises DocumentError where it is no JSON object with pages, and OSError."""
    found = read_json(path)
    if not isinstance(found.tree.get("pages"), list):
        raise DocumentError(NO_PAGES)
    return found


def read_json(path: Path) -> ResponseFile:
    """Return the JSON object in a file, whether it has pages or not. Raises DocumentError where it is none, and OSError."""
    mark = f"{secrets.token_hex(16)}:"
    with path.open("rb") as file:
        is_utf_16 = file.read(2) in _UTF_16  # as Windows' PowerShell stores what a program prints
        file.seek(0)
        raw = file.read() if is_utf_16 else _without_pictures(file, mark.encode())
    try:
        tree = json.loads(raw.decode("utf-16" if is_utf_16 else "utf-8-sig", "replace"), strict=False)
    except (ValueError, RecursionError):
        raise DocumentError("The response is no JSON.") from None
    if not isinstance(tree, dict):
        raise DocumentError(NO_PAGES)
    return ResponseFile(path, mark, tree)


def _without_pictures(file: BinaryIO, mark: bytes) -> bytes:
    """Return JSON in which each text of `image_base64` is a reference: mark, begin and end, and `\\` where escapes are in it."""
    copy, rest, at = bytearray(), b"", 0  # `rest` is what is read but not copied, and `at` its place in the file
    picture: _Picture | None = None
    while block := file.read(_BLOCK):
        rest += block
        done = 0
        while True:
            if picture is None:
                match = _PICTURE.search(rest, done)
                copied = match.end() if match else max(done, len(rest) - _MAX_PICTURE)
                copy += rest[done:copied]
                done = copied
                if match is None:
                    break
                picture = _Picture(at + done)
            done, is_whole = picture.end(rest, done)
            if not is_whole:
                break
            copy += picture.reference(mark, at + done)
            picture = None
        rest, at = rest[done:], at + done
    return bytes(copy + rest) if picture is None else bytes(copy)


class _Picture:
    """A text that is being skipped: where it began, and whether it has escapes."""

    __slots__ = ("has_escapes", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.has_escapes = False

    def end(self, text: bytes, at: int) -> tuple[int, bool]:
        """Return how far it goes from `at`, and whether it ends there."""
        while match := _QUOTE.search(text, at):
            if match[0] == b'"':
                return match.start(), True
            self.has_escapes = True
            at = match.end()
        return len(text) - text.endswith(b"\\", at), False  # an escape that is cut is looked at again

    def reference(self, mark: bytes, end: int) -> bytes:
        """Return what stands in its place, as it is spelt in JSON."""
        return b"%b%d:%d:%b" % (mark, self.start, end, b"\\\\" if self.has_escapes else b"")
