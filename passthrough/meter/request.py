"""What a request asks for, read off its passing body: the model, and whether pages are to be annotated."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import Final

from .decode import Chain, chain
from .false_coding import Undecodable
from .jsonscan.encoding import WideScanner, is_wide
from .jsonscan.paths import Mark, Value, paths
from .pipeline import MeterPipeline
from .plan import ResponseKind
from .shapes.values import model_name
from .usage import NOTHING, Usage

MAX_BYTES: Final = 256 * 1024**2
"""Decoded, a body beyond this is not read to its end: no provider takes documents of that size, and bombs cost time."""

_FORMATS: Final = frozenset({"document_annotation_format", "bbox_annotation_format"})
_FORMATS_END: Final = b"_annotation_format"
_WANTED: Final = paths(("model", *_FORMATS))


class _RequestFields:
    """What was found in a request's body."""

    __slots__ = ("formats", "model")

    def __init__(self) -> None:
        self.model: str | None = None
        self.formats: set[str] = set()

    def take(self, path: str, value: Value) -> None:
        if path == "model":
            self.model = model_name(value)
        elif value is None:
            self.formats.discard(path)
        elif value is not Mark.END:
            self.formats.add(path)


class RequestMeter:
    """What looks at one request's body, wherever in it the keys stand; of duplicated keys the last counts.

    Fed by the road, read by the meter; called on the event loop. What is not JSON (a form with a file) is left alone after its
    first bytes, and what its coding does not decode, too: then nothing was asked for.
    """

    __slots__ = ("_fields", "_pipeline", "peek")

    peek: Callable[[bytearray, int], bool]
    """Takes the first bytes of a buffer, where that needs no copy of them; False: they are to be fed."""

    def __init__(self, coding: Chain | None, decoders: Executor, max_bytes: int = MAX_BYTES) -> None:
        """`most_bytes`: what stands behind so many decoded bytes is not seen."""
        self._fields = _RequestFields()
        scanner = WideScanner(_WANTED, self._fields.take)
        self._pipeline = MeterPipeline(scanner, coding, decoders, max_bytes, lambda: not scanner.lost)
        self.peek = partial(self._pipeline.peek, scanner.peek)  # nothing stands between

    @property
    def busy(self) -> bool:
        """Whether what passed is not all read yet: see `rest`."""
        return self._pipeline.busy

    @property
    def model(self) -> str | None:
        """The model that is asked for, None where none is named; not to be read while busy."""
        return self._fields.model

    @property
    def annotated(self) -> bool:
        """Whether annotations are asked for, of the document or of its images; not to be read while busy."""
        return bool(self._fields.formats)

    def feed(self, piece: bytes) -> bool:
        """Take the next bytes of the body, as they are on the wire; False: await `drained` before the next (tap.Tap.feed)."""
        return self._pipeline.feed(piece)

    async def drained(self) -> None:
        """Wait until there is room for more."""
        await self._pipeline.drained()

    async def rest(self) -> None:
        """Wait until what has passed is read."""
        await self._pipeline.rest()


class BufferedRequestMeter:
    """As `Asked`, of a small plain body that came whole: it is read only when somebody wants to know, which is seldom."""

    __slots__ = ("_body", "_fields")

    busy = False
    """Whether what passed is not all read yet."""

    def __init__(self, body: bytes) -> None:
        """`body` is held as long as the exchange is not booked: at most at_once.SMALL_BYTES."""
        self._body = body
        self._fields: _RequestFields | None = None

    @property
    def model(self) -> str | None:
        """The model that is asked for, None where none is named."""
        return self._read().model

    @property
    def annotated(self) -> bool:
        """Whether annotations are asked for, of the document or of its images."""
        # A key can be spelt otherwise only with escapes, and where the letters are.
        if _FORMATS_END not in self._body and b"\\" not in self._body and not is_wide(self._body):
            return False
        return bool(self._read().formats)

    def _read(self) -> _RequestFields:
        if self._fields is None:
            self._fields = _RequestFields()
            scanner = WideScanner(_WANTED, self._fields.take)
            at = 0
            while at < len(self._body) and not scanner.lost:
                at = scanner.feed(self._body, at)
        return self._fields

    async def rest(self) -> None:
        """Wait for nothing."""


def open_request_meter(content_encoding: bytes | None, decoders: Executor, *, max_bytes: int = MAX_BYTES) -> RequestMeter | None:
    """Return what looks at a body with this Content-Encoding (its fields joined by commas), None if nothing can."""
    try:
        return RequestMeter(chain(content_encoding, max_bytes), decoders, max_bytes)
    except Undecodable:
        return None


def with_request_fields(usage: Usage, request_meter: RequestMeter | BufferedRequestMeter, kind: ResponseKind) -> Usage:
    """Return the usage with what only the request told: the model's name, and that all pages are annotated.

    Nothing at all stays that. `kind` is what the answer was read as.
    """
    if usage.model is None and usage != NOTHING and request_meter.model is not None:
        usage = replace(usage, model=request_meter.model)
    if (
        usage.pages is not None
        and usage.pages_annotated is None
        and kind is not ResponseKind.CONFIGURED
        and request_meter.annotated
    ):
        usage = replace(usage, pages=0, pages_annotated=usage.pages)
    return usage
