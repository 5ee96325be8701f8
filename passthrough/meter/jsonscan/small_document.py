"""Reads a small JSON document at once: what stands at its wanted paths, as the scanner would find it."""

from __future__ import annotations

from typing import Any, Final

import orjson

from .paths import Mark, PathNode, Value

MAX_BYTES: Final = 8192
"""A larger document is scanned as it passes."""

_LONG: Final = 1024  # scan.KEPT_BYTES; in characters: one is spelt with one byte at least
_SHORT: Final = 170  # characters of ASCII, however they are spelt, are not longer than that
_MAX_COUNT: Final = 10**15


_CONTAINERS: Final = frozenset({dict, list})
_OBJECT, _ARRAY, _END, _LONGER = Mark.OBJECT, Mark.ARRAY, Mark.END, Mark.LONG  # before Python 3.12 an enum's look-up is dear


class _UnsureError(ValueError):
    """Something stands there whose spelling matters."""


def found(document: bytes, wanted: PathNode) -> list[tuple[str, Value]] | None:
    """Return what the scanner would emit of a document that is whole, with no blanks around it; None: let it be scanned.

    Only small objects are read here, and what is not plain goes the scanner's way: what orjson takes for an error (the scanner is
    more lenient inside what nobody wants), a name that comes twice in one object, and wanted values whose spelling decides: long
    texts, such with letters beyond ASCII, fractions.
    """
    if len(document) > MAX_BYTES or document[:1] != b"{" or document[-1:] != b"}":
        return None
    emitted: list[tuple[str, Value]] = []
    try:
        members = orjson.loads(document)
        if not _is_all(document, members):
            return None
        _take(members, wanted, emitted)
    except (ValueError, TypeError):  # TypeError: orjson reads what is deeper than it writes
        return None
    return emitted


def _is_all(document: bytes, members: dict[str, Any]) -> bool:
    r"""Tell whether all of a document is in what orjson made of it: of members with one name it keeps only the last.

    1. What it spells again to the very byte is all there. 2. So is what it spells otherwise, with as many quotes: a string has
    them at its ends and behind backslashes, however it is spelt (unless it has one as `\u0022`), and a member that is missing
    takes at least those of its name with it.
    """
    spelt = orjson.dumps(members)
    return spelt == document or (_quotes(spelt) == _quotes(document) and b"\\u0022" not in document)


def _quotes(text: bytes) -> int:
    return len(text) - len(text.replace(b'"', b""))  # before Python 3.13 this is twice as fast as to count


def _take(value: Any, node: PathNode, emitted: list[tuple[str, Value]]) -> None:
    """Tell of a container of which something is wanted, in the document's order."""
    is_object, told = type(value) is dict, node.emits
    if told:
        emitted.append((node.path, _OBJECT if is_object else _ARRAY))
    if is_object:
        named = node.named
        for name in named if len(named) == 1 else value:  # of one there is no order
            if name in named and name in value:
                below, member = named[name], value[name]
                if type(member) in _CONTAINERS:
                    if member or below.emits:
                        _take(member, below, emitted)
                elif below.emits:
                    emitted.append((below.path, _scalar(member)))
    elif node.items is not None:
        items = node.items
        for item in value:
            if type(item) in _CONTAINERS:
                _take(item, items, emitted)
            elif items.emits:
                emitted.append((items.path, _scalar(item)))
    if told:
        emitted.append((node.path, _END))


def _scalar(value: Any) -> Value:
    if value is None:
        return None
    kind, plain = type(value), value
    if kind is str:
        if len(value) > _SHORT or not value.isascii():
            if len(value) <= _LONG:
                raise _UnsureError(value)
            plain = _LONGER
    elif kind is int:
        if not -_MAX_COUNT < value < _MAX_COUNT:
            raise _UnsureError(value)
    elif kind is not bool:
        raise _UnsureError(value)
    return plain  # type: ignore[no-any-return] # seen to be a value
