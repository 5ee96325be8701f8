"""Pictures are files in the document's own folder, whatever they are called, and what is no picture is said."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from markdown_it import MarkdownIt

from passthrough.client.options import Format
from tests.harness.documents import png
from tests.harness.ocr_results import HOSTILE_IDS, hostile, page, picture, response
from tests.harness.rendered_files import ALL, files, render, text_of

PNG = png(20, 10)


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


@pytest.mark.parametrize("base", ["report", "Müller & Söhne (1) [a]", "a b#c?d%41", "`x` <y> *z*", "a\nb", "-rf", "{page}"])
def test_links_in_markdown_lead_to_the_pictures(tmp_path: Path, base: str) -> None:
    """Whatever the document is called: a reader of Markdown finds the file; so does one of HTML."""
    render(tmp_path, response(page(0, "", picture("b", PNG))), base=base, formats=(Format.MARKDOWN, Format.HTML))
    tokens = MarkdownIt("commonmark").parse((tmp_path / "outputs" / f"{base}.md").read_text("utf-8"))
    sources = [str(child.attrs["src"]) for token in tokens for child in token.children or [] if child.type == "image"]
    sources += re.findall(r'<img src="([^"]*)"', (tmp_path / "outputs" / f"{base}.html").read_text("utf-8"))
    found = [Path(os.fsdecode(os.fsencode(tmp_path / "outputs") + b"/" + unquote_to_bytes(source))) for source in sources]
    assert [PNG, PNG] == [path.read_bytes() for path in found]


@pytest.mark.parametrize("content", [None, "", "@@@", "data:image/jpeg;base64,...", 7, [PNG.hex()]])
def test_a_picture_without_content_goes(tmp_path: Path, content: object) -> None:
    """Its placeholder too, and it is said."""
    first = page(0, "a", picture("x", PNG) | {"image_base64": content})
    assert 1 == len(render(tmp_path, response(first)).notes)
    assert ("a\n", ["report.md"]) == (text_of(tmp_path), files(tmp_path))


def test_what_an_earlier_try_left_is_replaced(tmp_path: Path) -> None:
    """A run that was killed while it rendered leaves pictures, and the next one makes its own."""
    (tmp_path / "outputs" / "report_images").mkdir(parents=True)
    (tmp_path / "outputs" / "report_images" / "x.png").write_bytes(b"half")
    render(tmp_path, response(page(0, "a", picture("y", PNG))))
    assert ["report.md", "report_images", "report_images/y.png"] == files(tmp_path)


def test_a_page_of_a_thousand_pictures(tmp_path: Path) -> None:
    """All of one name, in all formats."""
    one = picture("same.png", PNG)
    render(tmp_path, response(page(0, "", *[one] * 1000)), formats=ALL)
    shown = re.findall(r"!\[.*?\]\((.*?)\)", text_of(tmp_path))
    assert 1000 == len(set(shown)) == text_of(tmp_path, "report.html").count("<img")
    assert {PNG} == {(tmp_path / "outputs" / name).read_bytes() for name in shown[:50]}
