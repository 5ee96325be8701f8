"""What usages look like in JSON documents: pages of OCR, of Mistral and of Azure, and tokens of chat and its like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from ..jsonscan.paths import Mark, PathNode, Value, paths
from ..usage import Unmetered, Usage

__all__ = ["EITHER_PATHS", "ChatShape", "EitherShape", "OcrShape", "count", "model_name"]

_MAX_COUNT: Final = 2**53  # beyond it JSON numbers are not exact (RFC 8259 §6), and no document has so many pages
_MAX_MODEL: Final = 200

_END: Final = Mark.END  # before Python 3.12 an enum's look-up is dear

_MODEL: Final = "model"
_USAGE: Final = "usage_info"
_PAGES: Final = "usage_info.pages_processed"
_ANNOTATED: Final = "usage_info.pages_processed_annotation"
_DOC_BYTES: Final = "usage_info.doc_size_bytes"
_ANNOTATION: Final = "document_annotation"
_IMAGES: Final = "pages"
_IMAGE_ANNOTATION: Final = "pages[].images[].image_annotation"

_OCR_PATHS: Final = (_MODEL, _USAGE, _PAGES, _ANNOTATED, _DOC_BYTES, _ANNOTATION, _IMAGES, _IMAGE_ANNOTATION)
_OCR_WANTED: Final = paths(_OCR_PATHS)

# The answer itself, or in the last event of a stream of OpenAI's responses; the model of a conversation is that of its outputs.
_TOKENS: Final = ("usage", "response.usage")
_MODELS: Final = (_MODEL, "response.model", "outputs[].model")
_IN: Final = ("prompt_tokens", "input_tokens")
_OUT: Final = ("completion_tokens", "output_tokens")

_CHAT_PATHS: Final = (*_MODELS, *_TOKENS, *(f"{usage}.{name}" for usage in _TOKENS for name in (*_IN, *_OUT)))
_CHAT_WANTED: Final = paths(_CHAT_PATHS)

EITHER_PATHS: Final = tuple(dict.fromkeys((*_OCR_PATHS, *_CHAT_PATHS)))
"""The paths of both shapes."""

_OCR_TOLD, _CHAT_TOLD = frozenset(_OCR_PATHS), frozenset(_CHAT_PATHS)
_EITHER_WANTED: Final = paths(EITHER_PATHS)


class OcrShape:
    """The usage of an OCR answer.

    1. `usage_info` counts once it has come to its end, not before: the counter that Azure moves may stand last.
    2. `pages_processed` is plain, `pages_processed_annotation` annotated. A count is an integer from 0 on, however it is spelt
       (12, 12.0, 1.2e1); a counter that is null is not there, and one that is anything else makes the whole unmetered.
    3. Without the second counter (Mistral), an annotation in the answer (a `document_annotation` or an `image_annotation` that is
       not null) tells that all pages are annotated. Where the answer broke behind `usage_info`, an annotation may be missed.
    4. Of duplicated keys the last counts; but an image's annotation that was seen stays seen, until `pages` comes again.
    """

    __slots__ = ("_alias", "_annotation", "_closed", "_counters", "_image_annotated", "_model")

    def __init__(self, alias: str | None = None) -> None:
        """`alias`: the model's name for the prices, whatever the answer says (Plan.model)."""
        self._alias = alias
        self._model: Value = None
        self._annotation: Value = None
        self._counters: dict[str, Value] = {}
        self._closed = False
        self._image_annotated = False

    @property
    def wanted(self) -> PathNode:
        """The paths that are looked for."""
        return _OCR_WANTED

    def take(self, path: str, value: Value) -> None:
        """Take what stands at a wanted path."""
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
        """Return the count if `usage_info` came to its end, else `otherwise` as the reason; model and size as far as known."""
        told = self._counters.get
        model, doc_bytes, counter = self._alias or model_name(self._model), count(told(_DOC_BYTES)), told(_ANNOTATED)
        pages, annotated = count(told(_PAGES)), None if counter is None else count(counter)
        spoilt = annotated is None and counter is not None
        if not self._closed or pages is None or spoilt:
            return Usage(None, None, model, doc_bytes, None, None, otherwise)
        if annotated is None and (self._image_annotated or self._annotation is not None):
            return Usage(0, pages, model, doc_bytes)
        return Usage(pages, annotated, model, doc_bytes)


class ChatShape:
    """The usage of an answer that is billed by its tokens, and of a stream's events: chat, completions, responses, embeddings.

    1. A `usage` counts once it has come to its end, with one counter at least: tokens in, tokens out. A counter that is null is
       not there, and one that is no count makes this usage none.
    2. The last usage counts, and the last model that is named: a stream tells them early, late, or in each event.
    """

    __slots__ = ("_alias", "_counters", "_model", "_tokens")

    def __init__(self, alias: str | None = None) -> None:
        """`alias`: the model's name for the prices, whatever the answer says (Plan.model)."""
        self._alias = alias
        self._model: str | None = None
        self._counters: dict[str, Value] = {}
        self._tokens: tuple[int | None, int | None] | None = None

    @property
    def wanted(self) -> PathNode:
        """The paths that are looked for."""
        return _CHAT_WANTED

    def take(self, path: str, value: Value) -> None:
        """Take what stands at a wanted path."""
        if path in _MODELS:
            self._model = model_name(value) or self._model
        elif path not in _TOKENS:
            self._counters[path.rpartition(".")[2]] = value
        elif value is _END:
            self._tokens = self._counted() or self._tokens
        else:
            self._counters = {}

    def _counted(self) -> tuple[int | None, int | None] | None:
        counts = {}
        for name, value in self._counters.items():
            if value is not None:
                counted = counts[name] = count(value)
                if counted is None:
                    return None
        return (_first(_IN, counts), _first(_OUT, counts)) if counts else None

    def usage(self, otherwise: Unmetered) -> Usage:
        """Return the tokens if there was a whole usage, else `otherwise` as the reason."""
        model = self._alias or self._model
        if self._tokens is None:
            return Usage(model=model, unmetered=otherwise)
        return Usage(None, None, model, None, *self._tokens)


class EitherShape:
    """The usage of an answer that may be either: pages where there are some, else tokens."""

    __slots__ = ("_chat", "_ocr")

    def __init__(self, alias: str | None = None) -> None:
        """`alias`: the model's name for the prices, whatever the answer says (Plan.model)."""
        self._ocr = OcrShape(alias)
        self._chat = ChatShape(alias)

    @property
    def wanted(self) -> PathNode:
        """The paths that are looked for."""
        return _EITHER_WANTED

    def take(self, path: str, value: Value) -> None:
        """Take what stands at a wanted path."""
        if path in _OCR_TOLD:
            self._ocr.take(path, value)
        if path in _CHAT_TOLD:
            self._chat.take(path, value)

    def usage(self, otherwise: Unmetered) -> Usage:
        """Return pages, else tokens, else `otherwise` as the reason."""
        pages = self._ocr.usage(otherwise)
        if pages.unmetered is None:
            return pages
        tokens = self._chat.usage(otherwise)
        return pages if tokens.unmetered is not None else tokens


def _first(names: Iterable[str], counts: Mapping[str, int | None]) -> int | None:
    for name in names:
        if name in counts:
            return counts[name]
    return None


def count(value: Value) -> int | None:
    """Return the value if it is a count, else None."""
    if type(value) is int:  # no bool, which is one by its class
        return value if 0 <= value <= _MAX_COUNT else None
    if not isinstance(value, Decimal) or not 0 <= value <= _MAX_COUNT or value != int(value):
        return None
    return int(value)


def model_name(value: Value) -> str | None:
    """Return the value if it can name a model, else None."""
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_MODEL else None
