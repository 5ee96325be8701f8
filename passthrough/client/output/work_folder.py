"""The folder in which one document is worked on, beside its outputs: a lock, paid responses, uploads, what is rendered.

It is hidden, for its user alone, and on the disk of the outputs, so that they can be renamed into place. A run that is killed
leaves it; what was paid for is used by the next run, and what was uploaded is deleted by it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from ..errors import DocumentError
from ..shown import shown
from .disk import explained, made_and_locked, open_locked, read_object, remove, write_whole
from .manifest import Manifest
from .names import WORK_PREFIX, folded, work_name
from .place import Place
from .upload_notes import LeftUpload, UploadNotes

_LOCK: Final = "lock"
_STATE: Final = "state.json"
_UPLOADS: Final = "uploads.jsonl"
_PUBLISHING: Final = "publishing.json"
_RESPONSE: Final = "response-{}.json"
PATIENCE_S: Final = 0.3
"""How long a place that another process looks at is waited for: one that looks for what killed runs left holds it for moments."""


class WorkFolder:
    """A folder of work that this process holds. One thread at a time uses it.

    `path` is it; files that are made there (`part-0.pdf`) are removed at the end. `outputs` is a folder in it for what is made
    of the responses, named as in the output folder. All raise DocumentError where the disk refuses.
    """

    def __init__(self, path: Path, descriptor: int, manifest: Manifest | None, place: Place | None = None) -> None:
        self.path = path
        self.place = place
        self.outputs = path / "outputs"
        self.manifest = manifest
        self._descriptor: int | None = descriptor
        self._state = read_object(path / _STATE)
        self._uploads = UploadNotes(path / _UPLOADS)

    def __enter__(self) -> WorkFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    @property
    def sha256(self) -> str | None:
        """The hash of the document's bytes, as it was prepared."""
        value = self._state.get("sha256")
        return value if isinstance(value, str) else None

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the options, as it was prepared."""
        return str(self._state.get("fingerprint", ""))

    @property
    def token(self) -> str:
        """What the manifest's line says of these responses, so that a later run knows that they are published."""
        return str(self._state.get("token", ""))

    def prepare(self, sha256: str | None, fingerprint: str, *, asked: str | None = None) -> None:
        """Begin with a document: what was paid for the same one by the same options is kept, all else of earlier runs removed.

        `fingerprint` is of all options, and goes into the manifest; `asked` is of those by which the responses are what they are
        (without formats): where it is the same, responses are used again. By default it is `fingerprint`.
        """
        asked = fingerprint if asked is None else asked
        key = None if self.place is None else self.place.key
        same = (self._state.get("key"), self.sha256, self._state.get("asked")) == (key, sha256, asked)
        is_kept = same and bool(self.token) and not self._is_published()
        with explained(self.path):
            self._clear({_UPLOADS, _PUBLISHING, *((_STATE, *self._responses()) if is_kept else ())})
            base = None if self.place is None else self.place.base
            token = self.token if is_kept else secrets.token_hex(12)
            self._state = {"key": key, "base": base, "sha256": sha256, "asked": asked, "fingerprint": fingerprint, "token": token}
            write_whole(self.path / _STATE, self._state)
            self.outputs.mkdir()

    def is_finished(self, sha256: str | None, fingerprint: str) -> bool:
        """Tell whether the document was finished by these options, maybe by another run, just before this one had its place."""
        return (
            self.manifest is not None and self.place is not None and self.manifest.finished(self.place.key, sha256, fingerprint)
        )

    def response_path(self, part: int) -> Path:
        """Return where the response of a part belongs: a file there is whole, and paid for."""
        return self.path / _RESPONSE.format(part)

    def note_upload(self, name: str, base_url: str) -> None:
        """Note an upload before it begins, under a name that no other has."""
        self._uploads.note({"name": name, "base_url": base_url})

    def note_uploaded(self, name: str, file_id: str) -> None:
        """Note the id of an upload."""
        self._uploads.note({"name": name, "id": file_id})

    def note_deleted(self, name: str) -> None:
        """Note that an upload is no longer at the provider."""
        self._uploads.note({"name": name, "deleted": True})

    def left_uploads(self) -> list[LeftUpload]:
        """Return the uploads that were noted, and not deleted."""
        return self._uploads.left()

    def note_publishing(self, made: Mapping[str, str]) -> None:
        """Note the hashes of what is about to be renamed into place, beside those that a killed run has noted."""
        before = self.publishing()
        noted = {name: sorted({*before.get(name, []), sha256}) for name, sha256 in made.items()}
        write_whole(self.path / _PUBLISHING, before | noted)

    def publishing(self) -> dict[str, list[str]]:
        """Return the hashes that outputs had, or were about to have, when a run was killed while it published them, by name."""
        noted = read_object(self.path / _PUBLISHING)
        return {
            name: [each for each in hashes if isinstance(each, str)] for name, hashes in noted.items() if isinstance(hashes, list)
        }

    def published(self) -> None:
        """Remove what was kept until the manifest has the document's line."""
        with suppress(OSError):
            self._clear({_UPLOADS, _STATE})

    @property
    def is_paid(self) -> bool:
        """Whether it holds responses that were paid for and not published."""
        return bool(self._responses()) and not self._is_published()

    def keeps(self) -> bool:
        """Tell whether it has something for a later run: uploads to delete, or what is paid for and not published."""
        if self.left_uploads():
            return True
        if not isinstance(self._state.get("key"), str) or self._is_published():
            return False
        return bool(self._responses()) or bool(self.publishing())

    def release(self) -> None:
        """Let the place go; the folder goes, unless a later run needs something of it. Never raises; may be called twice."""
        if self._descriptor is None:
            return
        with suppress(OSError):
            if self.keeps():
                self._clear({_UPLOADS, _PUBLISHING, _STATE, *self._responses()})
            else:
                self._clear(set())
                (self.path / _LOCK).unlink()  # last, and while it is held: nobody is let into a folder that goes
                self.path.rmdir()
        self.leave()

    def leave(self) -> None:
        """Let the place go with all that is in the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if sys.platform == "win32" and not self.keeps():
            shutil.rmtree(self.path, ignore_errors=True)  # a file that is open cannot be removed there

    def refuse_taken(self) -> None:
        """Raise DocumentError where the place's name is another document's, by now, or where the manifest cannot be read."""
        place = self.place
        assert place is not None
        assert self.manifest is not None
        self.manifest.refresh()
        if self.manifest.trouble is not None:
            raise self.manifest.trouble
        holder = self.manifest.holder(place.base)
        if holder is None and self.keeps() and isinstance(self._state.get("key"), str):
            holder = self._state["key"]
        if holder not in {None, place.key}:
            why = f"{shown(place.folder / place.base)} is the name of another document's output: {shown(str(holder))}"
            raise DocumentError(why, "Run it once more: it takes another name.")

    def _is_published(self) -> bool:
        return self.manifest is not None and bool(self.token) and self.manifest.has_published(self.token)

    def _responses(self) -> list[str]:
        prefix, suffix = _RESPONSE.split("{}")
        return [
            name
            for name in os.listdir(self.path)
            if name.startswith(prefix) and name.endswith(suffix) and name[len(prefix) : -len(suffix)].isdecimal()
        ]

    def _clear(self, kept: set[str]) -> None:
        """Remove what is in the folder, but the lock and what is kept."""
        for name in os.listdir(self.path):
            if name == _LOCK or name in kept:
                continue
            remove(self.path / name)


def claim(place: Place, manifest: Manifest | None = None, *, patience_s: float = PATIENCE_S) -> WorkFolder:
    """Claim a place for this process, until the end of a `with`; the folders above it are made.

    Without `manifest` that of the place's folder is read. Raises DocumentError where another run is at work on it, or has given
    its name to another document.
    """
    with explained(place.folder):
        place.folder.mkdir(parents=True, exist_ok=True)
        path = place.folder / work_name(place.base)
        descriptor = made_and_locked(path, path / _LOCK, patience_s=patience_s)
    if descriptor is None:
        raise DocumentError("another run is at work on it", "Wait for its end.")
    work = WorkFolder(path, descriptor, manifest or Manifest.of(place.folder), place)
    try:
        work.refuse_taken()
    except BaseException:
        work.release()
        raise
    return work


def claim_temporary() -> WorkFolder:
    """Claim a folder that is no place's, for outputs that go to stdout: among the system's temporary ones."""
    while True:
        with explained(Path()):
            path = Path(tempfile.mkdtemp(prefix=WORK_PREFIX))
            descriptor = made_and_locked(path, path / _LOCK, patience_s=PATIENCE_S)
        if descriptor is not None:
            return WorkFolder(path, descriptor, None)


def abandoned(folder: Path, manifest: Manifest | None = None) -> list[WorkFolder]:
    """Claim the folders of work that killed runs left in a folder, and that have uploads to delete or nothing for a later run.

    The caller deletes the uploads, and releases each. Those with nothing but paid responses stay for the run that needs them.
    """
    found = []
    for path in _folders_of_work(folder):
        if not any((path / name).exists() for name in (_LOCK, _STATE, _UPLOADS)):
            continue  # it was made a moment ago, and is about to be locked
        try:
            descriptor = open_locked(path / _LOCK, wait=False, mode=0o600)
        except OSError:
            continue
        if descriptor is None:
            continue
        work = WorkFolder(path, descriptor, manifest or Manifest.of(folder))
        if work.left_uploads() or not work.keeps():
            found.append(work)
        else:
            work.leave()
    return found


def held_bases(folder: Path) -> dict[str, str]:
    """Return whose the bases are that runs work on in a folder, or that killed ones have left: folded name, document's key."""
    found = {}
    for path in _folders_of_work(folder):
        state = read_object(path / _STATE)
        if isinstance(state.get("base"), str) and isinstance(state.get("key"), str):
            found[folded(state["base"])] = state["key"]
    return found


def _folders_of_work(folder: Path) -> list[Path]:
    """Return the folders of work in a folder that are this user's."""
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(WORK_PREFIX) and entry.is_dir(follow_symlinks=False) and _is_own(entry):
                found.append(Path(folder, entry.name))
    return sorted(found)


def _is_own(entry: os.DirEntry[str]) -> bool:
    return sys.platform == "win32" or entry.stat(follow_symlinks=False).st_uid == os.geteuid()
