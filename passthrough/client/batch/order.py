"""Orders a job: documents are planned, large ones uploaded, the files of lines are written, and all of it is ordered once."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Final

from ..api.calls import Refused
from ..api.jobs import Job, JobOrder, create, find
from ..documents import Document
from ..errors import ClientError, DocumentError
from ..output.place import Place
from ..output.publish import refuse_foreign
from ..pdf.parts import Part, plan_parts
from ..runs.document_run import RunContext, fields_of, is_paid, run_document
from ..runs.plan import Item, plan
from ..runs.results import DocumentResult
from ..runs.run import delete_abandoned
from ..threads import in_thread
from .claims import claimed
from .folder import LINES, ORDER_UNKNOWN, PARTS
from .job_state import JobState
from .lines import LineDocument, LineFiles
from .state import BatchOrder, BatchState, OrderedDocument, OrderedPart, Phase

JOB_NAME: Final = "passthrough_ocr"
"""Under this name the metadata of a job have what it is found by: its order's token."""

_SEARCHES: Final = 3
_SEARCH_PAUSE_S: Final = 2.0
"""Between two searches for a job whose order had no response: it may be listed a little later than it is taken."""
_ARRIVES_S: Final = 30.0
"""How old an order is, at least, before it is sent once more: one that was cut off may still be on its way."""

_PREPARING: Final = "PREPARING"
"""What the listener hears of a job that is not ordered yet, beside the API's words."""

Documents = Sequence[tuple[Document, Place]]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A document with all its parts, and the numbers of those that are to be ordered: the others are paid for."""

    item: Item
    place: Place
    parts: tuple[Part, ...]
    missing: tuple[int, ...]


async def order(documents: Documents, job: JobState, context: RunContext) -> BatchOrder | None:
    """Order what is not finished; return the order, None where nothing was left to order.

    Where it fails before the order, or is cancelled, what was uploaded is deleted and the job forgotten. Raises ClientError.
    """
    if not context.connection.has_files:
        raise ClientError("This API takes no files, and so no batch jobs.\n  Leave --batch out, or name another --base-url.")
    try:
        await job.save(BatchState(context.connection.endpoint.shown))
        await delete_abandoned(documents, context)
        cut = job.folder.path / PARTS
        prepared = [
            each
            for number, one in enumerate(documents)
            if (each := await _prepared(*one, cut / str(number), context)) is not None
        ]
        ordered = await _with_lines(prepared, job, context)
        if ordered is None:
            await job.withdraw(context.connection)
            return None
        await _upload_lines(ordered.token, job, context)
    except BaseException:
        await job.withdraw(context.connection)
        raise
    await job.save(replace(job.value, phase=Phase.ORDERING))
    await place_order(ordered, job, context)
    return ordered


async def place_order(ordered: BatchOrder, job: JobState, context: RunContext, *, is_first: bool = True) -> None:
    """Order the job, unless it is there, and note its id. Not `is_first`: an earlier run may have ordered it.

    Raises ClientError: what was uploaded is deleted where the job is not ordered, and all is kept where no one knows.
    """
    try:
        found = None if is_first else await _found(ordered.token, context, await in_thread(job.folder.saved_s_ago))
        found = found or await _created(ordered, job, context)
    except DocumentError as error:
        raise ClientError(f"{error}\n  {ORDER_UNKNOWN} {job.resume_command}") from None
    job.step("taken")
    await job.save(replace(job.value, phase=Phase.ORDERED, job=found.id))


async def _created(ordered: BatchOrder, job: JobState, context: RunContext) -> Job:
    """Return the job, which is ordered now. Raises DocumentError where that is not known, ClientError where it is refused."""
    model = str(ordered.asked.fields(ordered.documents[0].document)["model"])
    try:
        return await create(
            context.connection, JobOrder(model, job.value.lines, {JOB_NAME: ordered.token}), context.listener.wait
        )
    except Refused as refusal:
        await job.withdraw(context.connection)
        raise ClientError(str(refusal)) from None
    except DocumentError:  # it may have arrived
        if (found := await _found(ordered.token, context)) is not None:
            return found
        raise


async def _found(token: str, context: RunContext, age_s: float = _ARRIVES_S) -> Job | None:
    """Return the job with a token, None where the API has none. `age_s` is how long ago it was ordered."""
    searches = max(_SEARCHES, ceil((_ARRIVES_S - age_s) / _SEARCH_PAUSE_S) + 1)
    for tries in range(searches):
        if tries:
            context.listener.wait(_SEARCH_PAUSE_S, "the job is looked for")
            await context.connection.timing.sleep(_SEARCH_PAUSE_S)
        if (found := await find(context.connection, JOB_NAME, token, context.listener.wait)) is not None:
            return found
    return None


async def _prepared(document: Document, place: Place, cut: Path, context: RunContext) -> _Prepared | None:
    """Return a document that is to be ordered; the listener hears of one that is not, and why. `cut` is a folder for parts."""
    settings, listener = context.settings, context.listener
    listener.expect(1, 0)

    def parts_of(item: Item) -> _Prepared:
        with claimed(item, context) as work:
            refuse_foreign(work, settings.suffixes, overwrite=settings.overwrite)
            parts = tuple(plan_parts(document, settings.asked.pages, settings.limits, cut))
            missing = tuple(number for number in range(len(parts)) if not is_paid(work.response_path(number)))
            return _Prepared(item, place, parts, missing)

    try:
        item = await in_thread(partial(plan, document, place, context.manifests, settings))
        if item.is_finished:
            listener.end(DocumentResult(document, is_skipped=True))
            return None
        prepared = await in_thread(partial(parts_of, item))
    except DocumentError as error:
        listener.end(DocumentResult(document, failure=error))
        return None
    if not prepared.missing:
        listener.end(await run_document(item, context))
        return None
    listener.expect(0, item.pages)
    return prepared


async def _with_lines(prepared: Sequence[_Prepared], job: JobState, context: RunContext) -> BatchOrder | None:
    """Upload large documents, and write the files of lines; return the order of those that can be sent. It is on disk then."""
    settings, token = context.settings, secrets.token_hex(16)
    documents: list[OrderedDocument] = []
    with LineFiles(job.folder.path) as files:
        for number, each in enumerate(prepared):
            context.listener.watch(_PREPARING, number, len(prepared))
            ids = {part: f"{token[:12]}-{number}-{part}" for part in each.missing}
            try:
                sources = [await _source(each.item.document, each.parts[part], ids[part], job, context) for part in each.missing]
                for part, source in zip(each.missing, sources, strict=True):
                    fields = fields_of(each.item.document, each.parts[part], settings)
                    fields.pop("model")
                    await in_thread(partial(files.write, ids[part], fields, source))
            except DocumentError as error:
                if error.ends_run:
                    raise
                context.listener.end(DocumentResult(each.item.document, failure=error))
                continue
            parts = tuple(OrderedPart(ids.get(part), one.taken) for part, one in enumerate(each.parts))
            documents.append(OrderedDocument(each.item.document, each.place, each.item.sha256, each.item.pages, parts))
    if not documents:
        return None
    ordered = BatchOrder(
        token, settings.asked, settings.rendered, settings.limits, settings.out, settings.overwrite, tuple(documents)
    )
    await in_thread(partial(job.folder.save_order, ordered))
    job.step("planned")
    return ordered


async def _source(document: Document, part: Part, custom_id: str, job: JobState, context: RunContext) -> LineDocument:
    if part.path is None:
        return LineDocument(document.is_image, url=part.url)
    if part.size_bytes <= context.settings.upload_above:
        mime = "" if document.type is None else document.type.mime
        return LineDocument(document.is_image, part.path, part.size_bytes, mime)
    name = f"{document.relative.stem[:60]}.{custom_id}{document.relative.suffix}"
    return LineDocument(
        document.is_image, stored=await job.upload(context.connection, part.path, name, "ocr", context.listener.wait)
    )


async def _upload_lines(token: str, job: JobState, context: RunContext) -> None:
    """Upload the files of lines; then they, and what they were made of, are no longer needed here."""
    for number, path in enumerate(sorted(job.folder.path.glob(LINES.format("*")))):
        name = f"passthrough-ocr.{token[:12]}.{number}.jsonl"
        stored = await job.upload(context.connection, path, name, "batch", context.listener.wait)
        await job.save(replace(job.value, lines=(*job.value.lines, stored)))
    await in_thread(job.folder.remove_sources)
