"""The sandbox's error responses, in the shapes of Mistral's API."""

from __future__ import annotations

import json
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
    """Return the 404 for a path that does not exist: Mistral's, with a word to those whose path Mistral has."""
    hint = "The sandbox has OCR, chat, fill-in-the-middle, embeddings, files, batches and models."
    return Rejection(404, {"detail": "Not Found", "hint": hint})


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
    """Return the 400 for a URL that cannot be fetched; the sandbox fetches none but its own, and says so where Mistral would."""
    shown = url if len(url) <= 200 else f"{url[:200]}…"
    hint = ". The sandbox fetches nothing: send the document itself, as a data URI or a file." if "://" in url[:8] else ""
    return error(400, "invalid_request_file", f"File could not be fetched from url '{shown}'{hint}", "3310")


def unreadable(message: str) -> Rejection:
    """Return the 400 for a document that was received and cannot be used; `message` says why."""
    return error(400, "invalid_request_file", message, "3310")


def corrupted() -> Rejection:
    """Return the 400 for an Office document that is broken, encrypted, or unpacks to more than one ever does."""
    return unreadable("File is corrupted and cannot be parsed.")


def other_archive() -> Rejection:
    """Return the 400 for a ZIP archive that the sandbox does not read, though the provider may."""
    return unreadable("Document is a ZIP archive, but neither DOCX nor PPTX: the sandbox reads no other.")


def too_many_pages(pages: int, limit: int) -> Rejection:
    """Return the 400 for a document of more pages than the provider takes; their number counts, not that of the chosen ones."""
    message = f"This document has {pages} pages, which is more than the maximum allowed of {limit}."
    return error(400, "document_parser_too_many_pages", message, "3730")


def images_only_inline(kind: str) -> Rejection:
    """Return the 400 for an Office document (`kind`: docx, pptx) whose images are wanted without their bytes."""
    return unreadable(
        f"For .{kind} files, extracted images can only be returned in base64. "
        "If you don't want images, try setting `image_limit=0` instead."
    )


def no_such_page(page: int, total: int) -> Rejection:
    """Return the 400 for a page number (from 0) that the document of `total` pages does not have."""
    return unreadable(f"Page {page} was asked for, but the document has {total} pages, counted from 0.")


_HTTP: Final = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 413: "Content Too Large", 422: "Invalid input"}
"""Azure's codes of errors. Only 422 was seen; the others are the status in words."""
_GOOGLE: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Google's names of statuses (google.rpc.Code)."""


def in_shape_of(api: str, rejection: Rejection) -> Rejection:
    """Return a rejection as this API sends it: Azure puts the model's own error into the message, as JSON; Google its words."""
    status, body = rejection.status, rejection.body
    if api not in {"azure", "vertex"} or set(body) == {"error"}:
        return rejection
    if api == "azure":
        code = _HTTP.get(status, "too_many_requests" if status == 429 else "service_unavailable")
        message = json.dumps(body, ensure_ascii=False)
        return Rejection(status, {"error": {"code": code, "message": message, "status": status}}, rejection.headers)
    status = 400 if status in {413, 422} else status
    said = body.get("message", body.get("detail"))
    message = said if isinstance(said, str) else json.dumps(body, ensure_ascii=False)
    inner = {"code": status, "message": message, "status": _GOOGLE.get(status, "INTERNAL")}
    return Rejection(status, {"error": inner}, rejection.headers)


def throttled() -> Rejection:
    """Return the 429 of a provider that is called too often; it asks for a second's rest."""
    return Rejection(429, error(429, "rate_limited", "Rate limit exceeded", "1300").body, {"Retry-After": "1"})


def unavailable() -> Rejection:
    """Return the 503 of a provider that is overloaded."""
    return error(503, "service_unavailable", "Service unavailable")


def not_inline(api: str) -> Rejection:
    """Return the error of Azure (422) and Vertex (400) for a document that is not in the request."""
    return detail(422 if api == "azure" else 400, "Only documents as base64 data URIs are taken.")


def asked_for(status: int, name: str) -> Rejection:
    """Return the error that a request's `name` asks for, to see what becomes of it: as the API sends it, where that is known."""
    if status == 401:
        return detail(401, "Unauthorized")
    if status == 429:
        return throttled()
    if status == 503:
        return unavailable()
    kind = "invalid_request_error" if status < 500 else "internal_server_error"
    return error(status, kind, f"The sandbox sends this error because '{name}' asks for it.")
