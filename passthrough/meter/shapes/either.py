"""The usage of a response that may be OCR or chat, where one path serves both."""

from __future__ import annotations

from typing import Final

from ..jsonscan.paths import PathNode, Value, paths
from ..usage import Unmetered, Usage
from .chat import CHAT_PATHS, ChatShape
from .ocr import OCR_PATHS, OcrShape

EITHER_PATHS: Final = tuple(dict.fromkeys((*OCR_PATHS, *CHAT_PATHS)))
"""The paths of both shapes."""

_OF_OCR, _OF_CHAT = frozenset(OCR_PATHS), frozenset(CHAT_PATHS)
_WANTED: Final = paths(EITHER_PATHS)


class EitherShape:
    """The usage of a response that may be either: pages if there are any, else tokens."""

    __slots__ = ("_chat", "_ocr")

    def __init__(self, alias: str | None = None) -> None:
        """`alias`: the model's name for the prices, whatever the response says (MeterPlan.model)."""
        self._ocr = OcrShape(alias)
        self._chat = ChatShape(alias)

    @property
    def wanted(self) -> PathNode:
        """The tree of the wanted paths."""
        return _WANTED

    def take(self, path: str, value: Value) -> None:
        """Take the value at a wanted path."""
        if path in _OF_OCR:
            self._ocr.take(path, value)
        if path in _OF_CHAT:
            self._chat.take(path, value)

    def usage(self, otherwise: Unmetered) -> Usage:
        """Return pages, else tokens, else `otherwise` as the reason."""
        pages = self._ocr.usage(otherwise)
        if pages.unmetered is None:
            return pages
        tokens = self._chat.usage(otherwise)
        return pages if tokens.unmetered is not None else tokens
