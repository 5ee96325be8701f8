"""The usage of a response that may be OCR or chat, where one path serves both."""

from __future__ import annotations

from typing import Final

from ..jsonscan.paths import PathNode, Value, paths
from ..plan import PAGES_HEADER
from ..usage import Unmetered, Usage, has_counts
from .chat import CHAT_PATHS, ChatShape
from .ocr import OCR_PATHS, OcrShape
from .values import Fields

EITHER_PATHS: Final = tuple(dict.fromkeys((*OCR_PATHS, *CHAT_PATHS)))
"""The paths of both shapes."""

_OF_OCR, _OF_CHAT = frozenset(OCR_PATHS), frozenset(CHAT_PATHS)
_WANTED: Final = paths(EITHER_PATHS)


class EitherShape:
    """The usage of a response that may be either: pages if there are any, else tokens, else the pages of its head."""

    __slots__ = ("_chat", "_fields", "_ocr", "_pages_header")

    def __init__(self, alias: str | None = None, fields: Fields | None = None, pages_header: bytes = PAGES_HEADER) -> None:
        """`alias`, `fields`, `pages_header`: as OcrShape's."""
        self._ocr = OcrShape(alias)
        self._chat = ChatShape(alias)
        self._fields = fields
        self._pages_header = pages_header

    @property
    def wanted(self) -> PathNode:
        """The tree of the wanted paths."""
        return _WANTED

    @property
    def final(self) -> bool:
        """Whether no document behind this one, in a stream, has another usage: see document.Shape."""
        return self._chat.final

    def take(self, path: str, value: Value) -> None:
        """Take the value at a wanted path."""
        if path in _OF_OCR:
            self._ocr.take(path, value)
        if path in _OF_CHAT:
            self._chat.take(path, value)

    def usage(self, otherwise: Unmetered) -> Usage:
        """Return pages, else tokens, else the head's pages, else `otherwise` as the reason."""
        pages = self._ocr.usage(otherwise)
        if pages.unmetered is None:
            return pages
        tokens = self._chat.usage(otherwise)
        if has_counts(tokens):
            return tokens
        return self._ocr.with_header(pages, self._fields, self._pages_header)
