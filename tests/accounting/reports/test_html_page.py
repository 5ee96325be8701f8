"""A page as HTML: one file that needs no other, in which no name is markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from passthrough.accounting.reports.html_page import to_html
from passthrough.accounting.reports.page import Bullets, Heading
from passthrough.accounting.reports.table import Column, Table

pytestmark = pytest.mark.fast

SCRIPT = "<script>alert('a')</script>&amp;\"><img src=x onerror=alert(1)>"


class Outline(HTMLParser):
    """The elements of a page with their text; what stays open, or is closed without a begin, is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note that an element begins."""
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Note that it ends."""
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        """Note its text."""
        if data.strip():
            self.found.append((self.open[-1], data))


def test_every_kind_of_block() -> None:
    """Each has its element; heads and the first column of a table are heads; an empty column is left out."""
    table = Table("", (Column("n", ("a",), "total"), Column("USD", ("1",), "1", right=True), Column("empty", ("",))))
    page = to_html("Of <all>", [Heading("A", 1), "b", Bullets(("c", "d")), table, Table("", (Column("e", ("f",)),))])
    outline = Outline()
    outline.feed(page)
    assert [] == outline.open
    assert [
        *(("title", "Of <all>"), ("h1", "A"), ("p", "b"), ("li", "c"), ("li", "d")),
        *(("th", "n"), ("th", "USD"), ("th", "a"), ("td", "1"), ("th", "total"), ("td", "1")),
        *(("th", "e"), ("th", "f")),
    ] == [each for each in outline.found if each[0] != "style"]
    assert '<td class="number">1</td>' in page
    assert 1 == page.count("<tfoot>")


def test_names_are_text_everywhere() -> None:
    """Nothing from outside begins an element or an attribute."""
    page = to_html(SCRIPT, [Heading(SCRIPT, 2), SCRIPT, Bullets((SCRIPT,)), Table("", (Column(SCRIPT, (SCRIPT,), SCRIPT),))])
    outline = Outline()
    outline.feed(page)
    assert [SCRIPT] * 7 == [text for tag, text in outline.found if tag != "style"]
    assert {"script", "img"}.isdisjoint(re.findall(r"<(\w+)", page))


def test_it_needs_nothing_else() -> None:
    """No address of another file, and no script."""
    page = to_html("t", ["a"])
    assert [] == re.findall(r"(?i)src=|href=|url\(|@import|<script", page)
