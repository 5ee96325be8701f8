"""The journal: files with the entries that are not in the ledger yet, which outlive the process."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Final

from ..entry import Entry
from .cache import EntryCache
from .folder import SUFFIX
from .segment import Batch, ForeignSegmentError, Segment

SEGMENT_BYTES: Final = 16 * 1024 * 1024
_AGED_S: Final = 60.0
_FOR_NOW: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOLCK})  # temporary: it may be read later
_SPOILT: Final = ".spoilt"
_TRIAL: Final = ".trial"
_TRIAL_BYTES: Final = 64 * 1024


class Journal:
    """A folder of segments `<utc-ms>-<owner>.jsonl`. Each process has its own; those of dead processes are adopted.

    One thread appends, another reads (`next_batch`, `adopt`), a third may `sync`. A process's segments are read in the order of
    their names, one process's after another's: so the parts of an exchange stay in order. A segment that is wholly in the ledger
    is deleted; one that was not deleted before a kill is read again, which changes nothing in the ledger.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None], *, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Take a folder, which is created at the first write; its parent folder must exist."""
        self._folder = folder
        self._warn = warn
        self._segment_bytes = segment_bytes
        self._small_bytes = segment_bytes // 16
        self._owner = os.urandom(4).hex()
        self._own: list[Segment] = []  # the oldest first
        self._adopted: list[Segment] = []
        self._cache = EntryCache()
        self._ignored: set[str] = set()  # names of files that are not read
        self._born = 0.0
        self._last_ms = 0
        self._lock = Lock()

    @property
    def left(self) -> int:
        """How many bytes are not in the ledger, without the segments of other living processes."""
        return sum(segment.left for segment in (*self._own, *self._adopted))

    @property
    def adopted(self) -> int:
        """How many segments of dead processes are not wholly in the ledger yet."""
        return len(self._adopted)

    def append(self, lines: Sequence[bytes], entries: Sequence[Entry] = ()) -> None:
        """Write lines into the newest segment; all of them, or none where it raises OSError.

        `entries`, where given, are those that the lines encode: they go into the cache.
        """
        block = b"".join(lines)
        with self._lock:
            segment = self._writable()
            begin = segment.size
            segment.append(block)
        if entries:
            self._cache.keep(segment, begin, lines, entries)

    def try_out(self) -> None:
        """Raise OSError where lines could not be appended now: no folder, no permission, no space."""
        with self._lock:
            self._writable()
        trial = self._folder / f"{self._owner}{_TRIAL}"
        try:
            trial.write_bytes(bytes(_TRIAL_BYTES))
        finally:
            trial.unlink(missing_ok=True)

    def sync(self) -> None:
        """Flush what was appended to the disk, so that it survives a power loss. Raises OSError."""
        for segment in self._own[-1:]:
            segment.sync()

    def next_batch(self, max_charges: int, *, own_only: bool = False) -> Batch | None:
        """Return the oldest entries that are not in the ledger, with about `max_charges` in all; None where all are."""
        for segment in [] if own_only else list(self._adopted):
            try:
                batch = segment.next_batch(max_charges)
            except OSError as error:
                self._ignore(segment.path, error)
                self._adopted.remove(segment)
                segment.close()
                continue
            if batch is not None:
                return batch
            self._delete(segment, self._adopted)
        for segment in list(self._own):
            batch = self._cache.next_batch(segment, max_charges) or segment.next_batch(max_charges)
            if batch is not None:
                return batch
            self._retire(segment)
        return None

    def adopt(self) -> None:
        """Take over the segments that dead processes left; they are read before this process's own."""
        refused = set()  # owners that live, or that another process adopts: segments of an owner are read in order, or not at all
        for path in self._segments():
            owner = path.stem.partition("-")[2]
            if owner == self._owner or owner in refused or path.name in self._ignored:
                continue
            try:
                segment = Segment.take(path)
            except (OSError, ForeignSegmentError) as error:
                if getattr(error, "errno", None) not in _FOR_NOW:
                    self._ignore(path, error)
                    continue
                segment = None
            if segment is None:
                refused.add(owner)
                continue
            self._adopted.append(segment)
            self._warn(f"A process ended before all its entries were in the ledger; they are booked from {path}.")

    def close(self) -> None:
        """Delete what is in the ledger, and leave the rest to the next process."""
        for segment in list(self._adopted):
            segment.close()
        for segment in list(self._own):
            if segment.left:
                segment.close()
            else:
                self._delete(segment, self._own)
        self._own, self._adopted = [], []

    def _writable(self) -> Segment:
        """Return the newest segment, or a new one where that is full, or its file was moved or changed."""
        newest = self._own[-1] if self._own else None
        usable = newest is not None and newest.writable
        if newest is not None and usable and newest.size < self._segment_bytes:
            return newest
        self._last_ms = max(int(time.time() * 1000), self._last_ms + 1)
        try:
            if newest is not None and usable:
                newest.sync()  # `sync` knows the newest only
            self._folder.mkdir(mode=0o700, exist_ok=True)
            made = Segment.make(self._folder / f"{self._last_ms:013d}-{self._owner}{SUFFIX}")
        except OSError:
            if newest is not None and usable:  # it can grow beyond its size
                return newest
            raise
        self._own.append(made)
        self._born = time.monotonic()
        return made

    def _retire(self, segment: Segment) -> None:
        """Delete a segment whose entries are in the ledger; the newest one only once it is old or large.

        So a restart reads again only what is still in the files, not what was booked long ago.
        """
        with self._lock:
            newest = segment is self._own[-1]
            lasting = segment.size < self._small_bytes and time.monotonic() - self._born < _AGED_S
            if not segment.left and not (newest and lasting):
                self._delete(segment, self._own)

    def _delete(self, segment: Segment, among: list[Segment]) -> None:
        among.remove(segment)
        try:
            if segment.spoilt:
                kept = segment.path.with_suffix(_SPOILT)
                segment.path.rename(kept)
                self._warn(f"{segment.spoilt} lines of the journal could not be read: {kept} keeps them; the others are booked.")
            else:
                segment.path.unlink(missing_ok=True)
        except OSError:
            self._ignored.add(segment.path.name)  # the next process reads it again, which changes nothing
        segment.close()

    def _ignore(self, path: Path, error: Exception) -> None:
        self._ignored.add(path.name)
        why = error.strerror if isinstance(error, OSError) else error
        self._warn(f"{path} cannot be read: {why}.\nIt is left where it is, and not booked from here.")

    def _segments(self) -> Sequence[Path]:
        try:
            return sorted(path for path in self._folder.iterdir() if path.suffix == SUFFIX)
        except OSError:  # not created yet, or not readable: writing there fails with a message
            return ()
