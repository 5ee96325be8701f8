"""Batch jobs: how they move on, what they leave, and how they are cancelled and refused."""

from __future__ import annotations

import asyncio
import io
import json
import resource
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from passthrough.sandbox import Pace
from passthrough.sandbox.batch.batches import Answer, Batches
from passthrough.sandbox.batch.job import JobOrder, JobStatus
from passthrough.sandbox.batch.lines import BatchRequest
from passthrough.sandbox.file_store import FileStore, StoredFile
from passthrough.sandbox.job_thread import IsCancelled, JobThread
from tests.harness.documents import image, pdf
from tests.harness.sandbox_caller import Caller, Clock, data_uri, document, sandbox, shaped
from tests.harness.waiting import WAIT_S, eventually, until

Json = Any
OCR = "mistral-ocr-latest"
ENDED = {"SUCCESS", "FAILED", "CANCELLED"}
SLOW = Pace(batch_s=3600)
"""A job that does not begin while the test runs."""


def ocr_line(custom_id: str | None, pages: int = 1, **rest: object) -> dict[str, object]:
    """Return a request for the text of a document."""
    return {"custom_id": custom_id, "body": {"document": document(pdf(pages)), **rest}}


def jsonl(*lines: object) -> bytes:
    """Return a file of these lines."""
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


async def order(caller: Caller, **rest: object) -> tuple[int, Json]:
    """Order a job for the newest OCR model."""
    body = {"endpoint": "/v1/ocr", "model": OCR, **rest}
    return await caller.call("POST", "/v1/batch/jobs", data=io.BytesIO(json.dumps(body).encode()))


async def uploaded(caller: Caller, *lines: object) -> str:
    """Upload a file of requests; return its id."""
    status, file = await caller.upload(jsonl(*lines), "in.jsonl", purpose="batch")
    assert (200, "batch_request", len(lines), "upload") == (status, file["sample_type"], file["num_lines"], file["source"])
    return str(file["id"])


async def ended(caller: Caller, job_id: str, query: str = "") -> Json:
    """Wait for a job's end, and return it."""

    async def job() -> Json:
        return (await caller.call("GET", f"/v1/batch/jobs/{job_id}{query}"))[1]

    return await eventually(job, lambda found: found["status"] in ENDED)


async def results(caller: Caller, file_id: str) -> list[Json]:
    """Download a file of results."""
    async with caller.session.get(f"{caller.base}/v1/files/{file_id}/content") as response:
        return [json.loads(line) for line in (await response.read()).splitlines()]


def counts(job: Mapping[str, Json]) -> tuple[Json, ...]:
    """Return how far a job is."""
    return tuple(job[f"{name}_requests"] for name in ("total", "completed", "succeeded", "failed"))


async def test_a_job_is_born_queued_with_every_key(caller: Caller) -> None:
    """The response to the order is Mistral's job object, with nothing done."""
    file_id = await uploaded(caller, ocr_line("a"))
    status, job = await order(caller, input_files=[file_id], metadata={"team": "x"}, timeout_hours=168)
    assert 200 == status
    assert {
        "id": job["id"],
        "object": "batch",
        "input_files": [file_id],
        "metadata": {"team": "x"},
        "endpoint": "/v1/ocr",
        "model": OCR,
        "agent_id": None,
        "output_file": None,
        "error_file": None,
        "errors": [],
        "outputs": None,
        "status": "QUEUED",
        "created_at": 1_800_000_000,
        "total_requests": 0,
        "completed_requests": 0,
        "succeeded_requests": 0,
        "failed_requests": 0,
        "started_at": None,
        "completed_at": None,
    } == job


async def test_the_results_are_in_two_files(caller: Caller) -> None:
    """What succeeded and what failed, with the ids of both sides; the body of a failure is JSON within a string."""
    lines = [ocr_line("a", 2), ocr_line(None), ocr_line("b", model="mistral-ocr-2512"), {"custom_id": "c", "body": {}}]
    _, job = await order(caller, input_files=[await uploaded(caller, *lines)])
    job = await ended(caller, job["id"])
    assert ("SUCCESS", (4, 4, 3, 1)) == (job["status"], counts(job))
    assert [{"message": "HTTP Error, status code: 422", "count": 1}] == job["errors"]
    assert job["created_at"] == job["started_at"] == job["completed_at"]

    good, bad = await results(caller, job["output_file"]), await results(caller, job["error_file"])
    assert ["a", None, "b"] == [line["custom_id"] for line in good]
    assert [(200, 2, "mistral-ocr-4-1"), (200, 1, "mistral-ocr-4-1"), (200, 1, "mistral-ocr-2512")] == [
        (line["response"]["status_code"], len(line["response"]["body"]["pages"]), line["response"]["body"]["model"])
        for line in good
    ]
    (failed,) = bad
    assert ("c", 422, None) == (failed["custom_id"], failed["response"]["status_code"], failed["error"])
    assert [["body", "document"]] == [one["loc"] for one in json.loads(failed["response"]["body"])["detail"]]
    ids = [line["id"] for line in (*good, *bad)]
    assert [f"batch-{job['id'][:8]}-{number}" for number in range(1, 5)] == ["-".join(one.split("-")[:3]) for one in ids]
    for file_id, kind, number in ((job["output_file"], "batch_result", 3), (job["error_file"], "batch_error", 1)):
        _, file = await caller.call("GET", f"/v1/files/{file_id}")
        assert ("batch", kind, number, "mistral") == tuple(file[key] for key in ("purpose", "sample_type", "num_lines", "source"))


CHAT = {"messages": [{"role": "user", "content": "Hello"}]}
ORDERS: dict[str, tuple[str, str, dict[str, object]]] = {
    "chat": ("/v1/chat/completions", "mistral-small-latest", CHAT),
    "streamed chat": ("/v1/chat/completions", "mistral-small-latest", {**CHAT, "stream": True}),
    "code": ("/v1/fim/completions", "codestral-latest", {"prompt": "def f("}),
    "embeddings": ("/v1/embeddings", "mistral-embed", {"input": "text"}),
    "ocr": ("/v1/ocr", OCR, {"document": document(pdf(1))}),
}


@pytest.mark.parametrize(("endpoint", "model", "body"), ORDERS.values(), ids=ORDERS)
async def test_each_endpoint_has_batches(caller: Caller, endpoint: str, model: str, body: dict[str, object]) -> None:
    """Requests within the order are answered as they would be alone, and come within the job where that is asked for."""
    _, job = await order(caller, endpoint=endpoint, model=model, requests=[{"custom_id": "1", "body": body}])
    job = await ended(caller, job["id"], "?inline=true")
    (line,) = job["outputs"]
    _, alone = await caller.call(
        "POST", endpoint, json={"model": model, **body, **({"stream": False} if "messages" in body else {})}
    )
    same = [key for key in alone if key not in {"id", "created"}]
    assert same
    assert {key: alone[key] for key in same} == {key: line["response"]["body"][key] for key in same}
    assert [line] == await results(caller, job["output_file"])
    assert (None, (1, 1, 1, 0)) == (job["error_file"], counts(job))
    assert None is (await caller.call("GET", f"/v1/batch/jobs/{job['id']}"))[1]["outputs"]


async def test_failures_can_be_asked_for(caller: Caller) -> None:
    """A line whose model is named so fails with that status, and the others do not."""
    _, job = await order(caller, requests=[ocr_line("a", model="fail-500"), ocr_line("b")])
    job = await ended(caller, job["id"], "?inline=1")
    assert [("b", 200), ("a", 500)] == [(line["custom_id"], line["response"]["status_code"]) for line in job["outputs"]]


async def test_a_queued_job_is_cancelled_at_once() -> None:
    """It has done nothing, and stays as it is."""
    async with sandbox(pace=SLOW) as caller:
        _, job = await order(caller, requests=[ocr_line("a")])
        for method, path in (("POST", "/cancel"), ("GET", ""), ("POST", "/cancel")):
            status, job = await caller.call(method, f"/v1/batch/jobs/{job['id']}{path}")
            assert (200, "CANCELLED", (0, 0, 0, 0), None) == (status, job["status"], counts(job), job["output_file"])


@asynccontextmanager
async def batches(folder: Path, answer: Answer) -> AsyncIterator[tuple[Batches, FileStore]]:
    """Batches of their own, whose requests are answered by `answer`."""
    reader, files = JobThread("test"), FileStore(folder, b"secret", Clock())
    made = Batches(files, reader, {"/v1/ocr": answer}, 0.0)
    yield made, files
    await made.close()
    await reader.close()


def ordered(*files: str, lines: int = 0) -> JobOrder:
    """Return an order of files, or of so many requests."""
    return JobOrder("/v1/ocr", files, tuple(BatchRequest(str(number), {}) for number in range(lines)), None, None)


async def test_a_running_job_is_cancelled_behind_its_line(tmp_path: Path) -> None:
    """It says that this was requested, then ends with what it has done, whose results are there."""
    asked, answered = threading.Event(), threading.Event()

    def answer(raw: bytes, _: IsCancelled) -> dict[str, object]:
        asked.set()
        assert answered.wait(WAIT_S)
        return {"body": raw.decode()}

    async with batches(tmp_path, answer) as (made, files):
        job = made.start(ordered(lines=3))
        assert await asyncio.to_thread(asked.wait, WAIT_S)
        assert JobStatus.CANCELLATION_REQUESTED is made.cancel(job.id).status
        assert JobStatus.CANCELLATION_REQUESTED is made.cancel(job.id).status
        answered.set()
        await until(lambda: job.completed_utc is not None)
        assert (JobStatus.CANCELLED, 1, 3) == (job.status, job.succeeded, job.total)
        (line,) = files.get(str(job.output_file)).path.read_bytes().splitlines()
        assert {"body": "{}"} == json.loads(line)["response"]["body"]


async def test_a_job_whose_file_is_deleted_fails(tmp_path: Path) -> None:
    """It says which file it was, whether only the store or only the disk has lost it."""
    path = tmp_path / "in"
    stored = StoredFile("f", path, 1, 0, "in.jsonl", "batch", "", "batch_request", 1)
    for forget, said in (
        (lambda files: files.take("f"), "File f not found."),
        (lambda _: path.unlink(), "The sandbox cannot read or store a file: No such file or directory."),
    ):
        async with batches(tmp_path, lambda raw, _: {}) as (made, files):
            path.write_bytes(jsonl(ocr_line("a")))
            files.put(stored)
            job = made.start(ordered("f"))
            forget(files)
            await until(lambda job=job: job.completed_utc is not None)  # type: ignore[misc]
            assert (JobStatus.FAILED, {said: 1}) == (job.status, job.errors)


async def test_jobs_are_listed_newest_first(caller: Caller) -> None:
    """By status and model, in pages; the other order is asked for."""
    ids = []
    for model in (OCR, OCR, "mistral-ocr-2512"):
        _, job = await order(caller, model=model, requests=[ocr_line("a")])
        ids.append((await ended(caller, job["id"]))["id"])
    for query, expected, total in (
        ("", [2, 1, 0], 3),
        (f"?model={OCR}", [1, 0], 2),
        ("?status=SUCCESS&status=RUNNING&page_size=1&page=1", [1], 3),
        ("?status=FAILED", [], 0),
        ("?order_by=created", [0, 1, 2], 3),
    ):
        _, listed = await caller.call("GET", f"/v1/batch/jobs{query}")
        assert ("list", total, [ids[at] for at in expected]) == (
            listed["object"],
            listed["total"],
            [job["id"] for job in listed["data"]],
        )
    assert 422 == (await caller.call("GET", "/v1/batch/jobs?page=x"))[0]


async def test_a_job_that_is_deleted_is_gone() -> None:
    """It is not found afterwards, whether it had ended or not; nor is one that never was."""
    async with sandbox(pace=SLOW) as caller:
        _, job = await order(caller, requests=[ocr_line("a")])
        assert (200, {"id": job["id"], "object": "batch", "deleted": True}) == await caller.call(
            "DELETE", f"/v1/batch/jobs/{job['id']}"
        )
        wrong = shaped("not_found", f"Batch job {job['id']} not found.", None, 404)
        for method, path in (("GET", ""), ("POST", "/cancel"), ("DELETE", "")):
            assert (404, wrong) == await caller.call(method, f"/v1/batch/jobs/{job['id']}{path}")


async def test_a_file_that_was_not_checked_fails_where_it_is_wrong(caller: Caller) -> None:
    """A file for another purpose is not looked at when it comes: the job ends at its first bad line, and keeps the good ones."""
    _, file = await caller.upload(jsonl(ocr_line("a")) + b"\n\nnonsense\n", purpose="ocr")
    _, job = await order(caller, input_files=[file["id"]])
    job = await ended(caller, job["id"], "?inline=true")
    assert ("FAILED", [{"message": "Invalid file format. (line 2)", "count": 1}]) == (job["status"], job["errors"])
    assert ["a"] == [line["custom_id"] for line in job["outputs"]]


BAD_FILES = {
    "not JSON": b"nonsense\n",
    "an array": b"[]\n",
    "no body": jsonl({"custom_id": "a"}),
    "body no object": jsonl({"body": 1}),
    "id no text": jsonl({"custom_id": 1, "body": {}}),
    "unknown key": jsonl({"body": {}, "url": "/v1/ocr"}),
    "at the end": jsonl({"body": {}}) + b'{"body": ',
}


@pytest.mark.parametrize("content", BAD_FILES.values(), ids=BAD_FILES)
async def test_files_of_anything_else_are_refused(caller: Caller, content: bytes) -> None:
    """A file for a batch is checked when it comes, as Mistral does, and is not kept."""
    status, response = await caller.upload(content, "in.jsonl", purpose="batch")
    assert (422, "Invalid file format.", True) == (status, response["detail"], bool(response["errors"]))
    assert [] == (await caller.call("GET", "/v1/files"))[1]["data"]


FLAWS: dict[str, tuple[dict[str, object], list[object], str]] = {
    "nothing": ({}, ["body"], "value_error"),
    "both": ({"requests": [{"body": {}}], "input_files": ["x"]}, ["body"], "value_error"),
    "endpoint": ({"endpoint": "/v1/responses", "input_files": ["x"]}, ["body", "endpoint"], "literal_error"),
    "model": ({"model": "gpt", "input_files": ["x"]}, ["body", "model"], "value_error"),
    "no time": ({"timeout_hours": 0, "input_files": ["x"]}, ["body", "timeout_hours"], "greater_than_equal"),
    "file a number": ({"input_files": [1]}, ["body", "input_files", 0], "string_type"),
    "files a text": ({"input_files": "x"}, ["body", "input_files"], "list_type"),
    "request a number": ({"requests": [1]}, ["body", "requests", 0], "model_attributes_type"),
    "request without body": ({"requests": [{"custom_id": "x"}]}, ["body", "requests", 0], "missing"),
    "field": ({"input_files": ["x"], "completion_window": "24h"}, ["body", "completion_window"], "extra_forbidden"),
}


@pytest.mark.parametrize(("rest", "place", "kind"), FLAWS.values(), ids=FLAWS)
async def test_a_flaw_is_reported_with_its_place(caller: Caller, rest: dict[str, object], place: list[object], kind: str) -> None:
    """An order that is not as documented is a 422 that names the place, and no job."""
    status, response = await order(caller, **rest)
    assert (422, [(place, kind)]) == (status, [(one["loc"], one["type"]) for one in response["detail"]])
    assert 0 == (await caller.call("GET", "/v1/batch/jobs"))[1]["total"]


async def test_a_file_that_is_not_there_is_not_found(caller: Caller) -> None:
    """Mistral's 404, and no job."""
    assert (404, shaped("not_found", "File nope not found.", None, 404)) == await order(caller, input_files=["nope"])


async def test_results_that_are_too_large_for_one_response_are_in_the_file(caller: Caller) -> None:
    """Results beyond 50 MB do not come within the job; the error says where they are."""
    photo = {"image_url": data_uri(image("BMP", 2200, 2000), "image/bmp")}
    line = {"body": {"document": photo, "include_image_base64": True}}
    _, job = await order(caller, requests=[line] * 3)
    job = await ended(caller, job["id"])
    wrong = shaped("invalid_request", "The results are too large for one response: download the files.", None)
    assert (400, wrong) == await caller.call("GET", f"/v1/batch/jobs/{job['id']}?inline=true")
    assert 3 == len(await results(caller, job["output_file"]))


async def test_a_line_has_a_bound(caller: Caller) -> None:
    """A file whose line is longer than a request may be is refused."""
    status, response = await caller.upload(b'{"body": {"x": "' + b"x" * 100_000_000 + b'"}}', "in.jsonl", purpose="batch")
    assert (422, "The line is longer than 100000000 bytes.") == (status, response["errors"])


async def test_a_disk_that_takes_no_more_fails_the_job(caller: Caller) -> None:
    """The job says why, and the next one works."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    lines = [ocr_line("a", 300)] * 3
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        _, job = await order(caller, requests=lines)
        job = await ended(caller, job["id"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ("FAILED", ["The sandbox cannot read or store a file: File too large."]) == (
        job["status"],
        [one["message"] for one in job["errors"]],
    )
    _, job = await order(caller, requests=lines)
    assert "SUCCESS" == (await ended(caller, job["id"]))["status"]


async def test_jobs_end_with_the_sandbox() -> None:
    """A sandbox that closes does not wait for its jobs, whether they are queued or run."""
    for pace in (SLOW, Pace(0.0, 0.0)):
        async with sandbox(pace=pace) as caller:
            assert 200 == (await order(caller, requests=[ocr_line("a", 50)] * 300))[0]
