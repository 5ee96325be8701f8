"""Notes of a document's uploads, made before each of them begins, so that a killed run's are found and deleted by the next."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .disk import append_line, explained, open_locked, read_file
from .names import safe_base, stem_of

_MAX_STEM: Final = 60
_OWN_NAME: Final = re.compile(r"\.[0-9a-f]{12}(?:\.[A-Za-z0-9]{1,10})?\Z")
"""How the names of uploads end. None else is deleted: a folder from somebody else may have notes of the user's own files."""


def upload_name(name: str) -> str:
    """Return a name for the upload of a document of this name, which no other upload has."""
    stem = stem_of(name)
    return f"{safe_base(stem[:_MAX_STEM])}.{secrets.token_hex(6)}{safe_base(name[len(stem) :]) if stem != name else ''}"


@dataclass(frozen=True, slots=True)
class LeftUpload:
    """A file at the provider that was not deleted: its name there, its id (None: the run ended before it came), and where."""

    name: str
    id: str | None
    base_url: str


@dataclass(frozen=True, slots=True)
class UploadNotes:
    """A file of notes, one JSON object a line."""

    path: Path

    def note(self, said: Mapping[str, Any]) -> None:
        """Append what is known of the upload of a name, and bring it to the disk. Raises DocumentError."""
        with explained(self.path):
            descriptor = open_locked(self.path, wait=True, mode=0o600)
            assert descriptor is not None
            try:
                append_line(descriptor, json.dumps(said).encode() + b"\n")
            finally:
                os.close(descriptor)

    def left(self) -> list[LeftUpload]:
        """Return the uploads that were noted, and not deleted."""
        found: dict[str, dict[str, Any]] = {}
        for line in self._lines():
            found.setdefault(line["name"], {}).update(line)
        return [
            LeftUpload(name, said.get("id"), str(said.get("base_url", "")))
            for name, said in found.items()
            if not said.get("deleted")
        ]

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            lines = read_file(self.path).splitlines()
        except OSError:
            return
        for line in lines:
            with suppress(ValueError, RecursionError):
                said = json.loads(line)
                if isinstance(said, dict) and _is_note(said):
                    yield said


def _is_note(said: dict[str, Any]) -> bool:
    """Tell whether an object is as it is noted here."""
    name, file_id = said.get("name"), said.get("id", "")
    return isinstance(name, str) and isinstance(file_id, str) and _OWN_NAME.search(name) is not None
