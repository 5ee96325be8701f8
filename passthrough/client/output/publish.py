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
from pathlib import Path
from typing import Final

from ..errors import DocumentError
from .disk import Step, explained, is_file, no_step, sha256_of, sync
from .manifest import Finished, Manifest
from .names import PICTURES, is_output_of, shown
from .place import Place
from .work_folder import WorkFolder

_HINT: Final = "Write over it (--overwrite), or name another folder (-o DIR)."
_MOVE: Final = "Move it away, or name another folder (-o DIR)."


def refuse_foreign(work: WorkFolder, suffixes: Iterable[str], *, overwrite: bool) -> None:
    """Raise DocumentError where outputs of these suffixes (`.md`) cannot be published: before anything is paid for."""
    place, manifest = _of(work)
    manifest.refresh()
    with explained(place.folder):
        _refuse_folder(place, overwrite=overwrite)
        for suffix in suffixes:
            _refuse_file(work, place.base + suffix, None, overwrite=overwrite)


def publish(work: WorkFolder, names: Sequence[str], *, overwrite: bool, step: Step = no_step) -> tuple[Path, ...]:
    """Rename the files of these names from `work.outputs` into the place; return those beside the document, without pictures.

    Raises DocumentError; what is paid for is then still in the folder of work. `step` is called after each step.
    """
    place, manifest = _of(work)
    with explained(place.folder):
        made = _made(work, names)
        step("rendered")
        with manifest.writing() as writer:
            _refuse_folder(place, overwrite=overwrite)
            for name, sha256 in made.items():
                _refuse_file(work, name, sha256, overwrite=overwrite)
            work.note_publishing(made)
            step("noted")
            _move(work, made, step)
            _remove_stale(work, made)
            step("removed")
            writer.add(Finished(place.key, place.base, work.sha256, work.fingerprint, made, work.token))
            step("written")
    work.published()
    return tuple(place.folder / name for name in names if "/" not in name)


def _of(work: WorkFolder) -> tuple[Place, Manifest]:
    assert work.place is not None
    assert work.manifest is not None
    return work.place, work.manifest


def _made(work: WorkFolder, names: Sequence[str]) -> dict[str, str]:
    """Bring what was rendered to the disk; return its names with the hashes."""
    place, _ = _of(work)
    made = {}
    for name in sorted(names, key=lambda name: "/" not in name):  # pictures first: what refers to them comes after
        path = work.outputs / name
        if not is_output_of(place.base, name) or not is_file(path):
            raise DocumentError(f"{shown(name)} is no name of an output")
        sync(path)
        made[name] = sha256_of(path)
    return made


def _refuse_folder(place: Place, *, overwrite: bool) -> None:
    """Refuse what is in the place of the folder of pictures, but a folder; a symbolic link may be overwritten."""
    path = place.folder / (place.base + PICTURES)
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode) or (stat.S_ISLNK(mode) and overwrite):
        return
    if stat.S_ISLNK(mode):
        raise DocumentError(f"{shown(path)} is a symbolic link", _HINT)
    raise DocumentError(f"{shown(path)} is a file where the folder of pictures is to be", _MOVE)


def _refuse_file(work: WorkFolder, name: str, sha256: str | None, *, overwrite: bool) -> None:
    """Refuse what is in the place of an output, unless this command wrote it for this document, and it is unchanged."""
    place, manifest = _of(work)
    path = place.folder / name
    if (place.folder / (place.base + PICTURES)).is_symlink() and "/" in name:
        return  # the link goes, with what it leads to
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise DocumentError(f"{shown(path)} is a folder", _MOVE)
    if overwrite:
        return
    known = {sha256, *work.publishing(name), manifest.hash_of(name, place.key)}
    if not known - {None}:
        raise DocumentError(f"{shown(path)} exists, and is not of this command", _HINT)
    if not stat.S_ISREG(mode) or sha256_of(path) not in known:
        why = "was changed since this command wrote it" if manifest.owns(name) else "exists, and is not of this command"
        raise DocumentError(f"{shown(path)} {why}", _HINT)


def _move(work: WorkFolder, made: Mapping[str, str], step: Step) -> None:
    """Rename the files into place, one after the other."""
    place, _ = _of(work)
    pictures = place.folder / (place.base + PICTURES)
    if any("/" in name for name in made):
        if pictures.is_symlink():
            pictures.unlink()
        pictures.mkdir(exist_ok=True)
        step("folder")
    for name in made:
        os.replace(work.outputs / name, place.folder / name)
        step(f"moved {name}")
    if any("/" in name for name in made):
        sync(pictures)
    sync(place.folder)


def _remove_stale(work: WorkFolder, made: Mapping[str, str]) -> None:
    """Remove the pictures that an earlier run wrote and this one did not, where they are unchanged."""
    place, manifest = _of(work)
    pictures = place.folder / (place.base + PICTURES)
    if pictures.is_symlink():
        return
    for name in {*manifest.names_of(place.key), *work.publishing_names()} - made.keys():
        if "/" not in name or not is_output_of(place.base, name):
            continue
        path = place.folder / name
        with suppress(OSError):
            if is_file(path) and sha256_of(path) in {*work.publishing(name), manifest.hash_of(name, place.key)}:
                path.unlink()
    with suppress(OSError):
        pictures.rmdir()  # where nothing is left in it
