"""The sandbox's error responses, in the shapes of Mistral's API."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

from ..errors import PassthroughError

MISSING: Final = ("missing", "Field required")
EXTRA: Final = ("extra_forbidden", "Extra inputs are not permitted")


class Rejection(PassthroughError):
    """An error response: `status`, the JSON value of its body, and extra `headers` (Allow, with 405)."""

    def __init__(self, status: int, body: dict[str, object], headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status}")
        self.status = status
        self.body = body
        self.headers = headers or {}


def detail(status: int, text: str, headers: dict[str, str] | None = None) -> Rejection:
    """Return an error of the API's edge: `{"detail": text}`, as 401, 404 and 405 have it."""
    return Rejection(status, {"detail": text}, headers)


def error(status: int, kind: str, message: str, code: str | None = None) -> Rejection:
    """Return an error of the API itself. A `code` that Mistral was never seen to send stays null."""
    body: dict[str, object] = {"object": "error", "message": message, "type": kind, "param": None, "code": code}
    return Rejection(status, {**body, "raw_status_code": status})


def flaw(where: tuple[str | int, ...], what: tuple[str, str], given: object) -> dict[str, object]:
    """Return one entry of a 422's `detail`. It echoes the input, as Mistral's does, even if that is the whole document."""
    kind, message = what
    return {"type": kind, "loc": list(where), "msg": message, "input": given}


def unprocessable(flaws: list[dict[str, object]]) -> Rejection:
    """Return the 422 that lists every flaw of a request."""
    return Rejection(422, {"detail": flaws})


def not_found() -> Rejection:
    """Return the 404 for a path that does not exist."""
    return detail(404, "Not Found")


def no_such_file(file_id: str) -> Rejection:
    """Return the 404 for a file that was never uploaded here, or has been deleted."""
    return error(404, "not_found", f"File {file_id} not found.")


def too_large(message: str) -> Rejection:
    """Return the 413 for a request body beyond its bound; `message` names the bound."""
    return error(413, "request_too_large", message)


def invalid_pdf() -> Rejection:
    """Return the 400 for bytes that are neither a readable PDF nor an image; an encrypted PDF is not readable."""
    return error(400, "document_parser_invalid_file", "Document is not a valid PDF.", "3740")


def not_fetched(url: str) -> Rejection:
    """Return the 400 for a URL that cannot be fetched; the sandbox fetches none but its own."""
    shown = url if len(url) <= 200 else f"{url[:200]}…"
    return error(400, "invalid_request_file", f"File could not be fetched from url '{shown}'", "3310")


def unreadable(message: str) -> Rejection:
    """Return the 400 for a document that was received and cannot be used; `message` says why."""
    return error(400, "invalid_request_file", message, "3310")


def no_such_page(page: int, total: int) -> Rejection:
    """Return the 400 for a page number (from 0) that the document of `total` pages does not have."""
    return unreadable(f"Page {page} was asked for, but the document has {total} pages, counted from 0.")


def _azure(status: int, code: str, message: str) -> dict[str, object]:
    """Return an error of Azure AI Foundry: the model's own error is JSON within the message."""
    return {"error": {"code": code, "message": json.dumps({"detail": message}), "status": status}}


def _google(status: int, code: str, message: str) -> dict[str, object]:
    return {"error": {"code": status, "message": message, "status": code}}


_SHAPES: Final[Mapping[str, Callable[[int, str, str], dict[str, object]]]] = {"azure": _azure, "vertex": _google}
"""The errors of APIs that are not Mistral's own."""


def throttled(api: str) -> Rejection:
    """Return the 429 of a provider that is called too often; it asks for a second's rest."""
    message, wait = "Rate limit exceeded", {"Retry-After": "1"}
    if api not in _SHAPES:
        return Rejection(429, error(429, "rate_limited", message, "1300").body, wait)
    code = "too_many_requests" if api == "azure" else "RESOURCE_EXHAUSTED"
    return Rejection(429, _SHAPES[api](429, code, message), wait)


def unavailable(api: str) -> Rejection:
    """Return the 503 of a provider that is overloaded."""
    message = "Service unavailable"
    if api not in _SHAPES:
        return error(503, "service_unavailable", message)
    return Rejection(503, _SHAPES[api](503, "service_unavailable" if api == "azure" else "UNAVAILABLE", message))


def not_inline(api: str) -> Rejection:
    """Return the error of Azure (422) and Vertex (400) for a document that is not in the request."""
    message = "Only documents as base64 data URIs are taken."
    if api == "azure":
        return Rejection(422, _azure(422, "invalid_input", message))
    return Rejection(400, _google(400, "INVALID_ARGUMENT", message))
