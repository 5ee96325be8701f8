"""Reads a body that is one JSON document, and feeds its values to a shape."""

from __future__ import annotations

from typing import Final, Protocol

from ..jsonscan import small_document
from ..jsonscan.encoding import WideScanner
from ..jsonscan.paths import PathNode, Value
from ..jsonscan.scanner import Scanner
from ..usage import Unmetered, Usage

_BLANKS: Final = b" \t\r\n"


class Shape(Protocol):
    """Finds the usage in documents of one kind: which paths are wanted, and what their values mean."""

    @property
    def wanted(self) -> PathNode:
        """The tree of the wanted paths."""
        ...

    @property
    def final(self) -> bool:
        """Whether no document behind this one, in a stream of them, has another usage."""
        ...

    def take(self, path: str, value: Value) -> None:
        """Take the value at a wanted path (scanner.Emit); never raises."""
        ...

    def usage(self, otherwise: Unmetered) -> Usage:
        """Return the usage; `otherwise` is the reason where no count was complete."""
        ...


class JsonDocument:
    """The body of a response that is one document, with one usage."""

    __slots__ = ("_scanner", "_shape", "feed")

    recognised = False
    """Whether the body shows that it should have a count."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._scanner = Scanner(shape.wanted, shape.take)
        self.feed = self._scanner.feed  # without a call of its own (pipeline.Reader)

    def end(self) -> Unmetered:
        """End the body; return the reason if there is no usage."""
        self._scanner.end()
        return Unmetered.NO_USAGE if self._scanner.whole or self._scanner.empty else Unmetered.NOT_JSON

    def usage(self, otherwise: Unmetered | None) -> Usage:
        """Return the usage; `otherwise` is the reason where no count was complete (Shape.usage)."""
        return self._shape.usage(otherwise or Unmetered.NO_USAGE)


class StrictShape(Shape, Protocol):
    """A shape whose counts hold only where nothing but blanks follows the document."""

    def drop(self) -> None:
        """Drop the counts: something follows the document."""
        ...


class StrictDocument:
    """As JsonDocument, in UTF-16 and UTF-32 too; what follows the document voids it, also where the response broke after that."""

    __slots__ = ("_scanner", "_shape", "feed")

    recognised = False
    """Whether the body shows that it should have a count."""

    def __init__(self, shape: StrictShape) -> None:
        self._shape = shape
        self._scanner = WideScanner(shape.wanted, shape.take)
        self.feed = self._scanner.feed  # without a call of its own (pipeline.Reader)

    def end(self) -> Unmetered:
        """End the body; return the reason if there is no usage."""
        self._scanner.end()
        if self._scanner.whole or self._scanner.empty:
            return Unmetered.NO_USAGE
        self._shape.drop()
        return Unmetered.NOT_JSON

    def usage(self, otherwise: Unmetered | None) -> Usage:
        """Return the usage; `otherwise` is the reason where no count was complete (Shape.usage)."""
        if self._scanner.lost:  # where reading failed, `end` was not called
            self._shape.drop()
        return self._shape.usage(otherwise or Unmetered.NO_USAGE)


def read(shape: Shape, body: bytes) -> Unmetered:
    """Read a whole body for its shape, as a JsonDocument does; return what its `end` returns."""
    found = small_document.found(body.strip(_BLANKS), shape.wanted)
    if found is None:
        return _scan(JsonDocument(shape), body)
    take = shape.take
    for path, value in found:
        take(path, value)
    return Unmetered.NO_USAGE


def read_strictly(shape: StrictShape, body: bytes) -> Unmetered:
    """As `read`, as a StrictDocument does."""
    found = small_document.found(body.strip(_BLANKS), shape.wanted)
    if found is None:
        return _scan(StrictDocument(shape), body)
    for path, value in found:
        shape.take(path, value)
    return Unmetered.NO_USAGE


def _scan(document: JsonDocument | StrictDocument, body: bytes) -> Unmetered:
    at = document.feed(body[:1])  # alone: the scanner would offer a whole document to small_document once more
    while at < len(body):
        at = document.feed(body, at)
    return document.end()
