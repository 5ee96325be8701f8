"""Batch jobs: ordered once, whatever happens to the response."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from passthrough.client.api.calls import UnknownOutcome
from passthrough.client.api.connection import Connection, Endpoint
from passthrough.client.api.files import download, upload
from passthrough.client.api.jobs import Job, JobOrder, create, find, get
from passthrough.client.errors import DocumentError
from tests.harness.api_calls import Act, FastClock, api, closes, resets, responds, says
from tests.harness.documents import pdf
from tests.harness.sandbox_caller import data_uri, sandbox
from tests.harness.waiting import eventually

ORDER = JobOrder("mistral-ocr-latest", ["file-1"], {"token": "t-1"})
QUEUED = Job("job-1", "QUEUED", 0, 0, 0, None, None, ())


async def test_a_job_runs_in_the_sandbox(tmp_path: Path) -> None:
    """It is ordered, found by its metadata, watched to its end, and its results are downloaded."""
    lines, into = tmp_path / "lines.jsonl", tmp_path / "results"
    bodies: list[Any] = [{"document": {"type": "document_url", "document_url": data_uri(pdf(2))}}, {"document": {}}]
    lines.write_text("".join(json.dumps({"custom_id": str(number), "body": body}) + "\n" for number, body in enumerate(bodies)))
    async with sandbox() as caller, Connection(Endpoint.of(caller.base, None), FastClock().timing()) as connection:
        file_id = (await upload(connection, lines, "lines.jsonl", "batch")).id
        ordered = await create(connection, JobOrder("mistral-ocr-latest", [file_id], {"token": "t-1"}, timeout_hours=48))
        assert ("QUEUED", False) == (ordered.status, ordered.has_ended)
        found = await find(connection, "token", "t-1")
        assert (ordered.id, None) == (found and found.id, await find(connection, "token", "t-2"))

        async def now() -> Job:
            return await get(connection, ordered.id)

        job = await eventually(now, lambda job: job.has_ended)
        assert ("SUCCESS", 2, 1, 1, True) == (job.status, job.total, job.done, job.failed, job.has_succeeded)
        assert ("HTTP Error, status code: 422",) == job.errors
        for name in (job.output_file, job.error_file):
            assert name is not None
            await download(connection, name, into)
            assert 1 == len(into.read_text().splitlines())


async def test_the_order_is_as_mistral_wants_it() -> None:
    """With the endpoint, the files, the model for all lines, and the metadata."""
    async with api(says(200, {"id": "job-1", "status": "QUEUED"})) as one:
        assert QUEUED == await create(one.connection, ORDER, one.on_wait)
        received = one.raw.received[0]
    sent = {"endpoint": "/v1/ocr", "model": "mistral-ocr-latest", "input_files": ["file-1"], "metadata": {"token": "t-1"}}
    assert (b"POST /v1/batch/jobs HTTP/1.1", sent) == (received.line, json.loads(received.body))


@pytest.mark.parametrize(
    "act",
    [
        closes,
        resets,
        says(500, {}),
        says(503, {}),
        says(504, {}),
        responds(b"<html>"),
        says(200, {"status": "QUEUED"}),
        says(200, {"id": "/"}),
    ],
)
async def test_an_order_without_a_response_is_not_repeated(act: Act) -> None:
    """The API may have it: its caller looks for the metadata."""
    async with api(act) as one:
        with pytest.raises(UnknownOutcome):
            await create(one.connection, ORDER)
        assert 1 == one.raw.connections


async def test_an_order_that_was_refused_is_none() -> None:
    """A job that the API does not want is a failure with its reason; one that it wants later is ordered later."""
    async with api(says(422, {"detail": [{"loc": ["body", "model"], "msg": "Invalid"}]})) as one:
        with pytest.raises(DocumentError) as caught:
            await create(one.connection, ORDER)
        assert ("The API refused it (422): model: Invalid.", False) == (
            caught.value.why,
            isinstance(caught.value, UnknownOutcome),
        )
    overloaded = says(503, {}, b"X-Passthrough-Error: overloaded")
    async with api(says(429, {}), overloaded, says(200, {"id": "job-1", "status": "QUEUED"})) as one:
        assert QUEUED == await create(one.connection, ORDER)


@pytest.mark.parametrize(
    ("value", "job"),
    [
        ({"id": "job-1", "status": "queued", "errors": None, "output_file": None}, QUEUED),
        (
            {"id": "j", "status": "FAILED", "total_requests": 3, "succeeded_requests": 1, "failed_requests": 2,
             "output_file": "o", "error_file": "e", "errors": [{"message": "bad\x1b[0m\nline", "count": 2}, "odd", {}]},
            Job("j", "FAILED", 3, 1, 2, "o", "e", ("bad [0m line", "", "")),
        ),
        ({"id": "job-1", "total_requests": "7", "errors": {}}, Job("job-1", "", 0, 0, 0, None, None, ())),
    ],
)  # fmt: skip
async def test_a_job_is_read_tolerantly(value: object, job: Job) -> None:
    """Missing and odd fields are as if they were not there yet."""
    async with api(closes, says(200, value)) as one:
        assert job == await get(one.connection, "job-1")


@pytest.mark.parametrize(
    ("status", "has_ended"),
    [
        *[(name, True) for name in ("SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED")],
        *[(name, False) for name in ("QUEUED", "RUNNING", "CANCELLATION_REQUESTED", "")],
    ],
)
def test_a_job_ends_in_one_of_four_ways(status: str, has_ended: bool) -> None:
    """A word that is not known is not the end."""
    job = Job("j", status, 0, 0, 0, None, None, ())
    assert (has_ended, status == "SUCCESS") == (job.has_ended, job.has_succeeded)


async def test_jobs_are_looked_through_newest_first() -> None:
    """The first that fits is returned, over several pages."""
    others = [{"id": f"j{number}", "metadata": None if number % 2 else {"token": "x"}} for number in range(100)]
    async with api(
        says(200, {"data": others}), says(200, {"data": [{"id": "job-1", "status": "QUEUED", "metadata": {"token": "t-1"}}]})
    ) as one:
        assert QUEUED == await find(one.connection, "token", "t-1")
        assert [b"GET /v1/batch/jobs?page=%d&page_size=100 HTTP/1.1" % page for page in (0, 1)] == [
            each.line for each in one.raw.received
        ]
