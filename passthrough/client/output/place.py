"""The place of a document's outputs: a folder, the beginning of their names, and what the manifest calls the document."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """The place of one document's outputs: `folder/base.md`, `folder/base_images/`.

    `key` is the document in the folder's manifest: the path of the input from there (its absolute path where there is none), the
    URL, or the hash of what came by stdin.
    """

    folder: Path
    base: str
    key: str
