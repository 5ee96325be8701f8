"""The admin port's responses: JSON, errors, and the header fields that every response has."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

_ALWAYS: Final = MappingProxyType(
    {
        hdrs.CACHE_CONTROL: "no-store",
        "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
)


def json_text(text: str) -> web.Response:
    """Return a JSON document as a response."""
    return web.Response(text=text, content_type="application/json")


def error_response(status: int, code: str, why: str, hint: str = "") -> web.Response:
    """Return a response that says what is wrong, and gives a hint."""
    body = {"status": code, "why": why, **({"hint": hint} if hint else {})}
    return web.json_response(body, status=status, dumps=lambda value: json.dumps(value, ensure_ascii=False))


@web.middleware
async def add_security_headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Forbid browsers to store or frame a response, to guess its type, or to run a foreign script in it."""
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(_ALWAYS)
        raise
    response.headers.update(_ALWAYS)
    return response
