"""Reads hostile XML piece by piece, with expat: no document type, so no entities; no tree, so no memory for depth or width."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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


def _nothing(*_: object) -> None:
    """Leave an event alone."""


def read_xml(
    pieces: Iterable[bytes],
    begin: Callable[[str, Attributes], None],
    end: Callable[[str], None] = _nothing,
    text: Callable[[str], None] = _nothing,
) -> None:
    """Call `begin`, `end` and `text` for what stands in a document, with names such as `w:p`, `a:t`.

    Raises Rejection for what is not XML, and for a document type: Office writes none, and entities need one.
    """
    parser = _parser()
    parser.StartElementHandler = lambda name, found: begin(_short(name), {_short(key): value for key, value in found.items()})
    parser.EndElementHandler = lambda name: end(_short(name))
    parser.CharacterDataHandler = text
    try:
        for piece in pieces:
            parser.Parse(piece, False)
        parser.Parse(b"", True)
    except expat.ExpatError:
        raise corrupted() from None


def root_of(pieces: Iterable[bytes]) -> str:
    """Return the name of a document's first element, and read no further. Raises Rejection as `read_xml` does."""
    names: list[str] = []
    parser = _parser()
    parser.StartElementHandler = lambda name, _: names.append(_short(name))
    try:
        for piece in pieces:
            parser.Parse(piece, False)
            if names:
                return names[0]
    except expat.ExpatError:
        raise corrupted() from None
    raise corrupted()


def _parser() -> expat.XMLParserType:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True

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
