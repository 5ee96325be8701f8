"""The HTML of a document: a complete file with a small style, in which nothing of a response is a script or an address."""

from __future__ import annotations

import html
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from .html_table import harmless, tables_in
from .markdown_parser import markdown_parser
from .page_markdown import table_content
from .response import ResponseTable

if TYPE_CHECKING:
    from markdown_it.token import Token

_COMMENT: Final = re.compile(r"<!--[^>]{0,1000}-->")

HEAD: Final = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ max-width: 50rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.55 system-ui, sans-serif; color: #222; }}
body {{ overflow-wrap: break-word; }}
h1, h2, h3, h4, h5, h6 {{ line-height: 1.25; }}
img {{ max-width: 100%; height: auto; }}
table {{ border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }}
th, td {{ border: 1px solid #bbb; padding: .25rem .6rem; vertical-align: top; }}
th {{ background: #f4f4f4; }}
pre {{ overflow-x: auto; background: #f6f6f6; padding: .75rem; }}
.formula {{ font-family: ui-monospace, monospace; font-size: .9em; white-space: pre-wrap; }}
hr {{ border: 0; border-top: 1px solid #ccc; margin: 2.5rem 0; }}
</style>
</head>
<body>
"""
END: Final = "</body>\n</html>\n"


class TableMarks:
    """The HTML tables of a page, kept out of its Markdown: a word that no document has stands in the place of each."""

    __slots__ = ("_found", "_mark", "contents")

    def __init__(self) -> None:
        self._mark = f"table{secrets.token_hex(8)}n"
        self._found = re.compile(rf"(?:<p>)?{self._mark}([0-9]+)x(?:</p>)?")
        self.contents: list[str] = []

    def mark(self, table: ResponseTable) -> str:
        """Return what stands for a table in Markdown: itself, if it is Markdown."""
        return self._kept(table.content) if table.content.lstrip()[:1] == "<" else table_content(table)

    def without_html(self, markdown: str) -> str:
        """Return Markdown without the HTML tables that stand in it."""
        made, copied = [], 0
        for start, end in tables_in(markdown):
            made += [markdown[copied:start], f"\n\n{self._kept(markdown[start:end])}\n\n"]
            copied = end
        return "".join(made) + markdown[copied:]

    def resolved(self, text: str, made: Callable[[str], str]) -> str:
        """Return a text with what `made` makes of each table."""
        return self._found.sub(lambda found: made(self.contents[int(found[1])]), text)

    def _kept(self, content: str) -> str:
        self.contents.append(content)
        return f"{self._mark}{len(self.contents) - 1}x"


class HtmlPages:
    """Makes HTML of pages of Markdown. `pictures` are the links to our own: a picture from elsewhere is its words."""

    __slots__ = ("_parser", "_pictures")

    def __init__(self, pictures: Collection[str]) -> None:
        self._pictures = pictures
        self._parser = markdown_parser(pictures.__contains__)
        self._parser.add_render_rule("image", lambda _, tokens, at, *__: self._image(tokens[at]))
        self._parser.add_render_rule("formula", _formula)
        self._parser.add_render_rule("formula_block", _formula_block)

    def page(self, markdown: str, tables: TableMarks, sources: Mapping[str, str]) -> str:
        """Return a page as HTML. `sources` are the links for each `src` that a picture in a table may have."""
        made = str(self._parser.render(tables.without_html(markdown)))
        return f"<section>\n{tables.resolved(made, lambda content: harmless(content, sources))}</section>\n"

    def separator(self, text: str) -> str:
        """Return what stands between two pages: the separator as HTML."""
        return str(self._parser.render(_COMMENT.sub("", text)))

    def _image(self, token: Token) -> str:
        words = html.escape(token.content)
        source = str(token.attrs.get("src", ""))
        return f'<img src="{html.escape(source)}" alt="{words}" loading="lazy">' if source in self._pictures else words


def _formula(_: object, tokens: Sequence[Token], at: int, *__: object) -> str:
    return f'<span class="formula">{html.escape(tokens[at].content)}</span>'


def _formula_block(_: object, tokens: Sequence[Token], at: int, *__: object) -> str:
    return f'<p class="formula">{html.escape(tokens[at].content)}</p>\n'
