"""Prints tables that fit the terminal: cells are folded, nothing is cut off."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TextIO

from rich.box import SIMPLE
from rich.cells import cell_len, chop_cells
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table as Drawing
from rich.text import Text

from ..accounting.reports.table import Column, Table

_GAP: Final = 2  # cells between two columns
_MAX_ROW_LINES: Final = 4  # lines of a row that can still be read across
_MIN_VALUE_WIDTH: Final = 16  # cells of a value beside its head
_UNBOUNDED_WIDTH: Final = 100_000  # cells of a line in a pipe or a file
# Behind a space, and inside of paths, addresses and names of models; not inside of numbers, versions, dates, IPv4 addresses.
_SEAMS: Final = re.compile(r"(?<= )(?! )|(?<=\w[/@])(?![* ]|$)|(?<=\w[-.:])(?![\d ]|$)")


def show(*blocks: Table | str, file: TextIO | None = None, width: int | None = None) -> None:
    """Print tables and sentences with an empty line between them, in lines of at most `width` cells.

    `file` None: stdout. `width` None: the terminal's, and without bound where there is no terminal.
    """
    file = file or sys.stdout
    if width is None:
        width = Console(file=file).width if file.isatty() else _UNBOUNDED_WIDTH
    console = Console(file=file, width=width, highlight=False)
    for number, block in enumerate(blocks):
        if number:
            console.print()
        for part in _parts(block, _line_space(console)):
            console.print(part, overflow="fold")


def watch(block: Callable[[], Table | str], every_s: float) -> None:
    """Show on stdout what `block` returns, again every `every_s` seconds, until the user interrupts it (Ctrl-C).

    On a terminal it fills the screen; at the end the old screen comes back, with the last block below it. Elsewhere each block is
    printed below the one before.
    """
    with suppress(KeyboardInterrupt):
        (_on_screen if sys.stdout.isatty() else _one_by_one)(block, every_s)


def _on_screen(block: Callable[[], Table | str], every_s: float) -> None:
    console = Console(highlight=False)
    shown = block()
    try:
        with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                live.update(Group(*_parts(shown, _line_space(console))), refresh=True)
                time.sleep(every_s)
                shown = block()
    finally:
        show(shown)


def _one_by_one(block: Callable[[], Table | str], every_s: float) -> None:
    while True:
        show(block(), "")
        sys.stdout.flush()
        time.sleep(every_s)


@dataclass(frozen=True, slots=True)
class _LineSpace:
    """The width of a line in cells, and whether ornaments (bars) are drawn."""

    width: int
    ornaments: bool


def _line_space(console: Console) -> _LineSpace:
    return _LineSpace(console.width, console.width < _UNBOUNDED_WIDTH and console.encoding.startswith("utf"))


def _parts(block: Table | str, line: _LineSpace) -> Iterator[RenderableType]:
    """Lay out a block: (1) a sentence; (2) a table with columns side by side; (3) where that is unreadable, rows one by one."""
    if isinstance(block, str):
        yield Text(block)
        return
    all_columns = [column for column in block.columns if any(column.cells)]
    columns = [column for column in all_columns if not column.ornament]
    yield Text(block.title, style="bold")
    yield Text()
    adorned = _grid(all_columns, line.width) if line.ornaments else None
    yield adorned or _grid(columns, line.width) or _records(columns, line.width)
    if block.note:
        yield Text(block.note, style="italic")


def _grid(columns: Sequence[Column], width: int) -> Drawing | None:
    """Draw the columns side by side; None where a row would be too high or too wide to be read."""
    widths = _widths(columns, width)
    if widths is None:
        return None
    has_foot = any(column.foot for column in columns)
    drawing = Drawing(box=SIMPLE, show_edge=False, pad_edge=False, collapse_padding=True, show_footer=has_foot)
    folded: list[list[Text]] = []
    for column, column_width in zip(columns, widths, strict=True):
        cells = [fold(text, column_width) for text in column.texts]
        if any(len(lines) > _MAX_ROW_LINES for lines in cells):
            return None
        taken = max(cell_len(line) for lines in cells for line in lines)
        head, *body, foot = (Text("\n".join(lines)) for lines in cells)
        drawing.add_column(head, footer=foot, width=taken, justify="right" if column.right else "left")
        folded.append(body)
    for row in zip(*folded, strict=True):
        drawing.add_row(*row)
    return drawing


def _widths(columns: Sequence[Column], width: int) -> list[int] | None:
    """Return the columns' widths, in all at most `width`. None where they cannot be folded that far.

    The heads of figures are folded first, which costs the table one line; then the widest columns are, which costs each row one.
    """
    widths = [max(map(cell_len, column.texts)) for column in columns]
    least = [_longest_piece(column) for column in columns]
    while sum(widths) + _GAP * (len(widths) - 1) > width:
        places = [place for place, taken in enumerate(widths) if taken > least[place]]
        if not places:
            return None
        widths[max(places, key=lambda place: (columns[place].whole, widths[place]))] -= 1
    return widths


def _longest_piece(column: Column) -> int:
    folded = (column.head,) if column.whole else column.texts
    whole = (*column.cells, column.foot) if column.whole else ()
    return max(cell_len(piece.rstrip()) for piece in (*whole, *(piece for text in folded for piece in _SEAMS.split(text))))


def _records(columns: Sequence[Column], width: int) -> Text:
    """Write each row as a record: the first column's text, and below it the other columns, each behind its head."""
    rows = [(f"{columns[0].head} {first}", *values) for first, *values in zip(*(column.cells for column in columns), strict=True)]
    if any(column.foot for column in columns):
        rows.append(tuple(column.foot for column in columns))
    heads = max(cell_len(column.head) for column in columns) + 2 * _GAP
    drawing = Text()
    for first, *values in rows:
        drawing.append("\n" if drawing else "").append("\n".join(fold(first, width)), style="bold")
        for column, value in zip(columns[1:], values, strict=True):
            lines = fold(value, max(width - heads, _MIN_VALUE_WIDTH)) if value else ()
            for number, line in enumerate(lines):
                head = "" if number else " " * _GAP + column.head
                drawing.append(f"\n{head.ljust(heads)}{line}")
    return drawing


def fold(text: str, width: int) -> list[str]:
    """Return a text as lines of at most `width` cells: broken at seams, and elsewhere only in what is longer than a line."""
    lines, line = [], ""
    for piece in _SEAMS.split(text):
        if line and cell_len(line + piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        if cell_len(piece.rstrip()) > width:
            *chopped, piece = chop_cells(piece, width)  # noqa: PLW2901 - its end is what goes on
            lines += chopped
        line += piece
    return [*lines, line.rstrip()]
