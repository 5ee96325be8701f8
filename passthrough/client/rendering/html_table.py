"""A table in HTML from a response: what is harmless of it in HTML again, or its rows of words.

The standard library's parser is not used: on what is no HTML it has been quadratic. Here every `<` is looked at once.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_TAG: Final = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,15})(?![a-zA-Z0-9])([^<>]*)>|<[!?][^<>]*>")
_ATTRIBUTE: Final = re.compile(
    r"""(?<![\w-])(colspan|rowspan|align|src)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE
)
_SPAN: Final = re.compile(r"[0-9]{1,3}\Z")
_SIDES: Final = frozenset({"left", "right", "center"})
_TABLE: Final = re.compile(r"<(/?)table(?![a-z0-9])[^<>]*>", re.IGNORECASE)
_ALLOWED: Final = frozenset(
    {
        "table",
        "caption",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "th",
        "td",
        "b",
        "strong",
        "i",
        "em",
        "u",
        "s",
        "sup",
        "sub",
        "code",
        "p",
    }
)
_SPANNING: Final = frozenset({"th", "td"})
_NOTHING: Final[frozenset[str]] = frozenset()
_ROW: Final = _SPANNING | {"tr"}
_PART: Final = _ROW | {"thead", "tbody", "tfoot", "caption"}
_ENDED_BY: Final = {"td": _SPANNING, "th": _SPANNING, "tr": _ROW, "thead": _PART, "tbody": _PART, "tfoot": _PART}
"""Elements that end where another begins: HTML's own rule for tables."""
_MAX_DEPTH: Final = 40
_MAX_COLUMNS: Final = 100  # of which spans are kept: a row of thousands of cells, each over hundreds of rows, is no table
_BREAKS: Final = frozenset({"br", "p", "li", "table"})


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag: its name in lower case, and the attributes that matter."""

    name: str
    is_end: bool
    attributes: dict[str, str]


def tables_in(text: str) -> Iterator[tuple[int, int]]:
    """Yield where tables in HTML begin and end in a text; a table in another one belongs to it. One without an end is none."""
    depth, start = 0, -1
    for found in _TABLE.finditer(text):
        if found[1]:
            depth = max(0, depth - 1)
            if depth == 0 and start >= 0:
                yield start, found.end()
                start = -1
        else:
            if depth == 0:
                start = found.start()
            depth += 1


def harmless(content: str, sources: Mapping[str, str]) -> str:
    """Return the HTML of a table with nothing but its elements: balanced, without scripts, styles and addresses.

    `sources` are the links for each `src` that a picture in it may have; a picture with another one goes.
    """
    made = _Balanced()
    for piece in _pieces(content):
        if isinstance(piece, str):
            made.add(html.escape(piece))
        elif piece.name == "br":
            made.add("<br>")
        elif piece.name == "img" and (source := sources.get(piece.attributes.get("src", ""))):
            made.add(f'<img src="{html.escape(source)}" alt="">')
        elif piece.name in _ALLOWED and piece.is_end:
            made.end(piece.name)
        elif piece.name in _ALLOWED:
            made.begin(piece.name, _kept(piece))
    return made.text()


class _Balanced:
    """HTML that is being made: what is begun is ended, and nothing else."""

    __slots__ = ("_made", "_open")

    def __init__(self) -> None:
        self._made: list[str] = []
        self._open: list[str] = []

    def add(self, text: str) -> None:
        """Add harmless HTML."""
        self._made.append(text)

    def begin(self, name: str, attributes: str) -> None:
        """Begin an element, unless it is too deep. It ends what HTML says it ends: a row the row before it, a cell the cell."""
        ended = _ENDED_BY.get(name, _NOTHING)
        table = len(self._open) - self._open[::-1].index("table") if "table" in self._open else 0
        self._end_from(next((at for at in range(table, len(self._open)) if self._open[at] in ended), len(self._open)))
        if len(self._open) < _MAX_DEPTH:
            self._open.append(name)
            self._made.append(f"<{name}{attributes}>")

    def end(self, name: str) -> None:
        """End the last element of this name, and those in it; nothing where there is none."""
        if name in self._open:
            self._end_from(len(self._open) - 1 - self._open[::-1].index(name))

    def text(self) -> str:
        """Return all of it."""
        self._end_from(0)
        return "".join(self._made)

    def _end_from(self, at: int) -> None:
        while len(self._open) > at:
            self._made.append(f"</{self._open.pop()}>")


class _Grid:
    """The rows of a table as they are read: the words of each cell, by its column.

    `below` has, for each column, over how many further rows the last cell in it goes.
    """

    __slots__ = ("_below", "_cell", "_free", "_taken", "rows")

    def __init__(self) -> None:
        self.rows: list[dict[int, list[str]]] = []
        self._below: dict[int, int] = {}
        self._taken: frozenset[int] = frozenset()
        self._free = 0
        self._cell: list[str] | None = None

    def begin_row(self) -> None:
        """Begin a row, in which the columns of higher cells above are taken."""
        self._taken = frozenset(self._below)
        self._below = {column: rows - 1 for column, rows in self._below.items() if rows > 1}
        self.rows.append({})
        self._free, self._cell = 0, None

    def begin_cell(self, attributes: Mapping[str, str]) -> None:
        """Begin a cell in the next free column."""
        if not self.rows:
            self.begin_row()
        while self._free in self._taken:
            self._free += 1
        wide, high = (max(1, int(attributes.get(name, 1))) for name in ("colspan", "rowspan"))
        self._cell = self.rows[-1][self._free] = []
        end = self._free + (wide if self._free + wide <= _MAX_COLUMNS else 1)
        if end <= _MAX_COLUMNS and high > 1:
            self._below |= dict.fromkeys(range(self._free, end), high - 1)
        self._free = end

    def end_cell(self) -> None:
        """End the cell: what comes until the next one is in none."""
        self._cell = None

    def add(self, words: str) -> bool:
        """Add words to the cell; False where there is none."""
        if self._cell is None:
            return False
        self._cell.append(words)
        return True

    def lines(self) -> list[list[str]]:
        """Return the rows that have words, filled up to their last cell."""
        made = []
        for row in self.rows:
            cells = {column: _one_line(words) for column, words in row.items()}
            if any(cells.values()):
                made.append([cells.get(column, "") for column in range(max(cells) + 1)])
        return made


def rows_of(content: str) -> list[list[str]]:
    """Return the words of a table's cells, row by row; a cell over several columns or rows has its words in the first of them."""
    grid = _Grid()
    outside: list[str] = []
    for piece in _pieces(content):
        if isinstance(piece, str) or piece.name in _BREAKS:
            words = piece if isinstance(piece, str) else " "
            if not grid.add(words):
                outside.append(words)
        elif piece.name == "tr" and not piece.is_end:
            grid.begin_row()
        elif piece.name in _SPANNING and not piece.is_end:
            grid.begin_cell(piece.attributes)
        elif piece.name in {"tr", *_SPANNING}:
            grid.end_cell()
    words = _one_line(outside)
    return ([[words]] if words else []) + grid.lines()


def _one_line(words: Sequence[str]) -> str:
    return " ".join("".join(words).split())


def _pieces(content: str) -> Iterator[str | Tag]:
    """Yield the tags and the text between them, its references resolved; comments are left out."""
    at = 0
    for found in _TAG.finditer(content):
        if found.start() > at:
            yield html.unescape(content[at : found.start()])
        at = found.end()
        if found[2]:
            yield Tag(found[2].lower(), bool(found[1]), _attributes(found[3]))
    if at < len(content):
        yield html.unescape(content[at:])


def _attributes(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in _ATTRIBUTE.finditer(text):
        name, value = each[1].lower(), html.unescape(each[2] or each[3] or each[4] or "")
        if name == "src" or (_SPAN.match(value) if name.endswith("span") else value.lower() in _SIDES):
            found.setdefault(name, value.lower() if name == "align" else value)
    return found


def _kept(tag: Tag) -> str:
    """Return the attributes of a cell that are kept, as they are written."""
    if tag.name not in _SPANNING:
        return ""
    side = tag.attributes.get("align")
    spans = "".join(f' {name}="{tag.attributes[name]}"' for name in ("colspan", "rowspan") if name in tag.attributes)
    return spans + (f' style="text-align:{side}"' if side else "")
