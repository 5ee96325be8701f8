"""Markdown is read as CommonMark with tables; formulas stay as they are, and no HTML is read but a line break."""

from __future__ import annotations

import subprocess
import sys

import pytest

from passthrough.client.rendering.markdown_parser import markdown_parser

PARSER = markdown_parser(lambda url: url == "report_images/a.png")


def kinds(text: str) -> list[tuple[str, str]]:
    """Return what a line is read as: kinds and contents."""
    return [
        (token.type, token.content)
        for block in PARSER.parse(text)
        for token in ([block] if block.children is None else block.children)
        if block.type not in {"paragraph_open", "paragraph_close"}
    ]


@pytest.mark.parametrize(
    "text",
    ["$x_1 * y_2 * z$", "$\\alpha\\\\\\{a\\}$", "$$a_b_c$$", "$\\$ 15.00$", "$a$", "$(\\cdot)$", "$$ a $$", "$a\nb$"],
)
def test_a_formula_in_a_line_stays_as_it_is(text: str) -> None:
    """Its signs are not Markdown's."""
    assert [("text", "a "), ("formula", text), ("text", " b")] == kinds(f"a {text} b")


@pytest.mark.parametrize("text", ["$15.00 and $20.00", "$5-$10", "$ a$", "$", "$$", "$$$$", "$a", "$$a", "\\$a$", "$a $"])
def test_money_is_no_formula(text: str) -> None:
    """Nor is what has no end."""
    assert "formula" not in dict(kinds(f"a {text} b"))


def test_a_formula_without_an_end_is_text() -> None:
    """Also where a backslash is the last but one of the page."""
    assert [("text", "$a\\b")] == kinds("$a\\b")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$$\na\n=\nb\n$$\n\nc", [("formula_block", "$$\na\n=\nb\n$$"), ("text", "c")]),
        ("a\n$$\nb\n$$\nc", [("text", "a"), ("formula_block", "$$\nb\n$$"), ("text", "c")]),
        ("$$a_b$$", [("formula_block", "$$a_b$$")]),
        ("$$ a\n\n# b $$", [("formula_block", "$$ a\n\n# b $$")]),
        ("$$a$$ b", [("formula", "$$a$$"), ("text", " b")]),
        ("$$\na", [("text", "$$"), ("softbreak", ""), ("text", "a")]),
        ("$$\n" + "a\n" * 200 + "$$", None),
    ],
)
def test_a_formula_of_several_lines_is_a_block(text: str, expected: list[tuple[str, str]] | None) -> None:
    """One that does not end is text."""
    found = kinds(text)
    assert expected == found if expected is not None else "formula_block" not in dict(found)


def test_a_formula_stays_in_its_quotation_and_its_item() -> None:
    """It does not reach beyond them."""
    assert [] == [kind for kind, _ in kinds("> $$\n> a\n\n$$") if kind == "formula_block"]
    assert ["$$\na\n$$"] == [content for kind, content in kinds("- $$\n  a\n  $$") if kind == "formula_block"]
    assert [] == [kind for kind, _ in kinds("- $$\n  a\n\nb $$") if kind == "formula_block"]


@pytest.mark.parametrize("text", ["<br>", "<br/>", "<br />", "<BR>"])
def test_a_line_break(text: str) -> None:
    """The API writes it in tables."""
    assert ["text", "hardbreak", "text"] == [kind for kind, _ in kinds(f"a{text}b")]


def test_the_words_of_a_link_may_have_both() -> None:
    """A formula and a line break; a bracket in a formula does not end the words."""
    assert ["link_open", "formula", "hardbreak", "text", "link_close"] == [kind for kind, _ in kinds("[$a]b$<br>c](http://x)")]


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("[a](http://x)", "http://x"),
        ("[a](HTTPS://x)", "HTTPS://x"),
        ("[a](mailto:x@y)", "mailto:x@y"),
        ("[a](#b)", "#b"),
        ("[a](report_images/a.png)", "report_images/a.png"),
        ("[a](javascript:alert(1))", None),
        ("[a](JaVaScRiPt:x)", None),
        ("[a](&#106;avascript:x)", None),
        ("[a](data:text/html,x)", None),
        ("[a](file:///etc/passwd)", None),
        ("[a](vbscript:x)", None),
        ("[a](../x)", None),
        ("[a](//x)", None),
        ("<javascript:x>", None),
    ],
)
def test_what_a_link_may_name(text: str, link: str | None) -> None:
    """The web, an address of mail, a place in the file, our own pictures: all else is text."""
    links = [token.attrs["href"] for block in PARSER.parse(text) for token in block.children or [] if "href" in token.attrs]
    assert ([] if link is None else [link]) == links


@pytest.mark.parametrize(
    "unit",
    ["$", "$a", "$$", "$$\n", "$$a\n", "\\$", "<br", "[", "![", "*a **a ", "_a __a ", "`", ">", "- ", "~~a ", "|", "a|b\n", "&"],
)
def test_pages_of_signs_are_read(unit: str) -> None:
    """Ten thousand characters of one sign: none makes it busy for ever, or fails it."""
    assert PARSER.render(unit * (10_000 // len(unit)))


@pytest.mark.parametrize(("formats", "is_needed"), [("md json", False), ("md html", True), ("txt", True)])
def test_without_the_library_the_cure_is_said(formats: str, is_needed: bool) -> None:
    """At the start of a run, and of no run that does without."""
    program = (
        "import sys; sys.modules['markdown_it'] = None\n"
        "from passthrough.client.errors import ClientError, DocumentError\n"
        "from passthrough.client.options import Format, RenderOptions\n"
        "from passthrough.client.rendering.rendered import check_libraries\n"
        f"try: check_libraries(RenderOptions(tuple(map(Format, '{formats}'.split()))))\n"
        "except ClientError as error: print(isinstance(error, DocumentError), error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert is_needed == said.startswith("False For HTML and text, markdown-it-py is needed.\n")
    assert is_needed == ("-m pip install 'passthrough-ocr[ocr]'" in said)
