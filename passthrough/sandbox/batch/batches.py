"""Runs batch jobs: each is queued, works through its lines one after another, and leaves files of results and of errors."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Final

from ..encoded_response import json_bytes
from ..errors import Rejection, error
from ..file_store import FileStore
from ..job_thread import IsCancelled, JobThread
from .job import BatchJob, JobOrder, JobStatus
from .lines import BatchRequest, read_requests
from .results import BatchResults

Answer = Callable[[bytes, IsCancelled], dict[str, object]]
"""Returns the response to the body of one request, or raises Rejection."""

_MAX_INLINE_BYTES: Final = 50_000_000


class Batches:
    """All jobs of one sandbox. A job is queued for `queue_s`, and as long again runs before its first line."""

    def __init__(self, files: FileStore, reader: JobThread, answers: Mapping[str, Answer], queue_s: float) -> None:
        self._files, self._reader, self._answers, self._queue_s = files, reader, answers, queue_s
        self._jobs: dict[str, BatchJob] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, order: JobOrder) -> BatchJob:
        """Queue a job. Raises Rejection (404) for a file that is not there."""
        for file_id in order.input_files:
            self._files.get(file_id)
        job = BatchJob(str(uuid.uuid4()), order, self._now())
        self._jobs[job.id] = job
        self._tasks[job.id] = asyncio.create_task(self._run(job), name=f"sandbox batch {job.id}")
        return job

    def get(self, job_id: str) -> BatchJob:
        """Return a job. Raises Rejection (404)."""
        try:
            return self._jobs[job_id]
        except KeyError:
            raise error(404, "not_found", f"Batch job {job_id} not found.") from None

    def listed(self) -> list[BatchJob]:
        """Return all jobs, newest first."""
        return list(reversed(self._jobs.values()))

    def cancel(self, job_id: str) -> BatchJob:
        """Cancel a job: a queued one at once, a running one behind the line that it is at. One that has ended stays as it is."""
        job = self.get(job_id)
        if job.status is JobStatus.QUEUED:
            self._tasks[job.id].cancel()
            self._end(job, JobStatus.CANCELLED)
        elif job.status is JobStatus.RUNNING:
            job.status = JobStatus.CANCELLATION_REQUESTED
        return job

    def delete(self, job_id: str) -> None:
        """Forget a job, and end it; its files stay. Raises Rejection (404)."""
        self.get(job_id)
        self._tasks.pop(job_id).cancel()
        del self._jobs[job_id]

    async def outputs(self, job: BatchJob) -> list[object]:
        """Return the results of a job that has ended, failed ones behind the others. Raises Rejection (400) for too many."""
        stored = [self._files.get(each) for each in (job.output_file, job.error_file) if each is not None]
        if sum(each.size_bytes for each in stored) > _MAX_INLINE_BYTES:
            raise error(400, "invalid_request", "The results are too large for one response: download the files.")

        def load(_: IsCancelled) -> list[object]:
            return [json.loads(line) for each in stored for line in each.path.read_bytes().split(b"\n") if line]

        return await self._reader.run(load)

    async def close(self) -> None:
        """End all jobs."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _run(self, job: BatchJob) -> None:
        await asyncio.sleep(self._queue_s)
        job.status, job.started_utc = JobStatus.RUNNING, self._now()
        job.total = len(job.order.requests) or sum(self._lines_of(each) for each in job.order.input_files)
        await asyncio.sleep(self._queue_s)
        results, requests, failed = BatchResults(job.id, self._files), self._requests(job.order), False
        try:
            # A cancelled job's status becomes CANCELLATION_REQUESTED meanwhile.
            while job.status is JobStatus.RUNNING and await self._reader.run(self._step(job, requests, results)):
                pass
        except (Rejection, OSError) as wrong:  # a file that is deleted, or holds no requests; a disk that takes no more
            job.errors[_words(wrong)] += 1
            failed = True
        finally:
            self._reader.submit(requests.close)
            self._reader.submit(results.close)
        job.output_file, job.error_file = await self._reader.run(lambda _: results.stored())
        cancelled = job.status is JobStatus.CANCELLATION_REQUESTED
        self._end(job, JobStatus.FAILED if failed else JobStatus.CANCELLED if cancelled else JobStatus.SUCCESS)

    def _step(self, job: BatchJob, requests: Iterator[BatchRequest], results: BatchResults) -> Callable[[IsCancelled], bool]:
        """Return the reader's job that answers the next request; it returns False if there is none."""

        def step(is_cancelled: IsCancelled) -> bool:
            request = next(requests, None)
            if request is None:
                return False
            try:
                status, body = 200, self._answers[job.order.endpoint](_body(request, job.order.model), is_cancelled)
            except Rejection as rejection:
                status, body = rejection.status, rejection.body
            results.write(request, status, body)
            if status == 200:
                job.succeeded += 1
            else:
                job.failed += 1
                job.errors[f"HTTP Error, status code: {status}"] += 1
            job.total = max(job.total, job.succeeded + job.failed)
            return True

        return step

    def _requests(self, order: JobOrder) -> Generator[BatchRequest]:
        """Yield a job's requests. Runs on the reader's thread. Raises Rejection for lines that are none, OSError."""
        yield from order.requests
        for file_id in order.input_files:
            with self._files.get(file_id).path.open("rb") as opened:
                yield from read_requests(opened)

    def _lines_of(self, file_id: str) -> int:
        try:
            return self._files.get(file_id).num_lines
        except Rejection:  # deleted: the job fails when it comes to it
            return 0

    def _end(self, job: BatchJob, status: JobStatus) -> None:
        job.status, job.completed_utc = status, self._now()

    def _now(self) -> int:
        return int(self._files.clock())


def _body(request: BatchRequest, model: str | None) -> bytes:
    return json_bytes(request.body if model is None else {"model": model, **request.body})


def _words(wrong: Rejection | OSError) -> str:
    if isinstance(wrong, OSError):
        return f"The sandbox cannot read or store a file: {wrong.strerror}."
    said, line = wrong.body.get("message", wrong.body.get("detail")), wrong.body.get("line")
    return f"{said}" if line is None else f"{said} (line {line})"
