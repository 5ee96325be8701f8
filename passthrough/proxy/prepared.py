"""Caches, for each client connection, the result of phases 0 to 3 for its last request head.

A program's requests mostly have the same head. All that is found out about a head, up to the head that the target gets, follows
from its bytes and the rules alone: a head with the same bytes has the same result. Only the digits of Content-Length may differ,
as nothing but the length depends on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from ..credentials.token import Token
from ..credentials.token_source import TokenSource
from .auth import ClientKey
from .cors import CorsHeaders
from .request_head import RequestHead, content_length
from .routes import Match

MAX_BYTES: Final = 4096
"""A larger head is not cached: each of many connections would hold one."""

_LENGTH: Final = b"content-length"
_MAX_HEADS: Final = 4
_MAX_HEAD_BYTES: Final = 1024
"""How many heads to deployments are kept for a client's connection, and how long they are at most."""

RawFields = tuple[tuple[bytes, bytes], ...]
"""The names and values of a header, as they came."""


class RawHead(Protocol):
    """A request's head as aiohttp's parser returns it."""

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
    """A request whose head was accepted, with all that follows from the head. Only `upstream_heads` grows.

    `logged_path` is the path for the log; `metered_path` is the raw path that selects the meter's shape. `client` is the client
    key, None where the route asks for none; `label` is the value of a label header, `labels` are the named ones, sorted by name.
    `request_head` is what the target gets, and `secrets` are what must not come back from it. `cors_headers` are those of the
    response, None without CORS. `response_lines` are added to the response's head: they name the deployment that was chosen.
    `token_source` has the token that is added to `request_head` when it is sent, and to `secrets`; None: none is fetched.
    `upstream_heads` are the heads of requests that choose a deployment, by that and what else they differ in.

    Not frozen: to freeze one costs more than to make it.
    """

    logged_path: str
    head: RequestHead
    match: Match
    metered_path: bytes
    client: ClientKey | None
    label: str | None
    labels: tuple[tuple[str, str], ...]
    request_head: bytes = field(repr=False)
    secrets: tuple[bytes, ...] = field(repr=False)
    cors_headers: CorsHeaders | None = None
    response_lines: tuple[bytes, ...] = ()
    upstream_heads: dict[tuple[str, bytes], bytes] = field(default_factory=dict, repr=False)
    token_source: TokenSource | None = None

    def upstream_head(self, key: tuple[str, bytes], make: Callable[[], bytes]) -> bytes:
        """Return one of `upstream_heads`; else make it, and keep it if it is short. All else follows from the client's head."""
        head = self.upstream_heads.get(key)
        if head is None:
            head = make()
            if len(self.upstream_heads) >= _MAX_HEADS:
                self.upstream_heads.clear()
            if len(head) <= _MAX_HEAD_BYTES:
                self.upstream_heads[key] = head
        return head

    def with_token(self, token: Token, *before: Token) -> PreparedRequest:
        """Return the request as it is sent: with the token's line at the end of its head, and the token among its secrets.

        `before` are those with which it was sent before, which are secrets too.
        """
        return PreparedRequest(  # dataclasses.replace takes eight times as long.
            self.logged_path,
            self.head,
            self.match,
            self.metered_path,
            self.client,
            self.label,
            self.labels,
            head_with(token, self.request_head),
            secrets_with(self.secrets, token, *before),
            self.cors_headers,
            self.response_lines,
            self.upstream_heads,
            self.token_source,
        )


def head_with(token: Token, head: bytes) -> bytes:
    """Return a request's head with the line of its token, the empty line included."""
    return b"%b%b\r\n\r\n" % (head[:-2], token.line)


def secrets_with(secrets: tuple[bytes, ...], *tokens: Token) -> tuple[bytes, ...]:
    """Return what must not come back from a request that was sent with these tokens."""
    return (*secrets, *[token.secret.reveal().encode("ascii") for token in tokens])


class HeadCache:
    """The last accepted head of one connection. It holds the client's key, as long as that connection is open."""

    __slots__ = ("_digits", "_length_at", "_method", "_prepared", "_raw", "_rules", "_target", "_version")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Empty the cache."""
        self._rules: object = None
        self._prepared: PreparedRequest | None = None
        self._method = self._target = ""
        self._version: tuple[int, int] = (0, 0)
        self._raw: RawFields = ()
        self._length_at = -1  # of the one Content-Length
        self._digits = (0, 0)  # where they begin and end in the request to the target

    def keep(self, rules: object, head: RawHead, prepared: PreparedRequest) -> None:
        """Cache a head that was accepted under these rules, in place of the one before."""
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
            if not prepared.request_head:  # Heads of which the body decides on the target get their length with that.
                self._length_at = at
            elif line >= 0 and prepared.request_head.lower().count(b"\r\n%b:" % _LENGTH) == 1:
                begin = line + 4 + len(name)
                self._length_at, self._digits = at, (begin, begin + len(digits))

    def recall(self, rules: object, head: RawHead) -> PreparedRequest | None:
        """Return the result for a head under these rules, None where it is not in the cache."""
        prepared = self._prepared
        if prepared is None:
            return None
        if self._rules is not rules:  # Else the rules before a reload would be held as long as the connection is open.
            self.forget()
            return None
        if self._target != head.raw_path or self._method != head.method or self._version != head.version:
            return None
        raw = head.raw_headers
        return prepared if raw == self._raw else self._with_other_length(prepared, raw)

    def _with_other_length(self, prepared: PreparedRequest, raw: RawFields) -> PreparedRequest | None:
        """Return the result for a header that differs from the cached one only by the digits of its Content-Length."""
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
            prepared.labels,
            prepared.request_head[:begin] + digits + prepared.request_head[end:] if prepared.request_head else b"",
            prepared.secrets,
            prepared.cors_headers,
            (),
            prepared.upstream_heads,
            prepared.token_source,
        )
