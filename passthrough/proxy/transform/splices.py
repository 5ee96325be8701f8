"""Replaces the few parts of a passing OCR request that are a deployment's: model, URL of the document, defaults."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from operator import itemgetter
from typing import Final

from .base64_stream import encoded_length
from .request_scan import RequestScan

_JOINED_BYTES: Final = 65536
"""Up to this much is copied, so that few writes go out; what is left of a longer piece goes out as a view of it."""


_ENCODE: Final = json.JSONEncoder(ensure_ascii=False).encode


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


_Edit = tuple[int, int, tuple[bytes | Slot, ...]]
"""Bytes from the first offset to the second become these parts."""


class Splices:
    """One try's way of changing a body: fed with all of it, from its first byte on, behind the scan.

    Every byte that is not replaced goes out as it came. `length` is exact before the first byte: room for each default is kept in
    it, and filled with blanks where the body has the key (behind the body, where its object has no end).
    """

    __slots__ = ("_defaults", "_edits", "_position", "_room", "_scan", "length")

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
        assert scan.model_known
        assert scan.watched.issuperset(key for key, _ in defaults)
        self._scan = scan
        self._position = 0
        self._defaults = defaults
        self._edits: list[_Edit] = []  # those that are left, the next one last
        length = body_length
        if scan.model_span is None:
            self._defaults = (("model", _text(model)), *defaults)
        elif scan.model != model:
            (begin, end), written = scan.model_span, _text(model)
            self._edits.append((begin, end, (written,)))
            length += len(written) - (end - begin)
        if document is not None:
            source = scan.source
            assert source is not None
            assert source.end is not None
            head = _text(f"data:{document.media_type};base64,")[:-1]
            self._edits.append((source.begin, source.end, (head, DOCUMENT, b'"')))
            length += len(head) + encoded_length(document.length) + 1 - (source.end - source.begin)
        if len(self._edits) > 1:
            self._edits.sort(key=itemgetter(0), reverse=True)
        self._room = sum(len(_member(key, value)) for key, value in self._defaults)
        self.length = length + self._room
        """The bytes that go out, all together."""

    def passes(self, size: int) -> bool:
        """Count the next bytes as sent, if they go out as they are; False: feed them. The scan has read them."""
        if self._next() < self._position + size:
            return False
        self._position += size
        return True

    def _next(self) -> int:
        """Return the offset of the next change, which is behind all that the scan has read where none is left."""
        if self._edits:
            return self._edits[-1][0]
        closing = self._scan.closing
        return self._scan.position if closing is None or not self._room else closing

    def feed(self, piece: Part) -> list[Part | Slot]:
        """Return what goes out for the next bytes, which the scan has read; `[piece]` itself where nothing is changed in it."""
        begin, stop = self._position, self._position + len(piece)
        assert stop <= self._scan.position
        self._position = stop
        closing = self._scan.closing
        if self._room and closing is not None and closing < stop:
            self._edits.insert(0, (closing, closing, (self._fill(),)))
        parts: list[Part | Slot] = []
        at, view = begin, memoryview(piece)
        while self._edits and self._edits[-1][0] < stop:
            edit_begin, edit_end, new = self._edits[-1]
            if edit_begin >= at:
                parts.append(view[at - begin : edit_begin - begin])
                parts += new
            if edit_end > stop:
                at = stop
                break
            at = max(edit_end, begin)
            self._edits.pop()
        if at == begin and not parts:
            return [piece]
        parts.append(view[at - begin :])
        return _joined(parts)

    def _fill(self) -> bytes:
        """Return what fills the room: the defaults that the body does not have, and blanks."""
        room, self._room = self._room, 0
        added = b"".join(_member(key, value) for key, value in self._defaults if key not in self._scan.present)
        if self._scan.is_empty:
            added = added[1:]
        return added.ljust(room)

    def end(self) -> bytes:
        """Return what goes out behind the last byte: blanks, where room for defaults was not used."""
        room, self._room = self._room, 0
        return b" " * room


def _text(text: str) -> bytes:
    return _ENCODE(text).encode()


def _member(key: str, value: bytes) -> bytes:
    return b",%b:%b" % (_text(key), value)


def _joined(parts: list[Part | Slot]) -> list[Part | Slot]:
    """Join neighbours that are short."""
    joined: list[Part | Slot] = []
    short: list[Part] = []
    for part in (*parts, DOCUMENT):
        if isinstance(part, Slot) or len(part) > _JOINED_BYTES:
            text = b"".join(short)
            if text:
                joined.append(text)
            short.clear()
            joined.append(part)
        else:
            short.append(part)
    return joined[:-1]
