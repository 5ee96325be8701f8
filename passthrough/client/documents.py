"""The documents of a run: what each is, where its bytes are, and where it stands in the tree that outputs mirror."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath


class Kind(StrEnum):
    """How a document is treated: PDFs are counted and split, images are one page, the others are sent as they are."""

    PDF = "pdf"
    IMAGE = "image"
    OFFICE = "office"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class FileType:
    """A type of documents, by its bytes: the media type that a data URI names, and a file name's usual end (`.pdf`)."""

    mime: str
    kind: Kind
    suffix: str


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a run.

    `name` is shown: the path as it was given or found, the URL, `-`. `path` is the file to read (for stdin a temporary one), None
    for a URL, which the API fetches itself. `type` is None for a URL too. `relative` is the place in the tree of what was named:
    `2024/march/report.pdf` for a file found below a folder, else the file's name alone.
    """

    name: str
    relative: PurePath
    path: Path | None = None
    url: str | None = None
    type: FileType | None = None

    @property
    def is_image(self) -> bool:
        """Whether it is sent as `image_url`: by its bytes, and a URL by the end of its path."""
        if self.type is not None:
            return self.type.kind is Kind.IMAGE
        return self.relative.suffix.lower() in IMAGE_SUFFIXES


IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".avif", ".heic"})
"""The ends of the names of files that the API takes as images."""
