"""Parses the JSON of an OCR request into an OcrRequest, or into a 422 that lists every flaw."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from .errors import EXTRA, MISSING, flaw, no_such_page, unprocessable


@dataclass(frozen=True, slots=True)
class Source:
    """Where the document is: a `file_id` of an upload, or else a `url` (most often a data URI)."""

    url: str = ""
    file_id: str = ""


@dataclass(frozen=True, slots=True)
class OcrRequest:
    """One OCR request.

    `model` None: the latest. `pages` are ranges, both ends included, counted from 0; None: all. The annotation formats are
    the JSON objects that were sent, None where no annotation is asked for.
    """

    source: Source
    model: str | None = None
    pages: tuple[tuple[int, int], ...] | None = None
    include_image_base64: bool = False
    image_limit: int | None = None
    image_min_size: int = 0
    bbox_annotation_format: Mapping[str, object] | None = None
    document_annotation_format: Mapping[str, object] | None = None


Check = Callable[[object], tuple[str, str] | None]
"""Returns what is wrong with a value: a type and a message in pydantic's words, which are those of Mistral's 422."""

_STRING: Final = ("string_type", "Input should be a valid string")
_OBJECT: Final = ("model_attributes_type", "Input should be a valid dictionary or object to extract fields from")
_PAGES: Final = ("value_error", "Value error, pages should be a list of integers from 0, or ranges such as '0-5' or '0,2-4'")
_RANGES: Final = re.compile(r"\s*\d{1,9}\s*(-\s*\d{1,9}\s*)?(,\s*\d{1,9}\s*(-\s*\d{1,9}\s*)?)*", re.ASCII)
_MAX_RANGES: Final = 10_000  # characters: a thousand pages, one by one, need half of it
_DEEPEST: Final = 100


def _text(value: object) -> tuple[str, str] | None:
    return None if isinstance(value, str) else _STRING


def _flag(value: object) -> tuple[str, str] | None:
    return None if isinstance(value, bool) else ("bool_type", "Input should be a valid boolean")


def _count(value: object) -> tuple[str, str] | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return ("int_type", "Input should be a valid integer")
    return None if value >= 0 else ("greater_than_equal", "Input should be greater than or equal to 0")


def _object(value: object) -> tuple[str, str] | None:
    return None if isinstance(value, dict) else _OBJECT


def _pages(value: object) -> tuple[str, str] | None:
    if isinstance(value, list):
        return _PAGES if any(_count(page) for page in value) else None
    if not isinstance(value, str) or len(value) > _MAX_RANGES or not _RANGES.fullmatch(value):
        return _PAGES
    return None if all(first <= last for first, last in _ranges(value)) else _PAGES


def _one_of(*choices: str) -> Check:
    wrong = ("literal_error", f"Input should be {' or '.join(repr(choice) for choice in choices)}")
    return lambda value: None if value in choices else wrong


_FIELDS: Final[Mapping[str, Check]] = {
    "model": _text,
    "document": _object,
    "pages": _pages,
    "include_image_base64": _flag,
    "image_limit": _count,
    "image_min_size": _count,
    "bbox_annotation_format": _object,
    "document_annotation_format": _object,
    "document_annotation_prompt": _text,
    "table_format": _one_of("markdown", "html"),
    "extract_header": _flag,
    "extract_footer": _flag,
    "include_blocks": _flag,
    "confidence_scores_granularity": _one_of("word", "page", "block"),
    "id": _text,
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
    body = _parsed(raw)
    flaws = [flaw(("body", name), MISSING, body) for name in _missing(body, model_needed)]
    for name, value in body.items():
        check = _FIELDS.get(name)
        wrong = EXTRA if check is None else None
        if check is not None and (value is not None or name == "document"):
            wrong = check(value)
        if wrong is not None:
            flaws.append(flaw(("body", name), wrong, value))
    document = body.get("document")
    source = _source(document, flaws) if isinstance(document, dict) else None
    if flaws or source is None:
        raise unprocessable(flaws)
    return OcrRequest(
        source=source,
        model=body.get("model"),
        pages=None if body.get("pages") is None else _ranges(body["pages"]),
        include_image_base64=bool(body.get("include_image_base64")),
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


def _missing(body: Mapping[str, object], model_needed: bool) -> list[str]:
    needed = ("model", "document") if model_needed else ("document",)
    return [name for name in needed if name not in body]


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw, parse_constant=_no_constant)
        deep = _deeper(body, _DEEPEST)
    except (ValueError, RecursionError) as wrong:
        at = wrong.pos if isinstance(wrong, json.JSONDecodeError) else 0
        cause = wrong.msg if isinstance(wrong, json.JSONDecodeError) else "Invalid JSON"
        raise unprocessable([_not_json(at, cause)]) from None
    if deep:  # its echo in the 422 would be as deep, and could not be serialised
        raise unprocessable([_not_json(0, "Nested too deeply")])
    if not isinstance(body, dict):
        raise unprocessable([flaw(("body",), _OBJECT, body)])
    return body


def _not_json(at: int, cause: str) -> dict[str, object]:
    return {**flaw(("body", at), ("json_invalid", "JSON decode error"), {}), "ctx": {"error": cause}}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON (RFC 8259 §6)")


def _deeper(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_deeper(item, levels - 1) for item in inner if isinstance(item, (dict, list)))


def _ranges(pages: object) -> tuple[tuple[int, int], ...]:
    if isinstance(pages, list):
        return tuple((page, page) for page in pages)
    ends = (part.partition("-") for part in str(pages).split(","))
    return tuple((int(first), int(last or first)) for first, _, last in ends)


def _source(document: dict[str, Any], flaws: list[dict[str, object]]) -> Source | None:
    """Return where the document is, or None with the reasons added to `flaws`. Without `type` the keys decide."""
    at = ("body", "document")
    found = next((kind for kind, key in _KEY_OF.items() if key in document), "document_url")
    kind = document.get("type", found)
    if not isinstance(kind, str) or kind not in _DOCUMENTS:
        flaws.append(flaw((*at, "type"), _one_of(*_DOCUMENTS)(None) or _STRING, kind))
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
        flaws.append(flaw((*at, key), _STRING, value))
        return None
    return Source(file_id=value) if kind == "file" else Source(url=value)
