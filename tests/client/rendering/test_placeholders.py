"""Placeholders are found by what they name, in one pass, whatever their names are made of."""

from __future__ import annotations

import pytest

from passthrough.client.rendering.placeholders import Placeholder, placeholders, replaced


def picture(each: Placeholder) -> str:
    """Return what shows that a picture's placeholder was found."""
    return f"<{each.id}>"


def table(each: Placeholder) -> str:
    """Return what shows that a table's was."""
    return f"TABLE {each.id}"


def gone(_: Placeholder) -> str:
    """Return nothing."""
    return ""


ODD = [
    "a b",
    "a(1).jpeg",
    "a)b",
    "](",
    "](x)",
    "a](b",
    "[a]",
    "!",
    ".*",
    "\\1",
    "(?i)",
    "a\0b",
    "a\nb",
    "x" * 300,
    "ü",
    "\ud800",
    "$&",
    "a]",
]


@pytest.mark.parametrize("id", ODD, ids=range(len(ODD)))
def test_odd_names_are_found(id: str) -> None:
    """Exactly, between other text, and twice."""
    place = f"![{id}]({id})"
    assert f"a <{id}><{id}> b" == replaced(f"a {place}{place} b", [id, "other"], [], picture, table)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("![img-0.jpeg](img-0.jpeg)", "<img-0.jpeg>"),
        ("![A logo](img-0.jpeg)", "<img-0.jpeg>"),
        ("![](img-0.jpeg)", "<img-0.jpeg>"),
        ("![See img-0.jpeg](img-0.jpeg)", "<img-0.jpeg>"),
        ("![[a] ![b](img-0.jpeg)", "![[a] <img-0.jpeg>"),
        ("[![img-0.jpeg](img-0.jpeg)](http://x)", "[<img-0.jpeg>](http://x)"),
        ("![img-0.jpeg](img-0.jpeg", "![img-0.jpeg](img-0.jpeg"),
        ("![img-0.jpeg](img-0.jpeg2)", "![img-0.jpeg](img-0.jpeg2)"),
        ("[img-0.jpeg](img-0.jpeg)", "[img-0.jpeg](img-0.jpeg)"),
        ("](img-0.jpeg)", "](img-0.jpeg)"),
        ("![a](http://x/y.png)", "![a](http://x/y.png)"),
        ("![http://x/y.png](http://x/y.png)", "![http://x/y.png](http://x/y.png)"),
        ("![img-7.jpeg](img-7.jpeg)", "<img-7.jpeg>"),
        ("![a\n\nb](img-0.jpeg)", "![a\n\nb](img-0.jpeg)"),
        ("![tbl-0.md](tbl-0.md)", "<tbl-0.md>"),
        ("[tbl-0.md](tbl-0.md)", "TABLE tbl-0.md"),
        ("[Table 1](tbl-0.md)", "TABLE tbl-0.md"),
        ("[tbl-1.md](tbl-1.md)", "[tbl-1.md](tbl-1.md)"),
    ],
)
def test_what_is_a_placeholder(text: str, expected: str) -> None:
    """A picture or a table of the page; a picture that names itself, though the page has none of that name; nothing else."""
    assert expected == replaced(text, ["img-0.jpeg"], ["tbl-0.md"], picture, table)


def test_what_is_put_in_is_not_looked_at_again() -> None:
    """One picture's new text is another's placeholder."""
    assert "![b](b)![a](a)" == replaced(
        "![a](a)![b](b)", ["a", "b"], [], lambda e: f"![{'ab'[e.id == 'a']}]({'ab'[e.id == 'a']})", gone
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[t](t)", "TABLE t"),
        ("a\n\n[t](t)\n\nb", "a\n\nTABLE t\n\nb"),
        ("a\n[t](t)\nb", "a\n\nTABLE t\n\nb"),
        ("see [t](t) there", "see \n\nTABLE t\n\nthere"),
        ("[t](t)[t](t)", "TABLE t\n\nTABLE t"),
        ("[t](t)\n\n    code", "TABLE t\n\n    code"),
    ],
)
def test_a_table_is_a_block_of_its_own(text: str, expected: str) -> None:
    """Blank lines stand around it, and none before the first and after the last."""
    assert expected == replaced(text, [], ["t"], picture, table)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n\n![p](p)\n\nb", "a\n\nb"),
        ("![p](p)", ""),
        ("![p](p)\n\nb", "b"),
        ("a ![p](p) b", "a  b"),
        ("a\n![p](p)\nFigure", "a\nFigure"),
        ("a\n\n![p](p)\n\n![q](q)\n\n[t](t)\n\nb", "a\n\nb"),
        ("a\n![p](p) b\n", "a\n b\n"),
    ],
)
def test_a_placeholder_goes_with_its_paragraph(text: str, expected: str) -> None:
    """No blank lines are left of it."""
    assert expected == replaced(text, ["p", "q"], ["t"], gone, gone)


@pytest.mark.parametrize(("length", "count"), [(2000, 1), (2001, 0)])
def test_a_name_that_is_too_long_is_no_placeholder(length: int, count: int) -> None:
    """It is left alone."""
    id = "x" * length
    assert count == len(list(placeholders(f"![{id}]({id})", [id], [])))


def test_placeholders_do_not_overlap() -> None:
    """The first one is taken: where it ends, the next may begin."""
    assert "<a>](a](a))" == replaced("![a](a)](a](a))", ["a", "a](a)"], [], picture, table)


@pytest.mark.parametrize("unit", ["](", "![", "![a](", "[[a](b", "![a]" + ")" * 9, "![a](a" + "x" * 50])
def test_text_of_brackets_is_read_once(unit: str) -> None:
    """200 KB of them, with a page's ten thousand names: it would take an hour if each were compared with each."""
    names = {f"img-{number}.jpeg": number for number in range(10_000)}
    text = unit * (200_000 // len(unit))
    assert text == replaced(text, names, names, picture, table)


def test_a_page_of_ten_thousand_pictures() -> None:
    """Each is replaced by its own."""
    names = [f"img-{number}.jpeg" for number in range(10_000)]
    text = "\n\n".join(f"![{name}]({name})" for name in names)
    assert "\n\n".join(f"<{name}>" for name in names) == replaced(text, set(names), set(), picture, table)
