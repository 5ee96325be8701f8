"""Reads a body that is one JSON document, for its shape."""

from __future__ import annotations

from typing import Final, Protocol

from ..jsonscan import small_document
from ..jsonscan.paths import PathNode, Value
from ..jsonscan.scanner import Scanner
from ..usage import Unmetered, Usage

_BLANKS: Final = b" \t\r\n"


class Shape(Protocol):
    """What a usage looks like in documents of one kind."""

    @property
    def wanted(self) -> PathNode:
        """The paths that are looked for."""
        ...

    def take(self, path: str, value: Value) -> None:
        """Take what stands at a wanted path (scan.Emit); never raises."""
        ...

    def usage(self, otherwise: Unmetered) -> Usage:
        """Return the usage that was found; where no count was complete, `otherwise` is why."""
        ...


class JsonDocument:
    """The body of an answer that is one document, with one usage."""

    __slots__ = ("_scanner", "_shape", "feed")

    recognised = False
    """Whether the body shows that a count was to be expected."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._scanner = Scanner(shape.wanted, shape.take)
        self.feed = self._scanner.feed  # nothing stands between (tap.Reader)

    def end(self) -> Unmetered:
        """Say that no more bytes come; return why there is no usage, if there is none."""
        self._scanner.end()
        return Unmetered.NO_USAGE if self._scanner.whole or self._scanner.empty else Unmetered.NOT_JSON

    def usage(self, otherwise: Unmetered | None) -> Usage:
        """Return the usage; where no count was complete, `otherwise` is why."""
        return self._shape.usage(otherwise or Unmetered.NO_USAGE)


def read(shape: Shape, body: bytes) -> Unmetered:
    """Read a body that is here whole, for its shape, as a Document does; return what it says at its end."""
    found = small_document.found(body.strip(_BLANKS), shape.wanted)
    if found is None:
        document = JsonDocument(shape)
        at = document.feed(body[:1])  # by itself: a document that comes whole would be offered to `small` once more
        while at < len(body):
            at = document.feed(body, at)
        return document.end()
    take = shape.take
    for path, value in found:
        take(path, value)
    return Unmetered.NO_USAGE
