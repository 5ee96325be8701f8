"""Our own answers: in Mistral's error shape, with a hint, and marked as ours."""

from __future__ import annotations

import json
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from ..errors import Failure

MARK = b"X-Passthrough-Error"


@lru_cache(maxsize=4)
def date_line(now_utc_s: int) -> bytes:
    """Return the Date field of a second since the epoch (RFC 9110 §6.6.1)."""
    return b"Date: " + formatdate(now_utc_s, usegmt=True).encode("ascii")


def own_answer(failure: Failure, now_utc: float, *, keeps_alive: bool, with_body: bool) -> bytes:
    """Return the whole response for `failure`; a HEAD request gets its head alone (`with_body` false)."""
    kind = failure.kind
    body = json.dumps(
        {
            "object": "error",
            "message": failure.message,
            "type": kind.code,
            "param": None,
            "code": kind.code,
            "raw_status_code": kind.status,
            "hint": failure.hint,
        },
        ensure_ascii=False,
    ).encode()
    lines = [
        f"HTTP/1.1 {kind.status} {HTTPStatus(kind.status).phrase}",
        date_line(int(now_utc)).decode("ascii"),
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"{MARK.decode()}: {kind.code}",
    ]
    if kind.status == HTTPStatus.UNAUTHORIZED:
        lines.append("WWW-Authenticate: Bearer")  # RFC 9110 §15.5.2: a 401 names a scheme
    if failure.allow:
        lines.append(f"Allow: {', '.join(failure.allow)}")
    if failure.retry_after_s is not None:
        lines.append(f"Retry-After: {failure.retry_after_s}")
    lines.append(f"Connection: {'keep-alive' if keeps_alive else 'close'}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body if with_body else b"")
