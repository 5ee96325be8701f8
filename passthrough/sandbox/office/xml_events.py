"""Reads hostile XML piece by piece, with expat: no document type, so no entities; no tree, so no memory for what is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final
from xml.parsers import expat

from ..errors import corrupted

Attributes = dict[str, str]
"""The attributes of an element, by their short names."""

_SHORT: Final = (
    ("wordprocessingml", "w"),
    ("drawingml", "a"),
    ("presentationml", "p"),
    ("markup-compatibility", "mc"),
    ("officeDocument/2006/relationships", "r"),
    ("officeDocument/relationships", "r"),
)
"""Words within a namespace, transitional (schemas.openxmlformats.org) or strict (purl.oclc.org), and what it is called here."""

_ENCODINGS: Final = {"utf-8", "utf-16", "us-ascii", "iso-8859-1"}  # Office writes the first two (ECMA-376 part 2, §9.1)
_MAX_ELEMENTS: Final = 1_000_000  # several times what a thousand pages have
_MAX_DEPTH: Final = 256
_MAX_ATTRIBUTES: Final = 256
_MAX_TOKEN_BYTES: Final = 2_000_000  # expat before 2.6 begins an unfinished one once more with each piece (CVE-2023-52425)


def _nothing(*_: object) -> None:
    """Leave an event alone."""


class XmlReader:
    """Reads the parts of one document, whose elements are bounded together: in number, in depth, in attributes."""

    def __init__(self, max_elements: int = _MAX_ELEMENTS) -> None:
        self._left = max_elements
        self._depth = 0

    def read(
        self,
        pieces: Iterable[bytes],
        begin: Callable[[str, Attributes], None],
        end: Callable[[str], None] = _nothing,
        text: Callable[[str], None] = _nothing,
    ) -> None:
        """Call `begin`, `end` and `text` for what stands in a part, with names such as `w:p`, `a:t`.

        Raises Rejection for what is not XML, is beyond the bounds, or has a document type: Office writes none, and entities need
        one.
        """

        def begun(name: str, found: list[str]) -> None:
            self._left -= 1
            self._depth += 1
            if self._left < 0 or self._depth > _MAX_DEPTH or len(found) > 2 * _MAX_ATTRIBUTES:
                raise corrupted()
            begin(_short(name), {_short(found[at]): found[at + 1] for at in range(0, len(found), 2)} if found else {})

        def ended(name: str) -> None:
            self._depth -= 1
            end(_short(name))

        self._depth = 0
        parser = _parser()
        parser.StartElementHandler = begun
        parser.EndElementHandler = ended
        parser.CharacterDataHandler = text
        try:
            for _ in _parsed(parser, pieces):
                pass
            parser.Parse(b"", True)
        except expat.ExpatError:
            raise corrupted() from None


def root_of(pieces: Iterable[bytes]) -> str:
    """Return the name of a part's first element, and read hardly further. Raises Rejection as `XmlReader.read` does."""
    names: list[str] = []
    parser = _parser()

    def begun(name: str, _: list[str]) -> None:
        names.append(_short(name))
        parser.StartElementHandler = None

    parser.StartElementHandler = begun
    try:
        for _ in _parsed(parser, pieces):
            if names:
                return names[0]
    except expat.ExpatError:
        raise corrupted() from None
    raise corrupted()


def _parsed(parser: expat.XMLParserType, pieces: Iterable[bytes]) -> Iterator[None]:
    """Parse one piece after the other. Raises Rejection for a tag or a comment that is too long."""
    fed = 0
    for piece in pieces:
        parser.Parse(piece, False)
        fed += len(piece)
        if fed - parser.CurrentByteIndex > _MAX_TOKEN_BYTES:
            raise corrupted()
        yield


def _parser() -> expat.XMLParserType:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.ordered_attributes = True

    def refuse(*_: object) -> None:
        raise corrupted()

    def declared(_: str, encoding: str | None, __: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise corrupted()

    parser.StartDoctypeDeclHandler = refuse
    parser.XmlDeclHandler = declared
    return parser


@lru_cache(maxsize=4096)
def _short(name: str) -> str:
    namespace, _, local = name.rpartition(" ")
    if not namespace:
        return local
    return f"{next((short for word, short in _SHORT if word in namespace), '')}:{local}"
