"""One file of the journal: written by one process, which owns it by a file lock as long as it lives."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from ...errors import PassthroughError
from ..entry import Entry
from .codec import FORMAT, READABLE, SpoiltLineError, decode, line, value_of

if sys.platform != "win32":
    import fcntl

_HEADS: Final = {number: line(["passthrough.journal", number]) for number in READABLE}
HEAD: Final = _HEADS[FORMAT]
_HEAD_BYTES: Final = 256  # the head of any format fits in these
_BLOCK_BYTES: Final = 256 * 1024
_BEING_MADE_S: Final = 60.0

_sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter


class ForeignSegmentError(PassthroughError):
    """A file is not in this program's format: a newer version wrote it, or another program."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive entries of a segment, and the offset after them; `spoilt` is how many unreadable lines were among them."""

    segment: Segment
    entries: tuple[Entry, ...]
    until: int
    spoilt: int


class Segment:
    """An open file whose lock is held. One thread appends, another reads; `close` waits for a running `sync`.

    The lock is a flock: it ends with the process, however that ends, and then any process may take the file.
    """

    def __init__(self, path: Path, descriptor: int, *, adopted: bool) -> None:
        """Take a file that is open and locked: see `make` and `take`."""
        self.path = path
        self.adopted = adopted
        own = os.fstat(descriptor)
        self.size = own.st_size  # the bytes that were written whole: nothing after them is ever read
        self.shipped = 0  # the offset up to which entries are in the ledger
        self.spoilt = 0  # unreadable lines, without a torn one at the end: a kill may leave one
        self._descriptor = descriptor
        self._file = own.st_dev, own.st_ino
        self._broken = False
        self._open = Lock()
        self._closed = False

    @classmethod
    def make(cls, path: Path) -> Segment:
        """Create a segment, which is locked before it has any content. Raises OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if not _locked(descriptor):
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            segment = cls(path, descriptor, adopted=False)
            segment.append(HEAD)
            segment.shipped = segment.size  # the head is not for the ledger
            _sync_folder(path.parent)
        except OSError:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return segment

    @classmethod
    def take(cls, path: Path) -> Segment | None:
        """Take over the segment of a dead process; None where its owner lives, or the file is gone.

        Raises OSError, and ForeignSegmentError for an unknown format.
        """
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            if _locked(descriptor) and _left_behind(os.fstat(descriptor)):
                _check_head(os.pread(descriptor, _HEAD_BYTES, 0))
                return cls(path, descriptor, adopted=True)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    @classmethod
    def look(cls, path: Path) -> Segment | None:
        """Open a segment to read what is in it now, whoever owns it; None where the file is gone. Do not write it.

        Raises OSError, and ForeignSegmentError for an unknown format.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            _check_head(os.pread(descriptor, _HEAD_BYTES, 0))
            return cls(path, descriptor, adopted=True)
        except BaseException:
            os.close(descriptor)
            raise

    @property
    def left(self) -> int:
        """How many bytes are not in the ledger."""
        return self.size - self.shipped

    @property
    def writable(self) -> bool:
        """Tell whether lines may be appended: not after the file lost its name, or a failed append could not be undone.

        Nor after another program truncated it or wrote into it: lines after that would not be found again.
        """
        if self._broken or self._closed:
            return False
        try:
            found = self.path.stat()
        except OSError:
            return False
        return ((found.st_dev, found.st_ino), found.st_size) == (self._file, self.size)

    def append(self, lines: bytes) -> None:
        """Write lines; all of them, or none where it raises OSError."""
        done = 0
        try:
            while done < len(lines):
                done += os.write(self._descriptor, lines[done:])
        except OSError:
            try:
                os.ftruncate(self._descriptor, self.size)
            except OSError:
                self._broken = True
            raise
        self.size += len(lines)

    def sync(self) -> None:
        """Flush what was appended to the disk, so that it survives a power loss. Raises OSError."""
        with self._open:
            if not self._closed:
                _sync(self._descriptor)

    def next_batch(self, max_charges: int) -> Batch | None:
        """Return the next entries, about `max_charges` in all; None where nothing is left. The same again, until `note`.

        Unreadable lines are left out and counted in `spoilt`.
        """
        entries: list[Entry] = []
        at, spoilt = self.shipped, 0
        for text in self._lines(at):
            is_head = at == 0
            at += len(text)
            if is_head:
                continue
            try:
                entry = decode(text)
            except SpoiltLineError:
                spoilt += text.endswith(b"\n")
                continue
            entries.append(entry)
            max_charges -= len(entry.charges) or 1
            if max_charges <= 0:
                break
        batch = Batch(self, tuple(entries), at, spoilt)
        if entries:
            return batch
        self.note(batch)
        return None

    def note(self, batch: Batch) -> None:
        """Note that a batch is in the ledger: the next one begins after it."""
        self.shipped = batch.until
        self.spoilt += batch.spoilt

    def close(self) -> None:
        """Close the file, which releases its lock."""
        with self._open:
            if not self._closed:
                self._closed = True
                os.close(self._descriptor)

    def _lines(self, at: int) -> Iterator[bytes]:
        """Yield lines from an offset on; the last one may be torn."""
        rest = b""
        while at < self.size:
            block = os.pread(self._descriptor, min(_BLOCK_BYTES, self.size - at), at)
            if not block:  # another program truncated it
                self.size = at
                break
            at += len(block)
            *lines, rest = (rest + block).split(b"\n")
            yield from (text + b"\n" for text in lines)
        if rest:
            yield rest


def _locked(descriptor: int) -> bool:
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_owned(path: Path) -> bool:
    """Tell whether a living process owns the segment at a path. Raises OSError where that cannot be seen."""
    if sys.platform == "win32":
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _left_behind(status: os.stat_result) -> bool:
    """Tell whether a file that no process has locked was left by a dead one.

    1. A file without a name was deleted by another process after it was opened here and before it was locked here. 2. An empty
    file may just have been created, and its owner may be about to lock it.
    """
    return status.st_nlink > 0 and (status.st_size > 0 or time.time() - status.st_mtime > _BEING_MADE_S)


def _check_head(beginning: bytes) -> None:
    head, ended, _ = beginning.partition(b"\n")
    if not ended and len(beginning) < _HEAD_BYTES and any(known.startswith(beginning) for known in _HEADS.values()):
        return  # its process died before the head was written
    try:
        if value_of(head) in map(value_of, _HEADS.values()):
            return
    except SpoiltLineError:
        pass
    raise ForeignSegmentError("the file is in a format that this program does not know")


def _sync_folder(folder: Path) -> None:
    """Flush a folder's names to the disk."""
    if sys.platform == "win32":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
