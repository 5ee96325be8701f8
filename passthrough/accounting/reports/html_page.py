"""Writes a page as one HTML file: it needs nothing else, and each of its parts begins a new sheet where it is printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from typing import Final

from .page import Block, Bullets, Heading
from .table import Column, Table

_STYLE: Final = """\
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff }
body { max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin: 0 0 1rem }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-top: .75rem; border-top: 2px solid #1b1b1b; overflow-wrap: anywhere }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; font-variant-numeric: tabular-nums }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #d4d4d4 }
th, td { overflow-wrap: anywhere }
thead th { border-bottom-color: #1b1b1b }
tbody th { font-weight: 400 }
tr > :last-child { padding-right: 0 }
tfoot th, tfoot td { font-weight: 600; border-bottom: 0; border-top: 1px solid #1b1b1b }
.number { text-align: right; white-space: nowrap }
li { overflow-wrap: anywhere }
@media print {
  body { margin: 0; max-width: none; font-size: 10.5pt }
  h2 { break-before: page; border-top: 0; padding-top: 0 }
  h2, h3 { break-after: avoid }
  tr, li { break-inside: avoid }
}
"""

_FIGURE_SPACE: Final = "\u2007"
"""As wide as a figure, and kept where others are collapsed."""


def to_html(title: str, blocks: Iterable[Block]) -> str:
    """Return the page's text. Whatever a name holds, it shows as it is: no part of it is taken for HTML."""
    lines = (line for block in blocks for line in _lines(block))
    head = (
        "<!doctype html>",
        '<html lang="en">',
        '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{_STYLE}</style></head>",
        "<body>",
    )
    return "\n".join((*head, *lines, "</body>", "</html>")) + "\n"


def _lines(block: Block) -> Iterator[str]:
    if isinstance(block, Heading):
        yield f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    elif isinstance(block, Bullets):
        yield "<ul>"
        for item in block.items:
            yield f"<li>{escape(item)}</li>"
        yield "</ul>"
    elif isinstance(block, Table):
        yield from _table(block)
    else:
        yield f"<p>{escape(block)}</p>"


def _table(table: Table) -> Iterator[str]:
    columns = [column.aligned(_FIGURE_SPACE) for column in table.columns if any(column.texts[1:])]
    yield "<table>"
    yield f"<thead>{_row(columns, [column.head for column in columns], heads=True)}</thead>"
    yield "<tbody>"
    for cells in zip(*(column.cells for column in columns), strict=True):
        yield _row(columns, cells)
    yield "</tbody>"
    if any(column.foot for column in columns):
        yield f"<tfoot>{_row(columns, [column.foot for column in columns])}</tfoot>"
    yield "</table>"


def _row(columns: Iterable[Column], texts: Iterable[str], *, heads: bool = False) -> str:
    cells = []
    for place, (column, text) in enumerate(zip(columns, texts, strict=True)):
        kind = ' class="number"' if column.right else ""
        if heads:
            cells.append(f'<th scope="col"{kind}>{escape(text)}</th>')
        elif place:
            cells.append(f"<td{kind}>{escape(text)}</td>")
        else:
            cells.append(f'<th scope="row"{kind}>{escape(text)}</th>')
    return f"<tr>{''.join(cells)}</tr>"
