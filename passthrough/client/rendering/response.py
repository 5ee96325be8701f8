"""The values of an OCR response, whatever it has or lacks: only what is of the right type counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_MAX_COUNT: Final = 2**53


@dataclass(frozen=True, slots=True)
class ResponseImage:
    """A picture on a page. `content` is its base64, or a reference to it; None where the response has none."""

    id: str
    content: str | None


@dataclass(frozen=True, slots=True)
class ResponseTable:
    """A table on a page: Markdown or HTML."""

    id: str
    content: str


@dataclass(frozen=True, slots=True)
class ResponsePage:
    """A page: its number in the document, counted from 0, its Markdown, and what the placeholders in it stand for."""

    index: int
    markdown: str
    images: tuple[ResponseImage, ...]
    tables: tuple[ResponseTable, ...]


@dataclass(frozen=True, slots=True)
class OcrResponse:
    """A response: pages in the order of their numbers, the model's name, and the annotation of the document: JSON in a text."""

    pages: tuple[ResponsePage, ...]
    model: str | None
    annotation: Any


def parse_response(tree: Mapping[str, Any]) -> OcrResponse:
    """Return the values of a response's JSON object."""
    pages: list[ResponsePage] = []
    for page in objects(tree.get("pages")):
        pages.append(_page(page, pages[-1].index + 1 if pages else 0))
    return OcrResponse(
        tuple(sorted(pages, key=lambda page: page.index)),
        model_of(tree),
        tree.get("document_annotation"),
    )


def model_of(tree: Mapping[str, Any]) -> str | None:
    """Return the model that a response names."""
    model = tree.get("model")
    return model if isinstance(model, str) and model else None


def billed(tree: Mapping[str, Any]) -> tuple[int, int]:
    """Return the plain and the annotated pages of a response; their sum is what it costs.

    As the ledger counts them: without a counter of annotated pages, an annotation anywhere means that all of them are.
    """
    usage = tree.get("usage_info")
    counters = usage if isinstance(usage, dict) else {}
    pages, annotated = count(counters.get("pages_processed")) or 0, count(counters.get("pages_processed_annotation"))
    if annotated is not None:
        return pages, annotated
    is_annotated = tree.get("document_annotation") is not None or any(
        image.get("image_annotation") is not None for page in objects(tree.get("pages")) for image in objects(page.get("images"))
    )
    return (0, pages) if is_annotated else (pages, 0)


def count(value: object) -> int | None:
    """Return a value if it is a number from 0 on without a fraction, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_COUNT or value != int(value):
        return None
    return int(value)


def objects(value: object) -> list[dict[str, Any]]:
    """Return the objects in a list; none where it is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def text(value: object) -> str:
    """Return a text, or a number as one; empty where it is neither."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _page(page: Mapping[str, Any], following: int) -> ResponsePage:
    """`following` is its number where it has none: the one after the last page's."""
    index, markdown = count(page.get("index")), page.get("markdown")
    return ResponsePage(
        following if index is None else index,
        markdown.replace("\r\n", "\n") if isinstance(markdown, str) else "",
        tuple(_image(image) for image in objects(page.get("images"))),
        tuple(ResponseTable(text(table.get("id")), text(table.get("content"))) for table in objects(page.get("tables"))),
    )


def _image(image: Mapping[str, Any]) -> ResponseImage:
    content = image.get("image_base64")
    return ResponseImage(text(image.get("id")), content if isinstance(content, str) and content else None)
