"""Passes on a body as it was sent, where its Content-Encoding is unknown or false.

Servers write `Content-Encoding: UTF-8` or `none`, and middleware inflates a body and keeps the field. Clients may write anything
there, and many servers never look at it. Such a field must not hide a request from the meter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ..errors import PassthroughError

HELD_BYTES: Final = 65536
"""The most that is held of a body until it shows what it is."""

# JSON, or a stream of events. What is no such text is in an unknown coding.
_TEXT: Final = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*+(?:[{\[]|data:|event:|id:|retry:|:)").match
_BEGUN: Final = re.compile(
    rb"(?:\xef(?:\xbb)?|(?:\xef\xbb\xbf)?[ \t\r\n]*+(?:d(?:a(?:ta?)?)?|e(?:v(?:e(?:nt?)?)?)?|id?|r(?:e(?:t(?:ry?)?)?)?)?)"
).fullmatch
_WIDE: Final = re.compile(rb"\xff\xfe|\xfe\xff|\x00{1,3}(?:[{\[ \t\r\n]|\xfe\xff)|[{\[ \t\r\n]\x00").match
_WIDE_BEGUN: Final = re.compile(rb"[\xff\xfe]|\x00{1,3}\xfe?").fullmatch


class Undecodable(PassthroughError):
    """A content coding is unknown, or bytes are not in their coding."""


class FalseCoding:
    """The decoder of a false coding: passes on the bytes if they look like JSON (UTF-8, -16 or -32) or a stream of events."""

    __slots__ = ("_held", "_seen")

    def __init__(self) -> None:
        self._held = b""
        self._seen = False

    @property
    def whole(self) -> bool:
        """Tell whether nothing is held (decode.Decoder)."""
        return not self._held

    def pieces(self, sent: bytes) -> Iterator[bytes]:
        """Yield the bytes once they have shown what they are. Raises Undecodable if they are something else."""
        if not self._seen:
            sent, self._held = self._held + sent, b""
            if _TEXT(sent) or _WIDE(sent):
                self._seen = True
            elif (_BEGUN(sent) or _WIDE_BEGUN(sent)) and len(sent) < HELD_BYTES:
                self._held = sent
                return
            else:
                raise Undecodable("neither of a known coding nor as it is")
        if sent:
            yield sent
