"""An incremental JSON scanner: emits the values at a few wanted paths of a passing document of any size.

The cost model: most bytes of a response stand in long strings (base64, markdown), so `bytes.find` crosses strings. Unwanted
containers are crossed in windows, by C calls that reduce a window to its brackets. Only the members of wanted containers are
looked at one by one. Memory is bounded: a stack as deep as the longest wanted path, a depth count below it, and one bounded
token that a chunk's border cut.

It checks the grammar around everything on the path to a wanted value, and the wanted values themselves. In unwanted values it
looks only at strings and depth, so `[1 2}` passes there, as does `12x` for a member. The result never depends on where the
chunks' borders are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from . import small_document
from .numbers import scalar
from .paths import Mark, PathNode, Transition, Value
from .skip import Skip, flat
from .strings import closing, escapes, text

Emit = Callable[[str, Value], None]
"""Takes a wanted path and the value found there, in the document's order; a duplicated key comes again."""

MAX_KEPT_BYTES: Final = 1024
"""The longest key or wanted scalar, in bytes as spelt. A wanted key, escaped throughout, must fit: 170 characters."""

STEPS: Final = 1000
"""The work that one `feed` does before it returns early: a step takes about a microsecond."""

_STEP_BITS: Final = 7  # 128 bytes of short members are about a step
_QUOTE, _BACKSLASH, _COMMA, _COLON = b'"\\,:'
_OPENING_BRACE, _CLOSING_BRACE = b"{}"
_OPENING, _CLOSING = frozenset(b"{["), frozenset(b"}]")
_BOM: Final = b"\xef\xbb\xbf"
_BLANKS: Final = frozenset(b" \t\n\r")

_BLANK: Final = re.compile(rb"[ \t\n\r]*+").match
_TOKEN: Final = re.compile(rb"[-+.0-9A-Za-z]*+").match


class Scanner:
    """Emits what stands at the wanted paths of one JSON document, fed in pieces of any size.

    A wanted container is emitted at its begin (`Mark.OBJECT`, `Mark.ARRAY`) and at its end (`Mark.END`). A path matches only
    through the containers that it names: an object has no items. Never raises.
    """

    __slots__ = (
        "_bom", "_child", "_emit", "_escaped", "_in_object", "_kept", "_node", "_skip", "_stack", "_state", "_steps",
    )  # fmt: skip

    def __init__(self, wanted: PathNode, emit: Emit) -> None:
        self._emit = emit
        self._state: _State = _start
        self._stack: list[tuple[PathNode | None, bool]] = []
        self._node: PathNode | None = None  # the wanted container that we are in, None outside the document
        self._in_object = False
        self._child: PathNode | None = wanted  # of the value that comes next, or that we are in
        self._skip: Skip  # the unwanted container that we are in
        self._kept: bytearray | None = None
        self._escaped = False  # the chunk's border is between a backslash and what it escapes
        self._bom = 0
        self._steps = 0

    def feed(self, chunk: bytes, at: int = 0, steps: int = STEPS) -> int:
        """Scan `chunk` from `at` on; return the position reached, which is before the end if `steps` did not suffice."""
        size = len(chunk)
        self._steps = steps
        if self._state is _start and not (at or self._bom):
            at = self._small(chunk)
        while at < size and self._steps > 0:
            self._steps -= 1
            at = self._state(self, chunk, at)
        return at

    def peek(self, buffer: bytearray, size: int) -> bool:
        """Scan the first bytes of `buffer` if they lie wholly inside an unwanted string; else return False."""
        if self._state is _skip:
            inside = self._skip.inside
        else:
            inside = self._state is _string and self._kept is None and not self._escaped
        return inside and buffer[size - 1] != _BACKSLASH and buffer.find(b'"', 0, size) < 0

    def _small(self, chunk: bytes) -> int:
        """Read a chunk that is a whole small document, at a fraction of the cost; return 0 if it must be scanned."""
        found = None if self._child is None else small_document.found(chunk, self._child)
        if found is None:
            return 0
        for path, value in found:
            self._emit(path, value)
        self._state = _after
        self._steps -= len(chunk) >> 6
        return len(chunk)

    def end(self) -> None:
        """End the document: a number that is the whole document ends only here. Idempotent."""
        if self._state is _scalar and self._node is None:
            self._state = _after
            _scalar_end(self)

    @property
    def left(self) -> int:
        """How many steps of the last `feed` are left."""
        return self._steps

    @property
    def lost(self) -> bool:
        """Whether the bytes are not JSON: nothing more will be emitted."""
        return self._state is _failed

    @property
    def whole(self) -> bool:
        """Whether one value has ended, with nothing but blanks after it."""
        return self._node is None and self._state is _after

    @property
    def empty(self) -> bool:
        """Whether only blanks have come."""
        return self._node is None and (self._state is _value or (self._state is _start and self._bom in (0, len(_BOM))))


_State = Callable[[Scanner, bytes, int], int]
"""A state: does one step from a position before the chunk's end, and returns the next position."""

# The states are functions of this module, not methods: a bound method kept in its own object is a cycle, for every exchange.


def _fail(scanner: Scanner) -> int:
    scanner._state = _failed
    return 0


def _failed(_scanner: Scanner, chunk: bytes, _at: int) -> int:
    """Not JSON: the rest is ignored."""
    return len(chunk)


def _start(scanner: Scanner, chunk: bytes, at: int) -> int:
    """Before the document: a UTF-8 byte order mark may stand here."""
    if scanner._bom < len(_BOM) and chunk[at] == _BOM[scanner._bom]:
        scanner._bom += 1
        return at + 1
    if scanner._bom not in (0, len(_BOM)):
        return _fail(scanner)
    scanner._state = _value
    return at


def _value(scanner: Scanner, chunk: bytes, at: int) -> int:
    """Before a value; `_child` is its wanted node, if any."""
    first = chunk[at]
    if first in _OPENING:
        return _container(scanner, chunk, at)
    if first in _BLANKS:
        return _blanks(chunk, at)
    emits = scanner._child is not None and scanner._child.emits
    if first != _QUOTE:
        scanner._kept, scanner._state = bytearray(), _scalar
        return at
    scanner._kept, scanner._state = bytearray() if emits else None, _string
    return at + 1


def _blanks(chunk: bytes, at: int) -> int:
    match = _BLANK(chunk, at)
    return match.end() if match else at


def _container(scanner: Scanner, chunk: bytes, at: int) -> int:
    """Enter the container that begins at `at`, or cross it, or begin to."""
    child, is_object = scanner._child, chunk[at] == _OPENING_BRACE
    if child is not None:
        if child.emits:
            scanner._emit(child.path, Mark.OBJECT if is_object else Mark.ARRAY)
        if child.members if is_object else child.items:
            scanner._stack.append((scanner._node, scanner._in_object))
            scanner._node, scanner._in_object, scanner._state = child, is_object, _open
            return _open(scanner, chunk, at + 1) if at + 1 < len(chunk) else at + 1
    rest = flat(chunk, at + 1)
    if rest is not None:
        _container_end(scanner)
        return rest.end()
    scanner._skip, scanner._state = Skip(), _skip
    return at + 1


def _container_end(scanner: Scanner) -> None:
    """Emit the end of a container; `_child` is its wanted node, if any."""
    scanner._state = _after
    if scanner._child is not None and scanner._child.emits:
        scanner._emit(scanner._child.path, Mark.END)


def _leave(scanner: Scanner, chunk: bytes, at: int) -> int:
    """Leave the wanted container that we are in, if the bracket at `at` is its own."""
    if scanner._in_object != (chunk[at] == _CLOSING_BRACE):
        return _fail(scanner)
    scanner._child = scanner._node
    scanner._node, scanner._in_object = scanner._stack.pop()
    _container_end(scanner)
    return at + 1


def _open(scanner: Scanner, chunk: bytes, at: int) -> int:
    """Behind the opening bracket of a wanted container."""
    byte, node = chunk[at], scanner._node
    if byte in _BLANKS:
        return _blanks(chunk, at)
    if byte in _CLOSING:
        return _leave(scanner, chunk, at)
    if not scanner._in_object:
        scanner._child, scanner._state = node and node.items, _value
        return _value(scanner, chunk, at)
    head = node and node.first(chunk, at)
    if node and head:
        return _members(scanner, chunk, node, head)
    scanner._state = _key
    return at


def _after(scanner: Scanner, chunk: bytes, at: int) -> int:
    """Behind a value: a comma, the container's end, or the document's."""
    byte, node = chunk[at], scanner._node
    if byte in _BLANKS:
        return _blanks(chunk, at)
    if node is None:
        return _fail(scanner)
    head = node.next(chunk, at) if scanner._in_object else None
    if head:
        return _members(scanner, chunk, node, head)
    if byte in _CLOSING:
        return _leave(scanner, chunk, at)
    if byte != _COMMA:
        return _fail(scanner)
    if not scanner._in_object:
        scanner._child, scanner._state = node.items, _value
        return _blanks(chunk, at + 1)
    scanner._state = _key
    return at + 1


def _members(scanner: Scanner, chunk: bytes, node: PathNode, head: re.Match[bytes] | None) -> int:
    """Cross unwanted members and wanted scalars while the patterns match; enter any other wanted value."""
    at = size = len(chunk)
    while head:
        begin, at = head.span()
        scanner._steps -= 1 + ((at - begin) >> _STEP_BITS)
        group = head.lastindex or 0
        transition = node.transitions[group]
        if transition is not None:
            node = _follow(scanner, transition)
        child = scanner._child = node.members.get(head[group])
        if child is not None:
            token = _TOKEN(chunk, at)
            end = token.end() if token else at
            if not at < end < size:
                return _value(scanner, chunk, at)
            scanner._kept = bytearray(chunk[at : min(end, at + MAX_KEPT_BYTES + 1)])
            _scalar_end(scanner)  # a wanted scalar that is whole in this chunk
            scanner._steps -= 1
            at = end
            if scanner._state is not _after:
                return at
        elif chunk[at] == _QUOTE:
            end = chunk.find(b'"', at + 1)
            if end < 0:
                scanner._state, scanner._kept, scanner._escaped = _string, None, escapes(chunk, at + 1, size)
                return size
            if chunk[end - 1] == _BACKSLASH:
                return _value(scanner, chunk, at)
            scanner._state = _after
            at = end + 1
        else:
            at = _value(scanner, chunk, at)
            if scanner._state is not _after:
                return at
        head = node.next(chunk, at) if scanner._steps > 0 else None
    return at


def _follow(scanner: Scanner, transition: Transition) -> PathNode:
    """Leave and enter the containers whose borders a match has crossed; return the object that we are in now."""
    stack = scanner._stack
    if transition.left:
        del stack[-transition.left :]
    stack += transition.entered
    scanner._node, scanner._in_object = transition.node, True
    return transition.node


def _key(scanner: Scanner, chunk: bytes, at: int) -> int:
    """Before a member's name."""
    if chunk[at] in _BLANKS:
        return _blanks(chunk, at)
    if chunk[at] != _QUOTE:
        return _fail(scanner)
    scanner._kept, scanner._state = bytearray(), _name
    return at + 1


def _name(scanner: Scanner, chunk: bytes, at: int) -> int:
    """Inside a member's name."""
    at = _cross(scanner, chunk, at)
    if at > 0:
        name, scanner._kept = scanner._kept, None
        decoded = None if name is None else text(name)
        scanner._child = scanner._node.members.get(decoded.encode()) if scanner._node and decoded else None
        scanner._state = _colon
    return abs(at)


def _colon(scanner: Scanner, chunk: bytes, at: int) -> int:
    """Behind a member's name."""
    if chunk[at] in _BLANKS:
        return _blanks(chunk, at)
    if chunk[at] != _COLON:
        return _fail(scanner)
    scanner._state = _value
    return at + 1


def _string(scanner: Scanner, chunk: bytes, at: int) -> int:
    """Inside a string that is a value."""
    if scanner._kept is None and not scanner._escaped:  # Most bytes of a response pass here, or in `_members`.
        end = chunk.find(b'"', at)
        if end < 0:
            scanner._escaped = chunk[-1] == _BACKSLASH and escapes(chunk, at, len(chunk))
            return len(chunk)
        child, node = scanner._child, scanner._node
        if chunk[end - 1] != _BACKSLASH and child is None and node is not None and scanner._in_object:
            scanner._state = _after
            head = node.next(chunk, end + 1)
            return _members(scanner, chunk, node, head) if head else end + 1
    at = _cross(scanner, chunk, at)
    if at <= 0:
        return -at
    scanner._state = _after
    if scanner._child is not None and scanner._child.emits:
        value = Mark.LONG if scanner._kept is None else text(scanner._kept)
        if value is None:
            return _fail(scanner)
        scanner._emit(scanner._child.path, value)
    scanner._kept = None
    return at


def _cross(scanner: Scanner, chunk: bytes, at: int) -> int:
    """Return the position behind the quote that ends the string we are in, or the chunk's length, negated, if there is none."""
    begin, size = at, len(chunk)
    if scanner._escaped:
        scanner._escaped = False
        at += 1
    end = closing(chunk, at)
    if end < 0:
        scanner._escaped = escapes(chunk, at, size)
    if scanner._kept is not None:
        scanner._kept += chunk[begin : min(size if end < 0 else end, begin + MAX_KEPT_BYTES + 1)]
        if len(scanner._kept) > MAX_KEPT_BYTES:
            scanner._kept = None
    return -size if end < 0 else end + 1


def _scalar(scanner: Scanner, chunk: bytes, at: int) -> int:
    """Inside a number, or true, false, null."""
    token = _TOKEN(chunk, at)
    end = token.end() if token else at
    if scanner._kept is not None and len(scanner._kept) <= MAX_KEPT_BYTES:
        scanner._kept += chunk[at : min(end, at + MAX_KEPT_BYTES + 1)]
    if end < len(chunk):
        _scalar_end(scanner)
    return end


def _scalar_end(scanner: Scanner) -> None:
    """Emit the scalar that has ended; an unwanted one is not checked further, unless it is the whole document."""
    spelt, scanner._kept = bytes(scanner._kept or b""), None
    child = scanner._child if scanner._child and scanner._child.emits else None
    scanner._state = _after
    if spelt and child is None and scanner._node is not None:
        return
    value = Mark.LONG if len(spelt) > MAX_KEPT_BYTES else scalar(spelt)
    if value is Mark.END:
        _fail(scanner)
    elif child is not None:
        scanner._emit(child.path, value)


def _skip(scanner: Scanner, chunk: bytes, at: int) -> int:
    """Inside an unwanted container."""
    skip = scanner._skip
    at, cost = skip.step(chunk, at)
    scanner._steps -= cost
    if skip.spoilt:
        return _fail(scanner)
    if not skip.depth:
        _container_end(scanner)
    return at
