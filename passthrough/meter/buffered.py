"""The meter of a small plain answer that is one document: it is held, and read when somebody wants to know what is in it."""

from __future__ import annotations

from typing import Final

from .bodies import document
from .plan import ResponseKind
from .request import BufferedRequestMeter, RequestMeter, with_request_fields
from .usage import NOTHING, Unmetered, Usage

SMALL_BYTES: Final = 8192
"""What is no larger is held until it is read."""


class BufferedMeter:
    """The meter of one answer of a known length (reading.Meter)."""

    __slots__ = ("_cut", "_ended", "_expected", "_kind", "_left_bytes", "_missing", "_pieces", "_request_meter", "_shape")

    def __init__(
        self,
        shape: document.Shape,
        kind: ResponseKind,
        *,
        expected: bool,
        request_meter: RequestMeter | BufferedRequestMeter | None,
    ) -> None:
        """`expected`: without a count the usage says why. `asked` is what looked at the request."""
        self._shape = shape
        self._kind = kind
        self._expected = expected
        self._request_meter = request_meter
        self._pieces: list[bytes] = []
        self._left_bytes = SMALL_BYTES
        self._ended = False
        self._cut: Unmetered | None = None
        self._missing: Unmetered | None = None  # once it is read

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes of the body; there is always room."""
        if not self._ended:
            self._left_bytes -= len(chunk)
            if self._left_bytes >= 0:
                self._pieces.append(chunk)
            else:
                self._pieces.clear()
        return True

    async def drained(self) -> None:
        """Wait for nothing: there is room."""

    def end(self, cut: Unmetered | None = None) -> None:
        """Say that no more bytes come; `cut` is why the answer did not arrive whole, None if it did. The first call counts."""
        if not self._ended:
            self._ended, self._cut = True, cut

    async def usage(self) -> Usage:
        """Return what was found, after what is still being decoded of the request. Never raises for the answer's bytes."""
        if self._request_meter is not None:
            await self._request_meter.rest()
        return self._found()

    def usage_if_ready(self) -> Usage | None:
        """Return what `usage` would, where nothing is being decoded any more; None where that must be awaited."""
        return None if self._request_meter is not None and self._request_meter.busy else self._found()

    def _found(self) -> Usage:
        usage = self._shape.usage(self._why())
        if usage.unmetered is not None and not self._expected:
            return NOTHING
        return usage if self._request_meter is None else with_request_fields(usage, self._request_meter, self._kind)

    def _why(self) -> Unmetered:
        """Read the body; return why a usage is missing, if it is."""
        if not self._ended:
            return Unmetered.BROKEN
        if self._missing is None:
            pieces = self._pieces
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._pieces = []
            self._missing = Unmetered.TOO_LARGE if self._left_bytes < 0 else document.read(self._shape, body)
        return self._cut or self._missing
