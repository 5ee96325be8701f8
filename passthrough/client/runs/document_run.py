"""One document's way: its parts are sent, their responses are kept, outputs are made of them and put in their place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from ..api.connection import Connection
from ..api.faults import BILLED_HINT
from ..api.files import FilesMissing, NotStored, delete, delete_upload, upload
from ..api.ocr import InlineSource, Source, StoredSource, UrlSource, ocr
from ..documents import Document
from ..errors import DocumentError
from ..output.disk import disk_failure, is_file, remove
from ..output.manifest import Manifests
from ..output.places import Place
from ..output.publish import publish, refuse_foreign
from ..output.upload_notes import upload_name
from ..output.work_folder import WorkFolder, claim, claim_temporary
from ..pdf.parts import Part, plan_parts
from ..rendering.billed import Billed, billed_in
from ..rendering.rendered import Written, write_rendered
from ..rendering.response_file import NO_PAGES
from ..threads import in_thread, to_its_end
from .listener import Listener
from .plan import Item
from .results import DocumentResult
from .settings import RunSettings

_DELETE_S: Final = 10.0  # for an upload, where the run ends: the next one deletes what is left
_LEFT: Final = "what was uploaded of it could not be deleted at the provider; the next run over the same outputs deletes it"
_MAX_LISTED: Final = 1000  # pages; more are sent as ranges


@dataclass(frozen=True, slots=True)
class RunContext:
    """What the documents of a run share. `rendering` admits one at a time: responses with images are large."""

    settings: RunSettings
    connection: Connection
    listener: Listener
    manifests: Manifests
    rendering: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))


async def run_document(item: Item, context: RunContext) -> DocumentResult:
    """Return what came of a document. Raises nothing but a cancellation, after which nothing is half-written."""
    try:
        with _claimed(item.place, context.manifests) as work:
            try:
                result = await _converted(item, work, context)
            except DocumentError as error:
                result = DocumentResult(item.document, failure=error)
            return replace(result, notes=(*result.notes, _LEFT)) if work.left_uploads() else result
    except DocumentError as error:
        return DocumentResult(item.document, failure=error)
    except OSError as error:
        return DocumentResult(item.document, failure=disk_failure(error, Path() if item.place is None else item.place.folder))


def _claimed(place: Place | None, manifests: Manifests) -> WorkFolder:
    return claim_temporary() if place is None else claim(place, manifests(place.folder))


async def _converted(item: Item, work: WorkFolder, context: RunContext) -> DocumentResult:
    settings = context.settings
    await delete_left(work, context.connection)
    if not settings.overwrite and work.is_finished(item.sha256, settings.fingerprint):
        return DocumentResult(item.document, is_skipped=True)
    await in_thread(partial(work.prepare, item.sha256, settings.fingerprint, asked=settings.paid_fingerprint))
    if item.place is not None:
        await in_thread(partial(refuse_foreign, work, settings.suffixes, overwrite=settings.overwrite))
    planned = partial(plan_parts, item.document, settings.asked.pages, settings.limits, work.path / "parts")
    responses: list[tuple[Path, tuple[int, ...] | None]] = []
    for number, part in enumerate(await in_thread(planned)):
        into = work.response_path(number)
        async with context.rendering:
            has_response = await in_thread(partial(is_paid, into))
        if not has_response:
            try:
                await _call(item.document, part, into, work, context)
            finally:  # also where the run was stopped when the response had just come
                if is_file(into):
                    await book(into, context)
        responses.append((into, part.taken))
    return await outputs_of(item, work, responses, context)


def is_paid(into: Path) -> bool:
    """Tell whether a response is there, which was paid for. What is none is removed: it would fail its document for good.

    Blocks. Raises OSError.
    """
    if is_file(into):
        with suppress(DocumentError):
            return _billed(into).has_pages
    else:
        remove(into)
    return False


async def outputs_of(
    item: Item, work: WorkFolder, responses: list[tuple[Path, tuple[int, ...] | None]], context: RunContext
) -> DocumentResult:
    """Make the outputs of a document's responses, in the order of its parts, and put them in their place.

    Where the run is stopped while they are put there, the listener hears of it here. Raises DocumentError, OSError: the responses
    stay in the work folder, for the next run.
    """
    settings, folder = context.settings, work.outputs
    async with context.rendering:
        written = await in_thread(partial(rendered, responses, item, folder, settings))
    if item.place is None:
        text = await in_thread((folder / written.names[0]).read_bytes)
        return DocumentResult(item.document, text=text, notes=written.notes)

    def placed() -> DocumentResult:
        return DocumentResult(item.document, publish(work, written.names, overwrite=settings.overwrite), notes=written.notes)

    return await in_thread(placed, on_stopped=context.listener.end)


def rendered(responses: list[tuple[Path, tuple[int, ...] | None]], item: Item, folder: Path, settings: RunSettings) -> Written:
    """Write into `folder` what is made of a document's responses. Blocks. Raises DocumentError, OSError."""
    base = "stdout" if item.place is None else item.place.base
    with_pictures = settings.asked.has_images and item.place is not None
    return write_rendered(responses, base, with_pictures, settings.rendered, folder)


def fields_of(document: Document, part: Part, settings: RunSettings) -> dict[str, Any]:
    """Return the fields of the request for a part, without `document` itself."""
    fields = settings.asked.fields(document)
    if part.pages is None:
        return fields
    chosen = part.pages.of(_MAX_LISTED) if part.pages.ranges[-1][1] < _MAX_LISTED else str(part.pages)
    return {"pages": chosen, **fields}


async def _call(document: Document, part: Part, into: Path, work: WorkFolder, context: RunContext) -> None:
    fields = fields_of(document, part, context.settings)
    async with _source(document, part, work, context) as source:
        await ocr(context.connection, source, fields, into, context.listener.wait)


@asynccontextmanager
async def _source(document: Document, part: Part, work: WorkFolder, context: RunContext) -> AsyncIterator[Source]:
    """Yield where the API finds a part: in the request, or as an upload, which is deleted afterwards whatever happened."""
    mime = "" if document.type is None else document.type.mime
    if part.path is None:
        assert document.url is not None
        yield UrlSource(document.url, document.is_image)
        return
    inline = InlineSource(part.path, mime, document.is_image)
    if part.size_bytes <= context.settings.upload_above or not context.connection.has_files:
        yield inline
        return
    name = upload_name(document.relative.name)
    work.note_upload(name, context.connection.endpoint.shown)
    try:
        stored = await upload(context.connection, part.path, name, "ocr", context.listener.wait)
    except FilesMissing:
        work.note_deleted(name)
        yield inline
        return
    except NotStored:
        work.note_deleted(name)
        raise
    except BaseException:
        await _delete_unknown(name, work, context.connection)
        raise
    if stored.is_only:  # else all of its name are to be deleted
        work.note_uploaded(name, stored.id)
    try:
        yield StoredSource(stored.id)
    finally:
        with suppress(DocumentError, TimeoutError):
            async with asyncio.timeout(_DELETE_S):
                await delete(context.connection, stored.id)
                if not stored.is_only:
                    await delete_upload(context.connection, name, None)
                work.note_deleted(name)


async def _delete_unknown(name: str, work: WorkFolder, connection: Connection) -> None:
    """Delete an upload whose response is missing. Where there is none it stays noted: it may be listed a little later."""
    with suppress(DocumentError, TimeoutError):
        async with asyncio.timeout(_DELETE_S):
            if await delete_upload(connection, name, None):
                work.note_deleted(name)


async def book(into: Path, context: RunContext, *, in_batch: bool = False) -> None:
    """Count a response's pages, though the run be stopped meanwhile: they were billed.

    One that is no OCR response is removed, and fails its document. Raises DocumentError.
    """
    await to_its_end(_book(into, context, in_batch))


async def _book(into: Path, context: RunContext, in_batch: bool) -> None:
    async with context.rendering:
        found = await in_thread(partial(_billed, into))
    pages, annotated, model = found.pages_processed, found.pages_annotated, found.model
    context.listener.advance(pages + annotated, context.settings.cost_nano(model, pages, annotated, in_batch=in_batch))
    if not found.has_pages:
        raise DocumentError(f"{NO_PAGES.rstrip('.')}; it may have been billed.", BILLED_HINT)


def _billed(into: Path) -> Billed:
    """Return what was billed for a response; one that is no OCR response is removed. Raises DocumentError."""
    try:
        found = billed_in(into)
    except DocumentError as error:
        into.unlink()
        raise DocumentError(f"{error.why.rstrip('.')}; it may have been billed.", BILLED_HINT) from None
    if not found.has_pages:
        into.unlink()
    return found


async def delete_left(work: WorkFolder, connection: Connection) -> None:
    """Delete the uploads that a killed run left at this API. What cannot be deleted stays noted, for the next run."""
    for left in work.left_uploads():
        if left.base_url != connection.endpoint.shown:
            continue
        with suppress(DocumentError):
            await delete_upload(connection, left.name, left.id)
            work.note_deleted(left.name)
