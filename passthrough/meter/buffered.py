"""The meter of a small plain response that is one document: holds the body, and parses it when its usage is asked for."""

from __future__ import annotations

from typing import Final

from .bodies import document
from .plan import ResponseKind
from .request import AnyRequestMeter, with_request_fields
from .usage import Unmetered, Usage

SMALL_BYTES: Final = 8192
"""A body up to this size is held until it is parsed."""


class BufferedMeter:
    """The meter of one response of a known length; has the interface of meter.Meter."""

    __slots__ = ("_cut", "_ended", "_kind", "_left_bytes", "_missing", "_pieces", "_request_meter", "_shape")

    _read = staticmethod(document.read)

    def __init__(
        self,
        shape: document.Shape,
        kind: ResponseKind,
        *,
        request_meter: AnyRequestMeter | None,
    ) -> None:
        """`request_meter` has read the request. A usage without a count has its reason: every such document should have one."""
        self._shape = shape
        self._kind = kind
        self._request_meter = request_meter
        self._pieces: list[bytes] = []
        self._left_bytes = SMALL_BYTES
        self._ended = False
        self._cut: Unmetered | None = None
        self._missing: Unmetered | None = None  # set once the body is parsed

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes of the body. Always True: nothing is queued."""
        if not self._ended:
            self._left_bytes -= len(chunk)
            if self._left_bytes >= 0:
                self._pieces.append(chunk)
            else:
                self._pieces.clear()
        return True

    async def drained(self) -> None:
        """Return at once: nothing is queued."""

    def end(self, cut: Unmetered | None = None) -> None:
        """End the body. `cut` is why the response did not arrive whole, None if it did. Only the first call counts."""
        if not self._ended:
            self._ended, self._cut = True, cut

    async def usage(self) -> Usage:
        """Return the usage, once all of the request is decoded. Never raises because of the response's bytes."""
        if self._request_meter is not None:
            await self._request_meter.rest()
        return self._found()

    def usage_if_ready(self) -> Usage | None:
        """Return what `usage` would, or None while the request is still being decoded."""
        return None if self._request_meter is not None and self._request_meter.busy else self._found()

    def _found(self) -> Usage:
        usage = self._shape.usage(self._why())
        return usage if self._request_meter is None else with_request_fields(usage, self._request_meter, self._kind)

    def _why(self) -> Unmetered:
        """Parse the body; return the reason for a missing usage."""
        if not self._ended:
            return Unmetered.BROKEN
        if self._missing is None:
            pieces = self._pieces
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._pieces = []
            self._missing = Unmetered.TOO_LARGE if self._left_bytes < 0 else self._read(self._shape, body)
        return self._cut or self._missing


class BufferedStrictMeter(BufferedMeter):
    """As BufferedMeter, for a shape whose counts hold only where nothing follows the document."""

    __slots__ = ()

    _read = staticmethod(document.read_strictly)  # type: ignore[assignment] # its shape is a StrictShape
