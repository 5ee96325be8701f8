"""What is asked of the API, and what tells two runs apart."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

import pytest

from passthrough.client.documents import Document, FileType, Kind
from passthrough.client.options import Format, OcrOptions, RenderOptions, fingerprint
from passthrough.client.page_ranges import PageRanges

pytestmark = pytest.mark.fast

PDF = Document("a.pdf", PurePath("a.pdf"), Path("a.pdf"), type=FileType("application/pdf", Kind.PDF, ".pdf"))
WORD = Document("a.docx", PurePath("a.docx"), Path("a.docx"), type=FileType("application/x", Kind.OFFICE, ".docx"))


@pytest.mark.parametrize(
    ("options", "document", "fields"),
    [
        (OcrOptions(), PDF, {"model": "mistral-ocr-latest", "include_image_base64": True}),
        (OcrOptions("m", has_images=False), PDF, {"model": "m", "include_image_base64": False}),
        # the API takes an Office document only so
        (OcrOptions("m", has_images=False), WORD, {"model": "m", "include_image_base64": False, "image_limit": 0}),
        (
            OcrOptions("m", table_format="html", extract_header=True, extract_footer=True, image_limit=0, image_min_size=9),
            PDF,
            {
                "model": "m",
                "include_image_base64": True,
                "table_format": "html",
                "extract_header": True,
                "extract_footer": True,
                "image_limit": 0,
                "image_min_size": 9,
            },
        ),
        (
            OcrOptions("m", annotation={"type": "json_schema"}),
            PDF,
            {"model": "m", "include_image_base64": True, "document_annotation_format": {"type": "json_schema"}},
        ),
        # further fields come last: they replace the others
        (OcrOptions("m", more={"x": None, "model": "n"}), PDF, {"model": "n", "include_image_base64": True, "x": None}),
    ],
)
def test_only_what_is_chosen_is_sent(options: OcrOptions, document: Document, fields: dict[str, Any]) -> None:
    """For the others the API's defaults hold."""
    assert fields == options.fields(document)


def test_each_choice_has_a_fingerprint_of_its_own() -> None:
    """The order of formats and of fields is no choice."""
    plain = RenderOptions()
    chosen = [
        (OcrOptions(), plain),
        (OcrOptions("m"), plain),
        (OcrOptions(pages=PageRanges.parse("0")), plain),
        (OcrOptions(pages=PageRanges.parse("1")), plain),
        (OcrOptions(table_format="html"), plain),
        (OcrOptions(extract_header=True), plain),
        (OcrOptions(extract_footer=True), plain),
        (OcrOptions(has_images=False), plain),
        (OcrOptions(image_limit=1), plain),
        (OcrOptions(image_min_size=1), plain),
        (OcrOptions(annotation={"a": 1}), plain),
        (OcrOptions(more={"a": 1}), plain),
        (OcrOptions(), RenderOptions(separator="")),
        (OcrOptions(), RenderOptions((Format.HTML,))),
        (OcrOptions(), RenderOptions((Format.HTML, Format.JSON))),
    ]
    assert len(chosen) == len({fingerprint(*each) for each in chosen})
    same = RenderOptions((Format.JSON, Format.HTML))
    assert fingerprint(*chosen[-1]) == fingerprint(OcrOptions(), same)
    assert fingerprint(OcrOptions(more={"a": 1, "b": 2}), plain) == fingerprint(OcrOptions(more={"b": 2, "a": 1}), plain)


def test_a_document_by_its_url_is_an_image_by_its_end() -> None:
    """There are no bytes to look at."""
    ends = {"a.png": True, "a.JPG": True, "a.heic": True, "a.pdf": False, "a": False}
    assert ends == {name: Document(name, PurePath(name), url=f"https://x/{name}").is_image for name in ends}
