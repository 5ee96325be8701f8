"""Rewrites request target, header fields and framing in both directions (RFC 9110 §7.6); pure: values in, bytes out."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from ..credentials.token_source import TokenSource
from ..secret import Secret
from .auth import CREDENTIAL_HEADERS, Authenticator
from .headers import HOP_BY_HOP, Fields, imitates_framing, nominated
from .request_head import RequestHead
from .routes import Route, Target

_DESCRIBES_BODY: Final = re.compile(rb"content-.+|accept.*|range|if-.+|user-agent")
"""The fields that are forwarded even without `forward_headers`: they describe and negotiate the body."""

_CLIENT_ADDRESS: Final = re.compile(
    rb"forwarded|x-forwarded-.*|x-original-(?:forwarded-.*|host|proto|port)|x-real-(?:ip|port)"
    rb"|x-(?:(?:cluster-)?client|remote|originating|source)-(?:ip|addr|port)|(?:(?:true|fastly|fly|(?:wl-)?proxy)-)?client-ip"
    rb"|(?:cf|do)-connecting-ip(?:v6)?|cf-pseudo-ipv4|x-azure-(?:client|socket)ip|x-appengine-(?:user-ip|remote-addr)"
    rb"|x-envoy-external-address|x-proxyuser-ip"
)
"""The fields in which proxies name their client (nginx, Cloudflare, Akamai, Fastly, Azure, Envoy): not trusted from a client."""

_OTHER_PATH: Final = frozenset({b"x-original-url", b"x-original-uri", b"x-rewrite-url"})
"""The fields that IIS and Symfony take for the path: the meter would see another one."""

_OTHER_METHOD: Final = frozenset({b"x-http-method-override", b"x-http-method", b"x-method-override", b"x-original-method"})
"""The fields that Rails, Symfony, Express's method-override, ASP.NET and Google take for the method.

A GET is not metered, a POST is."""

_NEVER_UP: Final = HOP_BY_HOP | _OTHER_PATH | _OTHER_METHOD | {b"host", b"expect", b"content-length"}
"""The fields that are never forwarded: set for the target, handled here, or not to be trusted (as are client addresses)."""

_NOT_ALPHANUMERIC: Final = re.compile(rb"[^a-z0-9]")

_NEVER_BY_PASS: Final = _NEVER_UP | frozenset(CREDENTIAL_HEADERS) | {b"content-encoding", b"cookie"}
"""The fields that `x-pass-NAME` may not set: credentials, host, length, encoding, and those of one connection."""

_NAMES_NO_SECRET: Final = re.compile(rb"version|region|type|accept|agent|language")
"""Configured fields whose values are no credentials although they come from the environment: targets may repeat them."""

_AUTHORIZATION: Final = b"authorization"
_BESIDE_TOKEN: Final = re.compile(rb"authorization|x-goog-(?:user-project|iam-authority-selector)")
"""Where the route fetches a token, a client sets no field with one of these in its name: some servers read `X-Authorization`
first, Cloud Run reads `X-Serverless-Authorization`, and `X-Goog-User-Project` names the project that Google bills."""

_CREDENTIALS: Final = frozenset(CREDENTIAL_HEADERS)
_NEVER_DOWN: Final = HOP_BY_HOP | _CREDENTIALS | {b"alt-svc"}
"""The fields that never go to the client. Alt-Svc would show it how to go around the proxy (Caddy drops it too)."""


_MAX_NAMES: Final = 256


class _Action(Enum):
    """What is done with a client's field, by its name."""

    DROP = auto()
    FORWARD = auto()
    UNWRAP = auto()  # forward it without its `x-pass-`
    FORWARD_IF_FOREIGN = auto()  # a credential: forward it unless it is a client key


class HeaderRewriter:
    """Makes the heads of the requests to a route's target. Configured fields are rendered once, and each name is judged once.

    `token_source` has the token of a route with `upstream_auth`, None without. The token is no part of the heads made here: they
    are cached, and it is added when one is sent. `secrets` are what a response must not echo, without the token.
    """

    __slots__ = (
        "_actions",
        "_authenticator",
        "_credentials",
        "_lines",
        "_lookalikes",
        "_multipart",
        "_replaced",
        "_route",
        "secrets",
        "token_source",
    )

    def __init__(
        self,
        route: Route,
        authenticator: Authenticator,
        token_source: TokenSource | None = None,
        *,
        multipart: bool = False,
    ) -> None:
        """`multipart`: for bodies whose own Content-Type names their boundary, so that a configured one is left out."""
        left_out = {b"content-type"} if multipart else set()
        if route.upstream_auth is not None:
            left_out.add(_AUTHORIZATION)
        own = [(name, value) for name, value in route.headers if name.lower() not in left_out]
        self._route = route
        self._authenticator = authenticator
        self._credentials = authenticator.credential_headers(route)
        self._lines = tuple([name + b": " + value.reveal().encode("utf-8", "surrogateescape") for name, value in own])
        self._replaced = frozenset([name.lower() for name, _ in own])
        self._lookalikes = frozenset([_NOT_ALPHANUMERIC.sub(b"-", name) for name in self._replaced])
        self._actions: dict[bytes, _Action] = {}
        self._multipart = (
            HeaderRewriter(route, authenticator, token_source, multipart=True)
            if not multipart and b"content-type" in self._replaced
            else None
        )
        self.secrets = injected_secrets(route)
        self.token_source = token_source

    def request_head(self, head: RequestHead, suffix: bytes, target: Target) -> bytes:
        """Return the bytes of the head of the request to `target`, the empty line included.

        Strip first, inject after: no field of the client, not even one that Connection nominates, can remove an injected one
        (RFC 9110 §7.6.1). Order, case and duplicates of forwarded fields stay. A declared length stays where it stood; chunked
        stays chunked; no body stays none.
        """
        if self._multipart is not None and _is_multipart(head.fields):
            return self._multipart.request_head(head, suffix, target)
        where = request_target(self._route, target, suffix, head.query)
        lines = [b"%b %b HTTP/1.1" % (head.method.encode("ascii"), where), b"Host: " + target.authority]
        if target.proxy is not None and not target.tls:
            # A plain request through a proxy has its target in absolute form (RFC 9112 §3.2.2); a TLS one goes through a tunnel.
            lines[0] = b"%b http://%b%b HTTP/1.1" % (head.method.encode("ascii"), target.authority, where)
            lines.extend(proxy_authorization(target.proxy))
        actions = self._actions
        for lower, name, value in head.fields:
            action = actions.get(lower) or self._action(lower)
            if action is _Action.DROP or (lower in head.nominated and lower != b"content-length"):
                continue
            if action is _Action.FORWARD:
                lines.append(name + b": " + value)
            elif action is _Action.UNWRAP:
                lines.append(name[7:] + b": " + value)
            # Bring your own key: a client's provider key is forwarded, a client key of ours never is.
            elif self._authenticator.holder(value) is None:
                lines.append(name + b": " + value)
        if head.chunked:
            lines.append(b"Transfer-Encoding: chunked")
        lines.extend(self._lines)
        lines.append(b"\r\n")
        return b"\r\n".join(lines)

    def _action(self, lower: bytes) -> _Action:
        action = self._new_action(lower)
        if len(self._actions) < _MAX_NAMES and len(lower) <= 40:
            self._actions[lower] = action
        return action

    def _new_action(self, lower: bytes) -> _Action:
        """Return the action for a name. One that a CGI-like server takes for a dropped name (`X_Api_Key`) is dropped too."""
        action = self._action_of_name(lower)
        if action is _Action.DROP or (twin := _NOT_ALPHANUMERIC.sub(b"-", lower)) == lower:
            return action
        return action if self._action_of_name(twin) in {_Action.FORWARD, _Action.UNWRAP} else _Action.DROP

    def _action_of_name(self, lower: bytes) -> _Action:
        route = self._route
        if lower == b"content-length":
            return _Action.FORWARD
        if lower in self._replaced or lower in self._lookalikes:
            return _Action.DROP
        if route.upstream_auth is not None and _BESIDE_TOKEN.search(lower):
            return _Action.DROP
        if lower.startswith(b"x-pass-"):
            name = _NOT_ALPHANUMERIC.sub(b"-", lower[7:])
            unwraps = name not in self._lookalikes and _may_be_set(lower, self._credentials, route)
            return _Action.UNWRAP if unwraps else _Action.DROP
        if lower in self._credentials:
            return _Action.FORWARD_IF_FOREIGN if route.forward_credentials else _Action.DROP
        return _Action.FORWARD if _is_forwarded(lower, route) else _Action.DROP


RewriterOf = Callable[[Route], HeaderRewriter]
"""Returns the header rewriter of a deployment's route."""


def _is_multipart(fields: Fields) -> bool:
    return any(lower == b"content-type" and value[:10].lower() == b"multipart/" for lower, _, value in fields)


def _is_forwarded(lower: bytes, route: Route) -> bool:
    """Tell whether a client's field that is no credential is forwarded, by its lower-case name."""
    if lower in _NEVER_UP or _CLIENT_ADDRESS.fullmatch(lower) or _is_kept_label(lower, route):
        return False
    return route.forward_headers or _DESCRIBES_BODY.fullmatch(lower) is not None


def innermost_name(lower: bytes) -> bytes:
    """Return the name that a field sets by `x-pass-`, with `-` for what separates words; of any other field its own.

    The next proxy may unwrap it too: the innermost name counts.
    """
    name = _NOT_ALPHANUMERIC.sub(b"-", lower)
    while name.startswith(b"x-pass-"):
        name = name[7:]
    return name


def _may_be_set(lower: bytes, credentials: tuple[bytes, ...], route: Route) -> bool:
    """Tell whether an `x-pass-NAME` field (its whole name, lower case) may set NAME at the target."""
    name = innermost_name(lower)
    if not name or name in _NEVER_BY_PASS or name in credentials or _CLIENT_ADDRESS.fullmatch(name) or imitates_framing(name):
        return False
    return not _is_kept_label(lower, route) and not _is_kept_label(lower[7:], route)


def _is_kept_label(lower: bytes, route: Route) -> bool:
    """Tell whether this is a label header that the route does not forward."""
    return any(label.name == lower and not label.forward for label in route.label_headers)


def request_target(route: Route, target: Target, suffix: bytes, query: bytes | None) -> bytes:
    """Return the request target for the upstream: base path and suffix as they are, and the merged query.

    The operator's pairs come first, then the client's bytes without the names that the operator has set; with
    `merge_query_params` the client's win. Defaults come last, for names that neither has set. Only names are decoded, to compare
    them. A bare `?` stays.
    """
    base = target.base_path
    path = base[:-1] + suffix if suffix.startswith(b"/") and base.endswith(b"/") else base + suffix
    path = path or b"/"
    if not target.query and not route.default_query:
        return path if query is None else path + b"?" + query
    theirs, ours = _pairs(query or b""), _pairs(target.query)
    if route.merge_query_params:
        ours = _without(ours, _names(theirs))
    else:
        theirs = _without(theirs, _names(ours))
    pairs = [*ours, *theirs, *_without(list(route.default_query), _names([*ours, *theirs]))]
    return path + b"?" + b"&".join(pairs) if pairs else path


def _pairs(query: bytes) -> list[bytes]:
    return query.split(b"&") if query else []


def _name(pair: bytes) -> bytes:
    return unquote_to_bytes(pair.partition(b"=")[0].replace(b"+", b" "))


def _names(pairs: Iterable[bytes]) -> frozenset[bytes]:
    return frozenset(_name(pair) for pair in pairs)


def _without(pairs: list[bytes], names: frozenset[bytes]) -> list[bytes]:
    return [pair for pair in pairs if _name(pair) not in names]


def response_fields(fields: Fields, secrets: tuple[bytes, ...]) -> list[bytes]:
    """Return the lines of an upstream's header that go to the client, as they came, Content-Length among them.

    A field that contains one of `secrets` (what the route injected) is dropped: an upstream that echoes requests must not reveal
    the operator's key.
    """
    dropped = nominated(fields)
    values = b"\n".join([value for _, _, value in fields]) if secrets else b""
    echoed = [secret for secret in secrets if secret in values]
    lines = []
    for lower, name, value in fields:
        if lower in _NEVER_DOWN or (lower in dropped and lower != b"content-length"):
            continue
        if echoed and any(secret in value for secret in echoed):
            continue
        lines.append(name + b": " + value)
    return lines


def without_secrets(text: bytes, secrets: tuple[bytes, ...]) -> bytes:
    """Return a text of an upstream, such as its reason phrase; an empty one where it contains one of `secrets`."""
    for secret in secrets:
        if secret in text:
            return b""
    return text


def injected_secrets(route: Route) -> tuple[bytes, ...]:
    """Return the secrets that a response must not echo: the values of injected credentials, without their scheme."""
    secrets = []
    for name, value in route.headers:
        if name.lower() in _CREDENTIALS or (value.shown != "***" and not _NAMES_NO_SECRET.search(name.lower())):
            revealed = value.reveal().encode("utf-8", "surrogateescape")
            secrets.append(revealed.rpartition(b" ")[2])
    return tuple(secret for secret in secrets if len(secret) >= 8)


def sent_values(route: Route, target: Target, head: RequestHead) -> list[bytes]:
    """Return the values that a request with this `head` of the client's may have carried up, and that may be secrets.

    Of all fields but those that describe the body, of the queries, raw and decoded, and of the HTTP proxy's URL.
    """
    fields = [(name.lower(), value.reveal().encode("utf-8", "surrogateescape")) for name, value in route.headers]
    fields += [(lower, value) for lower, _, value in head.fields]
    pairs = [*_pairs(target.query), *route.default_query, *_pairs(head.query or b"")]
    values = [value for name, value in fields if name not in _NEVER_UP and not _DESCRIBES_BODY.fullmatch(name)]
    if target.proxy is not None:
        values.append(target.proxy.reveal().encode("utf-8", "surrogateescape"))
        values += [line.rpartition(b" ")[2] for line in proxy_authorization(target.proxy)]
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        values += [value or name, unquote_to_bytes((value or name).replace(b"+", b" "))]
    return values


def proxy_authorization(proxy: Secret) -> list[bytes]:
    """Return the header line with the credentials of a proxy's URL, nothing where it has none (RFC 7617)."""
    parts = urlsplit(proxy.reveal())
    if parts.username is None:
        return []
    pair = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
    return [b"Proxy-Authorization: Basic " + b64encode(pair)]


def label_of(route: Route, fields: Fields) -> str | None:
    """Return the value of the first header for the plain label that the request carries, as text of at most 200 characters."""
    return _label(None, route, fields)


def named_labels_of(route: Route, fields: Fields) -> tuple[tuple[str, str], ...]:
    """Return the named labels that the request carries, sorted by name: of several headers for one name the first counts."""
    found = []
    for name in sorted({label.fills for label in route.label_headers if label.fills is not None}):
        if (value := _label(name, route, fields)) is not None:
            found.append((name, value))
    return tuple(found)


def _label(fills: str | None, route: Route, fields: Fields) -> str | None:
    for label in route.label_headers:
        if label.fills != fills:
            continue
        for lower, _, value in fields:
            if lower == label.name and value:
                return value.decode("utf-8", "replace")[:200]
    return None
