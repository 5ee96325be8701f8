"""What is wanted of a JSON document: paths, and what may stand there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Final


class Mark(Enum):
    """What stands for a value that is not kept: a container's begin, its end, or a scalar beyond `KEPT_BYTES`."""

    OBJECT = "{"
    ARRAY = "["
    END = "end"
    LONG = "long"


Value = None | bool | int | Decimal | str | Mark
"""A scalar, as `json.loads` gives it but with exact decimals, and lone surrogates replaced; or a mark."""


# A member that is plain and short, up to and with the comma behind it: a text, a scalar, or a container without others inside.
_TEXT: Final = rb'"[^"\\]{0,64}+"'
_FLAT: Final = rb'[\[{][^"\\\[\]{}\1]*+(?:' + _TEXT + rb'[^"\\\[\]{}\1]*+){0,8}+[\]}]'
_VALUE: Final = rb"(?:[-+.0-9A-Za-z]++|" + _TEXT + rb"|" + _FLAT + rb")"
_MEMBER: Final = rb'[ \t\n\r]*+%b"[^"\\]{0,64}+"[ \t\n\r]*+:[ \t\n\r]*+' + _VALUE + rb"[ \t\n\r]*+,"
_HEAD: Final = rb'[ \t\n\r]*+"([^"\\]{0,128}+)"[ \t\n\r]*+:[ \t\n\r]*+(?=.)'

Match = Callable[[bytes, int], "re.Match[bytes] | None"]

_NEVER: Final[Match] = re.compile(rb"(?!)").match


@dataclass(slots=True)
class Node:
    """One step of the wanted paths: what is wanted below it. `told` tells that the path itself is wanted."""

    path: str = ""
    told: bool = False
    members: dict[bytes, Node] = field(default_factory=dict)
    items: Node | None = None
    named: dict[str, Node] = field(default_factory=dict)
    first: Match = _NEVER
    next: Match = _NEVER

    def close(self) -> None:
        """Make `named`, `first` and `next` of this and of all below, once everything that is wanted is known.

        They match, behind an object's opening brace or behind a member's value, up to a member's first byte of its value, with
        its name as the group: members that nobody wants and that lie open are crossed on the way, at most 24 of them. What they
        do not match (a border, an escape, an error, an object's end) goes the long way, byte by byte, with the same result.
        """
        self.named = {name.decode(): below for name, below in self.members.items()}
        names = b"|".join(re.escape(name) for name in self.members)
        member = _MEMBER % (b'(?!"(?:%b)")' % names if names else b"")
        way = rb"(?:" + member + rb"){0,24}" + _HEAD
        self.first = re.compile(way, re.DOTALL).match
        self.next = re.compile(rb"[ \t\n\r]*+," + way, re.DOTALL).match
        for below in (*self.members.values(), *([self.items] if self.items else ())):
            below.close()


def paths(wanted: Iterable[str]) -> Node:
    """Return the tree of the wanted paths: names joined by `.`, with `[]` for every item of an array.

    `usage_info.pages_processed`, `pages[].images[].image_annotation`. The tree is built once and shared by all scanners.
    """
    root = Node()
    for path in wanted:
        node = root
        for step in re.findall(r"\[\]|[^.\[\]]+", path):
            if step == "[]":
                node.items = node = node.items or Node(f"{node.path}[]")
            else:
                name = f"{node.path}.{step}" if node.path else step
                node = node.members.setdefault(step.encode(), Node(name))
        node.told = True
    root.close()
    return root
