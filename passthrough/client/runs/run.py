"""Runs documents through the API, several at once, while the next ones are still being planned."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..documents import Document
from ..errors import ClientError, DocumentError
from ..output.places import Place
from ..output.work_folder import abandoned
from ..threads import in_thread
from .document_run import RunContext, delete_left, run_document
from .plan import Item, plan
from .results import DocumentResult


@dataclass(slots=True)
class _Run:
    """The queue between planning and sending, and the failure that ends the run, once there is one."""

    context: RunContext
    queue: asyncio.Queue[Item | None] = field(default_factory=asyncio.Queue)
    ended: DocumentError | None = None

    async def plan_all(self, documents: Sequence[tuple[Document, Place | None]]) -> None:
        context = self.context
        for document, place in documents:
            try:
                item = await in_thread(partial(plan, document, place, context.manifests, context.settings))
            except DocumentError as error:
                context.listener.end(DocumentResult(document, failure=error))
                continue
            if item.is_finished:
                context.listener.end(DocumentResult(document, is_skipped=True))
                continue
            context.listener.expect(0, item.pages)
            self.queue.put_nowait(item)
        for _ in range(context.settings.workers):
            self.queue.put_nowait(None)

    async def work(self) -> None:
        while (item := await self.queue.get()) is not None:
            if self.ended is not None:
                result = DocumentResult(item.document, is_unsent=True)
            else:
                result = await run_document(item, self.context)
                if result.failure is not None and result.failure.ends_run:
                    self.ended = self.ended or result.failure
            self.context.listener.end(result)


async def run(documents: Sequence[tuple[Document, Place | None]], context: RunContext) -> None:
    """Run documents, `workers` at once; the listener hears what comes of each. A cancellation leaves nothing half-written.

    Uploads that killed runs left beside these outputs are deleted first.
    """
    await delete_abandoned(documents, context)
    context.listener.expect(len(documents), 0)
    running = _Run(context)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(running.plan_all(documents))
            for _ in range(context.settings.workers):
                group.create_task(running.work())
    except* ClientError as failed:
        raise failed.exceptions[0] from None


async def delete_abandoned(documents: Sequence[tuple[Document, Place | None]], context: RunContext) -> None:
    """Delete the uploads of killed runs, noted beside the outputs of these documents; of stdout among temporary files."""
    for folder in dict.fromkeys(_temporary() if place is None else place.folder for _, place in documents):
        for left in await in_thread(partial(abandoned, folder, context.manifests(folder))):
            with left as work:
                await delete_left(work, context.connection)


def _temporary() -> Path:
    """Return where the work on documents for stdout is; asked for only by them: a machine may have no such folder."""
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        raise ClientError(f"There is no folder for temporary files: {error.strerror}.\n  Name one: TMPDIR=…") from None
