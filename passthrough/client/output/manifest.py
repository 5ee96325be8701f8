"""The manifest of an output folder: which documents are finished there, by which options, and which files were written.

One JSON object a line, only ever appended; the last line of a document holds. What a killed process left of a line is ignored,
and so is what is not as this module writes it: the file may have come with a folder of somebody else's.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import DocumentError
from ..shown import shown
from .disk import append_line, explained, is_file, open_locked, open_unfollowed
from .names import MANIFEST, OWN_PREFIX, folded, is_output_of


@dataclass(frozen=True, slots=True)
class Finished:
    """A document that is done: what it was (`sha256` of its bytes, None of a URL), by which options, and what was written.

    `outputs` are names relative to the folder, with the hash of what was written. `work` is the token of the paid responses.
    """

    key: str
    base: str
    sha256: str | None
    fingerprint: str
    outputs: Mapping[str, str]
    work: str


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written: whose it is, and the hash of its bytes."""

    key: str
    sha256: str


class Manifest:
    """The manifest of one folder, as far as it was read. Threads may share it.

    `trouble` is why it cannot be read, None where it can, or where there is none yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / MANIFEST
        self.trouble: DocumentError | None = None
        self._mutex = threading.Lock()
        self._forget()

    @classmethod
    def of(cls, folder: Path) -> Manifest:
        """Read the manifest of a folder, empty where there is none."""
        manifest = cls(folder)
        manifest.refresh()
        return manifest

    def finished(self, key: str, sha256: str | None, fingerprint: str) -> bool:
        """Tell whether a document was finished as it is now, by these options, and all of its outputs are still there."""
        line = self._finished.get(key)
        return (
            line is not None
            and (line.sha256, line.fingerprint) == (sha256, fingerprint)
            and all(is_file(self.folder / name) for name in line.outputs)
        )

    def line(self, key: str) -> Finished | None:
        """Return a document's line, None where it was never finished."""
        return self._finished.get(key)

    def owner(self, name: str) -> Finished | None:
        """Return the line of the document whose output a file is, None where it is no document's."""
        written = self._written.get(name)
        return None if written is None else self._finished.get(written.key)

    def claims(self) -> dict[str, str]:
        """Return whose each base is: its folded name, and the document's key."""
        with self._mutex:
            return dict(self._claims)

    def holder(self, base: str) -> str | None:
        """Return the document that has a base, by its key."""
        return self._claims.get(folded(base))

    def is_output(self, path: Path) -> bool:
        """Tell whether a path below this folder was written by this command: a file, a picture, a folder of pictures."""
        try:
            name = path.relative_to(self.folder).as_posix()
        except ValueError:
            return False
        return name.startswith(OWN_PREFIX) or name in self._written or name in self._picture_folders

    def hash_of(self, name: str, key: str) -> str | None:
        """Return the hash of a file as it was written for a document, None where it was not."""
        written = self._written.get(name)
        return written.sha256 if written is not None and written.key == key else None

    def names_of(self, key: str) -> list[str]:
        """Return all that was ever written of a document."""
        with self._mutex:
            return [name for name in self._names.get(key, ()) if self._written[name].key == key]

    def has_published(self, work: str) -> bool:
        """Tell whether the document of these paid responses has its line."""
        return work in self._works

    def refresh(self) -> None:
        """Read the lines that were added since."""
        with self._mutex:
            try:
                descriptor = open_unfollowed(self.path)
                try:
                    self._read(descriptor)
                finally:
                    os.close(descriptor)
                self.trouble = None
            except FileNotFoundError:
                self._forget()
            except OSError as error:
                self.trouble = DocumentError(
                    f"{shown(self.path)} cannot be read: {error.strerror}", "Move it away, or name another folder (-o DIR)."
                )

    @contextmanager
    def writing(self) -> Iterator[ManifestWriter]:
        """Hold the manifest for writing: other processes wait, and what they have added is read. Raises DocumentError."""
        with explained(self.path):
            descriptor = open_locked(self.path, wait=True)
        assert descriptor is not None
        try:
            self.refresh()
            if self.trouble is not None:
                raise self.trouble
            yield ManifestWriter(self, descriptor)
        finally:
            os.close(descriptor)

    def add(self, finished: Finished) -> None:
        """Append a document's line."""
        with self.writing() as writer:
            writer.add(finished)

    def _forget(self) -> None:
        self._offset = 0
        self._inode = -1
        self._finished: dict[str, Finished] = {}
        self._claims: dict[str, str] = {}
        self._written: dict[str, Written] = {}
        self._names: dict[str, dict[str, None]] = {}
        self._picture_folders: set[str] = set()
        self._works: set[str] = set()

    def _read(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if found.st_ino != self._inode or found.st_size < self._offset:
            self._forget()
            self._inode = found.st_ino
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(self._offset)
            while line := file.readline():
                if not line.endswith(b"\n"):
                    return  # torn, or another process is at it
                self._offset += len(line)
                self._take(line)

    def _take(self, line: bytes) -> None:
        finished = _parsed(line)
        if finished is None:
            return
        before = self._finished.get(finished.key)
        if before is not None and self._claims.get(folded(before.base)) == finished.key:
            del self._claims[folded(before.base)]
        self._finished[finished.key] = finished
        self._claims[folded(finished.base)] = finished.key
        self._names.setdefault(finished.key, {}).update(dict.fromkeys(finished.outputs))
        self._works.add(finished.work)
        self._written.update({name: Written(finished.key, sha256) for name, sha256 in finished.outputs.items()})
        self._picture_folders.update(name.partition("/")[0] for name in finished.outputs if "/" in name)


@dataclass(frozen=True, slots=True)
class ManifestWriter:
    """A manifest that is held for writing."""

    manifest: Manifest
    descriptor: int

    def add(self, finished: Finished) -> None:
        """Append a document's line, and bring it to the disk."""
        line = json.dumps({name: getattr(finished, name) for name in Finished.__slots__}, default=dict)
        with explained(self.manifest.path):
            append_line(self.descriptor, line.encode() + b"\n")
        self.manifest.refresh()


Manifests = Callable[[Path], Manifest]
"""Returns the manifest of a folder, the same each time."""


def _parsed(line: bytes) -> Finished | None:
    """Return what a line says, None where it is none of this command's."""
    try:
        said = json.loads(line)
        finished = Finished(**{name: said[name] for name in Finished.__slots__})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    texts = (finished.key, finished.base, finished.fingerprint, finished.work)
    if not all(isinstance(text, str) for text in texts) or not isinstance(finished.sha256, str | None):
        return None
    if not isinstance(finished.outputs, dict) or not all(isinstance(each, str) for each in finished.outputs.values()):
        return None
    return finished if all(is_output_of(finished.base, name) for name in finished.outputs) else None
