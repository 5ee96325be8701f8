"""What a page count looks like: the OCR shape, of Mistral and of Azure."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Final

from .decode import Chain, Undecodable, chain
from .tap import Meter
from .usage import Plan, Unmetered, Usage
from .wanted import Mark, Node, Value, paths

__all__ = ["MOST_BYTES", "Meter", "OcrShape", "open_meter"]

MOST_BYTES: Final = 1024**3
"""Decoded, an answer beyond this is not read to its end."""

_MOST_COUNT: Final = 2**53  # beyond it JSON numbers are not exact (RFC 8259 §6), and no document has so many pages
_MOST_MODEL: Final = 200

_USAGE: Final = "usage_info"
_PAGES: Final = "usage_info.pages_processed"
_ANNOTATED: Final = "usage_info.pages_processed_annotation"
_DOC_BYTES: Final = "usage_info.doc_size_bytes"
_ANNOTATION: Final = "document_annotation"
_IMAGES: Final = "pages"
_IMAGE_ANNOTATION: Final = "pages[].images[].image_annotation"

_WANTED: Final = paths(("model", _USAGE, _PAGES, _ANNOTATED, _DOC_BYTES, _ANNOTATION, _IMAGES, _IMAGE_ANNOTATION))


class OcrShape:
    """The usage of an OCR answer.

    1. `usage_info` counts once it has come to its end, not before: the counter that Azure moves may stand last.
    2. `pages_processed` is plain, `pages_processed_annotation` annotated. A count is an integer from 0 on, however it is spelt
       (12, 12.0, 1.2e1); a counter that is null is not there, and one that is anything else makes the whole unmetered.
    3. Without the second counter (Mistral), an annotation in the answer (a `document_annotation` or an `image_annotation` that is
       not null) tells that all pages are annotated. Where the answer broke behind `usage_info`, an annotation may be missed.
    4. Of duplicated keys the last counts; but an image's annotation that was seen stays seen, until `pages` comes again.
    """

    __slots__ = ("_alias", "_closed", "_found", "_image_annotated")

    def __init__(self, alias: str | None = None) -> None:
        """`alias`: the model's name for the prices, whatever the answer says (Plan.model)."""
        self._alias = alias
        self._found: dict[str, Value] = {}
        self._closed = False
        self._image_annotated = False

    @property
    def wanted(self) -> Node:
        """The paths that are looked for."""
        return _WANTED

    def take(self, path: str, value: Value) -> None:
        """Take what stands at a wanted path."""
        if path == _IMAGE_ANNOTATION:
            self._image_annotated = self._image_annotated or value is not None
        elif path == _USAGE:
            self._closed = value is Mark.END
            if not self._closed:
                self._found = {key: self._found[key] for key in ("model", _ANNOTATION) if key in self._found}
        elif path == _IMAGES:
            self._image_annotated = self._image_annotated and value is Mark.END
        else:
            self._found[path] = value

    def usage(self, otherwise: Unmetered) -> Usage:
        """Return the count if `usage_info` came to its end, else `otherwise` as the reason; model and size as far as known."""
        model, doc_bytes = self._model(), _count(self._found.get(_DOC_BYTES))
        pages, annotated = _count(self._found.get(_PAGES)), _count(self._found.get(_ANNOTATED))
        spoilt = annotated is None and self._found.get(_ANNOTATED) is not None
        if not self._closed or pages is None or spoilt:
            return Usage(model=model, doc_bytes=doc_bytes, unmetered=otherwise)
        if annotated is None and (self._image_annotated or self._found.get(_ANNOTATION) is not None):
            pages, annotated = 0, pages
        return Usage(pages=pages, pages_annotated=annotated, model=model, doc_bytes=doc_bytes)

    def _model(self) -> str | None:
        if self._alias:
            return self._alias
        model = self._found.get("model")
        return model if isinstance(model, str) and 0 < len(model) <= _MOST_MODEL else None


def _count(value: Value) -> int | None:
    """Return the value if it is a count, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST_COUNT or value != int(value):
        return None
    return int(value)


def open_meter(
    plan: Plan,
    method: str,
    path: bytes,
    status: int,
    content_encoding: bytes | None,
    decoders: Executor,
    *,
    most_bytes: int = MOST_BYTES,
) -> Meter | None:
    """Return the meter for an answer, None where no count is expected: not in the plan, or the status is not 2xx.

    `path` is raw, without the query; `content_encoding` is the field's value (several joined by commas). `decoders` decodes off
    the loop. Never raises: a coding that is not known makes a meter that reads nothing and says so.
    """
    if not 200 <= status < 300 or not plan.expects(method, path):
        return None
    decoder: Chain | None = None
    refusal: Unmetered | None = None
    try:
        decoder = chain(content_encoding, most_bytes)
    except Undecodable:
        refusal = Unmetered.UNKNOWN_CODING
    meter = Meter(OcrShape(plan.model), decoder, decoders, most_bytes)
    if refusal is not None:
        meter.refuse(refusal)
    return meter
