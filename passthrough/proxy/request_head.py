"""Validates a request's head: refuses what aiohttp's parser accepts and a proxy must not forward (request smuggling).

Two readers of one head must never disagree about where its body ends or which resource it names. What could be read in two
ways is refused here, before anything is sent (RFC 9112 §3, §6, §11.2). The checks, in order:

1. the version: 1.0 or 1.1 (505);
2. the method: one that a proxy can relay (501 for CONNECT and TRACE); `OPTIONS *` asks the proxy itself;
3. the target: origin-form or absolute-form, visible ASCII, no fragment; a path without dot segments and control bytes in any
   spelling (400);
4. the fields: names that imitate framing, control bytes (400), too many bytes in all (431);
5. Host: exactly one, well-formed (400);
6. the framing: at most one Content-Length or one `Transfer-Encoding: chunked`, never both, none of the latter in 1.0 (400, 501);
7. Expect: nothing but 100-continue (417).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from ..errors import Refusal
from .headers import SHORT, Fields, cached_name, checked_name, is_token, nominated, quoted

MAX_HEAD_BYTES: Final = 64 * 1024
"""The bound of a whole head. nginx has 4 × 8 KB, Apache 100 × 8 KB, Go 1 MB."""


@dataclass(slots=True)
class RequestHead:
    """The head of one valid request. It never changes; but to make a frozen one would take five times as long.

    `path` and `query` are raw bytes; `query` is None without a `?` and empty for a bare one. `length` is the declared
    Content-Length; a request with neither it nor `chunked` has no body (RFC 9112 §6.3). `nominated` are the names that Connection
    makes hop-by-hop. An `http10` client gets no chunked response and no 100. `keep_alive` tells whether the client lets the
    connection persist.
    """

    method: str
    path: bytes
    query: bytes | None = field(repr=False)  # like the fields it may carry a client's key
    fields: Fields = field(repr=False)
    nominated: frozenset[bytes] = field(repr=False)
    http10: bool
    keep_alive: bool
    length: int | None
    chunked: bool
    expects_continue: bool


_VISIBLE: Final = re.compile(rb"[\x21-\x7e]+")
_INVISIBLE: Final = re.compile(rb"[^\x21-\x7e]")
_SEPARATOR: Final = rb"(?:/|\\|%2f|%5c)"
# Targets differ in what they decode before they resolve dots, and some drop `;parameters`: so every spelling counts.
_DOT_SEGMENT: Final = re.compile(_SEPARATOR + rb"(?:\.|%2e){1,2}(?:;|\?|%3b|%3f|%00|$|" + _SEPARATOR + rb")", re.IGNORECASE)
_ENCODED_CONTROL: Final = re.compile(rb"%(?:[01][0-9A-Fa-f]|7[Ff])")
# Starlette 1.10 serves `/ocr%0A` as `/ocr`, and servers in C end a path at `%00`: no path needs them.
_ABSOLUTE: Final = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)
_USERINFO: Final = re.compile(rb"\A([a-z][a-z0-9+.-]*://|)[^/?]*@", re.IGNORECASE)
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_READ_HERE: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect"})
_UPGRADES_READ_ON: Final = frozenset({b"websocket", b"tcp"})
"""After any other upgrade aiohttp 3.14 loses what came in one piece with the request: the rest would be read as the next one."""


def validate(method: str, target: bytes, version: tuple[int, int], raw: tuple[tuple[bytes, bytes], ...]) -> RequestHead:
    """Return the head of a valid request, or raise Refusal; one that leaves the framing in doubt closes the connection.

    `target` is the whole request target, and `raw` are the header's names and values, both as they came.
    """
    if version not in {(1, 0), (1, 1)} or method == "SOURCE":  # The parser accepts SOURCE for ICE/1.0 only.
        raise Refusal("version_not_supported", "Only HTTP/1.1 and HTTP/1.0 are spoken here.", closes=True)
    if method in {"CONNECT", "TRACE"}:
        # TRACE would send back what the proxy injects, keys included (RFC 9110 §9.3.8).
        raise Refusal("not_implemented", f"{method} is not relayed.", closes=True)
    path, query = (target, None) if method == "OPTIONS" and target == b"*" else _target(target)
    fields = _checked(raw)
    by_name: dict[bytes, tuple[bytes, ...]] = {}
    for lower, _, value in fields:
        if lower in _READ_HERE:
            by_name[lower] = (*by_name.get(lower, ()), value)
    _check_host(by_name.get(b"host", ()), required=version == (1, 1))
    length, chunked = _framing(by_name, http10=version == (1, 0))
    connection = nominated(fields) if b"connection" in by_name else frozenset()
    return RequestHead(
        method=method,
        path=path,
        query=query,
        fields=fields,
        nominated=connection,
        http10=version == (1, 0),
        keep_alive=(
            b"close" not in connection
            and (version == (1, 1) or b"keep-alive" in connection)
            and by_name.get(b"upgrade", (b"websocket",))[0].lower() in _UPGRADES_READ_ON
        ),
        length=length,
        chunked=chunked,
        expects_continue=_expectation(by_name.get(b"expect", ()), http10=version == (1, 0)),
    )


def _target(target: bytes) -> tuple[bytes, bytes | None]:
    """Return raw path and query of a request target (RFC 9112 §3.2)."""
    if not _VISIBLE.fullmatch(target):
        raise Refusal("bad_request", unencoded_byte(target), closes=True)
    if b"#" in target:
        raise Refusal("bad_request", "The request target has a fragment ('#').", closes=True)
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None or not _HOST.fullmatch(absolute[1]):
            raise Refusal("bad_request", "The request target is neither a path nor an http URL.", closes=True)
        target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    path, mark, query = target.partition(b"?")
    if (b"." in path or b"%" in path) and _DOT_SEGMENT.search(path):
        raise Refusal("bad_request", "The path has dot segments; they are not resolved here.", closes=True)
    if b"%" in path and (control := _ENCODED_CONTROL.search(path)):
        where = f"%{control[0][1:].decode('ascii')} at byte {control.start() + 1}"
        raise Refusal("bad_request", f"The path has an encoded control byte ({where}).", closes=True)
    return path, query if mark else None


def _checked(raw: tuple[tuple[bytes, bytes], ...]) -> Fields:
    """Return the fields, after a check of every name and value."""
    fields = []
    size = 0
    for name, value in raw:
        lower, usable = cached_name(name) if len(name) <= SHORT else checked_name(name)
        if not usable:
            wrong = f"{quoted(name)} imitates one that frames the body" if is_token(name) else "has a name that is not a token"
            raise Refusal("bad_request", f"The field {wrong}.", closes=True)
        fields.append((lower, name, value))
        size += len(name)
    values = b" ".join([value for _, value in raw])
    if size + len(values) > MAX_HEAD_BYTES:  # A pipelined one, for which the parser's own bound is not exact.
        raise Refusal("headers_too_large", f"The head of the request is longer than {MAX_HEAD_BYTES} bytes.", closes=True)
    if _CONTROL.search(values):
        raise Refusal("bad_header", next(filter(None, (control_byte(name, value) for name, value in raw))), closes=True)
    return tuple(fields)


def control_byte(name: bytes, value: bytes) -> str:
    """Return the message about a control byte in a field's value, an empty text where there is none."""
    found = _CONTROL.search(value)
    where = "" if found is None else f"0x{found[0][0]:02X} at byte {found.start() + 1}"
    return f"The value of the field {quoted(name)} has a control byte ({where})." if where else ""


def unencoded_byte(target: bytes) -> str:
    """Return the message about a byte of a request target that must be percent-encoded, an empty text where there is none."""
    if not target:
        return "There is no request target."
    found = _INVISIBLE.search(target)
    where = "" if found is None else f"0x{found[0][0]:02X} at byte {found.start() + 1}"
    return f"The request target has a byte that must be percent-encoded ({where})." if where else ""


def escaped_path(target: bytes) -> str:
    """Return a request target's path as ASCII text, for the log: without query, user and password; other bytes escaped."""
    if not target.startswith(b"/"):
        target = _USERINFO.sub(rb"\1***@", target)
    return _INVISIBLE.sub(lambda found: b"\\x%02x" % found[0][0], target.partition(b"?")[0]).decode("ascii")


def _check_host(hosts: tuple[bytes, ...], *, required: bool) -> None:
    """Raise Refusal unless there is exactly one well-formed Host (RFC 9112 §3.2); HTTP/1.0 may have none."""
    if not hosts and not required:
        return
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise Refusal("bad_request", "There must be exactly one well-formed Host.", closes=True)


def _framing(by_name: dict[bytes, tuple[bytes, ...]], *, http10: bool) -> tuple[int | None, bool]:
    """Return the declared length and whether the body is chunked (RFC 9112 §6)."""
    lengths = by_name.get(b"content-length", ())
    codings = by_name.get(b"transfer-encoding", ())
    if codings:
        if http10 or lengths:
            raise Refusal("bad_request", "Transfer-Encoding conflicts with HTTP/1.0 or Content-Length.", closes=True)
        listed = [coding.strip().lower() for value in codings for coding in value.split(b",")]
        if listed[-1] != b"chunked" or listed.count(b"chunked") != 1:
            raise Refusal("bad_request", "The last transfer coding, and only it, must be 'chunked'.", closes=True)
        if len(listed) > 1:
            raise Refusal("not_implemented", "No transfer coding but 'chunked' is understood.", closes=True)
        return None, True
    if not lengths:
        return None, False
    length = content_length(lengths[0]) if len(lengths) == 1 else None
    if length is None:
        raise Refusal("bad_request", "There must be at most one Content-Length, in digits.", closes=True)
    return length, False


def content_length(value: bytes) -> int | None:
    """Return the value of a Content-Length, None where it is malformed (RFC 9110 §8.6)."""
    return int(value) if value.isdigit() and len(value) <= 19 else None


def _expectation(expectations: tuple[bytes, ...], *, http10: bool) -> bool:
    """Tell whether the client waits for 100 Continue (RFC 9110 §10.1.1: an HTTP/1.0 client cannot)."""
    if not expectations:
        return False
    if any(expectation.lower() != b"100-continue" for expectation in expectations):
        raise Refusal("expectation_failed", "This expectation cannot be met.", closes=True)
    return not http10
