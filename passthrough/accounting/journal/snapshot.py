"""A snapshot of a journal's folder: the entries of all segments at one moment, which other processes may own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..entry import Entry
from .folder import SUFFIX
from .segment import ForeignSegmentError, Segment, is_owned


class JournalSnapshot:
    """The segments of a folder as they are when it is opened: what is appended later is not read, what is deleted later is."""

    def __init__(self, segments: Sequence[Segment], unreadable: Sequence[Path]) -> None:
        """`unreadable` are files that this program or this user cannot read."""
        self._segments = segments
        self.unreadable = unreadable

    def batches(self, max_charges: int) -> Iterator[tuple[Entry, ...]]:
        """Yield all entries, about `max_charges` at a time; one process's after another's, each in its order."""
        for segment in self._segments:
            while (batch := segment.next_batch(max_charges)) is not None:
                yield batch.entries
                segment.note(batch)


@contextmanager
def snapshot(folder: Path) -> Iterator[JournalSnapshot]:
    """Open all segments of a folder, to be read; a folder that is not there has none."""
    found: list[Segment] = []
    unreadable = []
    try:
        for path in _segments(folder):
            try:
                segment = Segment.look(path)
            except (OSError, ForeignSegmentError):
                unreadable.append(path)
                continue
            if segment is not None:
                found.append(segment)
        yield JournalSnapshot(found, unreadable)
    finally:
        for segment in found:
            segment.close()


def is_written(folder: Path) -> bool:
    """Tell whether a living process writes the journal in a folder. Raises OSError where that cannot be seen."""
    return any(is_owned(path) for path in _segments(folder))


def _segments(folder: Path) -> list[Path]:
    """Return the files, those of each process together and in their order."""
    try:
        paths = [path for path in folder.iterdir() if path.suffix == SUFFIX]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(paths, key=lambda path: (path.stem.partition("-")[2], path.name))
