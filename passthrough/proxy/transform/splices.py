"""Replaces the few parts of a passing OCR request that are a deployment's: model, URL of the document, defaults."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from .request_scan import RequestScan


class Slot(Enum):
    """Stands among the pieces for bytes that come from elsewhere."""

    DOCUMENT = "document"


DOCUMENT: Final = Slot.DOCUMENT
"""Here the document comes, in base64, without what stands around it."""

Part = bytes | memoryview
"""Bytes to send. A view is of the piece that was fed."""


@dataclass(frozen=True, slots=True)
class InlinedDocument:
    """What is known of a document before its first byte: it replaces the URL in the body, as a data URI."""

    media_type: str
    length: int  # in bytes, before base64


class Splices:
    """One try's way of changing a body: fed with all of it, from its first byte on, behind the scan.

    Every byte that is not replaced goes out as it came. `length` is exact before the first byte: room for each default is kept in
    it, and filled with blanks where the body has the key (behind the body, where that has no end).
    """

    __slots__ = ("length",)

    def __init__(
        self,
        scan: RequestScan,
        body_length: int,
        model: str,
        defaults: tuple[tuple[str, bytes], ...] = (),
        document: InlinedDocument | None = None,
    ) -> None:
        """`scan.model_known`, and with a `document` its source is a URL. Each default is a key, among the scan's `watched`, and
        its JSON text. A body without `model` gets one.
        """
        self.length = 0
        """The bytes that go out, all together."""
        raise NotImplementedError

    def passes(self, size: int) -> bool:
        """Count the next bytes as sent, if they go out as they are; False: feed them. The scan has read them."""
        raise NotImplementedError

    def feed(self, piece: Part) -> list[Part | Slot]:
        """Return what goes out for the next bytes, which the scan has read; `[piece]` itself where nothing is changed in it."""
        raise NotImplementedError

    def end(self) -> bytes:
        """Return what goes out behind the last byte: blanks, where room for defaults was not used."""
        raise NotImplementedError
