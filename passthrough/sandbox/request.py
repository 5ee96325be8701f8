"""Parses the JSON of an OCR request into an OcrRequest, or into a 422 that lists every flaw."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .checks import STRING, Check, count, field_flaws, flag, mapping, nullable, one_of, parsed, text
from .errors import EXTRA, MISSING, flaw, no_such_page, unprocessable


@dataclass(frozen=True, slots=True)
class Source:
    """Where the document is: a `file_id` of an upload, or else a `url` (most often a data URI); and its `name`, if it has one."""

    url: str = ""
    file_id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class OcrRequest:
    """One OCR request.

    `model` None: the latest. `pages` are ranges, both ends included, counted from 0; None: all. `include_image_base64` None: it
    is not said. The annotation formats are the JSON objects that were sent, None where no annotation is asked for.
    """

    source: Source
    model: str | None = None
    pages: tuple[tuple[int, int], ...] | None = None
    include_image_base64: bool | None = None
    image_limit: int | None = None
    image_min_size: int = 0
    bbox_annotation_format: Mapping[str, object] | None = None
    document_annotation_format: Mapping[str, object] | None = None


_PAGES: Final = ("value_error", "Value error, pages should be a list of integers from 0, or ranges such as '0-5' or '0,2-4'")
_RANGES: Final = re.compile(r"\s*\d{1,9}\s*(-\s*\d{1,9}\s*)?(,\s*\d{1,9}\s*(-\s*\d{1,9}\s*)?)*", re.ASCII)
_MAX_RANGES: Final = 10_000  # characters: a thousand pages, one by one, need half of it


def _pages(value: object) -> tuple[str, str] | None:
    if isinstance(value, list):
        return _PAGES if any(count(page) for page in value) else None
    if not isinstance(value, str) or len(value) > _MAX_RANGES or not _RANGES.fullmatch(value):
        return _PAGES
    return None if all(first <= last for first, last in _ranges(value)) else _PAGES


_FIELDS: Final[Mapping[str, Check]] = {
    "model": nullable(text),
    "document": mapping,
    "pages": _pages,
    "include_image_base64": flag,
    "image_limit": count,
    "image_min_size": count,
    "bbox_annotation_format": mapping,
    "document_annotation_format": mapping,
    "document_annotation_prompt": text,
    "table_format": one_of("markdown", "html"),
    "extract_header": flag,
    "extract_footer": flag,
    "include_blocks": flag,
    "confidence_scores_granularity": one_of("word", "page", "block"),
    "id": text,
}
_DOCUMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "document_url": ("type", "document_url", "document_name"),
    "image_url": ("type", "image_url"),
    "file": ("type", "file_id"),
}
_KEY_OF: Final = {"document_url": "document_url", "image_url": "image_url", "file": "file_id"}


def parse_request(raw: bytes, *, model_needed: bool = True) -> OcrRequest:
    """Return the parsed body of a request. Raises Rejection (422) with every flaw found.

    `model_needed` False: the model may be missing, because the path names it (Vertex).
    """
    body = parsed(raw)
    flaws = field_flaws(body, _FIELDS, ("model", "document") if model_needed else ("document",))
    document = body.get("document")
    source = named_source(document, ("body", "document"), flaws) if isinstance(document, dict) else None
    if flaws or source is None:
        raise unprocessable(flaws)
    return OcrRequest(
        source=source,
        model=body.get("model"),
        pages=None if body.get("pages") is None else _ranges(body["pages"]),
        include_image_base64=body.get("include_image_base64"),
        image_limit=body.get("image_limit"),
        image_min_size=body.get("image_min_size") or 0,
        bbox_annotation_format=body.get("bbox_annotation_format"),
        document_annotation_format=body.get("document_annotation_format"),
    )


def chosen_pages(pages: tuple[tuple[int, int], ...] | None, total: int) -> list[int]:
    """Return the requested page numbers in order, each once. Raises Rejection (400) if the document has fewer pages."""
    if pages is None:
        return list(range(total))
    beyond = [max(first, total) for first, last in pages if last >= total]
    if beyond:
        raise no_such_page(min(beyond), total)
    return sorted({page for first, last in pages for page in range(first, last + 1)})


def _ranges(pages: object) -> tuple[tuple[int, int], ...]:
    if isinstance(pages, list):
        return tuple((page, page) for page in pages)
    ends = (part.partition("-") for part in str(pages).split(","))
    return tuple((int(first), int(last or first)) for first, _, last in ends)


def named_source(document: dict[str, Any], at: tuple[str | int, ...], flaws: list[dict[str, object]]) -> Source | None:
    """Return where the document at this place is, or None with the reasons added to `flaws`. Without `type` the keys decide."""
    found = next((kind for kind, key in _KEY_OF.items() if key in document), "document_url")
    kind = document.get("type", found)
    if not isinstance(kind, str) or kind not in _DOCUMENTS:
        flaws.append(flaw((*at, "type"), one_of(*_DOCUMENTS)(None) or STRING, kind))
        return None
    key = _KEY_OF[kind]
    flaws += [flaw((*at, name), EXTRA, value) for name, value in document.items() if name not in _DOCUMENTS[kind]]
    if key not in document:
        flaws.append(flaw((*at, key), MISSING, document))
        return None
    value = document[key]
    if kind == "image_url" and isinstance(value, dict):  # the long form: {"url", "detail"?}
        value = value.get("url")
    if not isinstance(value, str):
        flaws.append(flaw((*at, key), STRING, value))
        return None
    name = document.get("document_name")
    return Source(file_id=value) if kind == "file" else Source(url=value, name=name if isinstance(name, str) else "")
