"""Writes a page as Markdown (CommonMark with GitHub's tables) that can be read as it is, in lines of 80 characters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import Final
from unicodedata import combining, east_asian_width

from .page import Block, Bullets, Heading
from .table import Column, Table

_WIDTH: Final = 80
_MARKUP: Final = re.compile(r"[\\`*\[\]>&|~$]|<(?![ \d])|(?<![^\W_])_|_(?![^\W_])")
"""What means something inside of a line; an underscore inside of a word does not (CommonMark 0.31 §6.2), nor does
a `<` before a figure (§6.6)."""
_AT_START: Final = re.compile(r"(?<!\S)(?:[-+#=]+(?!\S)|\d{1,9}(?=[.)](?!\S)))")
"""What begins a list, a heading or a rule where it comes to stand at a line's start."""


def to_markdown(blocks: Iterable[Block]) -> str:
    """Return the page's text. Whatever a name holds, it shows as it is."""
    return "\n".join(line for number, block in enumerate(blocks) for line in (*([""] if number else []), *_lines(block))) + "\n"


def _lines(block: Block) -> Iterator[str]:
    if isinstance(block, Heading):
        yield f"{'#' * block.level} {_escaped(block.text)}"
    elif isinstance(block, Bullets):
        for item in block.items:
            yield from _wrapped(item, "* ", "  ")
    elif isinstance(block, Table):
        yield from _table(block)
    else:
        yield from _wrapped(block)


def _wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    return wrap(
        _escaped(text), _WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def _table(table: Table) -> Iterator[str]:
    """Yield the lines of a table, its columns padded; its foot is its last row."""
    columns = [column.aligned() for column in table.columns if any(column.texts[1:])]
    has_foot = any(column.foot for column in columns)
    cells = [[_escaped(text) for text in column.texts[: None if has_foot else -1]] for column in columns]
    widths = [max(3, *map(_width, texts)) for texts in cells]
    rows = [
        [_padded(text, width, column) for text, width, column in zip(row, widths, columns, strict=True)]
        for row in zip(*cells, strict=True)
    ]
    rule = ["-" * (width - 1) + ":" if column.right else "-" * width for width, column in zip(widths, columns, strict=True)]
    for row in (rows[0], rule, *rows[1:]):
        yield f"| {' | '.join(row)} |"


def _padded(text: str, width: int, column: Column) -> str:
    space = " " * (width - _width(text))
    return space + text if column.right else text + space


def _width(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def _escaped(text: str) -> str:
    return _AT_START.sub(_behind_backslash, _MARKUP.sub(_behind_backslash, text))


def _behind_backslash(match: re.Match[str]) -> str:
    found = match[0]
    return f"{found}\\" if found.isdigit() else f"\\{found}"
