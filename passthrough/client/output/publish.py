"""Puts what was rendered into its place: each file is the old one or the new one, whole, whenever the process ends.

1. What is there and was not written by this command, or was changed since, is refused, unless it may be overwritten.
2. The hashes of the new files are noted in the folder of work: a run that is killed leaves a mixture, which the next one knows.
3. Pictures, then the other files are renamed into place; a symbolic link there is replaced, and never followed.
4. The manifest gets the document's line; from then on it is finished. What was paid for is removed only after that.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..errors import DocumentError
from ..shown import shown
from .disk import Step, explained, is_file, no_step, sha256_of, sync
from .manifest import Finished, Manifest
from .names import PICTURES, is_output_of
from .place import Place
from .work_folder import WorkFolder

_HINT: Final = "Write over it (--overwrite), or name another folder (-o DIR)."
_MOVE: Final = "Move it away, or name another folder (-o DIR)."


def refuse_foreign(work: WorkFolder, suffixes: Iterable[str], *, overwrite: bool) -> None:
    """Raise DocumentError where outputs of these suffixes (`.md`) cannot be published: before anything is paid for."""
    publication = _Publication.of(work, overwrite=overwrite)
    publication.manifest.refresh()
    with explained(publication.place.folder):
        publication.refuse({publication.place.base + suffix: None for suffix in suffixes})


def publish(
    work: WorkFolder, names: Sequence[str], *, overwrite: bool, adds: bool = False, step: Step = no_step
) -> tuple[Path, ...]:
    """Rename the files of these names from `work.outputs` into the place; return those beside the document, without pictures.

    `adds`: they are further outputs of a document that is finished, and stays so. `step` is called after each step. Raises
    DocumentError; what is paid for is then still in the folder of work.
    """
    publication = _Publication.of(work, overwrite=overwrite)
    place = publication.place
    with explained(place.folder):
        made = publication.made(names)
        step("rendered")
        with publication.manifest.writing() as writer:
            publication.refuse(made)
            work.note_publishing(made)
            step("noted")
            publication.move(made, step)
            line = publication.manifest.line(place.key) if adds else None
            if line is None:
                publication.remove_stale(made)
                line = Finished(place.key, place.base, work.sha256, work.fingerprint, {}, work.token)
            step("removed")
            writer.add(replace(line, outputs={**line.outputs, **made}))
            step("written")
    work.published()
    return tuple(place.folder / name for name in names if "/" not in name)


@dataclass(frozen=True, slots=True)
class _Publication:
    """Outputs on the way into a place. `noted` are the hashes that a killed run left a note of, by name."""

    work: WorkFolder
    place: Place
    manifest: Manifest
    noted: Mapping[str, Sequence[str]]
    overwrite: bool

    @classmethod
    def of(cls, work: WorkFolder, *, overwrite: bool) -> _Publication:
        assert work.place is not None
        assert work.manifest is not None
        return cls(work, work.place, work.manifest, work.publishing(), overwrite)

    @property
    def pictures(self) -> Path:
        return self.place.folder / (self.place.base + PICTURES)

    def made(self, names: Sequence[str]) -> dict[str, str]:
        """Bring what was rendered to the disk; return its names with the hashes, pictures first: others refer to them."""
        made = {}
        for name in sorted(names, key=lambda name: "/" not in name):
            path = self.work.outputs / name
            if not is_output_of(self.place.base, name) or not is_file(path):
                raise DocumentError(f"{shown(name)} is no name of an output")
            sync(path)
            made[name] = sha256_of(path)
        return made

    def refuse(self, made: Mapping[str, str | None]) -> None:
        """Refuse what may not be replaced. A symbolic link may be overwritten; a folder for a file, or the reverse, never."""
        mode = _mode(self.pictures)
        if mode is not None and stat.S_ISLNK(mode) and not self.overwrite:
            raise DocumentError(f"{shown(self.pictures)} is a symbolic link", _HINT)
        if mode is not None and not stat.S_ISDIR(mode) and not stat.S_ISLNK(mode):
            raise DocumentError(f"{shown(self.pictures)} is a file where the folder of pictures is to be", _MOVE)
        is_link = mode is not None and stat.S_ISLNK(mode)  # it goes, with what it leads to
        for name, sha256 in made.items():
            if not (is_link and "/" in name):
                self._refuse_file(name, sha256)

    def _refuse_file(self, name: str, sha256: str | None) -> None:
        """Refuse a file, unless this command wrote it for this document, and it is unchanged."""
        path = self.place.folder / name
        mode = _mode(path)
        if mode is not None and stat.S_ISDIR(mode):
            raise DocumentError(f"{shown(path)} is a folder", _MOVE)
        if mode is None or self.overwrite:
            return
        if not stat.S_ISREG(mode) or sha256_of(path) not in {sha256, *self._hashes(name)}:
            is_ours = self.manifest.hash_of(name, self.place.key) is not None
            why = "was changed since this command wrote it" if is_ours else "exists, and is not of this command"
            raise DocumentError(f"{shown(path)} {why}.", _HINT)

    def move(self, made: Mapping[str, str], step: Step) -> None:
        """Rename the files into place, one after the other."""
        has_pictures = any("/" in name for name in made)
        if has_pictures:
            if self.pictures.is_symlink():
                self.pictures.unlink()
            self.pictures.mkdir(exist_ok=True)
            step("folder")
        for name in made:
            os.replace(self.work.outputs / name, self.place.folder / name)
            step(f"moved {name}")
        if has_pictures:
            sync(self.pictures)
        sync(self.place.folder)

    def remove_stale(self, made: Mapping[str, str]) -> None:
        """Remove the pictures that an earlier run wrote and this one did not, where they are unchanged."""
        if self.pictures.is_symlink():
            return
        for name in {*self.manifest.names_of(self.place.key), *self.noted} - made.keys():
            path = self.place.folder / name
            if "/" not in name or not is_output_of(self.place.base, name):
                continue
            with suppress(OSError):
                if is_file(path) and sha256_of(path) in self._hashes(name):
                    path.unlink()
        with suppress(OSError):
            self.pictures.rmdir()  # where nothing is left in it

    def _hashes(self, name: str) -> set[str]:
        """Return the hashes that a file of this document has where this command wrote it."""
        written = self.manifest.hash_of(name, self.place.key)
        return {*self.noted.get(name, ()), *([] if written is None else [written])}


def _mode(path: Path) -> int | None:
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return None
