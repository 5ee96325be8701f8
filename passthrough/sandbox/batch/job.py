"""One batch job: what was ordered, how far it is, and where its results are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from ..checks import OBJECT, Check, array, field_flaws, mapping, one_of, parsed, text, whole
from ..errors import Rejection, flaw, unprocessable
from ..models import NAMES
from ..provider import fail_if_asked
from .lines import BatchRequest, read_request

SERVED: Final = ("/v1/ocr", "/v1/chat/completions", "/v1/fim/completions", "/v1/embeddings")
"""The endpoints whose batches the sandbox runs; Mistral has more."""

_FIELDS: Final[Mapping[str, Check]] = {
    "endpoint": one_of(*SERVED),
    "input_files": array,
    "requests": array,
    "model": text,
    "agent_id": text,
    "metadata": mapping,
    "timeout_hours": whole(1, 168),
}


class JobStatus(StrEnum):
    """How far a job is. Mistral has FAILED and TIMEOUT_EXCEEDED beside these."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELLATION_REQUESTED = "CANCELLATION_REQUESTED"
    CANCELLED = "CANCELLED"


ENDED: Final = {JobStatus.SUCCESS, JobStatus.FAILED, JobStatus.CANCELLED}


@dataclass(frozen=True, slots=True)
class JobOrder:
    """What a client orders: requests within the order, or files of them; `model` is for those that name none."""

    endpoint: str
    input_files: tuple[str, ...]
    requests: tuple[BatchRequest, ...]
    model: str | None
    metadata: Mapping[str, Any] | None


@dataclass(slots=True)
class BatchJob:
    """A job. Times are seconds since the epoch; the files' ids are None as long as they have no line."""

    id: str
    order: JobOrder
    created_utc: int
    status: JobStatus = JobStatus.QUEUED
    total: int = 0
    succeeded: int = 0
    failed: int = 0
    started_utc: int | None = None
    completed_utc: int | None = None
    output_file: str | None = None
    error_file: str | None = None
    errors: Counter[str] = field(default_factory=Counter)

    def to_json(self, outputs: list[object] | None = None) -> dict[str, object]:
        """Return Mistral's job object, with the results in it where they are given."""
        return {
            "id": self.id,
            "object": "batch",
            "input_files": list(self.order.input_files),
            "metadata": self.order.metadata,
            "endpoint": self.order.endpoint,
            "model": self.order.model,
            "agent_id": None,
            "output_file": self.output_file,
            "error_file": self.error_file,
            "errors": [{"message": message, "count": count} for message, count in self.errors.items()],
            "outputs": outputs,
            "status": self.status,
            "created_at": self.created_utc,
            "total_requests": self.total,
            "completed_requests": self.succeeded + self.failed,
            "succeeded_requests": self.succeeded,
            "failed_requests": self.failed,
            "started_at": self.started_utc,
            "completed_at": self.completed_utc,
        }


def parse_order(raw: bytes) -> JobOrder:
    """Return the order in the body of a request. Raises Rejection: 422 with every flaw, and what the model's name asks for."""
    body = parsed(raw)
    flaws = field_flaws(body, _FIELDS, ("endpoint",))
    files, requests, model = body.get("input_files") or [], body.get("requests") or [], body.get("model")
    if not flaws and bool(files) == bool(requests):
        wrong = ("value_error", "Value error, Either input_files or requests must be given, and not both")
        flaws.append(flaw(("body",), wrong, body))
    if isinstance(files, list):
        flaws += [
            flaw(("body", "input_files", at), ("string_type", "Input should be a valid string"), one)
            for at, one in enumerate(files)
            if not isinstance(one, str)
        ]
    fail_if_asked(model if isinstance(model, str) else None)
    if isinstance(model, str) and model not in NAMES:
        flaws.append(flaw(("body", "model"), ("value_error", f"Value error, Invalid model: {model}"), model))
    ordered = _requests(requests, flaws)
    if flaws:
        raise unprocessable(flaws)
    return JobOrder(body["endpoint"], tuple(files), ordered, model, body.get("metadata"))


def _requests(requests: object, flaws: list[dict[str, object]]) -> tuple[BatchRequest, ...]:
    found = []
    for at, one in enumerate(requests if isinstance(requests, list) else []):
        try:
            found.append(read_request(one))
        except Rejection as rejection:
            flaws.append(flaw(("body", "requests", at), OBJECT if not isinstance(one, dict) else _first(rejection), one))
    return tuple(found)


def _first(rejection: Rejection) -> tuple[str, str]:
    detail = rejection.body["detail"]
    first = detail[0] if isinstance(detail, list) else {}
    return str(first.get("type")), str(first.get("msg"))
