"""What a request's head comes to, remembered for the next one of its connection: a program's requests are most often alike.

All that is found out about a head, up to what is sent to the target instead, follows from its bytes and the rules alone. So a
head with the same bytes needs no second look. Only the digits of Content-Length may differ: nothing else hangs on them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from .auth import ClientKey
from .cors import CorsHeaders
from .request_head import RequestHead, content_length
from .routes import Match

MAX_BYTES: Final = 4096
"""A larger head is not remembered: each of many connections would hold it."""

_LENGTH: Final = b"content-length"

RawFields = tuple[tuple[bytes, bytes], ...]
"""A header's names and values as they came."""


class RawHead(Protocol):
    """A request's head as aiohttp's parser passes it on."""

    @property
    def method(self) -> str:
        """The method."""

    @property
    def raw_path(self) -> str:
        """The request target."""

    @property
    def version(self) -> tuple[int, int]:
        """The version of HTTP."""

    @property
    def raw_headers(self) -> RawFields:
        """The header."""


@dataclass(slots=True)
class PreparedRequest:
    """A head that was let through, and what it comes to. Nobody changes one; to freeze it would cost more than to make it.

    `shown` is the path for the log. `telling` is the raw path that tells what is counted. `client` and `label` are who asks,
    None where nobody is named. `request_head` is what goes to the target, and `secrets` are what must not come back from there.
    `sharing` is what the response says of web pages that may read it, None where it says nothing.
    """

    logged_path: str
    head: RequestHead
    match: Match
    metered_path: bytes
    client: ClientKey | None
    label: str | None
    request_head: bytes = field(repr=False)
    secrets: tuple[bytes, ...] = field(repr=False)
    cors_headers: CorsHeaders | None = None


class HeadCache:
    """The last head of one connection that was let through. It holds the client's key, as long as that connection is open."""

    __slots__ = ("_digits", "_length_at", "_method", "_prepared", "_raw", "_rules", "_target", "_version")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Remember nothing, and hold nothing."""
        self._rules: object = None
        self._prepared: PreparedRequest | None = None
        self._method = self._target = ""
        self._version: tuple[int, int] = (0, 0)
        self._raw: RawFields = ()
        self._length_at = -1  # of the one Content-Length
        self._digits = (0, 0)  # where they begin and end in the request to the target

    def keep(self, rules: object, head: RawHead, prepared: PreparedRequest) -> None:
        """Remember a head which was let through under these rules, in place of the one before."""
        raw = head.raw_headers
        if len(head.raw_path) + sum([len(name) + len(value) for name, value in raw]) > MAX_BYTES:
            self.forget()
            return
        self._rules, self._prepared = rules, prepared
        self._method, self._target, self._version, self._raw = head.method, head.raw_path, head.version, raw
        self._length_at = -1
        if prepared.head.length is not None:
            at = next(at for at, (lower, _, _) in enumerate(prepared.head.fields) if lower == _LENGTH)
            name, digits = raw[at]
            line = prepared.request_head.find(b"\r\n%b: %b\r\n" % (name, digits))
            if line >= 0 and prepared.request_head.lower().count(b"\r\n%b:" % _LENGTH) == 1:
                begin = line + 4 + len(name)
                self._length_at, self._digits = at, (begin, begin + len(digits))

    def recall(self, rules: object, head: RawHead) -> PreparedRequest | None:
        """Return what a head comes to under these rules, where that is remembered; None: it is to be judged."""
        prepared = self._prepared
        if prepared is None:
            return None
        if self._rules is not rules:  # Else what they replaced would be held as long as the connection is open.
            self.forget()
            return None
        if self._target != head.raw_path or self._method != head.method or self._version != head.version:
            return None
        raw = head.raw_headers
        return prepared if raw == self._raw else self._with_other_length(prepared, raw)

    def _with_other_length(self, prepared: PreparedRequest, raw: RawFields) -> PreparedRequest | None:
        """Return what a header comes to that differs from the remembered one by the digits of its Content-Length alone."""
        at, known = self._length_at, self._raw
        if at < 0 or len(raw) != len(known) or raw[:at] != known[:at] or raw[at + 1 :] != known[at + 1 :]:
            return None
        name, digits = raw[at]
        length = content_length(digits) if name == known[at][0] else None
        if length is None:
            return None
        old, (begin, end) = prepared.head, self._digits
        fields = (*old.fields[:at], (_LENGTH, name, digits), *old.fields[at + 1 :])
        return PreparedRequest(
            prepared.logged_path,
            RequestHead(
                old.method,
                old.path,
                old.query,
                fields,
                old.nominated,
                old.http10,
                old.keep_alive,
                length,
                old.chunked,
                old.expects_continue,
            ),
            prepared.match,
            prepared.metered_path,
            prepared.client,
            prepared.label,
            prepared.request_head[:begin] + digits + prepared.request_head[end:],
            prepared.secrets,
            prepared.cors_headers,
        )
