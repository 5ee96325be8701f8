"""Reads a small JSON document at once: what stands at its wanted paths, as the scanner would find it."""

from __future__ import annotations

import json
from typing import Final, Never

from .wanted import Mark, Node, Value

MOST_BYTES: Final = 8192
"""A larger document is scanned as it passes."""

_LONG: Final = 1024  # scan.KEPT_BYTES; in characters: one is spelt with one byte at least
_SHORT: Final = 170  # characters of ASCII, however they are spelt, are not longer than that
_MOST_COUNT: Final = 10**15


class _UnsureError(ValueError):
    """Something stands there whose spelling matters."""


def found(document: bytes, wanted: Node) -> list[tuple[str, Value]] | None:
    """Return what the scanner would emit of a whole document that is an object; None: let it be scanned.

    Here all that is not plain goes the scanner's way: what Python's reader takes for an error (the scanner is more lenient inside
    what nobody wants), and wanted values whose spelling decides: long texts, such with letters beyond ASCII, fractions.
    """
    try:
        members = _decode(document.decode())
        emitted: list[tuple[str, Value]] = []
        _take(members, wanted, emitted)
    except (ValueError, RecursionError):
        return None
    return emitted


def _unknown(constant: str) -> Never:
    raise _UnsureError(constant)  # NaN and its like


# Objects as pairs, for keys that come twice are told twice.
_decode: Final = json.JSONDecoder(object_pairs_hook=tuple, parse_constant=_unknown).decode


def _take(value: object, node: Node, emitted: list[tuple[str, Value]]) -> None:
    """Tell of a value of which something is wanted, in the document's order."""
    kind = type(value)
    if kind is not tuple and kind is not list:
        if node.told:
            emitted.append((node.path, _scalar(value)))
        return
    if node.told:
        emitted.append((node.path, Mark.OBJECT if kind is tuple else Mark.ARRAY))
    if kind is tuple:
        named = node.named
        for key, member in value if named else ():  # type: ignore[attr-defined] # that is what a tuple is of here
            if key in named:
                _take(member, named[key], emitted)
    elif node.items is not None:
        for item in value:  # type: ignore[attr-defined] # a list
            _take(item, node.items, emitted)
    if node.told:
        emitted.append((node.path, Mark.END))


def _scalar(value: object) -> Value:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -_MOST_COUNT < value < _MOST_COUNT:
        return value
    if isinstance(value, str):
        if len(value) <= _SHORT and value.isascii():
            return value
        if len(value) > _LONG:
            return Mark.LONG
    raise _UnsureError(value)
