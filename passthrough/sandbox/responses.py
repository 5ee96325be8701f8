"""Builds the sandbox's responses for aiohttp, and reads what a request says beside its body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from aiohttp import web

from .encoded_response import EncodedResponse, encoded
from .errors import flaw, unprocessable

PAGE_SIZE: Final = 100
"""How many items a page of a list has, if the request does not say."""
_Q_ZERO: Final = re.compile(r"q=0(\.0*)?")


def takes_gzip(request: web.Request) -> bool:
    """Tell whether the client accepts gzip (RFC 9110 §12.5.3)."""
    offers = (offer.partition(";") for offer in request.headers.get("Accept-Encoding", "").lower().split(","))
    return any(coding.strip() == "gzip" and not _Q_ZERO.fullmatch(weight.strip()) for coding, _, weight in offers)


def response_of(response: EncodedResponse) -> web.Response:
    """Return a response of these bytes."""
    return web.Response(status=response.status, body=response.body, headers=response.headers)


def json_response(request: web.Request, body: Mapping[str, object]) -> web.Response:
    """Return a 200 with this body."""
    return response_of(encoded(200, body, takes_gzip(request)))


def query_number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    """Return a number of the query. Raises Rejection (422) for what is none within the bounds."""
    text = request.query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,10}", text) or not least <= int(text) <= most:
        wrong = ("int_parsing", f"Input should be an integer from {least} to {most}")
        raise unprocessable([flaw(("query", name), wrong, text)])
    return int(text)
