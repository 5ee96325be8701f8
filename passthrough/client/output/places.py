"""Chooses the places of a run's outputs, so that no two documents share one, and each keeps the one that it had before.

A document has a list of places, of which the first free one is taken: its stem, its full name, both with one more of its folders
each time, and at last its name with a hash. Two documents that want the same place both go on to their next; one that has written
in a place before keeps it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Final
from urllib.parse import urlsplit

from ..documents import Document
from .disk import explained, sha256_of
from .manifest import Manifests
from .names import SUFFIXES, folded, safe_base, short_hash, stem_of
from .place import Place
from .work_folder import held_bases

STDIN: Final = "-"
_STDIN_NAME: Final = "stdin"
_ANNOTATION: Final = ".annotation"

__all__ = ["STDIN", "Place", "places", "stored_place"]

_Spot = tuple[str, str]
"""What two documents must not share: the folder, however it is spelled, and the base, folded."""


def places(documents: Sequence[Document], out: Path | None, manifests: Manifests) -> tuple[Place, ...]:
    """Return the place of each document, in order. `out` is the folder that mirrors the tree of the inputs; None: beside them.

    Those of a URL and of stdin are in `out`, else in the working directory. Reads disks: the manifests, and stdin's bytes.
    """
    folders = _RealFolders()
    taken = _Taken(manifests, folders, documents)
    identities = [_identity(document, folders) for document in documents]
    wanted = [list(_wanted(*each, out, folders)) for each in zip(documents, identities, strict=True)]
    kept = [taken.kept(each) for each in wanted]
    at = [index or 0 for index in kept]
    while True:
        chosen = [each[index] for each, index in zip(wanted, at, strict=True)]
        sharing: dict[_Spot, set[str]] = defaultdict(set)
        for place, identity in zip(chosen, identities, strict=True):
            sharing[taken.spot(place)].add(identity)
        moved = [
            number
            for number, place in enumerate(chosen)
            if kept[number] is None
            and at[number] + 1 < len(wanted[number])
            and (len(sharing[taken.spot(place)]) > 1 or not taken.is_free(place))
        ]
        if not moved:
            return tuple(chosen)
        for number in moved:
            at[number] += 1


def stored_place(path: Path, out: Path | None, manifests: Manifests) -> Place:
    """Return the place for what is made of a stored response: that of the document which it was written for, where it is known.

    Else it is named after the file, in `out` or beside it.
    """
    folder = path.parent if out is None else out
    owner = manifests(path.parent).owner(path.name)
    if owner is not None and os.path.realpath(folder) == os.path.realpath(path.parent):
        return Place(folder, owner.base, owner.key)
    folders = _RealFolders()
    document = Document(str(path), PurePath(path.name), path)
    wanted = list(_wanted(document, _identity(document, folders), out, folders))
    taken = _Taken(manifests, folders, [])
    return next((place for place in wanted if taken.holder(place) in {None, place.key}), wanted[-1])


class _RealFolders(dict[Path, str]):
    """Folders without symbolic links, each looked up once."""

    def __missing__(self, folder: Path) -> str:
        self[folder] = real = os.path.realpath(folder)
        return real


class _Taken:
    """Whose the places are already, by manifests and by other runs, and the inputs, which no output may replace."""

    def __init__(self, manifests: Manifests, folders: _RealFolders, documents: Sequence[Document]) -> None:
        self._manifests = manifests
        self._folders = folders
        self._holders: dict[str, Mapping[str, str]] = {}
        paths = [document.path for document in documents if document.path is not None and document.name != STDIN]
        self._spelled: dict[Path, str] = {}
        self._inputs = {(self._folder(path.parent), folded(path.name)) for path in paths}

    def spot(self, place: Place) -> _Spot:
        """Return what no other document may have."""
        return self._folder(place.folder), folded(place.base)

    def _folder(self, folder: Path) -> str:
        """Return what is the same for a folder however it is spelled: where it is there its number, else its folded name."""
        if folder not in self._spelled:
            try:
                found = os.stat(folder)
                self._spelled[folder] = f"{found.st_dev}:{found.st_ino}"
            except OSError:
                self._spelled[folder] = folded(self._folders[folder])
        return self._spelled[folder]

    def kept(self, wanted: Sequence[Place]) -> int | None:
        """Return which of its places a document has had before, None where it is new."""
        return next((index for index, place in enumerate(wanted) if self.holder(place) == place.key), None)

    def is_free(self, place: Place) -> bool:
        """Tell whether a place is no other document's, and none of its outputs would replace an input."""
        folder, base = self.spot(place)
        return self.holder(place) is None and not any((folder, base + folded(end)) in self._inputs for end in SUFFIXES)

    def holder(self, place: Place) -> str | None:
        """Return the document that has a place, by its key."""
        real = self._folders[place.folder]
        if real not in self._holders:
            self._holders[real] = held_bases(place.folder) | self._manifests(place.folder).claims()
        return self._holders[real].get(folded(place.base))


def _wanted(document: Document, identity: str, out: Path | None, folders: _RealFolders) -> Iterator[Place]:
    """Yield the places of a document, the nicest first."""
    name = _STDIN_NAME if document.name == STDIN else document.relative.name
    stem, full = (safe_base(text, of_url=document.url is not None) for text in (stem_of(name), name))
    bases = (full,) if folded(stem).endswith(_ANNOTATION) else (stem, full)  # a.annotation.json is the annotation of another, a
    for folder in _folders_of(document, out):
        key = _key(document, identity, folders[folder])
        yield from (Place(folder, base, key) for base in dict.fromkeys(bases))
    folder = next(_folders_of(document, out))
    hashed = safe_base(f"{stem}-{short_hash(identity)}", of_url=document.url is not None)
    yield Place(folder, hashed, _key(document, identity, folders[folder]))


def _folders_of(document: Document, out: Path | None) -> Iterator[Path]:
    """Yield the folder of a document's outputs; where outputs have a folder of their own, then with one more folder each time."""
    path = None if document.name == STDIN else document.path
    if out is None:
        yield Path() if path is None else path.parent
        return
    parents = [part for part in document.relative.parent.parts if part not in {"", ".", "..", document.relative.anchor}]
    yield out.joinpath(*parents)
    if path is not None:
        above = PurePath(os.path.abspath(path)).parent.parts[1:]
        if parents and list(above[-len(parents) :]) == parents:
            above = above[: -len(parents)]
        for count in range(1, len(above) + 1):
            yield out.joinpath(*above[-count:], *parents)


def _identity(document: Document, folders: _RealFolders) -> str:
    """Return what tells a document from all others: its absolute path, its URL without secrets, or the hash of stdin's bytes."""
    if document.url is not None:
        return _url_without_secrets(document.url)
    assert document.path is not None
    if document.name == STDIN:
        with explained(document.path):
            return f"{STDIN}{sha256_of(document.path)[:16]}"
    return os.path.join(folders[document.path.parent], document.path.name)


def _key(document: Document, identity: str, folder: str) -> str:
    """Return what a folder's manifest calls a document: a path from there, so that both can be moved together."""
    if document.url is not None or document.name == STDIN:
        return identity
    try:
        return PurePath(os.path.relpath(identity, folder)).as_posix()
    except ValueError:  # on Windows, from one drive to another
        return identity


def _url_without_secrets(url: str) -> str:
    """Return a URL without its user, and with a hash instead of its query: both may be a credential, and this is written down."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = f"?{short_hash(parts.query)}" if parts.query else ""
    return f"{parts.scheme}://{host}{parts.path}{query}"
