"""One refusal in HTTP/2, for a client that speaks nothing else: it would drop a response in HTTP/1.1 unread (RFC 9113 §3.4)."""

from __future__ import annotations

import struct
from typing import Final

_DATA, _HEADERS, _SETTINGS, _GOAWAY = 0, 1, 4, 7
_ACK = _END_STREAM = 0x1
_END_HEADERS: Final = 0x4
_STREAM: Final = 1  # that of a client's first request (RFC 9113 §5.1.1)
_HTTP_1_1_REQUIRED: Final = 0xD

# RFC 7541, Appendix A: indexes of the static table, in a literal field that is not indexed (§6.2.2).
_STATUS: Final = b"\x08"
_CACHE_CONTROL: Final = b"\x0f\x09"
_CONTENT_TYPE: Final = b"\x0f\x10"
_NEW_NAME: Final = b"\x00"


def http2_refusal(status: int, code: str, body: bytes) -> bytes:
    """Return all that is sent to a client whose first request is refused: a whole response, and the end of the connection.

    `body` is JSON of at most 16,384 bytes: one frame (RFC 9113 §4.2).
    """
    head = (
        _STATUS + _text(b"%d" % status)
        + _CONTENT_TYPE + _text(b"application/json")
        + _CACHE_CONTROL + _text(b"no-store")
        + _NEW_NAME + _text(b"x-passthrough-error") + _text(code.encode("ascii"))
    )  # fmt: skip
    return b"".join(
        (
            _frame(_SETTINGS, 0, 0, b""),
            _frame(_SETTINGS, _ACK, 0, b""),
            _frame(_HEADERS, _END_HEADERS, _STREAM, head),
            _frame(_DATA, _END_STREAM, _STREAM, body),
            _frame(_GOAWAY, 0, 0, struct.pack(">II", _STREAM, _HTTP_1_1_REQUIRED)),
        )
    )


def _text(text: bytes) -> bytes:
    """Return a string literal of less than 127 bytes, without Huffman's coding (RFC 7541 §5.2)."""
    return bytes((len(text),)) + text


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame (RFC 9113 §4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload
