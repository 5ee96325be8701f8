"""Claims the places of a job's documents, for moments: no place is held while the job runs at the provider."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..errors import DocumentError
from ..output.places import places
from ..output.work_folder import WorkFolder, claim
from ..runs.document_run import RunContext
from ..runs.plan import Item


@contextmanager
def claimed(item: Item, context: RunContext) -> Iterator[WorkFolder]:
    """Yield a document's folder of work, with the responses that are paid for. Blocks. Raises DocumentError."""
    settings, place = context.settings, item.place
    assert place is not None
    with claim(place, context.manifests(place.folder)) as work:
        work.prepare(item.sha256, settings.fingerprint, asked=settings.paid_fingerprint)
        yield work


def with_free_place(item: Item, context: RunContext) -> Item:
    """Return a document with its place, or another one where a run gave that to another document meanwhile. Blocks.

    Raises DocumentError where neither can be had.
    """
    try:
        with claimed(item, context):
            return item
    except DocumentError:
        (place,) = places((item.document,), context.settings.out, context.manifests)
        if place == item.place:
            raise
        return replace(item, place=place)
