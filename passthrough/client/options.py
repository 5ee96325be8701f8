"""The options of a run: what is asked of the API, and what is made of its response."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from .documents import Document, Kind
from .page_ranges import PageRanges

LATEST: Final = "mistral-ocr-latest"
RULE: Final = "\n\n---\n\n"
"""What stands between two pages where no separator is given: a horizontal rule."""


class Format(StrEnum):
    """A file that is made of a document, by its end."""

    MARKDOWN = "md"
    HTML = "html"
    TEXT = "txt"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class OcrOptions:
    """What is asked of the API. None: the field is not sent, and the API's default holds.

    `annotation` is the value of `document_annotation_format`. `more` are further fields of the request, which come last: they
    replace those that the other options make.
    """

    model: str = LATEST
    pages: PageRanges | None = None
    table_format: str | None = None
    extract_header: bool = False
    extract_footer: bool = False
    has_images: bool = True
    image_limit: int | None = None
    image_min_size: int | None = None
    annotation: Mapping[str, Any] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def fields(self, document: Document) -> dict[str, Any]:
        """Return the fields of the request for a document, without `document` itself and `pages`."""
        chosen: dict[str, Any] = {"model": self.model, "include_image_base64": self.has_images}
        given = {
            "image_limit": self.image_limit,
            "image_min_size": self.image_min_size,
            "table_format": self.table_format,
            "extract_header": self.extract_header or None,
            "extract_footer": self.extract_footer or None,
            "document_annotation_format": self.annotation,
        }
        if not self.has_images and document.type is not None and document.type.kind is Kind.OFFICE:
            given["image_limit"] = 0  # the API refuses an Office document without one of both
        chosen |= {name: value for name, value in given.items() if value is not None}
        return chosen | dict(self.more)


@dataclass(frozen=True, slots=True)
class RenderOptions:
    """What is made of a response: the formats, and the text between two pages, in which `{page}` is the next page's number."""

    formats: tuple[Format, ...] = (Format.MARKDOWN,)
    separator: str = RULE


def fingerprint(asked: OcrOptions, rendered: RenderOptions) -> str:
    """Return what tells two choices of options apart: 64 hexadecimal digits, the same in every run."""
    said = {
        **{name: getattr(asked, name) for name in asked.__slots__ if name not in {"pages", "annotation", "more"}},
        "pages": None if asked.pages is None else str(asked.pages),
        "annotation": asked.annotation,
        "more": dict(asked.more),
        "formats": sorted(rendered.formats),
        "separator": rendered.separator,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
