"""A page's words stand in a text file without the signs of Markdown."""

from __future__ import annotations

import pytest

from passthrough.client.rendering.html_pages import TableMarks
from passthrough.client.rendering.plain_text import PlainText
from passthrough.client.rendering.response import ResponseTable

TEXT = PlainText()


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("# A *b* **c** `d` ~~e~~", "A b c d e"),
        ("a\nb  \nc<br> d", "a\nb\nc\nd"),
        ("a\n\nb\n\n---\n\nc", "a\n\nb\n\nc"),
        ("a &amp; b \\* c &lt;", "a & b * c <"),
        ("[a](http://x) <http://y>", "a http://y"),
        ("![Logo](http://x)", "Logo"),
        ("- a\n- b\n  c\n  - d\n\n    e\n\nf", "- a\n- b\n  c\n  - d\n    e\n\nf"),
        ("3. a\n4. b", "3. a\n4. b"),
        ("a\n\n- b\n\nc\n\n- d", "a\n\n- b\n\nc\n\n- d"),
        ("> a\n> b", "a\nb"),
        ("```python\na\n  b\n```", "a\n  b"),
        ("    a\n     b", "a\n b"),
        ("$a_b$ and\n\n$$\nc\n$$", "$a_b$ and\n\n$$\nc\n$$"),
        ("|a|b|\n|-|-|\n|1<br>2|**3**|\n||4|\n\nc", "a\tb\n1 2\t3\n\t4\n\nc"),
        ("a\n<table><tr><td>b</td><td rowspan=2>c<br>d</td></tr><tr><td>e</td></tr></table>\nf", "a\n\nb\tc d\ne\n\nf"),
        ("<b>a</b>", "<b>a</b>"),
        ("", ""),
        ("---", ""),
        ("- \n- a", "- a"),
        ("- a\n-\n\nb", "- a\n\nb"),
        ("![](http://x)\n\na", "a"),
        ("a\n\n![](http://x)\n\nb", "a\n\nb"),
    ],
)
def test_the_words_of_a_page(markdown: str, expected: str) -> None:
    """Blocks, lists, rows of tables."""
    assert expected == TEXT.page(markdown, TableMarks())


def test_a_table_of_the_response_is_rows() -> None:
    """In its place."""
    tables = TableMarks()
    mark = tables.mark(ResponseTable("t", "<tr><td>1<td>2<tr><td>3"))
    assert "a\n\n1\t2\n3\n\nb" == TEXT.page(f"a\n\n{mark}\n\nb", tables)


def test_lines_of_blanks_are_read_once() -> None:
    """A megabyte of them."""
    assert "a\nb" == TEXT.page("a" + " " * 1_000_000 + "\nb", TableMarks())
