"""Parses the YAML file into nodes with lines: every scalar stays text as it was written, and every key knows its line.

Scalars are not turned into numbers, dates or booleans here: `Anthropic-Version: 2023-06-01` is that text, a price of `0.1` is
not a float, and a client may be called `no`. The type of a field decides what its value means. The document is built from the
parser's events, not from composed nodes: nesting is bounded before anything recurses, and an alias can never contain itself.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from ..errors import ConfigError, Problem
from .builtin import DEFAULT, location
from .problems import At, shown

MAX_FILE_BYTES: Final = 10_000_000
_MAX_VALUES: Final = 2_000_000
_MAX_DEPTH: Final = 50
_TAB_FIRST: Final = re.compile(r" *\t").match
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_YAML: Final = "tag:yaml.org,2002:"
_TAGS: Final = frozenset(_YAML + name for name in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq"))
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Node:
    """One value and its line. `size` and `depth` count what it holds with all aliases followed.

    `value` is text, None, a list of nodes, or a mapping from keys to (the key's line, node).
    """

    line: int
    value: str | list[Node] | dict[str, tuple[int, Node]] | None
    size: int = 1
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file; `problems` are those after which parsing went on: keys given twice, tags."""

    file: str
    root: Node
    problems: tuple[Problem, ...]

    def place(self, at: At) -> tuple[int, At]:
        """Return the line (from 1) of the key or item `at`, or of the nearest place above it, and the part of `at` that exists.

        A step that the file abbreviates (`budget: {…}` for a list of one, `meter: ocr` for a mapping) is left out.
        """
        node, line = self.root, self.root.line
        there: list[str | int] = []
        for step in at:
            if isinstance(node.value, dict) and isinstance(step, str):
                there.append(step)
                if step not in node.value:
                    break
                line, node = node.value[step]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                there.append(step)
                node = node.value[step]
                line = node.line
        return line, tuple(there)

    def tree(self) -> object:
        """Return the file as plain values: text, None, lists and dicts."""
        return _plain(self.root)


def read(file: str, cwd: Path) -> Document:
    """Read and parse a file, relative to `cwd`. Raises ConfigError where it cannot be read, or is no UTF-8 or no mapping."""
    try:
        with location(file, cwd).open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        hint = "Name another with --config, or write it with 'passthrough init'."
        if file != DEFAULT:
            hint = f"Check its name, or write it with 'passthrough init --config {shlex.quote(file)}'."
        raise _refused(file, "There is no such file.", hint) from None
    except IsADirectoryError:
        raise _refused(file, "This is a directory.", "Name the file in it with --config.") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "its name is not one"
        raise _refused(file, f"The file cannot be read: {why}.", "Check its name and permissions.") from None
    if len(raw) > MAX_FILE_BYTES:
        raise _refused(file, f"The file is larger than {MAX_FILE_BYTES // 1_000_000} MB.", "Split or shorten it.")
    return parse(raw, file)


def parse(raw: bytes, file: str) -> Document:
    """Parse the bytes of a file; `file` is its name in problems. Raises ConfigError."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise _refused(file, "The file is not UTF-8 text.", "Save it as UTF-8.", line) from None
    builder = _Builder(file, text)
    root = builder.document()
    if root is None or root.value is None:
        raise _refused(file, "The file is empty.", "Give it at least one route under pass_through_endpoints.")
    if not isinstance(root.value, dict):
        hint = "Begin with a key, such as pass_through_endpoints:"
        raise _refused(file, "The file must be a mapping (key: value) at the top.", hint, root.line)
    return Document(file, root, tuple(builder.problems))


class _Builder:
    """Builds nodes from the parser's events."""

    def __init__(self, file: str, text: str) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._text = text
        self._events = self._parsed()
        self._anchors: dict[str, Node] = {}

    def document(self) -> Node | None:
        """Return the root of the only document, None where there is none."""
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    hint = "Keep one document: remove the line '---' and what belongs to the other."
                    raise _refused(self._file, "The file holds more than one YAML document.", hint, _line(event))
                root = self._node(next(self._events), ())
        return root

    def _parsed(self) -> Iterator[Any]:
        try:
            yield from yaml.parse(self._text, Loader=_LOADER)
        except yaml.reader.ReaderError as error:
            line = self._text[: error.position].count("\n") + 1
            raise _refused(self._file, "A character here is not allowed in YAML.", "Remove it.", line) from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = f"This is not YAML: {error.problem or error.context or 'it cannot be parsed'}."
            hint = "Look at this line and the one before: indentation, colons, quotes, brackets."
            if mark and any(map(_TAB_FIRST, self._text.split("\n")[mark.line : mark.line + 1])):
                what, hint = "This line is indented with a tab, which YAML does not allow.", "Indent it with spaces."
            raise _refused(self._file, what, hint, mark.line + 1 if mark else 0) from None
        except (yaml.YAMLError, ValueError, OverflowError):
            raise _refused(self._file, "This is not YAML.", "Check indentation, colons and quotes.") from None

    def _node(self, event: Any, at: At) -> Node:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                # The name is not repeated: an unquoted value that begins with `*` may be a secret.
                hint = "Quote a value that begins with '*'."
                raise _refused(self._file, "An alias (*name) has no anchor (&name) before it.", hint, _line(event))
            return self._anchors[event.anchor]
        if len(at) > _MAX_DEPTH:
            raise _refused(self._file, "This is nested too deeply.", "No setting needs it.", _line(event))
        if event.tag not in (None, "!") and event.tag not in _TAGS:
            self._wrong(_line(event), at, "YAML tags (!name) are not used here.", "Remove the tag, or quote the value.")
        node = self._value(event, at)
        if node.size > _MAX_VALUES or node.depth > _MAX_DEPTH:
            raise _refused(self._file, "The aliases here stand for too many values.", "Use fewer.", node.line)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _value(self, event: Any, at: At) -> Node:
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(event, at)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, at)
        is_null = event.tag == _YAML + "null" or (event.implicit[0] and event.value in _NULLS)
        return Node(_line(event), None if is_null else event.value)

    def _sequence(self, event: Any, at: At) -> Node:
        items: list[Node] = []
        while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(inner, (*at, len(items))))
        return _holding(_line(event), items, items)

    def _mapping(self, event: Any, at: At) -> Node:
        entries: dict[str, tuple[int, Node]] = {}
        merged: list[Node] = []
        while not isinstance(inner := next(self._events), yaml.MappingEndEvent):
            line = _line(inner)
            if not isinstance(inner, yaml.ScalarEvent):
                raise _refused(self._file, "A key must be plain text.", "Quote what begins with [, { or *.", line)
            key = inner.value
            node = self._node(next(self._events), (*at, key))
            if key == "<<" and inner.implicit[0]:
                merged += self._merged(node, line, at)
            elif key in entries:
                what = f"The key is given twice; the first is on line {entries[key][0]}."
                self._wrong(line, (*at, key), what, "Keep one of them.")
            else:
                entries[key] = (line, node)
        for node in merged:
            for key, entry in node.value.items() if isinstance(node.value, dict) else ():
                entries.setdefault(key, entry)
        return _holding(_line(event), entries, [node for _, node in entries.values()])

    def _merged(self, node: Node, line: int, at: At) -> list[Node]:
        nodes = node.value if isinstance(node.value, list) else [node]
        if not all(isinstance(inner.value, dict) for inner in nodes):
            self._wrong(line, (*at, "<<"), "Only mappings can be merged.", "Write '<<: *name' with a mapping's anchor.")
        return nodes

    def _wrong(self, line: int, at: At, what: str, hint: str) -> None:
        self.problems.append(Problem(self._file, line, shown(at), what, hint))


def _holding(line: int, value: list[Node] | dict[str, tuple[int, Node]], inner: list[Node]) -> Node:
    return Node(line, value, 1 + sum(node.size for node in inner), 1 + max((node.depth for node in inner), default=0))


def _plain(node: Node) -> object:
    if isinstance(node.value, dict):
        return {key: _plain(inner) for key, (_, inner) in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(inner) for inner in node.value]
    return node.value


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _refused(file: str, what: str, hint: str, line: int = 0) -> ConfigError:
    return ConfigError([Problem(file, line, "", what, hint)])
