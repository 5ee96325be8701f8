"""A page as Markdown: readable as it is in a terminal, and no name in it means anything."""

from __future__ import annotations

import pytest

from passthrough.accounting.reports.markdown import to_markdown
from passthrough.accounting.reports.page import Bullets, Heading
from passthrough.accounting.reports.table import Column, Table

pytestmark = pytest.mark.fast


def test_every_kind_of_block() -> None:
    """Headings, sentences and lists are folded at 80 characters; a table's columns are padded, its foot is its last row."""
    names = Column("client", ("a", "wörld 世界"), "total")
    figures = Column("USD", ("1.5", "10.25"), "11.75", right=True)
    sentence = "word " * 20
    page = [Heading("Of all", 1), sentence, Bullets((sentence, "one")), Table("", (names, figures, Column("empty", ("", ""))))]
    expected = f"""# Of all

{("word " * 16).strip()}
word word word word

* {("word " * 15).strip()}
  word word word word word
* one

| client     |   USD |
| ---------- | ----: |
| a          |  1.5  |
| wörld 世界 | 10.25 |
| total      | 11.75 |
"""
    assert expected == to_markdown(page)


def test_a_table_without_a_foot() -> None:
    """It has only its rows."""
    assert "| n   |\n| --- |\n| a   |\n" == to_markdown([Table("", (Column("n", ("a",)),))])


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a|b", r"a\|b"),
        ("<script>&amp;", r"\<script\>\&amp;"),
        ("*a* [b](c) `d` ~e~ $f$", r"\*a\* \[b\](c) \`d\` \~e\~ \$f\$"),
        ("<0.0001 1 < 2 <b", r"<0.0001 1 < 2 \<b"),
        ("my_long_name", "my_long_name"),
        ("_a_ a_ _b", r"\_a\_ a\_ \_b"),
        ("back\\slash", r"back\\slash"),
        ("# a", r"\# a"),
        ("- a - b + c", r"\- a \- b \+ c"),
        ("1. a 22) b 1.5 x1.", r"1\. a 22\) b 1.5 x1."),
        ("=== a=b", r"\=== a=b"),
        ("a-b 2026-10-01", "a-b 2026-10-01"),
    ],
)
def test_what_would_be_markup_is_text(name: str, written: str) -> None:
    """In cells, in sentences and in headings alike."""
    assert f"{written}\n" == to_markdown([name])
    assert f"## {written}\n" == to_markdown([Heading(name, 2)])
    assert f"* {written}\n" == to_markdown([Bullets((name,))])
    assert f"| {written} |" == to_markdown([Table("", (Column("n", (name,)),))]).splitlines()[2].replace("  ", "")
