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


class _Wishes:
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

    __slots__ = ("_tap", "_wishes", "peek")

    peek: Callable[[bytearray, int], bool]
    """Takes the first bytes of a buffer, where that needs no copy of them; False: they are to be fed."""

    def __init__(self, coding: Chain | None, decoders: Executor, most_bytes: int = MAX_BYTES) -> None:
        """`most_bytes`: what stands behind so many decoded bytes is not seen."""
        self._wishes = _Wishes()
        scanner = WideScanner(_WANTED, self._wishes.take)
        self._tap = MeterPipeline(scanner, coding, decoders, most_bytes, lambda: not scanner.lost)
        self.peek = partial(self._tap.peek, scanner.peek)  # nothing stands between

    @property
    def busy(self) -> bool:
        """Whether what passed is not all read yet: see `rest`."""
        return self._tap.busy

    @property
    def model(self) -> str | None:
        """The model that is asked for, None where none is named; not to be read while busy."""
        return self._wishes.model

    @property
    def annotated(self) -> bool:
        """Whether annotations are asked for, of the document or of its images; not to be read while busy."""
        return bool(self._wishes.formats)

    def feed(self, piece: bytes) -> bool:
        """Take the next bytes of the body, as they are on the wire; False: await `drained` before the next (tap.Tap.feed)."""
        return self._tap.feed(piece)

    async def drained(self) -> None:
        """Wait until there is room for more."""
        await self._tap.drained()

    async def rest(self) -> None:
        """Wait until what has passed is read."""
        await self._tap.rest()


class BufferedRequestMeter:
    """As `Asked`, of a small plain body that came whole: it is read only when somebody wants to know, which is seldom."""

    __slots__ = ("_body", "_wishes")

    busy = False
    """Whether what passed is not all read yet."""

    def __init__(self, body: bytes) -> None:
        """`body` is held as long as the exchange is not booked: at most at_once.SMALL_BYTES."""
        self._body = body
        self._wishes: _Wishes | None = None

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

    def _read(self) -> _Wishes:
        if self._wishes is None:
            self._wishes = _Wishes()
            scanner = WideScanner(_WANTED, self._wishes.take)
            at = 0
            while at < len(self._body) and not scanner.lost:
                at = scanner.feed(self._body, at)
        return self._wishes

    async def rest(self) -> None:
        """Wait for nothing."""


def open_asked(content_encoding: bytes | None, decoders: Executor, *, most_bytes: int = MAX_BYTES) -> RequestMeter | None:
    """Return what looks at a body with this Content-Encoding (its fields joined by commas), None if nothing can."""
    try:
        return RequestMeter(chain(content_encoding, most_bytes), decoders, most_bytes)
    except Undecodable:
        return None


def named_by(usage: Usage, asked: RequestMeter | BufferedRequestMeter, kind: ResponseKind) -> Usage:
    """Return the usage with what only the request told: the model's name, and that all pages are annotated.

    Nothing at all stays that. `kind` is what the answer was read as.
    """
    if usage.model is None and usage != NOTHING and asked.model is not None:
        usage = replace(usage, model=asked.model)
    if usage.pages is not None and usage.pages_annotated is None and kind is not ResponseKind.COUNTED and asked.annotated:
        usage = replace(usage, pages=0, pages_annotated=usage.pages)
    return usage
