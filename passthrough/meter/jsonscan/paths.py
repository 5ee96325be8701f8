"""The wanted paths of a JSON document, as a tree, and the values that may stand there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from . import patterns


class Mark(Enum):
    """Stands for a value that is not kept: a container's begin or end, or a scalar longer than `MAX_KEPT_BYTES`."""

    OBJECT = "{"
    ARRAY = "["
    END = "end"
    LONG = "long"


Value = None | bool | int | Decimal | str | Mark
"""A scalar as `json.loads` returns it, but with exact decimals and with lone surrogates replaced; or a mark."""

Match = Callable[[bytes, int], "re.Match[bytes] | None"]


ANY: Final = "\0"
"""A step of a path that stands for every member of an object, whatever its name; the path is emitted with this step in it."""

_MAX_NAME: Final = 170  # bytes, which fit into scanner.MAX_KEPT_BYTES however they are escaped


class _AnyMember(dict[Any, "PathNode"]):
    """The members of an object of which every one is wanted: it has every name of a bounded length."""

    def __init__(self, below: PathNode) -> None:
        super().__init__({ANY.encode(): below})
        self._below = below

    def __len__(self) -> int:
        return 2  # several: then small_document looks at each name of the object

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and 0 < len(name.encode()) <= _MAX_NAME

    def __getitem__(self, _name: object) -> PathNode:
        return self._below

    def get(self, name: bytes, _default: object = None) -> PathNode | None:  # type: ignore[override] # only the scanner calls it
        return self._below if 0 < len(name) <= _MAX_NAME else None


@dataclass(frozen=True, slots=True)
class Transition:
    """Where a match ends that leaves the object in which it began: behind a member's name in another object."""

    node: PathNode
    """The object in which it ends."""

    left: int
    """How many containers it leaves, the innermost first."""

    entered: tuple[tuple[PathNode, bool], ...]
    """The containers around `node` that it then enters, the outermost first, and whether each is an object."""


@dataclass(slots=True, eq=False)
class PathNode:
    """One step of the wanted paths, with what is wanted below it. `emits`: the path itself is wanted.

    `first` matches from an object's opening brace, and `next` from behind a member's value, up to the first byte of another
    member's value. The one group that took part is that member's name; `transitions` says, by the group's number, in which object
    it stands: None is the same one. The match crosses up to 24 plain, short, unwanted members at once. Where nothing is to be
    emitted for them, it also crosses the border between two objects of an array, and the array's begin and end. `around` is the
    path to this node, the root first.
    """

    path: str = ""
    emits: bool = False
    around: tuple[PathNode, ...] = field(default=(), repr=False)
    members: dict[bytes, PathNode] = field(default_factory=dict)
    items: PathNode | None = None
    named: dict[str, PathNode] = field(default_factory=dict, repr=False)
    first: Match = field(init=False, repr=False)
    next: Match = field(init=False, repr=False)
    transitions: list[Transition | None] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        # A pattern takes milliseconds to compile, so the first use compiles it. Two threads may do so, with the same result.
        self.first, self.next = self._first, self._next

    def close(self) -> None:
        """Fill `named` of this node and of all below, once the tree is complete."""
        members = self.members
        self.named = members if isinstance(members, _AnyMember) else {name.decode(): below for name, below in members.items()}
        for below in (*self.members.values(), *([self.items] if self.items else ())):
            below.close()

    def _first(self, chunk: bytes, at: int) -> re.Match[bytes] | None:
        self._make()
        return self.first(chunk, at)

    def _next(self, chunk: bytes, at: int) -> re.Match[bytes] | None:
        self._make()
        return self.next(chunk, at)

    def _make(self) -> None:
        transitions: list[Transition | None] = [None]  # there is no group 0
        onward = re.compile(patterns.BLANKS + _onward(self, 0, transitions), re.DOTALL)
        inward = re.compile(_inward(self, 0, (), []), re.DOTALL)
        self.transitions = transitions
        self.first, self.next = inward.match, onward.match


def _onward(node: PathNode, left: int, transitions: list[Transition | None]) -> bytes:
    """Return the pattern from behind a member's value in `node`, and the blanks there, to a head."""
    onward = _separator(node) + _inward(node, left, (), transitions)
    if not _is_quiet_item(node):
        return onward
    *_, outer, array = (None, *node.around)
    if outer is None or array is None or array.emits or outer.items is array:
        return onward
    outward = patterns.ARRAY_END + patterns.BLANKS + _onward(outer, left + 2, transitions)
    return rb"(?:" + onward + rb"|" + outward + rb")"


def _inward(node: PathNode, left: int, entered: tuple[tuple[PathNode, bool], ...], transitions: list[Transition | None]) -> bytes:
    """Return the pattern from before a member of `node` to a head, in it or in an array's first object below."""
    silent = [name for name, child in node.members.items() if not child.emits and _is_plain(name)]
    heads = []
    for name in silent:
        array = node.members[name]
        item = array.items
        if item is not None and item.members and not item.emits:
            inside = (*entered, (node, True), (array, False))
            heads.append(patterns.head_of_items(name) + _inward(item, left, inside, transitions))
    transitions.append(Transition(node, left, entered) if left or entered else None)
    heads.append(patterns.HEAD)
    if isinstance(node.members, _AnyMember):  # None can be crossed.
        return patterns.BLANKS + rb"(?:" + rb"|".join(heads) + rb")"
    return patterns.members(node.members, silent, _separator(node)) + rb"(?:" + rb"|".join(heads) + rb")"


def _separator(node: PathNode) -> bytes:
    return patterns.COMMA_OR_NEXT_ITEM if _is_quiet_item(node) else patterns.COMMA


def _is_quiet_item(node: PathNode) -> bool:
    """Tell whether the node is every item of an array, and neither its begin nor its end is emitted."""
    return not node.emits and bool(node.around) and node.around[-1].items is node


def _is_plain(name: bytes) -> bool:
    """Tell whether the name needs no escapes."""
    return b'"' not in name and b"\\" not in name


@lru_cache(maxsize=64)
def paths(wanted: tuple[str, ...]) -> PathNode:
    """Return the tree of the wanted paths: names joined by `.`, with `[]` for every item of an array, ANY for every member.

    Examples: `usage_info.pages_processed`, `pages[].images[].image_annotation`. Where ANY stands, no member is named besides. All
    scanners share a tree.
    """
    root = PathNode()
    for path in wanted:
        node = root
        for step in re.findall(r"\[\]|[^.\[\]]+", path):
            if step == "[]":
                node.items = node = node.items or PathNode(f"{node.path}[]", around=(*node.around, node))
            elif step == ANY:
                below = PathNode(f"{node.path}.{ANY}", around=(*node.around, node))
                node.members = _AnyMember(below)
                node = below
            else:
                name = f"{node.path}.{step}" if node.path else step
                node = node.members.setdefault(step.encode(), PathNode(name, around=(*node.around, node)))
        node.emits = True
    root.close()
    return root
