"""The lines of batch files: requests that are uploaded, results that are downloaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, Final

from ..checks import OBJECT, Check, field_flaws, mapping, parsed, text
from ..encoded_response import json_bytes
from ..errors import Rejection, flaw

MAX_LINE_BYTES: Final = 100_000_000
_FIELDS: Final[dict[str, Check]] = {"custom_id": text, "body": mapping}


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One request of a batch: its body, and the id that its client gave it."""

    custom_id: str | None
    body: dict[str, Any]


def read_request(value: object) -> BatchRequest:
    """Return a request from its JSON value. Raises Rejection (422) with its flaws."""
    if not isinstance(value, dict):
        raise Rejection(422, {"detail": [flaw(("body",), OBJECT, value)]})
    flaws = field_flaws(value, _FIELDS, ("body",))
    if flaws:
        raise Rejection(422, {"detail": flaws})
    return BatchRequest(value.get("custom_id"), value["body"])


def read_requests(file: IO[bytes]) -> Iterator[BatchRequest]:
    """Yield the requests of a file, a line each; empty lines are none. Raises Rejection (422) at the first that is no request.

    Blocks while it reads.
    """
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        if not line.strip():
            continue
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise _invalid(number, {"detail": f"The line is longer than {MAX_LINE_BYTES} bytes."})
        try:
            yield read_request(parsed(line))
        except Rejection as rejection:
            raise _invalid(number, rejection.body) from None


def _invalid(number: int, why: dict[str, object]) -> Rejection:
    return Rejection(422, {"detail": "Invalid file format.", "line": number, "errors": why["detail"]})


def result_line(line_id: str, request: BatchRequest, status: int, body: dict[str, object]) -> bytes:
    """Return a result as a line of its file. Mistral sends the body of an error as JSON within a string, and so does this."""
    shown = body if status == 200 else json.dumps(body, ensure_ascii=False)
    response = {"status_code": status, "body": shown}
    return json_bytes({"id": line_id, "custom_id": request.custom_id, "response": response, "error": None}) + b"\n"
