"""Notes of a document's uploads, made before each of them begins, so that a killed run's are found and deleted by the next."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .disk import append_line, explained


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
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
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
            lines = self.path.read_bytes().splitlines()
        except OSError:
            return
        for line in lines:
            with suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict) and isinstance(said.get("name"), str):
                    yield said
