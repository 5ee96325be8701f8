"""Of a table in HTML only what is harmless is left, and its words stand in rows."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthrough.client.rendering.html_table import harmless, rows_of, tables_in

SOURCES = {"img-0.jpeg": "report_images/img-0.jpeg"}
ALLOWED = re.compile(
    r"</?(?:table|caption|thead|tbody|tfoot|tr|b|strong|i|em|u|s|sup|sub|code|p|th|td)>|<br>|"
    r'<t[hd](?: (?:col|row)span="[0-9]{1,3}"){0,2}(?: style="text-align:(?:left|right|center)")?>|'
    r'<img src="report_images/img-0\.jpeg" alt="">'
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<table><tr><td>a &amp; b</td></tr></table>", "<table><tr><td>a &amp; b</td></tr></table>"),
        ("<TABLE class=x><TR><TH Colspan='2' rowspan=3>a</TABLE>", '<table><tr><th colspan="2" rowspan="3">a</th></tr></table>'),
        ('<td align="RIGHT" align=left>1', '<td style="text-align:right">1</td>'),
        ('<td align="left;x" colspan="9999" rowspan="-1" onclick="alert(1)">1', "<td>1</td>"),
        ("<td><script>alert(1)</script>", "<td>alert(1)</td>"),
        ("<td><iframe src=x></iframe><style>*{}</style><a href='javascript:x'>a</a>", "<td>*{}a</td>"),
        ("<td><img src=img-0.jpeg onerror=alert(1)>", '<td><img src="report_images/img-0.jpeg" alt=""></td>'),
        ("<td><img src='http://x/y'><img>", "<td></td>"),
        ("<td>a<br/>b<br>c", "<td>a<br>b<br>c</td>"),
        ("<td>1 < 2 > 0 &lt;script&gt;", "<td>1 &lt; 2 &gt; 0 &lt;script&gt;</td>"),
        ("<td><<script>alert(1)//<</script>", "<td>&lt;alert(1)//&lt;</td>"),
        ("</td></div><td>a</tr></td>", "<td>a</td>"),
        ("<table><tr><td>a<td>b<tr><th>c", "<table><tr><td>a</td><td>b</td></tr><tr><th>c</th></tr></table>"),
        ("<td>a<table><td>b</table>c<td>d", "<td>a<table><td>b</td></table>c</td><td>d</td>"),
        ("<td><b>a</td>c", "<td><b>a</b></td>c"),
        ("<thead><tr><td>a<tbody><tr><td>b", "<thead><tr><td>a</td></tr></thead><tbody><tr><td>b</td></tr></tbody>"),
        ("<!-- <td> --><td>a<!DOCTYPE x>", "&lt;!-- <td> --&gt;</td><td>a</td>"),
        ('<td title="a>b">c', "<td>b&quot;&gt;c</td>"),
        ("<tdx>a", "a"),
        ("x" * 3, "xxx"),
    ],
)
def test_what_is_left_of_a_table(content: str, expected: str) -> None:
    """Elements and spans of tables; what is open is closed, and all other text is text."""
    assert expected == harmless(content, SOURCES)


@given(
    st.lists(
        st.sampled_from(
            ["<", ">", "<td", "<script>", "</", "table>", '"', "'", "&lt;", "<img src=", "img-0.jpeg", " ", "=", "<!--", "a"]
        )
    )
)
def test_nothing_else_is_left(pieces: list[str]) -> None:
    """Whatever a table is made of, each `<` begins an allowed tag."""
    assert "<" not in ALLOWED.sub("", harmless("".join(pieces), SOURCES))


def test_tables_are_not_nested_without_end() -> None:
    """A browser would be busy with them."""
    assert 40 == harmless("<table>" * 1000, {}).count("<table>")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", [["a", "b"], ["c"]]),
        ("<tr><td>a<br>b</td><td> c\n d\t</td>", [["a b", "c d"]]),
        ("<tr><th colspan=2>a</th><th>b</th></tr><tr><td>1<td>2<td>3", [["a", "", "b"], ["1", "2", "3"]]),
        ("<tr><td rowspan=2>a<td>1</tr><tr><td>2</tr><tr><td>b<td>3", [["a", "1"], ["", "2"], ["b", "3"]]),
        ("<tr><td>a<td rowspan=3>x</tr><tr><td>b</tr><tr><td>c<td>d", [["a", "x"], ["b"], ["c", "", "d"]]),
        ("<tr><td rowspan=2 colspan=2>a<td>1</tr><tr><td>2", [["a", "", "1"], ["", "", "2"]]),
        ("<tr><td colspan=200>a<td>b", [["a", "b"]]),
        ("<caption>Sums &amp; more</caption><tr><td>a", [["Sums & more"], ["a"]]),
        ("<td>a", [["a"]]),
        ("<tr></tr><tr><td></td></tr>", []),
        ("", []),
        ("words", [["words"]]),
    ],
)
def test_the_words_of_a_table(content: str, expected: list[list[str]]) -> None:
    """A cell over several columns or rows has its words in the first of them, and the others stand in their columns."""
    assert expected == rows_of(content)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a <table>b</table> c <table>d</table>", ["<table>b</table>", "<table>d</table>"]),
        ("<table>a<TABLE x>b</table>c</Table >d", ["<table>a<TABLE x>b</table>c</Table >"]),
        ("</table><table>a</table>", ["<table>a</table>"]),
        ("<table>a", []),
        ("<tablex>a</tablex>", []),
        ("", []),
    ],
)
def test_tables_in_a_text(text: str, expected: list[str]) -> None:
    """The outermost ones, that have an end."""
    assert expected == [text[start:end] for start, end in tables_in(text)]


@pytest.mark.parametrize(
    "unit", ["<", "<td ", "<td>", "<table>", "</table>", "<!--", "<td a='", "&", "<tr><td rowspan=999 colspan=99>", "<p>"]
)
def test_what_is_no_table_is_read_once(unit: str) -> None:
    """200 KB of one beginning after the other: it would take an hour if each looked for its end."""
    text = unit * (200_000 // len(unit))
    assert "<script" not in harmless(text, {})
    assert [] == [row for row in rows_of(text) if "\n" in "".join(row)]
    assert [] == [each for each in tables_in(text) if each[1] <= each[0]]
