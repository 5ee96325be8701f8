"""The meter of a request: reads from its passing body the model, and whether annotations or a stream are asked for."""

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
"""A body that is larger, decoded, is not read to its end: no provider takes such documents, and bombs cost time."""

_FORMATS: Final = frozenset({"document_annotation_format", "bbox_annotation_format"})
_FORMATS_END: Final = b"_annotation_format"
_WANTED: Final = paths(("model", "stream", *_FORMATS))


class _RequestFields:
    """The fields that were found in a request's body."""

    __slots__ = ("formats", "model", "stream")

    def __init__(self) -> None:
        self.model: str | None = None
        self.stream = False
        self.formats: set[str] = set()

    def take(self, path: str, value: Value) -> None:
        if path == "model":
            self.model = model_name(value)
        elif path == "stream":
            self.stream = value is True
        elif value is None:
            self.formats.discard(path)
        elif value is not Mark.END:
            self.formats.add(path)


class RequestMeter:
    """Reads one request's body, wherever in it the keys stand; of duplicated keys the last counts.

    Fed by the proxy, read by the response's meter; called on the event loop. A body that is not JSON (a form with a file) is
    ignored after its first bytes, and so is one that its coding does not decode: then no field is found.
    """

    __slots__ = ("_fields", "_pipeline", "peek")

    peek: Callable[[bytearray, int], bool]
    """Takes the first bytes of a buffer if that needs no copy of them; False: feed them."""

    def __init__(self, coding: Chain | None, decoders: Executor, max_bytes: int = MAX_BYTES) -> None:
        """`max_bytes`: decoded bytes beyond it are not read."""
        self._fields = _RequestFields()
        scanner = WideScanner(_WANTED, self._fields.take)
        self._pipeline = MeterPipeline(scanner, coding, decoders, max_bytes, lambda: not scanner.lost)
        self.peek = partial(self._pipeline.peek, scanner.peek)  # without a call of its own

    @property
    def busy(self) -> bool:
        """Whether some bytes are not read yet: see `rest`."""
        return self._pipeline.busy

    @property
    def model(self) -> str | None:
        """The model that the request names, None without one; do not use it while busy."""
        return self._fields.model

    @property
    def annotated(self) -> bool:
        """Whether the request asks for annotations, of the document or of its images; do not use it while busy."""
        return bool(self._fields.formats)

    @property
    def stream(self) -> bool:
        """Whether the request asks for a stream of events; do not use it while busy."""
        return self._fields.stream

    def feed(self, piece: bytes) -> bool:
        """Take the next bytes of the body, as they are on the wire; False: await `drained` before the next."""
        return self._pipeline.feed(piece)

    async def drained(self) -> None:
        """Wait until the queue has space again."""
        await self._pipeline.drained()

    async def rest(self) -> None:
        """Wait until all bytes so far are read."""
        await self._pipeline.rest()


class BufferedRequestMeter:
    """As RequestMeter, for a small plain body that came whole: it is parsed only when a field is asked for, which is seldom."""

    __slots__ = ("_body", "_fields")

    busy = False
    """Whether some bytes are not read yet."""

    def __init__(self, body: bytes) -> None:
        """`body` is held until the exchange is booked: at most buffered.SMALL_BYTES."""
        self._body = body
        self._fields: _RequestFields | None = None

    @property
    def model(self) -> str | None:
        """The model that the request names, None without one."""
        return self._read().model

    @property
    def annotated(self) -> bool:
        """Whether the request asks for annotations, of the document or of its images."""
        # Another spelling of a key needs escapes, or another encoding.
        if _FORMATS_END not in self._body and b"\\" not in self._body and not is_wide(self._body):
            return False
        return bool(self._read().formats)

    @property
    def stream(self) -> bool:
        """Whether the request asks for a stream of events."""
        return self._read().stream

    def _read(self) -> _RequestFields:
        if self._fields is None:
            self._fields = _RequestFields()
            scanner = WideScanner(_WANTED, self._fields.take)
            at = 0
            while at < len(self._body) and not scanner.lost:
                at = scanner.feed(self._body, at)
        return self._fields

    async def rest(self) -> None:
        """Return at once: nothing is queued."""


class ScannedRequest:
    """As RequestMeter, for a request whose body the proxy has scanned itself."""

    __slots__ = ("_asks", "model")

    busy = False
    """Whether some bytes are not read yet."""
    stream = False
    """Whether the request asks for a stream of events."""

    def __init__(self, model: str, asks: Callable[[], bool]) -> None:
        """`model` is the name that went up; `asks` tells whether annotations are asked for, by what has passed so far."""
        self.model: str | None = model
        self._asks = asks

    @property
    def annotated(self) -> bool:
        """Whether annotations are asked for."""
        return self._asks()

    async def rest(self) -> None:
        """Return at once: nothing is queued."""


AnyRequestMeter = RequestMeter | BufferedRequestMeter | ScannedRequest
"""What has read a request."""


def open_request_meter(content_encoding: bytes | None, decoders: Executor, *, max_bytes: int = MAX_BYTES) -> RequestMeter | None:
    """Return the meter of a body with this Content-Encoding (its fields joined by commas), None if it cannot be decoded."""
    try:
        return RequestMeter(chain(content_encoding, max_bytes), decoders, max_bytes)
    except Undecodable:
        return None


def with_request_fields(usage: Usage, request_meter: AnyRequestMeter, kind: ResponseKind) -> Usage:
    """Return the usage with what only the request says: the model's name, and that all pages are annotated.

    NOTHING stays NOTHING. `kind` is how the response was read.
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
