"""The files of a document are made of its responses, whatever these have or lack, and none outside the document's own names."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from markdown_it import MarkdownIt

from passthrough.client.errors import DocumentError
from passthrough.client.options import Format, RenderOptions
from passthrough.client.rendering.billed import Billed, billed_in
from passthrough.client.rendering.rendered import Written, write_rendered
from tests.harness.documents import jpeg, png
from tests.harness.ocr_results import HOSTILE_IDS, hostile, odd, page, picture, response

ALL = tuple(Format)
PNG, JPEG = png(20, 10), jpeg(20, 10)


def render(
    folder: Path,
    *raws: bytes,
    base: str = "report",
    formats: Sequence[Format] = (Format.MARKDOWN,),
    separator: str = "\n\n---\n\n",
    with_pictures: bool = True,
    taken: Sequence[tuple[int, ...] | None] | None = None,
) -> Written:
    """Write the files of responses into `folder`/outputs, a folder that is there."""
    parts = []
    for number, raw in enumerate(raws):
        path = folder / f"response-{number}.json"
        path.write_bytes(raw)
        parts.append((path, None if taken is None else taken[number]))
    (folder / "outputs").mkdir(exist_ok=True)
    return write_rendered(parts, base, with_pictures, RenderOptions(tuple(formats), separator), folder / "outputs")


def text_of(folder: Path, name: str = "report.md") -> str:
    """Return what is in a file that was made."""
    return (folder / "outputs" / name).read_bytes().decode()


def files(folder: Path) -> list[str]:
    """Return the names of all files below a folder's outputs, and of all folders."""
    return sorted(str(path.relative_to(folder / "outputs")) for path in (folder / "outputs").rglob("*"))


def test_a_document_in_all_formats(tmp_path: Path) -> None:
    """Markdown, HTML, text, JSON as it came, and its picture, whose end is that of its bytes."""
    raw = response(page(0, "# Ü", picture("img-0.jpeg", PNG)), page(1, "a|b\n-|-\n1|2"))
    written = render(tmp_path, raw, formats=ALL)
    names = ("report.md", "report.html", "report.txt", "report.json", "report_images/img-0.png")
    assert Written(names, 2, 0, "mistral-ocr-2512", False, ()) == written
    assert sorted([*names, "report_images"]) == files(tmp_path)
    assert "# Ü\n\n![img-0.png](report_images/img-0.png)\n\n---\n\na|b\n-|-\n1|2\n" == text_of(tmp_path)
    assert '<img src="report_images/img-0.png" alt="img-0.png" loading="lazy">' in text_of(tmp_path, "report.html")
    assert "Ü\n\na\tb\n1\t2\n" == text_of(tmp_path, "report.txt")
    assert raw == (tmp_path / "outputs" / "report.json").read_bytes()
    assert PNG == (tmp_path / "outputs" / "report_images" / "img-0.png").read_bytes()


def test_hostile_names_of_pictures(tmp_path: Path) -> None:
    """Each becomes a file of its own in the folder of pictures, and each placeholder names one that is there."""
    written = render(tmp_path, hostile(), formats=ALL)
    made = [name for name in files(tmp_path) if "/" in name]
    assert 2 * len(HOSTILE_IDS) == len(made) == len({name.lower() for name in made})
    assert sorted([*made, "report_images", *(f"report.{form}" for form in ALL)]) == files(tmp_path)
    assert ["outputs", "response-0.json"] == sorted(path.name for path in tmp_path.iterdir())
    assert ("2 pictures missing in the response",) == written.notes, "those whose id is null are in no placeholder"
    assert all(re.fullmatch(r"report_images/[A-Za-z0-9_][A-Za-z0-9_-]*\.(jpeg|JPEG|jpg)", name) for name in made)
    for text in (text_of(tmp_path), text_of(tmp_path, "report.html")):
        assert set(re.findall(r'(?:\]\(|src=")([^)"]*)', text)) <= set(made)
        assert None is re.search("[\x00-\x08\x0b-\x1f\x7f]", text)
    assert "<script" not in text_of(tmp_path, "report.html")


def test_every_picture_is_shown_once(tmp_path: Path) -> None:
    """The first placeholder of a name is its first picture, on each page; what is beyond shows the last one again."""
    first = page(0, "", picture("a", PNG), picture("a", JPEG)) | {"markdown": "![a](a) ![a](a) ![a](a)"}
    render(tmp_path, response(first, page(1, "", picture("a", PNG)) | {"markdown": "![Alt](a)"}))
    shown = "![a.png](report_images/a.png) ![a.jpeg](report_images/a.jpeg) ![a.jpeg](report_images/a.jpeg)"
    assert f"{shown}\n\n---\n\n![Alt](report_images/a-2.png)\n" == text_of(tmp_path)


@pytest.mark.parametrize("base", ["report", "Müller & Söhne (1) [a]", "a b#c?d%41", "`x` <y> *z*", "a\nb", "-rf", "{page}"])
def test_links_in_markdown_lead_to_the_pictures(tmp_path: Path, base: str) -> None:
    """Whatever the document is called: a reader of Markdown finds the file; so does one of HTML."""
    render(tmp_path, response(page(0, "", picture("b", PNG))), base=base, formats=(Format.MARKDOWN, Format.HTML))
    tokens = MarkdownIt("commonmark").parse((tmp_path / "outputs" / f"{base}.md").read_text("utf-8"))
    sources = [str(child.attrs["src"]) for token in tokens for child in token.children or [] if child.type == "image"]
    sources += re.findall(r'<img src="([^"]*)"', (tmp_path / "outputs" / f"{base}.html").read_text("utf-8"))
    found = [Path(os.fsdecode(os.fsencode(tmp_path / "outputs") + b"/" + unquote_to_bytes(source))) for source in sources]
    assert [PNG, PNG] == [path.read_bytes() for path in found]


def test_odd_responses(tmp_path: Path) -> None:
    """Lists that are null, pages that begin at 5 and repeat, pictures that are none: what is there is made, the rest said."""
    written = render(tmp_path, odd(), formats=ALL)
    assert ("1 picture could not be decoded", "1 picture missing in the response") == written.notes
    assert ["report_images/plain.png", "report_images/text.bin"] == [name for name in files(tmp_path) if "/" in name]
    expected = (
        "Five\n\n![plain.png](report_images/plain.png)\n\n![text.bin](report_images/text.bin)\n\n---\n\nFive again\n\n---\n\n\n"
    )
    assert expected == text_of(tmp_path)


@pytest.mark.parametrize(
    "pages",
    [
        [],
        [None, 1, "x", []],
        [{}],
        [{"index": "x", "markdown": 7, "images": {"a": 1}, "tables": "x"}],
        [{"index": -1, "markdown": None, "images": [None, {"id": {}, "image_base64": {}}], "tables": [{}]}],
        [{"index": 1e300, "markdown": "a"}, {"index": True, "markdown": "b"}],
        [{"markdown": "[](), ![](), [a]()", "images": [{"id": ""}], "tables": [{"id": "", "content": None}]}],
    ],
)
def test_fields_of_other_types(tmp_path: Path, pages: list[Any]) -> None:
    """They count as missing: a document is made of the rest."""
    written = render(tmp_path, json.dumps({"pages": pages, "model": 7, "usage_info": [], "document_annotation": None}).encode())
    assert ((0, 0), None) == ((written.pages_processed, written.pages_annotated), written.model)
    assert ["report.md"] == files(tmp_path)


def test_a_response_without_pages_is_said(tmp_path: Path) -> None:
    """The document is empty."""
    assert ("the response has no pages",) == render(tmp_path, response()).notes
    assert "\n" == text_of(tmp_path)


def test_text_that_files_and_terminals_cannot_take(tmp_path: Path) -> None:
    """Halves of surrogate pairs are replaced, controls go, newlines of Windows are newlines."""
    odd = "a\ud800b\0c\x1b[31md\x9be\r\nf\tg\u2028&#12;"
    tables = [{"id": "t", "content": f"<table><td>{odd}</td></table>"}]
    render(tmp_path, response(page(0, f"{odd}\n\n[t](t)") | {"tables": tables}), formats=ALL)
    assert text_of(tmp_path).startswith("a\ufffdbc[31mde\nf\tg\u2028&#12;\n\n<table><td>a\ufffdbc[31mde")
    for name in ("report.md", "report.html", "report.txt"):
        assert None is re.search("[\0-\x08\x0b-\x1f\x7f-\x9f]", text_of(tmp_path, name)), name


def test_without_pictures(tmp_path: Path) -> None:
    """No file, no link, no note; the paragraph of a placeholder goes with it."""
    first = page(0, "a", picture("x", PNG)) | {"markdown": "a\n\n![x](x)\n\n![img-9.jpeg](img-9.jpeg)\n\nb ![Alt](x) c"}
    written = render(tmp_path, response(first), with_pictures=False, formats=(Format.MARKDOWN, Format.HTML))
    assert (("report.md", "report.html"), ()) == (written.names, written.notes)
    assert ["report.html", "report.md"] == files(tmp_path)
    assert "a\n\nb  c\n" == text_of(tmp_path)


@pytest.mark.parametrize("content", [None, "", "@@@", "data:image/jpeg;base64,...", 7, [PNG.hex()]])
def test_a_picture_without_content_goes(tmp_path: Path, content: object) -> None:
    """Its placeholder too, and it is said."""
    first = page(0, "a", picture("x", PNG) | {"image_base64": content})
    assert 1 == len(render(tmp_path, response(first)).notes)
    assert ("a\n", ["report.md"]) == (text_of(tmp_path), files(tmp_path))


TABLE = "<table><tr><td>1</td>\n\n \n<td>2</td></tr></table>"


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


@pytest.mark.parametrize(
    ("alt", "shown"), [("A logo", "A logo"), ("", ""), ("a`b", "x.png"), ('a"b', "x.png"), ("<b>", "x.png"), ("x", "x.png")]
)
def test_what_a_picture_is_called(tmp_path: Path, alt: str, shown: str) -> None:
    """As the response says; by its file's name, where that was its id or what Markdown and HTML would read."""
    render(tmp_path, response(page(0, "", picture("x", PNG)) | {"markdown": f"![{alt}](x)"}))
    assert f"![{shown}](report_images/x.png)\n" == text_of(tmp_path)


def test_what_is_extracted_is_not_in_the_text(tmp_path: Path) -> None:
    """A header and a footer stand in the JSON alone."""
    render(tmp_path, response(page(0, "a", header="HEAD", footer="FOOT")), formats=ALL)
    assert [False, False, False, True] == ["HEAD" in text_of(tmp_path, f"report.{form}") for form in ALL]


def test_the_separator_says_the_next_page(tmp_path: Path) -> None:
    """Pages are in the order of their numbers, which begin where they begin, and may repeat; the number is put in once."""
    raw = response(page(4, "c{page}"), page(2, "a"), page(4, "d"))
    render(tmp_path, raw, separator="\n\n<!-- {page} {page} {0} {} -->\n\n", formats=(Format.MARKDOWN, Format.HTML, Format.TEXT))
    between = "\n\n<!-- 4 4 {0} {} -->\n\n"
    assert f"a{between}c{{page}}{between}d\n" == text_of(tmp_path)
    assert "<p>a</p>\n</section>\n<section>\n<p>c{page}</p>" in text_of(tmp_path, "report.html")
    assert "a\n\n<!-- 4 4 {0} {} -->\n\nc{page}" in text_of(tmp_path, "report.txt")


def test_a_separator_may_be_a_form_feed(tmp_path: Path) -> None:
    """It is the user's own, and no document's."""
    render(tmp_path, response(page(0, "a\f"), page(1, "b")), separator="\f")
    assert "a\fb\n" == text_of(tmp_path)


def test_pages_without_a_number_follow_each_other(tmp_path: Path) -> None:
    """From 0 on."""
    render(tmp_path, response(page(0, "a") | {"index": None}, page(0, "b") | {"index": "x"}), separator=" {page} ")
    assert "a 1 b\n" == text_of(tmp_path)


def test_parts_become_one_document(tmp_path: Path) -> None:
    """Their pages have the document's numbers, their pictures their own names; the JSON that is written can be rendered again."""
    raws = [response(page(0, "b", picture("x", PNG)), page(1, "d")), response(page(0, "a", picture("x", JPEG)))]
    written = render(tmp_path, *raws, taken=[(1, 3), (0,)], formats=(Format.MARKDOWN, Format.JSON), separator="\n\n{page}\n\n")
    assert (3, 0) == (written.pages_processed, written.pages_annotated)
    assert ("report.md", "report.json", "report_images/x-2.jpeg", "report_images/x.png") == written.names
    expected = "a\n\n![x-2.jpeg](report_images/x-2.jpeg)\n\n1\n\nb\n\n![x.png](report_images/x.png)\n\n3\n\nd\n"
    assert expected == text_of(tmp_path)
    stored = (tmp_path / "outputs" / "report.json").read_bytes()
    render(tmp_path, stored, separator="\n\n{page}\n\n")
    assert expected == text_of(tmp_path)


@pytest.mark.parametrize(
    ("annotation", "expected", "notes"),
    [
        ('{\n  "a": 1.10\n}', b'{\n  "a": 1.10\n}\n', ()),
        ('{"a": "\\ud800', b'{"a": "\\ud800\n', ("the annotation is no JSON",)),
        ("\ud800", "\ufffd\n".encode(), ("the annotation is no JSON",)),
        ({"a": "ü", "image_base64": "x"}, b'{\n  "a": "\\u00fc",\n  "image_base64": "x"\n}', ()),
    ],
)
def test_an_annotation_is_a_file(tmp_path: Path, annotation: object, expected: bytes, notes: tuple[str, ...]) -> None:
    """As it came; one that the model did not finish is kept, and said."""
    written = render(tmp_path, response(page(0, "a"), document_annotation=annotation))
    assert (("report.md", "report.annotation.json"), True, notes) == (written.names, written.has_annotation, written.notes)
    assert expected == (tmp_path / "outputs" / "report.annotation.json").read_bytes()
    assert (0, 1) == (written.pages_processed, written.pages_annotated)


@pytest.mark.parametrize(
    ("usage", "more", "expected"),
    [
        ({"pages_processed": 3}, {}, (3, 0)),
        ({"pages_processed": 3.0}, {}, (3, 0)),
        ({"pages_processed": 3}, {"document_annotation": "{}"}, (0, 3)),
        ({"pages_processed": 1, "pages_processed_annotation": 2}, {"document_annotation": "{}"}, (1, 2)),
        ({"pages_processed": 1, "pages_processed_annotation": None}, {}, (1, 0)),
        ({"pages_processed": 3}, {"pages": [{"images": [{"image_annotation": "{}"}]}]}, (0, 3)),
        ({"pages_processed": -1}, {}, (0, 0)),
        ({"pages_processed": True}, {}, (0, 0)),
        ({"pages_processed": "3"}, {}, (0, 0)),
        ({"pages_processed": float("nan")}, {}, (0, 0)),
        (None, {}, (0, 0)),
    ],
)
def test_what_was_billed(tmp_path: Path, usage: object, more: dict[str, Any], expected: tuple[int, int]) -> None:
    """Plain and annotated pages, as the ledger counts them."""
    path = tmp_path / "response.json"
    path.write_text(json.dumps({"pages": [], "model": "m", "usage_info": usage, **more}), "utf-8")
    assert Billed(*expected, "m") == billed_in(path)


def test_what_an_earlier_try_left_is_replaced(tmp_path: Path) -> None:
    """A run that was killed while it rendered leaves pictures, and the next one makes its own."""
    (tmp_path / "outputs" / "report_images").mkdir(parents=True)
    (tmp_path / "outputs" / "report_images" / "x.png").write_bytes(b"half")
    render(tmp_path, response(page(0, "a", picture("y", PNG))))
    assert ["report.md", "report_images", "report_images/y.png"] == files(tmp_path)


def test_what_cannot_be_written_fails_the_document(tmp_path: Path) -> None:
    """With the system's reason."""
    (tmp_path / "outputs" / "report.md").mkdir(parents=True)
    with pytest.raises(DocumentError, match=r"Its output cannot be written: Is a directory\."):
        render(tmp_path, response(page(0, "a")))


def test_a_page_of_a_thousand_pictures(tmp_path: Path) -> None:
    """All of one name, in all formats."""
    one = picture("same.png", PNG)
    render(tmp_path, response(page(0, "", *[one] * 1000)), formats=ALL)
    shown = re.findall(r"!\[.*?\]\((.*?)\)", text_of(tmp_path))
    assert 1000 == len(set(shown)) == text_of(tmp_path, "report.html").count("<img")
    assert {PNG} == {(tmp_path / "outputs" / name).read_bytes() for name in shown[:50]}
