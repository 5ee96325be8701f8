"""The words of a document, without its signs of Markdown: blocks apart by a blank line, rows of tables by tabs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from .html_pages import TableMarks
from .html_table import rows_of
from .markdown_parser import markdown_parser

if TYPE_CHECKING:
    from markdown_it.token import Token

_BREAKS: Final = {"softbreak": "\n", "hardbreak": "\n"}
_VERBATIM: Final = frozenset({"text", "code_inline", "formula", "fence", "code_block", "formula_block", "text_special"})


class PlainText:
    """Makes text of pages of Markdown."""

    __slots__ = ("_parser",)

    def __init__(self) -> None:
        self._parser = markdown_parser(lambda _: True)

    def page(self, markdown: str, tables: TableMarks) -> str:
        """Return the words of a page, without a newline at the end."""
        blocks = _Blocks()
        for token in self._parser.parse(tables.without_html(markdown)):
            blocks.take(token)
        return tables.resolved(blocks.text(), lambda content: _tab_separated(rows_of(content))).strip("\n")


class _Blocks:
    """The blocks of a page as they are read, each with the newlines that part it from the one before."""

    __slots__ = ("_blocks", "_depth", "_is_in_list", "_item", "_rows")

    def __init__(self) -> None:
        self._blocks: list[str] = []
        self._is_in_list = False
        self._depth = 0
        self._item = ""
        self._rows: list[list[str]] | None = None

    def take(self, token: Token) -> None:
        """Take the next token of the parser."""
        kind = token.type
        if kind in {"bullet_list_open", "ordered_list_open"}:
            self._depth += 1
        elif kind in {"bullet_list_close", "ordered_list_close"}:
            self._depth -= 1
        elif kind == "list_item_open":
            self._item = f"{token.info}{token.markup} " if token.info else "- "
        elif kind == "list_item_close":
            self._item = ""
        elif kind == "table_open":
            self._rows = []
        elif kind == "tr_open" and self._rows is not None:
            self._rows.append([])
        elif kind == "table_close" and self._rows is not None:
            self._add(_tab_separated(self._rows))
            self._rows = None
        elif kind in _VERBATIM:
            self._add(token.content.rstrip("\n"))
        elif kind == "inline" and self._rows:
            self._rows[-1].append(" ".join(_words(token.children or []).split()))
        elif kind == "inline":
            self._add(_words(token.children or []).strip())

    def text(self) -> str:
        """Return all blocks."""
        return "".join(self._blocks)

    def _add(self, words: str) -> None:
        if not words:
            return
        indent = "  " * max(0, self._depth - bool(self._item))
        hanging = indent + " " * len(self._item) if self._depth else ""
        gap = "" if not self._blocks else "\n" if self._depth and self._is_in_list else "\n\n"
        self._blocks.append(f"{gap}{indent}{self._item}" + words.replace("\n", f"\n{hanging}"))
        self._item, self._is_in_list = "", self._depth > 0


def _words(tokens: Iterable[Token]) -> str:
    """Return the words of a line: of links and pictures what they show."""
    made = []
    for token in tokens:
        if token.type == "image":
            made.append(_words(token.children or []))
        else:
            made.append(token.content if token.type in _VERBATIM else _BREAKS.get(token.type, ""))
    return "\n".join(line.strip() for line in "".join(made).split("\n"))


def _tab_separated(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("\t".join(row) for row in rows if any(row))
