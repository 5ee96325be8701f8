"""Finds the documents that a command line names: files, folders, patterns, URLs, stdin."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final

from ..documents import Document, FileType
from ..errors import DocumentError
from ..shown import shown, shown_url
from .file_type import DOCUMENT_SUFFIXES, content_type, file_type
from .patterns import is_pattern, matches, names_suffix
from .reasons import no_document, not_a_file, not_read
from .url_document import is_url, url_document

_LOCK_FILE: Final = "~$"  # Office's, beside an open document, with the same end of its name

_Key = tuple[object, ...]
"""What tells one document from another, however it is named."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a command line names: documents in its order, what failed with the reason, and how many files are no documents."""

    documents: tuple[Document, ...]
    failed: tuple[tuple[str, DocumentError], ...]
    left_out: int


def find(arguments: Sequence[str], stdin: Callable[[], Path], is_output: Callable[[Path], bool]) -> Found:
    """Return the documents that arguments name, each once.

    1. `-` is stdin, whose bytes are in the file that `stdin` returns. 2. `http://…` and `https://…` are URLs. 3. What exists is a
    file, which must be a document, or a folder, in which documents are told by their content; hidden entries, links to folders
    and what `is_output` are left out. 4. All else is a pattern. Raises what `stdin` raises, but OSError. Blocks.
    """
    search = _Search(stdin, is_output)
    for argument in arguments:
        search.take_argument(argument)
    return search.found()


@dataclass(slots=True)
class _Search:
    """What is found so far. A file may be left out of its folder, and be a document because it is named as well."""

    stdin: Callable[[], Path]
    is_output: Callable[[Path], bool]
    documents: dict[_Key, Document] = field(default_factory=dict)
    failed: dict[_Key, tuple[str, DocumentError]] = field(default_factory=dict)
    left_out: set[_Key] = field(default_factory=set)

    def found(self) -> Found:
        failed = [failure for key, failure in self.failed.items() if key not in self.documents]
        return Found(
            tuple(self.documents.values()), tuple(failed), len(self.left_out - self.documents.keys() - self.failed.keys())
        )

    def take_argument(self, argument: str) -> None:
        """Add what one argument names."""
        try:
            if argument == "-":
                self._take_stdin()
            elif is_url(argument):
                self.documents.setdefault((argument,), url_document(argument))
            elif not argument:
                raise DocumentError("It is an empty name.", "Is it a variable that is not set?")
            elif os.path.lexists(argument) or not is_pattern(argument):
                self._take_path(Path(argument))
            else:
                self._take_pattern(argument)
        except DocumentError as error:
            self.failed[(argument,)] = (shown_url(argument) if is_url(argument) else shown(argument), error)
        except OSError as error:
            self.failed[(argument,)] = (shown(argument), not_read(error))

    def _take_stdin(self) -> None:
        if ("-",) not in self.documents:
            path = self.stdin()
            found = file_type(path)
            if found is None:
                hint = "Check what is sent to stdin."
                if path.stat().st_size:
                    hint = "Give a file instead where it is text: its name tells the type."
                raise DocumentError(no_document(path).why, hint)
            self.documents[("-",)] = Document("-", PurePath(f"stdin{found.suffix}"), path, type=found)

    def _take_path(self, path: Path) -> None:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            self._take_folder(path, path)
        elif not stat.S_ISREG(status.st_mode):
            raise not_a_file(status.st_mode)
        else:
            self._take_file(path, PurePath(path.name), is_named=True)

    def _take_pattern(self, pattern: str) -> None:
        base, found = matches(pattern)
        if not found:
            raise DocumentError(
                "It does not exist, and as a pattern it fits no file.", "Check the name, and that a pattern is in quotes."
            )
        for path in found:
            if path.is_dir():
                self._take_folder(path, base)
            else:
                is_named = names_suffix(pattern, path.suffix) and not path.name.startswith(_LOCK_FILE)
                self._take_file(path, path.relative_to(base), is_named=is_named)

    def _take_folder(self, folder: Path, base: Path) -> None:
        """Add the documents in a folder, and below it: first its files, then its folders, each by name."""
        errors: list[OSError] = []
        if self.is_output(folder):
            self.left_out.add(_key(folder))
            return
        for path in _files(folder, self.is_output, errors):
            self._take_file(path, path.relative_to(base), is_named=False)
        for error in errors:
            name = shown(error.filename)
            self.failed[(name,)] = (name, not_read(error))

    def _take_file(self, path: Path, relative: PurePath, *, is_named: bool) -> None:
        """Add a file; one that is not named itself is left out where its name promises no document."""
        key = _key(path)
        if key in self.documents:
            return
        try:
            found = None if self._is_output(path) else _type(path, is_named=is_named)
        except DocumentError as error:
            self.failed[key] = (shown(path), error)
            return
        if found is None:
            self.left_out.add(key)
        else:
            self.documents[key] = Document(shown(path), relative, path, type=found)

    def _is_output(self, path: Path) -> bool:
        """Tell whether a file is one that a run wrote, or stands in a folder that a run wrote: a shell's `*` names those, too."""
        return self.is_output(path) or (path.parent.name != "" and self.is_output(path.parent))


def _type(path: Path, *, is_named: bool) -> FileType | None:
    """Return a file's type; None where it is left out. Raises DocumentError for what should be a document."""
    is_expected = is_named or (path.suffix.lower() in DOCUMENT_SUFFIXES and not path.name.startswith(_LOCK_FILE))
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise not_a_file(mode)
        found = file_type(path) if is_named else content_type(path)
        if found is None:
            raise no_document(path)
    except OSError as error:
        failure = not_read(error)
    except DocumentError as error:
        failure = error
    else:
        return found
    if is_expected:
        raise failure
    return None


def _files(folder: Path, is_output: Callable[[Path], bool], errors: list[OSError]) -> Iterator[Path]:
    """Yield the files in a folder and below it; folders that cannot be read are added to `errors`."""
    for place, folders, files in os.walk(folder, onerror=errors.append):
        here = Path(place)
        folders[:] = [name for name in sorted(folders) if not name.startswith(".") and not is_output(here / name)]
        for name in sorted(files):
            if not name.startswith(".") and not is_output(here / name):
                yield here / name


def _key(path: Path) -> _Key:
    """Return what is the same for a file under two names: by a link, by another way to its folder, by another case."""
    try:
        status = path.stat()
    except OSError:
        return (os.path.abspath(path),)
    return (status.st_dev, status.st_ino, os.path.realpath(path).casefold())
