"""What a run will do with each document: where its output goes, whether it is finished, how many pages will be billed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..documents import Document
from ..errors import DocumentError
from ..output.manifest import Manifests
from ..output.places import Place
from ..pdf.parts import pages_to_bill
from .settings import RunSettings

_BLOCK: Final = 1 << 20


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
    digest = None if document.path is None else sha256_of(document.path)
    is_known = place is not None and manifests(place.folder).finished(place.key, digest, settings.fingerprint)
    if is_known and not settings.overwrite:
        return Item(document, place, digest, 0, is_finished=True)
    pages = pages_to_bill(document, settings.asked.pages, settings.limits)
    return Item(document, place, digest, pages, is_finished=False)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes. Blocks. Raises DocumentError."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise DocumentError(f"It cannot be read: {error.strerror or error}.", "Check its name and permissions.") from None
    return digest.hexdigest()
