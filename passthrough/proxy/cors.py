"""CORS: lets web pages of configured origins read responses (the Fetch standard, "CORS protocol").

A browser sends a client key only after a preflight, which carries none and gets its response here. The page's script sends the
key, not the browser: so credentials of the browser's own, such as cookies, are never allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ..errors import Refusal
from .error_response import Reply
from .headers import is_token
from .request_head import RequestHead
from .routes import RouteTable

_MAX_AGE_S: Final = 7200
"""How long a browser may cache the response to a preflight: no browser but Firefox would cache it longer."""

_NAMES: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z, \t-]*")
_PREFIX: Final = b"access-control-"


class CorsHeaders:
    """The CORS headers of a response to one origin; without an `origin`, only the Vary that each response needs."""

    __slots__ = ("_origin", "lines")

    def __init__(self, origin: bytes | None = None) -> None:
        self._origin = origin
        # All fields may be read: `*` stands for each of them in a request without credentials of the browser's own.
        allowed = () if origin is None else (b"Access-Control-Allow-Origin: " + origin, b"Access-Control-Expose-Headers: *")
        self.lines: tuple[bytes, ...] = (*allowed, b"Vary: Origin")

    def added_to(self, lines: list[bytes]) -> list[bytes]:
        """Return the lines of a target's head with ours in place of its own CORS headers, which are not for our pages.

        A response with two Access-Control-Allow-Origin fails the check (Fetch, "CORS check").
        """
        kept = lines if self._origin is None else [line for line in lines if line[: len(_PREFIX)].lower() != _PREFIX]
        return [*kept, *(self.lines[:-1] if any(map(_varies, kept)) else self.lines)]


def _varies(line: bytes) -> bool:
    name, _, value = line.partition(b":")
    return name.lower() == b"vary" and not {b"origin", b"*"}.isdisjoint(each.strip().lower() for each in value.split(b","))


class Cors:
    """The origins whose pages may read responses."""

    __slots__ = ("_by_origin", "_unlisted")

    def __init__(self, origins: Iterable[bytes]) -> None:
        """`origins`: as browsers send them in Origin."""
        self._by_origin = {origin: CorsHeaders(origin) for origin in origins}
        self._unlisted = CorsHeaders()

    def cors_headers(self, raw: tuple[tuple[bytes, bytes], ...]) -> CorsHeaders:
        """Return the CORS headers of the response to a request with this header."""
        origins = [value for name, value in raw if name.lower() == b"origin"]
        return self._by_origin.get(origins[0], self._unlisted) if len(origins) == 1 else self._unlisted

    def answer_preflight(self, head: RequestHead, raw: tuple[tuple[bytes, bytes], ...], routes: RouteTable) -> None:
        """Raise Reply, the response, where a request is the preflight of a page whose origin is configured.

        The allowed methods are those of the path's routes. For a path without a route it is the requested one: then the browser
        sends the request itself, and its page can read the `no_route` response. All header names are allowed: the route decides
        which are forwarded.
        """
        if head.method != "OPTIONS" or (cors_headers := self.cors_headers(raw)) is self._unlisted:
            return
        asked = {lower: value for lower, _, value in head.fields if lower.startswith(b"access-control-request-")}
        method = asked.get(b"access-control-request-method", b"")
        if not is_token(method):
            return
        terms, methods = None, [method.decode("ascii")]
        try:
            route = routes.match(methods[0], head.path).route
            terms, methods = route.terms, sorted(route.methods or methods)
        except Refusal as refusal:
            methods = list(refusal.allow) or methods
        lines = [
            cors_headers.lines[0],
            b"Access-Control-Allow-Methods: " + ", ".join(methods).encode("ascii"),
            b"Access-Control-Max-Age: %d" % _MAX_AGE_S,
            b"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        ]
        names = asked.get(b"access-control-request-headers", b"")
        if names and _NAMES.fullmatch(names):  # Each by its name: `*` does not allow Authorization.
            lines.append(b"Access-Control-Allow-Headers: " + names)
        if asked.get(b"access-control-request-private-network") == b"true":
            lines.append(b"Access-Control-Allow-Private-Network: true")
        raise Reply(204, tuple(lines), terms)
