"""Authentication of the admin port: on loopback by the Host field, elsewhere by the admin key."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from ..loopback import names_loopback
from .responses import error_response

HEALTH: Final = frozenset({"/healthz", "/readyz", "/health/liveliness", "/health/readiness"})
"""Paths that need no key: orchestrators have none, and learn nothing but the instance's health."""

_CHALLENGE: Final = 'Basic realm="passthrough", charset="UTF-8", Bearer realm="passthrough"'
_NO_KEY: Final = "There is no admin_key, and this port is open to other machines: it answers health only."
_SET_ONE: Final = "Set 'admin_key' in routes.yaml (or a master_key), or bind the port to loopback with --admin-host 127.0.0.1."
_WRONG_KEY: Final = "Send the admin key as 'Authorization: Bearer <key>', or as the password of Basic."


@web.middleware
async def loopback_names_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Serve requests for loopback's names only: a web page whose name was rebound to 127.0.0.1 learns nothing."""
    if not names_loopback(request.headers.get(hdrs.HOST, "")):
        return error_response(421, "misdirected", "This port answers to localhost and 127.0.0.1 only.")
    return await handler(request)


def require_key(digest: Callable[[], bytes | None]) -> Middleware:
    """Return a middleware that requires the key whose SHA-256 is `digest()` now, except for health; without a key set, a 403.

    Unknown paths are refused alike: strangers do not learn which paths there are.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in HEALTH:
            return await handler(request)
        wanted = digest()
        if wanted is None:
            return error_response(403, "no_admin_key", _NO_KEY, _SET_ONE)
        given = _key(request.headers.get(hdrs.AUTHORIZATION, ""))
        # Digests are compared, in constant time: the duration shows neither the length nor a byte of the key.
        if given is None or not hmac.compare_digest(sha256(given).digest(), wanted):
            response = error_response(401, "invalid_key", "This needs the admin key.", _WRONG_KEY)
            response.headers[hdrs.WWW_AUTHENTICATE] = _CHALLENGE
            return response
        return await handler(request)

    return guard


def _key(field: str) -> bytes | None:
    """Return the key of an Authorization field: (1) a Bearer's token; (2) Basic's password, whatever its user (RFC 7617)."""
    scheme, _, value = field.partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value.encode("utf-8", "surrogateescape")
    if scheme.lower() != "basic":
        return None
    try:
        _, colon, password = base64.b64decode(value, validate=True).partition(b":")
    except ValueError:
        return None
    return password if colon else None
