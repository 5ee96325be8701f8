"""The usage of an OCR response, of Mistral and of Azure: its pages, and how many of them are annotated."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ..jsonscan.paths import Mark, PathNode, Value, paths
from ..plan import PAGES_HEADER
from ..usage import Unmetered, Usage
from .values import Fields, count, header_pages, model_name

_END: Final = Mark.END  # before Python 3.12 an enum's look-up is expensive

_MODEL: Final = "model"
_USAGE: Final = "usage_info"
_PAGES: Final = "usage_info.pages_processed"
_ANNOTATED: Final = "usage_info.pages_processed_annotation"
_DOC_BYTES: Final = "usage_info.doc_size_bytes"
_ANNOTATION: Final = "document_annotation"
_IMAGES: Final = "pages"
_IMAGE_ANNOTATION: Final = "pages[].images[].image_annotation"

OCR_PATHS: Final = (_MODEL, _USAGE, _PAGES, _ANNOTATED, _DOC_BYTES, _ANNOTATION, _IMAGES, _IMAGE_ANNOTATION)
"""The paths that OcrShape wants."""

_WANTED: Final = paths(OCR_PATHS)


class OcrShape:
    """The usage of an OCR response.

    1. `usage_info` counts only once it is complete: the counter that Azure moves may stand last.
    2. `pages_processed` is plain, `pages_processed_annotation` annotated. A count is an integer from 0 on, however it is spelt
       (12, 12.0, 1.2e1). A counter that is null counts as missing; one that is anything else makes the response unmetered.
    3. Without the second counter (Mistral), an annotation in the response (a `document_annotation` or an `image_annotation` that
       is not null) means that all pages are annotated. Where the response broke behind `usage_info`, one may be missed.
    4. Of duplicated keys the last counts. But an image's annotation that was seen stays seen until `pages` comes again.
    5. Where the body has no count, that of the head counts: Azure has answered 200 with `null`, with the pages in a field.
    """

    __slots__ = ("_alias", "_annotation", "_closed", "_counters", "_fields", "_image_annotated", "_model", "_pages_header")

    final = False
    """Whether no document behind this one, in a stream, has another usage: see document.Shape."""

    def __init__(self, alias: str | None = None, fields: Fields | None = None, pages_header: bytes = PAGES_HEADER) -> None:
        """`alias`: the model's name for the prices, whatever the response says (MeterPlan.model).

        `fields` are those of the response's head, and `pages_header` is the one that may hold the pages (MeterPlan.pages_header).
        """
        self._alias = alias
        self._fields = fields
        self._pages_header = pages_header
        self._model: Value = None
        self._annotation: Value = None
        self._counters: dict[str, Value] = {}
        self._closed = False
        self._image_annotated = False

    @property
    def wanted(self) -> PathNode:
        """The tree of the wanted paths."""
        return _WANTED

    def take(self, path: str, value: Value) -> None:
        """Take the value at a wanted path."""
        if path == _IMAGE_ANNOTATION:
            self._image_annotated = self._image_annotated or value is not None
        elif path == _USAGE:
            self._closed = value is _END
            if not self._closed:
                self._counters = {}
        elif path == _MODEL:
            self._model = value
        elif path == _IMAGES:
            self._image_annotated = self._image_annotated and value is _END
        elif path == _ANNOTATION:
            self._annotation = value
        else:
            self._counters[path] = value

    def usage(self, otherwise: Unmetered) -> Usage:
        """Return the count if `usage_info` is complete, else `otherwise` as the reason; model and size as far as known."""
        counted = self._counters.get
        model, doc_bytes, counter = self._alias or model_name(self._model), count(counted(_DOC_BYTES)), counted(_ANNOTATED)
        pages, annotated = count(counted(_PAGES)), None if counter is None else count(counter)
        spoilt = annotated is None and counter is not None
        if not self._closed or pages is None or spoilt:
            return self.with_header(Usage(None, None, model, doc_bytes, None, None, otherwise), self._fields, self._pages_header)
        if annotated is None and (self._image_annotated or self._annotation is not None):
            return Usage(0, pages, model, doc_bytes)
        return Usage(pages, annotated, model, doc_bytes)

    def with_header(self, usage: Usage, fields: Fields | None, name: bytes) -> Usage:
        """Return a usage without a count with the pages of the response field `name`, if there are any: see 5."""
        pages = header_pages(fields, name)
        if pages is None:
            return usage
        if self._image_annotated or self._annotation is not None:
            return replace(usage, pages=0, pages_annotated=pages, unmetered=None)
        return replace(usage, pages=pages, unmetered=None)
