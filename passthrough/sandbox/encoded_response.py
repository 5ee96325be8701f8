"""A response as its bytes: JSON, compressed where that is accepted and worth it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from .errors import Rejection, in_shape_of

_WORTH_GZIP: Final = 1024  # bytes
_GZIP_LEVEL: Final = 4  # base64 of pictures hardly shrinks: more effort is lost on it


@dataclass(frozen=True, slots=True)
class EncodedResponse:
    """A status, the bytes of a JSON body, and the headers that describe them."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def json_bytes(body: object) -> bytes:
    """Return a value as JSON, without blanks."""
    # `replace`: an escaped half of a surrogate pair is legal JSON and has no UTF-8
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def encoded(status: int, body: Mapping[str, object], gzipped: bool, headers: Mapping[str, str] | None = None) -> EncodedResponse:
    """Return `body` as JSON; `gzipped` if the client accepts that and the body is large enough."""
    raw = json_bytes(body)
    described = {"Content-Type": "application/json", "Vary": "Accept-Encoding", **(headers or {})}
    if not gzipped or len(raw) <= _WORTH_GZIP:
        return EncodedResponse(status, raw, described)
    return EncodedResponse(status, gzip.compress(raw, _GZIP_LEVEL, mtime=0), {**described, "Content-Encoding": "gzip"})


def encoded_answer(answer: Callable[[], Mapping[str, object]], api: str, gzipped: bool) -> EncodedResponse:
    """Return what `answer` returns, or the error that it raises in the shape of this API. Blocks as long as `answer` does."""
    try:
        return encoded(200, answer(), gzipped)
    except Rejection as rejection:
        shaped = in_shape_of(api, rejection)
        return encoded(shaped.status, shaped.body, gzipped, shaped.headers)
