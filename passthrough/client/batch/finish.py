"""Finishes a job that has ended: its results are fetched, outputs are made of them, and the provider's copies are deleted."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..api.error_text import error_text
from ..api.files import download
from ..api.jobs import Job
from ..errors import ClientError, DocumentError
from ..output.disk import disk_failure, is_file
from ..output.work_folder import WorkFolder
from ..runs.document_run import RunContext, book, outputs_of
from ..runs.plan import Item
from ..runs.results import DocumentResult
from ..runs.run import delete_abandoned
from ..threads import in_thread
from .claims import claimed, with_free_place
from .job_state import JobState
from .results import Result, joined, read_results
from .state import BatchOrder, OrderedDocument, Phase


@dataclass(frozen=True, slots=True)
class _Fetched:
    """The results of a job that has ended, by the custom ids of their lines."""

    job: Job
    results: Mapping[str, Result]

    @property
    def is_short(self) -> bool:
        """Whether some of what the job did, which is billed, is missing: a file may have been cut on its way."""
        is_expected = self.job.has_succeeded or self.job.output_file is not None
        return is_expected and sum(each.is_success for each in self.results.values()) < self.job.done

    def lacks(self, ordered: OrderedDocument, work: WorkFolder) -> bool:
        """Tell whether a part of a document has neither a line nor a response that is on disk."""
        return any(
            (part.custom_id or "") not in self.results and not is_file(work.response_path(number))
            for number, part in enumerate(ordered.parts)
        )


@dataclass(frozen=True, slots=True)
class _Finished:
    """What came of a document, and whether all that the provider had for it is on disk."""

    result: DocumentResult
    is_stored: bool


async def finish(ordered: BatchOrder, ended: Job, job: JobState, context: RunContext) -> None:
    """Make outputs of a job's results, delete what is at the provider, and forget the job.

    Raises ClientError where a result cannot be kept here: then it stays at the provider, and the job is finished by the next run.
    """
    files = tuple(each for each in (ended.output_file, ended.error_file) if each is not None)
    results: dict[str, Result] = {}
    for number, file_id in enumerate(files):
        path = job.folder.path / f"results-{number}.jsonl"
        await download(context.connection, file_id, path, context.listener.wait)
        results = joined(results, await in_thread(partial(read_results, path)))
        job.step("fetched")
    fetched = _Fetched(ended, results)
    lost = 0
    for each in ordered.documents:
        finished = await _finished(each, fetched, job.folder.path / "response.json", context)
        context.listener.end(finished.result)
        lost += not finished.is_stored
        job.step("written")
    if lost:
        words = "1 result could not be kept here, and stays" if lost == 1 else f"{lost} results could not be kept here, and stay"
        if fetched.is_short:
            raise DocumentError(f"{words} at the provider.")
        raise ClientError(f"{words} at the provider.\n  Then run: {job.resume_command}")
    await delete_abandoned([(each.document, each.place) for each in ordered.documents], context)  # a killed run's folders
    await job.save(replace(job.value, phase=Phase.STORED, results=files))
    await clear(job, context)


async def clear(job: JobState, context: RunContext) -> None:
    """Delete what a job has left at the provider, and forget it. Raises ClientError for what cannot be deleted."""
    is_clear = await job.delete_all(context.connection)
    left = [each.name if each.id is None else each.id for each in job.value.uploads] + [*job.value.results]
    await in_thread(job.folder.empty)
    if not is_clear:
        raise ClientError(f"Files of the batch could not be deleted at the provider: {', '.join(left)}.\n  Delete them there.")


async def _finished(ordered: OrderedDocument, fetched: _Fetched, aside: Path, context: RunContext) -> _Finished:
    """Return what came of a document. `aside` is a file for responses that are only counted. Raises nothing of its own."""
    document, settings = ordered.document, context.settings
    is_stored = False
    try:
        manifest = context.manifests(ordered.place.folder)
        is_known = await in_thread(partial(manifest.finished, ordered.place.key, ordered.sha256, settings.fingerprint))
        if is_known and not settings.overwrite:  # by a run that was killed afterwards
            return await _written(ordered, fetched, aside, context)
        planned = Item(document, ordered.place, ordered.sha256, ordered.pages, is_finished=False)
        item = await in_thread(partial(with_free_place, planned, context))
        with claimed(item, context) as work:
            if is_known and not _has_earlier(ordered, work):
                return await _written(ordered, fetched, aside, context)
            failure = await _store_all(ordered, fetched, work, context)
            is_stored = not (fetched.is_short and fetched.lacks(ordered, work))
            if failure is not None:
                raise failure
            responses = [(work.response_path(number), part.taken) for number, part in enumerate(ordered.parts)]
            return _Finished(await outputs_of(item, work, responses, context), is_stored=True)
    except DocumentError as error:
        return _Finished(DocumentResult(document, failure=error), is_stored)
    except OSError as error:
        return _Finished(DocumentResult(document, failure=disk_failure(error, ordered.place.folder)), is_stored)


async def _written(ordered: OrderedDocument, fetched: _Fetched, aside: Path, context: RunContext) -> _Finished:
    """Return what came of a document that is written: its results are only counted, in the file `aside`. Raises OSError."""
    for part in ordered.parts:
        result = fetched.results.get(part.custom_id or "")
        if result is not None and result.is_success:
            with suppress(DocumentError):  # it is not needed
                await _store(result, aside, context)
    return _Finished(DocumentResult(ordered.document, is_skipped=True), is_stored=True)


def _has_earlier(ordered: OrderedDocument, work: WorkFolder) -> bool:
    """Tell whether the responses that were there before the job are there. They go when the document is written."""
    return all(part.custom_id is not None or is_file(work.response_path(number)) for number, part in enumerate(ordered.parts))


async def _store_all(ordered: OrderedDocument, fetched: _Fetched, work: WorkFolder, context: RunContext) -> DocumentError | None:
    """Keep the responses to a document's parts; return why it failed, if a part did. Raises OSError."""
    failure = None
    for number, part in enumerate(ordered.parts):
        into = work.response_path(number)
        result = fetched.results.get(part.custom_id or "")
        try:
            if result is not None and result.is_success:
                await _store(result, into, context)
            elif not is_file(into):
                raise await in_thread(partial(_failure, result, fetched.job))
        except DocumentError as error:
            failure = failure or error
    return failure


async def _store(result: Result, into: Path, context: RunContext) -> None:
    """Keep a response, and count its pages. Raises DocumentError for one that is none, OSError."""
    await in_thread(partial(result.store, into))
    await book(into, context, in_batch=True)


def _failure(result: Result | None, ended: Job) -> DocumentError:
    """Return why there is no response to a part. Blocks. Raises OSError."""
    if result is not None:
        said = error_text(result.error or result.body()).message.rstrip(". ") or "no reason given"
        return DocumentError(f"The API refused it ({result.status or 'no status'}): {said}.")
    if ended.has_succeeded:
        return DocumentError("The results of the batch job have no line for it.", "Run it again.")
    said = "".join(f" {each.rstrip('. ')}." for each in ended.errors[:3] if each)
    return DocumentError(f"The batch job ended early, as {ended.status}, and has no result for it.{said}", "Run it again.")
