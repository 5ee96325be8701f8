"""The files of a document are made of its responses, whatever these have or lack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from passthrough.client.errors import DocumentError
from passthrough.client.options import Format
from passthrough.client.rendering.rendered import Written
from tests.harness.documents import jpeg, png
from tests.harness.ocr_results import odd, page, picture, response
from tests.harness.rendered_files import ALL, files, render, text_of

PNG, JPEG = png(20, 10), jpeg(20, 10)


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


def test_pages_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """Whatever their order in the response."""
    render(tmp_path, response(page(7, "c"), page(0, "a"), page(3, "b")), separator=" {page} ")
    assert "a 3 b 7 c\n" == text_of(tmp_path)


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


def test_what_cannot_be_written_fails_the_document(tmp_path: Path) -> None:
    """With the system's reason."""
    (tmp_path / "outputs" / "report.md").mkdir(parents=True)
    with pytest.raises(DocumentError, match=r"Its output cannot be written: Is a directory\.$") as caught:
        render(tmp_path, response(page(0, "a")))
    assert not caught.value.ends_run


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_ends_the_run(tmp_path: Path) -> None:
    """The next document would be paid for, and its output could not be written, either."""
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "report.md").symlink_to("/dev/full")
    with pytest.raises(DocumentError) as caught:
        render(tmp_path, response(page(0, "a")))
    assert ("Its output cannot be written: No space left on device.", True) == (caught.value.why, caught.value.ends_run)
