"""A page's Markdown has its pictures and its tables where their placeholders were, in every format."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from passthrough.client.options import Format
from tests.harness.documents import jpeg, png
from tests.harness.ocr_results import page, picture, response
from tests.harness.rendered_files import ALL, files, render, text_of

PNG, JPEG = png(20, 10), jpeg(20, 10)
TABLE = "<table><tr><td>1</td>\n\n \n<td>2</td></tr></table>"


def test_every_picture_is_shown_once(tmp_path: Path) -> None:
    """The first placeholder of a name is its first picture, on each page; what is beyond shows the last one again."""
    first = page(0, "", picture("a", PNG), picture("a", JPEG)) | {"markdown": "![a](a) ![a](a) ![a](a)"}
    render(tmp_path, response(first, page(1, "", picture("a", PNG)) | {"markdown": "![Alt](a)"}))
    shown = "![a.png](report_images/a.png) ![a.jpeg](report_images/a.jpeg) ![a.jpeg](report_images/a.jpeg)"
    assert f"{shown}\n\n---\n\n![Alt](report_images/a-2.png)\n" == text_of(tmp_path)


@pytest.mark.parametrize(
    ("alt", "shown"), [("A logo", "A logo"), ("", ""), ("a`b", "x.png"), ('a"b', "x.png"), ("<b>", "x.png"), ("x", "x.png")]
)
def test_what_a_picture_is_called(tmp_path: Path, alt: str, shown: str) -> None:
    """As the response says; by its file's name, where that was its id or what Markdown and HTML would read."""
    render(tmp_path, response(page(0, "", picture("x", PNG)) | {"markdown": f"![{alt}](x)"}))
    assert f"![{shown}](report_images/x.png)\n" == text_of(tmp_path)


def test_without_pictures(tmp_path: Path) -> None:
    """No file, no link, no note; the paragraph of a placeholder goes with it."""
    first = page(0, "a", picture("x", PNG)) | {"markdown": "a\n\n![x](x)\n\n![img-9.jpeg](img-9.jpeg)\n\nb ![Alt](x) c"}
    written = render(tmp_path, response(first), with_pictures=False, formats=(Format.MARKDOWN, Format.HTML))
    assert (("report.md", "report.html"), ()) == (written.names, written.notes)
    assert ["report.html", "report.md"] == files(tmp_path)
    assert "a\n\nb  c\n" == text_of(tmp_path)


def test_tables(tmp_path: Path) -> None:
    """HTML is a block without blank lines; Markdown stands as it came; a picture in one is linked; each table comes once."""
    tables = [
        {"id": "tbl-0.html", "content": TABLE, "format": "html"},
        {"id": "tbl-1.md", "content": "|a|\n|-|\n|![p](p)|\n"},
        {"id": "tbl-2.html", "content": "<table><tr><td>![p](p)<img src='p'></td></tr></table>"},
    ]
    markdown = "a\n[tbl-0.html](tbl-0.html)\nb\n\n[tbl-1.md](tbl-1.md)\n\n[x](tbl-2.html) [tbl-0.html](tbl-0.html)"
    render(tmp_path, response(page(0, "", picture("p", PNG)) | {"markdown": markdown, "tables": tables}), formats=ALL)
    link = "report_images/p.png"
    assert text_of(tmp_path) == (
        "a\n\n<table><tr><td>1</td>\n<td>2</td></tr></table>\n\nb\n\n"
        f"|a|\n|-|\n|![p.png]({link})|\n\n"
        f'<table><tr><td><img src="{link}" alt="p.png"><img src=\'p\'></td></tr></table>\n'
    )
    found = text_of(tmp_path, "report.html")
    assert "<table><tr><td>1</td>\n\n \n<td>2</td></tr></table>" in found
    assert f'<td><img src="{link}" alt=""><img src="{link}" alt=""></td>' in found
    assert f'<td><img src="{link}" alt="p.png" loading="lazy"></td>' in found
    assert "a\n\n1\t2\n\nb\n\na\n" == text_of(tmp_path, "report.txt")


@pytest.mark.parametrize("content", [None, " \n", []])
def test_a_table_without_content_is_seen(tmp_path: Path, content: object) -> None:
    """Its placeholder stays."""
    tables = [{"id": "t.md", "content": content}]
    render(tmp_path, response(page(0, "a [t.md](t.md) b") | {"tables": tables}))
    assert "a [t.md](t.md) b\n" == text_of(tmp_path)


def test_text_that_files_and_terminals_cannot_take(tmp_path: Path) -> None:
    """Halves of surrogate pairs are replaced, controls go, newlines of Windows are newlines."""
    odd = "a\ud800b\0c\x1b[31md\x9be\r\nf\tg\u2028&#12;"
    tables = [{"id": "t", "content": f"<table><td>{odd}</td></table>"}]
    render(tmp_path, response(page(0, f"{odd}\n\n[t](t)") | {"tables": tables}), formats=ALL)
    assert text_of(tmp_path).startswith("a\ufffdbc[31mde\nf\tg\u2028&#12;\n\n<table><td>a\ufffdbc[31mde")
    for name in ("report.md", "report.html", "report.txt"):
        assert None is re.search("[\0-\x08\x0b-\x1f\x7f-\x9f]", text_of(tmp_path, name)), name
