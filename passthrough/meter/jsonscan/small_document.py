"""Parses a small JSON document at once, with orjson, and returns what the scanner would emit."""

from __future__ import annotations

from typing import Any, Final

import orjson

from .paths import Mark, PathNode, Value

MAX_BYTES: Final = 8192
"""A larger document is scanned as it passes."""

_LONG: Final = 1024  # scanner.MAX_KEPT_BYTES, in characters: each has one byte at least
_SHORT: Final = 170  # ASCII characters, however they are escaped, are not longer than that
_MAX_COUNT: Final = 10**15


_CONTAINERS: Final = frozenset({dict, list})
_OBJECT, _ARRAY, _END, _LONGER = Mark.OBJECT, Mark.ARRAY, Mark.END, Mark.LONG  # before Python 3.12 an enum's look-up is expensive


class _UnsureError(ValueError):
    """A value whose spelling matters."""


def found(document: bytes, wanted: PathNode) -> list[tuple[str, Value]] | None:
    """Return what the scanner would emit for a whole document without blanks around it; None: scan it.

    Only small objects are parsed here, and only plain ones. The scanner gets what orjson rejects (the scanner is more lenient
    inside unwanted values), a name that comes twice in one object, and wanted values whose spelling matters: long texts, texts
    with letters beyond ASCII, fractions.
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
    r"""Tell whether orjson has kept all of a document: of members with the same name it keeps only the last.

    1. It has if it writes the same bytes again. 2. It has if it writes other bytes with as many quotes: a string has quotes at
    its ends and behind backslashes, however it is spelt (unless one is spelt `\u0022`), and a lost member takes at least the
    quotes of its name with it.
    """
    spelt = orjson.dumps(members)
    return spelt == document or (_quotes(spelt) == _quotes(document) and b"\\u0022" not in document)


def _quotes(text: bytes) -> int:
    return len(text) - len(text.replace(b'"', b""))  # before Python 3.13 this is twice as fast as bytes.count


def _take(value: Any, node: PathNode, emitted: list[tuple[str, Value]]) -> None:
    """Emit what is wanted of a container, in the document's order."""
    is_object, emits = type(value) is dict, node.emits
    if emits:
        emitted.append((node.path, _OBJECT if is_object else _ARRAY))
    if is_object:
        named = node.named
        for name in named if len(named) == 1 else value:  # one name has no order
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
    if emits:
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
