"""Prints tables that fit the terminal: cells are folded, or columns stand in tables below each other; nothing is cut off."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import compress, groupby, takewhile
from typing import Final, TextIO

from rich.box import SIMPLE
from rich.cells import cell_len, chop_cells
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table as Drawing
from rich.text import Text

from ..accounting.reports.table import Column, Table
from ..background.terminal import wrapped

_GAP: Final = 2  # cells between two columns
_MAX_ROW_LINES: Final = 4  # lines of a row that can still be read across
_FEW_ROW_LINES: Final = 2  # more are worse than another table below
_FEW_ROWS: Final = 5  # fewer are worse than a table less on the screen
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
        width = width_of(file) or _UNBOUNDED_WIDTH
    console = Console(file=file, width=width, highlight=False)
    for number, block in enumerate(blocks):
        if number:
            console.print()
        is_wrapped = isinstance(block, str)
        for part in _parts(block, _line_space(console)):
            # A long address in a sentence stays whole, to be copied.
            console.print(part, overflow="ignore" if is_wrapped else "fold", no_wrap=is_wrapped or None, crop=not is_wrapped)


def width_of(file: TextIO) -> int | None:
    """Return how many cells a line of a terminal has, None where there is none."""
    return Console(file=file).width if file.isatty() else None


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
                live.update(Group(*_screenful(_dated(shown), console)), refresh=True)
                time.sleep(every_s)
                shown = block()
    finally:
        show(shown)


def _dated(block: Table | str) -> Table | str:
    """Say when a table was read: one that stays the same looks like one that hangs."""
    if isinstance(block, str):
        return block
    shorter, title = block.shorter, f"{block.title}, at {datetime.now(UTC):%H:%M:%SZ}"
    return replace(block, title=title, shorter=shorter and (lambda rows: replace(shorter(rows), title=title)))


def _screenful(block: Table | str, console: Console) -> list[RenderableType]:
    """Lay out a block so that it is not higher than the screen, its total included.

    1. The last rows of a table are summed up in one, as far as that is needed.
    2. Where hardly any row were left, of several tables below each other only the first one is shown.
    """
    line = _line_space(console)
    if isinstance(block, str) or block.shorter is None:
        return [*_parts(block, line)]
    most = len(block.columns[0].cells)
    if most < console.height and _height(parts := [*_parts(block, line)], console) <= console.height:
        return parts
    for only_first in (False, True):
        rows = _most_rows(block.shorter, min(most, console.height), line, console, only_first=only_first)
        if rows >= _FEW_ROWS:
            break
    return [*_parts(block.shorter(rows), line, only_first=only_first)]


def _most_rows(shorter: Callable[[int], Table], most: int, line: _LineSpace, console: Console, *, only_first: bool) -> int:
    """Return how many rows fit the screen, beside the one that sums up the others; 0 where none does."""
    least = 0
    while least < most - 1:
        tried = (least + most) // 2
        fits = _height(_parts(shorter(tried), line, only_first=only_first), console) <= console.height
        least, most = (tried, most) if fits else (least, tried)
    return least


def _height(parts: Iterable[RenderableType], console: Console) -> int:
    return len(console.render_lines(Group(*parts), pad=False))


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


def _parts(block: Table | str, line: _LineSpace, *, only_first: bool = False) -> Iterator[RenderableType]:
    """Lay out a block: a sentence, or a table with its title and note. Of several tables, `only_first` leaves out the others."""
    if isinstance(block, str):
        yield Text(wrapped(block, line.width))
        return
    columns = [column for column in block.columns if any(column.cells)]
    yield Text(block.title, style="bold")
    tables = _tables(columns, line)
    shown: list[RenderableType] = [*(tables[:1] if only_first else tables)]
    for each in shown or [_records([column for column in columns if not column.ornament], line.width)]:
        yield Text()
        yield each
    if only_first and len(tables) > 1:
        first = _heads(tables[0])
        others = dict.fromkeys(name for table in tables[1:] for name in _heads(table) if name not in first)
        yield Text(f"not shown, for want of space: {', '.join(others)}", style="italic")
    if block.note:
        yield Text(block.note, style="italic")


def _tables(columns: Sequence[Column], line: _LineSpace) -> list[Drawing]:
    """Return the columns as tables below each other, none where no row could be read.

    1. All side by side, with their ornaments where no row is folded for them.
    2. All side by side, else in parts, as long as rows are folded little; then where they are folded more.
    """
    plain = [column for column in columns if not column.ornament]
    adorned = _grid(columns, line.width, 1) if line.ornaments and len(plain) < len(columns) else None
    if adorned is not None:
        return [adorned]
    for max_lines in (_FEW_ROW_LINES, _MAX_ROW_LINES):
        whole = _grid(plain, line.width, max_lines)
        tables = [whole] if whole is not None else _in_parts(columns, line, max_lines)
        if tables:
            return tables
    return _in_parts(columns, line, _MAX_ROW_LINES, may_break=True)


def _heads(table: Drawing) -> list[str]:
    return [" ".join(str(column.header).split()) for column in table.columns]


def _in_parts(columns: Sequence[Column], line: _LineSpace, max_lines: int, *, may_break: bool = False) -> list[Drawing]:
    """Return tables below each other, each with the same first columns, which name the rows; none where that is not possible.

    1. The parts of the table stand together where there is space; one that is too wide by itself is broken if it may be.
    2. The first table has all rows, and the ornaments if there is space; the others only rows that hold more than zeros.
    """
    keys = list(takewhile(lambda column: not column.right, columns))
    figures = sorted((column for column in columns if column.right), key=lambda column: column.part)
    if not keys or not any(column.part for column in figures):
        return []
    pieces: list[list[Column]] = []
    for _, part in groupby(figures, key=lambda column: column.part):
        for added in ([column] for column in part) if may_break else [list(part)]:
            if pieces and _grid([*keys, *pieces[-1], *added], line.width, max_lines) is not None:
                pieces[-1] += added
            else:
                pieces.append(added)
    first, *others = ([column for column in columns if column in keys or column in piece] for piece in pieces)
    adorned = [column for column in columns if column in first or column.ornament]
    found = [
        (_grid(adorned, line.width, 1) if line.ornaments else None) or _grid(first, line.width, max_lines),
        *(_grid(_without_zeros(piece), line.width, max_lines) for piece in others),
    ]
    tables = [table for table in found if table is not None]
    return tables if len(found) == len(tables) else []


def _without_zeros(columns: Sequence[Column]) -> list[Column]:
    """Return columns without the rows whose figures are all zero."""
    figures = [column.cells for column in columns if column.right]
    kept = [any(cell.strip("0.") for cell in row) for row in zip(*figures, strict=True)]
    return [replace(column, cells=tuple(compress(column.cells, kept))) for column in columns]


def _grid(columns: Sequence[Column], width: int, max_lines: int) -> Drawing | None:
    """Draw the columns side by side; None where a row would have more than `max_lines`, or be too wide to be read."""
    columns = [column.aligned() for column in columns]
    widths = _widths(columns, width)
    if widths is None:
        return None
    has_foot = any(column.foot for column in columns)
    drawing = Drawing(box=SIMPLE, show_edge=False, pad_edge=False, collapse_padding=True, show_footer=has_foot)
    folded: list[list[Text]] = []
    for column, column_width in zip(columns, widths, strict=True):
        whole = (*column.cells, column.foot) if column.whole else ()
        cells = [fold(column.head, column_width), *([text] for text in whole)]
        cells += () if whole else [fold(text, column_width) for text in (*column.cells, column.foot)]
        if any(len(lines) > max_lines for lines in cells[1:]) or len(cells[0]) > _MAX_ROW_LINES:
            return None
        taken = max(cell_len(line) for lines in cells for line in lines)
        # Padded here: where rich justifies, it drops the spaces behind a figure.
        head, *body, foot = (Text("\n".join(_padded(line, taken, column) for line in lines)) for lines in cells)
        drawing.add_column(head, footer=foot, width=taken)
        folded.append(body)
    for row in zip(*folded, strict=True):
        drawing.add_row(*row)
    return drawing


def _padded(line: str, width: int, column: Column) -> str:
    return " " * (width - cell_len(line)) + line if column.right else line


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
    pieces = (piece.rstrip() for text in folded for piece in _SEAMS.split(text))
    return max(map(cell_len, (*pieces, *(column.texts[1:] if column.whole else ()))))


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
