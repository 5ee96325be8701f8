"""The HTML of a page has its tables and its own pictures, and nothing that a document could act by."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.client.rendering.html_pages import HtmlPages, TableMarks
from passthrough.client.rendering.response import ResponseTable

PAGES = HtmlPages({"r_images/a.png"})


def html_of(markdown: str) -> str:
    """Return a page's HTML, without the section around it."""
    found = re.fullmatch(r"<section>\n(.*)</section>\n", PAGES.page(markdown, TableMarks(), {"a": "r_images/a.png"}), re.DOTALL)
    assert found is not None
    return found[1].strip()


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("# Ü", "<h1>Ü</h1>"),
        ("a | b\n-|-\n1<br>2|3", "<td>1<br />\n2</td>"),
        ('![A "logo"](r_images/a.png)', '<p><img src="r_images/a.png" alt="A &quot;logo&quot;" loading="lazy"></p>'),
        ("![Logo](http://x/track.gif)", "<p>Logo</p>"),
        ("![Logo](r_images/b.png)", "<p>![Logo](r_images/b.png)</p>"),
        ("![x](data:image/png;base64,AA)", "<p>![x](data:image/png;base64,AA)</p>"),
        ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"),
        ("<img src=x onerror=alert(1)>", "<p>&lt;img src=x onerror=alert(1)&gt;</p>"),
        ("[a](javascript:alert(1))", "<p>[a](javascript:alert(1))</p>"),
        ('[a](http://x/"onclick="y)', '<p><a href="http://x/%22onclick=%22y">a</a></p>'),
        ('```"><script>\nx\n```', '<pre><code class="language-&quot;&gt;&lt;script&gt;">x\n</code></pre>'),
        ("$<b>$", '<p><span class="formula">$&lt;b&gt;$</span></p>'),
        ("$$\n<b>\n$$", '<p class="formula">$$\n&lt;b&gt;\n$$</p>'),
        ("a\n<table><tr><td onclick=x>b<img src=a></table>\nc", '<td>b<img src="r_images/a.png" alt=""></td>'),
        ("<table><tr><td>b", "<p>&lt;table&gt;&lt;tr&gt;&lt;td&gt;b</p>"),
    ],
)
def test_what_is_made_of_markdown(markdown: str, expected: str) -> None:
    """Headings, tables, our pictures; what would run or fetch is shown as text."""
    assert expected in html_of(markdown)


def test_a_table_of_the_response_stands_in_its_place() -> None:
    """One in HTML is a mark until its page is HTML; one in Markdown is Markdown."""
    tables = TableMarks()
    mark = tables.mark(ResponseTable("t", "<table><tr><td>a</td></tr></table>"))
    found = PAGES.page(f"a\n\n{mark}\n\n- b\n\n`{mark}`", tables, {})
    assert 2 == found.count("<table><tr><td>a</td></tr></table>")
    assert "<p><table>" not in found
    assert "|a|\n|-|" == TableMarks().mark(ResponseTable("t", "|a|\n|-|"))


def test_no_document_knows_a_mark() -> None:
    """Each page has a mark of its own."""
    table = ResponseTable("t", "<table></table>")
    assert TableMarks().mark(table) != TableMarks().mark(table)


@pytest.mark.parametrize(
    ("separator", "expected"),
    [
        ("\n\n---\n\n", "<hr />\n"),
        ("\n\n<!-- page 2 -->\n\n", ""),
        ("\n\n## Page 2\n\n", "<h2>Page 2</h2>\n"),
        ("<b>", "<p>&lt;b&gt;</p>\n"),
    ],
)
def test_the_separator(separator: str, expected: str) -> None:
    """It is Markdown; a comment in it shows nothing."""
    assert expected == PAGES.separator(separator)


PIECES = [
    "<",
    ">",
    "<script>",
    "<table>",
    "</table>",
    "<td>",
    "![",
    "](",
    "javascript:",
    ")",
    "[",
    '"',
    "'",
    "`",
    "\n",
    "$$",
    "&#60;",
    "a",
    "onload=",
]
TAG = re.compile(r'<(/?[a-z0-9]+)((?: [a-z]+="[^"<>]*")*) ?/?>')
KNOWN = {
    "p",
    "br",
    "hr",
    "em",
    "strong",
    "a",
    "img",
    "h1",
    "h2",
    "code",
    "pre",
    "blockquote",
    "table",
    "tbody",
    "tr",
    "td",
    "span",
}


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_every_tag_is_one_of_ours(pieces: list[str]) -> None:
    """Whatever a page is made of: no element, attribute or link that acts."""
    found = html_of("".join(pieces))
    assert "<" not in TAG.sub("", found)
    assert set() == {name.lstrip("/") for name, _ in TAG.findall(found)} - KNOWN
    assert [] == re.findall(
        r' (?:on[a-z]+|style|srcset)="|(?:href|src)="(?!http)', "".join(more for _, more in TAG.findall(found))
    )
