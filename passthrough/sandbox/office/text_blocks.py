"""Builds the Markdown of a page from paragraphs and tables, as they begin and end."""

from __future__ import annotations

from ..pages import clean


class TextBlocks:
    """The text of one page after the other. Paragraphs within a table go to its cells; a table within a cell is a part of it."""

    def __init__(self) -> None:
        self._blocks: list[str] = []
        self._paragraphs: list[list[str]] = []
        self._depth = 0
        self._rows: list[list[str]] = []
        self._cell: list[str] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands on this page so far."""
        return not (self._blocks or any(self._rows) or any(part.strip() for parts in self._paragraphs for part in parts))

    def begin_paragraph(self) -> None:
        """Begin a paragraph, which may be within another one (a text box)."""
        self._paragraphs.append([])

    def add(self, text: str) -> None:
        """Add text to the paragraph; outside of one it is no text of the page."""
        if self._paragraphs:
            self._paragraphs[-1].append(text)

    def end_paragraph(self, mark: str = "") -> None:
        """End the paragraph, which begins with `mark` (`# `, `- `) unless it is empty."""
        text = clean("".join(self._paragraphs.pop())) if self._paragraphs else ""
        if not text:
            return
        if self._cell is not None:
            self._cell.append(text)
        else:
            self._blocks.append(mark + text)

    def begin_table(self) -> None:
        """Begin a table."""
        self._depth += 1

    def begin_row(self) -> None:
        """Begin a row."""
        if self._depth == 1:
            self._rows.append([])

    def begin_cell(self) -> None:
        """Begin a cell."""
        if self._depth == 1 and self._rows:
            self._cell = []

    def end_cell(self) -> None:
        """End the cell: its paragraphs stand on one line."""
        if self._depth == 1 and self._cell is not None:
            self._rows[-1].append(" ".join(" ".join(self._cell).split()).replace("|", "\\|"))
            self._cell = None

    def end_table(self) -> None:
        """End the table."""
        self._depth = max(0, self._depth - 1)
        if not self._depth:
            self._cell = None
            self._take_rows()

    def _take_rows(self) -> None:
        rows = [row for row in self._rows if row]
        self._rows = []
        if rows:
            width = max(len(row) for row in rows)
            lines = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in rows]
            self._blocks.append("\n".join([lines[0], f"|{' --- |' * width}", *lines[1:]]))

    def take_page(self) -> str:
        """Return what stands on this page, and begin the next: an open paragraph or row goes on there."""
        if self._paragraphs and self._cell is None:
            outer = len(self._paragraphs)
            self.end_paragraph()
            self._paragraphs += [[] for _ in range(outer - len(self._paragraphs))]
        open_rows = [self._rows.pop()] if self._depth and self._rows else []
        self._take_rows()
        self._rows = open_rows
        blocks, self._blocks = self._blocks, []
        return "\n\n".join(blocks)
