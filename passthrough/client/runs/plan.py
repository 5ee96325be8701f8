"""The plan of a document: where its outputs go, whether it is finished, and how many pages will be billed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..documents import Document
from ..errors import unreadable
from ..output.disk import sha256_of
from ..output.manifest import Manifests
from ..output.places import Place
from ..pdf.parts import pages_to_bill
from .settings import RunSettings


@dataclass(frozen=True, slots=True)
class Item:
    """A document with its place (None: stdout), and what is known before it is sent.

    `sha256` is that of its bytes, hexadecimal, None for a URL. `pages` will be billed, None where only the API can count them.
    """

    document: Document
    place: Place | None
    sha256: str | None
    pages: int | None
    is_finished: bool


def plan(document: Document, place: Place | None, manifests: Manifests, settings: RunSettings) -> Item:
    """Read a document as far as is needed to plan it. Blocks. Raises DocumentError."""
    digest = None if document.path is None else hash_of(document.path)
    is_known = place is not None and manifests(place.folder).finished(place.key, digest, settings.fingerprint)
    if is_known and not settings.overwrite:
        return Item(document, place, digest, 0, is_finished=True)
    pages = pages_to_bill(document, settings.asked.pages, settings.limits)
    return Item(document, place, digest, pages, is_finished=False)


def hash_of(path: Path) -> str:
    """Return the hash of a document's bytes. Blocks. Raises DocumentError."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise unreadable(error) from None
