"""Parts of regular expressions that cross several short, unwanted members of an object in one match.

What they do not match (a chunk's border, an escape, an error, an object's end) the scanner reads step by step, with the same
result. The reach of each part is bounded, and so is the cost of a failed match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

BLANKS: Final = rb"[ \t\n\r]*+"
_COLON: Final = BLANKS + rb":" + BLANKS

# A member that is plain and short: a text, a scalar, or a container without others inside.
_TEXT: Final = rb'"[^"\\]{0,64}+"'
_PLAIN: Final = rb'[^"\\\[\]{}\1]{0,512}+'
_FLAT: Final = rb"[\[{]" + _PLAIN + rb"(?:" + _TEXT + _PLAIN + rb"){0,8}[\]}]"
_VALUE: Final = rb"(?:[-+.0-9A-Za-z]++|" + _TEXT + rb"|" + _FLAT + rb")"
_NOTHING: Final = rb"(?:\[" + BLANKS + rb"\]|\{" + BLANKS + rb"\}|null)"
_MAX_MEMBERS: Final = 24

COMMA: Final = rb","
"""Stands between two members."""

COMMA_OR_NEXT_ITEM: Final = rb"(?:,|\}" + BLANKS + rb"," + BLANKS + rb"\{)"
"""Stands between two members where the objects of an array are alike: the second may be the next object's."""

ARRAY_END: Final = rb"\}" + BLANKS + rb"\]"
"""The end of an array's last object, and of the array."""

HEAD: Final = rb'"([^"\\]{0,128}+)"' + _COLON + rb"(?=.)"
"""A member up to the first byte of its value, with its name as the group."""


def head_of_items(name: bytes) -> bytes:
    """Return the pattern of a member of this name, up to behind the opening brace of its array's first object."""
    return b'"' + re.escape(name) + b'"' + _COLON + rb"\[" + BLANKS + rb"\{"


def members(wanted: Iterable[bytes], silent: Iterable[bytes], separator: bytes) -> bytes:
    """Return the pattern of some unwanted members, each up to behind the separator: `wanted` are the names of the others.

    A wanted member that is not emitted itself (`silent`) is unwanted where it is empty.
    """
    names = b"|".join(map(re.escape, wanted))
    other = (rb'(?!"(?:' + names + rb')")' if names else b"") + rb'"[^"\\]{0,64}+"' + _COLON + _VALUE
    empty = b"|".join(map(re.escape, silent))
    if empty:
        other = rb"(?:" + other + rb'|"(?:' + empty + rb')"' + _COLON + _NOTHING + rb")"
    return rb"(?:" + BLANKS + other + BLANKS + separator + rb"){0,%d}" % _MAX_MEMBERS + BLANKS
