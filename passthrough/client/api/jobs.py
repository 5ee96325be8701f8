"""Batch jobs at the API: ordered once, asked how far they are, found by what their order said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from aiohttp import ClientResponse

from ..errors import DocumentError
from .calls import Call, UnknownOutcome, send
from .connection import Connection
from .error_text import safe_line
from .files import id_of, listed, received_json
from .pauses import OnWait
from .request_body import json_body

_ENDED: Final = frozenset({"SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED"})


@dataclass(frozen=True, slots=True)
class JobOrder:
    """What is ordered: files of requests to `/v1/ocr`, which the API has; `metadata` comes back with the job."""

    model: str
    input_files: Sequence[str]
    metadata: Mapping[str, str]
    timeout_hours: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """How far a job is. `status` is the API's word; `done` counts the requests that succeeded.

    `output_file` and `error_file` are the ids of its results, None as long as there are none.
    """

    id: str
    status: str
    total: int
    done: int
    failed: int
    output_file: str | None
    error_file: str | None
    errors: tuple[str, ...]

    @property
    def has_ended(self) -> bool:
        """Whether it does no more."""
        return self.status in _ENDED

    @property
    def has_succeeded(self) -> bool:
        """Whether it went through all requests, of which some may have failed."""
        return self.status == "SUCCESS"


def _unheard(seconds: float, why: str) -> None:
    """Hear of a wait that concerns no one."""


async def create(connection: Connection, order: JobOrder, on_wait: OnWait = _unheard) -> Job:
    """Order a job, once. Raises DocumentError; UnknownOutcome where the API may have the order: then look for its metadata."""
    value: dict[str, object] = {
        "endpoint": "/v1/ocr",
        "model": order.model,
        "input_files": list(order.input_files),
        "metadata": dict(order.metadata),
    }
    if order.timeout_hours is not None:
        value["timeout_hours"] = order.timeout_hours
    body = partial(json_body, value, connection.timing.silence_s)
    call = Call("POST", connection.endpoint.url("/batch/jobs"), body, is_free=False, is_order=True)

    async def received(response: ClientResponse) -> Job:
        try:
            return _job(await received_json(response))
        except DocumentError as error:
            raise UnknownOutcome(error) from None

    return await send(connection, call, received, on_wait)


async def get(connection: Connection, job_id: str, on_wait: OnWait = _unheard) -> Job:
    """Return a job as it is now. Raises DocumentError."""
    call = Call("GET", connection.endpoint.url(f"/batch/jobs/{quote(job_id, safe='')}"))
    return _job(await send(connection, call, received_json, on_wait))


async def find(connection: Connection, key: str, value: str, on_wait: OnWait = _unheard) -> Job | None:
    """Return the newest job whose metadata say so, among the newest 500; None where there is none. Raises DocumentError."""

    def matches(job: dict[str, Any]) -> bool:
        metadata = job.get("metadata")
        return isinstance(metadata, dict) and metadata.get(key) == value

    found = await listed(connection, "/batch/jobs", {}, matches, on_wait)
    return _job(found[0]) if found else None


def _job(value: object) -> Job:
    """Return a job of its JSON. Raises DocumentError."""
    job_id = id_of(value)
    fields: dict[str, Any] = value if isinstance(value, dict) else {}
    errors = fields.get("errors")
    return Job(
        job_id,
        str(fields.get("status", "")).upper(),
        _count(fields, "total_requests"),
        _count(fields, "succeeded_requests"),
        _count(fields, "failed_requests"),
        _file(fields, "output_file"),
        _file(fields, "error_file"),
        tuple(_said(each) for each in errors) if isinstance(errors, list) else (),
    )


def _count(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    return value if isinstance(value, int) else 0


def _file(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return id_of({"id": value}) if value is not None else None


def _said(error: object) -> str:
    fields = error if isinstance(error, dict) else {}
    return safe_line(str(fields.get("message", "")))
