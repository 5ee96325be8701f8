"""The proxy's own responses: errors in Mistral's shape with a hint, marked by X-Passthrough-Error."""

from __future__ import annotations

import json
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from ..errors import Failure, PassthroughError
from ..exchange import RouteTerms

MARK = b"X-Passthrough-Error"


class Reply(PassthroughError):
    """Raised where the proxy itself responds although nothing failed: a status, lines of the head, and a JSON body
    (none for 204). `terms` are those of the route that the request is about, None where there is none.
    """

    def __init__(self, status: int, lines: tuple[bytes, ...], terms: RouteTerms | None = None, body: bytes = b"") -> None:
        super().__init__(f"{status} of our own")
        self.status = status
        self.lines = lines
        self.terms = terms
        self.body = body


@lru_cache(maxsize=4)
def date_line(now_utc_s: int) -> bytes:
    """Return the Date field for a time in seconds since the epoch (RFC 9110 §6.6.1)."""
    return b"Date: " + formatdate(now_utc_s, usegmt=True).encode("ascii")


def own_reply(reply: Reply, now_utc: float, *, keeps_alive: bool, with_body: bool = True) -> bytes:
    """Return the whole response for `reply`; a 204 has no body and no length (RFC 9110 §8.6, §15.3.5).

    `with_body` is false for a HEAD request, whose response is a head alone.
    """
    described = (b"Content-Type: application/json", b"Content-Length: %d" % len(reply.body)) if reply.body else ()
    lines = [
        b"HTTP/1.1 %d %b" % (reply.status, HTTPStatus(reply.status).phrase.encode("ascii")),
        date_line(int(now_utc)),
        *reply.lines,
        *described,
        b"Connection: keep-alive" if keeps_alive else b"Connection: close",
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + (reply.body if with_body else b"")


def own_response(failure: Failure, now_utc: float, *, keeps_alive: bool, with_body: bool, more: tuple[bytes, ...] = ()) -> bytes:
    """Return the whole response for `failure`, with `more` lines in its head.

    `with_body` is false for a HEAD request, whose response is a head alone.
    """
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
        "Cache-Control: no-store",  # Some of these statuses may be cached without it (RFC 9110 §15.1).
        f"{MARK.decode()}: {kind.code}",
    ]
    if kind.status == HTTPStatus.UNAUTHORIZED:
        lines.append("WWW-Authenticate: Bearer")  # RFC 9110 §15.5.2: a 401 names a scheme
    if failure.allow:
        lines.append(f"Allow: {', '.join(failure.allow)}")
    if failure.retry_after_s is not None:
        lines.append(f"Retry-After: {failure.retry_after_s}")
    lines.extend(line.decode("ascii") for line in more)
    lines.append(f"Connection: {'keep-alive' if keeps_alive else 'close'}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body if with_body else b"")
